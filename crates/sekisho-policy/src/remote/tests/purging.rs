//! In which order what remembers decisions must forget them.

use std::sync::OnceLock;

use sekisho_core::SubjectId;

use super::*;
use crate::combine::{LastKnown, fallback};
use crate::remote::{DecisionProtocol, Purge, Purger};

/// A question is on its way when Alice logs out, and another one, equal to it, comes while the memories are purged. Returns
/// whether she is permitted afterwards by what was remembered.
async fn stands_in(purge_first: impl Fn(&Remote, &LastKnown), purge_then: impl Fn(&Remote, &LastKnown)) -> bool {
    let (service, alice) = (Service::with(&[Does::DecideAfter(50), Does::Break]), alice());
    service.always(Does::Lose);
    let remote = builder(&service).without_hedge().build().unwrap();
    let orders = fallback(remote.clone()).reads(["read"]).build().unwrap();
    let known = orders.last_known().clone();
    let question = read(&alice, "p");
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        purge_first(&remote, &known);
        let second = orders.decide(&question);
        let purging = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            purge_then(&remote, &known);
        };
        let _ = futures_util::future::join(second, purging).await;
    };
    let (first, ()) = futures_util::future::join(orders.decide(&question), meanwhile).await;
    assert!(first.unwrap().is_permitted(), "it was asked before");
    orders.decide(&question).await.is_ok_and(|decision| decision.is_permitted())
}

#[tokio::test(start_paused = true)]
async fn last_known_decisions_are_purged_after_the_decider_whose_they_are() {
    let (remote, last_known) =
        (|remote: &Remote, _: &LastKnown| remote.purge_all(), |_: &Remote, known: &LastKnown| known.purge_all());
    assert!(!stands_in(remote, last_known).await);
    assert!(stands_in(last_known, remote).await, "else the order would not matter");
}

/// Notes how many last known decisions there are when it is purged itself.
struct Notes {
    inner: Opa,
    known: Arc<OnceLock<LastKnown>>,
    noted: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl DecisionProtocol for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn purge(&self, _: Purge<'_>) {
        self.noted.lock().unwrap().push(self.known.get().unwrap().len());
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        self.inner.ask(request).await
    }

    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        self.inner.read(response)
    }
}

#[tokio::test(start_paused = true)]
async fn a_purger_keeps_to_the_order_whichever_was_added_first() {
    let alice = alice();
    for is_remote_first in [true, false] {
        let purges: [fn(&Purger); 5] = [
            |purger| purger.purge_subject(&SubjectId::new(ISSUER, "alice")),
            |purger| purger.purge_session(ISSUER, "s-1"),
            |purger| purger.purge_token(ISSUER, "g-1.t-1"),
            |purger| purger.purge_grant(ISSUER, "g-1"),
            Purger::purge_all,
        ];
        for purge in purges {
            let service = Service::that(Does::Decide);
            let client: Arc<dyn HttpClient> = Arc::<Service>::clone(&service);
            let (known, noted) = (Arc::new(OnceLock::new()), Arc::default());
            let inner = Opa::at("https://opa.example", "shop").unwrap().with_gzip_above(usize::MAX);
            let protocol = Notes { inner, known: Arc::clone(&known), noted: Arc::clone(&noted) };
            let remote = Remote::builder(protocol).with_client(client).build().unwrap();
            let orders = fallback(remote.clone()).reads(["read"]).build().unwrap();
            known.set(orders.last_known().clone()).ok().unwrap();
            let purger = match is_remote_first {
                true => Purger::new().with_remote(&remote).with_last_known(orders.last_known()),
                false => Purger::new().with_last_known(orders.last_known()).with_remote(&remote),
            };
            assert!(orders.decide(&read(&alice, "p")).await.unwrap().is_permitted());
            purge(&purger);
            assert_eq!(*noted.lock().unwrap(), [1], "the decider was first");
            assert_eq!((orders.last_known().len(), remote.decide_now(&read(&alice, "p")).is_none()), (0, true));
        }
    }
}
