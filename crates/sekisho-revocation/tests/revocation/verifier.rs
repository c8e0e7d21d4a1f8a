//! The list behind a real verifier with its cache.

use std::sync::Arc;

use sekisho_core::{Refusal, Reject};
use sekisho_jwt::{Jwt, Verifier};
use sekisho_revocation::{AnyRevocation, RevocationList, Withdrawal};
use sekisho_testkit::{FixedClock, Issuer};

use crate::support::{NOW, at, list};

fn set() -> (Issuer, RevocationList, Verifier) {
    let issuer = Issuer::new().with_clock(FixedClock::at(NOW));
    let list = list(10);
    let check = AnyRevocation::new().or(list.local());
    let jwt = Jwt::issuer(issuer.url()).audience("orders").with_keys(issuer.static_keys());
    (issuer, list, jwt.with_revocation(Arc::new(check)).build().unwrap())
}

fn refused<T: std::fmt::Debug>(result: Option<Result<T, Refusal>>) -> bool {
    matches!(result, Some(Err(Refusal::Reject(Reject::Revoked))))
}

#[test]
fn a_cached_token_is_refused_right_after_its_withdrawal() {
    let (issuer, list, verifier) = set();
    let (token, other) = (issuer.token().audience("orders").sign(), issuer.token().audience("orders").sign());
    let caller = verifier.verify_now(&token, NOW).unwrap().unwrap();
    verifier.verify_now(&other, NOW).unwrap().unwrap();
    assert_eq!(verifier.cached_tokens(), 2);
    list.withdraw(&Withdrawal::token_of(&caller).unwrap(), NOW).unwrap();
    assert!(refused(verifier.verify_now(&token, NOW)));
    assert!(verifier.verify_now(&other, NOW).unwrap().is_ok());
    // Within the leeway of an expired token too.
    assert!(refused(verifier.verify_now(&token, at(359))));
}

#[test]
fn every_spelling_of_a_withdrawn_token_is_refused() {
    let (issuer, list, verifier) = set();
    let claims = |builder: sekisho_testkit::TokenBuilder| builder.audience("orders").claim("jti", "t-1");
    list.withdraw(&Withdrawal::token(issuer.url(), "t-1", at(300)).unwrap(), NOW).unwrap();
    // ES256 signs anew each time, and a header may hold anything beside: other bytes, the same token.
    let (first, second) = (claims(issuer.token()).sign(), claims(issuer.token()).sign());
    let third = claims(issuer.token()).header("note", "x").sign();
    assert!(first != second && second != third);
    for token in [first, second, third] {
        assert!(refused(verifier.verify_now(&token, NOW)));
    }
}

#[test]
fn a_session_and_a_subject_take_their_cached_tokens_along() {
    let (issuer, list, verifier) = set();
    let token = |subject: &str, session: &str| {
        let token = issuer.token().audience("orders").subject(subject).claim("sid", session).sign();
        assert!(verifier.verify_now(&token, NOW).unwrap().is_ok());
        token
    };
    let (alice, bob, bob_elsewhere) = (token("alice", "s1"), token("bob", "s2"), token("bob", "s3"));
    list.withdraw(&Withdrawal::session(issuer.url(), "s2", at(300)).unwrap(), NOW).unwrap();
    assert!(refused(verifier.verify_now(&bob, NOW)));
    assert!(verifier.verify_now(&bob_elsewhere, NOW).unwrap().is_ok());
    list.withdraw(&Withdrawal::subject_up_to(issuer.url(), "bob", NOW, at(300)).unwrap(), NOW).unwrap();
    assert!(refused(verifier.verify_now(&bob_elsewhere, NOW)));
    assert!(verifier.verify_now(&alice, NOW).unwrap().is_ok());
}

#[test]
fn a_full_list_is_a_failure_and_not_a_401() {
    let (issuer, list, verifier) = set();
    let token = issuer.token().audience("orders").sign();
    verifier.verify_now(&token, NOW).unwrap().unwrap();
    for number in 0..11 {
        let one = Withdrawal::token(issuer.url(), &number.to_string(), at(300)).unwrap();
        assert_eq!(list.withdraw(&one, NOW).is_ok(), number < 10);
    }
    assert!(matches!(verifier.verify_now(&token, NOW), Some(Err(Refusal::Failure(_)))));
}
