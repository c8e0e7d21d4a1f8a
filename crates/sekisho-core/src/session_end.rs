use crate::principal::SubjectId;

/// Says whose sessions have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new kind must break everybody who remembers something of sessions")]
pub enum SessionEnd<'a> {
    /// One session of a subject, or several, or all of them.
    Subject(&'a SubjectId),
    /// All that came of one session at a provider.
    ProviderSession {
        /// The issuer.
        issuer: &'a str,
        /// The session's name there (`sid`).
        id: &'a str,
    },
    /// All whose principal came by a client of an issuer, whoever that is.
    Client {
        /// The issuer.
        issuer: &'a str,
        /// The client.
        client: &'a str,
    },
}

/// Hears that sessions have ended here, and forgets what it remembers of whoever was logged in: decisions, above all.
///
/// `sekisho-session` tells it after logouts, one's own and a provider's, after every other way to end sessions before their
/// time, and after a login in the place of somebody else's. It is told **after** the store was asked, and before the logout is
/// answered. It is also told when the store broke and the sessions may be alive still: forgetting too much costs a question.
/// Nobody tells it of a session whose time was up.
///
/// It hears of what this process ends. What another one ends comes by a feed of withdrawals, or not before what is remembered
/// is over by itself.
///
/// Contract for implementers: return soon, from memory, and wait for nothing; a logout waits for it. There is no way to fail.
pub trait SessionEndListener: Send + Sync {
    /// Forgets.
    fn session_ended(&self, end: &SessionEnd<'_>);
}
