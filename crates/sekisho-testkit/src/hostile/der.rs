//! As much of DER as forging needs.

/// Writes tag, length and content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=127 => out.push(length.to_le_bytes()[0]),
        length => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
            out.push(0x80 | bytes.len().to_le_bytes()[0]);
            out.extend(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Writes a SEQUENCE of parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// Writes an INTEGER that is not negative, from big-endian bytes.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    tlv(0x02, &minimal(bytes))
}

/// Cuts leading zeros, and puts one in front where the sign would be wrong.
pub(super) fn minimal(bytes: &[u8]) -> Vec<u8> {
    let mut short: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    if short.first().is_none_or(|first| *first >= 0x80) {
        short.insert(0, 0);
    }
    short
}

/// Writes a BIT STRING of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], bytes].concat())
}

/// Writes an ECDSA signature as ASN.1 has it, from `r` and `s` side by side.
pub(super) fn ecdsa_signature(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    sequence(&[&unsigned(r), &unsigned(s)])
}

/// `1.2.840.10045.4.3.2`, ecdsa-with-SHA256.
pub(super) const ECDSA_WITH_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
