//! Strict base64url: no padding, no white space, no bits left over ([RFC 7515 §2](https://www.rfc-editor.org/rfc/rfc7515#section-2)).

use base64_simd::{AsOut, URL_SAFE_NO_PAD};

/// The longest signature of any algorithm here, RSA with 8192 bits.
pub(crate) const LONGEST_SIGNATURE: usize = 1024;

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

pub(crate) fn decode_into<'o>(text: &str, out: &'o mut [u8]) -> Option<&'o [u8]> {
    // The library panics when the room does not suffice.
    if text.len() / 4 * 3 + (text.len() % 4).saturating_sub(1) > out.len() {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text.as_bytes(), out.as_out()).ok().map(|decoded| &*decoded)
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_every_form_but_the_canonical() {
        for bad in
            ["QQ==", "QQ=", "QR", "Q", "QUI\n", " QUI", "Q+", "Q/", "QUJ.", "QUI?", "\u{ff31}UI", "QUL", "A", "AAAAA"]
        {
            assert_eq!(decode(bad), None, "{bad:?}");
            let mut buffer = [0; 16];
            assert_eq!(decode_into(bad, &mut buffer), None, "{bad:?}");
        }
        assert_eq!(decode("QUI").as_deref(), Some(&b"AB"[..]));
        assert_eq!(decode("-_8").as_deref(), Some(&[0xfb, 0xff][..]));
        assert_eq!(decode("").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn refuses_what_does_not_fit_the_buffer() {
        assert_eq!(decode_into("QUJD", &mut [0; 2]), None);
        assert_eq!(decode_into(&"A".repeat(100_000), &mut [0; LONGEST_SIGNATURE]), None);
        // An RSA-8192 signature, 1024 bytes, is 1366 characters.
        assert_eq!(
            decode_into(&"A".repeat(1366), &mut [0; LONGEST_SIGNATURE]).map(<[u8]>::len),
            Some(LONGEST_SIGNATURE)
        );
    }

    #[test]
    fn every_two_character_text_decodes_only_if_it_encodes_back() {
        for first in 0_u8..128 {
            for second in 0_u8..128 {
                let text = String::from_utf8(vec![first, second]).expect("ASCII");
                if let Some(bytes) = decode(&text) {
                    assert_eq!(encode(&bytes), text);
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_decodes_encodes_back_to_the_same_text(text in "[A-Za-z0-9_=+/ -]{0,90}") {
            if let Some(bytes) = decode(&text) {
                proptest::prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
