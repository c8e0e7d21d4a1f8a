//! What `sekisho-issuer` keeps.

use sekisho_issuer::{Grant, GrantId, StoredRecord};

use crate::failure::{Broken, UNREADABLE};

mod counts;
mod devices;
mod grants;
mod keys;
mod sessions;

/// Reads a record, and checks that it is the one that was asked for.
fn read<R: StoredRecord>(bytes: &[u8], is_asked: impl FnOnce(&R) -> bool) -> Result<R, Broken> {
    let record = R::from_bytes(bytes)?;
    // Else somebody has moved rows about, and one user would get what is another's.
    if is_asked(&record) { Ok(record) } else { Err(UNREADABLE.into()) }
}

fn read_grant(bytes: &[u8], id: &GrantId) -> Result<Grant, Broken> {
    read(bytes, |grant: &Grant| grant.id == *id)
}
