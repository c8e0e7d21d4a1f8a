use std::fmt;

use sekisho_jwks::Algorithm;

use super::HostileContext;
use super::workshop::{Members, Workshop, quoted};

/// Is a token that a verifier must take, at the edge of what it might refuse.
#[derive(Clone)]
pub struct HonestToken {
    /// Names the case for ever: `A…` as in the project's list of attack cases, `H…` for the kit's own.
    pub id: &'static str,
    /// Says in a few words what is unusual about it.
    pub name: &'static str,
    /// Says which rule asks for taking it.
    pub why: &'static str,
    /// The token.
    pub token: String,
}

impl fmt::Debug for HonestToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HonestToken({} {}, {} bytes)", self.id, self.name, self.token.len())
    }
}

/// Makes tokens that a verifier must take: whoever refuses them is strict in the wrong place.
///
/// All are access tokens by RFC 9068 for the context's issuer and audience, subject `u1` unless the name says otherwise.
/// Those that live by the leeway are left out when the context has none.
pub fn honest_tokens(context: &HostileContext) -> impl Iterator<Item = HonestToken> + use<> {
    let shop = Workshop::new(context);
    let mut bench = Vec::new();
    headers(&shop, &mut bench);
    times(&shop, &mut bench);
    claims(&shop, &mut bench);
    texts(&shop, &mut bench);
    bench.into_iter()
}

type Bench = Vec<HonestToken>;

fn add(bench: &mut Bench, id: &'static str, name: &'static str, why: &'static str, token: String) {
    bench.push(HonestToken { id, name, why, token });
}

fn headers(shop: &Workshop, bench: &mut Bench) {
    add(bench, "H001", "nothing unusual", "RFC 9068 §2", shop.honest());
    let why = "one key fits, so there is nothing to choose (RFC 7515 §4.1.4)";
    add(bench, "A052", "no kid, and one key fits", why, shop.under(&shop.header().without("kid")));
    let why =
        "`application/` may stand or be left out, and letter case does not count (RFC 7515 §4.1.9, RFC 2045 §5.1)";
    for (id, name, raw) in [
        ("H002/a", "typ application/at+jwt", "\"application/at+jwt\""),
        ("H002/b", "typ AT+JWT", "\"AT+JWT\""),
        ("H002/c", "typ Application/At+Jwt", "\"Application/At+Jwt\""),
        ("H002/d", "typ with an escape", "\"at\\u002bjwt\""),
    ] {
        add(bench, id, name, why, shop.with_header("typ", raw));
    }
    let why = "header members that are not understood are ignored (RFC 7515 §4)";
    let unknown = shop.header().with("x-unknown", "{\"deep\":[1,null,{\"a\":\"b\"}]}").with("nothing", "null");
    add(bench, "H003", "unknown header members", why, shop.under(&unknown));
    let why = "members have no order (RFC 8259 §4)";
    let alg = quoted(shop.key.algorithm().name());
    let last = shop.header().without("alg").and("alg", alg);
    add(bench, "H004", "alg is the last member", why, shop.under(&last));
    let print = quoted("dGhlIHRodW1icHJpbnQgb2YgYSBjZXJ0aWZpY2F0ZQ");
    let hinted = shop.header().with("x5t#S256", print).with("jku", quoted(&format!("{}/jwks", shop.issuer.url())));
    add(
        bench,
        "H005",
        "x5t#S256 and jku, which nobody needs",
        "RFC 7515 §4.1.2: optional, and ignored",
        shop.under(&hinted),
    );
    if shop.key.algorithm() == Algorithm::Ed25519 {
        let why = "RFC 9864 §2.2 gives EdDSA with Ed25519 this name, too";
        add(bench, "H006", "alg Ed25519", why, shop.with_header("alg", "\"Ed25519\""));
    }
}

fn times(shop: &Workshop, bench: &mut Bench) {
    let now = shop.now;
    let exp = |raw: String| shop.with_claim("exp", &raw);
    let why = "a NumericDate is any JSON number, also one with a fraction or an exponent (RFC 7519 §2)";
    add(bench, "A089/y", "exp with a fraction", why, exp(format!("{}.5", now + 300)));
    add(bench, "H010/a", "exp with the fraction zero", why, exp(format!("{}.0", now + 300)));
    add(bench, "H010/b", "exp with an exponent", why, exp(format!("{}e2", now / 100 + 10)));
    let whole = format!("{}.25", now.saturating_sub(5));
    let fractions = shop.claims().with("iat", whole.clone()).with("nbf", whole);
    add(bench, "H010/c", "iat and nbf with fractions", why, shop.saying(&fractions));
    let why = "it lives until the instant of exp (RFC 7519 §4.1.4)";
    add(bench, "A091/y", "exp in a second", why, exp((now + 1).to_string()));
    add(bench, "H011", "exp in ten years", "nothing bounds it", exp((now + 315_360_000).to_string()));
    let why = "it lives from the instant of nbf (RFC 7519 §4.1.5)";
    add(bench, "H012/a", "nbf is now", why, shop.with_claim("nbf", &now.to_string()));
    add(bench, "H012/b", "nbf is 0", why, shop.with_claim("nbf", "0"));
    add(bench, "H013/a", "iat is now", "it was issued", shop.with_claim("iat", &now.to_string()));
    add(
        bench,
        "H013/b",
        "iat a year ago",
        "age alone is not checked",
        shop.with_claim("iat", &now.saturating_sub(31_536_000).to_string()),
    );
    if shop.leeway > 0 {
        let why = "clocks differ, and the leeway makes up for it (RFC 7519 §4.1.4 and §4.1.5)";
        let late = now.saturating_sub(shop.leeway - 1);
        add(bench, "A091/z", "exp almost a leeway ago", why, exp(late.to_string()));
        let early = (now + shop.leeway).to_string();
        add(bench, "A092/z", "nbf in a leeway", why, shop.with_claim("nbf", &early));
        add(bench, "A093/z", "iat in a leeway", why, shop.with_claim("iat", &early));
    }
}

fn claims(shop: &Workshop, bench: &mut Bench) {
    let own = quoted(&shop.audience);
    let why = "aud may be an array, and one match is enough (RFC 7519 §4.1.3)";
    for (id, name, raw) in [
        ("A096/a", "aud is an array of one", format!("[{own}]")),
        ("A096/b", "aud is an array, ours first", format!("[{own},\"elsewhere\"]")),
        ("A096/c", "aud is an array, ours last", format!("[\"elsewhere\",\"nowhere\",{own}]")),
        ("A096/d", "aud is an array, ours twice", format!("[{own},{own}]")),
    ] {
        add(bench, id, name, why, shop.with_claim("aud", &raw));
    }
    let many: Vec<String> = (0..40).map(|n| quoted(&format!("service-{n}"))).chain([own]).collect();
    add(bench, "A096/e", "aud is an array of 41", why, shop.with_claim("aud", &format!("[{}]", many.join(","))));
    let why = "claims that are not understood are ignored (RFC 7519 §4)";
    let unknown = shop
        .claims()
        .with("https://vendor.example/x", "{\"a\":[1,2.5e-3,true,null,\"\"],\"b\":{\"c\":{}}}")
        .with("nothing", "null")
        .with("big", "123456789012345678901234567890")
        .with("", "\"no name\"");
    add(bench, "H020", "unknown claims of every type", why, shop.saying(&unknown));
    let nested = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
    add(bench, "H021", "a claim nested 20 deep", why, shop.with_claim("deep", &nested));
    let apart = shop.claims().with("a", "{\"exp\":1,\"iss\":\"x\"}").with("b", "[{\"aud\":1},{\"aud\":2}]");
    add(
        bench,
        "H022",
        "names of claims inside other claims",
        "a member belongs to its own object",
        shop.saying(&apart),
    );
    let why = "the scope is absent, empty, an array or called scp, as providers have it";
    let bare = shop.claims().without("scope");
    add(bench, "H023/a", "no scope", why, shop.saying(&bare));
    add(bench, "H023/b", "scope is empty", why, shop.with_claim("scope", "\"\""));
    add(bench, "H023/c", "scope is an array", why, shop.with_claim("scope", "[\"orders:read\",\"x\"]"));
    add(bench, "H023/d", "scp in place of scope", why, shop.saying(&bare.clone().with("scp", "\"orders:read\"")));
    add(bench, "H023/e", "scp is an array", why, shop.saying(&bare.with("scp", "[\"orders:read\"]")));
    let why = "sub is any text (RFC 7519 §4.1.2)";
    for (id, name, raw) in [
        ("H024/a", "sub in Japanese", quoted("\u{95a2}\u{6240}")),
        ("H024/b", "sub with escapes", "\"\\u0075\\u0031\\n\\ud83d\\ude00\"".to_owned()),
        ("H024/c", "sub is a URL", quoted("https://people.example/u1?x=y#z")),
        ("H024/d", "sub looks like a number", quoted("42")),
    ] {
        add(bench, id, name, why, shop.with_claim("sub", &raw));
    }
}

fn texts(shop: &Workshop, bench: &mut Bench) {
    let pretty = |members: &Members| members.text().replace(",\"", ",\r\n\t \"").replace("\":", "\" : ");
    let why = "white space between tokens of JSON means nothing (RFC 8259 §2)";
    let token = shop.sign(pretty(&shop.header()), format!("\n {}\n", pretty(&shop.claims())));
    add(bench, "H030", "white space in header and claims", why, token);
    let why = "an escaped name is the same name (RFC 8259 §8.3)";
    let escaped = shop.claims().without("aud").and("a\\u0075d", quoted(&shop.audience));
    add(bench, "H031/a", "the name aud with an escape", why, shop.saying(&escaped));
    let kid = quoted(shop.key.kid());
    let escaped = shop.header().without("kid").and("\\u006bid", kid);
    add(bench, "H031/b", "the name kid with an escape", why, shop.under(&escaped));
    let why = "below the limit of 8 KiB";
    add(bench, "H032", "a token of more than 7 KiB", why, shop.with_claim("x", &quoted(&"x".repeat(4_800))));
}
