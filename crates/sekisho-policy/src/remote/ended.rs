use sekisho_core::{SessionEnd, SessionEndListener};

use super::{Purger, Remote};

/// Forgets what was decided about whoever was logged in. Plug it into the service's sessions:
/// `Sessions::builder(…).with_end_listener(remote.clone())`. Where a fallback remembers its answers too, a [`Purger`] listens.
impl SessionEndListener for Remote {
    fn session_ended(&self, end: &SessionEnd<'_>) {
        Purger::new().with_remote(self).session_ended(end);
    }
}

/// Forgets what was decided about whoever was logged in, in the right order.
impl SessionEndListener for Purger {
    fn session_ended(&self, end: &SessionEnd<'_>) {
        match *end {
            SessionEnd::Subject(subject) => self.purge_subject(subject),
            SessionEnd::ProviderSession { issuer, id } => self.purge_session(issuer, id),
            // Whose sessions these are nobody says.
            SessionEnd::Client { issuer: _, client: _ } => self.purge_all(),
        }
    }
}
