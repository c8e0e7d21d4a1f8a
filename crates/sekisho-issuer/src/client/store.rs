use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::{ConfigError, Failure};

use super::Client;

/// Knows the registered clients.
#[async_trait]
pub trait ClientStore: Send + Sync + fmt::Debug {
    /// Returns the client with this id, compared byte for byte. `id` is hostile, at most 255 bytes.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    async fn client(&self, id: &str) -> Result<Option<Arc<Client>>, Failure>;

    /// Tells whether any client has registered this origin for its scripts.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told; no script is let in then.
    async fn has_origin(&self, origin: &str) -> Result<bool, Failure>;
}

/// Holds clients that are known from the start.
#[derive(Clone, Debug, Default)]
pub struct StaticClients {
    clients: HashMap<String, Arc<Client>>,
    origins: HashSet<String>,
}

impl StaticClients {
    /// Takes the clients.
    ///
    /// # Errors
    /// [`ConfigError`] when two have the same id.
    pub fn new(clients: impl IntoIterator<Item = Client>) -> Result<Self, ConfigError> {
        let mut known = Self::default();
        for client in clients {
            known.origins.extend(client.origins.iter().cloned());
            if let Some(twice) = known.clients.insert(client.id.clone(), Arc::new(client)) {
                return Err(ConfigError::new(format!("two clients are named {:?}", twice.id)));
            }
        }
        Ok(known)
    }
}

#[async_trait]
impl ClientStore for StaticClients {
    async fn client(&self, id: &str) -> Result<Option<Arc<Client>>, Failure> {
        Ok(self.clients.get(id).cloned())
    }

    async fn has_origin(&self, origin: &str) -> Result<bool, Failure> {
        Ok(self.origins.contains(origin))
    }
}
