//! Reads answers strictly: what is not as our scripts make it is a fault, never a default.

use redis::Value;

use crate::error::{Fault, FaultKind};

const fn content() -> Fault {
    Fault::new(FaultKind::Content)
}

pub(crate) fn bytes(value: Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(content()),
    }
}

pub(crate) fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| content()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Ok(text),
        _ => Err(content()),
    }
}

pub(crate) fn integer(value: &Value) -> Result<i64, Fault> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(content()),
    }
}

/// Reads a number that is not below zero.
pub(crate) fn count(value: &Value) -> Result<u64, Fault> {
    integer(value).and_then(|number| u64::try_from(number).map_err(|_| content()))
}

pub(crate) fn array(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(content()),
    }
}

/// Reads bytes, or that there are none.
pub(crate) fn optional(value: Value) -> Result<Option<Vec<u8>>, Fault> {
    match value {
        Value::Nil => Ok(None),
        value => bytes(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_for_something_else() {
        let odd = [
            Value::Nil,
            Value::Okay,
            Value::Boolean(true),
            Value::Double(1.0),
            Value::Array(Vec::new()),
            Value::Map(Vec::new()),
        ];
        for value in odd {
            assert!(integer(&value).is_err() && count(&value).is_err(), "{value:?}");
            assert!(bytes(value.clone()).is_err() && text(value.clone()).is_err(), "{value:?}");
            assert_eq!(array(value.clone()).is_ok(), matches!(value, Value::Array(_)), "{value:?}");
            assert_eq!(optional(value.clone()).is_ok(), value == Value::Nil, "{value:?}");
        }
        assert!(count(&Value::Int(-1)).is_err());
        assert!(text(Value::BulkString(vec![0xff])).is_err());
        assert!(integer(&Value::BulkString(b"1".to_vec())).is_err());
    }
}
