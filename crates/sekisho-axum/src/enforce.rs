use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use futures_util::FutureExt as _;
use http::request::Parts;
use sekisho_core::{Enforcer, Failure, FailureKind};
use sekisho_http::{Answer, Ask, Passage, Question, RouteQuestion};
use sekisho_tower::PartsHead;

use crate::RefusalResponse;
use crate::layer::around;

/// Puts the question of a route for one request, of the parameters that axum's router found.
pub(crate) fn ask(route: &RouteQuestion, parts: &mut Parts) -> Result<Question, Answer> {
    let params = RawPathParams::from_request_parts(parts, &()).now_or_never();
    let params = match params {
        Some(Ok(params)) => Some(params),
        // No router stands before; a question that needs none of its parameters can still be put.
        Some(Err(RawPathParamsRejection::MissingPathParams(_))) | None => None,
        Some(Err(_)) => return Err(Answer::bad_request()),
    };
    let value = |name: &str| {
        let mut found = params.iter().flatten().filter(|(one, _)| *one == name);
        // Of two, nobody can tell which one the handler takes.
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.to_owned())
    };
    route.ask(&PartsHead::new(parts).reading(around), value)
}

/// Extracts the permit that the route's [`enforce`](crate::CheckpointExt::enforce) layer gave, with its obligations.
///
/// # Rejections
/// 500, with a clear line in the log, when no such layer stands before the route.
#[derive(Clone, Debug)]
pub struct Permit(sekisho_core::Permit);

impl Permit {
    /// Returns it without the extractor around.
    #[must_use]
    pub fn into_inner(self) -> sekisho_core::Permit {
        self.0
    }
}

impl Deref for Permit {
    type Target = sekisho_core::Permit;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Permit {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RefusalResponse> {
        parts.extensions.get::<sekisho_core::Permit>().cloned().map(Self).ok_or_else(|| {
            Answer::of_failure(&Failure::new(
                FailureKind::Misconfigured,
                "a handler asks for a permit, and no `enforce` stands before its route",
            ))
            .into()
        })
    }
}

/// Extracts a permit by asking for it: the handler does not run unless the application's [`Enforcer`], found in the router's
/// state, permits what `Q` asks.
///
/// # Rejections
/// Those of [`Principal`](crate::Principal), what is denied, and 502, 503 or 500 for what could not be decided.
///
/// # Examples
/// ```
/// use axum::extract::FromRef;
/// use sekisho_axum::{Ask, Permitted};
/// use sekisho_core::Enforcer;
/// use sekisho_http::RouteQuestion;
///
/// struct ReadOrder;
/// impl Ask for ReadOrder {
///     const QUESTION: RouteQuestion = RouteQuestion::new("read", "order").id_from("order");
/// }
///
/// #[derive(Clone)]
/// struct App { enforcer: Enforcer }
///
/// impl FromRef<App> for Enforcer {
///     fn from_ref(app: &App) -> Self { app.enforcer.clone() }
/// }
///
/// async fn read_order(_: Permitted<ReadOrder>) -> &'static str { "the order" }
/// # let _: axum::routing::MethodRouter<App> = axum::routing::get(read_order);
/// ```
pub struct Permitted<Q> {
    permit: sekisho_core::Permit,
    question: PhantomData<fn() -> Q>,
}

impl<Q> Permitted<Q> {
    /// Returns the permit.
    #[must_use]
    pub fn into_permit(self) -> sekisho_core::Permit {
        self.permit
    }
}

impl<Q> Deref for Permitted<Q> {
    type Target = sekisho_core::Permit;

    fn deref(&self) -> &Self::Target {
        &self.permit
    }
}

impl<S, Q: Ask> FromRequestParts<S> for Permitted<Q>
where
    S: Send + Sync,
    Enforcer: FromRef<S>,
{
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RefusalResponse> {
        let caller = Passage::caller(parts.extensions.get())?;
        let question = ask(&Q::QUESTION, parts)?;
        let permit = caller.enforce_question(&Enforcer::from_ref(state), &question).await?;
        Ok(Self { permit, question: PhantomData })
    }
}

impl<Q> fmt::Debug for Permitted<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permitted").field(&self.permit).finish()
    }
}
