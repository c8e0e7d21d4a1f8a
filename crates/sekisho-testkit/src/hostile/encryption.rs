use super::workshop::{Bench, Members, Workshop, quoted};
use super::{HostileGroup, HostileToken};
use crate::crypto;
use crate::forge::base64url;

/// Encrypted tokens for a service that has published no key to encrypt for: it has to refuse them all, whatever they hold.
pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Encryption);
    let none = || Members::empty();
    let gcm = |alg: &str| none().with("alg", quoted(alg)).with("enc", "\"A256GCM\"");
    let inner = shop.honest();
    let why = "whoever has the public key can encrypt; that proves nothing about the author (RFC 8725 §2.7)";
    for (id, alg) in [
        ("A021/a", "dir"),
        ("A021/b", "RSA-OAEP"),
        ("A021/c", "RSA-OAEP-256"),
        ("A021/d", "ECDH-ES"),
        ("A021/e", "A256KW"),
    ] {
        let key = if alg == "dir" || alg == "ECDH-ES" { Vec::new() } else { crypto::random::<40>().to_vec() };
        bench.add(id, format!("five parts, alg {alg}"), why, jwe(&gcm(alg), &key, inner.as_bytes(), 16));
    }
    let signed = shop.header().with("enc", "\"A256GCM\"");
    bench.add("A021/f", "five parts under the issuer's alg and kid", why, jwe(&signed, b"", inner.as_bytes(), 16));
    bench.add("A021/g", "five parts, alg none", why, jwe(&gcm("none"), b"", inner.as_bytes(), 0));
    let why = "cost is bounded before it is paid";
    let zip = gcm("dir").with("zip", "\"DEF\"");
    bench.add("A109", "compressed", why, jwe(&zip, b"", &[0x78; 2000], 16));
    for (id, count) in [("A110/a", "2147483647"), ("A110/b", "1000000000"), ("A110/c", "-1"), ("A110/d", "1e300")] {
        let header = gcm("PBES2-HS256+A128KW").with("p2s", "\"AAAAAAAAAAA\"").with("p2c", count);
        bench.add(id, format!("p2c {count}"), why, jwe(&header, &crypto::random::<40>(), b"x", 16));
    }
    let why = "a point that is not on the curve gives the private key away (RFC 7516 §11.4, CVE-2017-16007)";
    let point = |x: &str, y: &str| format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    let zero = base64url([0; 32]);
    let one = base64url([[0; 31].as_slice(), &[1]].concat());
    for (id, epk) in [("A111/a", point(&zero, &zero)), ("A111/b", point(&one, &one)), ("A111/c", "null".to_owned())] {
        let header = gcm("ECDH-ES").with("epk", epk);
        bench.add(id, "ephemeral key off the curve", why, jwe(&header, b"", inner.as_bytes(), 16));
    }
    let why = "RSA1_5 tells right from wrong padding, and so decrypts for the attacker (RFC 8725 §3.2)";
    bench.add("A112", "alg RSA1_5", why, jwe(&gcm("RSA1_5"), &crypto::random::<256>(), inner.as_bytes(), 16));
    let why = "a short tag is found by trying";
    for (id, length) in [("A113/a", 1), ("A113/b", 4), ("A113/c", 12), ("A114", 0)] {
        bench.add(id, format!("tag of {length} bytes"), why, jwe(&gcm("dir"), b"", inner.as_bytes(), length));
    }
    let why = "with alg dir there is no encrypted key (RFC 7516 §5.2)";
    bench.add("A115", "dir with an encrypted key", why, jwe(&gcm("dir"), &crypto::random::<32>(), b"x", 16));
    bench.done()
}

/// Puts five parts together; the ciphertext is the text itself, and the tag is noise.
fn jwe(header: &Members, key: &[u8], ciphertext: &[u8], tag: usize) -> String {
    let noise = crypto::random::<16>();
    let parts = [
        header.text().into_bytes(),
        key.to_vec(),
        crypto::random::<12>().to_vec(),
        ciphertext.to_vec(),
        noise.get(..tag).unwrap_or_default().to_vec(),
    ];
    parts.map(base64url).join(".")
}
