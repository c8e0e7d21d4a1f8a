//! Hostile and honest tokens.

use std::collections::BTreeMap;

use sekisho_core::{Clock, SystemClock};
use sekisho_jwt::{Algorithm, Jwt};
use sekisho_testkit::{FixedClock, HostileContext, Issuer, honest_tokens, hostile_tokens};
use sekisho_tests::{AUDIENCE, answer_at};
use serde_json::Value;

use crate::peers::{Josekit, JsonWebToken, Outcome};
use crate::tables::{HOSTILE_JOSEKIT, HOSTILE_JSONWEBTOKEN, compare};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Ed25519];

type Found = BTreeMap<String, (Outcome, Outcome)>;

/// Judges all tokens by us and by a peer; returns where the two differ.
fn judge_all(peer: impl Fn(Algorithm, &Issuer, u64) -> Box<dyn Fn(&str) -> Option<Outcome>>) -> Found {
    let mut found = Found::new();
    for algorithm in ALGORITHMS {
        let clock = FixedClock::now_and_still();
        let issuer = Issuer::new().with_clock(clock.clone()).with_algorithm(algorithm).with_decoys();
        let ours = Jwt::issuer(issuer.url()).audience(AUDIENCE).with_keys(issuer.static_keys()).build().unwrap();
        // The keys are made by now, which may have taken seconds.
        let now = SystemClock.now();
        clock.set(now);
        let theirs = peer(algorithm, &issuer, now.as_secs());
        let context = HostileContext::new(&issuer, AUDIENCE);
        let hostile = hostile_tokens(&context).map(|token| (token.id, token.token));
        let honest = honest_tokens(&context).map(|token| (token.id, token.token));
        let (mut seen, mut accepted) = (0, 0);
        for (id, token) in hostile.chain(honest) {
            let Some(theirs) = theirs(&token) else { continue };
            let ours = Outcome::of(answer_at(&ours, &token, now).is_ok());
            if ours != theirs {
                found.insert(format!("{algorithm} {id}"), (ours, theirs));
            }
            seen += 1;
            accepted += usize::from(ours == Outcome::Accepted);
        }
        assert!(seen > 300 && accepted > 15, "{seen}, {accepted}");
    }
    merged(&found)
}

/// Tells whether the token lives, or dies, within ten seconds of `now`, leeway counted.
fn is_at_an_edge(token: &str, now: u64) -> bool {
    let payload = token.split('.').nth(1).and_then(|part| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).ok());
    let claims: Option<Value> = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    let date = |name: &str| claims.as_ref().and_then(|claims| claims.get(name)).and_then(Value::as_f64);
    let near = |instant: f64| (instant - now as f64).abs() <= 10.0;
    date("exp").is_some_and(|exp| near(exp + 60.0)) || date("nbf").is_some_and(|nbf| near(nbf - 60.0))
}

/// Leaves the algorithm out where a case is the same for all three.
fn merged(found: &Found) -> Found {
    let is_the_same_for_all = |id: &str| {
        let named = ALGORITHMS.map(|algorithm| found.get(&format!("{algorithm} {id}")).copied());
        named.iter().all(|pair| pair.is_some() && *pair == named[0])
    };
    found
        .iter()
        .map(|(name, pair)| {
            let (algorithm, id) = name.split_once(' ').unwrap();
            (if is_the_same_for_all(id) { id.to_owned() } else { format!("{id} {algorithm}") }, *pair)
        })
        .collect()
}

#[test]
fn jsonwebtoken_refuses_what_we_refuse_or_the_difference_is_listed() {
    let found = judge_all(|algorithm, issuer, now| {
        let peer = JsonWebToken::new(algorithm, issuer.url(), &issuer.key_set());
        // It reads the clock of the system, so that nothing can be said of tokens at the edge of their life.
        Box::new(move |token| (!is_at_an_edge(token, now)).then(|| peer.judge(token)))
    });
    compare(&found, HOSTILE_JSONWEBTOKEN);
}

#[test]
fn josekit_refuses_what_we_refuse_or_the_difference_is_listed() {
    let found = judge_all(|algorithm, issuer, now| {
        let key = issuer.signing_key().public_jwk().unwrap();
        let peer = Josekit::new(algorithm, issuer.url(), &key, now);
        Box::new(move |token| Some(peer.judge(token)))
    });
    compare(&found, HOSTILE_JOSEKIT);
}
