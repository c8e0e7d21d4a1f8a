use std::fmt;

use async_trait::async_trait;
use sekisho_core::{AccessRequest, Authorize, Decision, Effect, EvaluationsSemantic, Explanation, Failure, Outline};

use super::join;

/// Asks in this process first, and a decision service only where that leaves anything to ask.
///
/// | local | the remote one | the decision |
/// |---|---|---|
/// | deny | is not asked | the local denial |
/// | failure | is not asked | the local failure |
/// | not applicable | is asked | what it says, whatever that is |
/// | permit | is asked | a permit if it permits, with reasons and obligations of both; else what it says |
///
/// So the coarse check stands here, by what the token says, and the fine one there; a remote permit never overturns a local
/// denial, and a local permit passes nothing by itself unless [that suffices](LocalThenRemote::where_a_local_permit_suffices).
#[must_use]
pub fn local_then_remote<L: Authorize, R: Authorize>(local: L, remote: R) -> LocalThenRemote<L, R> {
    LocalThenRemote { local, remote, does_permit_suffice: false }
}

/// Asks in this process first; see [`local_then_remote`].
#[derive(Clone)]
pub struct LocalThenRemote<L, R> {
    local: L,
    remote: R,
    does_permit_suffice: bool,
}

/// Is what the local answer leaves to do.
enum Next {
    Done(Result<Decision, Failure>),
    /// The remote one is asked; with a local permit, both must permit.
    Ask(Option<Decision>),
}

impl<L, R> LocalThenRemote<L, R> {
    /// Lets a local permit suffice: the remote one is asked only about what the local one is silent of.
    #[must_use]
    pub fn where_a_local_permit_suffices(mut self) -> Self {
        self.does_permit_suffice = true;
        self
    }

    fn after(&self, local: Result<Decision, Failure>) -> Next {
        match local {
            Err(failure) => Next::Done(Err(failure)),
            Ok(decision) => match decision.effect() {
                Effect::Deny => Next::Done(Ok(decision)),
                Effect::NotApplicable => Next::Ask(None),
                Effect::Permit if self.does_permit_suffice => Next::Done(Ok(decision)),
                Effect::Permit => Next::Ask(Some(decision)),
            },
        }
    }
}

fn conclude(local: Option<Decision>, remote: Result<Decision, Failure>) -> Result<Decision, Failure> {
    match (local, remote) {
        (Some(local), Ok(remote)) if remote.is_permitted() => Ok(join::both(local, remote)),
        (_, remote) => remote,
    }
}

#[async_trait]
impl<L: Authorize, R: Authorize> Authorize for LocalThenRemote<L, R> {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        match self.after(self.local.decide_now(request)?) {
            Next::Done(outcome) => Some(outcome),
            Next::Ask(local) => self.remote.decide_now(request).map(|remote| conclude(local, remote)),
        }
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        match self.after(self.local.decide(request).await) {
            Next::Done(outcome) => outcome,
            Next::Ask(local) => conclude(local, self.remote.decide(request).await),
        }
    }

    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        if semantic != EvaluationsSemantic::ExecuteAll {
            return semantic.one_by_one(self, requests).await;
        }
        let mut locals = self.local.decide_all(requests, semantic).await.into_iter();
        let lacking = || Err(Failure::unavailable("a decision of several is lacking"));
        let nexts: Vec<Next> = requests.iter().map(|_| self.after(locals.next().unwrap_or_else(lacking))).collect();
        let open = nexts.iter().zip(requests).filter(|(next, _)| matches!(next, Next::Ask(_)));
        let questions: Vec<AccessRequest<'_>> = open.map(|(_, request)| request.clone()).collect();
        // Nobody is asked nothing.
        let mut remotes = if questions.is_empty() {
            Vec::new().into_iter()
        } else {
            self.remote.decide_all(&questions, semantic).await.into_iter()
        };
        let decisions = nexts.into_iter().map(|next| match next {
            Next::Done(outcome) => outcome,
            Next::Ask(local) => conclude(local, remotes.next().unwrap_or_else(lacking)),
        });
        decisions.collect()
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        const NAME: &str = "local_then_remote";
        let local = self.local.explain(request).await;
        let said = local.outcome().cloned().unwrap_or_else(|| Err(Failure::unavailable("an explanation says nothing")));
        match self.after(said) {
            Next::Done(outcome) => {
                Explanation::branch(NAME, outcome, vec![local, Explanation::not_asked(&self.remote.outline())])
            }
            Next::Ask(permit) => {
                let remote = self.remote.explain(request).await;
                let said = remote
                    .outcome()
                    .cloned()
                    .unwrap_or_else(|| Err(Failure::unavailable("an explanation says nothing")));
                let is_joint = permit.is_some() && said.as_ref().is_ok_and(Decision::is_permitted);
                let local = if is_joint { local } else { local.without_weight() };
                Explanation::branch(NAME, conclude(permit, said), vec![local, remote])
            }
        }
    }

    /// Those of the local one, whose denial is final.
    fn scope_alternatives(&self) -> Vec<Vec<&str>> {
        self.local.scope_alternatives()
    }

    fn outline(&self) -> Outline {
        let name =
            if self.does_permit_suffice { "local_then_remote, a local permit suffices" } else { "local_then_remote" };
        Outline::branch(name, [self.local.outline(), self.remote.outline()])
    }
}

impl<L: Authorize, R: Authorize> fmt::Debug for LocalThenRemote<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalThenRemote").field(&self.outline()).finish()
    }
}
