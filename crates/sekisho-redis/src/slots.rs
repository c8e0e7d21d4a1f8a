use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redis::Value;

use crate::config::Endpoint;
use crate::error::{Fault, FaultKind};
use crate::reply;

/// Says which server of a cluster has which of the 16,384 slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotMap {
    /// In order, none overlapping another.
    ranges: Vec<Range>,
    /// What servers have said since.
    moved: HashMap<u16, Arc<Endpoint>>,
}

#[derive(Clone, Debug)]
struct Range {
    first: u16,
    last: u16,
    master: Arc<Endpoint>,
}

pub(crate) const SLOTS: u16 = 16_384;
/// Bounds a cluster; Redis itself advises against more.
const MOST_MASTERS: usize = 1_000;

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS`.
    ///
    /// - `asked`: who answered; a server that does not know its own name leaves it out.
    pub(crate) fn parse(answer: Value, asked: &Endpoint) -> Result<Self, Fault> {
        let content = || Fault::new(FaultKind::Content);
        let entries = reply::array(answer)?;
        if entries.len() > usize::from(SLOTS) {
            return Err(content());
        }
        let mut known: HashMap<Endpoint, Arc<Endpoint>> = HashMap::new();
        let mut ranges = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut parts = reply::array(entry)?.into_iter();
            let mut slot = || {
                let number = reply::integer(&parts.next().ok_or_else(content)?)?;
                u16::try_from(number).ok().filter(|slot| *slot < SLOTS).ok_or_else(content)
            };
            let (first, last) = (slot()?, slot()?);
            let mut master = reply::array(parts.next().ok_or_else(content)?)?.into_iter();
            let host = match master.next().ok_or_else(content)? {
                Value::Nil => String::new(),
                host => reply::text(host)?,
            };
            let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host.into() };
            let port = u16::try_from(reply::integer(&master.next().ok_or_else(content)?)?).map_err(|_| content())?;
            let master = Endpoint { host, port };
            let master = Arc::clone(known.entry(master).or_insert_with_key(|master| Arc::new(master.clone())));
            ranges.push(Range { first, last, master });
        }
        ranges.sort_by_key(|range| range.first);
        let is_in_order = ranges.windows(2).all(|pair| matches!(pair, [one, next] if one.last < next.first));
        if !is_in_order || ranges.iter().any(|range| range.last < range.first) || known.len() > MOST_MASTERS {
            return Err(content());
        }
        Ok(Self { ranges, moved: HashMap::new() })
    }

    /// Returns the master of a slot, if somebody has it.
    pub(crate) fn master(&self, slot: u16) -> Option<&Arc<Endpoint>> {
        if let Some(master) = self.moved.get(&slot) {
            return Some(master);
        }
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= range.last).then_some(&range.master)
    }

    /// Notes that a slot is elsewhere now.
    pub(crate) fn with_moved(&self, slot: u16, master: Endpoint) -> Self {
        let mut newer = self.clone();
        newer.moved.insert(slot, Arc::new(master));
        newer
    }

    /// Returns all masters, each once.
    pub(crate) fn masters(&self) -> HashSet<Arc<Endpoint>> {
        self.ranges.iter().map(|range| &range.master).chain(self.moved.values()).cloned().collect()
    }

    /// Tells whether each slot has a master.
    pub(crate) fn is_whole(&self) -> bool {
        self.ranges.iter().map(|range| u32::from(range.last - range.first) + 1).sum::<u32>() == u32::from(SLOTS)
    }
}

/// Returns the slot of a key: CRC16 (XMODEM) of what stands between the first `{` and the next `}`, or of all if nothing does.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), step))
}

/// Reads `MOVED 3999 host:port` without its first word. A server that does not know its own name leaves the host out.
pub(crate) fn parse_redirect(detail: &str, asked: &Endpoint) -> Option<(u16, Endpoint)> {
    let (slot, place) = detail.split_once(' ')?;
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
    let (host, port) = place.trim().rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host.into() };
    Some((slot, Endpoint { host, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    fn entry(first: i64, last: i64, host: &str, port: i64) -> Value {
        let server =
            Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), Value::SimpleString("id".into())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), server])
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"somekey"), 11058);
        assert_eq!(slot(b"foo{hash_tag}"), 2515);
        assert_eq!(slot(b"bar{hash_tag}"), 2515);
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn finds_the_master_of_a_slot_and_notes_where_it_went() {
        let asked = endpoint("seed", 1);
        let answer = Value::Array(vec![entry(8192, 16383, "", 7001), entry(0, 8190, "a", 7000)]);
        let map = SlotMap::parse(answer, &asked).unwrap();
        let master = |map: &SlotMap, slot| map.master(slot).map(ToString::to_string);
        assert_eq!(master(&map, 0).as_deref(), Some("a:7000"));
        assert_eq!(master(&map, 8190).as_deref(), Some("a:7000"));
        assert_eq!(master(&map, 8191), None);
        assert_eq!(master(&map, 16383).as_deref(), Some("seed:7001"));
        assert!(!map.is_whole());
        let moved = map.with_moved(8191, endpoint("b", 7002));
        assert_eq!(master(&moved, 8191).as_deref(), Some("b:7002"));
        assert_eq!(moved.masters().len(), 3);
        let whole = SlotMap::parse(Value::Array(vec![entry(0, 16383, "a", 1)]), &asked).unwrap();
        assert!(whole.is_whole());
    }

    #[test]
    fn refuses_maps_that_are_none() {
        for bad in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(1)])]),
            Value::Array(vec![entry(0, 16384, "a", 1)]),
            Value::Array(vec![entry(-1, 1, "a", 1)]),
            Value::Array(vec![entry(5, 4, "a", 1)]),
            Value::Array(vec![entry(0, 5, "a", 1), entry(5, 9, "b", 1)]),
            Value::Array(vec![entry(0, 5, "a", 65536)]),
            Value::Array(vec![entry(0, 5, "a", 1); 16385]),
        ] {
            assert!(SlotMap::parse(bad, &endpoint("seed", 1)).is_err());
        }
    }

    #[test]
    fn reads_redirects_and_nothing_else() {
        let asked = endpoint("seed", 1);
        let read = |detail: &str| parse_redirect(detail, &asked).map(|(slot, place)| format!("{slot} {place}"));
        assert_eq!(read("3999 127.0.0.1:6381").as_deref(), Some("3999 127.0.0.1:6381"));
        assert_eq!(read("3999 :6381").as_deref(), Some("3999 seed:6381"));
        assert_eq!(read("3999 ::1:6381").as_deref(), Some("3999 [::1]:6381"));
        for bad in ["", "3999", "16384 a:1", "-1 a:1", "1 a", "1 a:", "1 a:65536", "x a:1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
