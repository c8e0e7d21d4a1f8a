use super::workshop::{Bench, Members, Workshop, quoted};
use super::{HostileGroup, HostileToken};

pub(super) fn tokens(shop: &Workshop) -> Vec<HostileToken> {
    let mut bench = Bench::new(HostileGroup::Kind);
    types(shop, &mut bench);
    other_tokens(shop, &mut bench);
    bound(shop, &mut bench);
    bench.done()
}

/// Good claims under a `typ` that is not an access token's.
fn types(shop: &Workshop, bench: &mut Bench) {
    let why = "a token made for one purpose must not serve another (RFC 8725 §3.11)";
    for (id, typ) in [
        ("A084/a", "logout+jwt"),
        ("A084/b", "dpop+jwt"),
        ("A084/c", "secevent+jwt"),
        ("A084/d", "token-introspection+jwt"),
        ("A084/e", "oauth-authz-req+jwt"),
        ("A084/f", "kb+jwt"),
        ("A084/g", "id_token+jwt"),
        ("A084/h", "refresh+jwt"),
        ("A084/i", "client-authentication+jwt"),
        ("A084/j", "application/logout+jwt"),
        ("A084/k", "at+jwt\u{0}"),
        ("A084/l", "at+jwt, logout+jwt"),
        ("A084/m", "xat+jwt"),
        ("A084/n", "at+jwts"),
    ] {
        bench.add(id, format!("typ {typ:?}"), why, shop.with_header("typ", &quoted(typ)));
    }
    for (id, raw) in [
        ("A084/o", "\"\""),
        ("A084/p", "\"at+jwt \""),
        ("A084/q", "\"at+jwt;charset=utf-8\""),
        ("A084/r", "\"application/application/at+jwt\""),
        ("A084/s", "\"JOSE\""),
        ("A084/t", "\"text/at+jwt\""),
    ] {
        bench.add_strict(id, format!("typ {raw}"), why, shop.with_header("typ", raw));
    }
    let why = "`typ` is a string (RFC 7515 §4.1.9)";
    for (id, raw) in
        [("T070/a", "42"), ("T070/b", "null"), ("T070/c", "[\"at+jwt\"]"), ("T070/d", "{}"), ("T070/e", "true")]
    {
        bench.add(id, format!("typ is {raw}"), why, shop.with_header("typ", raw));
    }
    let why = "RFC 9068 §4 asks for at+jwt; what only says JWT could be any token";
    bench.add_strict("T071/a", "typ JWT", why, shop.with_header("typ", "\"JWT\""));
    bench.add_strict("T071/b", "no typ", why, shop.under(&shop.header().without("typ")));
}

/// Tokens of another kind, as providers write them: `typ` `JWT` and telling claims.
fn other_tokens(shop: &Workshop, bench: &mut Bench) {
    let jwt = shop.header().with("typ", "\"JWT\"");
    let sign = |claims: &Members| shop.sign(jwt.text(), claims.text());
    let why = "an ID token tells the client who logged in; it grants nothing (OpenID Connect Core §2)";
    let id_token = shop
        .claims()
        .without("scope")
        .without("client_id")
        .with("azp", "\"client\"")
        .with("nonce", "\"n-0S6_WzA2Mj\"")
        .with("at_hash", "\"77QmUPtjPfzWtF2AnpK9RQ\"")
        .with("auth_time", shop.now.to_string());
    bench.add("A106/a", "ID token, for the client", why, sign(&id_token.clone().with("aud", "\"client\"")));
    bench.add("A106/b", "ID token, for this audience", why, sign(&id_token.clone()));
    let keycloak = id_token.clone().with("typ", "\"ID\"");
    bench.add("A106/c", "ID token as Keycloak writes it", why, sign(&keycloak));
    let cognito = id_token.with("token_use", "\"id\"");
    bench.add("A106/d", "ID token as Cognito writes it", why, sign(&cognito));
    let why = "a refresh token is for the token endpoint alone, and it lives long";
    let refresh = shop.claims().with("exp", (shop.now + 2_592_000).to_string());
    bench.add("A107/a", "refresh token as Keycloak writes it", why, sign(&refresh.clone().with("typ", "\"Refresh\"")));
    bench.add("A107/b", "offline token as Keycloak writes it", why, sign(&refresh.clone().with("typ", "\"Offline\"")));
    let hs512 = {
        let header = shop.header().with("typ", "\"JWT\"").with("alg", "\"HS512\"").with("kid", "\"realm-secret\"");
        let input = crate::forge::signing_input(header.text(), refresh.with("typ", "\"Refresh\"").text());
        let mac = crate::crypto::hmac_sha512(b"the realm's own secret, unknown to services", input.as_bytes());
        format!("{input}.{}", crate::forge::base64url(mac))
    };
    bench.add("A107/c", "refresh token as Keycloak signs it, HS512", why, hs512);
    let why = "a logout token ends a session and opens nothing (OpenID Connect Back-Channel Logout §2.4)";
    let events = r#"{"http://schemas.openid.net/event/backchannel-logout":{}}"#;
    let logout = shop.claims().without("scope").with("events", events).with("sid", "\"s1\"");
    bench.add(
        "T072/a",
        "logout token",
        why,
        shop.sign(jwt.clone().with("typ", "\"logout+jwt\"").text(), logout.text()),
    );
    bench.add("T072/b", "logout token that says JWT", why, sign(&logout));
    let why = "a proof of possession is the client's own text";
    let proof = shop.claims().with("htm", "\"GET\"").with("htu", "\"https://api.example/orders\"");
    let header = jwt.with("typ", "\"dpop+jwt\"").with("jwk", shop.attacker_jwk().to_string());
    bench.add("T073", "DPoP proof", why, crate::forge::compact(header.text(), proof.text(), &shop.attacker));
}

/// Tokens that are good in the hand of their holder only. They come as plain bearer tokens.
fn bound(shop: &Workshop, bench: &mut Bench) {
    let print = quoted("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    let why = "bound to a key or certificate, and nothing proves that the caller has it (RFC 9449 §7.1, RFC 8705 §3)";
    bench.add("T080/a", "cnf with jkt, no proof", why, shop.with_claim("cnf", &format!("{{\"jkt\":{print}}}")));
    bench.add(
        "T080/b",
        "cnf with x5t#S256, no certificate",
        why,
        shop.with_claim("cnf", &format!("{{\"x5t#S256\":{print}}}")),
    );
    let jwk = shop.attacker_jwk();
    bench.add_strict("T080/c", "cnf with jwk, no proof", why, shop.with_claim("cnf", &format!("{{\"jwk\":{jwk}}}")));
    let why = "who binds a token in a way that is not understood did not mean it to be a bearer token";
    for (id, raw) in [
        ("T081/a", "{\"unheard-of\":\"x\"}"),
        ("T081/b", "{}"),
        ("T081/c", "42"),
        ("T081/d", "\"jkt\""),
        ("T081/e", "null"),
        ("T081/f", "[]"),
        ("T081/g", "{\"jkt\":42}"),
        ("T081/h", "{\"kid\":\"holder\"}"),
    ] {
        bench.add_strict(id, format!("cnf is {raw}"), why, shop.with_claim("cnf", raw));
    }
}
