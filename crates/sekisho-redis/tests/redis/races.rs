//! Processes that want the same thing at the same moment.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sekisho_core::{Occurrence, OneTimeUse, ReplayGuard as _, UnixSeconds};
use sekisho_redis::RedisReplayGuard;

use crate::setup::{Shape, prefix, shared};

const ROUNDS: u32 = 1_000;
const PROCESSES: usize = 2;

async fn race(shape: Shape) {
    if shape.builder("processes that race").is_none() {
        return;
    }
    let _turn = shared().await;
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(2);
    let errand = format!("{shape:?} {} {}", prefix(), begin.as_millis());
    let racers: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "races::one_of_those_that_race", "--ignored", "--nocapture"])
                .env("SEKISHO_RACE", &errand)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut won: Vec<Vec<u32>> = Vec::new();
    for racer in racers {
        let output = racer.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix("won ")).expect("it says what it won");
        won.push(line.split_whitespace().map(|round| round.parse().unwrap()).collect());
    }
    let mut all: Vec<u32> = won.iter().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..ROUNDS).collect::<Vec<_>>(), "each round has one winner");
    println!("{shape:?}: of {ROUNDS} rounds the processes won {:?}", won.iter().map(Vec::len).collect::<Vec<_>>());
    assert!(won.iter().all(|won| !won.is_empty()), "it was a race: {won:?}");
}

/// Runs in a process of its own, for [`race`].
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests"]
async fn one_of_those_that_race() {
    let Ok(errand) = std::env::var("SEKISHO_RACE") else { return };
    let parts: Vec<&str> = errand.split(' ').collect();
    let shape = match parts[0] {
        "Standalone" => Shape::Standalone,
        "Sentinel" => Shape::Sentinel,
        _ => Shape::Cluster,
    };
    let redis = shape.builder("a racer").unwrap().with_prefix(parts[1]).build().unwrap();
    redis.check().await.unwrap();
    let guard = RedisReplayGuard::new(redis);
    let begin = UNIX_EPOCH + Duration::from_millis(parts[2].parse().unwrap());
    let until = UnixSeconds::from(begin).saturating_add(Duration::from_secs(600));
    let mut won = Vec::new();
    for round in 0..ROUNDS {
        let due = begin + Duration::from_millis(2) * round;
        if let Ok(early) = due.duration_since(SystemTime::now()) {
            tokio::time::sleep(early).await;
        }
        let mut id = [0; 32];
        id[..4].copy_from_slice(&round.to_be_bytes());
        let once = OneTimeUse::new([u8::try_from(round % 251).unwrap(); 32], id, until);
        if guard.insert(&once, UnixSeconds::from(SystemTime::now())).await.unwrap() == Occurrence::First {
            won.push(round.to_string());
        }
    }
    println!("won {}", won.join(" "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_one_passes() {
    race(Shape::Standalone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_one_passes_behind_sentinels() {
    race(Shape::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_one_passes_in_a_cluster() {
    race(Shape::Cluster).await;
}
