//! The suite notices stores that break the contract, one clause at a time.

use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_session::{
    ListedSession, MemorySessionStore, NewSession, Saved, SessionHash, SessionStore, SessionTag, SessionUpdate,
    StoredSession,
};
use sekisho_testkit::session_store_suite;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Create writes over what is there.
    CreateReplaces,
    /// Save takes any version.
    SaveIsBlind,
    /// Save brings the ended back.
    SaveRevives,
    /// Load and save are not one step.
    SaveReadsThenWrites,
    /// A touch counts as a new content.
    TouchIsAVersion,
    /// A touch sets the deadline whatever it was.
    TouchShortens,
    /// Ending by tag ends one.
    EndsOneOfMany,
    /// Dead sessions are still found.
    KeepsTheDead,
    /// Lists say nothing.
    ListsNothing,
}

/// Is an honest store, with one fault put before it.
#[derive(Debug)]
struct Faulty(MemorySessionStore, Fault);

#[async_trait]
impl SessionStore for Faulty {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        if self.1 == Fault::CreateReplaces
            && let Some(found) = self.0.load(&id, now).await?
        {
            let update =
                SessionUpdate { idle_until: new.idle_until, expires_at: new.expires_at, body: new.body.clone() };
            self.0.save(&id, found.version, &update, now).await?;
        }
        self.0.create(id, new, now).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        let now = if self.1 == Fault::KeepsTheDead { NOW } else { now };
        self.0.load(id, now).await
    }

    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure> {
        match self.1 {
            Fault::SaveIsBlind => {
                let version = self.0.load(id, now).await?.map_or(0, |found| found.version);
                self.0.save(id, version, update, now).await
            }
            Fault::SaveReadsThenWrites => {
                let Some(found) = self.0.load(id, now).await? else { return Ok(Saved::Gone) };
                if found.version != expected {
                    return Ok(Saved::Conflict);
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                loop {
                    let Some(found) = self.0.load(id, now).await? else { return Ok(Saved::Gone) };
                    if self.0.save(id, found.version, update, now).await? == Saved::Done {
                        return Ok(Saved::Done);
                    }
                }
            }
            Fault::SaveRevives => match self.0.save(id, expected, update, now).await? {
                Saved::Gone => Ok(Saved::Done),
                saved => Ok(saved),
            },
            _ => self.0.save(id, expected, update, now).await,
        }
    }

    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        let Some(found) = self.0.load(id, now).await? else { return Ok(false) };
        let StoredSession { version, expires_at, body, .. } = found;
        match self.1 {
            Fault::TouchIsAVersion => {
                let update = SessionUpdate { idle_until, expires_at, body };
                self.0.save(id, version, &update, now).await.map(|_| true)
            }
            Fault::TouchShortens if idle_until < found.idle_until => {
                let update = SessionUpdate { idle_until, expires_at: idle_until, body };
                self.0.save(id, version, &update, now).await.map(|_| true)
            }
            _ => self.0.touch(id, idle_until, now).await,
        }
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.0.delete(id, now).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        if self.1 == Fault::ListsNothing { Ok(Vec::new()) } else { self.0.list(tag, now).await }
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        if self.1 == Fault::EndsOneOfMany {
            let first = self.0.list(tag, now).await?.pop();
            return match first {
                Some(first) => self.0.delete(&first.id, now).await.map(u64::from),
                None => Ok(0),
            };
        }
        self.0.delete_tagged(tag, now).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.sweep(now).await
    }
}

async fn passes(fault: Fault) -> bool {
    let store: Arc<dyn SessionStore> = Arc::new(Faulty(MemorySessionStore::new(), fault));
    tokio::spawn(async move { session_store_suite([Arc::clone(&store), store], NOW).await }).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_notices_every_fault() {
    use Fault::*;
    assert!(passes(None).await);
    for fault in [
        CreateReplaces,
        SaveIsBlind,
        SaveRevives,
        SaveReadsThenWrites,
        TouchIsAVersion,
        TouchShortens,
        EndsOneOfMany,
        KeepsTheDead,
        ListsNothing,
    ] {
        assert!(!passes(fault).await, "{fault:?} went unnoticed");
    }
}
