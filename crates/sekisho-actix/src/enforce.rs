use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ResourcePath, Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest};
use sekisho_core::{Enforcer, Failure, FailureKind};
use sekisho_http::{Answer, Ask, Checkpoint, Enforcement, Passage, Question, RouteQuestion};

use crate::RefusalError;
use crate::future::ResponseFuture;
use crate::service::Head;

/// Puts the question of a route for one request, of the parameters that actix-web's router found.
fn ask<P: ResourcePath>(
    route: &RouteQuestion,
    method: &str,
    found: &actix_web::dev::Path<P>,
) -> Result<Question, Answer> {
    let mut broken = false;
    let asked = route.ask(method, |name| {
        let mut values = found.iter().filter(|(one, _)| *one == name);
        // Of two, nobody can tell which one the handler takes.
        let value = values.next().filter(|_| values.next().is_none()).map(|(_, value)| value)?;
        // The router leaves some characters as they were written; the handler's `Path` decodes them, and so does this.
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
        broken = decoded.is_err();
        Some(decoded.unwrap_or_default().into_owned())
    });
    if broken { Err(Answer::bad_request()) } else { asked }
}

/// Puts an enforcement point before a service; made by [`CheckpointExt::enforce`](crate::CheckpointExt::enforce).
#[derive(Clone, Debug)]
pub struct EnforceMiddleware {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) enforcer: Enforcer,
    pub(crate) question: RouteQuestion,
}

impl<S, B> Transform<S, ServiceRequest> for EnforceMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody,
{
    type Response = <Self::Transform as Service<ServiceRequest>>::Response;
    type Error = Error;
    type Transform = EnforceService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(EnforceService { inner: Rc::new(inner), middleware: self.clone() }))
    }
}

/// Lets requests pass that an [`Enforcer`] permits; made by [`EnforceMiddleware`].
pub struct EnforceService<S> {
    inner: Rc<S>,
    middleware: EnforceMiddleware,
}

impl<S, B> Service<ServiceRequest> for EnforceService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let EnforceMiddleware { checkpoint, enforcer, question } = &self.middleware;
        // A permit of another question, of a middleware further out, is none for this one.
        request.extensions_mut().remove::<sekisho_core::Permit>();
        let passage = request.extensions().get::<Passage>().cloned();
        if checkpoint.lets_preflight_pass(passage.as_ref(), &Head(&request)) {
            return ResponseFuture::inner(self.inner.call(request));
        }
        let outcome = match ask(question, request.method().as_str(), request.match_info()) {
            Ok(question) => checkpoint.enforce_passage(passage.as_ref(), enforcer, question, &Head(&request)),
            Err(answer) => Enforcement::Refuse(answer),
        };
        match outcome {
            Enforcement::Pass(permit) => {
                if let Some(permit) = permit {
                    request.extensions_mut().insert(permit);
                }
                ResponseFuture::inner(self.inner.call(request))
            }
            Enforcement::Refuse(answer) => ResponseFuture::refused(answer, request),
            Enforcement::Wait(pending) => ResponseFuture::deciding(pending, Rc::clone(&self.inner), request),
        }
    }
}

impl<S> fmt::Debug for EnforceService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnforceService").field("middleware", &self.middleware).finish_non_exhaustive()
    }
}

/// Extracts the permit that the route's [`enforce`](crate::CheckpointExt::enforce) middleware gave, with its obligations.
///
/// # Errors
/// 500, with a clear line in the log, when no such middleware stands before the route.
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

impl FromRequest for Permit {
    type Error = RefusalError;
    type Future = Ready<Result<Self, RefusalError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<sekisho_core::Permit>().cloned();
        ready(
            found
                .map(Self)
                .ok_or_else(|| misconfigured("a handler asks for a permit, and no `enforce` stands before its route")),
        )
    }
}

/// Extracts a permit by asking for it: the handler does not run unless the application's [`Enforcer`], found in
/// `app_data`, permits what `Q` asks.
///
/// # Errors
/// Those of [`Principal`](crate::Principal), what is denied, 502, 503 or 500 for what could not be decided, and 500 when
/// `app_data` has no [`Enforcer`].
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

impl<Q: Ask> FromRequest for Permitted<Q> {
    type Error = RefusalError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, RefusalError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = Passage::caller(request.extensions().get());
        let enforcer = request.app_data::<Enforcer>().cloned();
        let question = ask(&Q::QUESTION, request.method().as_str(), request.match_info());
        Box::pin(async move {
            let enforcer = enforcer.ok_or_else(|| misconfigured("no `Enforcer` stands in the application's data"))?;
            let permit = caller?.enforce_question(&enforcer, &question?).await?;
            Ok(Self { permit, question: PhantomData })
        })
    }
}

impl<Q> fmt::Debug for Permitted<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permitted").field(&self.permit).finish()
    }
}

fn misconfigured(context: &'static str) -> RefusalError {
    Answer::of_failure(&Failure::new(FailureKind::Misconfigured, context)).into()
}
