use sekisho_core::Reject;
use sekisho_http::RequestHead;
use std::time::Duration;
use zeroize::Zeroizing;

use crate::cookie::{SessionCookie, SetCookie};

/// Is a text in as many cookies as it needs: `NAME.0`, `NAME.1` and so on.
#[derive(Clone, Debug)]
pub(crate) struct Pieces(Vec<SessionCookie>);

/// Says which pieces a request brought, also such as cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct There(u8);

impl There {
    pub(crate) const ALL: Self = Self(u8::MAX);

    pub(crate) const fn is_any(self) -> bool {
        self.0 != 0
    }

    const fn has(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }
}

impl Pieces {
    /// Takes up to 8 cookies, named after one.
    pub(crate) fn new(cookie: &SessionCookie, pieces: usize) -> Self {
        Self((0..pieces.min(8)).map(|number| cookie.with_suffix(&format!(".{number}"))).collect())
    }

    /// Writes the cookies that keep `text`, and takes away those that are left over; `None` when it is too long.
    pub(crate) fn set(&self, text: &str, max_age: Option<Duration>, there: There) -> Option<Vec<SetCookie>> {
        let mut rest = text;
        let mut set = Vec::new();
        for (number, cookie) in self.0.iter().enumerate() {
            if rest.is_empty() {
                if there.has(number) {
                    set.push(cookie.removal());
                }
                continue;
            }
            let (piece, more) = rest.split_at_checked(rest.len().min(PIECE))?;
            rest = more;
            // The last piece says so, or a piece that was left over would be read with it.
            let mark = if rest.is_empty() { '.' } else { '+' };
            set.push(cookie.set(&format!("{mark}{piece}"), max_age));
        }
        rest.is_empty().then_some(set)
    }

    /// Reads what [`set`](Self::set) wrote; `None` when a piece is missing.
    pub(crate) fn read(&self, head: &impl RequestHead) -> Result<Option<Zeroizing<String>>, Reject> {
        let mut text = Zeroizing::new(String::new());
        for cookie in &self.0 {
            let Some(piece) = cookie.read(head)? else { return Ok(None) };
            if let Some(piece) = piece.strip_prefix('.') {
                text.push_str(piece);
                return Ok(Some(text));
            }
            let Some(piece) = piece.strip_prefix('+') else { return Ok(None) };
            text.push_str(piece);
        }
        Ok(None)
    }

    pub(crate) fn there(&self, head: &impl RequestHead) -> There {
        let numbered = self.0.iter().enumerate();
        There(numbered.fold(0, |there, (number, cookie)| match cookie.read(head) {
            Ok(None) => there,
            _ => there | 1 << number,
        }))
    }

    /// Takes away all pieces that are there.
    pub(crate) fn removal(&self, there: There) -> Vec<SetCookie> {
        let numbered = self.0.iter().enumerate();
        numbered.filter(|(number, _)| there.has(*number)).map(|(_, cookie)| cookie.removal()).collect()
    }
}

/// Browsers take cookies of 4 KiB with name and attributes.
pub(crate) const PIECE: usize = 3800;
