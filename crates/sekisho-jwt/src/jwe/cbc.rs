//! Content in CBC mode: the tag first, the plain text only when that holds ([RFC 7518 §5.2.2.2](https://www.rfc-editor.org/rfc/rfc7518#section-5.2.2.2)).
//!
//! The other way round whoever can time our answers learns whether the padding of a text of their own was right, and by that the plain text.

use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{self, Cipher};

use super::Sealed;

/// Is one of the three pairs of a cipher and an HMAC. The halves of the content key are as long as the tag.
pub(super) struct Cbc {
    cipher: Cipher,
    digest: MessageDigest,
    half: usize,
}

impl Cbc {
    /// `A128CBC-HS256`
    pub(super) fn a128() -> Self {
        Self { cipher: Cipher::aes_128_cbc(), digest: MessageDigest::sha256(), half: 16 }
    }

    /// `A192CBC-HS384`
    pub(super) fn a192() -> Self {
        Self { cipher: Cipher::aes_192_cbc(), digest: MessageDigest::sha384(), half: 24 }
    }

    /// `A256CBC-HS512`
    pub(super) fn a256() -> Self {
        Self { cipher: Cipher::aes_256_cbc(), digest: MessageDigest::sha512(), half: 32 }
    }

    /// Checks the tag, in constant time.
    pub(super) fn authenticate<'a>(self, sealed: &Sealed<'a>, content_key: &'a [u8]) -> Option<Authenticated<'a>> {
        let Self { cipher, digest, half } = self;
        let Sealed { protected, nonce, content, tag } = *sealed;
        let (mac_key, key) = content_key.split_at_checked(half)?;
        // RFC 7518 §5.2.2.1: the length of the header in bits, and of the HMAC the first half.
        let bits = u64::try_from(protected.len()).ok()?.checked_mul(8)?.to_be_bytes();
        let mac_key = PKey::hmac(mac_key).ok()?;
        let mut signer = Signer::new(digest, &mac_key).ok()?;
        for part in [protected, nonce, content, &bits] {
            signer.update(part).ok()?;
        }
        let expected = signer.sign_to_vec().ok()?;
        let expected = expected.get(..half)?;
        let holds = key.len() == half && tag.len() == half && memcmp::eq(expected, tag);
        holds.then_some(Authenticated { cipher, key, nonce, content })
    }
}

/// Is content whose tag holds; there is no other way to decipher any.
pub(super) struct Authenticated<'a> {
    cipher: Cipher,
    key: &'a [u8],
    nonce: &'a [u8],
    content: &'a [u8],
}

impl Authenticated<'_> {
    /// Returns the plain text.
    pub(super) fn decrypt(self) -> Option<Vec<u8>> {
        symm::decrypt(self.cipher, self.key, Some(self.nonce), self.content).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    const PLAIN: &str = "A cipher system must not be required to be secret, and it must be able to fall into the hands of \
                         the enemy without inconvenience";
    const HEADER: &str = "The second principle of Auguste Kerckhoffs";
    const NONCE: &str = "1af38c2dc2b96ffdd86694092341bc04";
    type Vector = (fn() -> Cbc, &'static str, &'static str);

    /// RFC 7518 appendix B: the content and its tag; the key is the bytes 0, 1, 2 and so on.
    const VECTORS: [Vector; 3] = [
        (
            Cbc::a128,
            "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9a94ac9b47ad2655c5f10f9aef71427e2\
             fc6f9b3f399a221489f16362c703233609d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b\
             384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade54b8851ffb598f7f80074b9473c82e2db",
            "652c3fa36b0a7c5b3219fab3a30bc1c4",
        ),
        (
            Cbc::a192,
            "ea65da6b59e61edb419be62d19712ae5d303eeb50052d0dfd6697f77224c8edb000d279bdc14c1072654bd30944230c6\
             57bed4ca0c9f4a8466f22b226d1746214bf8cfc2400add9f5126e479663fc90b3bed787a2f0ffcbf3904be2a641d5c21\
             05bfe591bae23b1d7449e532eef60a9ac8bb6c6b01d35d49787bcd57ef484927f280adc91ac0c4e79c7b11efc60054e3",
            "8490ac0e58949bfe51875d733f93ac2075168039ccc733d7",
        ),
        (
            Cbc::a256,
            "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd822c301dd67c373bccb584ad3e9279c2\
             e6d12a1374b77f077553df829410446b36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3\
             a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950bbe2638d09dd7a4930930806d0703b1f6",
            "4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5",
        ),
    ];

    #[test]
    fn opens_what_the_standard_prints() {
        for (cbc, content, tag) in VECTORS {
            let (nonce, content, tag) = (bytes(NONCE), bytes(content), bytes(tag));
            let key: Vec<u8> = (0..).take(2 * tag.len()).collect();
            let sealed = Sealed { protected: HEADER.as_bytes(), nonce: &nonce, content: &content, tag: &tag };
            assert_eq!(cbc().authenticate(&sealed, &key).unwrap().decrypt().unwrap(), PLAIN.as_bytes());
        }
    }

    #[test]
    fn nothing_that_was_changed_comes_to_be_deciphered() {
        for (cbc, content, tag) in VECTORS {
            let parts = [HEADER.as_bytes().to_vec(), bytes(NONCE), bytes(content), bytes(tag)];
            let key: Vec<u8> = (0..).take(2 * parts[3].len()).collect();
            let is_authentic = |parts: &[Vec<u8>; 4], key: &[u8]| {
                let [protected, nonce, content, tag] = parts;
                cbc().authenticate(&Sealed { protected, nonce, content, tag }, key).is_some()
            };
            for part in 0..4 {
                for byte in 0..parts[part].len() {
                    let mut changed = parts.clone();
                    changed[part][byte] ^= 1;
                    assert!(!is_authentic(&changed, &key), "part {part}, byte {byte}");
                }
                let mut cut = parts.clone();
                cut[part].pop();
                assert!(!is_authentic(&cut, &key), "part {part}, cut");
            }
            // Where one part ends and the next begins counts too.
            let mut moved = parts.clone();
            let last = moved[0].pop().unwrap();
            moved[1].insert(0, last);
            assert!(!is_authentic(&moved, &key));
            for wrong in [&key[..key.len() - 1], &key[..key.len() / 2], &[], &[key.as_slice(), &[0]].concat()] {
                assert!(!is_authentic(&parts, wrong));
            }
            assert!(is_authentic(&parts, &key));
        }
    }
}
