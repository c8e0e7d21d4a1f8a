//! What services tell each other about sessions: all of it, or that some of it is missing.

use std::time::{Duration, Instant};

use sekisho_core::{Failure, FailureKind};
use sekisho_redis::{Redis, RedisInvalidations};
use sekisho_session::{Invalidation, InvalidationSubscription, Invalidations as _, SessionHash};

use crate::cluster::{Move, masters, slots};
use crate::control::{Control, Direct};
use crate::outages::{Cable, follows, soon};
use crate::setup::{Shape, alone, prefix, shared, variable};

fn said(number: u16) -> Invalidation {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    Invalidation::Changed(SessionHash::from_bytes(bytes), 1)
}

const HEARTBEAT: Duration = Duration::from_millis(300);

fn over(redis: &Redis) -> RedisInvalidations {
    RedisInvalidations::new(redis.clone()).with_heartbeat(HEARTBEAT).unwrap()
}

/// Waits for something; a heartbeat is nothing.
async fn heard(subscription: &mut Box<dyn InvalidationSubscription>) -> Result<Vec<Invalidation>, Failure> {
    loop {
        let told = subscription.next().await?;
        if !told.is_empty() {
            return Ok(told);
        }
    }
}

async fn is_told(shape: Shape) {
    let Some(builder) = shape.builder("what changed is told") else { return };
    let _turn = shared().await;
    let (one, other) = (over(&builder.build().unwrap()), {
        let Some(builder) = shape.builder("what changed is told") else { return };
        over(&builder.build().unwrap())
    });
    let mut listening = [one.subscribe().await.unwrap(), one.subscribe().await.unwrap()];
    // Under another prefix, and nobody hears it.
    other.publish(said(99)).await.unwrap();
    for number in 0..2_500 {
        one.publish(said(number)).await.unwrap();
    }
    for subscription in &mut listening {
        let mut told = Vec::new();
        while told.len() < 2_500 {
            told.extend(heard(subscription).await.unwrap());
        }
        assert!(told == (0..2_500).map(said).collect::<Vec<_>>());
        // A heartbeat, of which nothing is heard.
        assert_eq!(subscription.next().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_changed_is_told_in_order_alone() {
    is_told(Shape::Standalone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_changed_is_told_in_order_behind_sentinels() {
    is_told(Shape::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_changed_is_told_in_order_in_a_cluster() {
    is_told(Shape::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_out_or_nobody_wrote_ends_the_subscription() {
    let Some(url) = variable("SEKISHO_REDIS_URL", "messages that are missing") else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let redis = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let invalidations = over(&redis.build().unwrap());
    let mut direct = Direct::to(&url);
    let (number, channel) =
        (format!("{prefix}:session-number:{{{prefix}}}"), format!("{prefix}:session-told:{{{prefix}}}"));
    let (number, channel) = (number.as_bytes(), channel.as_bytes());
    // A number that no message has: the next message shows it, or the heartbeat does.
    for tells in [true, false] {
        let mut subscription = invalidations.subscribe().await.unwrap();
        let _: u64 = direct.must(&[b"INCR", number]);
        if tells {
            invalidations.publish(said(1)).await.unwrap();
        }
        let failure = heard(&mut subscription).await.expect_err("something was not told");
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
    }
    // A counter that was lost, and counts anew.
    let mut subscription = invalidations.subscribe().await.unwrap();
    invalidations.publish(said(1)).await.unwrap();
    assert_eq!(heard(&mut subscription).await.unwrap().len(), 1);
    let _: u64 = direct.must(&[b"DEL", number]);
    heard(&mut subscription).await.expect_err("nobody knows what it counted");
    let long = [b"1:".to_vec(), vec![b'x'; 1 << 20]].concat();
    for message in [&b"s3cret"[..], b"1:s3cret", b":", b"", b"1", b"-1:x", b"99999999999999999999999:x", &long] {
        let mut subscription = invalidations.subscribe().await.unwrap();
        let _: u32 = direct.must(&[b"SPUBLISH", channel, message]);
        let failure = heard(&mut subscription).await.expect_err("no message of ours");
        assert!(!format!("{failure:?}").contains("s3cret"));
    }
    for bad in ["x", "99999999999999999999999"] {
        let () = direct.must(&[b"SET", number, bad.as_bytes()]);
        assert_eq!(invalidations.subscribe().await.map(drop).expect_err("no number").kind(), FailureKind::BadGateway);
        invalidations.publish(said(1)).await.expect_err("nor can it be told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_too_slow_is_told_so_and_holds_no_more_than_its_bound() {
    let Some(url) = variable("SEKISHO_REDIS_URL", "a slow reader") else { return };
    let _turn = shared().await;
    let redis = Redis::standalone(url.as_str()).with_prefix(prefix()).with_command_timeout(Duration::from_secs(20));
    let invalidations = over(&redis.build().unwrap());
    let mut slow = invalidations.subscribe().await.unwrap();
    let tell = async |number: u16| invalidations.publish(said(number)).await.unwrap();
    futures_util::future::join_all((0..500).map(tell)).await;
    // It reads, for it is within its bound.
    let mut told = 0;
    while told < 500 {
        told += heard(&mut slow).await.unwrap().len();
    }
    for round in 0..21 {
        futures_util::future::join_all((0..500).map(|number| tell(round * 500 + number))).await;
    }
    let failure = heard(&mut slow).await.expect_err("10,500 wait, which is more than it holds");
    assert_eq!(failure.kind(), FailureKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_is_cut_is_noticed_in_time() {
    let Some(url) = variable("SEKISHO_REDIS_URL", "a cut subscription") else { return };
    let _turn = shared().await;
    let cable = Cable::to(&url).await;
    let limit = Duration::from_secs(2);
    let redis = Redis::standalone(cable.url.as_str()).with_prefix(prefix());
    let invalidations = over(&redis.with_command_timeout(limit).with_connect_timeout(limit).build().unwrap());
    let mut subscription = invalidations.subscribe().await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), []);
    cable.is_cut.send_replace(true);
    let begin = Instant::now();
    while subscription.next().await.is_ok() {}
    assert!(begin.elapsed() < invalidations.patience(), "noticed after {:?}", begin.elapsed());
    let begin = Instant::now();
    invalidations.subscribe().await.map(drop).expect_err("nobody is there");
    invalidations.publish(said(1)).await.expect_err("nobody is told");
    assert!(begin.elapsed() < 3 * limit, "{:?}", begin.elapsed());
    cable.is_cut.send_replace(false);
    let mut subscription = soon(async || invalidations.subscribe().await).await;
    soon(async || invalidations.publish(said(2)).await).await;
    assert!(heard(&mut subscription).await.unwrap() == [said(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_and_a_slot_that_moves_end_the_subscription() {
    let test = "subscriptions in a cluster that changes";
    let (Some(control), Some(builder)) = (Control::reach(test), Shape::Cluster.builder(test)) else { return };
    let Some(urls) = variable("SEKISHO_REDIS_CLUSTER_URLS", test) else { return };
    let _turn = alone().await;
    let prefix = prefix();
    let limit = Duration::from_secs(2);
    let redis = builder.with_prefix(&prefix).with_command_timeout(limit).with_connect_timeout(limit);
    let invalidations = over(&redis.build().unwrap());
    invalidations.publish(said(1)).await.unwrap();
    let before = masters(&urls);
    let (slot, (keeper, _)) = slots(&before, &prefix).pop_first().expect("the counter is somewhere");
    let mut subscription = invalidations.subscribe().await.unwrap();
    let moving = Move::begin(slot, &before[keeper], &before[(keeper + 1) % before.len()]);
    moving.end();
    heard(&mut subscription).await.expect_err("it is elsewhere");
    let mut subscription = soon(async || invalidations.subscribe().await).await;
    soon(async || invalidations.publish(said(2)).await).await;
    assert!(heard(&mut subscription).await.unwrap() == [said(2)]);

    let keeper = &before[(keeper + 1) % before.len()];
    let replicated: u32 = Direct::to(&keeper.url).must(&[b"WAIT", b"1", b"5000"]);
    assert_eq!(replicated, 1, "the replica is there");
    let outage = control.kill(&keeper.name);
    heard(&mut subscription).await.expect_err("its server is dead");
    let begin = Instant::now();
    let mut subscription = loop {
        match invalidations.subscribe().await {
            Ok(subscription) => break subscription,
            Err(failure) => assert!(begin.elapsed() < Duration::from_secs(40), "{failure:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    println!("cluster: messages about sessions go on {:?} after the master died (node timeout 5 s)", begin.elapsed());
    soon(async || invalidations.publish(said(3)).await).await;
    assert!(heard(&mut subscription).await.unwrap() == [said(3)]);
    outage.end();
    let old = &keeper.url;
    crate::control::wait_until("the old one follows", Duration::from_secs(60), async || follows(old)).await;
}
