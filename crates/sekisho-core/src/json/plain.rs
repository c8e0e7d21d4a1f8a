//! The quick check of a nested value in the usual case: a text without any escape.
//!
//! It is no parser. The text was checked to be JSON before, so that a quote ends a string, and what follows `{` or, in an object, `,`
//! is a name. Whatever is not usual here is left to the slow check, which gives the same answer.

use super::{JsonError, LINEAR_NAMES, MAX_DEPTH, fingerprint, is_short_number};

/// Is an object or array that has not ended yet.
#[derive(Clone, Copy)]
struct Open {
    is_object: bool,
    /// Where its names begin in the list of all open objects' names.
    names_from: usize,
    seen: u64,
}

/// Keeps its memory from one value to the next.
#[derive(Default)]
pub(super) struct Check<'a> {
    open: Vec<Open>,
    names: Vec<&'a str>,
}

impl<'a> Check<'a> {
    /// Refuses depth and duplicate names inside `raw`, an object or array at depth 2 that is valid JSON without escapes.
    /// `None` leaves it to the slow check.
    pub(super) fn run(&mut self, raw: &'a str) -> Option<Result<(), JsonError>> {
        let Self { open, names } = self;
        open.clear();
        names.clear();
        let bytes = raw.as_bytes();
        let mut at = 0;
        let mut name_follows = false;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'{' | b'[' => {
                    if open.len() + 1 >= MAX_DEPTH {
                        return Some(Err(JsonError::TooDeep));
                    }
                    let is_object = *byte == b'{';
                    open.push(Open { is_object, names_from: names.len(), seen: 0 });
                    name_follows = is_object;
                }
                b'}' | b']' => {
                    names.truncate(open.pop()?.names_from);
                    name_follows = false;
                }
                b',' => name_follows = open.last()?.is_object,
                b'"' => {
                    let length = memchr::memchr(b'"', bytes.get(at..)?)?;
                    let text = raw.get(at..at + length)?;
                    at += length + 1;
                    if name_follows {
                        name_follows = false;
                        let object = open.last_mut()?;
                        let known = names.get(object.names_from..)?;
                        if known.len() == LINEAR_NAMES {
                            return None;
                        }
                        let bit = 1 << fingerprint(text);
                        if object.seen & bit != 0 && known.contains(&text) {
                            return Some(Err(JsonError::DuplicateMember));
                        }
                        object.seen |= bit;
                        names.push(text);
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let rest = bytes.get(at - 1..)?;
                    let length =
                        rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                    let length = length.count();
                    if !is_short_number(rest.get(..length)?) {
                        return None;
                    }
                    at += length - 1;
                }
                // White space, colons and literals.
                _ => {}
            }
        }
        Some(Ok(()))
    }
}
