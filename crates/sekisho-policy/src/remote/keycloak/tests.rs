use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Confirmation, Effect, UnixSeconds};

use super::*;

const REALM: &str = "https://id.example/realms/shop";
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const TOKEN: &str = "eyJh.eyJi.c2ln";

fn builder() -> KeycloakBuilder {
    Keycloak::realm(REALM, "orders-api").with_backend(backend())
}

fn backend() -> Backend {
    #[cfg(feature = "aws-lc-rs")]
    return Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    return Backend::ring();
}

fn alice() -> PrincipalBuilder {
    PrincipalBuilder::new(REALM, "alice").with_expiry(UnixSeconds::new(NOW.as_secs() + 60))
}

fn kept(principal: PrincipalBuilder) -> Principal {
    token::kept(&principal.build().unwrap(), TOKEN)
}

fn request<'a>(caller: &'a Principal, action: &'a str, id: &'a str) -> AccessRequest<'a> {
    AccessRequest::new(caller, action, Resource::new("order", id), NOW)
}

fn response(status: u16, body: &str) -> HttpResponse {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpResponse { status, headers, body: body.as_bytes().to_vec() }
}

async fn form(keycloak: &Keycloak, request: &AccessRequest<'_>) -> (HttpRequest, Vec<(String, String)>) {
    let http = keycloak.ask(request).await.unwrap();
    let form = url::form_urlencoded::parse(&http.body).into_owned().collect();
    (http, form)
}

fn get<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut found = form.iter().filter(|(key, _)| key == name);
    let one = found.next().map(|(_, value)| &**value);
    assert!(found.next().is_none(), "{name} twice");
    one
}

#[tokio::test]
async fn asks_one_permission_in_the_callers_name() {
    let (keycloak, caller) = (builder().build().unwrap(), kept(alice()));
    let (http, form) = form(&keycloak, &request(&caller, "read", "4 2&x=y")).await;
    assert_eq!(http.url, format!("{REALM}/protocol/openid-connect/token"));
    assert!(http.headers.contains(&("authorization", format!("Bearer {TOKEN}"))));
    assert_eq!(get(&form, "grant_type"), Some("urn:ietf:params:oauth:grant-type:uma-ticket"));
    assert_eq!(get(&form, "permission"), Some("order:4 2&x=y#read"));
    assert_eq!((get(&form, "audience"), get(&form, "response_mode")), (Some("orders-api"), Some("decision")));
    assert_eq!((get(&form, "subject_token"), get(&form, "claim_token"), form.len()), (None, None, 4));
    assert!(!format!("{http:?} {keycloak:?}").contains("eyJ"));
}

#[tokio::test]
async fn a_client_authenticates_and_hands_the_callers_token_over_with_what_is_pushed() {
    let keycloak = builder().with_client(ClientCredentials::post("orders-api", "hunter2")).with_pushed_claims(["ip"]);
    let (keycloak, caller) = (keycloak.build().unwrap(), kept(alice()));
    let context = JsonObject::parse(br#"{"ip":"192.0.2.1","secret":"x"}"#.to_vec()).unwrap();
    let (http, form) = form(&keycloak, &request(&caller, "read", "42").with_context(&context)).await;
    assert!(http.headers.iter().all(|(name, _)| *name != "authorization"));
    assert_eq!((get(&form, "client_secret"), get(&form, "subject_token")), (Some("hunter2"), Some(TOKEN)));
    let pushed = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(get(&form, "claim_token").unwrap()).unwrap();
    assert_eq!(pushed, br#"{"ip":["192.0.2.1"]}"#);
    assert_eq!(get(&form, "claim_token_format"), Some("urn:ietf:params:oauth:token-type:jwt"));
    assert!(!format!("{keycloak:?}").contains("hunter2"));
}

/// Whatever is settled without Keycloak is not sent either, should somebody forget to look.
#[tokio::test]
async fn what_must_not_be_asked_is_not_asked() {
    let keycloak = builder().build().unwrap();
    let (caller, stranger) = (kept(alice()), kept(PrincipalBuilder::new("https://id.example/realms/other", "alice")));
    for (who, action, id) in [
        (&caller, "read", "42,43"),
        (&caller, "read", "42#write,"),
        (&caller, "read,write", "42"),
        (&caller, "", "42"),
        (&caller, "read", "4\n2"),
        (&stranger, "read", "42"),
    ] {
        let request = request(who, action, id);
        let decision = keycloak.answer_now(&request).unwrap().unwrap();
        assert!(matches!(decision.denial(), Some(Denial::Forbidden { .. })), "{action:?} {id:?}");
        assert!(keycloak.ask(&request).await.is_err(), "{action:?} {id:?}");
        assert!(keycloak.read_for(&request, &response(200, r#"{"result":true}"#)).is_err(), "{action:?} {id:?}");
    }
    let other_kind = AccessRequest::new(&caller, "read", Resource::new("order:4", "2"), NOW);
    assert_eq!(keycloak.answer_now(&other_kind).unwrap().unwrap().effect(), Effect::Deny);
}

#[tokio::test]
async fn names_that_are_not_keycloaks_are_not_its_business() {
    let keycloak =
        builder().with_resource_name(|r| (r.kind() != "order").then(|| r.kind().to_owned())).build().unwrap();
    let caller = kept(alice());
    let decision = keycloak.answer_now(&request(&caller, "read", "42")).unwrap().unwrap();
    assert_eq!(decision.effect(), Effect::NotApplicable);
    let keycloak = builder().with_scope_name(|action| (action == "read").then(|| "view".to_owned())).build().unwrap();
    assert!(!keycloak.answer_now(&request(&caller, "write", "42")).unwrap().unwrap().is_permitted());
    let (_, form) = form(&keycloak, &request(&caller, "read", "42")).await;
    assert_eq!(get(&form, "permission"), Some("order:42#view"));
}

#[tokio::test]
async fn a_token_that_is_not_kept_or_is_bound_is_a_failure_of_ours() {
    let keycloak = builder().build().unwrap();
    let bare = alice().build().unwrap();
    let bound = kept(alice().with_confirmation(Confirmation::KeyThumbprint("thumb".into())));
    for who in [&bare, &bound] {
        let request = request(who, "read", "42");
        assert_eq!(keycloak.answer_now(&request).unwrap().unwrap_err().kind(), FailureKind::Misconfigured);
        assert!(keycloak.ask(&request).await.is_err());
    }
    let client = builder().with_client(ClientCredentials::basic("orders-api", "x")).build().unwrap();
    assert!(client.answer_now(&request(&bare, "read", "42")).unwrap().is_err());
    assert!(client.answer_now(&request(&bound, "read", "42")).is_none());
}

#[test]
fn a_denial_names_the_scope_that_is_lacking_if_it_can_be_written() {
    let caller = kept(alice());
    let request = request(&caller, "read", "42");
    let denied = response(403, r#"{"error":"access_denied"}"#);
    let scope = |builder: KeycloakBuilder| match builder.build().unwrap().read_for(&request, &denied).unwrap().denial()
    {
        Some(Denial::InsufficientScope { scope }) => Some(scope.to_string()),
        _ => None,
    };
    assert_eq!(scope(builder()).as_deref(), Some("read"));
    assert_eq!(
        scope(builder().with_challenge_scope(|r, s| Some(format!("{}s:{s}", r.kind())))).as_deref(),
        Some("orders:read")
    );
    assert_eq!(scope(builder().with_challenge_scope(|_, _| None)), None);
    for unwritable in ["", "a\"b", "a\\b", "ä", "a\nb"] {
        assert_eq!(
            scope(builder().with_challenge_scope(move |_, _| Some(unwritable.to_owned()))),
            None,
            "{unwritable}"
        );
    }
}

#[test]
fn answers_other_than_a_denial_name_no_scope() {
    let (keycloak, caller) = (builder().build().unwrap(), kept(alice()));
    let request = request(&caller, "read", "42");
    for error in ["invalid_resource", "invalid_scope"] {
        let decision = keycloak.read_for(&request, &response(400, &format!(r#"{{"error":"{error}"}}"#))).unwrap();
        assert!(matches!(decision.denial(), Some(Denial::Forbidden { .. })), "{error}");
    }
    assert!(keycloak.read_for(&request, &response(200, r#"{"result":true}"#)).unwrap().is_permitted());
}

#[test]
fn a_token_that_keycloak_does_not_take_any_more_is_refused_as_such_and_a_bound_one_is_not() {
    let client = builder().with_client(ClientCredentials::basic("orders-api", "x")).build().unwrap();
    let (caller, bound) = (kept(alice()), kept(alice().with_confirmation(Confirmation::KeyThumbprint("thumb".into()))));
    for (status, error) in
        [(400, "invalid_grant"), (401, "invalid_grant"), (401, "invalid_token"), (400, "unauthorized_client")]
    {
        let refused = response(status, &format!(r#"{{"error":"{error}"}}"#));
        let decision = client.read_for(&request(&caller, "read", "42"), &refused).unwrap();
        assert_eq!(decision.denial(), Some(&Denial::InvalidToken), "{status} {error}");
        // Which `not` makes no permit of.
        assert!(decision.is_refusal());
        let decision = client.read_for(&request(&bound, "read", "42"), &refused).unwrap();
        assert!(matches!(decision.denial(), Some(Denial::Forbidden { .. })), "{status} {error}");
    }
    // Trouble with our own credentials says nothing of the caller's.
    for (status, error) in [(401, "invalid_client"), (401, "unauthorized_client"), (403, "invalid_grant")] {
        let refused = response(status, &format!(r#"{{"error":"{error}"}}"#));
        assert!(client.read_for(&request(&caller, "read", "42"), &refused).is_err(), "{status} {error}");
    }
}

#[tokio::test]
async fn asked_by_id_only_permissions_of_that_id_count() {
    let by_id = || builder().with_resource_id(|resource| Some(resource.id().to_owned()));
    let caller = kept(alice());
    let read = request(&caller, "read", "id-1");
    for (keycloak, permission) in [
        (by_id().build().unwrap(), "id-1#read"),
        (by_id().with_kept_permissions(KeptPermissions::default()).build().unwrap(), "id-1"),
    ] {
        let (_, form) = form(&keycloak, &read).await;
        // Never by yes and no, of whatever Keycloak has taken it for.
        assert_eq!((get(&form, "permission"), get(&form, "response_mode")), (Some(permission), Some("permissions")));
        let ours = r#"[{"rsid":"id-1","rsname":"orders","scopes":["read"]}]"#;
        assert!(keycloak.read_for(&read, &response(200, ours)).unwrap().is_permitted());
        let others = r#"[{"rsid":"id-2","rsname":"id-1","scopes":["read"]}]"#;
        for answer in [others, r#"{"result":true}"#, r#"[{"rsname":"id-1","scopes":["read"]}]"#, "[]"] {
            assert!(keycloak.read_for(&read, &response(200, answer)).is_err(), "{answer}");
        }
        let bare = response(200, r#"[{"rsid":"id-1","rsname":"orders"}]"#);
        let lacking = keycloak.read_for(&read, &bare).unwrap();
        assert!(matches!(lacking.denial(), Some(Denial::InsufficientScope { .. })));
        let denied = keycloak.read_for(&read, &response(403, r#"{"error":"access_denied"}"#)).unwrap();
        assert!(matches!(denied.denial(), Some(Denial::InsufficientScope { .. })));
    }
    let by_name = builder().with_kept_permissions(KeptPermissions::default()).build().unwrap();
    let of_that_id = response(200, r#"[{"rsid":"order:42","rsname":"exports","scopes":["read"]}]"#);
    assert!(by_name.read_for(&request(&caller, "read", "42"), &of_that_id).is_err());
    assert_eq!(by_name.kept_permissions(), 0);
    // The last one that was said counts.
    let name = by_id().with_resource_name(|resource| Some(resource.kind().to_owned())).build().unwrap();
    let (_, form) = form(&name, &read).await;
    assert_eq!((get(&form, "permission"), get(&form, "response_mode")), (Some("order#read"), Some("decision")));
}

/// A cache may be told that policies look at none of the attributes, and what a resource is called is no policy.
#[test]
fn questions_about_two_resources_or_of_two_deciders_have_different_keys() {
    let by_shop = |resource: Resource<'_>| match resource.attributes()?.attribute("shop")? {
        sekisho_core::Attribute::Json(shop) => Some(format!("{}-orders", shop.as_str()?)),
        _ => None,
    };
    let keycloak = builder().with_resource_name(by_shop).build().unwrap();
    let caller = kept(alice());
    let shop = |name: &str| JsonObject::from_serialize(&serde_json::json!({ "shop": name })).unwrap();
    let (here, there) = (shop("here"), shop("there"));
    let ask = |attributes, action| {
        AccessRequest::new(&caller, action, Resource::new("order", "42").with_attributes(attributes), NOW)
    };
    let key = |keycloak: &Keycloak, attributes, action| keycloak.key_part(&ask(attributes, action)).unwrap();
    assert_ne!(key(&keycloak, &here, "read"), key(&keycloak, &there, "read"));
    assert_eq!(key(&keycloak, &here, "read"), key(&keycloak, &here, "read"));
    let scopes = builder().with_scope_name(|action| action.strip_prefix("v2:").or(Some(action)).map(str::to_owned));
    let scopes = scopes.build().unwrap();
    assert_ne!(key(&scopes, &here, "read"), key(&scopes, &here, "write"));
    // The same settings, and the same question: each has what is its own.
    let (one, other) = (builder().build().unwrap(), builder().build().unwrap());
    assert_ne!(key(&one, &here, "read"), key(&other, &here, "read"));
    assert_eq!(key(&one, &here, "read"), key(&one.clone(), &here, "read"));
}

#[tokio::test]
async fn permissions_are_kept_for_the_token_and_the_resource_they_were_granted_for() {
    let keycloak = builder().with_kept_permissions(KeptPermissions::default()).build().unwrap();
    let caller = kept(alice());
    let read = request(&caller, "read", "42");
    let (_, form) = form(&keycloak, &read).await;
    assert_eq!((get(&form, "permission"), get(&form, "response_mode")), (Some("order:42"), Some("permissions")));
    let granted = response(200, r#"[{"rsid":"1","rsname":"order:42","scopes":["read"]}]"#);
    let decision = keycloak.read_for(&read, &granted).unwrap();
    assert_eq!((decision.is_permitted(), decision.lifetime()), (true, Some(Duration::ZERO)));
    let known = |request: &AccessRequest<'_>| keycloak.answer_now(request).map(|answer| answer.unwrap().is_permitted());
    assert_eq!(known(&read), Some(true));
    assert_eq!(known(&request(&caller, "write", "42")), Some(false));
    assert_eq!(known(&request(&caller, "read", "43")), None);
    // Another token of the same subject may hold less.
    let other = token::kept(&alice().build().unwrap(), "eyJh.eyJi.b3RoZXI");
    assert_eq!(known(&request(&other, "read", "42")), None);
    assert_ne!(keycloak.key_part(&read), keycloak.key_part(&request(&other, "read", "42")));
    assert_eq!(
        known(&AccessRequest::new(&caller, "read", Resource::new("order", "42"), UnixSeconds::new(NOW.as_secs() + 5))),
        None
    );
    // A refused token takes along what was kept for it.
    keycloak.read_for(&read, &response(400, r#"{"error":"invalid_grant"}"#)).unwrap();
    assert_eq!((known(&read), keycloak.kept_permissions()), (None, 0));
    // A scope that the answer does not list is lacking.
    let lacking = keycloak.read_for(&request(&caller, "write", "42"), &granted).unwrap();
    assert!(matches!(lacking.denial(), Some(Denial::InsufficientScope { .. })));
}

#[test]
fn what_was_decided_with_pushed_claims_is_neither_kept_nor_the_same_question_without() {
    let keycloak = builder()
        .with_client(ClientCredentials::basic("orders-api", "x"))
        .with_pushed_claims(["ip"])
        .with_kept_permissions(KeptPermissions::default())
        .build()
        .unwrap();
    let caller = kept(alice());
    let context = |ip: &str| JsonObject::parse(format!(r#"{{"ip":"{ip}"}}"#).into_bytes()).unwrap();
    let (here, there) = (context("192.0.2.1"), context("192.0.2.2"));
    let plain = request(&caller, "read", "42");
    let (at_home, away) = (plain.clone().with_context(&here), plain.clone().with_context(&there));
    assert!(keycloak.read_for(&at_home, &response(200, r#"{"result":true}"#)).unwrap().is_permitted());
    assert_eq!(keycloak.kept_permissions(), 0);
    let parts = [&plain, &at_home, &away].map(|request| keycloak.key_part(request).unwrap());
    assert!(parts[0] != parts[1] && parts[1] != parts[2] && parts[0] != parts[2]);
    let granted = response(200, r#"[{"rsid":"1","rsname":"order:42","scopes":["read"]}]"#);
    assert!(keycloak.read_for(&plain, &granted).unwrap().is_permitted());
    assert!(keycloak.answer_now(&at_home).is_none());
}

#[test]
fn a_requesting_party_token_is_believed_for_its_own_resource_server_and_if_told_so() {
    let permissions = serde_json::json!({ "permissions": [{ "rsid": "1", "rsname": "order:42", "scopes": ["read"] }] });
    let rpt = |audience: serde_json::Value| {
        kept(alice().with_claim("aud", audience).with_claim("authorization", permissions.clone()))
    };
    let believing = builder().with_permissions_in_token().build().unwrap();
    let (ours, other) = (rpt("orders-api".into()), rpt("billing-api".into()));
    let both = rpt(serde_json::json!(["orders-api", "billing-api"]));
    assert!(believing.answer_now(&request(&ours, "read", "42")).unwrap().unwrap().is_permitted());
    for (who, action, id) in
        [(&ours, "write", "42"), (&ours, "read", "43"), (&other, "read", "42"), (&both, "read", "42")]
    {
        assert!(believing.answer_now(&request(who, action, id)).is_none(), "{action} {id}");
    }
    assert!(builder().build().unwrap().answer_now(&request(&ours, "read", "42")).is_none());
}

#[test]
fn refuses_a_configuration_that_cannot_work() {
    for (what, bad) in [
        ("no URL", Keycloak::realm("realms/shop", "orders-api")),
        ("plain http", Keycloak::realm("http://id.example/realms/shop", "orders-api")),
        ("endpoint", builder().with_token_endpoint("http://id.example/token")),
        ("no resource server", Keycloak::realm(REALM, "")),
        ("control character", Keycloak::realm(REALM, "orders\napi")),
        ("bearer", builder().with_client(ClientCredentials::bearer("token"))),
        ("empty secret", builder().with_client(ClientCredentials::basic("orders-api", ""))),
        ("pushed by nobody", builder().with_pushed_claims(["ip"])),
        ("bounds", builder().with_kept_permissions(KeptPermissions::default().with_bounds(0, 0))),
    ] {
        assert!(bad.build().is_err(), "{what}");
    }
    let client = || builder().with_client(ClientCredentials::basic("orders-api", "x"));
    assert!(client().with_pushed_claims([""]).build().is_err());
    assert!(client().with_pushed_claims((0..17).map(|number| number.to_string())).build().is_err());
}
