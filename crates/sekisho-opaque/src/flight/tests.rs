use std::sync::atomic::{AtomicUsize, Ordering};

use sekisho_core::FailureKind;
use tokio::sync::Semaphore;

use super::*;

/// Counts the questions, and holds each back until it is told to go on.
struct Provider {
    asked: AtomicUsize,
    gate: Semaphore,
}

impl Provider {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    fn board(self: &Arc<Self>, flights: &Arc<Flights>, number: u8, most: usize) -> Boarding {
        let this = Arc::clone(self);
        flights.board(
            key(number),
            most,
            || None,
            |landing| {
                Box::pin(async move {
                    this.asked.fetch_add(1, Ordering::SeqCst);
                    let permit = this.gate.acquire().await;
                    permit.expect("open").forget();
                    landing.land(|_| ());
                    Ok(Err(Reject::Inactive))
                })
            },
        )
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn key(number: u8) -> TokenKey {
    TokenKey::for_tests(number)
}

fn aboard(boarding: Boarding) -> (Flight, Seat) {
    match boarding {
        Boarding::Aboard(flight, seat) => (flight, seat),
        Boarding::Known(_) => panic!("known"),
        Boarding::Full(failure) => panic!("{failure}"),
    }
}

fn counts(flights: &Flights) -> (usize, usize, usize) {
    let state = flights.lock();
    (state.running.len(), state.calls, state.waiting)
}

#[tokio::test]
async fn many_share_one_question_and_nothing_is_left_behind() {
    let (flights, provider) = (Arc::<Flights>::default(), Provider::new());
    let all: Vec<_> = (0..100).map(|_| aboard(provider.board(&flights, 1, 1))).collect();
    assert_eq!(counts(&flights), (1, 1, 100));
    provider.gate.add_permits(1);
    for (flight, seat) in all {
        assert_eq!(flight.await.expect("an answer").err(), Some(Reject::Inactive));
        drop(seat);
    }
    assert_eq!(provider.asked(), 1);
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn the_first_may_go_away_in_the_middle() {
    let (flights, provider) = (Arc::<Flights>::default(), Provider::new());
    let first = aboard(provider.board(&flights, 1, 1));
    let leader = tokio::spawn(first.0);
    while provider.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let (flight, _seat) = aboard(provider.board(&flights, 1, 1));
    let follower = tokio::spawn(flight);
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.expect_err("aborted").is_cancelled());
    provider.gate.add_permits(1);
    assert!(follower.await.expect("no panic").is_ok());
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_ends_and_makes_room() {
    let (flights, provider) = (Arc::<Flights>::default(), Provider::new());
    let (flight, seat) = aboard(provider.board(&flights, 1, 1));
    assert!(
        matches!(provider.board(&flights, 2, 1), Boarding::Full(failure) if failure.kind() == FailureKind::Unavailable)
    );
    drop((flight, seat));
    assert_eq!(counts(&flights), (0, 0, 0));
    drop(aboard(provider.board(&flights, 2, 1)));
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn a_panic_in_a_question_blocks_nobody_after_it() {
    let flights = Arc::<Flights>::default();
    let boarding = flights.board(
        key(1),
        1,
        || None,
        |landing| {
            Box::pin(async move {
                let _landing = landing;
                panic!("a client of the user's own")
            })
        },
    );
    let (flight, seat) = aboard(boarding);
    assert!(tokio::spawn(flight).await.expect_err("panics").is_panic());
    drop(seat);
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn a_disowned_question_answers_who_waits_and_is_not_kept() {
    let flights = Arc::<Flights>::default();
    let kept = Arc::new(AtomicUsize::new(0));
    let begin = |landing: Landing| -> BoxFuture<'static, Outcome> {
        let kept = Arc::clone(&kept);
        Box::pin(async move {
            landing.land(|owned| _ = kept.fetch_add(usize::from(owned), Ordering::SeqCst));
            Ok(Err(Reject::Inactive))
        })
    };
    let (first, _seat) = aboard(flights.board(key(1), 9, || None, begin));
    flights.disown(Some(&key(1)), || ());
    let (second, _seat) = aboard(flights.board(key(1), 9, || None, begin));
    assert!(first.await.is_ok());
    assert_eq!(kept.load(Ordering::SeqCst), 0);
    assert!(second.await.is_ok());
    assert_eq!(kept.load(Ordering::SeqCst), 1);
    let (third, _seat) = aboard(flights.board(key(1), 9, || None, begin));
    flights.disown(None, || ());
    assert!(third.await.is_ok());
    assert_eq!(kept.load(Ordering::SeqCst), 1);
    assert_eq!(counts(&flights).1, 0);
}

#[tokio::test]
async fn an_answer_that_has_just_come_in_is_not_asked_for_again() {
    let (flights, provider) = (Arc::<Flights>::default(), Provider::new());
    let boarding = flights.board(key(1), 0, || Some(Err(Reject::Inactive)), |_| panic!("asked"));
    assert!(matches!(boarding, Boarding::Known(Err(Reject::Inactive))));
    assert_eq!(provider.asked(), 0);
}

#[test]
fn a_flood_that_waits_is_bounded() {
    let (flights, provider) = (Arc::<Flights>::default(), Provider::new());
    let all: Vec<_> = (0..MOST_WAITING).map(|_| aboard(provider.board(&flights, 1, 1))).collect();
    assert!(matches!(provider.board(&flights, 1, 1), Boarding::Full(_)));
    drop(all);
    assert_eq!(counts(&flights), (0, 0, 0));
}
