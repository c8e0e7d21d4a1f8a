//! CBOR in the one form that authenticators write it ([CTAP 2.1 §8](https://fidoalliance.org/specs/fido-v2.1-ps-20210615/fido-client-to-authenticator-protocol-v2.1-ps-errata-20220621.html#message-encoding)).

use ciborium::Value;

use super::PasskeyReject;

/// Nesting that is read; authenticators write four levels.
const MOST_DEPTH: usize = 8;

/// Are the entries of a map, in their order.
pub(super) type Entries = Vec<(Value, Value)>;

/// Reads the map that `bytes` begin with, and returns what stands behind it.
///
/// Lengths are the shortest, nothing is tagged or of indefinite length, and the keys of each map are in order, each once:
/// so bytes and meaning are one to one. The caller bounds the length.
pub(super) fn read_map(bytes: &[u8]) -> Result<(Entries, &[u8]), PasskeyReject> {
    let mut rest = bytes;
    let value: Value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, MOST_DEPTH).map_err(|_| PasskeyReject::Malformed)?;
    let length = bytes.len().checked_sub(rest.len()).ok_or(PasskeyReject::Malformed)?;
    let is_written_so = bytes.get(..length) == Some(&*write(&value)?);
    if !is_written_so || !is_canonical(&value)? {
        return Err(PasskeyReject::Malformed);
    }
    let Value::Map(entries) = value else { return Err(PasskeyReject::Malformed) };
    Ok((entries, rest))
}

/// Reads a map that is all of `bytes`.
pub(super) fn read_whole_map(bytes: &[u8]) -> Result<Entries, PasskeyReject> {
    let (entries, rest) = read_map(bytes)?;
    if rest.is_empty() { Ok(entries) } else { Err(PasskeyReject::Malformed) }
}

fn write(value: &Value) -> Result<Vec<u8>, PasskeyReject> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| PasskeyReject::Malformed)?;
    Ok(bytes)
}

/// Checks what writing it again does not: tags, floats, and the order of keys. As deep as the value, which was bounded when read.
fn is_canonical(value: &Value) -> Result<bool, PasskeyReject> {
    match value {
        Value::Array(items) => items.iter().try_fold(true, |so_far, item| Ok(so_far && is_canonical(item)?)),
        Value::Map(entries) => {
            let mut last: Option<Order> = None;
            for (key, value) in entries {
                let order = Order::of(&write(key)?);
                if last.is_some_and(|last| last >= order) || !is_canonical(key)? || !is_canonical(value)? {
                    return Ok(false);
                }
                last = Some(order);
            }
            Ok(true)
        }
        // Authenticators have no numbers but whole ones, and "not a number" has many forms.
        Value::Tag(..) | Value::Float(_) => Ok(false),
        _ => Ok(true),
    }
}

/// Orders keys: by major type, then the shorter first, then by bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    major_type: Option<u8>,
    length: usize,
    bytes: Vec<u8>,
}

impl Order {
    fn of(bytes: &[u8]) -> Self {
        Self { major_type: bytes.first().map(|byte| byte >> 5), length: bytes.len(), bytes: bytes.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(hex: &str) {
        assert_eq!(read_whole_map(&bytes(hex)), Err(PasskeyReject::Malformed), "{hex}");
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let hex = hex.replace(' ', "");
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn reads_a_map_and_leaves_what_stands_behind() {
        let bytes = bytes("a2 0102 2003 ff");
        let (entries, rest) = read_map(&bytes).unwrap();
        assert_eq!(entries, [(Value::from(1), Value::from(2)), (Value::from(-1), Value::from(3))]);
        assert_eq!(rest, [0xff]);
        assert_eq!(read_whole_map(&bytes), Err(PasskeyReject::Malformed));
    }

    #[test]
    fn refuses_what_is_cut_or_no_map() {
        for hex in ["", "a1", "a101", "a2 0102", "01", "f6", "80", "40", "60", "ff", "a1 01 42 00", "a1 01 62 61"] {
            refused(hex);
        }
    }

    #[test]
    fn refuses_numbers_and_lengths_that_could_be_shorter() {
        for hex in
            ["a1 1801 02", "a1 01 1802", "a1 01 190002", "a1 01 1b0000000000000002", "b801 0102", "a1 01 5801 00"]
        {
            refused(hex);
        }
        for hex in ["a1 01 7801 61", "a1 01 9800", "a1 3800 02", "a1 01 f97e01", "a1 01 fa40000000"] {
            refused(hex);
        }
    }

    #[test]
    fn refuses_indefinite_lengths_tags_undefined_and_bad_text() {
        for hex in ["bf 0102 ff", "a1 01 9fff", "a1 01 5fff", "a1 01 5f4100ff", "a1 01 7fff", "a1 01 bfff"] {
            refused(hex);
        }
        for hex in [
            "a1 01 c001",
            "a1 01 c24101",
            "c1 a10102",
            "a1 c001 02",
            "a1 01 f7",
            "a1 01 f8ff",
            "a1 01 61ff",
            "a1 01 1c",
        ] {
            refused(hex);
        }
    }

    #[test]
    fn refuses_keys_that_stand_twice_or_out_of_order_at_any_depth() {
        for map in [
            "a2 0101 0102",
            "a2 0301 0101",
            "a2 2001 0101",
            "a2 6161 01 01 01",
            "a2 62616101 616201",
            "a2 190100 01 1801 01",
        ] {
            refused(map);
            refused(&format!("a1 01 {map}"));
            refused(&format!("a1 01 81 {map}"));
            refused(&format!("a1 {map} 01"));
        }
        assert!(read_whole_map(&bytes("a2 616201 62616101")).is_ok());
        assert!(read_whole_map(&bytes("a2 1818 01 2001")).is_ok(), "the major type comes before the length");
    }

    #[test]
    fn refuses_what_is_nested_or_promises_too_much() {
        refused(&format!("a1 01 {}80", "81".repeat(20)));
        refused(&format!("a1 01 {}80", "81".repeat(100_000)));
        refused(&"a101".repeat(100_000));
        refused(&format!("a1 01 {}", "c1".repeat(100_000)));
        for hex in
            ["bbffffffffffffffff", "a1 01 9bffffffffffffffff", "a1 01 5bffffffffffffffff", "a1 01 7b7fffffffffffffff"]
        {
            refused(hex);
        }
        assert!(read_whole_map(&bytes("a1 01 81 81 81 80")).is_ok());
    }
}
