use std::sync::Arc;

use sekisho_core::{Secret, SubjectId, UnixSeconds};
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore};

use crate::crypto;

/// Checks that a [`ReferenceStore`] keeps the contract of the trait. It may hold other records, also of earlier runs.
///
/// Time is what the suite says, from `now` on, which should be about the present for stores that expire records by themselves; it
/// moves by minutes, no longer than an hour.
///
/// # Panics
/// When the contract is broken; the message says where.
pub async fn reference_store_suite(store: Arc<dyn ReferenceStore>, now: UnixSeconds) {
    let suite = Suite { store, now };
    suite.keeps_what_it_was_given().await;
    suite.keeps_each_kind_of_content().await;
    suite.dies_in_its_second().await;
    suite.ends_one().await;
    suite.ends_a_subject_and_no_other().await;
    suite.ends_a_session_and_no_other().await;
    suite.lets_one_of_many_insert().await;
}

struct Suite {
    store: Arc<dyn ReferenceStore>,
    now: UnixSeconds,
}

/// Is a person nobody else in the store is.
fn somebody(issuer: &str) -> SubjectId {
    SubjectId::new(issuer, unique("subject"))
}

fn unique(what: &str) -> String {
    format!("{what} {}", crate::forge::base64url(crypto::random::<16>()))
}

fn digest() -> ReferenceDigest {
    ReferenceDigest::from_bytes(crypto::random())
}

const ISSUER: &str = "https://id.example/suite";
const HOUR: u64 = 3600;

impl Suite {
    fn record(&self, subject: &SubjectId, session: Option<&str>) -> ReferenceRecord {
        let content = ReferenceContent::Jwt(Secret::from("header.payload.signature"));
        ReferenceRecord::new(subject.clone(), session.map(Into::into), self.later(HOUR), content)
    }

    fn later(&self, seconds: u64) -> UnixSeconds {
        self.now.saturating_add(std::time::Duration::from_secs(seconds))
    }

    async fn insert(&self, record: &ReferenceRecord) -> ReferenceDigest {
        let digest = digest();
        let inserted = self.store.insert(digest, record, self.now).await;
        assert!(matches!(inserted, Ok(true)), "{:?}: a new record is kept: {inserted:?}", self.store);
        digest
    }

    /// Looks up both ways, which must agree.
    async fn find(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Option<ReferenceRecord> {
        let found = match self.store.find(digest, now).await {
            Ok(found) => found,
            Err(failure) => {
                assert_eq!(failure.to_string(), "", "{:?}: a look-up fails", self.store);
                None
            }
        };
        if let Some(at_once) = self.store.find_now(digest, now) {
            assert!(at_once.is_ok_and(|at_once| at_once == found), "{:?}: `find_now` and `find` differ", self.store);
        }
        found
    }

    async fn assert_alive(&self, digest: &ReferenceDigest, what: &str) {
        assert!(self.find(digest, self.now).await.is_some(), "{:?}: {what} lives", self.store);
    }

    async fn assert_gone(&self, digest: &ReferenceDigest, what: &str) {
        assert!(self.find(digest, self.now).await.is_none(), "{:?}: {what} is gone", self.store);
    }

    async fn keeps_what_it_was_given(&self) {
        self.assert_gone(&digest(), "what nobody inserted").await;
        let record = self.record(&somebody(ISSUER), Some("session"));
        let digest = self.insert(&record).await;
        let found = self.find(&digest, self.now).await;
        assert_eq!(found.as_ref(), Some(&record), "{:?}: a record is found as it was inserted", self.store);
        let other = self.record(&somebody(ISSUER), None);
        let again = self.store.insert(digest, &other, self.now).await;
        assert!(matches!(again, Ok(false)), "{:?}: what is taken is not given twice: {again:?}", self.store);
        let found = self.find(&digest, self.now).await;
        assert_eq!(found.as_ref(), Some(&record), "{:?}: a refused insertion changes nothing", self.store);
    }

    async fn keeps_each_kind_of_content(&self) {
        let odd = "a\"b\\c\u{0}\n\u{202e}' OR '1'='1 é {}";
        let Ok(claims) =
            sekisho_core::json::JsonObject::from_serialize(&serde_json::json!({ "sub": odd, "n": [1, null] }))
        else {
            return assert_eq!("claims", "", "the suite's own claims are JSON");
        };
        for content in [
            ReferenceContent::Claims(claims),
            ReferenceContent::Jwt(Secret::from("j".repeat(8192))),
            ReferenceContent::SplitJwt(Secret::from("header.payload")),
        ] {
            let subject = SubjectId::new(ISSUER, unique(odd));
            let record = ReferenceRecord::new(subject, Some(odd.into()), self.later(HOUR), content);
            let digest = self.insert(&record).await;
            assert_eq!(self.find(&digest, self.now).await, Some(record), "{:?}: odd text survives", self.store);
        }
    }

    async fn dies_in_its_second(&self) {
        let content = || ReferenceContent::Jwt(Secret::from("j"));
        let subject = somebody(ISSUER);
        let record = ReferenceRecord::new(subject.clone(), Some("s".into()), self.later(60), content());
        let digest = self.insert(&record).await;
        assert!(self.find(&digest, self.later(59)).await.is_some(), "{:?}: alive a second before its end", self.store);
        for at in [self.later(60), self.later(61)] {
            assert!(self.find(&digest, at).await.is_none(), "{:?}: dead in the second of its end", self.store);
        }
        let ended = self.store.revoke(&digest, self.later(60)).await;
        assert!(matches!(ended, Ok(false)), "{:?}: what is dead is not ended again: {ended:?}", self.store);
        let next = ReferenceRecord::new(subject, None, self.later(HOUR), content());
        let inserted = self.store.insert(digest, &next, self.later(60)).await;
        assert!(matches!(inserted, Ok(true)), "{:?}: what is dead stands in nobody's way: {inserted:?}", self.store);
        assert_eq!(self.find(&digest, self.later(60)).await, Some(next), "{:?}: the new one is found", self.store);
    }

    async fn ends_one(&self) {
        let record = self.record(&somebody(ISSUER), None);
        let (one, other) = (self.insert(&record).await, self.insert(&record).await);
        let ended = self.store.revoke(&one, self.now).await;
        assert!(matches!(ended, Ok(true)), "{:?}: it was alive: {ended:?}", self.store);
        self.assert_gone(&one, "what was revoked").await;
        self.assert_alive(&other, "another token of the same subject").await;
        for nothing in [one, digest()] {
            let ended = self.store.revoke(&nothing, self.now).await;
            assert!(matches!(ended, Ok(false)), "{:?}: nothing was alive: {ended:?}", self.store);
        }
    }

    async fn ends_a_subject_and_no_other(&self) {
        let subject = somebody(ISSUER);
        let record = self.record(&subject, Some("session"));
        let own = [self.insert(&record).await, self.insert(&record).await, self.insert(&record).await];
        let namesake = SubjectId::new("https://other.example", subject.subject());
        let cut = SubjectId::new(ISSUER, subject.subject().get(..4).unwrap_or_default());
        let glued = SubjectId::new(format!("{ISSUER}{}", subject.subject()), "");
        let mut others = Vec::new();
        for other in [namesake, cut, glued, somebody(ISSUER)] {
            others.push(self.insert(&self.record(&other, Some("session"))).await);
        }
        let ended = self.store.revoke_subject(&subject, self.now).await;
        assert!(matches!(ended, Ok(3)), "{:?}: three were alive: {ended:?}", self.store);
        for digest in &own {
            self.assert_gone(digest, "a token of a subject that was revoked").await;
        }
        for digest in &others {
            self.assert_alive(digest, "a token of another subject").await;
        }
        let ended = self.store.revoke_subject(&subject, self.now).await;
        assert!(matches!(ended, Ok(0)), "{:?}: none is alive: {ended:?}", self.store);
        let next = self.insert(&record).await;
        self.assert_alive(&next, "a token issued after the revocation").await;
        for digest in &others {
            let ended = self.store.revoke(digest, self.now).await;
            assert!(matches!(ended, Ok(true)), "{:?}: cleared away: {ended:?}", self.store);
        }
    }

    async fn ends_a_session_and_no_other(&self) {
        let (subject, session) = (somebody(ISSUER), unique("session"));
        let own = self.insert(&self.record(&subject, Some(&session))).await;
        let shared = self.insert(&self.record(&somebody(ISSUER), Some(&session))).await;
        let elsewhere = SubjectId::new("https://other.example", subject.subject());
        let others = [
            self.insert(&self.record(&subject, None)).await,
            self.insert(&self.record(&subject, Some(&unique("session")))).await,
            self.insert(&self.record(&subject, Some(&format!("{session}x")))).await,
            self.insert(&self.record(&elsewhere, Some(&session))).await,
        ];
        let ended = self.store.revoke_session(ISSUER, &session, self.now).await;
        assert!(matches!(ended, Ok(2)), "{:?}: two were alive: {ended:?}", self.store);
        self.assert_gone(&own, "a token of a session that was revoked").await;
        self.assert_gone(&shared, "a token of a session that was revoked").await;
        for digest in &others {
            self.assert_alive(digest, "a token of another session, of none, or of another issuer").await;
        }
        let ended = self.store.revoke_session(ISSUER, &session, self.now).await;
        assert!(matches!(ended, Ok(0)), "{:?}: none is alive: {ended:?}", self.store);
        let ended = self.store.revoke_subject(&subject, self.now).await;
        assert!(matches!(ended, Ok(3)), "{:?}: the subject's others can still be ended: {ended:?}", self.store);
    }

    async fn lets_one_of_many_insert(&self) {
        let digest = digest();
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (store, now) = (Arc::clone(&self.store), self.now);
                let record = self.record(&somebody(ISSUER), None);
                tokio::spawn(async move { store.insert(digest, &record, now).await })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            let inserted = task.await;
            assert!(matches!(inserted, Ok(Ok(_))), "{:?}: a race is no failure: {inserted:?}", self.store);
            winners += usize::from(matches!(inserted, Ok(Ok(true))));
        }
        assert_eq!(winners, 1, "{:?}: one of those that race gets it", self.store);
    }
}
