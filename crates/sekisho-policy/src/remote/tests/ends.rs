use sekisho_core::{SessionEnd, SessionEndListener as _, SubjectId};

use super::*;

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
