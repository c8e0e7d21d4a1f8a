//! What is written to logs.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use crate::SkippedKey;

/// Bounds a cause in characters.
const LONGEST: usize = 1024;

/// Writes an error with its causes on one line of visible characters.
///
/// The texts may be of a client that was given, and hold what a provider sent.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    // No honest chain is longer.
    let mut next = error.source();
    for _ in 0..8 {
        let Some(cause) = next else { break };
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    escaped(&text)
}

/// Escapes whatever is not visible, and cuts.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().take(LONGEST) {
        match character {
            '"' | '\'' | '\\' => escaped.push(character),
            _ => escaped.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        escaped.push('…');
    }
    escaped
}

/// Tells of the keys of a set that were left out.
#[derive(Debug, Default)]
pub(super) struct Skips {
    /// The leaks told of last, in some fixed order.
    leaks: Mutex<Vec<String>>,
}

impl Skips {
    /// Warns of leaked secrets when they are others than the time before; the rest is for debugging.
    pub(super) fn tell(&self, origin: &str, skipped: &[SkippedKey]) {
        let mut leaks: Vec<String> = skipped
            .iter()
            .filter(|skipped| skipped.is_leak())
            .map(|skipped| format!("{:?} {}", skipped.kid(), skipped.reason()))
            .collect();
        leaks.sort_unstable();
        let mut told = self.leaks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *told != leaks;
        *told = leaks;
        drop(told);
        for skipped in skipped {
            if is_new && skipped.is_leak() {
                tracing::warn!(origin, %skipped, "a key of the set is left out: its secret is published");
            } else {
                tracing::debug!(origin, %skipped, "a key of the set is left out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sekisho_core::Failure;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("line one\r\nline two \u{1b}[31m\u{202e} \"quoted\" {}", "x".repeat(2000))]
    struct Hostile;

    #[test]
    fn a_cause_is_one_line_of_visible_characters_and_bounded() {
        let text = causes(&Failure::unavailable("no keys").with_source(Hostile));
        assert!(text.contains(r#": line one\r\nline two \u{1b}[31m\u{202e} "quoted" xxx"#), "{text}");
        assert!(
            !text.contains(char::is_control) && text.chars().count() < LONGEST + 50 && text.ends_with('…'),
            "{text}"
        );
    }
}
