//! What the engine's parser, and what works on its trees, would follow until the stack or the memory ends, which ends the process. It
//! is found in the text, before any of it is parsed.

/// The engine's parser takes twice as long with each further bracket inside of brackets.
const MAX_NESTING: usize = 12;
/// How many operators one expression may have, `.` and `[` among them, counted together with those of the brackets around it: a
/// chain of them is a tree as deep as it is long.
const MAX_OPERATORS: usize = 64;
/// How many signs one expression may have, counted likewise. The parser calls itself for each, with what follows it.
const MAX_SIGNS: usize = 8;
/// The engine computes the power of ten that a number names, and each digit of it.
const MAX_EXPONENT: u32 = 400;
const MAX_DIGITS: usize = 1024;

#[derive(Clone, Copy, Default)]
struct Run {
    operators: usize,
    signs: usize,
}

/// Is what the scan knows where it stands.
#[derive(Default)]
struct Scan {
    now: Run,
    /// What the expression around the innermost bracket had when that was opened.
    base: Run,
    around: Vec<(Run, Run)>,
    /// Where the operand ended that stands there, if one does.
    operand: Option<usize>,
}

impl Scan {
    /// Between two operands without an operator an expression ends.
    fn operand(&mut self, end: usize) {
        if self.operand.replace(end).is_some() {
            self.now = self.base;
        }
    }

    fn operator(&mut self) {
        self.operand = None;
        self.now.operators += 1;
    }

    fn separator(&mut self) {
        self.operand = None;
        self.now = self.base;
    }

    fn open(&mut self, bracket: u8, at: usize) {
        match (bracket, self.operand) {
            // An index touches what it is one of.
            (b'[', Some(end)) if end == at => self.now.operators += 1,
            (b'(', _) | (_, None) => {}
            _ => self.now = self.base,
        }
        self.around.push((self.now, self.base));
        (self.base, self.operand) = (self.now, None);
    }

    fn close(&mut self, at: usize) {
        if let Some(around) = self.around.pop() {
            (self.now, self.base) = around;
        }
        self.operand = Some(at + 1);
    }
}

/// Says why a module is not to be parsed, if it is not.
pub(super) fn problem(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let (mut scan, mut at) = (Scan::default(), 0);
    while let Some(byte) = bytes.get(at) {
        let mut end = at + 1;
        match byte {
            // For the parser the text ends here.
            0 => return Some("has a character of value 0"),
            b'#' => end = past(bytes, end, b'\n'),
            b'`' | b'"' => {
                end = if *byte == b'`' { past(bytes, end, b'`') } else { past_string(bytes, end) };
                scan.operand(end);
            }
            b'(' | b'[' | b'{' => scan.open(*byte, at),
            b')' | b']' | b'}' => scan.close(at),
            b',' | b';' | b':' => scan.separator(),
            // The second half of an operator.
            b'=' if at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(|byte| b":<>!=".contains(byte)) => {}
            b'-' if scan.operand.is_none() => scan.now.signs += 1,
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b'<' | b'>' | b'=' | b'!' => scan.operator(),
            b'0'..=b'9' => match past_number(bytes, at) {
                Some(past) => {
                    end = past;
                    scan.operand(end);
                }
                None => return Some("has a number that is too large"),
            },
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                end = at + count(bytes, at, |byte| **byte == b'_' || byte.is_ascii_alphanumeric());
                if bytes.get(at..end) == Some(b"in") { scan.operator() } else { scan.operand(end) }
            }
            _ => {}
        }
        if scan.around.len() > MAX_NESTING {
            return Some("is nested too deep");
        }
        if scan.now.operators > MAX_OPERATORS || scan.now.signs > MAX_SIGNS {
            return Some("has an expression with too many operators");
        }
        at = end;
    }
    None
}

/// Tells whether a JSON text, checked before, has a number that the engine is not to see.
pub(super) fn has_large_number(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => past_string(bytes, at + 1),
            b'0'..=b'9' => match past_number(bytes, at) {
                Some(past) => past,
                None => return true,
            },
            _ => at + 1,
        };
    }
    false
}

fn count(bytes: &[u8], from: usize, is_counted: impl FnMut(&&u8) -> bool) -> usize {
    bytes.get(from..).unwrap_or_default().iter().take_while(is_counted).count()
}

fn past(bytes: &[u8], from: usize, last: u8) -> usize {
    from + count(bytes, from, |byte| **byte != last) + 1
}

fn past_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// Returns where a number ends that begins with a digit; `None` if it is too large.
fn past_number(bytes: &[u8], start: usize) -> Option<usize> {
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let mut end = start + count(bytes, start, is_digit);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1;
        end += count(bytes, end, is_digit);
    }
    if end - start > MAX_DIGITS {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        end += 1;
        end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
        let digits = count(bytes, end, is_digit);
        for digit in bytes.get(end..end + digits)?.iter().scan(0_u32, |exponent, digit| {
            *exponent = exponent.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
            Some(*exponent)
        }) {
            if digit > MAX_EXPONENT {
                return None;
            }
        }
        end += digits;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_process_is_found_before_it_is_parsed() {
        for (start, repeated, end) in [
            ("x := ", "-", "1"),
            ("x := ", "- ", "1"),
            ("x := ", "- a * ", "1"),
            ("x := ", "-\n", "1"),
            ("x if not ", "- # -\n", "1"),
            ("x := ", "1 - - ", "1"),
            ("x := ", "1 -", "1"),
            ("x := ", "-1 +", "1"),
            ("x := ", "1 +\n", "1"),
            ("x := ", "1\n+ # c\n", "1"),
            ("x := a", ".a", ""),
            ("x := a", "[0]", ""),
            ("x := a", ".in[0]", ""),
            ("x := a", "[\"]\"]", ""),
            ("x := ", "{1} | ", "{2}"),
            ("x := ", "{1} & ", "{2}"),
            ("x := ", "f(1, 2) * ", "2"),
            ("x := ", "1 in ", "a"),
            ("x := ", "1 == ", "a"),
            ("x := ", "1!=", "a"),
            ("x := ", "\"#\" < ", "a"),
            ("x := ", "`\"` >= ", "a"),
            ("", "[[1] + ", ""),
        ] {
            let text = format!("package a\n{start}{}{end}", repeated.repeat(1000));
            assert!(problem(&text).is_some(), "{start}{repeated}{end}");
        }
        // Signs and operators count together with those of the brackets around.
        let around = |inner: &str| format!("x := {}[{}1]", "1 + ".repeat(MAX_OPERATORS - 1), inner);
        assert!(problem(&around("1 + ")).is_none() && problem(&around("1 + 1 + ")).is_some());
        for bad in ["x := 1e401", "x := 1E2147483647", "x := 0.5e-401", "x := 1e00000000000000000401", "x := 1\0"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn what_is_long_but_flat_is_parsed() {
        for text in [
            "x if { a.b == 1; c[0] != \"- - -\" }\n",
            "x if a.b.c\n",
            "x := -1\n",
            "f(n) := n + 1 if n > 0\n",
            "x := [1, -1, a.b, -1e400]\n",
            "# - - - ((( 1e999\n",
            "x := `- - - (((\n1e999`\n",
            "x contains y if { some y in data.a.b\nnot y.c\n[y, z] = f(y)\n[z] = g(z)\n}\n",
            "x := {\"a\": a.b, \"c\": {\"d\": e.f}}\n",
        ] {
            assert_eq!(problem(&text.repeat(500)), None, "{text}");
        }
        let object = format!("x := {{{}}}", "\"a\": a.b.c - 1, ".repeat(1000));
        assert_eq!(problem(&object), None);
    }

    #[test]
    fn numbers_of_a_document_are_bounded() {
        let long = format!("[{}]", "1".repeat(MAX_DIGITS + 1));
        for bad in ["0e2147483647", "[1,-2E+401]", r#"{"a\"":1.5e-99999999999999}"#, &long] {
            assert!(has_large_number(bad), "{bad}");
        }
        for good in ["1e400", r#""1e999""#, r#"{"\"1e999":[true,false,null,1E-400,12.5]}"#, "[\"a\\\\\",1]", "\"\\"] {
            assert!(!has_large_number(good), "{good}");
        }
    }
}
