use super::workshop::{Bench, Workshop, quoted};
use super::{HostileGroup, HostileToken};
use crate::forge::{base64url, sign_input};

pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Parse);
    segments(shop, &mut bench);
    encodings(shop, &mut bench);
    signed_spoilt_encodings(shop, &mut bench);
    headers(shop, &mut bench);
    payloads(shop, &mut bench);
    duplicates(shop, &mut bench);
    sizes(shop, &mut bench);
    extensions(shop, &mut bench);
    bench.done()
}

/// Texts that are not three parts with two dots.
fn segments(shop: &Workshop, bench: &mut Bench) {
    let (header, claims, signature) = shop.parts();
    let good = format!("{header}.{claims}.{signature}");
    let why = "a compact JWS is three parts (RFC 7515 §7.1)";
    for (id, name, token) in [
        ("A076/a", "four parts", format!("{good}.{signature}")),
        ("A076/b", "five parts", format!("{good}.{claims}.{signature}")),
        ("A076/c", "six parts", format!("{good}.{good}")),
        ("A076/d", "a dot in front", format!(".{good}")),
        ("A076/e", "a dot behind", format!("{good}.")),
        ("A076/f", "a doubled dot", format!("{header}..{claims}.{signature}")),
        ("A076/g", "an empty header", format!(".{claims}.{signature}")),
        ("A076/h", "an empty payload", format!("{header}..{signature}")),
        ("A076/i", "two dots", "..".to_owned()),
        ("A076/j", "one dot", ".".to_owned()),
        ("A076/k", "no dot", "token".to_owned()),
        ("A076/l", "nothing", String::new()),
        ("A076/m", "dots as percent escapes", format!("{header}%2E{claims}%2E{signature}")),
        ("A076/n", "full-width dots", format!("{header}\u{ff0e}{claims}\u{ff0e}{signature}")),
        ("A076/o", "the token twice", format!("{good}{good}")),
        ("A076/p", "in quotes", format!("\"{good}\"")),
        ("A076/q", "with its scheme", format!("Bearer {good}")),
        ("A076/r", "two tokens and a comma", format!("{good},{good}")),
    ] {
        bench.add(id, name, why, token);
    }
    bench.add(
        "A077",
        "a mebibyte of dots",
        "the count of parts is bounded before anything is made",
        ".".repeat(1 << 20),
    );
    let json = format!(r#"{{"protected":"{header}","payload":"{claims}","signature":"{signature}"}}"#);
    let why = "the JSON forms are not the compact form (RFC 7515 §7.2)";
    bench.add("A079", "flattened JSON form", why, json);
    let json =
        format!(r#"{{"payload":"{claims}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#);
    bench.add("A079/b", "general JSON form", why, json.clone());
    bench.add("A081", "general JSON form, base64url", why, base64url(json));
    let evil = base64url(shop.claims().with("sub", "\"admin\"").text());
    let mixed = format!(r#"{{"  {good}":"","protected":"{header}","payload":"{evil}","signature":"{signature}"}}"#);
    bench.add("A080", "the compact form inside the JSON form", why, mixed);
}

/// Texts whose parts are base64url in a loose reading only. The signature is of the honest text.
fn encodings(shop: &Workshop, bench: &mut Bench) {
    let (header, claims, signature) = shop.parts();
    let why = "one token has one text; loose decoding gives it many, past every list of withdrawn tokens (RFC 7515 §2)";
    let join = |h: &str, c: &str, s: &str| format!("{h}.{c}.{s}");
    for (id, name, token) in [
        ("A063/a", "padding behind the header", join(&format!("{header}="), &claims, &signature)),
        ("A063/b", "padding behind the payload", join(&header, &format!("{claims}="), &signature)),
        ("A063/c", "padding behind the signature", join(&header, &claims, &format!("{signature}="))),
        ("A063/d", "two signs of padding behind the signature", join(&header, &claims, &format!("{signature}=="))),
        ("A065/a", "a space in front", join(&format!(" {header}"), &claims, &signature)),
        ("A065/b", "a space behind", join(&header, &claims, &format!("{signature} "))),
        ("A065/c", "a line feed behind", join(&header, &claims, &format!("{signature}\n"))),
        ("A065/d", "CRLF behind", join(&header, &claims, &format!("{signature}\r\n"))),
        ("A065/e", "a tab in the payload", join(&header, &middle(&claims, "\t"), &signature)),
        ("A065/f", "a line feed in the signature", join(&header, &claims, &middle(&signature, "\n"))),
        ("A065/g", "a question mark in the header", join(&middle(&header, "?"), &claims, &signature)),
        ("A065/h", "NUL behind", join(&header, &claims, &format!("{signature}\0"))),
        ("A065/i", "a zero-width space in the payload", join(&header, &middle(&claims, "\u{200b}"), &signature)),
        ("A065/j", "a letter that is not ASCII", join(&header, &claims, &middle(&signature, "\u{e9}"))),
        ("A065/k", "a percent escape", join(&header, &claims, &format!("{signature}%20"))),
        ("A065/l", "a byte order mark in front", join(&format!("\u{feff}{header}"), &claims, &signature)),
        ("A067/a", "a letter more in the header", join(&odd(&header), &claims, &signature)),
        ("A067/b", "a letter more in the payload", join(&header, &odd(&claims), &signature)),
        ("A067/c", "a letter more in the signature", join(&header, &claims, &odd(&signature))),
    ] {
        bench.add(id, name, why, token);
    }
    // Signatures of 64 bytes leave four bits over, of 256 bytes too; one more for lengths that leave none.
    if let Some(loose) = trailing_bits(&signature) {
        bench.add("A066/c", "unused bits set in the signature", why, join(&header, &claims, &loose));
    }
    // Many tokens are tried until both letters that differ between the alphabets stand in the signature.
    for _ in 0..64 {
        let (header, claims, signature) = shop.parts();
        if signature.contains('-') && signature.contains('_') {
            let standard = signature.replace('-', "+").replace('_', "/");
            bench.add("A064", "standard alphabet in the signature", why, join(&header, &claims, &standard));
            let padded = format!("{standard}{}", "=".repeat((4 - standard.len() % 4) % 4));
            bench.add("A064/b", "standard alphabet and padding in the signature", why, join(&header, &claims, &padded));
            break;
        }
    }
}

/// The same for header and payload, signed by the issuer as they stand: only the encoding is wrong.
fn signed_spoilt_encodings(shop: &Workshop, bench: &mut Bench) {
    let why = "base64url without padding, and no other letters (RFC 7515 §2), whoever signed it";
    let header = base64url(shop.header().text());
    let claims = base64url(shop.claims().text());
    let signed = |header: &str, claims: &str| sign_input(&format!("{header}.{claims}"), &shop.key);
    // The length is brought to one byte over a multiple of three, so that bits are left over.
    let spaced = |text: String| {
        let fill = (4 - text.len() % 3) % 3;
        text.replacen('{', &format!("{{{}", " ".repeat(fill)), 1)
    };
    let (loose_header, loose_claims) =
        (base64url(spaced(shop.header().text())), base64url(spaced(shop.claims().text())));
    if let (Some(h), Some(c)) = (trailing_bits(&loose_header), trailing_bits(&loose_claims)) {
        bench.add("A066/a", "unused bits set in the header, signed so", why, signed(&h, &claims));
        bench.add("A066/b", "unused bits set in the payload, signed so", why, signed(&header, &c));
        bench.add("A063/e", "padding behind the header, signed so", why, signed(&format!("{loose_header}=="), &claims));
        bench.add(
            "A063/f",
            "padding behind the payload, signed so",
            why,
            signed(&header, &format!("{loose_claims}==")),
        );
    }
    bench.add("A065/m", "a space in the payload, signed so", why, signed(&header, &middle(&claims, " ")));
    bench.add("A065/n", "a line feed behind the header, signed so", why, signed(&format!("{header}\n"), &claims));
    bench.add("A067/d", "a letter more in the header, signed so", why, signed(&odd(&header), &claims));
    bench.add("A067/e", "a letter more in the payload, signed so", why, signed(&header, &odd(&claims)));
    let odd_claims = shop.claims().with("x", "\"\u{ff}\u{fe}\u{fb}\u{ff}?>~\u{fb}\u{ef}\"").text();
    let standard = base64_simd::STANDARD_NO_PAD.encode_to_string(odd_claims.as_bytes());
    if standard.contains(['+', '/']) {
        bench.add("A064/c", "standard alphabet in the payload, signed so", why, signed(&header, &standard));
    }
}

/// Headers that are not one JSON object, signed by the issuer.
fn headers(shop: &Workshop, bench: &mut Bench) {
    let why = "the header is one JSON object in UTF-8 (RFC 7515 §4)";
    let honest = shop.header().text();
    let claims = shop.claims().text();
    let alg = quoted(shop.key.algorithm().name());
    let texts: [(&'static str, &str, Vec<u8>); 13] = [
        ("A071/a", "[]", b"[]".to_vec()),
        ("A071/b", "a string", alg.clone().into_bytes()),
        ("A071/c", "1", b"1".to_vec()),
        ("A071/d", "null", b"null".to_vec()),
        ("A071/e", "the header in an array", format!("[{honest}]").into_bytes()),
        ("A071/f", "nothing", Vec::new()),
        ("A071/g", "no JSON", b"alg=none".to_vec()),
        ("A071/h", "{}", b"{}".to_vec()),
        ("A073/c", "behind a byte order mark", format!("\u{feff}{honest}").into_bytes()),
        ("A073/d", "in UTF-16", utf16(&honest)),
        ("A074/c", "with a byte that is not UTF-8", honest.replace("at+jwt", "at+jwt\u{1}").into_bytes()),
        ("T030/a", "two objects", format!("{honest}{honest}").into_bytes()),
        ("T030/b", "cut in the middle", honest.as_bytes().get(..honest.len() / 2).unwrap_or_default().to_vec()),
    ];
    for (id, name, text) in texts {
        let text =
            if id == "A074/c" { text.into_iter().map(|b| if b == 1 { 0xff } else { b }).collect() } else { text };
        bench.add(id, format!("header: {name}"), why, shop.sign(text, &claims));
    }
    let deep = shop.header().with("x", nest(1_000)).text();
    bench.add("A075/d", "header nested 1,000 deep", "recursion is bounded", shop.sign(deep, &claims));
}

/// Payloads that are not one JSON object, signed by the issuer.
fn payloads(shop: &Workshop, bench: &mut Bench) {
    let why = "the claims are one JSON object in UTF-8 (RFC 7519 §4, §7.2)";
    let honest = shop.claims().text();
    let texts: [(&'static str, &str, String); 22] = [
        ("A072/a", "a string", "\"text\"".to_owned()),
        ("A072/b", "[1]", "[1]".to_owned()),
        ("A072/c", "1", "1".to_owned()),
        ("A072/d", "null", "null".to_owned()),
        ("A072/e", "no JSON", "sub=u1".to_owned()),
        ("A072/f", "the claims in an array", format!("[{honest}]")),
        ("A072/g", "nothing", String::new()),
        ("A072/h", "{}", "{}".to_owned()),
        ("A072/i", "the claims as a string", quoted(&honest)),
        ("A073/a", "behind a byte order mark", format!("\u{feff}{honest}")),
        ("T031/a", "two objects", format!("{honest}{honest}")),
        ("T031/b", "a word behind", format!("{honest}x")),
        ("T031/c", "NUL behind", format!("{honest}\0")),
        ("T031/d", "a comma too many", honest.replacen('}', ",}", 1)),
        ("T031/e", "single quotes", honest.replace('"', "'")),
        ("T031/f", "a comment", honest.replacen('{', "{/* */", 1)),
        ("T031/g", "NaN for exp", shop.claims().with("exp", "NaN").text()),
        ("T031/h", "Infinity for exp", shop.claims().with("exp", "Infinity").text()),
        ("T031/i", "a leading zero for exp", shop.claims().with("exp", format!("0{}", shop.now + 300)).text()),
        ("T031/j", "a plus sign for exp", shop.claims().with("exp", format!("+{}", shop.now + 300)).text()),
        ("T031/k", "a hexadecimal exp", shop.claims().with("exp", format!("0x{:x}", shop.now + 300)).text()),
        ("T031/l", "a line feed inside a string", shop.claims().with("sub", "\"u1\n\"").text()),
    ];
    for (id, name, text) in texts {
        bench.add(id, format!("payload: {name}"), why, shop.with_payload(text));
    }
    bench.add("A073/b", "payload: in UTF-16", why, shop.with_payload(utf16(&honest)));
    let broken: Vec<u8> =
        shop.claims().with("sub", "\"u\u{1}\"").text().bytes().map(|b| if b == 1 { 0xff } else { b }).collect();
    bench.add("A074", "payload: a byte that is not UTF-8", why, shop.with_payload(broken));
    let overlong = shop.claims().with("sub", "\"u\u{1}\u{2}\"").text().into_bytes();
    let overlong: Vec<u8> = overlong
        .into_iter()
        .map(|b| {
            if b == 1 {
                0xc0
            } else if b == 2 {
                0xae
            } else {
                b
            }
        })
        .collect();
    bench.add("A074/d", "payload: an overlong UTF-8 sequence", why, shop.with_payload(overlong));
    for (id, raw) in [("A074/b", "\"\\ud800\""), ("A074/e", "\"\\udc00\\ud800\""), ("A074/f", "\"\\ud800x\"")] {
        let token = shop.with_claim("sub", raw);
        bench.add(id, format!("payload: a lone surrogate, sub is {raw}"), why, token);
    }
    let why = "recursion over input from outside is bounded";
    bench.add("A075", "payload nested 100,000 deep", why, shop.with_claim("x", &nest(100_000)));
    bench.add("A075/b", "payload nested 2,500 deep", why, shop.with_claim("x", &nest(2_500)));
    bench.add_strict("A075/c", "payload nested 100 deep", why, shop.with_claim("x", &nest(100)));
    let objects = format!("{}1{}", "{\"a\":".repeat(800), "}".repeat(800));
    bench.add("A075/e", "payload of 800 objects in each other", why, shop.with_claim("x", &objects));
}

/// Members that stand twice. The standards let a parser take the last (RFC 7515 §4, RFC 7519 §4), so those whose last
/// is honest are for strict verifiers.
fn duplicates(shop: &Workshop, bench: &mut Bench) {
    let why = "two parsers would read two different tokens";
    let alg = quoted(shop.key.algorithm().name());
    let claims = shop.claims().text();
    let header = |text: String| shop.sign(text, &claims);
    bench.add_strict(
        "A068/a",
        "alg none, then the right one",
        why,
        header(shop.header().after("alg", "\"none\"").text()),
    );
    bench.add("A068/b", "the right alg, then none", why, header(shop.header().and("alg", "\"none\"").text()));
    bench.add_strict("A068/c", "alg twice, the same", why, header(shop.header().and("alg", alg.clone()).text()));
    bench.add_strict("A068/d", "alg twice, once escaped", why, header(shop.header().and("\\u0061lg", alg).text()));
    let kid = quoted(shop.key.kid());
    bench.add_strict("A068/e", "kid twice", why, header(shop.header().after("kid", "\"other\"").text()));
    bench.add_strict("A068/f", "kid twice, once escaped", why, header(shop.header().and("k\\u0069d", kid).text()));
    bench.add_strict("A068/g", "typ twice", why, header(shop.header().after("typ", "\"logout+jwt\"").text()));
    let now = shop.now;
    let honest = |name: &str| match name {
        "exp" => (now + 300).to_string(),
        "iss" => quoted(shop.issuer.url()),
        "aud" => quoted(&shop.audience),
        "scope" => quoted("orders:read"),
        _ => quoted("u1"),
    };
    for (id, name, evil) in [
        ("T040/a", "exp", (now + 86_400).to_string()),
        ("T040/b", "iss", quoted("https://attacker.example")),
        ("T040/c", "aud", quoted("elsewhere")),
        ("T040/d", "sub", quoted("admin")),
        ("T040/e", "scope", quoted("admin")),
    ] {
        let token = shop.saying(&shop.claims().without(name).and(name, evil).and(name, honest(name)));
        bench.add_strict(id, format!("{name} twice, the honest one last"), why, token);
    }
    let escaped = shop.claims().and("e\\u0078p", (now + 300).to_string());
    bench.add_strict("T040/f", "exp twice, once escaped", why, shop.saying(&escaped));
    let inside = shop.claims().with("realm_access", r#"{"roles":["user"],"roles":["admin"]}"#);
    bench.add_strict("T040/g", "a member twice, one level down", why, shop.saying(&inside));
    bench.add("T040/h", "aud twice, another one last", why, shop.saying(&shop.claims().and("aud", "\"elsewhere\"")));
    bench.add("T040/i", "exp twice, a past one last", why, shop.saying(&shop.claims().and("exp", "1")));
}

/// Tokens that are longer than any honest one.
fn sizes(shop: &Workshop, bench: &mut Bench) {
    let why = "the length is bounded before anything is decoded";
    for (id, name, length) in [
        ("A078/a", "a good token of 9 KiB", 6_500),
        ("A078/b", "a good token of 64 KiB", 48_000),
        ("A078/c", "a good token of a mebibyte", 786_000),
    ] {
        bench.add_strict(id, name, why, shop.with_claim("x", &quoted(&"x".repeat(length))));
    }
    let (_, claims, signature) = shop.parts();
    let header = base64url(shop.header().with("x", quoted(&"x".repeat(100_000))).text());
    bench.add("A078/d", "a header of 130 KiB under another's signature", why, format!("{header}.{claims}.{signature}"));
}

/// Header members that change how the token is to be read.
fn extensions(shop: &Workshop, bench: &mut Bench) {
    let why = "who does not understand a critical member refuses the token (RFC 7515 §4.1.11)";
    let header = || shop.header();
    for (id, name, members) in [
        ("A082/a", "crit names an unknown member", header().with("crit", "[\"exp2\"]").with("exp2", "1")),
        ("A082/b", "crit names the empty string", header().with("crit", "[\"\"]")),
        ("A082/c", "crit is empty", header().with("crit", "[]")),
        ("A082/d", "crit names an absent member", header().with("crit", "[\"exp2\"]")),
        ("A082/e", "crit names alg", header().with("crit", "[\"alg\"]")),
        ("A082/f", "crit is a string", header().with("crit", "\"exp2\"").with("exp2", "1")),
        ("A082/g", "crit is null", header().with("crit", "null")),
        ("A082/h", "crit is an object", header().with("crit", "{\"exp2\":1}").with("exp2", "1")),
        ("A082/i", "crit holds a number", header().with("crit", "[1]")),
        ("A082/j", "crit names a member twice", header().with("crit", "[\"exp2\",\"exp2\"]").with("exp2", "1")),
        ("A082/k", "crit names kid", header().with("crit", "[\"kid\"]")),
        ("A082/l", "crit is true", header().with("crit", "true")),
    ] {
        bench.add(id, name, why, shop.under(&members));
    }
    let why = "an unencoded payload is another signing input; taking it for encoded confuses the two (RFC 7797 §6)";
    bench.add_strict("A083", "b64 false without crit", why, shop.with_header("b64", "false"));
    let critical = header().with("b64", "false").with("crit", "[\"b64\"]");
    bench.add("A083/b", "b64 false with crit", why, shop.under(&critical));
    let raw = format!("{}.{}", base64url(critical.text()), shop.claims().text());
    bench.add("A083/c", "b64 false, the payload as it is", why, sign_input(&raw, &shop.key));
    bench.add_strict("A083/d", "b64 is a string", why, shop.with_header("b64", "\"false\""));
    let why = "compression belongs to encrypted tokens (RFC 7516 §4.1.3)";
    bench.add_strict("T041", "zip in a signed token", why, shop.with_header("zip", "\"DEF\""));
    let why = "a token inside a token is not a set of claims";
    let mut inner = shop.honest();
    for _ in 0..5 {
        inner = shop.sign(header().with("cty", "\"JWT\"").text(), inner);
    }
    bench.add("A085", "a token in a token, five times", why, inner);
    let once = shop.sign(header().with("cty", "\"JWT\"").text(), shop.honest());
    bench.add("A085/b", "a token in a token", why, once);
}

/// Puts `what` into the middle; the texts are ASCII.
fn middle(text: &str, what: &str) -> String {
    let (front, back) = text.split_at(text.len() / 2);
    format!("{front}{what}{back}")
}

/// Brings the length to one over a multiple of four, which no bytes encode to.
fn odd(text: &str) -> String {
    let more = (5 - text.len() % 4) % 4;
    format!("{text}{}", "A".repeat(if more == 0 { 4 } else { more }))
}

/// Sets the lowest unused bit of the last letter, if that letter has unused bits.
fn trailing_bits(text: &str) -> Option<String> {
    if text.len() % 4 < 2 {
        return None;
    }
    let last = text.bytes().last()?;
    let place = ALPHABET.iter().position(|letter| *letter == last)?;
    let next = *ALPHABET.get(place | 1)?;
    (next != last).then(|| format!("{}{}", text.get(..text.len() - 1).unwrap_or_default(), char::from(next)))
}

/// Nests arrays.
fn nest(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
