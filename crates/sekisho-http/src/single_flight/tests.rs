use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;

type Flights = SingleFlight<u8, u32>;

/// Counts the questions, and holds each back until it is told to go on.
struct Provider {
    asked: AtomicUsize,
    gate: Semaphore,
}

impl Provider {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    fn board(self: &Arc<Self>, flights: &Arc<Flights>, number: u8, most: usize) -> Boarding<u8, u32> {
        let this = Arc::clone(self);
        flights.board(
            number,
            most,
            || None,
            |landing| {
                Box::pin(async move {
                    this.asked.fetch_add(1, Ordering::SeqCst);
                    let permit = this.gate.acquire().await;
                    permit.expect("open").forget();
                    landing.land(|_| ());
                    7
                })
            },
        )
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn flights() -> Arc<Flights> {
    Arc::new(Flights::new(MOST_WAITING))
}

fn aboard(boarding: Boarding<u8, u32>) -> (Flight<u32>, Seat<u8, u32>) {
    match boarding {
        Boarding::Aboard(flight, seat) => (flight, seat),
        Boarding::Known(_) => panic!("known"),
        Boarding::Full => panic!("full"),
    }
}

fn counts(flights: &Flights) -> (usize, usize, usize) {
    let state = flights.lock();
    (state.running.len(), state.calls, state.waiting)
}

#[tokio::test]
async fn many_share_one_question_and_nothing_is_left_behind() {
    let (flights, provider) = (flights(), Provider::new());
    let all: Vec<_> = (0..100).map(|_| aboard(provider.board(&flights, 1, 1))).collect();
    assert_eq!(counts(&flights), (1, 1, 100));
    provider.gate.add_permits(1);
    for (flight, seat) in all {
        assert_eq!(flight.await, 7);
        drop(seat);
    }
    assert_eq!(provider.asked(), 1);
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn the_first_may_go_away_in_the_middle() {
    let (flights, provider) = (flights(), Provider::new());
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
    assert_eq!(follower.await.expect("no panic"), 7);
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_ends_and_makes_room() {
    let (flights, provider) = (flights(), Provider::new());
    let (flight, seat) = aboard(provider.board(&flights, 1, 1));
    assert!(matches!(provider.board(&flights, 2, 1), Boarding::Full));
    drop((flight, seat));
    assert_eq!(counts(&flights), (0, 0, 0));
    drop(aboard(provider.board(&flights, 2, 1)));
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn a_panic_in_a_question_blocks_nobody_after_it() {
    let flights = flights();
    let boarding = flights.board(
        1,
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
    let flights = flights();
    let kept = Arc::new(AtomicUsize::new(0));
    let begin = |landing: Landing<u8, u32>| -> Question<u32> {
        let kept = Arc::clone(&kept);
        Box::pin(async move {
            landing.land(|owned| _ = kept.fetch_add(usize::from(owned), Ordering::SeqCst));
            7
        })
    };
    let (first, _seat) = aboard(flights.board(1, 9, || None, begin));
    flights.disown(Some(&1), || ());
    let (second, _seat) = aboard(flights.board(1, 9, || None, begin));
    assert!(first.await == 7);
    assert_eq!(kept.load(Ordering::SeqCst), 0);
    assert!(second.await == 7);
    assert_eq!(kept.load(Ordering::SeqCst), 1);
    let (third, _seat) = aboard(flights.board(1, 9, || None, begin));
    flights.disown(None, || ());
    assert!(third.await == 7);
    assert_eq!(kept.load(Ordering::SeqCst), 1);
    assert_eq!(counts(&flights).1, 0);
}

#[tokio::test]
async fn an_answer_that_has_just_come_in_is_not_asked_for_again() {
    let (flights, provider) = (flights(), Provider::new());
    let boarding = flights.board(1, 0, || Some(7), |_| panic!("asked"));
    assert!(matches!(boarding, Boarding::Known(7)));
    assert_eq!(provider.asked(), 0);
}

#[test]
fn a_flood_that_waits_is_bounded() {
    let (flights, provider) = (flights(), Provider::new());
    let all: Vec<_> = (0..MOST_WAITING).map(|_| aboard(provider.board(&flights, 1, 1))).collect();
    assert!(matches!(provider.board(&flights, 1, 1), Boarding::Full));
    drop(all);
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn whoever_joins_begins_nothing() {
    let (flights, provider) = (flights(), Provider::new());
    assert!(flights.join(&1).is_none());
    let (first, _seat) = aboard(provider.board(&flights, 1, 1));
    assert!(flights.join(&2).is_none());
    let (second, _second_seat) = aboard(flights.join(&1).expect("it runs"));
    assert_eq!(counts(&flights), (1, 1, 2));
    provider.gate.add_permits(1);
    assert_eq!((second.await, first.await, provider.asked()), (7, 7, 1));
    assert!(flights.join(&1).is_none());
}

#[tokio::test]
async fn whoever_joins_a_full_house_is_told_so() {
    let (flights, provider) = (Arc::new(Flights::new(1)), Provider::new());
    let first = aboard(provider.board(&flights, 1, 9));
    assert!(matches!(flights.join(&1), Some(Boarding::Full)));
    drop(first);
    assert_eq!(counts(&flights), (0, 0, 0));
}

#[tokio::test]
async fn a_disowned_question_is_joined_by_nobody() {
    let (flights, provider) = (flights(), Provider::new());
    let (first, _seat) = aboard(provider.board(&flights, 1, 9));
    flights.disown(Some(&1), || ());
    assert!(flights.join(&1).is_none());
    provider.gate.add_permits(1);
    assert_eq!(first.await, 7);
}

const MOST_WAITING: usize = 128;
