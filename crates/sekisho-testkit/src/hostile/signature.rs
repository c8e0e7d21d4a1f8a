use sekisho_jwks::KeyFamily;

use super::der::ecdsa_signature;
use super::workshop::{Bench, Workshop, quoted};
use super::{HostileGroup, HostileToken};
use crate::forge::{base64url, signature, signing_input};

pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Signature);
    tampered(shop, &mut bench);
    match shop.key.algorithm().family() {
        KeyFamily::Rsa => rsa(shop, &mut bench),
        KeyFamily::Ed25519 => edwards(shop, &mut bench),
        family => ecdsa(shop, &mut bench, family == KeyFamily::P256),
    }
    bench.done()
}

/// Tokens that were changed after they had been signed.
fn tampered(shop: &Workshop, bench: &mut Bench) {
    let (header, claims, good) = shop.parts();
    bench.add("A022", "empty signature", "nothing was signed (CVE-2020-28042)", format!("{header}.{claims}."));
    bench.add("A023", "no signature part", "nothing was signed", format!("{header}.{claims}"));
    bench.add("A023/b", "header alone", "nothing was signed", header.clone());
    bench.add("A023/c", "header and a dot", "nothing was signed", format!("{header}."));
    let why = "the signature is of other bytes";
    let input = signing_input(shop.header().text(), shop.claims().text());
    let bytes = signature(&input, &shop.key);
    for (id, place) in [("A031/a", 0), ("A031/b", bytes.len() / 2), ("A031/c", bytes.len().saturating_sub(1))] {
        let mut flipped = bytes.clone();
        if let Some(byte) = flipped.get_mut(place) {
            *byte ^= 1;
        }
        bench.add(id, format!("bit flipped in byte {place} of the signature"), why, under(&input, &flipped));
    }
    let raised = base64url(shop.claims().with("scope", quoted("orders:read admin")).text());
    bench.add("A031/d", "scope raised after signing", why, format!("{header}.{raised}.{good}"));
    let other = base64url(shop.claims().with("sub", quoted("admin")).text());
    bench.add("A031/e", "sub changed after signing", why, format!("{header}.{other}.{good}"));
    let longer = base64url(shop.claims().with("exp", (shop.now + 86_400).to_string()).text());
    bench.add("A031/f", "exp moved after signing", why, format!("{header}.{longer}.{good}"));
    let spaced = base64url(shop.header().text().replacen(':', ": ", 1));
    bench.add("A031/g", "a space put into the header after signing", why, format!("{spaced}.{claims}.{good}"));
    bench.add("A031/h", "header and payload swapped", why, format!("{claims}.{header}.{good}"));
    let (_, _, foreign) = shop.parts();
    bench.add("A031/i", "signature of another token of the issuer", why, format!("{header}.{claims}.{foreign}"));
    let cut = base64url(bytes.get(..bytes.len() / 2).unwrap_or_default());
    bench.add("T010/a", "signature cut in half", why, format!("{input}.{cut}"));
    bench.add("T010/b", "signature doubled", why, under(&input, &bytes.repeat(2)));
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    bench.add("T010/c", "signature backwards", why, under(&input, &reversed));
    bench.add("T010/d", "signature of random bytes", why, under(&input, &crate::crypto::random::<64>()));
    bench.add("T010/e", "signature of the payload alone", why, {
        let payload = base64url(shop.claims().text());
        let alone = signature(&payload, &shop.key);
        format!("{}.{payload}.{}", base64url(shop.header().text()), base64url(alone))
    });
    bench.add("T010/f", "signature over the parts as they are before base64url", why, {
        let raw = format!("{}.{}", shop.header().text(), shop.claims().text());
        under(&input, &signature(&raw, &shop.key))
    });
    let digest = crate::crypto::sha256(input.as_bytes());
    bench.add("T010/g", "a digest in place of the signature", why, under(&input, &digest));
}

fn ecdsa(shop: &Workshop, bench: &mut Bench, on_p256: bool) {
    let input = signing_input(shop.header().text(), shop.claims().text());
    let good = signature(&input, &shop.key);
    let half = good.len() / 2;
    let (r, s) = good.split_at(half);
    let zero = vec![0; half];
    let mut one = zero.clone();
    if let Some(last) = one.last_mut() {
        *last = 1;
    }
    let why = "r and s lie between 1 and n-1; zeros would verify any message (CVE-2022-21449)";
    bench.add("A024", "r and s zero", why, under(&input, &vec![0; good.len()]));
    for (id, name, r, s) in [
        ("A025/a", "r zero, s one", &zero, &one),
        ("A025/b", "r one, s zero", &one, &zero),
        ("A025/c", "r one, s one", &one, &one),
        ("A025/d", "r zero, s good", &zero, &s.to_vec()),
        ("A025/e", "r good, s zero", &r.to_vec(), &zero),
    ] {
        bench.add(id, name, why, under(&input, &[&**r, &**s].concat()));
    }
    if on_p256 {
        let mut above = P256_ORDER.to_vec();
        if let Some(last) = above.last_mut() {
            *last += 1;
        }
        for (id, name, r, s) in [
            ("A025/f", "r equal to the order", P256_ORDER, s),
            ("A025/g", "s equal to the order", r, P256_ORDER),
            ("A025/h", "r and s equal to the order", P256_ORDER, P256_ORDER),
            ("A025/i", "r one above the order", &above, s),
        ] {
            bench.add(id, name, why, under(&input, &[r, s].concat()));
        }
    }
    let why = "r and s stand side by side, each as long as the order (RFC 7518 §3.4)";
    bench.add("A026", "signature as ASN.1 DER", why, under(&input, &ecdsa_signature(&good)));
    for (id, name, bytes) in [
        ("A027/a", "each half with a zero in front", [&[0], r, &[0], s].concat()),
        ("A027/b", "one byte extra", [&*good, &[0]].concat()),
        ("A027/c", "a zero in front", [&[0], &*good].concat()),
        ("A027/d", "last byte cut", good.get(..good.len() - 1).unwrap_or_default().to_vec()),
        ("A027/e", "first byte cut", good.get(1..).unwrap_or_default().to_vec()),
        ("A027/f", "r and s swapped", [s, r].concat()),
        ("A027/g", "r alone", r.to_vec()),
    ] {
        bench.add(id, name, why, under(&input, &bytes));
    }
}

fn rsa(shop: &Workshop, bench: &mut Bench) {
    let input = signing_input(shop.header().text(), shop.claims().text());
    let good = signature(&input, &shop.key);
    let why = "a signature is as long as the modulus (RFC 8017 §8.2.2), and its padding is exact";
    let mut one = vec![0; good.len()];
    if let Some(last) = one.last_mut() {
        *last = 1;
    }
    for (id, name, bytes) in [
        ("A028/a", "last byte cut", good.get(..good.len() - 1).unwrap_or_default().to_vec()),
        ("A028/b", "first byte cut", good.get(1..).unwrap_or_default().to_vec()),
        ("A028/c", "a zero in front", [&[0], &*good].concat()),
        ("A028/d", "a zero behind", [&*good, &[0]].concat()),
        ("A028/e", "zero", vec![0; good.len()]),
        ("A028/f", "one", one),
        ("A028/g", "greater than any modulus", vec![0xff; good.len()]),
    ] {
        bench.add(id, format!("RSA signature: {name}"), why, under(&input, &bytes));
    }
}

fn edwards(shop: &Workshop, bench: &mut Bench) {
    let input = signing_input(shop.header().text(), shop.claims().text());
    let good = signature(&input, &shop.key);
    let (r, s) = good.split_at(32);
    let mut identity = [0; 32];
    identity[0] = 1;
    let why = "RFC 8032 §5.1.7 asks for S below the group order and for points that decode";
    for (id, name, bytes) in [
        ("T011/a", "R and S zero", vec![0; 64]),
        ("T011/b", "R the identity, S zero", [identity, [0; 32]].concat()),
        ("T011/c", "S plus the group order", [r, &plus_order(s)].concat()),
        ("T011/d", "all ones", vec![0xff; 64]),
        ("T011/e", "last byte cut", good.get(..63).unwrap_or_default().to_vec()),
        ("T011/f", "one byte extra", [&*good, &[0]].concat()),
        ("T011/g", "R and S swapped", [s, r].concat()),
    ] {
        bench.add(id, format!("Ed25519 signature: {name}"), why, under(&input, &bytes));
    }
}

/// Adds the group order to a little-endian number; there is room, since S is below it.
fn plus_order(s: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    s.iter()
        .zip(ED25519_ORDER)
        .map(|(a, b)| {
            let [low, high] = (u16::from(*a) + u16::from(b) + carry).to_le_bytes();
            carry = u16::from(high);
            low
        })
        .collect()
}

fn under(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", base64url(signature))
}

/// The order of P-256 (SP 800-186 §3.2.1.3), big-endian.
const P256_ORDER: &[u8] = &[
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order of the Ed25519 base point (RFC 8032 §5.1), little-endian.
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
