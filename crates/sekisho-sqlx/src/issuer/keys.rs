use async_trait::async_trait;
use sekisho_core::Failure;
use sekisho_issuer::{KeyStore, SealedKeys};

use crate::failure::{Broken, UNREADABLE};

/// Bounds the document of keys, in bytes, as [`SealedKeys`] says.
const LONGEST: usize = 150_000;

macro_rules! implement {
    ($store:ident) => {
        #[async_trait]
        impl KeyStore for crate::$store {
            async fn load(&self) -> Result<Option<SealedKeys>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(i64, Vec<u8>)> =
                            sqlx::query_as("SELECT revision, sealed FROM sekisho_issuer_keys WHERE id = 1")
                                .fetch_optional(&self.pool)
                                .await?;
                        row.map(|(revision, bytes)| keys(revision, bytes)).transpose()
                    })
                    .await
            }

            async fn replace(&self, keys: &SealedKeys) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        if keys.bytes.len() > LONGEST {
                            return Err(UNREADABLE.into());
                        }
                        let revision = i64::try_from(keys.revision).map_err(|_| UNREADABLE)?;
                        let statement = if revision == 1 {
                            "INSERT INTO sekisho_issuer_keys (id, revision, sealed) VALUES (1, $1, $2) ON CONFLICT DO NOTHING"
                        } else {
                            "UPDATE sekisho_issuer_keys SET revision = $1, sealed = $2 WHERE id = 1 AND revision = $1 - 1"
                        };
                        let done =
                            sqlx::query(statement).bind(revision).bind(&keys.bytes[..]).execute(&self.pool).await?;
                        Ok(done.rows_affected() == 1)
                    })
                    .await
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore);
#[cfg(feature = "postgres")]
implement!(PostgresStore);

fn keys(revision: i64, bytes: Vec<u8>) -> Result<SealedKeys, Broken> {
    if bytes.len() > LONGEST {
        return Err(UNREADABLE.into());
    }
    Ok(SealedKeys { revision: u64::try_from(revision).map_err(|_| UNREADABLE)?, bytes })
}
