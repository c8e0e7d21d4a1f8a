//! JWTs do not leave.

use std::sync::Arc;

use sekisho_core::{Authenticate, Credential, FailureKind, Refusal, Reject};
use sekisho_jwt::{Jwt, StatementVerifier, Verifier};
use sekisho_opaque::{
    MemoryReferenceStore, Opaque, OutboundBuilder, OutboundResponse, OutboundSwap, Reference, ReferenceLimits,
    TokenSwap,
};
use sekisho_testkit::{FixedClock, Issuer};
use serde_json::{Value, json};

use crate::support::{AUDIENCE, ISSUER, NOW};

struct House {
    issuer: Issuer,
    store: Arc<MemoryReferenceStore>,
    tokens: Reference,
}

impl House {
    fn new() -> Self {
        Self::with_store(MemoryReferenceStore::default(), false)
    }

    fn with_store(store: MemoryReferenceStore, splits: bool) -> Self {
        let (issuer, store) = (Issuer::new().with_clock(FixedClock::at(NOW)), Arc::new(store));
        let start = Opaque::reference(Arc::clone(&store) as _).verifier(verifier(&issuer)).with_prefix("shop_");
        let tokens = if splits { start.with_split_tokens() } else { start }.build().unwrap();
        Self { issuer, store, tokens }
    }

    fn builder(&self) -> OutboundBuilder {
        let access = verifier(&self.issuer);
        OutboundSwap::builder(self.tokens.clone())
            .json_member("access_token", access.clone())
            .json_member("id_token", self.statements())
            .header("X-Auth-Token", access.clone())
            .cookie("token", access)
    }

    fn statements(&self) -> StatementVerifier {
        let keys = Arc::new(self.issuer.static_keys());
        StatementVerifier::new(ISSUER, "client", keys).unwrap().with_type("JWT").with_absent_type()
    }

    fn access_token(&self) -> String {
        self.issuer.token().audience(AUDIENCE).claim("sid", "s1").sign()
    }

    fn id_token(&self) -> String {
        self.issuer.token().typ("JWT").audience("client").claim("nonce", "n").claim("at_hash", "h").sign()
    }

    async fn restored(&self, handle: &str) -> String {
        self.tokens.to_jwt(Credential::bearer(handle), NOW).await.unwrap().expose().to_owned()
    }
}

fn verifier(issuer: &Issuer) -> Verifier {
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys()).build().unwrap()
}

fn response(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> OutboundResponse {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    OutboundResponse { headers, body: body.into() }
}

fn json_response(body: &Value) -> OutboundResponse {
    response(&[("Content-Type", "application/json")], body.to_string())
}

fn header<'a>(response: &'a OutboundResponse, name: &str) -> Option<&'a str> {
    let found = response.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    found.map(|(_, value)| std::str::from_utf8(value).unwrap())
}

async fn refused(swap: &OutboundSwap, response: OutboundResponse) -> FailureKind {
    match swap.swap(response, NOW).await {
        Ok(response) => panic!("{}", String::from_utf8_lossy(&response.body)),
        Err(failure) => failure.kind(),
    }
}

#[tokio::test]
async fn a_token_response_goes_out_with_handles_and_everything_else_as_it_was() {
    let house = House::new();
    let swap = house.builder().build().unwrap();
    let (access, id) = (house.access_token(), house.id_token());
    let body = format!(
        r#" {{"a\"b":[1, 2.50e1,{{"x":null}}], "access_token":"{access}","token_type":"Bearer","id_token":"{id}","refresh_token":"opaque","expires_in":300}}"#
    );
    let headers = [
        ("Content-Type", "application/json;charset=UTF-8"),
        ("Content-Length", "9999"),
        ("ETag", "\"x\""),
        ("Content-MD5", "x"),
        ("Cache-Control", "no-store"),
    ];
    let out = swap.swap(response(&headers, body), NOW).await.unwrap();
    let seen: Value = serde_json::from_slice(&out.body).unwrap();
    let text = String::from_utf8(out.body.clone()).unwrap();
    assert!(text.starts_with(r#"{"a\"b":[1, 2.50e1,{"x":null}],"#), "{text}");
    assert_eq!(seen["refresh_token"], "opaque");
    assert_eq!(header(&out, "content-length"), Some(out.body.len().to_string().as_str()));
    assert_eq!((header(&out, "etag"), header(&out, "content-md5")), (None, None));
    assert_eq!(header(&out, "cache-control"), Some("no-store"));
    let handle = seen["access_token"].as_str().unwrap();
    assert!(handle.starts_with("shop_") && handle.len() == 48);
    assert_eq!(house.restored(handle).await, access);
    // The handle of an ID token opens no door.
    let id_handle = seen["id_token"].as_str().unwrap();
    assert!(matches!(house.tokens.to_jwt(Credential::bearer(id_handle), NOW).await, Err(Refusal::Reject(_))));
    assert_eq!(house.tokens.revoke_session(ISSUER, "s1", NOW).await.unwrap(), 1);
}

#[tokio::test]
async fn the_handle_of_a_statement_opens_nothing_even_if_the_jwt_would() {
    for splits in [false, true] {
        let house = House::with_store(MemoryReferenceStore::default(), splits);
        let keys = Arc::new(house.issuer.static_keys());
        let lax = StatementVerifier::new(ISSUER, AUDIENCE, keys).unwrap().with_type("at+jwt").with_absent_type();
        let swap = OutboundSwap::builder(house.tokens.clone()).json_member("id_token", lax).build().unwrap();
        let token = house.access_token();
        assert!(verifier(&house.issuer).verify(&token, NOW).await.is_ok(), "it would be taken as it is");
        let out = swap.swap(json_response(&json!({ "id_token": token })), NOW).await.unwrap();
        let seen: Value = serde_json::from_slice(&out.body).unwrap();
        let credential = Credential::bearer(seen["id_token"].as_str().unwrap());
        let tokens = &house.tokens;
        for refusal in [
            tokens.authenticate(credential, NOW).await.err(),
            tokens.authenticate_now(credential, NOW).unwrap().err(),
            tokens.to_jwt(credential, NOW).await.err(),
            tokens.to_jwt_now(credential, NOW).unwrap().err(),
        ] {
            assert!(matches!(refusal, Some(Refusal::Reject(Reject::TokenUse))), "{refusal:?}");
        }
        assert_eq!(tokens.revoke_session(ISSUER, "s1", NOW).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn headers_and_cookies_are_replaced_in_their_own_form() {
    let house = House::new();
    let swap = house.builder().build().unwrap();
    let access = house.access_token();
    let cookie = format!("token={access}; Path=/; HttpOnly; SameSite=Lax");
    let quoted = format!("token=\"{access}\"; Secure");
    let bearer = format!("Bearer {access}");
    let headers = [
        ("set-cookie", "other=1; Path=/"),
        ("Set-Cookie", &cookie),
        ("SET-COOKIE", &quoted),
        ("set-cookie", "token=; Max-Age=0"),
        ("x-auth-token", &bearer),
        ("x-other", "kept"),
    ];
    let out = swap.swap(response(&headers, ""), NOW).await.unwrap();
    let values: Vec<_> = out.headers.iter().map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect();
    assert_eq!(values[0], "other=1; Path=/");
    let handle = values[1].strip_prefix("token=").unwrap().strip_suffix("; Path=/; HttpOnly; SameSite=Lax").unwrap();
    assert_eq!(house.restored(handle).await, access);
    let handle = values[2].strip_prefix("token=").unwrap().strip_suffix("; Secure").unwrap();
    assert_eq!(house.restored(handle).await, access);
    assert_eq!(values[3], "token=; Max-Age=0");
    assert_eq!(house.restored(values[4].strip_prefix("Bearer ").unwrap()).await, access);
    assert_eq!(values[5], "kept");
}

#[tokio::test]
async fn split_tokens_go_out_as_signatures() {
    let house = House::with_store(MemoryReferenceStore::default(), true);
    let swap = house.builder().build().unwrap();
    let access = house.access_token();
    let out = swap.swap(json_response(&json!({ "access_token": access })), NOW).await.unwrap();
    let seen: Value = serde_json::from_slice(&out.body).unwrap();
    assert_eq!(seen["access_token"], format!("shop_{}", access.rsplit('.').next().unwrap()));
    assert_eq!(house.restored(seen["access_token"].as_str().unwrap()).await, access);
}

#[tokio::test]
async fn what_holds_no_jwt_passes_untouched() {
    let house = House::new();
    let swap = house.builder().build().unwrap();
    for (headers, body) in [
        (&[("content-type", "application/json"), ("etag", "\"x\"")][..], r#"{ "access_token" : "opaque", "n": 1 }"#),
        (&[("content-type", "application/json")], r#"{"error":"invalid_grant"}"#),
        (&[("content-type", "application/json")], r#"{"access_token":null,"id_token":7}"#),
        (&[("content-type", "text/html"), ("content-encoding", "identity")], "<p>eyes.on.you</p>"),
        (&[("content-encoding", "gzip")], ""),
        (&[], ""),
        (&[("location", "https://app.example/?code=abc.def.ghi")], ""),
    ] {
        let out = swap.swap(response(headers, body), NOW).await.unwrap();
        let seen: Option<Value> = serde_json::from_slice(&out.body).ok();
        assert_eq!(seen, serde_json::from_str(body).ok());
        if seen.is_none() {
            assert_eq!(out.body, body.as_bytes());
        }
    }
    assert!(house.store.is_empty());
}

#[tokio::test]
async fn a_response_whose_jwt_cannot_be_replaced_is_refused() {
    let house = House::new();
    let swap = house.builder().build().unwrap();
    let access = house.access_token();
    let escaped: String = access.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let stranger = Issuer::new().with_clock(FixedClock::at(NOW)).token().audience(AUDIENCE).sign();
    let json = "application/json";
    for (what, response) in [
        ("of a stranger", json_response(&json!({ "access_token": stranger }))),
        ("for another audience", json_response(&json!({ "access_token": house.issuer.token().audience("x").sign() }))),
        ("an ID token as access token", json_response(&json!({ "access_token": house.id_token() }))),
        ("an access token as ID token", json_response(&json!({ "id_token": access }))),
        ("a member that nobody named", json_response(&json!({ "refresh_token": access }))),
        ("deeper inside", json_response(&json!({ "data": { "access_token": access } }))),
        ("in a list", json_response(&json!({ "access_token": [access] }))),
        ("behind text", json_response(&json!({ "access_token": format!("x {access}") }))),
        ("in another letter case", json_response(&json!({ "Access_Token": access }))),
        ("a list at the top", response(&[("content-type", json)], json!([access]).to_string())),
        ("behind escapes", response(&[("content-type", json)], format!(r#"{{"other":"{escaped}"}}"#))),
        ("behind escapes, no JSON type", response(&[], format!(r#"["{escaped}"]"#))),
        ("twice", response(&[("content-type", json)], format!(r#"{{"access_token":"a","access_token":"{access}"}}"#))),
        ("no JSON", response(&[("content-type", json)], "{\"access_token\":")),
        ("in a page", response(&[("content-type", "text/html")], format!("<input value='{access}'>"))),
        (
            "in a form",
            response(&[("content-type", "application/x-www-form-urlencoded")], format!("access_token={access}")),
        ),
        ("in a location", response(&[("location", &format!("https://app.example/#access_token={access}"))], "")),
        ("in another cookie", response(&[("set-cookie", &format!("session={access}"))], "")),
        ("in an attribute", response(&[("set-cookie", &format!("token=a; Path={access}"))], "")),
        ("in another header", response(&[("authorization", &format!("Bearer {access}"))], "")),
        ("compressed", response(&[("content-type", json), ("content-encoding", "gzip")], "\u{1f}\u{8b}")),
        ("in another charset", response(&[("content-type", "application/json; charset=utf-16")], "x")),
        ("too large", response(&[], vec![b' '; (1 << 20) + 1])),
    ] {
        assert_eq!(refused(&swap, response).await, FailureKind::BadGateway, "{what}");
    }
    assert!(house.store.is_empty(), "no handle without a verified JWT");
}

#[tokio::test]
async fn a_store_that_cannot_keep_it_stops_the_response() {
    let full = MemoryReferenceStore::with_limits({
        let mut limits = ReferenceLimits::default();
        limits.records = 0;
        limits
    });
    let house = House::with_store(full, false);
    let swap = house.builder().build().unwrap();
    let response = json_response(&json!({ "access_token": house.access_token() }));
    assert_eq!(refused(&swap, response).await, FailureKind::Unavailable);
}

#[tokio::test]
async fn a_jwt_that_nobody_here_can_verify_may_be_dropped() {
    let house = House::new();
    let refresh = Issuer::new().token().sign();
    let body = json!({ "access_token": house.access_token(), "refresh_token": refresh });
    assert_eq!(refused(&house.builder().build().unwrap(), json_response(&body)).await, FailureKind::BadGateway);
    let swap = house.builder().drop_json_member("refresh_token").build().unwrap();
    let out = swap.swap(json_response(&body), NOW).await.unwrap();
    let seen: Value = serde_json::from_slice(&out.body).unwrap();
    assert_eq!(seen.as_object().unwrap().len(), 1);
    let only = swap.swap(json_response(&json!({ "refresh_token": refresh })), NOW).await.unwrap();
    assert_eq!(only.body, b"{}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let house = House::new();
    let access = || verifier(&house.issuer);
    let start = || OutboundSwap::builder(house.tokens.clone());
    assert!(start().build().is_err());
    assert!(start().drop_json_member("x").build().is_err());
    assert!(start().json_member("a", access()).json_member("a", access()).build().is_err());
    assert!(start().header("X-A", access()).header("x-a", access()).build().is_err());
    assert!(start().header("Set-Cookie", access()).build().is_err());
    assert!(start().cookie("", access()).build().is_err());
    assert!(start().cookie("a", access()).json_member("a", access()).build().is_ok());
    let store = Arc::new(MemoryReferenceStore::default());
    let claims = Opaque::reference(store).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    assert!(OutboundSwap::builder(claims).json_member("a", access()).build().is_err());
}

#[tokio::test]
async fn debug_shows_no_token() {
    let house = House::new();
    let access = house.access_token();
    let response = response(&[("x-auth-token", &access)], access.clone());
    let shown = format!("{response:?} {:?} {:?}", house.builder(), house.builder().build().unwrap());
    assert!(!shown.contains(&access[..20]), "{shown}");
}
