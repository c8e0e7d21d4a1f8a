use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Is a user name in the one form in which names are compared and kept.
///
/// What was typed is normalised by NFKC (so that full-width letters of an input method are plain ones) and put into
/// lower case; what is left must be 1 to 254 of the characters `a`–`z`, `0`–`9` and `.` `_` `-` `+` `@`, beginning and
/// ending with a letter or a digit.
///
/// Confusables: letters of other scripts are refused, not mapped, so a Cyrillic `а` never passes for a Latin one and no
/// table of look-alikes has to be right. What stays is what ASCII itself has (`0` and `o`, `1` and `l`). Names in other
/// scripts are for display; they belong to the profile, which is not kept here.
///
/// `Debug` shows nothing, there is no `Display`: a name may be an e-mail address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Username(String);

impl Username {
    /// Normalises what was typed.
    ///
    /// Idempotent: the normal form of a normal form is itself.
    ///
    /// # Errors
    /// In this order:
    /// - [`UsernameError::Length`]: more than 1,024 bytes as typed, or nothing, or more than 254 characters afterwards.
    /// - [`UsernameError::Character`]: a character that names cannot have, or not there.
    pub fn parse(typed: &str) -> Result<Self, UsernameError> {
        if typed.len() > MOST_BYTES_TYPED {
            return Err(UsernameError::Length);
        }
        // Lower case comes after NFKC, for the Kelvin sign becomes `K` there; on ASCII, all that may be left, it is
        // stable.
        let name: String = typed.nfkc().map(|c| c.to_ascii_lowercase()).take(MOST_CHARACTERS + 1).collect();
        if name.is_empty() || name.chars().count() > MOST_CHARACTERS {
            return Err(UsernameError::Length);
        }
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-+@".contains(&byte);
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        if bytes.iter().all(|byte| is_inner(*byte)) && is_end(bytes.first()) && is_end(bytes.last()) {
            Ok(Self(name))
        } else {
            Err(UsernameError::Character)
        }
    }

    /// Reads the normal form. It may be personal data: keep it out of logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const MOST_BYTES_TYPED: usize = 1024;
const MOST_CHARACTERS: usize = 254;

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(..)")
    }
}

/// Says why a text is no user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UsernameError {
    /// Empty or too long.
    #[error("a user name has 1 to 254 characters")]
    Length,
    /// A character that names cannot have, or not at that place.
    #[error("a user name has letters a to z, digits and . _ - + @, and begins and ends with a letter or a digit")]
    Character,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(typed: &str) -> Result<String, UsernameError> {
        Username::parse(typed).map(|name| name.as_str().to_owned())
    }

    #[test]
    fn refuses_what_looks_like_a_letter_of_another_script() {
        // Cyrillic а, Greek ο, Cherokee Ꭺ, dotless ı, ß, combining dot, zero width joiner, right-to-left override, soft
        // hyphen.
        for typed in ["p\u{430}ypal", "b\u{3bf}b", "\u{13aa}lice", "adm\u{131}n", "stra\u{df}e", "i\u{307}"] {
            assert_eq!(parsed(typed), Err(UsernameError::Character), "{typed:?}");
        }
        for typed in ["a\u{200d}b", "a\u{202e}b", "a\u{ad}b", "a\u{0}b", "a\nb", "a b", " ab", "ab ", "\u{130}rem"] {
            assert_eq!(parsed(typed), Err(UsernameError::Character), "{typed:?}");
        }
    }

    #[test]
    fn refuses_marks_at_the_ends_and_wrong_lengths() {
        for typed in [".", "@", ".a", "a.", "-rf", "a@", "a/b", "a'b", "a\"b", "a%b", "a:b", "a\\b"] {
            assert_eq!(parsed(typed), Err(UsernameError::Character), "{typed:?}");
        }
        for typed in [String::new(), "a".repeat(255), "a".repeat(5000), "\u{fdfa}".repeat(300)] {
            assert_eq!(parsed(&typed), Err(UsernameError::Length));
        }
        assert!(parsed(&"a".repeat(254)).is_ok());
    }

    #[test]
    fn case_width_and_compatibility_forms_are_one_name() {
        for typed in [
            "kiss@example.com",
            "KISS@Example.COM",
            "\u{212a}i\u{17f}s@example.com",
            "ｋｉｓｓ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        ] {
            assert_eq!(parsed(typed).as_deref(), Ok("kiss@example.com"), "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_typed_gives_a_stable_ascii_name_or_an_error(typed in any::<String>()) {
            if let Ok(name) = parsed(&typed) {
                prop_assert!(name.is_ascii() && !name.bytes().any(|b| b.is_ascii_uppercase()));
                prop_assert_eq!(parsed(&name), Ok(name));
            }
        }

        #[test]
        fn a_name_in_any_case_and_width_is_the_same_name(
            name in "[a-z0-9]([a-z0-9._+@-]{0,40}[a-z0-9])?",
            choice in proptest::collection::vec(0_u8..4, 42),
        ) {
            let typed: String = name.chars().zip(&choice).map(|(c, how)| {
                let c = if how & 1 == 1 { c.to_ascii_uppercase() } else { c };
                // The full-width forms stand in the order of ASCII.
                if how & 2 == 2 { char::from_u32(c as u32 - 0x21 + 0xff01).unwrap() } else { c }
            }).collect();
            prop_assert_eq!(parsed(&typed), Ok(name));
        }

        #[test]
        fn one_foreign_character_anywhere_refuses_the_name(
            before in "[a-z]{1,5}", after in "[a-z]{1,5}", foreign in "[\u{370}-\u{5ff}\u{13a0}-\u{13ff}\u{200b}-\u{200f}]",
        ) {
            // Some marks compose or decompose, but never to ASCII alone; U+037E is the Greek question mark, a
            // semicolon.
            prop_assert_eq!(parsed(&format!("{before}{foreign}{after}")), Err(UsernameError::Character));
        }
    }
}
