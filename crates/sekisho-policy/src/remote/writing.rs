//! How several questions become requests when one of them cannot be written, or all are too long for one.

use sekisho_core::{AccessRequest, EvaluationsSemantic, Failure, FailureKind};
use sekisho_http::HttpRequest;
use tokio::time::Instant;

use super::decider::Inner;
use super::exchange::LATE;

/// Is the kind of failure with which a protocol says that a question cannot be written, whoever is asked.
pub(super) const UNWRITABLE: FailureKind = FailureKind::Misconfigured;

/// Says which questions are asked in which request, and which are asked each alone.
#[derive(Default)]
pub(super) struct Written {
    pub(super) batches: Vec<(Vec<usize>, HttpRequest)>,
    pub(super) alone: Vec<usize>,
}

/// Writing waits for nothing, so no timer ends it.
pub(super) fn check_in_time(deadline: Instant) -> Result<(), Failure> {
    if Instant::now() < deadline { Ok(()) } else { Err(LATE) }
}

impl Inner {
    /// Writes those of `requests` that are `open`, in one batch if they can be. Otherwise what cannot be written goes alone, to
    /// fail alone, and the others in as few batches as halving makes of them. Nothing is sent.
    pub(super) async fn write(
        &self,
        requests: &[AccessRequest<'_>],
        open: Vec<usize>,
        deadline: Instant,
    ) -> Result<Written, Failure> {
        let protocol = &self.exchange.protocol;
        let mut written = Written::default();
        let mut left = vec![open];
        let mut is_sifted = false;
        while let Some(mut open) = left.pop() {
            check_in_time(deadline)?;
            if open.len() <= 1 {
                written.alone.append(&mut open);
                continue;
            }
            let questions: Vec<_> = open.iter().filter_map(|&index| requests.get(index).cloned()).collect();
            match protocol.ask_all(&questions, EvaluationsSemantic::ExecuteAll).await {
                Ok(http) => written.batches.push((open, http)),
                Err(failure) if failure.kind() != UNWRITABLE => return Err(failure),
                Err(_) if is_sifted => {
                    let second = open.split_off(open.len() / 2);
                    left.extend([second, open]);
                }
                Err(_) => {
                    is_sifted = true;
                    let mut good = Vec::with_capacity(open.len());
                    for (index, question) in open.into_iter().zip(&questions) {
                        check_in_time(deadline)?;
                        let list = if protocol.ask(question).await.is_ok() { &mut good } else { &mut written.alone };
                        list.push(index);
                    }
                    left.push(good);
                }
            }
        }
        Ok(written)
    }
}
