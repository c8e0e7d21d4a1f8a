use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use sekisho_core::UnixSeconds;
use serde_json::{Map, Value, json};

use super::*;
use crate::store::Claims;
use crate::{Authentication, GrantId, HandleHash};

const SECRET: [u8; 32] = [0xA5; 32];

fn hash() -> impl Strategy<Value = HandleHash> {
    any::<[u8; 32]>().prop_map(HandleHash::from_bytes)
}

fn instant() -> impl Strategy<Value = UnixSeconds> {
    prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)].prop_map(UnixSeconds::new)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just("a\"b\\c\u{0}\n\u{202e}' OR 1=1 -- é 𝄞 {}".to_owned())]
}

fn id() -> impl Strategy<Value = GrantId> {
    "[A-Za-z0-9_-]{22}".prop_map(|id| GrantId::parse(&id).unwrap())
}

fn scope() -> impl Strategy<Value = ScopeSet> {
    "([a-z:]{1,9}( [a-z:]{1,9}){0,5})?".prop_map(|text| ScopeSet::parse(&text).unwrap_or_default())
}

fn authentication() -> impl Strategy<Value = Authentication> {
    (instant(), proptest::option::of(text()), proptest::collection::vec(text(), 0..4))
        .prop_map(|(time, context, methods)| Authentication { time, context, methods })
}

prop_compose! {
    fn grant()(
        id in id(), client_id in text(), subject in text(), sid in proptest::option::of(text()), scope in scope(),
        audience in proptest::collection::vec(text(), 0..4), authentication in authentication(),
        created_at in instant(), expires_at in instant(),
    ) -> Grant {
        Grant { id, client_id, subject, sid, scope, audience, authentication, created_at, expires_at }
    }
}

prop_compose! {
    fn code()(
        code in hash(), grant in id(), redirect_uri in text(), code_challenge in text(),
        nonce in proptest::option::of(text()), expires_at in instant(), remembered_until in instant(),
    ) -> CodeRecord {
        CodeRecord { code, grant, redirect_uri, code_challenge, nonce, expires_at, remembered_until }
    }
}

prop_compose! {
    fn family()(
        family in hash(), current in hash(), grant in id(), idle_until in instant(), expires_at in instant(),
    ) -> RefreshFamily {
        RefreshFamily { family, current, grant, idle_until, expires_at }
    }
}

fn claims() -> impl Strategy<Value = Claims> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(text(), inner, 0..4).prop_map(|map| Value::from(Map::from_iter(map))),
        ]
    });
    proptest::collection::hash_map(text(), value, 0..5).prop_map(|map| Claims(Map::from_iter(map)))
}

prop_compose! {
    fn reference()(
        token in hash(), grant in proptest::option::of(id()), client_id in text(), claims in claims(),
        expires_at in instant(),
    ) -> ReferenceRecord {
        ReferenceRecord { token, grant, client_id, claims, expires_at }
    }
}

prop_compose! {
    fn session()(
        session in hash(), sid in text(), subject in text(), authentication in authentication(),
        idle_until in instant(), expires_at in instant(),
    ) -> SsoSession {
        SsoSession { session, sid, subject, authentication, idle_until, expires_at }
    }
}

prop_compose! {
    fn device()(
        device in hash(), user_code in hash(), client_id in text(), scope in scope(),
        audience in proptest::collection::vec(text(), 0..4), seconds in any::<u64>(), nanos in 0..1_000_000_000_u32,
        expires_at in instant(),
    ) -> DeviceRequest {
        DeviceRequest { device, user_code, client_id, scope, audience, interval: Duration::new(seconds, nanos), expires_at }
    }
}

/// Reads what was written, and neither a part of it nor it with something behind.
fn comes_back<R: StoredRecord + PartialEq + fmt::Debug>(record: &R, cut: usize) -> Result<(), TestCaseError> {
    let bytes = record.to_bytes().unwrap();
    let read = R::from_bytes(&bytes);
    prop_assert_eq!(read.as_ref(), Ok(record));
    let part = &bytes[..cut % bytes.len()];
    prop_assert_eq!(R::from_bytes(part), Err(RecordError::Malformed));
    prop_assert_eq!(R::from_bytes(&[&bytes[..], b"}"].concat()), Err(RecordError::Malformed));
    Ok(())
}

proptest! {
    #[test]
    fn every_record_comes_back_as_it_was_and_no_part_of_it(
        grant in grant(), code in code(), family in family(), reference in reference(), session in session(),
        device in device(), scope in scope(), cut in any::<usize>(),
    ) {
        comes_back(&grant, cut)?;
        comes_back(&code, cut)?;
        comes_back(&family, cut)?;
        comes_back(&reference, cut)?;
        comes_back(&session, cut)?;
        comes_back(&device, cut)?;
        comes_back(&scope, cut)?;
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), grant in grant(), at in any::<usize>(), byte in any::<u8>()) {
        prop_assert!(Grant::from_bytes(&bytes).is_err());
        let mut changed = grant.to_bytes().unwrap();
        let at = at % changed.len();
        changed[at] = byte;
        // Another letter of a name is another record; nothing else may be read out of changed bytes.
        if let Ok(read) = Grant::from_bytes(&changed) {
            prop_assert_eq!(Grant::from_bytes(&read.to_bytes().unwrap()), Ok(read));
        }
    }
}

fn some_reference() -> ReferenceRecord {
    ReferenceRecord {
        token: HandleHash::from_bytes(SECRET),
        grant: GrantId::parse("abcdefghijklmnopqrstuv"),
        client_id: "shop".to_owned(),
        claims: Claims(Map::from_iter([("sub".to_owned(), json!("s3cret"))])),
        expires_at: UnixSeconds::new(7),
    }
}

#[test]
fn refuses_what_nobody_wrote() {
    let good = String::from_utf8(some_reference().to_bytes().unwrap()).unwrap();
    let read = |text: &str| ReferenceRecord::from_bytes(text.as_bytes());
    assert_eq!(read(&good), Ok(some_reference()));
    for (from, to, why) in [
        (r#""v":1"#, r#""v":"1""#, RecordError::Malformed),
        (r#""v":1"#, r#""v":1.0"#, RecordError::Malformed),
        (r#""v":1"#, r#""v":-1"#, RecordError::Malformed),
        (r#""v":1"#, r#""v":4294967296"#, RecordError::Malformed),
        (r#""v":1,"#, "", RecordError::Malformed),
        (r#""v":1"#, r#""v":0"#, RecordError::Version),
        (r#""v":1"#, r#""v":2"#, RecordError::Version),
        (r#""v":1"#, r#""v":1,"v":1"#, RecordError::Malformed),
        (r#""v":1"#, r#""v":1,"w":1"#, RecordError::Malformed),
        (r#""reference""#, r#""grant""#, RecordError::Malformed),
        (r#""reference""#, "1", RecordError::Malformed),
        (r#""grant":"abcdefghijklmnopqrstuv","#, "", RecordError::Malformed),
        ("abcdefghijklmnopqrstuv", "abcdefghijklmnopqrstu.", RecordError::Malformed),
        ("abcdefghijklmnopqrstuv", "", RecordError::Malformed),
        (r#""client_id":"shop""#, r#""client_id":["shop"]"#, RecordError::Malformed),
        (r#""client_id":"shop""#, r#""client_id":null"#, RecordError::Malformed),
        (r#""client_id":"shop""#, r#""client_id":"shop","x":1"#, RecordError::Malformed),
        (r#""sub":"#, r#""sub":1,"sub":"#, RecordError::Malformed),
        (r#""expires_at":7"#, r#""expires_at":7.5"#, RecordError::Malformed),
        (r#""expires_at":7"#, r#""expires_at":-7"#, RecordError::Malformed),
        (r#""expires_at":7"#, r#""expires_at":18446744073709551616"#, RecordError::Malformed),
        ("\"token\":\"p", "\"token\":\"pp", RecordError::Malformed),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert_eq!(read(&bad), Err(why), "{bad}");
    }
    for bad in ["", "{}", "[]", "null", "1", "{\"v\":1}", &"[".repeat(50_000)] {
        assert_eq!(read(bad), Err(RecordError::Malformed), "{bad}");
    }
    assert_eq!(ReferenceRecord::from_bytes(b"\xff"), Err(RecordError::Malformed));
    assert!(ScopeSet::from_bytes(good.as_bytes()).is_err());
}

#[test]
fn refuses_to_write_what_it_would_not_read() {
    let with = |claim: Value| ReferenceRecord {
        claims: Claims(Map::from_iter([("c".to_owned(), claim)])),
        ..some_reference()
    };
    let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let deepest = with(nested(29));
    assert_eq!(ReferenceRecord::from_bytes(&deepest.to_bytes().unwrap()), Ok(deepest));
    assert_eq!(with(nested(30)).to_bytes(), Err(RecordError::Malformed));
    let bare = some_reference().to_bytes().unwrap().len() - "\"sub\":\"s3cret\"".len() + "\"c\":\"\"".len();
    let longest = with(json!("x".repeat(MAX_RECORD_BYTES - bare)));
    assert_eq!(longest.to_bytes().unwrap().len(), MAX_RECORD_BYTES);
    assert!(ReferenceRecord::from_bytes(&longest.to_bytes().unwrap()).is_ok());
    let too_long = with(json!("x".repeat(MAX_RECORD_BYTES - bare + 1)));
    assert_eq!(too_long.to_bytes(), Err(RecordError::TooLarge));
    assert_eq!(ReferenceRecord::from_bytes(&vec![b' '; MAX_RECORD_BYTES + 1]), Err(RecordError::TooLarge));
}

#[test]
fn neither_records_nor_errors_show_a_secret() {
    let record = some_reference();
    let shown = format!("{record:?}");
    assert!(shown.contains("HandleHash(..)") && !shown.contains("s3cret") && !shown.contains("165"), "{shown}");
    let text = String::from_utf8(record.to_bytes().unwrap()).unwrap();
    let bad = text.replace("\"shop\"", "7");
    let failure = Failure::from(ReferenceRecord::from_bytes(bad.as_bytes()).unwrap_err());
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    let shown = format!("{failure:?} {failure}");
    assert!(!shown.contains("s3cret") && !shown.contains('7'), "{shown}");
}
