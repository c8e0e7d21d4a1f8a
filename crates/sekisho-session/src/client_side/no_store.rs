use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, UnixSeconds};

use crate::store::{ListedSession, NewSession, Saved, SessionStore, SessionUpdate, StoredSession};
use crate::token::{SessionHash, SessionTag};

/// Stands where there is no store, and answers nothing: what needs one is not to be had.
#[derive(Debug)]
pub(crate) struct NoStore;

#[async_trait]
impl SessionStore for NoStore {
    async fn create(&self, _: SessionHash, _: &NewSession, _: UnixSeconds) -> Result<bool, Failure> {
        Err(NO_STORE)
    }

    async fn load(&self, _: &SessionHash, _: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        Err(NO_STORE)
    }

    async fn load_latest(&self, _: &SessionHash, _: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        Err(NO_STORE)
    }

    async fn save(&self, _: &SessionHash, _: u64, _: &SessionUpdate, _: UnixSeconds) -> Result<Saved, Failure> {
        Err(NO_STORE)
    }

    async fn touch(&self, _: &SessionHash, _: UnixSeconds, _: UnixSeconds) -> Result<bool, Failure> {
        Err(NO_STORE)
    }

    async fn delete(&self, _: &SessionHash, _: UnixSeconds) -> Result<bool, Failure> {
        Err(NO_STORE)
    }

    async fn list(&self, _: &SessionTag, _: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        Err(NO_STORE)
    }

    async fn delete_tagged(&self, _: &SessionTag, _: UnixSeconds) -> Result<u64, Failure> {
        Err(NO_STORE)
    }

    async fn sweep(&self, _: UnixSeconds) -> Result<u64, Failure> {
        Ok(0)
    }
}

const NO_STORE: Failure = Failure::new(
    FailureKind::Misconfigured,
    "sessions in the browser's cookies are neither listed nor ended from here",
);
