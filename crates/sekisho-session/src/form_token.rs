//! Tokens in the forms of a session.

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::Failure;
use zeroize::Zeroizing;

use crate::crypto;
use crate::keys::SessionKeys;

/// Makes tokens for the forms of one session: the same secret behind a new mask each time, so that compressed answers do
/// not betray it (BREACH).
pub(crate) fn form_token(keys: &SessionKeys, session: &str) -> Result<String, Failure> {
    let mac = Zeroizing::new(keys.current().mac(FORM, &[session.as_bytes()]));
    let mask: [u8; 32] = crypto::random()?;
    let mut bytes = [0; 64];
    for ((out, mask), mac) in bytes.iter_mut().zip(mask.iter().cycle()).zip([0; 32].iter().chain(mac.iter())) {
        *out = mask ^ mac;
    }
    Ok(URL_SAFE_NO_PAD.encode_to_string(bytes))
}

pub(crate) fn is_form_token(keys: &SessionKeys, session: &str, token: &str) -> bool {
    if token.len() != TOKEN_LENGTH {
        return false;
    }
    let Ok(bytes) = URL_SAFE_NO_PAD.decode_to_vec(token) else { return false };
    let Some((mask, masked)) = bytes.split_at_checked(32) else { return false };
    let mac: Vec<u8> = mask.iter().zip(masked).map(|(mask, masked)| mask ^ masked).collect();
    keys.is_mac(FORM, &[session.as_bytes()], &mac)
}

const FORM: &str = "form token";
const TOKEN_LENGTH: usize = 86;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::SessionKey;

    #[test]
    fn form_tokens_never_look_alike_and_count_for_one_session_only() {
        let key = SessionKey::generate().unwrap();
        let keys = SessionKeys::new(key.clone());
        let (one, other) = (form_token(&keys, "s1").unwrap(), form_token(&keys, "s1").unwrap());
        assert_ne!(one, other);
        assert!(is_form_token(&keys, "s1", &one) && is_form_token(&keys, "s1", &other));
        assert!(!is_form_token(&keys, "s2", &one));
        assert!(!is_form_token(&SessionKeys::new(SessionKey::generate().unwrap()), "s1", &one));
        let rotated = SessionKeys::new(SessionKey::generate().unwrap()).with_older(key);
        assert!(is_form_token(&rotated, "s1", &one), "a form survives a change of keys");
        for at in 0..one.len() {
            let mut changed = one.clone().into_bytes();
            if let Some(byte) = changed.get_mut(at) {
                *byte = if *byte == b'A' { b'Q' } else { b'A' };
            }
            assert!(!is_form_token(&keys, "s1", &String::from_utf8(changed).unwrap()), "{at}");
        }
        for bad in ["", &"A".repeat(86), &"A".repeat(85), &"*".repeat(86)] {
            assert!(!is_form_token(&keys, "s1", bad));
        }
    }
}
