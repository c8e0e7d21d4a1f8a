use sekisho_core::Secret;

/// Stands for a login whose password was right and whose second factor is due, between two requests of one browser.
///
/// Encrypted: nothing of it can be read or made by others. It ends by time, and when the password changes. It is at
/// most 256 visible ASCII characters. `Debug` shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginTicket(Secret);

impl LoginTicket {
    /// Takes over a text, which may be anything.
    #[must_use]
    pub fn new(text: impl Into<Secret>) -> Self {
        Self(text.into())
    }

    /// Reads the text.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.0
    }
}

/// Lets whoever has it choose a new password for one account, once. See [`LoginTicket`], whose form it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetToken(Secret);

impl ResetToken {
    /// Takes over a text, which may be anything.
    #[must_use]
    pub fn new(text: impl Into<Secret>) -> Self {
        Self(text.into())
    }

    /// Reads the text.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.0
    }
}
