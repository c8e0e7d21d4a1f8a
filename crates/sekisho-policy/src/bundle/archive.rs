//! Unpacking within bounds. Nothing is written to a disk.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use super::{BundleError, BundleLimits};
use crate::source::is_name;

/// Unpacks an archive to its files by name.
pub(super) fn unpack(archive: &[u8], limits: BundleLimits) -> Result<BTreeMap<Box<str>, Bytes>, BundleError> {
    if archive.len() > limits.max_packed_bytes {
        return Err(BundleError::TooLarge);
    }
    let tar = decompress(archive, limits.max_unpacked_bytes)?;
    let mut files = BTreeMap::new();
    let mut reader = tar::Archive::new(tar.as_ref());
    for (count, entry) in reader.entries().map_err(|_| BundleError::Archive)?.enumerate() {
        let mut entry = entry.map_err(|_| BundleError::Archive)?;
        if count >= limits.max_entries {
            return Err(BundleError::TooManyEntries);
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(BundleError::EntryKind);
        }
        let path = entry.path_bytes();
        let name = name(std::str::from_utf8(&path).map_err(|_| BundleError::Name)?)?;
        // The length is the archive's word; what is read is bounded by what was unpacked.
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|_| BundleError::Archive)?;
        if content.len() as u64 != entry.size() {
            return Err(BundleError::Archive);
        }
        if files.insert(name, content.into()).is_some() {
            return Err(BundleError::Duplicate);
        }
    }
    Ok(files)
}

fn decompress(archive: &[u8], limit: usize) -> Result<Bytes, BundleError> {
    let mut decoder = GzDecoder::new(archive);
    let mut tar = Vec::new();
    let most = (limit as u64).saturating_add(1);
    decoder.by_ref().take(most).read_to_end(&mut tar).map_err(|_| BundleError::Archive)?;
    if tar.len() > limit {
        return Err(BundleError::TooLarge);
    }
    // A second stream behind the first would be read by some and not by others.
    if !decoder.into_inner().is_empty() {
        return Err(BundleError::Archive);
    }
    Ok(tar.into())
}

/// Makes a plain name of an entry's: OPA begins each with a slash, `tar` in a folder with `./`.
fn name(path: &str) -> Result<Box<str>, BundleError> {
    let name = path.strip_prefix('/').or_else(|| path.strip_prefix("./")).unwrap_or(path);
    if is_name(name) { Ok(name.into()) } else { Err(BundleError::Name) }
}
