use sekisho_core::{SessionEnd, SessionEndListener};

use super::Remote;

/// Forgets what was decided about whoever was logged in. Plug it into the service's sessions:
/// `Sessions::builder(…).with_end_listener(remote.clone())`.
impl SessionEndListener for Remote {
    fn session_ended(&self, end: &SessionEnd<'_>) {
        match *end {
            SessionEnd::Subject(subject) => self.purge_subject(subject),
            SessionEnd::ProviderSession { issuer, id } => self.purge_session(issuer, id),
            // Whose sessions these are nobody says.
            SessionEnd::Client { issuer: _, client: _ } => self.purge_all(),
        }
    }
}
