use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sekisho_core::{AccessRequest, Authorize, Decision, EvaluationsSemantic, Explanation, Failure, Outline};

use super::Branch;
use super::algorithm::{Algorithm, Tally, Verdict};

/// Is several authorizers as one. A clone costs a counter.
///
/// Where all branches answer at once, so does it, and takes no memory for that.
#[derive(Clone)]
pub struct Combined {
    algorithm: Algorithm,
    branches: Arc<[Branch]>,
    is_concurrent: bool,
}

impl Combined {
    pub(super) fn new<I: IntoIterator<Item = B>, B: Into<Branch>>(algorithm: Algorithm, branches: I) -> Self {
        Self { algorithm, branches: branches.into_iter().map(Into::into).collect(), is_concurrent: false }
    }

    /// Asks all that have to wait at once, instead of one after the other; the first that settles it ends it, and the
    /// others are not waited for. It costs the decision services questions, and spares the caller time.
    ///
    /// Changes nothing for [`first_applicable`](super::first_applicable), whose order counts, and for
    /// [`decide_all`](Authorize::decide_all), where each branch is asked for many at once.
    #[must_use]
    pub const fn concurrently(mut self) -> Self {
        self.is_concurrent = true;
        self
    }

    /// Asks who answers at once; whom that leaves open stands in `waiting`.
    fn begin(&self, request: &AccessRequest<'_>) -> Progress {
        let mut progress = Progress::default();
        for (index, branch) in self.branches.iter().enumerate() {
            // What comes after one that waits is not asked before it, where the order counts.
            let ends = self.algorithm.is_ordered() && !progress.waiting.is_empty();
            match if ends { None } else { branch.decide_now(request) } {
                Some(verdict) => {
                    progress.is_settled = self.algorithm.is_settled_by(&verdict);
                    progress.tally.count(verdict);
                    if progress.is_settled {
                        break;
                    }
                }
                None => progress.waiting.push(index),
            }
        }
        progress
    }

    async fn ask_in_order(&self, progress: Progress, request: &AccessRequest<'_>) -> Tally {
        let Progress { mut tally, waiting, is_settled: _ } = progress;
        for branch in waiting.iter().filter_map(|index| self.branches.get(*index)) {
            let verdict = branch.decide(request).await;
            let is_settled = self.algorithm.is_settled_by(&verdict);
            tally.count(verdict);
            if is_settled {
                break;
            }
        }
        tally
    }

    async fn ask_at_once(&self, progress: Progress, request: &AccessRequest<'_>) -> Tally {
        let Progress { mut tally, waiting, is_settled: _ } = progress;
        let branches = waiting.iter().filter_map(|index| self.branches.get(*index)).enumerate();
        let mut questions: FuturesUnordered<_> =
            branches.map(|(place, branch)| async move { (place, branch.decide(request).await) }).collect();
        let mut verdicts: Vec<(usize, Verdict)> = Vec::with_capacity(waiting.len());
        while let Some((place, verdict)) = questions.next().await {
            if self.algorithm.is_settled_by(&verdict) {
                tally.count(verdict);
                return tally;
            }
            verdicts.push((place, verdict));
        }
        // Reasons stand in the order of the branches, whoever answered first.
        verdicts.sort_by_key(|(place, _)| *place);
        verdicts.into_iter().for_each(|(_, verdict)| tally.count(verdict));
        tally
    }
}

/// Is how far the decision about one request has come.
#[derive(Default)]
struct Progress {
    tally: Tally,
    waiting: Vec<usize>,
    is_settled: bool,
}

#[async_trait]
impl Authorize for Combined {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        let mut tally = Tally::default();
        let mut waits = false;
        for branch in &*self.branches {
            match branch.decide_now(request) {
                Some(verdict) => {
                    let is_settled = self.algorithm.is_settled_by(&verdict);
                    tally.count(verdict);
                    if is_settled {
                        return Some(tally.conclude(self.algorithm));
                    }
                }
                None if self.algorithm.is_ordered() => return None,
                None => waits = true,
            }
        }
        (!waits).then(|| tally.conclude(self.algorithm))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let progress = self.begin(request);
        let tally = if progress.is_settled || progress.waiting.is_empty() {
            progress.tally
        } else if self.is_concurrent && !self.algorithm.is_ordered() {
            self.ask_at_once(progress, request).await
        } else {
            self.ask_in_order(progress, request).await
        };
        tally.conclude(self.algorithm)
    }

    async fn decide_all(
        &self,
        requests: &[AccessRequest<'_>],
        semantic: EvaluationsSemantic,
    ) -> Vec<Result<Decision, Failure>> {
        if semantic != EvaluationsSemantic::ExecuteAll {
            return semantic.one_by_one(self, requests).await;
        }
        let mut all: Vec<Progress> = requests.iter().map(|request| self.begin(request)).collect();
        for (index, branch) in self.branches.iter().enumerate() {
            let is_open = |progress: &Progress| !progress.is_settled && progress.waiting.contains(&index);
            let open = all.iter().zip(requests).filter(|(progress, _)| is_open(progress));
            let questions: Vec<AccessRequest<'_>> = open.map(|(_, request)| request.clone()).collect();
            if questions.is_empty() {
                continue;
            }
            let verdicts = branch.decide_all(&questions).await;
            for (progress, verdict) in all.iter_mut().filter(|progress| is_open(progress)).zip(verdicts) {
                progress.is_settled = self.algorithm.is_settled_by(&verdict);
                progress.tally.count(verdict);
            }
        }
        all.into_iter().map(|progress| progress.tally.conclude(self.algorithm)).collect()
    }

    async fn explain(&self, request: &AccessRequest<'_>) -> Explanation {
        let mut tally = Tally::default();
        let mut is_settled = false;
        let mut asked: Vec<Option<(Verdict, Explanation)>> = self.branches.iter().map(|_| None).collect();
        // Who answers at once comes first, as when it is decided.
        for waits in [false, true] {
            for (branch, place) in self.branches.iter().zip(&mut asked) {
                let is_due = waits || self.algorithm.is_ordered() || branch.decide_now(request).is_some();
                if is_settled || place.is_some() || !is_due {
                    continue;
                }
                let (verdict, explanation) = branch.explain(request).await;
                is_settled = self.algorithm.is_settled_by(&verdict);
                tally.count(verdict.clone());
                *place = Some((verdict, explanation));
            }
        }
        let outcome = tally.conclude(self.algorithm);
        let parts = self.branches.iter().zip(asked).map(|(branch, asked)| match asked {
            None => Explanation::not_asked(&branch.outline()),
            Some((verdict, part)) if self.algorithm.is_decisive(&verdict, &outcome) => part,
            Some((_, part)) => part.without_weight(),
        });
        let parts = parts.collect();
        Explanation::branch(self.algorithm.name(), outcome, parts)
    }

    fn outline(&self) -> Outline {
        Outline::branch(self.algorithm.name(), self.branches.iter().map(Branch::outline))
    }
}

impl fmt::Debug for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Combined").field(&self.outline()).finish()
    }
}
