use super::*;
use crate::remote::DecisionProtocol;

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_asked_twice_and_is_a_failure_at_the_deadline() {
    let service = Service::that(Does::Hang);
    let (outcome, millis) = timed(&remote(&service), "p").await;
    assert_eq!(kind(&outcome), Some(FailureKind::Unavailable));
    assert_eq!((millis, service.requests()), (200, 2));
    assert_eq!(service.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_second_request_wins_when_the_first_is_silent_and_the_first_when_it_is_only_slow() {
    let service = Service::with(&[Does::Hang, Does::Decide]);
    let (outcome, millis) = timed(&remote(&service), "p").await;
    assert_eq!((outcome.unwrap().effect(), millis, service.requests()), (Effect::Permit, 50, 2));
    let service = Service::with(&[Does::DecideAfter(80), Does::Hang]);
    let (outcome, millis) = timed(&remote(&service), "d").await;
    assert_eq!((outcome.unwrap().effect(), millis, service.requests()), (Effect::Deny, 80, 2));
}

#[tokio::test(start_paused = true)]
async fn a_quick_service_is_asked_once() {
    let service = Service::that(Does::DecideAfter(49));
    assert!(decide(&remote(&service), "p").await.unwrap().is_permitted());
    assert_eq!(service.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_tried_again_at_once_and_once() {
    for lost in [Does::Lose, Does::Break] {
        let service = Service::with(&[lost]);
        let (outcome, millis) = timed(&remote(&service), "p").await;
        assert_eq!((outcome.unwrap().is_permitted(), millis, service.requests()), (true, 0, 2), "{lost:?}");
        let service = Service::that(lost);
        let (outcome, millis) = timed(&remote(&service), "p").await;
        assert_eq!((outcome.is_err(), millis, service.requests()), (true, 0, 2), "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_on_their_way_a_bad_answer_does_not_beat_a_good_one() {
    let service = Service::with(&[Does::DecideAfter(100), Does::Status(500)]);
    let (outcome, millis) = timed(&remote(&service), "p").await;
    assert_eq!((outcome.unwrap().is_permitted(), millis), (true, 100));
    let service = Service::with(&[Does::Hang, Does::Say("{}}"), Does::Decide]);
    let (outcome, millis) = timed(&remote(&service), "p").await;
    assert_eq!((outcome.is_err(), millis, service.requests()), (true, 200, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_decision_is_not_asked_for_again() {
    for bad in [
        Does::Status(500),
        Does::Status(503),
        Does::Status(302),
        Does::Status(404),
        Does::Say(r#"{"result":"true"}"#),
        Does::Say(r#"{"result":true"#),
        Does::Say(r#"{"result":true,"result":true}"#),
    ] {
        let service = Service::that(bad);
        let remote = remote(&service);
        let (outcome, millis) = timed(&remote, "p").await;
        assert_eq!((outcome.is_err(), millis, service.requests()), (true, 0, 1), "{bad:?}");
        // Nor is it kept.
        service.always(Does::Decide);
        assert!(decide(&remote, "p").await.unwrap().is_permitted(), "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_hedge_nothing_is_asked_twice() {
    for (does, millis) in [(Does::Hang, 200), (Does::Lose, 0)] {
        let service = Service::that(does);
        let (outcome, took) = timed(&builder(&service).without_hedge().build().unwrap(), "p").await;
        assert_eq!((outcome.is_err(), took, service.requests()), (true, millis, 1), "{does:?}");
    }
}

/// A question of it is good only once.
struct Once(Opa);

#[async_trait]
impl DecisionProtocol for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn may_send_twice(&self) -> bool {
        false
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        self.0.ask(request).await
    }

    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        self.0.read(response)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_good_only_once_is_never_sent_twice() {
    for (does, millis) in [(Does::Hang, 200), (Does::Lose, 0), (Does::Break, 0), (Does::DecideAfter(150), 150)] {
        let service = Service::that(does);
        let client: Arc<dyn HttpClient> = Arc::<Service>::clone(&service);
        let once = || Once(Opa::at("https://opa.example", "shop").unwrap().with_gzip_above(usize::MAX));
        let builder = || Remote::builder(once()).with_client(Arc::clone(&client));
        let (outcome, took) = timed(&builder().build().unwrap(), "p").await;
        assert_eq!((outcome.is_ok(), took, service.requests()), (millis == 150, millis, 1), "{does:?}");
        assert!(builder().without_hedge().build().is_ok());
        assert!(builder().with_hedge_after(Duration::from_millis(50)).build().is_err(), "it was asked for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_left_alone_until_one_request_has_an_answer() {
    let service = Service::that(Does::Hang);
    let remote = builder(&service).without_hedge().build().unwrap();
    for _ in 0..5 {
        assert!(decide(&remote, "p").await.is_err());
    }
    assert!(remote.health().is_open);
    let (outcome, millis) = timed(&remote, "p").await;
    let failure = outcome.unwrap_err();
    assert_eq!((failure.kind(), millis, service.requests()), (FailureKind::Unavailable, 0, 5));
    assert!(failure.retry_after().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    // One goes, and the other is refused at once.
    let (one, other) = tokio::join!(timed(&remote, "p1"), timed(&remote, "p2"));
    assert_eq!((one.1, other.1, service.requests()), (200, 0, 6));
    assert!(one.0.is_err() && other.0.is_err() && remote.health().is_open);
    tokio::time::advance(Duration::from_secs(1)).await;
    service.always(Does::Decide);
    assert!(decide(&remote, "p").await.unwrap().is_permitted());
    assert!(!remote.health().is_open && decide(&remote, "p2").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn questions_that_make_the_service_stumble_cost_nobody_else_an_answer() {
    let service = Service::that(Does::Status(500));
    let remote = remote(&service);
    for _ in 0..50 {
        assert!(decide(&remote, "p").await.is_err());
    }
    assert!(!remote.health().is_open);
    for status in [429, 502, 503, 504] {
        let service = Service::that(Does::Status(status));
        let remote = builder(&service).build().unwrap();
        for _ in 0..5 {
            assert!(decide(&remote, "p").await.is_err());
        }
        assert!(remote.health().is_open, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_go_away_do_not_open_the_circuit() {
    let service = Service::that(Does::Hang);
    let remote = remote(&service);
    for _ in 0..50 {
        assert!(tokio::time::timeout(Duration::from_millis(10), decide(&remote, "p")).await.is_err());
    }
    assert!(!remote.health().is_open);
    assert_eq!((service.running.load(Ordering::SeqCst), remote.health().free), (0, 64));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_sent_and_no_more_than_so_many_wait() {
    let service = Service::that(Does::DecideAfter(40));
    let remote = builder(&service).with_max_concurrent(2, 3).build().unwrap();
    let begin = Instant::now();
    let ids = ["p0", "p1", "p2", "p3", "p4", "p5", "p6"];
    let outcomes = join_all(ids.map(|id| timed(&remote, id))).await;
    let good = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert_eq!((good, service.requests(), service.most.load(Ordering::SeqCst)), (5, 5, 2));
    for (outcome, millis) in outcomes.iter().filter(|(outcome, _)| outcome.is_err()) {
        assert_eq!((kind(outcome), *millis), (Some(FailureKind::Unavailable), 0));
    }
    assert_eq!(begin.elapsed().as_millis(), 120);
    assert_eq!(remote.health().free, 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_is_within_the_deadline() {
    let service = Service::that(Does::Hang);
    let remote = builder(&service).with_max_concurrent(1, 9).with_circuit_breaker(32, DEADLINE).build().unwrap();
    let outcomes = join_all(["p0", "p1", "p2"].map(|id| timed(&remote, id))).await;
    assert!(outcomes.iter().all(|(outcome, millis)| outcome.is_err() && *millis == 200));
    // A second request has no place either.
    assert_eq!(service.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_with_the_same_question_share_one_request() {
    let service = Service::that(Does::DecideAfter(20));
    let remote = remote(&service);
    let outcomes = join_all((0..500).map(|_| decide(&remote, "p"))).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().source() == DecisionSource::Remote));
    assert_eq!(service.requests(), 1);
    assert_eq!(decide(&remote, "p").await.unwrap().source(), DecisionSource::Cache);
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_first_may_go_away() {
    let service = Service::that(Does::DecideAfter(40));
    let remote = remote(&service);
    let first = tokio::time::timeout(Duration::from_millis(10), decide(&remote, "p"));
    let (first, second) = tokio::join!(first, decide(&remote, "p"));
    assert!(first.is_err() && second.unwrap().is_permitted());
    assert_eq!(service.requests(), 1);
}

#[test]
fn outside_of_a_runtime_is_a_failure_and_no_panic() {
    let service = Service::that(Does::Decide);
    let remote = remote(&service);
    let outcome = futures_util::FutureExt::now_or_never(decide(&remote, "p")).unwrap();
    assert_eq!(kind(&outcome), Some(FailureKind::Misconfigured));
    let alice = alice();
    let requests = [read(&alice, "p"), read(&alice, "p")];
    let all = remote.decide_all(&requests, EvaluationsSemantic::ExecuteAll);
    let outcomes = futures_util::FutureExt::now_or_never(all).unwrap();
    assert!(outcomes.len() == 2 && outcomes.iter().all(Result::is_err));
}

#[test]
fn bounds_that_cannot_be_are_refused() {
    let service = Service::that(Does::Decide);
    let second = Duration::from_secs(1);
    let bad: [fn(RemoteBuilder) -> RemoteBuilder; 14] = [
        |b| b.with_deadline(Duration::ZERO),
        |b| b.with_deadline(Duration::from_secs(11)),
        |b| b.with_hedge_after(Duration::ZERO),
        |b| b.with_hedge_after(DEADLINE),
        |b| b.with_max_concurrent(0, 1),
        |b| b.with_max_concurrent(10_001, 1),
        |b| b.with_max_concurrent(1, 100_001),
        |b| b.with_circuit_breaker(0, DEADLINE),
        |b| b.with_circuit_breaker(33, DEADLINE),
        |b| b.with_circuit_breaker(5, Duration::ZERO),
        |b| b.with_max_body_bytes(0),
        |b| b.with_cache_bounds(0, 1 << 20),
        |b| b.with_cache_bounds(10, 1000),
        |b| b.with_cache_lifetimes(Duration::from_secs(61), Duration::ZERO),
    ];
    for (index, change) in bad.iter().enumerate() {
        assert!(change(builder(&service)).build().is_err(), "{index}");
    }
    assert!(builder(&service).with_deadline(second).with_hedge_after(DEADLINE).build().is_ok());
}
