use sekisho_jwks::{Algorithm, KeyFamily, SigningKey};

use super::public_forms::public_forms;
use super::workshop::{Bench, Workshop, quoted};
use super::{HostileGroup, HostileToken};
use crate::crypto;
use crate::forge::{base64url, signing_input};
use crate::issuer::public_jwk;

pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Algorithm);
    unsigned(shop, &mut bench);
    names(shop, &mut bench);
    secrets(shop, &mut bench);
    bench.done()
}

/// Tokens that say that they are not signed.
fn unsigned(shop: &Workshop, bench: &mut Bench) {
    let none = |alg: &str| {
        let header = shop.header().with("alg", alg);
        format!("{}.", signing_input(header.text(), shop.claims().text()))
    };
    let why = "a token without a signature would be anybody's to write (RFC 8725 §2.1)";
    for (id, alg) in [
        ("A001", "\"none\""),
        ("A002/a", "\"None\""),
        ("A002/b", "\"NONE\""),
        ("A002/c", "\"nOnE\""),
        ("A002/d", "\"none \""),
        ("A002/e", "\" none\""),
        ("A002/f", "\"none\\u0000\""),
        ("A002/g", "\"n\\u043ene\""),
        ("A002/h", "\"\\u006eone\""),
        ("A005", "\"\""),
    ] {
        bench.add(id, format!("alg {alg}, no signature"), why, none(alg));
    }
    let (_, claims, signature) = shop.parts();
    let header = base64url(shop.header().with("alg", "\"none\"").text());
    bench.add("A003", "alg none over a good signature", why, format!("{header}.{claims}.{signature}"));
    bench.add("A003/b", "alg none, signed by the issuer all the same", why, shop.with_header("alg", "\"none\""));
    bench.add("A003/c", "alg none, signature of one zero byte", why, format!("{header}.{claims}.AA"));
    bench.add("A001/b", "alg none, without the last dot", why, format!("{header}.{claims}"));
    bench.add("A001/c", "header of alg alone", why, {
        format!("{}.", signing_input(r#"{"alg":"none"}"#, shop.claims().text()))
    });
}

/// Tokens whose `alg` is not the name of the issuer's algorithm, most of them with its good signature.
fn names(shop: &Workshop, bench: &mut Bench) {
    let why = "the algorithm comes from the key and the configuration, never from the token alone (RFC 8725 §3.1)";
    bench.add(
        "A006",
        "alg missing",
        "`alg` must be present (RFC 7515 §4.1.1)",
        shop.under(&shop.header().without("alg")),
    );
    for (id, raw) in
        [("A007/a", "256"), ("A007/b", "null"), ("A007/c", "[]"), ("A007/e", "{\"a\":1}"), ("A007/f", "true")]
    {
        bench.add(id, format!("alg is {raw}"), "`alg` is a string (RFC 7515 §4.1.1)", shop.with_header("alg", raw));
    }
    let own = shop.key.algorithm();
    let listed = format!("[{}]", quoted(own.name()));
    bench.add("A007/d", "alg is an array of the right name", "`alg` is a string", shop.with_header("alg", &listed));
    for (id, name) in [
        ("A020/a", "RS257"),
        ("A020/b", "HS1"),
        ("A020/c", "foo"),
        ("A020/d", "RSA"),
        ("A020/e", "dir"),
        ("A020/f", "A128KW"),
    ] {
        bench.add(id, format!("alg {name:?}"), why, shop.with_header("alg", &quoted(name)));
    }
    let name = own.name();
    let swapped: String = name.chars().map(swap_case).collect();
    for (id, text) in [("T001/a", swapped), ("T001/b", format!("{name} ")), ("T001/c", format!("{name}\u{0}"))] {
        bench.add(
            id,
            format!("alg {text:?}"),
            "names are compared letter by letter",
            shop.with_header("alg", &quoted(&text)),
        );
    }
    for (id, other) in OTHERS {
        if other != own {
            let name = format!("alg {other}, signature of {own}");
            bench.add(id, name, why, shop.with_header("alg", &quoted(other.name())));
        }
    }
    // The same private key under another algorithm of its family: a good signature, but not the one the key is for.
    if let Ok(der) = shop.key.to_pkcs8_der() {
        for (id, other) in TWINS {
            let twin = SigningKey::from_pkcs8_der(shop.issuer.backend(), other, &der);
            if let (true, Ok(twin)) = (own.family() == KeyFamily::Rsa && other != own, twin) {
                let header = shop.header().with("alg", quoted(other.name()));
                let token = crate::forge::compact(header.text(), shop.claims().text(), &twin);
                bench.add(id, format!("alg {other}, signed so, by the key for {own}"), why, token);
            }
        }
    }
    // The attacker's key is on P-256; a key on another curve for issuers that are there, too.
    let curve = if own.family() == KeyFamily::P384 { Algorithm::Es256 } else { Algorithm::Es384 };
    let other = crate::issuer::generate(shop.issuer.backend(), curve);
    let token = crate::forge::compact(shop.header().text(), shop.claims().text(), &other);
    bench.add("A016", format!("alg {own}, signature of {curve} by another key"), why, token);
}

/// Tokens whose MAC is keyed by what everybody knows.
fn secrets(shop: &Workshop, bench: &mut Bench) {
    let why = "whoever takes the public key for a secret lets everybody sign (CVE-2016-10555, CVE-2022-29217)";
    let header = shop.header().with("alg", "\"HS256\"");
    let ids = [
        "A009/a", "A009/b", "A009/c", "A010/a", "A010/b", "A010/c", "A010/d", "A011/a", "A011/b", "A011/c", "A011/d",
        "A011/e",
    ];
    let forms = public_forms(&public_jwk(&shop.key));
    for (id, form) in ids.into_iter().zip(&forms) {
        bench.add(id, format!("HS256 keyed by the public key: {}", form.name), why, shop.by_hmac(&header, &form.bytes));
    }
    let pem = forms.first().map(|form| form.bytes.clone()).unwrap_or_default();
    let claims = shop.claims().text();
    type Mac = fn(&[u8], &[u8]) -> Vec<u8>;
    let larger: [(&str, &str, Mac); 2] =
        [("A009/d", "HS384", crypto::hmac_sha384), ("A009/e", "HS512", crypto::hmac_sha512)];
    for (id, alg, mac) in larger {
        let input = signing_input(header.clone().with("alg", quoted(alg)).text(), &claims);
        let token = format!("{input}.{}", base64url(mac(&pem, input.as_bytes())));
        bench.add(id, format!("{alg} keyed by the public key: PEM"), why, token);
    }
    let bare = header.clone().without("kid");
    bench.add("A009/f", "HS256 keyed by the public key: PEM, no kid", why, shop.by_hmac(&bare, &pem));
    let why = "a secret that can be guessed is none";
    for (id, secret) in [
        ("A033", ""),
        ("A034", "secret"),
        ("A034/b", "your-256-bit-secret"),
        ("A147", "client"),
        ("A034/c", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ] {
        bench.add(id, format!("HS256 keyed by {secret:?}"), why, shop.by_hmac(&header, secret.as_bytes()));
    }
    let input = signing_input(header.text(), shop.claims().text());
    let mac = crypto::hmac_sha256(b"", input.as_bytes());
    for (id, length) in [("A032/a", 1), ("A032/b", 16), ("A032/c", 31)] {
        let cut = base64url(mac.get(..length).unwrap_or_default());
        bench.add(
            id,
            format!("HS256 cut to {length} bytes"),
            "a short MAC is found by trying",
            format!("{input}.{cut}"),
        );
    }
}

const fn swap_case(letter: char) -> char {
    if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
}

const OTHERS: [(&str, Algorithm); 11] = [
    ("A013", Algorithm::Rs256),
    ("A015/a", Algorithm::Rs384),
    ("A015/b", Algorithm::Rs512),
    ("A014/a", Algorithm::Ps256),
    ("A014/b", Algorithm::Ps384),
    ("A014/c", Algorithm::Ps512),
    ("A018/a", Algorithm::Es256),
    ("A018/b", Algorithm::Es384),
    ("A018/c", Algorithm::Es512),
    ("A018/d", Algorithm::Es256K),
    ("A018/e", Algorithm::Ed25519),
];

const TWINS: [(&str, Algorithm); 6] = [
    ("A013/b", Algorithm::Rs256),
    ("A015/c", Algorithm::Rs384),
    ("A015/d", Algorithm::Rs512),
    ("A014/d", Algorithm::Ps256),
    ("A014/e", Algorithm::Ps384),
    ("A014/f", Algorithm::Ps512),
];
