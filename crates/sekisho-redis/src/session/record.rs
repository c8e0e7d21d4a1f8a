//! What stands in Redis of a session, and in the indexes.
//!
//! | bytes | of a session | |
//! |---|---|---|
//! | 1 | `L` | |
//! | 8 | version | from 1 |
//! | 8 | idle end | seconds since 1970; a touch writes these bytes and no others |
//! | 8 | end | likewise |
//! | 8 | until when the indexes know it | likewise; the latest end that it ever had |
//! | 16 | insertion | names this one of all attempts to create the session |
//! | 1 | number of tags | |
//! | 2 | length of the card | |
//! | 32 each | tags | |
//! | | card, body | |
//!
//! Of one that was ended `E` and its end are left. Numbers have their big end first.

use redis::Value;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_session::{NewSession, Sealed, SessionHash, SessionTag, StoredSession};

use crate::error::{Fault, FaultKind};
use crate::names::nonce;
use crate::reply;

/// Names one attempt to create a session: when it began, and a random number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Insertion([u8; 16]);

impl Insertion {
    pub(super) fn new(now: UnixSeconds) -> Result<Self, Failure> {
        let mut bytes = [0; 16];
        let (begin, random) = bytes.split_at_mut(8);
        begin.copy_from_slice(&now.as_secs().to_be_bytes());
        random.copy_from_slice(&nonce::<8>()?);
        Ok(Self(bytes))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn begun_at(&self) -> UnixSeconds {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.0.split_at(8).0);
        UnixSeconds::new(u64::from_be_bytes(bytes))
    }

    /// Tells whether it is so old that no answer to it is waited for any more.
    pub(super) fn is_over(&self, now: UnixSeconds) -> bool {
        now.since(self.begun_at()) >= super::FORGOTTEN
    }
}

/// Says in the index of a tag that a session may have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Until when the index knows it: first, so that entries stand in the order of their ends.
    pub(super) until: UnixSeconds,
    pub(super) id: SessionHash,
    pub(super) insertion: Insertion,
}

impl Entry {
    pub(super) const LENGTH: usize = 56;

    pub(super) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (until, rest) = bytes.split_at_mut(8);
        let (id, insertion) = rest.split_at_mut(32);
        until.copy_from_slice(&self.until.as_secs().to_be_bytes());
        id.copy_from_slice(self.id.as_bytes());
        insertion.copy_from_slice(&self.insertion.0);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader(bytes);
        let (until, id, insertion) = (reader.time()?, SessionHash::from_bytes(reader.take()?), reader.take()?);
        if reader.0.is_empty() { Ok(Self { until, id, insertion: Insertion(insertion) }) } else { Err(content()) }
    }
}

/// Writes a new session.
pub(super) fn encode(new: &NewSession, insertion: Insertion) -> Result<Vec<u8>, Fault> {
    let NewSession { idle_until, expires_at, tags, card, body } = new;
    let (number, card, body) = (u8::try_from(tags.len()), card.as_bytes(), body.as_bytes());
    let (Ok(number), Ok(length)) = (number, u16::try_from(card.len())) else { return Err(content()) };
    let end = expires_at.as_secs().to_be_bytes();
    let head = [&b"L"[..], &1_u64.to_be_bytes(), &idle_until.as_secs().to_be_bytes(), &end, &end, insertion.as_bytes()];
    let mut record = Vec::with_capacity(HEAD + tags.len() * 32 + card.len() + body.len());
    record.extend(head.concat());
    record.push(number);
    record.extend(length.to_be_bytes());
    for tag in tags {
        record.extend(tag.as_bytes());
    }
    record.extend(card);
    record.extend(body);
    Ok(record)
}

/// Reads a session, dead or alive; `None` for what is left of one that was ended.
pub(super) fn decode(record: &[u8]) -> Result<Option<StoredSession>, Fault> {
    let mut reader = Reader(record);
    match reader.take::<1>()? {
        [b'L'] if record.len() <= LONGEST => {}
        [b'E'] if record.len() == ENDED => return Ok(None),
        _ => return Err(content()),
    }
    let version = u64::from_be_bytes(reader.take()?);
    let (idle_until, expires_at) = (reader.time()?, reader.time()?);
    // Until when the indexes know it, and its insertion.
    let _ = reader.take::<24>()?;
    let ([tags], card) = (reader.take()?, usize::from(u16::from_be_bytes(reader.take()?)));
    let tags = usize::from(tags);
    if tags > NewSession::MAX_TAGS || card > NewSession::MAX_CARD || version == 0 {
        return Err(content());
    }
    let body = reader.0.get(tags * 32 + card..).ok_or_else(content)?;
    Ok(Some(StoredSession { version, idle_until, expires_at, body: Sealed::from_bytes(body) }))
}

/// Is a session that was just ended.
pub(super) struct Ended {
    pub(super) was_alive: bool,
    pub(super) until: UnixSeconds,
    pub(super) insertion: Insertion,
    pub(super) tags: Vec<SessionTag>,
}

impl Ended {
    pub(super) fn read(answer: Value) -> Result<Self, Fault> {
        let parts = <[Value; 4]>::try_from(reply::array(answer)?).map_err(|_| content())?;
        let [was_alive, until, insertion, tags] = parts;
        let was_alive = is_alive(&was_alive)?;
        let until = Reader(&reply::bytes(until)?).only(Reader::time)?;
        let insertion = insertion_of(insertion)?;
        Ok(Self { was_alive, until, insertion, tags: tags_of(tags)? })
    }
}

/// Is what a list shows.
pub(super) struct Shown {
    pub(super) is_alive: bool,
    pub(super) idle_until: UnixSeconds,
    pub(super) expires_at: UnixSeconds,
    pub(super) card: Sealed,
}

impl Shown {
    pub(super) fn read(answer: Value) -> Result<Self, Fault> {
        let [alive, ends, card] = <[Value; 3]>::try_from(reply::array(answer)?).map_err(|_| content())?;
        let (ends, card) = (reply::bytes(ends)?, reply::bytes(card)?);
        let (idle_until, expires_at) = Reader(&ends).only(|ends| Ok((ends.time()?, ends.time()?)))?;
        if card.len() > NewSession::MAX_CARD {
            return Err(content());
        }
        Ok(Self { is_alive: is_alive(&alive)?, idle_until, expires_at, card: Sealed::from_bytes(card) })
    }
}

/// Reads what must be in the indexes for longer.
pub(super) fn extension(answer: Value) -> Result<(Insertion, Vec<SessionTag>), Fault> {
    let [insertion, tags] = <[Value; 2]>::try_from(reply::array(answer)?).map_err(|_| content())?;
    Ok((insertion_of(insertion)?, tags_of(tags)?))
}

fn is_alive(value: &Value) -> Result<bool, Fault> {
    match reply::integer(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(content()),
    }
}

fn insertion_of(value: Value) -> Result<Insertion, Fault> {
    Ok(Insertion(Reader(&reply::bytes(value)?).only(Reader::take)?))
}

fn tags_of(value: Value) -> Result<Vec<SessionTag>, Fault> {
    let bytes = reply::bytes(value)?;
    let (tags, rest) = bytes.as_chunks::<32>();
    if tags.len() > NewSession::MAX_TAGS || !rest.is_empty() {
        return Err(content());
    }
    Ok(tags.iter().copied().map(SessionTag::from_bytes).collect())
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(content)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn time(&mut self) -> Result<UnixSeconds, Fault> {
        Ok(UnixSeconds::new(u64::from_be_bytes(self.take()?)))
    }

    /// Reads what must be all that there is.
    fn only<T>(mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let found = read(&mut self)?;
        if self.0.is_empty() { Ok(found) } else { Err(content()) }
    }
}

pub(super) const fn content() -> Fault {
    Fault::new(FaultKind::Content)
}

const HEAD: usize = 52;
const ENDED: usize = 9;
/// Bounds what is read of a session, in bytes.
pub(super) const LONGEST: usize = HEAD + NewSession::MAX_TAGS * 32 + NewSession::MAX_CARD + NewSession::MAX_BODY;

#[cfg(test)]
mod tests;
