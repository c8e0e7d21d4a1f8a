//! Processes that want the same thing at the same moment.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sekisho_core::{Occurrence, OneTimeUse, ReplayGuard as _, UnixSeconds};
use sekisho_issuer::{GrantStore as _, HandleHash, TakenCode};
use sekisho_redis::{RedisIssuerStore, RedisReplayGuard};

use crate::issuer;
use crate::setup::{Shape, now, prefix, shared};

const ROUNDS: u32 = 1_000;
const PROCESSES: usize = 2;

async fn race(shape: Shape) {
    if shape.builder("processes that race").is_none() {
        return;
    }
    let _turn = shared().await;
    let prefix = prefix();
    let store = RedisIssuerStore::new(shape.builder("codes").unwrap().with_prefix(&prefix).build().unwrap());
    for round in 0..ROUNDS {
        let id = format!("{round:022}");
        let code = issuer::code(&id, HandleHash::from_bytes(id_of(round)));
        store.begin_grant(&issuer::grant(&id), Some(&code), now()).await.unwrap();
    }
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(2);
    let errand = format!("{shape:?} {prefix} {}", begin.as_millis());
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
    let texts: Vec<String> = racers
        .into_iter()
        .map(|racer| {
            let output = racer.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            text
        })
        .collect();
    for prize in ["proofs", "codes"] {
        let won = texts.iter().map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(prize)).expect("it says what it won");
            line.split_whitespace().map(|round| round.parse().unwrap()).collect::<Vec<u32>>()
        });
        let won: Vec<_> = won.collect();
        let mut all: Vec<u32> = won.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..ROUNDS).collect::<Vec<_>>(), "each round has one winner");
        println!("{shape:?}: of {ROUNDS} {prize} the processes won {:?}", won.iter().map(Vec::len).collect::<Vec<_>>());
        assert!(won.iter().all(|won| !won.is_empty()), "it was a race: {won:?}");
    }
}

fn id_of(round: u32) -> [u8; 32] {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&round.to_be_bytes());
    id
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
    let (guard, store) = (RedisReplayGuard::new(redis.clone()), RedisIssuerStore::new(redis));
    let begin = UNIX_EPOCH + Duration::from_millis(parts[2].parse().unwrap());
    let until = UnixSeconds::from(begin).saturating_add(Duration::from_secs(600));
    let (mut proofs, mut codes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let due = begin + Duration::from_millis(2) * round;
        if let Ok(early) = due.duration_since(SystemTime::now()) {
            tokio::time::sleep(early).await;
        }
        let once = OneTimeUse::new([u8::try_from(round % 251).unwrap(); 32], id_of(round), until);
        if guard.insert(&once, now()).await.unwrap() == Occurrence::First {
            proofs.push(round.to_string());
        }
        match store.take_code(&HandleHash::from_bytes(id_of(round)), now()).await.unwrap() {
            TakenCode::Fresh(_) => codes.push(round.to_string()),
            TakenCode::Replayed(_) => {}
            TakenCode::Unknown => panic!("a code is lost"),
        }
    }
    println!("proofs {}", proofs.join(" "));
    println!("codes {}", codes.join(" "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_and_one_code_one_passes() {
    race(Shape::Standalone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_and_one_code_one_passes_behind_sentinels() {
    race(Shape::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_and_one_code_one_passes_in_a_cluster() {
    race(Shape::Cluster).await;
}
