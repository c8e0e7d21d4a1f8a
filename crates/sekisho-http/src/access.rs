use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Attributes, Barred, Denial, Enforcer, Failure, FailureKind, Permit, Principal, Resource, UnixSeconds,
};

use crate::answer::Answer;

/// Asks of one request what an [`Enforcer`] has to decide: which action, on which resource. Who asks is the principal that
/// the checkpoint let pass.
///
/// It is made where the route is known, of what the router itself found: the path that a client wrote can be spelled in many
/// ways, the route that serves it is one.
#[derive(Clone)]
pub struct Question {
    action: Cow<'static, str>,
    kind: Cow<'static, str>,
    id: Cow<'static, str>,
    attributes: Option<Arc<dyn Attributes + Send + Sync>>,
    context: Option<JsonObject>,
}

impl Question {
    /// Asks for an action on the resource of this type and id.
    #[must_use]
    pub fn new(
        action: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        id: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { action: action.into(), kind: kind.into(), id: id.into(), attributes: None, context: None }
    }

    /// Adds the attributes of the resource.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Arc<dyn Attributes + Send + Sync>) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// Adds facts about the circumstances.
    #[must_use]
    pub fn with_context(mut self, context: JsonObject) -> Self {
        self.context = Some(context);
        self
    }

    /// Asks it for this principal.
    #[must_use]
    pub fn of<'a>(&'a self, principal: &'a Principal, now: UnixSeconds) -> AccessRequest<'a> {
        let mut resource = Resource::new(&self.kind, &self.id);
        if let Some(attributes) = &self.attributes {
            resource = resource.with_attributes(&**attributes);
        }
        let request = AccessRequest::new(principal, &self.action, resource, now);
        match &self.context {
            Some(context) => request.with_context(context),
            None => request,
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, kind, id, .. } = self;
        f.debug_struct("Question").field("action", action).field("kind", kind).field("id", id).finish_non_exhaustive()
    }
}

/// Says for a route what is asked of each request to it: the action, the type of the resource, and in which parameter of the
/// path its id stands.
///
/// # Examples
/// ```
/// use sekisho_http::RouteQuestion;
/// // GET /orders/{order}
/// let read = RouteQuestion::new("read", "order").id_from("order");
/// // The same for all methods: read, create, update, delete.
/// let orders = RouteQuestion::by_method("order").id_from("order");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RouteQuestion {
    action: Option<&'static str>,
    kind: &'static str,
    parameter: Option<&'static str>,
    is_canonical: fn(&str) -> bool,
}

impl RouteQuestion {
    /// Asks for one action on resources of this type. Without [`id_from`](Self::id_from) the id is empty: the question is
    /// about the type, as for a list.
    #[must_use]
    pub const fn new(action: &'static str, kind: &'static str) -> Self {
        Self { action: Some(action), kind, parameter: None, is_canonical: any_text }
    }

    /// Asks for `read` when the method is `GET` or `HEAD`, `create` for `POST`, `update` for `PUT` and `PATCH`, `delete` for
    /// `DELETE`. Any other method is refused, but for [preflights that may
    /// pass](crate::CheckpointBuilder::with_preflight_passing): nothing is asked about them.
    #[must_use]
    pub const fn by_method(kind: &'static str) -> Self {
        Self { action: None, kind, parameter: None, is_canonical: any_text }
    }

    /// Takes the resource's id from this parameter of the route, decoded as a handler gets it that takes it as a text.
    ///
    /// A handler that takes it as a number or the like reads `042` as `42`, and so serves another id than was asked about:
    /// for that, take [`id_from_as`](Self::id_from_as).
    #[must_use]
    pub const fn id_from(mut self, parameter: &'static str) -> Self {
        self.parameter = Some(parameter);
        self
    }

    /// Takes the resource's id from this parameter of the route as [`id_from`](Self::id_from) does, and refuses with 400 what
    /// is not written as a `T` writes itself: `042`, `+42`, a UUID in capitals.
    #[must_use]
    pub const fn id_from_as<T: FromStr + fmt::Display>(mut self, parameter: &'static str) -> Self {
        self.parameter = Some(parameter);
        self.is_canonical = is_written_as::<T>;
        self
    }

    /// Puts the question for one request; `parameter` reads a parameter of the route.
    ///
    /// # Errors
    /// The answer to refuse the request with: 403 for a method that means no action; 400 for an id that is not written as it must be; 500, with a clear line in the log, when
    /// the route has no such parameter.
    pub fn ask(&self, method: &str, parameter: impl FnOnce(&str) -> Option<String>) -> Result<Question, Answer> {
        let action = match (self.action, method) {
            (Some(action), _) => action,
            (None, "GET" | "HEAD") => "read",
            (None, "POST") => "create",
            (None, "PUT" | "PATCH") => "update",
            (None, "DELETE") => "delete",
            (None, _) => return Err(Answer::forbidden()),
        };
        let id = match self.parameter {
            None => String::new(),
            Some(name) => parameter(name).ok_or_else(|| {
                Answer::of_failure(&Failure::new(
                    FailureKind::Misconfigured,
                    "the route has no parameter of the name from which the resource's id is taken",
                ))
            })?,
        };
        if !(self.is_canonical)(&id) {
            return Err(Answer::bad_request());
        }
        Ok(Question::new(action, self.kind, id))
    }
}

/// Names what a handler asks by a type, for the extractors `Permitted` of the adapters.
pub trait Ask {
    /// The question of the route.
    const QUESTION: RouteQuestion;
}

const fn any_text(_: &str) -> bool {
    true
}

fn is_written_as<T: FromStr + fmt::Display>(text: &str) -> bool {
    text.parse::<T>().is_ok_and(|value| value.to_string() == text)
}

/// Is what becomes of a request at an enforcement point.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a new outcome must break every caller's match")]
pub enum Enforcement {
    /// It passes; without a permit if it is a CORS preflight that may pass.
    Pass(Option<Permit>),
    /// It is refused.
    Refuse(Answer),
    /// The decision takes a while.
    Wait(PendingDecision),
}

/// Is a decision that has to wait.
pub struct PendingDecision {
    pub(crate) caller: crate::Caller,
    pub(crate) enforcer: Enforcer,
    pub(crate) question: Question,
}

impl PendingDecision {
    /// Waits for the decision. Dropping the future is safe: nothing has passed.
    ///
    /// # Errors
    /// The answer to refuse the request with.
    pub async fn resolve(self) -> Result<Permit, Answer> {
        let Self { caller, enforcer, question } = self;
        caller.enforce_question(&enforcer, &question).await
    }
}

impl fmt::Debug for PendingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingDecision").field("question", &self.question).finish_non_exhaustive()
    }
}

/// Returns what of a barred request its caller is told.
pub(crate) fn told(barred: Barred) -> Result<Denial, Failure> {
    match barred {
        Barred::Denied { denial, .. } => Ok(denial),
        Barred::Failed(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(question: RouteQuestion, id: &str) -> Option<u16> {
        question.ask("GET", |name| (name == "order").then(|| id.to_owned())).err().map(|answer| answer.status())
    }

    #[test]
    fn an_id_is_asked_about_only_as_it_is_written() {
        let number = RouteQuestion::new("read", "order").id_from_as::<u64>("order");
        for good in ["0", "42", "18446744073709551615"] {
            assert_eq!(status(number, good), None, "{good}");
        }
        for bad in ["042", "+42", "", " 42", "42 ", "-1", "4_2", "18446744073709551616", "x", "4.2", "٤٢"] {
            assert_eq!(status(number, bad), Some(400), "{bad}");
        }
        assert_eq!(status(RouteQuestion::new("read", "order").id_from("order"), "042"), None);
        assert_eq!(status(RouteQuestion::new("read", "order").id_from_as::<u64>("other"), "42"), Some(500));
    }
}
