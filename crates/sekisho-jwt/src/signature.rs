//! The form of a compact JWS, and its signature under a trusted key ([RFC 7515 §5.2](https://www.rfc-editor.org/rfc/rfc7515#section-5.2)).

use std::sync::Arc;

use sekisho_core::{Refusal, Reject, UnixSeconds};
use sekisho_jwks::{KeyLife, KeyLookup, KeyQuery, KeySource};

use crate::base64::{self, LONGEST_SIGNATURE};
use crate::compact::Compact;
use crate::header::Header;
use crate::trace::{Recorder, Step};

/// Is what became of a signature that was not refused.
pub(crate) enum Checked {
    /// It holds, by a key that is trusted for this long.
    Holds(Arc<KeyLife>),
    /// The key is not in memory; the source may fetch it.
    FetchNeeded,
}

/// Finds the key and checks the signature. `fetched` is what the source fetched, if it was asked to.
pub(crate) fn check(
    keys: &dyn KeySource,
    header: &Header,
    compact: &Compact<'_>,
    fetched: Option<KeyLookup>,
    now: UnixSeconds,
    recorder: &mut impl Recorder,
) -> Result<Checked, Refusal> {
    recorder.begin(Step::Key);
    let query = KeyQuery { kid: header.kid.as_deref(), algorithm: header.algorithm };
    let candidates = match fetched.unwrap_or_else(|| keys.find(query, now)) {
        KeyLookup::Found(candidates) => candidates,
        KeyLookup::FetchNeeded => return Ok(Checked::FetchNeeded),
        KeyLookup::Unknown => return Err(Reject::UnknownKey.into()),
        KeyLookup::Ambiguous => return Err(Reject::AmbiguousKey.into()),
        KeyLookup::Failed(failure) => return Err(failure.into()),
    };
    recorder.pass(|| match candidates.as_slice().len() {
        1 => "one trusted key fits".to_owned(),
        several => format!("{several} trusted keys fit, each is tried"),
    });

    recorder.begin(Step::Signature);
    let mut buffer = [0; LONGEST_SIGNATURE];
    let signature = base64::decode_into(compact.signature, &mut buffer).ok_or(Reject::Malformed)?;
    // INVARIANT: the key decides whether it may be used with this algorithm; `verify` is false if not.
    let mut live = candidates.as_slice().iter().filter(|candidate| candidate.life().is_live(now)).peekable();
    if live.peek().is_none() {
        return Err(Reject::UnknownKey.into());
    }
    let signer = live
        .find(|candidate| candidate.key().verify(header.algorithm, compact.signing_input.as_bytes(), signature))
        .ok_or(Reject::Signature)?;
    recorder.pass(|| "the signature holds".to_owned());
    Ok(Checked::Holds(Arc::clone(signer.life())))
}
