//! Processes that want the same thing at the same moment.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sekisho_core::{Occurrence, OneTimeUse, ReplayGuard as _, Secret, SubjectId, UnixSeconds};
use sekisho_issuer::{GrantStore as _, HandleHash, TakenCode};
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore as _};
use sekisho_redis::{RedisIssuerStore, RedisReferenceStore, RedisReplayGuard};

use crate::issuer;
use crate::setup::{Shape, now, prefix, shared};

const ROUNDS: u32 = 1_000;
const PROCESSES: usize = 2;

/// Starts processes that run the test `name` again, and there want what the others want.
async fn race(shape: Shape, name: &str) {
    if let Ok(errand) = std::env::var("SEKISHO_RACE") {
        return run(shape, &errand).await;
    }
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
    let errand = format!("{prefix} {}", begin.as_millis());
    let racers: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("races::{name}"), "--nocapture"])
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

/// Is one of those that race.
async fn run(shape: Shape, errand: &str) {
    let (prefix, begin) = errand.split_once(' ').expect("a prefix and an instant");
    let redis = shape.builder("a racer").unwrap().with_prefix(prefix).build().unwrap();
    redis.check().await.unwrap();
    let (guard, store) = (RedisReplayGuard::new(redis.clone()), RedisIssuerStore::new(redis));
    let begin = UNIX_EPOCH + Duration::from_millis(begin.parse().unwrap());
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
    race(Shape::Standalone, "of_two_processes_with_one_proof_and_one_code_one_passes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_and_one_code_one_passes_behind_sentinels() {
    race(Shape::Sentinel, "of_two_processes_with_one_proof_and_one_code_one_passes_behind_sentinels").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_proof_and_one_code_one_passes_in_a_cluster() {
    race(Shape::Cluster, "of_two_processes_with_one_proof_and_one_code_one_passes_in_a_cluster").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_that_was_inserted_before_a_revocation_outlives_it() {
    for shape in [Shape::Standalone, Shape::Cluster] {
        let Some(builder) = shape.builder("revoking while inserting") else { return };
        let _turn = shared().await;
        let store = Arc::new(RedisReferenceStore::new(builder.build().unwrap()));
        let subject = SubjectId::new("https://id.example", "u");
        let inserting: Vec<_> = (0..8_u8)
            .map(|task| {
                let (store, subject) = (Arc::clone(&store), subject.clone());
                tokio::spawn(async move {
                    for number in 0..50_u8 {
                        let mut digest = [task; 32];
                        digest[0] = number;
                        let content = ReferenceContent::Jwt(Secret::from("jwt"));
                        let end = now().saturating_add(Duration::from_secs(600));
                        let record = ReferenceRecord::new(subject.clone(), Some("s".into()), end, content);
                        let digest = ReferenceDigest::from_bytes(digest);
                        assert!(store.insert(digest, &record, now()).await.unwrap());
                    }
                })
            })
            .collect();
        let mut ended = 0;
        while !inserting.iter().all(tokio::task::JoinHandle::is_finished) {
            ended += store.revoke_subject(&subject, now()).await.unwrap();
            ended += store.revoke_session("https://id.example", "s", now()).await.unwrap();
        }
        for task in inserting {
            task.await.unwrap();
        }
        ended += store.revoke_subject(&subject, now()).await.unwrap();
        assert_eq!(ended, 400, "each was ended once");
        for task in 0..8_u8 {
            for number in 0..50_u8 {
                let mut digest = [task; 32];
                digest[0] = number;
                assert_eq!(store.find(&ReferenceDigest::from_bytes(digest), now()).await.unwrap(), None);
            }
        }
    }
}
