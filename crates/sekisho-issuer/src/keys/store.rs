use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use sekisho_core::Failure;

/// Keeps the issuer's sealed keys: one document.
#[async_trait]
pub trait KeyStore: Send + Sync + fmt::Debug {
    /// Returns the document, if there is one.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told. "None" makes new keys, so it must be certain.
    async fn load(&self) -> Result<Option<SealedKeys>, Failure>;

    /// Keeps a document if what is kept now has the revision right before its own, or, for revision 1, if nothing is kept. Tells whether it
    /// did. Compare and set in one step, durable when it returns.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    async fn replace(&self, keys: &SealedKeys) -> Result<bool, Failure>;
}

/// Is the document of keys, encrypted by the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKeys {
    /// Counts the changes, from 1. It is bound to the contents: an older document under a newer number does not open.
    pub revision: u64,
    /// What to keep, at most 150,000 bytes.
    pub bytes: Vec<u8>,
}

/// Keeps the document in memory: new keys at every start. For tests and examples.
#[derive(Debug, Default)]
pub struct MemoryKeyStore(Mutex<Option<SealedKeys>>);

impl MemoryKeyStore {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl KeyStore for MemoryKeyStore {
    async fn load(&self) -> Result<Option<SealedKeys>, Failure> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn replace(&self, keys: &SealedKeys) -> Result<bool, Failure> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present = kept.as_ref().map_or(0, |kept| kept.revision);
        if present.checked_add(1) != Some(keys.revision) {
            return Ok(false);
        }
        *kept = Some(keys.clone());
        Ok(true)
    }
}
