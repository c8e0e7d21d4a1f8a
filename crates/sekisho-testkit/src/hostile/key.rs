use serde_json::{Value, json};

use super::der::{ECDSA_WITH_SHA256, bit_string, ecdsa_signature, sequence, tlv};
use super::public_forms::spki;
use super::workshop::{Bench, Members, Workshop, quoted};
use super::{HostileGroup, HostileToken};
use crate::crypto;
use crate::forge::{base64url, compact, signature};
use crate::issuer::Decoy;

pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Key);
    brought_along(shop, &mut bench);
    locations(shop, &mut bench);
    key_ids(shop, &mut bench);
    other_keys(shop, &mut bench);
    bench.done()
}

/// Tokens that carry the key, or the certificate, by which they want to be verified.
fn brought_along(shop: &Workshop, bench: &mut Bench) {
    let why = "a key that the token brings is the attacker's (RFC 8725 §3.10)";
    let header = shop.attacker_header();
    let jwk = shop.attacker_jwk();
    bench.add("A036", "jwk in the header", why, shop.by_attacker(&header.clone().with("jwk", jwk.to_string())));
    let mut renamed = jwk.clone();
    if let Some(members) = renamed.as_object_mut() {
        members.insert("kid".into(), shop.key.kid().into());
    }
    let named = header.clone().with("jwk", renamed.to_string());
    bench.add("A036/b", "jwk in the header under the trusted kid", why, shop.by_attacker(&named));
    let alone = header.clone().without("kid").with("jwk", jwk.to_string());
    bench.add("A036/c", "jwk in the header, no kid", why, shop.by_attacker(&alone));
    let set = header.clone().with("jwks", json!({ "keys": [jwk] }).to_string());
    bench.add("A036/d", "a key set in the header", why, shop.by_attacker(&set));
    let secret = crypto::random::<32>();
    let oct = json!({ "kty": "oct", "alg": "HS256", "k": base64url(secret) });
    let shared = shop.header().with("alg", "\"HS256\"").with("jwk", oct.to_string());
    bench.add("A038", "a shared secret as jwk in the header", why, shop.by_hmac(&shared, &secret));
    let certificate = certificate(shop);
    let chain = json!([base64_simd::STANDARD.encode_to_string(&certificate)]);
    let chained = header.clone().with("x5c", chain.to_string());
    bench.add("A042", "a self-signed certificate in x5c", why, shop.by_attacker(&chained));
    let alone = chained.without("kid");
    bench.add("A042/b", "a self-signed certificate in x5c, no kid", why, shop.by_attacker(&alone));
    let print = quoted(&base64url(crypto::sha256(&certificate)));
    let marked = header.without("kid").with("x5t#S256", print);
    bench.add("A044", "x5t#S256 of the attacker's certificate", why, shop.by_attacker(&marked));
}

/// Tokens that say where their key is to be fetched.
fn locations(shop: &Workshop, bench: &mut Bench) {
    let why = "a URL from a token is the attacker's, and fetching it is a request in our name (RFC 8725 §3.10)";
    let host =
        shop.issuer.url().split("//").last().unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
    let url = shop.issuer.url();
    let mut jku = |id, target: String| {
        let header = shop.attacker_header().with("jku", quoted(&target));
        bench.add(id, format!("jku {target}"), why, shop.by_attacker(&header));
    };
    jku("A039", "https://attacker.example/jwks".to_owned());
    jku("A040/a", format!("https://{host}@attacker.example/jwks"));
    jku("A040/b", format!("https://{host}.attacker.example/jwks"));
    jku("A040/c", format!("{url}/redirect?u=https://attacker.example/jwks"));
    jku("A040/d", format!("{url}/../../uploads/jwks"));
    jku("A040/e", "http://169.254.169.254/latest/meta-data/".to_owned());
    jku("A040/f", "file:///etc/passwd".to_owned());
    for (id, target) in [("A041", "https://attacker.example/cert.pem"), ("A041/b", "http://127.0.0.1:1/cert.pem")] {
        let header = shop.attacker_header().with("x5u", quoted(target));
        bench.add(id, format!("x5u {target}"), why, shop.by_attacker(&header));
    }
}

/// Tokens whose `kid` is a weapon or not a name of a key.
fn key_ids(shop: &Workshop, bench: &mut Bench) {
    let why = "a kid is a name to compare, not a path, a query or a command (RFC 8725 §3.10)";
    let hmac = |kid: &str| shop.header().with("alg", "\"HS256\"").with("kid", quoted(kid));
    let mut keyed = |id, kid: &str, secret: &[u8]| {
        bench.add(id, format!("kid {kid:?}, HS256 keyed by what lies there"), why, shop.by_hmac(&hmac(kid), secret));
    };
    keyed("A045", "../../../../dev/null", b"");
    keyed("A045/b", "../../../../dev/null", b"\0");
    keyed("A045/c", "/proc/sys/kernel/randomize_va_space", b"2\n");
    keyed("A045/d", "..\\..\\..\\windows\\win.ini", b"");
    keyed("A046", "x' UNION SELECT '1';-- ", b"1");
    keyed("A046/b", "' OR '1'='1", b"");
    keyed("A047", "| sleep 10", b"");
    keyed("A047/b", "$(sleep 10)", b"");
    let why = "no trusted key has this name, and it must not break a log line either";
    let mut signed = |id, kid: &str| {
        let header = shop.header().with("kid", quoted(kid));
        bench.add(id, format!("kid {:?}", cut(kid)), why, shop.under(&header));
    };
    let own = shop.key.kid();
    signed("A048/a", &format!("{own}\r\nlevel=info msg=accepted"));
    signed("A048/b", &format!("{own}\u{0}"));
    signed("A048/c", &"k".repeat(3000));
    signed("A048/d", &format!("{own}\u{200b}"));
    signed("A048/e", &format!("\u{202e}{own}"));
    signed("A048/f", "");
    signed("A048/g", &format!("{own} "));
    signed("A048/h", &format!("./{own}"));
    signed("A050/b", "a-name-that-nobody-published");
    for (id, raw) in
        [("A049/a", "1"), ("A049/b", "null"), ("A049/c", "[]"), ("A049/d", "{\"$ne\":null}"), ("A049/f", "true")]
    {
        bench.add(id, format!("kid is {raw}"), "`kid` is a string (RFC 7515 §4.1.4)", shop.with_header("kid", raw));
    }
    let listed = format!("[{}]", quoted(own));
    bench.add("A049/e", "kid is an array of the right name", "`kid` is a string", shop.with_header("kid", &listed));
}

/// Tokens by keys that are not the issuer's, or not for this.
fn other_keys(shop: &Workshop, bench: &mut Bench) {
    let why = "only the issuer's own keys speak for it";
    let own = shop.attacker_header().with("kid", quoted(shop.attacker.kid()));
    bench.add("A050", "an unknown key under its own kid", why, shop.by_attacker(&own));
    bench.add("T020/a", "an unknown key under the trusted kid", why, shop.by_attacker(&shop.attacker_header()));
    bench.add("T020/b", "an unknown key, no kid", why, shop.by_attacker(&shop.attacker_header().without("kid")));
    let same = crate::issuer::generate(shop.issuer.backend(), shop.key.algorithm());
    let text = |header: &Members| compact(header.text(), shop.claims().text(), &same);
    bench.add("T020/c", "an unknown key of the same algorithm under the trusted kid", why, text(&shop.header()));
    bench.add("T020/d", "an unknown key of the same algorithm, no kid", why, text(&shop.header().without("kid")));
    if let Some(second) = &shop.second_issuer {
        let key = second.signing_key();
        let header = shop.header().with("alg", quoted(key.algorithm().name())).with("kid", quoted(key.kid()));
        let claims = shop.claims();
        let why = "the keys of one trusted issuer do not speak for another";
        bench.add("A101/a", "a key of the second issuer", why, compact(header.text(), claims.text(), &key));
        let claims = claims.with("iss", quoted(second.url()));
        bench.add("A101/b", "iss of the second issuer, by the first one's key", why, shop.saying(&claims));
    }
    for (decoy, key) in shop.issuer.decoys() {
        let (id, name) = match decoy {
            Decoy::ForEncryption => ("A055", "a published key with use enc"),
            Decoy::OtherOperations => ("A055/b", "a published key whose key_ops lack verify"),
            Decoy::OtherAlgorithm => ("A016/b", "a published key whose alg is of another curve"),
            Decoy::SharedSecret => ("A019", "a published shared secret under the trusted kid"),
        };
        let header = shop.header().with("alg", quoted(key.algorithm().name())).with("kid", quoted(key.kid()));
        let why = "a key is for what its publisher says (RFC 7517 §4.2 and §4.3), and no published secret is one";
        bench.add(id, name, why, compact(header.text(), shop.claims().text(), &key));
    }
}

/// Writes a certificate of the attacker's key, signed by itself.
fn certificate(shop: &Workshop) -> Vec<u8> {
    let jwk: Value = shop.attacker_jwk();
    let algorithm = sequence(&[ECDSA_WITH_SHA256]);
    let name = sequence(&[&tlv(0x31, &sequence(&[b"\x06\x03\x55\x04\x03", &tlv(0x0c, b"id.example")]))]);
    let validity = sequence(&[&tlv(0x17, b"200101000000Z"), &tlv(0x17, b"491231235959Z")]);
    let body =
        sequence(&[&tlv(0xa0, b"\x02\x01\x02"), b"\x02\x01\x01", &algorithm, &name, &validity, &name, &spki(&jwk)]);
    // DER is not text; the signing key takes any bytes.
    let raw = shop.attacker.sign(&body).unwrap_or_else(|_| signature("", &shop.attacker));
    sequence(&[&body, &algorithm, &bit_string(&ecdsa_signature(&raw))])
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
