use sekisho_core::SubjectId;
use sekisho_core::json::JsonObject;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_kept_decision_is_given_without_waiting_and_says_that_it_was_kept() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    assert!(remote.decide_now(&read(&alice, "p")).is_none());
    let first = decide(&remote, "p").await.unwrap();
    assert_eq!((first.source(), first.id()), (DecisionSource::Remote, Some("about-p")));
    let kept = remote.decide_now(&read(&alice, "p")).unwrap().unwrap();
    assert_eq!((kept.source(), kept.id(), kept.is_permitted()), (DecisionSource::Cache, Some("about-p"), true));
    assert!(remote.decide_now(&read(&alice, "p2")).is_none());
    let bob = PrincipalBuilder::new(ISSUER, "bob").build().unwrap();
    assert!(remote.decide_now(&read(&bob, "p")).is_none());
}

#[tokio::test(start_paused = true)]
async fn denials_and_silence_are_kept_for_a_second_and_permits_for_five() {
    let service = Service::that(Does::Decide);
    let remote = remote(&service);
    let seconds = |secs| tokio::time::advance(Duration::from_secs(secs));
    for id in ["p", "d", "n"] {
        decide(&remote, id).await.unwrap();
        assert_eq!(decide(&remote, id).await.unwrap().source(), DecisionSource::Cache, "{id}");
    }
    seconds(1).await;
    for (id, source) in [("p", DecisionSource::Cache), ("d", DecisionSource::Remote), ("n", DecisionSource::Remote)] {
        assert_eq!(decide(&remote, id).await.unwrap().source(), source, "{id}");
    }
    seconds(4).await;
    assert_eq!(decide(&remote, "p").await.unwrap().source(), DecisionSource::Remote);
    service.always(Does::Hang);
    seconds(5).await;
    // What was known once is no answer when the service is away.
    assert!(decide(&remote, "p").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_every_question_is_asked() {
    let service = Service::that(Does::Decide);
    for builder in
        [builder(&service).without_cache(), builder(&service).with_cache_lifetimes(Duration::ZERO, Duration::ZERO)]
    {
        let (remote, before) = (builder.build().unwrap(), service.requests());
        for _ in 0..3 {
            assert_eq!(decide(&remote, "p").await.unwrap().source(), DecisionSource::Remote);
        }
        assert_eq!((service.requests() - before, remote.health().kept), (3, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_may_not_be_kept_is_not() {
    let service = Service::that(Does::Say(r#"{"result":{"allow":true,"lifetime_s":0}}"#));
    let remote = remote(&service);
    for _ in 0..3 {
        assert_eq!(decide(&remote, "p").await.unwrap().source(), DecisionSource::Remote);
    }
    assert_eq!(service.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_purge_ends_what_is_kept_for_whom_it_names() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    let carol =
        PrincipalBuilder::new(ISSUER, "carol").with_claim("sid", "s-7").with_claim("jti", "t-7").build().unwrap();
    let purges: [fn(&Remote); 4] = [
        |remote| remote.purge_subject(&SubjectId::new(ISSUER, "alice")),
        |remote| remote.purge_session(ISSUER, "s-1"),
        |remote| remote.purge_token(ISSUER, "g-1.t-1"),
        |remote| remote.purge_grant(ISSUER, "g-1"),
    ];
    for (index, purge) in purges.iter().enumerate() {
        for who in [&alice, &carol] {
            remote.decide(&read(who, "p")).await.unwrap();
            assert!(remote.decide_now(&read(who, "p")).is_some(), "{index}");
        }
        purge(&remote);
        assert!(remote.decide_now(&read(&alice, "p")).is_none(), "{index}");
        assert!(remote.decide_now(&read(&carol, "p")).is_some(), "{index}");
    }
    remote.purge_all();
    assert!(remote.decide_now(&read(&carol, "p")).is_none());
    assert_eq!(remote.health().kept, 0);
}

#[tokio::test(start_paused = true)]
async fn a_purge_counts_in_every_thread_that_had_an_answer() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    let known_by = || {
        let runtime = tokio::runtime::Handle::current();
        let ask = || {
            let _entered = runtime.enter();
            remote.decide_now(&read(&alice, "p")).is_some()
        };
        (0..64).filter(|_| std::thread::scope(|scope| scope.spawn(ask).join().unwrap())).count()
    };
    let purges: [fn(&Remote); 5] = [
        |remote| remote.purge_subject(&SubjectId::new(ISSUER, "alice")),
        |remote| remote.purge_session(ISSUER, "s-1"),
        |remote| remote.purge_token(ISSUER, "g-1.t-1"),
        |remote| remote.purge_grant(ISSUER, "g-1"),
        Remote::purge_all,
    ];
    for purge in purges {
        assert_eq!(known_by(), 0);
        remote.decide(&read(&alice, "p")).await.unwrap();
        assert_eq!((known_by(), known_by()), (64, 64));
        purge(&remote);
    }
    assert_eq!(known_by(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_on_its_way_at_a_purge_is_neither_kept_nor_shared_with_who_comes_later() {
    let service = Service::with(&[Does::DecideAfter(40), Does::DecideAfter(5), Does::DecideAfter(40)]);
    let remote = remote(&service);
    let purged = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        remote.purge_session(ISSUER, "s-1");
        let late = decide(&remote, "p").await.unwrap();
        // It had a request of its own, and an answer before the first.
        assert_eq!(service.requests(), 2);
        remote.purge_session(ISSUER, "s-1");
        late
    };
    let (early, late) = tokio::join!(decide(&remote, "p"), purged);
    assert!(early.unwrap().is_permitted() && late.is_permitted());
    let alice = alice();
    assert!(remote.decide_now(&read(&alice, "p")).is_none());
    assert_eq!(decide(&remote, "p").await.unwrap().source(), DecisionSource::Remote);
    assert_eq!(service.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn new_policies_end_what_the_old_ones_said() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let remote = remote(&service);
    *service.revision.lock().unwrap() = "1";
    assert_eq!(decide(&remote, "p").await.unwrap().revision(), Some("1"));
    assert!(remote.decide_now(&read(&alice, "p")).is_some());
    *service.revision.lock().unwrap() = "2";
    assert_eq!(decide(&remote, "p2").await.unwrap().revision(), Some("2"));
    assert!(remote.decide_now(&read(&alice, "p")).is_none());
    decide(&remote, "p").await.unwrap();
    assert_eq!(remote.decide_now(&read(&alice, "p")).unwrap().unwrap().revision(), Some("2"));
    // A server that has the old ones still brings nothing back.
    *service.revision.lock().unwrap() = "1";
    decide(&remote, "p3").await.unwrap();
    assert!(remote.decide_now(&read(&alice, "p")).is_none());
    assert!(remote.decide_now(&read(&alice, "p3")).is_none());
}

#[tokio::test(start_paused = true)]
async fn another_context_is_another_question_unless_it_is_said_what_counts() {
    let (service, alice) = (Service::that(Does::Decide), alice());
    let context = |json: &str| JsonObject::parse(json.as_bytes().to_vec()).unwrap();
    let (one, other) = (context(r#"{"ip":"a","id":1}"#), context(r#"{"ip":"a","id":2}"#));
    let whole = remote(&service);
    whole.decide(&read(&alice, "p").with_context(&one)).await.unwrap();
    assert!(whole.decide_now(&read(&alice, "p").with_context(&one)).is_some());
    assert!(whole.decide_now(&read(&alice, "p").with_context(&other)).is_none());
    assert!(whole.decide_now(&read(&alice, "p")).is_none());
    let named = builder(&service).depends_on_context(["ip"]).build().unwrap();
    named.decide(&read(&alice, "p").with_context(&one)).await.unwrap();
    assert!(named.decide_now(&read(&alice, "p").with_context(&other)).is_some());
    let elsewhere = context(r#"{"ip":"b","id":1}"#);
    assert!(named.decide_now(&read(&alice, "p").with_context(&elsewhere)).is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_found_by_a_clock_that_was_set_back_or_for_a_credential_that_has_ended() {
    let service = Service::that(Does::Decide);
    let remote = remote(&service);
    let ending =
        PrincipalBuilder::new(ISSUER, "alice").with_expiry(NOW.saturating_add(Duration::from_secs(2))).build().unwrap();
    let at = |secs: u64| AccessRequest::new(&ending, "read", Resource::new("order", "p"), UnixSeconds::new(secs));
    remote.decide(&at(NOW.as_secs())).await.unwrap();
    assert!(remote.decide_now(&at(NOW.as_secs() + 1)).is_some());
    assert!(remote.decide_now(&at(NOW.as_secs() + 2)).is_none());
    assert!(remote.decide_now(&at(NOW.as_secs() - 1)).is_none());
}
