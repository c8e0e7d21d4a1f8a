use super::*;

use EvaluationsSemantic::{DenyOnFirstDeny, ExecuteAll, PermitOnFirstPermit};

/// Decides about several, and writes what came out: `p`ermit, `d`eny, `n`ot applicable, `-` a failure.
async fn all(remote: &Remote, ids: &[&str], semantic: EvaluationsSemantic) -> String {
    let alice = alice();
    let requests: Vec<_> = ids.iter().map(|id| read(&alice, id)).collect();
    let outcomes = remote.decide_all(&requests, semantic).await;
    let letter = |outcome: Result<Decision, Failure>| match outcome.map(|decision| decision.effect()) {
        Ok(Effect::Permit) => 'p',
        Ok(Effect::Deny) => 'd',
        Ok(Effect::NotApplicable) => 'n',
        Err(_) => '-',
    };
    outcomes.into_iter().map(letter).collect()
}

fn batching(service: &Arc<Service>) -> Remote {
    let client: Arc<dyn HttpClient> = Arc::<Service>::clone(service);
    let opa = Opa::at("https://opa.example", "shop").unwrap().with_gzip_above(usize::MAX).with_batch();
    Remote::builder(opa).with_client(client).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn all_are_decided_in_their_order_with_and_without_batches() {
    for (batches, requests) in [(true, 1), (false, 5)] {
        let service = Service::that(Does::Decide);
        let remote = if batches { batching(&service) } else { remote(&service) };
        assert_eq!(all(&remote, &["p1", "d1", "n1", "p2", "d2"], ExecuteAll).await, "pdnpd");
        assert_eq!(service.requests(), requests);
        // Now they are known.
        assert_eq!(all(&remote, &["d2", "p2", "n1"], ExecuteAll).await, "dpn");
        assert_eq!(service.requests(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_not_asked() {
    let service = Service::that(Does::Decide);
    let remote = batching(&service);
    for id in ["p1", "d1"] {
        decide(&remote, id).await.unwrap();
    }
    service.asked_of.lock().unwrap().clear();
    assert_eq!(all(&remote, &["d0", "p1", "p2", "d1", "n"], ExecuteAll).await, "dppdn");
    let mut asked_of = service.asked_of.lock().unwrap().clone();
    asked_of.sort_unstable();
    assert_eq!(asked_of, ["d0", "n", "p2"]);
    assert_eq!(service.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_semantic_says_where_it_ends() {
    for batches in [true, false] {
        let service = Service::that(Does::Decide);
        let remote = if batches { batching(&service) } else { remote(&service) };
        assert_eq!(all(&remote, &["p1", "p2", "d1", "p3"], DenyOnFirstDeny).await, "ppd");
        assert_eq!(all(&remote, &["p1", "n1", "p9"], DenyOnFirstDeny).await, "pn");
        assert_eq!(all(&remote, &["d4", "n4", "p4", "p5"], PermitOnFirstPermit).await, "dnp");
        assert_eq!(all(&remote, &["d6", "n6"], PermitOnFirstPermit).await, "dn");
        assert_eq!(all(&remote, &[], ExecuteAll).await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_known_end_nothing_is_asked() {
    let service = Service::that(Does::Decide);
    let remote = batching(&service);
    decide(&remote, "d1").await.unwrap();
    service.asked_of.lock().unwrap().clear();
    assert_eq!(all(&remote, &["p1", "d1", "p2"], DenyOnFirstDeny).await, "pd");
    assert_eq!(*service.asked_of.lock().unwrap(), ["p1"]);
    // Without a batch, nothing behind an end that comes out.
    let service = Service::that(Does::Decide);
    assert_eq!(all(&super::remote(&service), &["p1", "d1", "p2"], DenyOnFirstDeny).await, "pd");
    assert_eq!(*service.asked_of.lock().unwrap(), ["p1", "d1"]);
}

#[tokio::test(start_paused = true)]
async fn more_than_one_batch_holds_go_in_several() {
    let service = Service::that(Does::Decide);
    let ids: Vec<String> =
        (0..250).map(|number| format!("{}{number}", if number % 3 == 0 { 'p' } else { 'd' })).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let written = all(&batching(&service), &ids, ExecuteAll).await;
    assert!(written.chars().enumerate().all(|(index, letter)| (letter == 'p') == (index % 3 == 0)));
    assert_eq!((written.len(), service.requests()), (250, 3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_a_good_answer_decides_nothing_and_is_over_in_time() {
    for bad in [
        Does::Hang,
        Does::Lose,
        Does::Status(500),
        Does::Say("{}"),
        Does::Say(r#"{"result":true}"#),
        Does::Say(r#"{"responses":{"0":{"result":true}}}"#),
        Does::Say(r#"{"responses":{"0":{"result":true},"1":{"result":true},"2":{"result":true}}}"#),
        Does::Say(r#"{"responses":{"1":{"result":true},"2":{"result":true}}}"#),
    ] {
        let service = Service::that(bad);
        let remote = batching(&service);
        let begin = Instant::now();
        assert_eq!(all(&remote, &["p1", "p2"], ExecuteAll).await, "--", "{bad:?}");
        assert_eq!(all(&remote, &["p1", "p2"], DenyOnFirstDeny).await, "-", "{bad:?}");
        assert_eq!(all(&remote, &["p1", "p2"], PermitOnFirstPermit).await, "--", "{bad:?}");
        assert!(begin.elapsed() <= 3 * DEADLINE, "{bad:?}");
        assert_eq!(remote.health().kept, 0, "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn singles_of_one_call_share_one_deadline() {
    let service = Service::that(Does::DecideAfter(45));
    let remote = remote(&service);
    let ids: Vec<String> = (0..100).map(|number| format!("p{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let begin = Instant::now();
    let written = all(&remote, &ids, ExecuteAll).await;
    assert_eq!(begin.elapsed(), DEADLINE);
    // Sixteen at once, four times 45 ms; what is left has no decision.
    assert_eq!(written, format!("{}{}", "p".repeat(64), "-".repeat(36)));
}

#[tokio::test(start_paused = true)]
async fn a_purge_while_a_batch_is_on_its_way_keeps_nothing_of_it() {
    let service = Service::that(Does::DecideAfter(40));
    let remote = batching(&service);
    let purge = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        remote.purge_token(ISSUER, "g-1.t-1");
    };
    let (written, ()) = tokio::join!(all(&remote, &["p1", "p2"], ExecuteAll), purge);
    assert_eq!(written, "pp");
    let alice = alice();
    assert!(remote.decide_now(&read(&alice, "p1")).is_none() && remote.decide_now(&read(&alice, "p2")).is_none());
}

#[tokio::test(start_paused = true)]
async fn doubles_among_several_are_asked_once() {
    for batches in [true, false] {
        let service = Service::that(Does::Decide);
        let remote = if batches { batching(&service) } else { remote(&service) };
        assert_eq!(all(&remote, &["p1", "d1", "p1", "p1", "d1", "n1"], ExecuteAll).await, "pdppdn");
        let mut asked_of = service.asked_of.lock().unwrap().clone();
        asked_of.sort_unstable();
        assert_eq!(asked_of, ["d1", "n1", "p1"], "{batches}");
    }
    let service = Service::that(Does::Decide);
    let ids: Vec<String> = (0..300).map(|number| format!("p{}", number % 7)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(all(&batching(&service), &ids, ExecuteAll).await, "p".repeat(300));
    assert_eq!((service.requests(), service.asked_of.lock().unwrap().len()), (1, 7));
}

#[tokio::test(start_paused = true)]
async fn equal_questions_of_batches_and_singles_on_their_way_are_asked_once() {
    let service = Service::that(Does::DecideAfter(40));
    let remote = batching(&service);
    let later = async |millis, ids: &[&str]| {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        all(&remote, ids, ExecuteAll).await
    };
    let begin = Instant::now();
    let answers = tokio::join!(
        later(0, &["p1", "d1"]),
        later(10, &["d1", "p2", "p1"]), // asks for p2 alone
        later(20, &["p1"]),             // alone, on its way in a batch
        later(5, &["d9"]),
        later(20, &["p3", "d9"]), // in a batch, on its way alone
    );
    let (one, two, three, four, five) = &answers;
    assert_eq!([one, two, three, four, five], ["pd", "dpp", "p", "d", "pd"]);
    assert_eq!(begin.elapsed().as_millis(), 60);
    let mut asked_of = service.asked_of.lock().unwrap().clone();
    asked_of.sort_unstable();
    assert_eq!(asked_of, ["d1", "d9", "p1", "p2", "p3"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_batch_of_another_gets_its_answer_also_when_the_other_goes_away() {
    let service = Service::that(Does::DecideAfter(40));
    let remote = batching(&service);
    let goes_away = tokio::time::timeout(Duration::from_millis(20), all(&remote, &["p1", "d1"], ExecuteAll));
    let waits = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        all(&remote, &["d1", "p1"], ExecuteAll).await
    };
    let (gone, answers) = tokio::join!(goes_away, waits);
    assert!(gone.is_err());
    assert_eq!((answers.as_str(), service.requests(), remote.health().kept), ("dp", 1, 2));
    assert_eq!(remote.health().free, 64);
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_to_a_batch_is_one_for_all_who_wait_for_it_and_is_not_kept() {
    let service = Service::that(Does::Hang);
    let remote = batching(&service);
    let (one, other) = tokio::join!(all(&remote, &["p1", "p2"], ExecuteAll), all(&remote, &["p2", "p1"], ExecuteAll));
    // One, and the second request for it.
    assert_eq!((one.as_str(), other.as_str(), service.requests(), remote.health().kept), ("--", "--", 2, 0));
    service.always(Does::Decide);
    assert_eq!(all(&remote, &["p1", "p2"], ExecuteAll).await, "pp");
}

#[tokio::test(start_paused = true)]
async fn after_a_purge_nobody_waits_for_a_batch_of_before() {
    let service = Service::that(Does::DecideAfter(40));
    let remote = batching(&service);
    let after = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        remote.purge_token(ISSUER, "g-1.t-1");
        all(&remote, &["p1", "p2"], ExecuteAll).await
    };
    let (before, after) = tokio::join!(all(&remote, &["p1", "p2"], ExecuteAll), after);
    assert_eq!((before.as_str(), after.as_str(), service.requests()), ("pp", "pp", 2));
}
