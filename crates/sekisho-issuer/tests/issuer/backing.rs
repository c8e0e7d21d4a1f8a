//! What the issuer of these tests keeps its records in. Other crates run the same tests over stores of theirs.

use sekisho_issuer::MemoryStore;

pub(crate) async fn store() -> MemoryStore {
    MemoryStore::new()
}
