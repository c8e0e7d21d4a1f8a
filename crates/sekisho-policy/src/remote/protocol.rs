use async_trait::async_trait;
use sekisho_core::{AccessRequest, Decision, EvaluationsSemantic, Failure, SubjectId};
use sekisho_http::{HttpRequest, HttpResponse};

/// Names what must not be answered from memory any more.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a new kind must break every protocol that remembers something")]
pub enum Purge<'a> {
    /// Everything.
    All,
    /// What was decided about a subject.
    Subject(&'a SubjectId),
    /// What was decided in a session at the issuer (`sid`).
    Session {
        /// The issuer.
        issuer: &'a str,
        /// `sid`.
        id: &'a str,
    },
    /// What was decided about the bearer of a token (`jti`).
    Token {
        /// The issuer.
        issuer: &'a str,
        /// `jti`.
        id: &'a str,
    },
    /// What was decided about the bearers of the tokens of a grant, whose `jti` begins with it and a dot.
    Grant {
        /// The issuer.
        issuer: &'a str,
        /// The grant.
        id: &'a str,
    },
}

/// Speaks the language of one kind of decision service: makes a request of a question, and a decision of the answer.
///
/// It sends nothing itself; [`Remote`](super::Remote) does, within its bounds.
///
/// Contract for implementers: whatever is not clearly a permit in the service's own terms is none. A status other than the
/// one that decisions come with, a body that is not what was promised, a missing or doubled member: a [`Failure`], never a
/// decision. The answer to a batch has as many items as were asked, in their order, or all of them are failures.
#[async_trait]
pub trait DecisionProtocol: Send + Sync {
    /// Names the kind of service, for logs and metrics: `opa`, `authzen`.
    fn name(&self) -> &'static str;

    /// Answers without the service, or returns `None`. Asked before any cache, and never kept in one.
    ///
    /// For what must not be asked, and for what the protocol itself remembers. By default everything is asked.
    fn answer_now(&self, _request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        None
    }

    /// Returns a hash of whatever else the answer depends on: of the caller's token, where the service is shown it. Two
    /// questions for which it differs are never the same question. By default there is nothing else.
    fn key_part(&self, _request: &AccessRequest<'_>) -> Option<[u8; 32]> {
        None
    }

    /// Forgets what the protocol itself remembers of this. Called by the purges of [`Remote`](super::Remote), after which no
    /// answer of before may be given. By default there is nothing to forget.
    fn purge(&self, _what: Purge<'_>) {}

    /// Puts one question. It may wait where a token is needed to ask.
    ///
    /// # Errors
    /// [`Failure`] when the question cannot be put.
    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure>;

    /// Tells whether a request may be sent a second time, as it stands: while the first has no answer yet, or when its connection
    /// is lost. Where something in it is good only once, it may not, and [`Remote`](super::Remote) sends each once. By default it
    /// may, for a question changes nothing.
    fn may_send_twice(&self) -> bool {
        true
    }

    /// Checks that `response` answers `asked`, where the service says so: by a request id that it sends back. Called before
    /// [`read`](Self::read) and [`read_all`](Self::read_all). By default there is nothing to check.
    ///
    /// # Errors
    /// [`Failure`] when it answers another request.
    fn check_answer(&self, _asked: &HttpRequest, _response: &HttpResponse) -> Result<(), Failure> {
        Ok(())
    }

    /// Reads the answer to one question.
    ///
    /// # Errors
    /// [`Failure`] when it is no decision.
    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure>;

    /// Reads the answer to this question, where it is understood beside the question alone. By default as
    /// [`read`](Self::read).
    ///
    /// # Errors
    /// [`Failure`] when it is no decision.
    fn read_for(&self, _request: &AccessRequest<'_>, response: &HttpResponse) -> Result<Decision, Failure> {
        self.read(response)
    }

    /// Returns how many questions can be put at once; 1 for a service that knows no batch. Default 1.
    fn max_batch(&self) -> usize {
        1
    }

    /// Puts several questions at once, no more than [`max_batch`](Self::max_batch).
    ///
    /// # Errors
    /// [`Failure`] when they cannot be put; of the kind [`Misconfigured`](sekisho_core::FailureKind::Misconfigured) when one of
    /// them cannot be written, or all together are too long. These are then put anew, in smaller batches or one by one.
    async fn ask_all(
        &self,
        _requests: &[AccessRequest<'_>],
        _semantic: EvaluationsSemantic,
    ) -> Result<HttpRequest, Failure> {
        Err(Failure::new(sekisho_core::FailureKind::Misconfigured, "this decision service knows no batch"))
    }

    /// Reads the answer to `count` questions.
    ///
    /// # Errors
    /// [`Failure`] when it is not an answer to these.
    fn read_all(
        &self,
        _response: &HttpResponse,
        _count: usize,
        _semantic: EvaluationsSemantic,
    ) -> Result<Vec<Result<Decision, Failure>>, Failure> {
        Err(Failure::new(sekisho_core::FailureKind::Misconfigured, "this decision service knows no batch"))
    }
}
