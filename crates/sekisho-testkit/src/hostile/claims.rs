use super::workshop::{Bench, Workshop, quoted};
use super::{HostileGroup, HostileToken};

pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Claims);
    times(shop, &mut bench);
    audiences(shop, &mut bench);
    issuers(shop, &mut bench);
    subjects(shop, &mut bench);
    bench.done()
}

fn times(shop: &Workshop, bench: &mut Bench) {
    let why = "a NumericDate is a JSON number within reach (RFC 7519 §2); another type is not the same as none (CVE-2026-25537)";
    let future = (shop.now + 300).to_string();
    let text = quoted(&future);
    let array = format!("[{future}]");
    for (id, raw) in [
        ("A087/a", "\"9999999999\""),
        ("A087/b", "\"never\""),
        ("A087/c", &*text),
        ("A087/d", "\"\""),
        ("A089/a", "1e400"),
        ("A089/b", "1e18"),
        ("A089/c", "-1"),
        ("A089/d", "9223372036854775807"),
        ("A089/e", "18446744073709551616"),
        ("A089/f", "-1.5e3"),
        ("A089/g", "99999999999999999999999999999999999999"),
        ("A089/h", "-0.5"),
        ("T050/a", "null"),
        ("T050/b", "true"),
        ("T050/c", "[]"),
        ("T050/d", "{}"),
        ("T050/e", &*array),
        ("T050/f", "false"),
    ] {
        bench.add(id, format!("exp is {raw}"), why, shop.with_claim("exp", raw));
    }
    let why = "an access token dies (RFC 9068 §2.2)";
    bench.add("A090", "exp missing", why, shop.saying(&shop.claims().without("exp")));
    let why = "exp is the first instant at which the token is dead (RFC 7519 §4.1.4)";
    for (id, name, exp) in [
        ("A091/a", "exp a leeway ago, to the second", shop.now.saturating_sub(shop.leeway)),
        ("A091/b", "exp a leeway and a second ago", shop.now.saturating_sub(shop.leeway + 1)),
        ("A091/c", "exp a day ago", shop.now.saturating_sub(86_400)),
        ("A091/d", "exp is 0", 0),
        ("A091/e", "exp is 1", 1),
    ] {
        bench.add(id, name, why, shop.with_claim("exp", &exp.to_string()));
    }
    for (claim, ids) in [
        ("nbf", ["A092/a", "A092/b", "A092/c", "A092/d", "A092/e", "A092/f", "A092/g", "A092/h", "A092/i"]),
        ("iat", ["A093/a", "A093/b", "A093/c", "A093/d", "A093/e", "A093/f", "A093/g", "A093/h", "A093/i"]),
    ] {
        let soon = (shop.now + shop.leeway + 1).to_string();
        let tomorrow = (shop.now + shop.leeway + 86_400).to_string();
        let past = quoted(&shop.now.saturating_sub(10).to_string());
        let raws = [&*soon, &*tomorrow, "\"99999999999\"", &*past, "null", "true", "[]", "-1", "9223372036854775807"];
        for (id, raw) in ids.into_iter().zip(raws) {
            let why = "a token from the future, or a time that is none (RFC 7519 §4.1.5, §4.1.6)";
            let claims = shop.claims().with("exp", (shop.now + 172_800).to_string()).with(claim, raw);
            // RFC 7519 says of `iat` only that it is a number: refusing the future is our default.
            if claim == "iat" {
                bench.add_strict(id, format!("{claim} is {raw}"), why, shop.saying(&claims));
            } else {
                bench.add(id, format!("{claim} is {raw}"), why, shop.saying(&claims));
            }
        }
    }
    let backwards =
        shop.claims().with("nbf", (shop.now + 86_400).to_string()).with("exp", (shop.now + 300).to_string());
    bench.add("A092/j", "nbf after exp", "it is never valid", shop.saying(&backwards));
}

fn audiences(shop: &Workshop, bench: &mut Bench) {
    let why = "a token for another service must not open this one (RFC 7519 §4.1.3)";
    bench.add("A094", "aud missing", why, shop.saying(&shop.claims().without("aud")));
    let own = shop.audience.as_str();
    let quoted_own = quoted(own);
    let swapped: String = own
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    for (id, raw) in [
        ("A094/b", "null".to_owned()),
        ("A095/a", "[]".to_owned()),
        ("A095/b", "[\"\"]".to_owned()),
        ("A095/c", "\"\"".to_owned()),
        ("A097/a", quoted(&format!("{own}2"))),
        ("A097/b", quoted(&format!("my-{own}"))),
        ("A097/c", quoted(&swapped)),
        ("A097/d", quoted(&format!("{own} "))),
        ("A097/e", quoted(&format!("{own}/"))),
        ("A097/f", quoted(&own.chars().take(own.chars().count().saturating_sub(1)).collect::<String>())),
        ("A097/g", quoted(&format!("{own}\u{0}"))),
        ("A097/h", quoted(&format!("{own} elsewhere"))),
        ("A097/i", quoted(&format!("elsewhere,{own}"))),
        ("A097/j", quoted(&format!("{own}\u{200b}"))),
        ("A097/k", quoted(&format!("\u{202e}{own}"))),
        ("A097/l", quoted(&lookalike(own))),
        ("A097/m", quoted("*")),
        ("A097/n", quoted("elsewhere")),
        ("A097/o", "[\"elsewhere\",\"nowhere\"]".to_owned()),
        ("A097/p", quoted(shop.issuer.url())),
        ("A097/q", quoted(&format!("[{quoted_own}]"))),
    ] {
        if raw != quoted_own {
            bench.add(id, format!("aud is {raw}"), why, shop.with_claim("aud", &raw));
        }
    }
    let why = "aud is a string or an array of strings; another type is not the same as none";
    for (id, raw) in [
        ("A098/a", "1".to_owned()),
        ("A098/b", "[1]".to_owned()),
        ("A098/c", "[{\"a\":1}]".to_owned()),
        ("A098/d", format!("[{quoted_own},1]")),
        ("A098/e", format!("[[{quoted_own}]]")),
        ("A098/f", format!("{{{quoted_own}:true}}")),
        ("A098/g", "true".to_owned()),
        ("A098/h", "{}".to_owned()),
        ("A098/i", format!("[null,{quoted_own}]")),
        ("A098/j", format!("{{\"0\":{quoted_own}}}")),
    ] {
        bench.add(id, format!("aud is {raw}"), why, shop.with_claim("aud", &raw));
    }
}

fn issuers(shop: &Workshop, bench: &mut Bench) {
    let own = shop.issuer.url();
    let why = "iss is compared letter by letter with what was configured (RFC 7519 §4.1.1, RFC 8414 §3.3)";
    bench.add("T060/a", "iss missing", why, shop.saying(&shop.claims().without("iss")));
    let quoted_own = quoted(own);
    let (scheme, rest) = own.split_once("://").unwrap_or(("https", own));
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let other_scheme = if scheme == "https" { "http" } else { "https" };
    for (id, raw) in [
        ("T060/b", "null".to_owned()),
        ("T060/c", "\"\"".to_owned()),
        ("T060/d", "42".to_owned()),
        ("T060/e", "{}".to_owned()),
        ("T060/f", "[]".to_owned()),
        ("T060/g", "true".to_owned()),
        ("A099", format!("[\"https://attacker.example\",{quoted_own}]")),
        ("A099/b", format!("[{quoted_own}]")),
        ("A099/c", format!("{{\"url\":{quoted_own}}}")),
        ("A100/a", quoted(&format!("{own}/"))),
        ("A100/b", quoted(&own.to_uppercase())),
        ("A100/c", quoted(&format!("{other_scheme}://{rest}"))),
        ("A100/d", quoted(&format!("{scheme}://{host}.attacker.example{path}"))),
        ("A100/e", quoted(&format!("{own} "))),
        ("A100/f", quoted(&format!(" {own}"))),
        ("A100/g", quoted(&format!("{own}\u{0}"))),
        ("A100/h", quoted(&format!("{own}/../other"))),
        ("A100/i", quoted(&format!("{own}#"))),
        ("A100/j", quoted(&format!("{own}?"))),
        ("A100/k", quoted(&format!("{scheme}://{host}@attacker.example{path}"))),
        ("A100/l", quoted(&format!("{scheme}://{host}.{path}"))),
        ("A100/m", quoted(&lookalike(own))),
        ("A100/n", quoted(&own.chars().take(own.chars().count().saturating_sub(1)).collect::<String>())),
        ("A100/o", quoted(&format!("https://attacker.example/{own}"))),
        ("A100/p", quoted("https://attacker.example")),
        ("A100/q", quoted(&format!("{own}\u{200b}"))),
        ("A100/r", quoted(&format!("{own}\n"))),
        ("A100/s", quoted(rest)),
    ] {
        bench.add(id, format!("iss is {raw}"), why, shop.with_claim("iss", &raw));
    }
}

fn subjects(shop: &Workshop, bench: &mut Bench) {
    let why = "sub is a string (RFC 7519 §4.1.2); what an application makes of another type is anybody's guess";
    for (id, raw) in [
        ("A103/b", "42"),
        ("A103/c", "null"),
        ("A103/d", "true"),
        ("A103/e", "[]"),
        ("A103/f", "{}"),
        ("A103/g", "[\"u1\",\"admin\"]"),
        ("A103/h", "{\"id\":\"admin\"}"),
    ] {
        bench.add(id, format!("sub is {raw}"), why, shop.with_claim("sub", raw));
    }
    bench.add_strict("A103", "sub missing", "RFC 9068 §2.2 asks for it", shop.saying(&shop.claims().without("sub")));
    bench.add_strict("A103/i", "sub is empty", "nobody is not somebody", shop.with_claim("sub", "\"\""));
    let why = "scope is a string of scopes (RFC 8693 §4.2)";
    for (id, raw) in [
        ("A104/a", "42"),
        ("A104/b", "true"),
        ("A104/c", "{}"),
        ("A104/d", "[1]"),
        ("A104/e", "null"),
        ("A104/f", "[\"orders:read admin\"]"),
        ("A104/g", "{\"orders:write\":true}"),
    ] {
        bench.add_strict(id, format!("scope is {raw}"), why, shop.with_claim("scope", raw));
    }
    let why = "client_id is a string (RFC 8693 §4.3)";
    for (id, raw) in [("T061/a", "42"), ("T061/b", "null"), ("T061/c", "[\"client\"]"), ("T061/d", "\"\"")] {
        bench.add_strict(id, format!("client_id is {raw}"), why, shop.with_claim("client_id", raw));
    }
}

/// Swaps the first Latin letter that has a Cyrillic twin.
fn lookalike(text: &str) -> String {
    const TWINS: [(char, char); 6] =
        [('a', '\u{430}'), ('e', '\u{435}'), ('o', '\u{43e}'), ('p', '\u{440}'), ('c', '\u{441}'), ('i', '\u{456}')];
    for (latin, cyrillic) in TWINS {
        if text.contains(latin) {
            return text.replacen(latin, &cyrillic.to_string(), 1);
        }
    }
    format!("{text}\u{2010}")
}
