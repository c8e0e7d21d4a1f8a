#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

const ID: SessionHash = SessionHash::from_bytes([9; 32]);

fn new(tags: usize, card: usize, body: usize) -> NewSession {
    NewSession {
        idle_until: UnixSeconds::new(u64::MAX - 1),
        expires_at: UnixSeconds::MAX,
        tags: vec![SessionTag::from_bytes([7; 32]); tags],
        card: Sealed::from_bytes(vec![b'c'; card]),
        body: Sealed::from_bytes(vec![b'b'; body]),
    }
}

#[test]
fn a_session_survives_being_written() {
    let insertion = Insertion::new(UnixSeconds::new(5)).unwrap();
    for (tags, card, body) in [(0, 0, 0), (1, 5, 9), (8, NewSession::MAX_CARD, NewSession::MAX_BODY)] {
        let new = new(tags, card, body);
        let record = encode(&new, insertion).unwrap();
        assert!(record.len() <= LONGEST);
        let NewSession { idle_until, expires_at, body, .. } = new;
        assert_eq!(decode(&record).unwrap(), Some(StoredSession { version: 1, idle_until, expires_at, body }));
    }
    assert!(encode(&new(0, 70_000, 0), insertion).is_err());
    assert_eq!(decode(b"E\0\0\0\0\0\0\0\x05").unwrap(), None);
}

#[test]
fn what_is_cut_or_too_long_or_of_another_kind_is_no_session() {
    let insertion = Insertion::new(UnixSeconds::new(5)).unwrap();
    let whole = encode(&new(2, 3, 0), insertion).unwrap();
    for length in 0..whole.len() {
        assert!(decode(&whole[..length]).is_err(), "{length}");
    }
    let with = |place: usize, byte: u8| {
        let mut record = whole.clone();
        record[place] = byte;
        record
    };
    for bad in [with(0, b'M'), with(0, b'E'), with(8, 0), with(49, 9), with(49, 3), with(50, 0x10), with(51, 4)] {
        assert!(decode(&bad).is_err(), "{bad:?}");
    }
    for bad in [&b""[..], b"E", b"E\0\0\0\0\0\0\0", b"E\0\0\0\0\0\0\0\0\0", b"L"] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
    assert!(decode(&[whole, vec![0; LONGEST]].concat()).is_err());
}

#[test]
fn entries_are_of_one_length_and_stand_in_the_order_of_their_ends() {
    let insertion = Insertion::new(UnixSeconds::new(5)).unwrap();
    let entry = |until| Entry { until: UnixSeconds::new(until), id: ID, insertion };
    let bytes = entry(7).to_bytes();
    assert!(Entry::from_bytes(&bytes).unwrap() == entry(7));
    assert!(entry(255).to_bytes() < entry(256).to_bytes());
    assert!(Entry::from_bytes(&bytes[1..]).is_err() && Entry::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn an_insertion_is_over_when_nobody_waits_for_it_any_more() {
    let insertion = Insertion::new(UnixSeconds::new(1_000)).unwrap();
    for (now, is_over) in [(0, false), (1_000, false), (1_599, false), (1_600, true)] {
        assert_eq!(insertion.is_over(UnixSeconds::new(now)), is_over, "{now}");
    }
}

#[test]
fn answers_of_other_shapes_are_none() {
    let text = |length: usize| Value::BulkString(vec![0; length]);
    let ended = |parts: Vec<Value>| Ended::read(Value::Array(parts)).is_ok();
    assert!(ended(vec![Value::Int(1), text(8), text(16), text(64)]));
    for bad in [
        vec![],
        vec![Value::Int(1), text(8), text(16)],
        vec![Value::Int(2), text(8), text(16), text(64)],
        vec![Value::Int(1), text(9), text(16), text(64)],
        vec![Value::Int(1), text(8), text(15), text(64)],
        vec![Value::Int(1), text(8), text(16), text(63)],
        vec![Value::Int(1), text(8), text(16), text(9 * 32)],
        vec![Value::Nil, text(8), text(16), text(64)],
    ] {
        assert!(!ended(bad.clone()), "{bad:?}");
    }
    let shown = |parts: Vec<Value>| Shown::read(Value::Array(parts)).is_ok();
    assert!(shown(vec![Value::Int(0), text(16), text(0)]));
    for bad in [
        vec![Value::Int(0), text(16)],
        vec![Value::Int(7), text(16), text(0)],
        vec![Value::Int(0), text(15), text(0)],
        vec![Value::Int(0), text(16), text(NewSession::MAX_CARD + 1)],
    ] {
        assert!(!shown(bad.clone()), "{bad:?}");
    }
    assert!(extension(Value::Array(vec![text(16), text(32)])).is_ok());
    assert!(extension(Value::Array(vec![text(16)])).is_err() && extension(Value::Int(1)).is_err());
}
