//! Cedar's parser and what works on its trees call themselves for each level, and a stack that is used up ends the process.

/// How deep brackets may be nested.
pub(super) const MAX_DEPTH: usize = 64;
/// How many `if` one statement may have; each stands inside the one before, as likely as not.
pub(super) const MAX_IFS: usize = 64;
/// How many operators one policy may have, `.` among them: a chain of them is a tree as deep as it is long. Where its stack
/// ends, Cedar's validator finds nothing wrong, and a decision ends the process.
pub(super) const MAX_OPERATORS: usize = 256;

/// Says which angle brackets are brackets: those of a schema are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Policies,
    Schema,
}

/// Returns where a text goes beyond these bounds. What no parser would take may count as too deep.
pub(super) fn too_deep(text: &str, kind: Kind) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut ifs, mut operators, mut at) = (0_usize, 0, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte != b'\n').count();
            }
            b'[' => (depth, operators) = (depth + 1, operators + 1),
            b'(' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'<' if kind == Kind::Schema => depth += 1,
            b'>' if kind == Kind::Schema => depth = depth.saturating_sub(1),
            b';' if depth == 0 => (ifs, operators) = (0, 0),
            b'.' | b'+' | b'-' | b'*' => operators += 1,
            b'&' | b'|' if bytes.get(at + 1) == Some(byte) => operators += 1,
            b'i' if is_if(bytes, at) => ifs += 1,
            _ => {}
        }
        if depth > MAX_DEPTH || (kind == Kind::Policies && (ifs > MAX_IFS || operators > MAX_OPERATORS)) {
            return Some(at.min(bytes.len()));
        }
        at += 1;
    }
    None
}

fn is_if(bytes: &[u8], at: usize) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    bytes.get(at + 1) == Some(&b'f') && !before.is_some_and(is_of_word) && !bytes.get(at + 2).is_some_and(is_of_word)
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_found_before_it_is_parsed() {
        let nested = |open: &str, count: usize| open.repeat(count);
        for (text, kind) in [
            (nested("(", MAX_DEPTH + 1), Kind::Policies),
            (nested("[{(", MAX_DEPTH / 3 + 1), Kind::Policies),
            (nested(")((", MAX_DEPTH + 1), Kind::Policies),
            (nested("\"(\\\"\"(", MAX_DEPTH + 1), Kind::Policies),
            (nested("(//)\n", MAX_DEPTH + 1), Kind::Policies),
            (nested("(;", MAX_DEPTH + 1), Kind::Policies),
            (nested("if true then ", MAX_IFS + 1), Kind::Policies),
            (nested("if(true)then(1)else ", MAX_IFS + 1), Kind::Policies),
            (nested("true && ", MAX_OPERATORS + 1), Kind::Policies),
            (nested("true||", MAX_OPERATORS + 1), Kind::Policies),
            (nested("1 +", MAX_OPERATORS + 1), Kind::Policies),
            (nested(".a", MAX_OPERATORS + 1), Kind::Policies),
            (nested("[\"a\"] ", MAX_OPERATORS + 1), Kind::Policies),
            (nested("Set<", MAX_DEPTH + 1), Kind::Schema),
        ] {
            assert!(too_deep(&text, kind).is_some(), "{:.40}", text);
        }
        for (text, kind) in [
            (nested("(", MAX_DEPTH), Kind::Policies),
            (nested("()", 1000), Kind::Policies),
            (nested("<", 1000), Kind::Policies),
            (nested("verified gif iffy ", 1000), Kind::Policies),
            (nested("\"((((\" ", 1000), Kind::Policies),
            (nested("// ((((\n", 1000), Kind::Policies),
            (nested("if x then y else z.a && b;", 1000), Kind::Policies),
            (nested("User::\"a.b\", ", 1000), Kind::Policies),
            (nested("permit(principal, action, resource);", 10_000), Kind::Policies),
            (nested("\"\\", 1), Kind::Policies),
        ] {
            assert_eq!(too_deep(&text, kind), None, "{text:.40}");
        }
    }
}
