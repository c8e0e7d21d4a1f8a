use std::time::Duration;

use sekisho_core::{Failure, Principal, SubjectId, UnixSeconds};

use crate::content;
use crate::keys::SessionKey;
use crate::sessions::Sessions;
use crate::store::{NewSession, Saved, Sealed, SessionUpdate};
use crate::token::{SessionHash, SessionTag};

/// Says what has ended at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a logout token knows no third way")]
pub enum ProviderLogout<'a> {
    /// One session there.
    Session {
        /// The issuer.
        issuer: &'a str,
        /// The session's name there.
        sid: &'a str,
    },
    /// All sessions of a subject.
    Subject(&'a SubjectId),
}

impl Sessions {
    /// Ends what a provider says has ended there, also what comes of a login that is being finished at this moment: the store keeps
    /// for 15 minutes that it did, and who logs somebody in [looks](Self::was_ended_by_provider) once the session is there.
    ///
    /// `at` is when the provider said so, by its clock. Returns how many ids were alive.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn end_by_provider(&self, what: &ProviderLogout<'_>, at: UnixSeconds) -> Result<u64, Failure> {
        // INVARIANT: first the mark, then the end. A session that is created too late to be ended is looked after by its login, after
        // the mark was there.
        self.mark(what, at).await?;
        match what {
            ProviderLogout::Session { issuer, sid } => self.end_provider_session(issuer, sid).await,
            ProviderLogout::Subject(subject) => self.end_all(subject).await,
        }
    }

    /// Tells whether a provider has said of this login that it is over. To be asked after the session was
    /// [written](crate::RequestSession::flush), and before its cookie goes out; if so, log out again.
    ///
    /// `issued_at` is when the provider confirmed the login, by its clock: the `iat` of the ID token. What ended in the same second
    /// counts as later. Of sessions without a store it tells nothing: false.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: then it must be taken for ended.
    pub async fn was_ended_by_provider(&self, principal: &Principal, issued_at: UnixSeconds) -> Result<bool, Failure> {
        if self.in_browser().is_some() {
            return Ok(false);
        }
        let (subject, sid) = (principal.id(), principal.session_id());
        let issuer = principal.issuer();
        let session = sid.as_deref().map(|sid| ProviderLogout::Session { issuer, sid });
        for what in session.into_iter().chain([ProviderLogout::Subject(&subject)]) {
            for key in self.keys().iter() {
                let (id, _) = names(key, &what);
                let found = self.store().load_latest(&id, self.now()).await?;
                if let Some(found) = found
                    && issued_at <= self.read(&id, &found.body)?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn mark(&self, what: &ProviderLogout<'_>, at: UnixSeconds) -> Result<(), Failure> {
        let (id, tag) = names(self.keys().current(), what);
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let until = now.saturating_add(REMEMBERED);
            let Some(found) = self.store().load_latest(&id, now).await? else {
                let body = self.write(&id, at)?;
                let new =
                    NewSession { idle_until: until, expires_at: until, tags: vec![tag], card: body.clone(), body };
                if self.store().create(id, &new, now).await? {
                    return Ok(());
                }
                continue;
            };
            let body = self.write(&id, at.max(self.read(&id, &found.body)?))?;
            let update = SessionUpdate { idle_until: until, expires_at: until, body };
            if self.store().save(&id, found.version, &update, now).await? == Saved::Done {
                return Ok(());
            }
        }
        Err(CROWDED.with_retry_after(Duration::from_secs(1)))
    }

    fn write(&self, id: &SessionHash, at: UnixSeconds) -> Result<Sealed, Failure> {
        let sealed = self.keys().seal(PURPOSE, id.as_bytes(), &at.as_secs().to_be_bytes())?;
        Ok(Sealed::from_bytes(sealed))
    }

    fn read(&self, id: &SessionHash, body: &Sealed) -> Result<UnixSeconds, Failure> {
        let plain = self.keys().open(PURPOSE, id.as_bytes(), body.as_bytes()).ok_or(UNREADABLE)?;
        let seconds = plain.as_slice().try_into().map_err(|_| UNREADABLE)?;
        Ok(UnixSeconds::new(u64::from_be_bytes(seconds)))
    }
}

/// Names the mark; a keyed hash, as a tag is, for issuers and subjects can be guessed. No cookie leads to it.
fn names(key: &SessionKey, what: &ProviderLogout<'_>) -> (SessionHash, SessionTag) {
    let tag = match what {
        ProviderLogout::Session { issuer, sid } => content::provider_tag(key, issuer, sid),
        ProviderLogout::Subject(subject) => content::subject_tag(key, subject),
    };
    let tag = key.tag(PURPOSE, &[tag.as_bytes()]);
    (SessionHash::from_bytes(*tag.as_bytes()), tag)
}

const PURPOSE: &str = "logout by a provider";
const ATTEMPTS: usize = 64;
/// No login takes that long from the provider's answer to its cookie.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
const CROWDED: Failure = Failure::unavailable("too many logouts of one session at once");
const UNREADABLE: Failure = Failure::unavailable("what is kept of a provider's logout cannot be opened");
