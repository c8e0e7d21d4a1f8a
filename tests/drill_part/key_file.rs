use std::path::PathBuf;

use async_trait::async_trait;
use sekisho_core::Failure;
use sekisho_issuer::{KeyStore, SealedKeys};
use serde_json::{Value, json};

/// Keeps the issuer's sealed keys in a file, for one process at a time.
#[derive(Debug)]
pub(crate) struct KeyFile(pub(crate) PathBuf);

#[async_trait]
impl KeyStore for KeyFile {
    async fn load(&self) -> Result<Option<SealedKeys>, Failure> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::unavailable("the key file cannot be read").with_source(error)),
        };
        let kept: Value = serde_json::from_slice(&text).expect("what `replace` wrote");
        let bytes = kept["bytes"].as_str().map(|text| base64_simd::STANDARD.decode_to_vec(text).expect("base64"));
        Ok(Some(SealedKeys { revision: kept["revision"].as_u64().expect("a number"), bytes: bytes.expect("bytes") }))
    }

    async fn replace(&self, keys: &SealedKeys) -> Result<bool, Failure> {
        let present = self.load().await?.map_or(0, |kept| kept.revision);
        if present.checked_add(1) != Some(keys.revision) {
            return Ok(false);
        }
        let bytes = base64_simd::STANDARD.encode_to_string(&keys.bytes);
        let text = json!({ "revision": keys.revision, "bytes": bytes }).to_string();
        let new = self.0.with_extension("new");
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.0));
        written.map_err(|error| Failure::unavailable("the key file cannot be written").with_source(error))?;
        Ok(true)
    }
}
