use sekisho_core::{SessionEnd, SessionEndListener as _, SubjectId};

use super::*;
use crate::combine::fallback;
use crate::remote::Purger;

const ELSEWHERE: &str = "https://other.example";

#[tokio::test(start_paused = true)]
async fn what_was_decided_in_a_session_that_has_ended_is_asked_again_and_nobody_elses() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    let subject = |issuer, name| SubjectId::new(issuer, name);
    let (of_alice, of_bob, namesake) = (subject(ISSUER, "alice"), subject(ISSUER, "bob"), subject(ELSEWHERE, "alice"));
    let of_session = |issuer, id| SessionEnd::ProviderSession { issuer, id };
    for (end, is_forgotten) in [
        (SessionEnd::Subject(&of_alice), true),
        (SessionEnd::Subject(&of_bob), false),
        (SessionEnd::Subject(&namesake), false),
        (of_session(ISSUER, "s-1"), true),
        (of_session(ISSUER, "s-2"), false),
        (of_session(ELSEWHERE, "s-1"), false),
        // Nobody says whose these are.
        (SessionEnd::Client { issuer: ELSEWHERE, client: "shop" }, true),
    ] {
        remote.decide(&read(&alice, "p")).await.unwrap();
        assert!(remote.decide_now(&read(&alice, "p")).is_some());
        remote.session_ended(&end);
        assert_eq!(remote.decide_now(&read(&alice, "p")).is_none(), is_forgotten, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_purger_that_listens_has_all_of_its_memories_forget() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    let orders = fallback(remote.clone()).reads(["read"]).build().unwrap();
    let purger = Purger::new().with_last_known(orders.last_known()).with_remote(&remote);
    let (of_alice, of_bob) = (SubjectId::new(ISSUER, "alice"), SubjectId::new(ISSUER, "bob"));
    orders.decide(&read(&alice, "p")).await.unwrap();
    purger.session_ended(&SessionEnd::Subject(&of_bob));
    assert!(remote.decide_now(&read(&alice, "p")).is_some() && !orders.last_known().is_empty());
    purger.session_ended(&SessionEnd::Subject(&of_alice));
    assert!(remote.decide_now(&read(&alice, "p")).is_none() && orders.last_known().is_empty());
}
