#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use sekisho_core::{Failure, Principal, UnixSeconds};
use sekisho_testkit::FakeAuthenticator;

use super::*;

const GOOD: &str = r#"trusted_proxies = ["10.0.0.0/8", "::1"]

[identity]
subject = "X-Auth-Subject"
scope = "X-Auth-Scope"

[limits]
header_bytes = 16384
body_bytes = 1048576

[timeouts]
response_ms = 5000

[credentials.shop]
kind = "jwt"
issuer = "https://id.example/realms/shop"
audiences = ["orders"]
profile = "keycloak"
cookie = "__Host-token"

[credentials.api]
kind = "aws_http_api"
issuer = "https://id.example/"
audiences = ["api"]

[credentials.opaque]
kind = "introspection"
endpoint = "https://id.example/introspect"
issuer = "https://id.example/"
audiences = ["orders"]
client_id = "gateway"
client_secret = { env = "CLIENT_SECRET" }

[upstreams.orders]
url = "http://127.0.0.1:9000"

[[routes]]
path = "/health"
upstream = "orders"
access = "public"

[[routes]]
path = "/orders/*"
methods = ["POST"]
upstream = "orders"
credentials = "shop"
scopes = ["orders:write"]
roles = ["clerk"]

[[routes]]
path = "/api/*"
upstream = "orders"
credentials = "api"
any_scope = ["a", "b"]
token = "as_is"

[[routes]]
path = "/opaque/*"
host = "api.example"
upstream = "orders"
credentials = "opaque"
token = "swap"
max_body_bytes = 1000
"#;

#[derive(Default)]
struct Fake(AtomicUsize);

#[derive(Debug)]
struct NoSwap;

#[async_trait::async_trait]
impl TokenSwap for NoSwap {
    fn swap_now(
        &self,
        _: sekisho_core::Credential<'_>,
        _: &sekisho_core::Principal,
        _: sekisho_core::UnixSeconds,
    ) -> Option<Result<Secret, sekisho_core::Refusal>> {
        Some(Ok(Secret::from("inner")))
    }

    async fn swap(
        &self,
        _: sekisho_core::Credential<'_>,
        _: &sekisho_core::Principal,
        _: sekisho_core::UnixSeconds,
    ) -> Result<Secret, sekisho_core::Refusal> {
        Ok(Secret::from("inner"))
    }
}

impl MakeIntrospection for Fake {
    fn make(&self, settings: &IntrospectionSettings, _: &ConfigContext) -> Result<Introspection, ConfigError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        if settings.client_secret != Secret::from("hush") {
            return Err(ConfigError::new("another secret"));
        }
        Ok(Introspection { authenticator: Arc::new(FakeAuthenticator), swap: Some(Arc::new(NoSwap)) })
    }
}

fn context() -> ConfigContext {
    ConfigContext::default()
        .with_environment(|name| (name == "CLIENT_SECRET").then(|| "hush".to_owned()))
        .with_introspection(Arc::new(Fake::default()))
}

fn parse(text: &str) -> Result<GatewayConfig, ConfigMistakes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    GatewayConfig::parse(text, &context())
}

/// Returns the mistakes of the good file after a change, as `line: message`.
fn mistakes(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    let found = parse(&GOOD.replacen(from, to, 1)).expect_err(to);
    found.as_slice().iter().map(|mistake| format!("{}: {}", mistake.line(), mistake.message())).collect()
}

#[test]
fn a_good_file_is_taken_and_debug_shows_no_secret() {
    let config = parse(GOOD).unwrap();
    let text = format!("{config:?} {:?}", context());
    assert!(text.contains("https://id.example/introspect") && !text.contains("hush"), "{text}");
}

#[test]
fn each_mistake_is_told_with_its_line_and_reason() {
    let mut wrong = String::new();
    for (from, to, expected) in [
        ("audiences = [\"orders\"]\nprofile", "profile", "14: [credentials.shop] lacks `audiences`"),
        (
            "audiences = [\"orders\"]\nprofile",
            "audiences = []\nprofile",
            "17: `audiences` must be a list with something in it, or not be there",
        ),
        (
            "audiences = [\"orders\"]\nprofile",
            "audiences = \"orders\"\nprofile",
            "17: `audiences` must be a list of texts",
        ),
        (
            "audiences = [\"orders\"]\nprofile",
            "audiences = [\"\"]\nprofile",
            "17: `audiences` must be a list of texts, none of them empty",
        ),
        ("endpoint = \"https://id.example/introspect\"\n", "", "26: [credentials.opaque] lacks `endpoint`"),
        ("audiences = [\"orders\"]\nclient_id", "client_id", "26: [credentials.opaque] lacks `audiences`"),
        ("issuer = \"https://id.example/realms/shop\"\n", "", "14: [credentials.shop] lacks `issuer`"),
        (
            "issuer = \"https://id.example/realms/shop\"",
            "issuer = \"http://id.example\"",
            "14: the issuer cannot be used for discovery: not `https`; plain `http` is for 127.0.0.0/8, ::1 and localhost only",
        ),
        ("kind = \"jwt\"\n", "", "14: [credentials.shop] lacks `kind`"),
        ("kind = \"jwt\"", "kind = \"basic\"", "15: `kind` must be one of jwt, aws_http_api, introspection"),
        (
            "profile = \"keycloak\"",
            "profil = \"keycloak\"",
            "18: [credentials.shop] knows no `profil`; it knows audiences, certificate_bound, certificate_header, cookie, dpop, header, issuer, jwks_url, kind, leeway_s, profile, public_urls, realm, roles_at",
        ),
        ("cookie = \"__Host-token\"", "cookie = \"a b\"", "14: \"a b\" cannot be the name of a cookie"),
        (
            "client_secret = { env = \"CLIENT_SECRET\" }",
            "client_secret = { env = \"OTHER\" }",
            "32: the environment has no \"OTHER\"",
        ),
        (
            "client_secret = { env = \"CLIENT_SECRET\" }",
            "client_secret = { file = \"/nowhere/at/all\" }",
            "32: the secret's file \"/nowhere/at/all\" cannot be read: entity not found",
        ),
        (
            "client_secret = { env = \"CLIENT_SECRET\" }",
            "client_secret = { env = \"A\", file = \"B\" }",
            "32: `client_secret` is either { env = \"NAME\" } or { file = \"/path\" }",
        ),
        ("client_secret = { env = \"CLIENT_SECRET\" }\n", "", "26: [credentials.opaque] lacks `client_secret`"),
        (
            "url = \"http://127.0.0.1:9000\"",
            "url = \"http://127.0.0.1:9000/base\"",
            "35: upstream \"orders\": must be an origin, without path and query: the request's own path is passed on",
        ),
        ("access = \"public\"", "access = \"open\"", "40: `access` must be one of public, deny"),
        ("access = \"public\"\n", "", "37: needs either `credentials`, or `access` as \"public\" or \"deny\""),
        (
            "access = \"public\"",
            "access = \"public\"\ncredentials = \"shop\"",
            "37: needs either `credentials`, or `access` as \"public\" or \"deny\"",
        ),
        (
            "access = \"public\"",
            "access = \"public\"\nscopes = [\"a\"]",
            "41: `scopes` has no meaning without `credentials`",
        ),
        (
            "scopes = [\"orders:write\"]",
            "scope = [\"orders:write\"]",
            "47: [[routes]] knows no `scope`; it knows access, any_scope, credentials, host, max_body_bytes, methods, origins, path, proofs_checked_here, roles, scopes, token, upstream, websockets",
        ),
        ("scopes = [\"orders:write\"]", "scopes = [\"orders write\"]", "47: \"orders write\" is not a scope"),
        (
            "credentials = \"shop\"\n",
            "credentials = \"shop\"\ntoken = \"swap\"\n",
            "47: these credentials cannot be swapped for another token",
        ),
        (
            "any_scope = [\"a\", \"b\"]",
            "scopes = [\"a\", \"b\"]",
            "54: `scopes` is not what this kind of credentials knows: it asks for any one, `any_scope`",
        ),
        ("methods = [\"POST\"]", "methods = [\"post\"]", "42: method \"post\" must be in upper case"),
        (
            "path = \"/orders/*\"",
            "path = \"/orders*\"",
            "42: path \"/orders*\": a star stands alone after the last slash",
        ),
        ("path = \"/api/*\"", "path = \"/health\"", "50: never reached: the route 1 before it covers it"),
        (
            "host = \"api.example\"",
            "host = \"api.example:80\"",
            "57: host \"api.example:80\" must be in lower case, without port and final dot",
        ),
        ("response_ms = 5000", "response_ms = 0", "12: `response_ms` must be a whole number from 1 to 86400000"),
        ("response_ms = 5000", "response_ms = -1", "12: `response_ms` must be a whole number from 1 to 86400000"),
        ("response_ms = 5000", "response_ms = \"5s\"", "12: `response_ms` must be a whole number from 1 to 86400000"),
        ("header_bytes = 16384", "header_bytes = 100", "8: `header_bytes` must be a whole number from 8192 to 1048576"),
        (
            "subject = \"X-Auth-Subject\"",
            "subject = \"Authorization\"",
            "4: `authorization` has a meaning of its own and cannot name the caller",
        ),
        (
            "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]",
            "trusted_proxies = [\"0.0.0.0/0\"]",
            "1: \"0.0.0.0/0\" is everybody: then anybody can forge what a proxy says",
        ),
        (
            "max_body_bytes = 1000",
            "max_body_bytes = true",
            "63: `max_body_bytes` must be a whole number, 0 at the least",
        ),
        (
            "[limits]",
            "[limit]",
            "7: the file knows no `limit`; it knows credentials, forward_auth, identity, limits, routes, timeouts, tls, trusted_proxies, upstreams",
        ),
    ] {
        let found = mistakes(from, to);
        if found != [expected] {
            wrong.push_str(&format!("{to:?}\n  {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

const ASKED: &str = r#"trusted_proxies = ["10.0.0.1"]
[credentials.shop]
kind = "jwt"
issuer = "https://id.example"
audiences = ["orders"]
[forward_auth]
path = "/check"
dialect = "nginx"
credentials = "shop"
[[forward_auth.rules]]
path = "/health"
access = "public"
[[forward_auth.rules]]
path = "/orders/*"
methods = ["GET"]
scopes = ["orders:read"]
"#;

#[test]
fn an_endpoint_for_other_proxies_is_checked_in_the_same_way() {
    assert!(parse(ASKED).is_ok(), "{:?}", parse(ASKED));
    let neither =
        "needs either `access` as \"public\", \"deny\" or \"authenticated\", or `scopes`, `any_scope`, `roles`";
    for (from, to, expected) in [
        ("trusted_proxies = [\"10.0.0.1\"]\n", "\n", "line 6: forward-auth without a listed proxy answers nobody"),
        ("dialect = \"nginx\"\n", "", "line 6: [forward_auth] lacks `dialect`"),
        ("path = \"/check\"\n", "", "line 6: [forward_auth] lacks `path`"),
        (
            "credentials = \"shop\"\n",
            "credentials = \"shop\"\ntoken = \"swap\"\n",
            "line 10: these credentials cannot be swapped for another token",
        ),
        ("path = \"/check\"", "path = \"/check/\"", "line 7: \"/check/\" is no path for an endpoint, such as `/check`"),
        (
            "kind = \"jwt\"",
            "kind = \"aws_http_api\"",
            "line 9: forward-auth takes credentials of the kinds jwt and introspection",
        ),
        (
            "credentials = \"shop\"",
            "credentials = \"shop\"\norigins = []",
            "line 10: `origins` must be a list with something in it, or not be there",
        ),
        (
            "credentials = \"shop\"",
            "credentials = \"shop\"\norigins = [\"https://shop.example/\"]",
            "line 10: \"https://shop.example/\" is no origin: it must be like `https://shop.example`, in lower case, without a path and without the port that the scheme has by itself",
        ),
        (
            "credentials = \"shop\"",
            "credentials = \"shop\"\ntoken = \"swap\"",
            "line 10: these credentials cannot be swapped for another token",
        ),
        (
            "path = \"/orders/*\"",
            "path = \"/orders*\"",
            "line 13: path \"/orders*\": a star stands alone after the last slash",
        ),
        ("path = \"/orders/*\"", "path = \"/health\"", "line 10: rule 2 (/health) never decides: rule 1 covers it"),
        ("scopes = [\"orders:read\"]\n", "", &format!("line 13: {neither}")),
        (
            "scopes = [\"orders:read\"]",
            "scope = [\"orders:read\"]",
            &format!(
                "line 13: {neither}\nline 16: [[rules]] knows no `scope`; it knows access, any_scope, host, methods, path, roles, scopes"
            ),
        ),
    ] {
        let found = parse(&ASKED.replacen(from, to, 1)).expect_err(to).to_string();
        assert_eq!(found, expected, "{to}");
    }
}

#[test]
fn an_endpoint_for_other_proxies_swaps_tokens_when_told_to() {
    let opaque = "kind = \"introspection\"\nendpoint = \"https://id.example/introspect\"\nclient_id = \"gateway\"\nclient_secret = { env = \"CLIENT_SECRET\" }";
    let file = ASKED.replacen("kind = \"jwt\"", opaque, 1).replacen("[\"orders:read\"]", "[\"a\"]", 1);
    for (token, told) in [
        ("", None),
        ("token = \"drop\"\n", None),
        ("token = \"swap\"\n", Some("Bearer inner")),
        ("token = \"as_bearer\"\n", Some("Bearer good")),
    ] {
        let file = file.replacen("credentials = \"shop\"\n", &format!("credentials = \"shop\"\n{token}"), 1);
        let config = parse(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let request = http::Request::get("/check")
            .header("x-original-method", "GET")
            .header("x-original-uri", "/orders/7")
            .header("authorization", "Bearer good");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let endpoint = config.serving.forward_auth.as_ref().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(endpoint.auth.answer(&parts, Some([10, 0, 0, 1].into()), "/check"));
        assert_eq!(answer.status(), 200, "{token}");
        let found = answer.headers().get("authorization").map(|value| value.to_str().unwrap());
        assert_eq!(found, told, "{token}");
    }
}

#[test]
fn names_of_nothing_and_things_without_use_are_mistakes() {
    assert_eq!(
        mistakes("upstream = \"orders\"\naccess", "upstream = \"stock\"\naccess"),
        ["39: \"stock\" is not among [upstreams]"]
    );
    assert_eq!(
        mistakes("credentials = \"shop\"", "credentials = \"shopp\""),
        ["14: [credentials.shop] is used by no route", "46: \"shopp\" is not among [credentials]"]
    );
    let more = "[upstreams.stock]\nurl = \"http://127.0.0.1:1\"\n\n[[routes]]\npath = \"/health\"";
    assert_eq!(mistakes("[[routes]]\npath = \"/health\"", more), ["37: [upstreams.stock] is used by no route"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = GOOD
        .replace("kind = \"jwt\"", "kind = \"jot\"")
        .replace("response_ms = 5000", "response = 5000")
        .replace("path = \"/health\"", "path = \"health\"")
        .replace("upstream = \"orders\"\ncredentials = \"api\"", "credentials = \"api\"")
        .replace("client_secret = { env = \"CLIENT_SECRET\" }", "client_secret = \"hush\"");
    let found = parse(&text).unwrap_err();
    let lines: Vec<usize> = found.as_slice().iter().map(ConfigMistake::line).collect();
    assert_eq!(lines, [12, 15, 32, 37, 50], "{found}");
    assert!(!found.to_string().contains("hush"), "{found}");
}

#[test]
fn what_is_no_toml_is_told_by_line() {
    for (text, line) in
        [("a = \n", 1), ("[a\nb = 1", 1), ("x = 1\nx = 2", 2), ("\u{0}", 1), ("[[routes]]\npath = \"a\n", 2)]
    {
        let found = parse(text).unwrap_err();
        assert!(found.as_slice().iter().any(|mistake| mistake.line() == line), "{text:?}: {found}");
    }
    assert!(parse("").unwrap_err().to_string().contains("nothing would be passed on"));
    assert!(parse(&"#".repeat(GatewayConfig::MAX_BYTES + 1)).unwrap_err().to_string().contains("1 MiB"));
    // Nested as deep as it may get, it is still told and not a crash.
    assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
}

#[test]
fn without_introspection_in_the_program_there_is_no_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut plain = ConfigContext::default().with_environment(|_| Some("hush".to_owned()));
    plain.introspection = None;
    let found = GatewayConfig::parse(GOOD, &plain).unwrap_err();
    assert_eq!(found.to_string(), "line 26: this gateway was built without introspection");
    let other = context().with_environment(|_| Some("whisper".to_owned()));
    assert_eq!(GatewayConfig::parse(GOOD, &other).unwrap_err().to_string(), "line 26: another secret");
    let empty = context().with_environment(|_| Some(String::new()));
    assert_eq!(GatewayConfig::parse(GOOD, &empty).unwrap_err().to_string(), "line 32: `client_secret` is empty");
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let path = std::env::temp_dir().join(format!("sekisho-gateway-secret-{}", std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(b"hush\n").unwrap();
    let place = format!("client_secret = {{ file = {:?} }}", path.to_str().unwrap());
    let taken = parse(&GOOD.replace("client_secret = { env = \"CLIENT_SECRET\" }", &place));
    std::fs::remove_file(&path).unwrap();
    assert!(taken.is_ok());
}

#[test]
fn what_has_not_changed_goes_on_after_a_reload() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let made = Arc::new(Fake::default());
    let context = context().with_introspection(Arc::clone(&made) as Arc<dyn MakeIntrospection>);
    let first = GatewayConfig::parse(GOOD, &context).unwrap();
    let changed = GOOD.replace("path = \"/health\"", "path = \"/healthz\"");
    let second = GatewayConfig::parse_after(&changed, &context, Some(&first)).unwrap();
    assert_eq!(made.0.load(Ordering::SeqCst), 1);
    let other = changed.replace("client_id = \"gateway\"", "client_id = \"other\"");
    let third = GatewayConfig::parse_after(&other, &context, Some(&second));
    assert!(third.is_ok());
    assert_eq!(made.0.load(Ordering::SeqCst), 2);
}

#[test]
fn what_was_made_with_other_parts_does_not_go_on_after_a_reload() {
    struct Revoked;
    impl RevocationCheck for Revoked {
        fn is_revoked(&self, _: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
            Ok(true)
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let made = Arc::new(Fake::default());
    let context = context().with_introspection(Arc::clone(&made) as Arc<dyn MakeIntrospection>);
    let first = GatewayConfig::parse(GOOD, &context).unwrap();
    let count = || made.0.load(Ordering::SeqCst);
    // The same parts.
    GatewayConfig::parse_after(GOOD, &context.clone(), Some(&first)).unwrap();
    assert_eq!(count(), 1);
    let with_revocation = context.clone().with_revocation(Arc::new(Revoked));
    let second = GatewayConfig::parse_after(GOOD, &with_revocation, Some(&first)).unwrap();
    assert_eq!(count(), 2);
    GatewayConfig::parse_after(GOOD, &with_revocation, Some(&second)).unwrap();
    assert_eq!(count(), 2);
    GatewayConfig::parse_after(GOOD, &with_revocation.clone().with_revocation(Arc::new(Revoked)), Some(&second))
        .unwrap();
    assert_eq!(count(), 3);
    GatewayConfig::parse_after(GOOD, &context, Some(&second)).unwrap();
    assert_eq!(count(), 4);
    GatewayConfig::parse_after(GOOD, &with_revocation.with_clock(Arc::new(SystemClock)), Some(&second)).unwrap();
    assert_eq!(count(), 5);
    let other = Arc::new(Fake::default());
    let context = context.with_introspection(Arc::clone(&other) as Arc<dyn MakeIntrospection>);
    GatewayConfig::parse_after(GOOD, &context, Some(&first)).unwrap();
    assert_eq!((count(), other.0.load(Ordering::SeqCst)), (5, 1));
}

#[test]
fn a_header_for_certificates_is_checked_whole() {
    let with = |header: &str, proxies: &str| {
        let credentials = format!(
            "audiences = [\"orders\"]\ncertificate_bound = true\npublic_urls = [\"https://api.example\"]\n{header}\n"
        );
        let file = ASKED.replacen("audiences = [\"orders\"]\n", &credentials, 1);
        parse(&file.replacen("trusted_proxies = [\"10.0.0.1\"]\n", proxies, 1))
    };
    let listed = "trusted_proxies = [\"10.0.0.1\"]\n";
    for good in [
        "certificate_header = { form = \"rfc9440\" }",
        "certificate_header = { form = \"traefik\" }",
        "certificate_header = { form = \"envoy\" }",
        "certificate_header = { form = \"escaped_pem\", name = \"ssl-client-cert\" }",
        "certificate_header = { form = \"base64\", name = \"X-Client-Cert\" }",
        "",
    ] {
        assert!(with(good, listed).is_ok(), "{good}: {:?}", with(good, listed));
    }
    let no_table = "`certificate_header` must be a table";
    for (bad, told) in [
        ("certificate_header = \"rfc9440\"", no_table),
        ("certificate_header = [{ form = \"rfc9440\" }]", no_table),
        ("certificate_header = true", no_table),
        ("certificate_header = {}", "lacks `form`"),
        ("certificate_header = { form = \"pem\" }", "rfc9440"),
        ("certificate_header = { form = 7 }", "form"),
        ("certificate_header = { form = \"rfc9440\", name = \"client-cert\" }", "this form has one `name` only"),
        ("certificate_header = { form = \"traefik\", name = \"x\" }", "this form has one `name` only"),
        ("certificate_header = { form = \"envoy\", name = \"x\" }", "this form has one `name` only"),
        ("certificate_header = { form = \"escaped_pem\" }", "this form needs the header's `name`"),
        ("certificate_header = { form = \"base64\" }", "this form needs the header's `name`"),
        ("certificate_header = { form = \"base64\", name = \"a b\" }", "cannot be the name of a header"),
        ("certificate_header = { form = \"base64\", name = \"\" }", "name"),
        ("certificate_header = { form = \"rfc9440\", proxies = [\"::1\"] }", "knows no `proxies`"),
    ] {
        let found = with(bad, listed).expect_err(bad).to_string();
        assert!(found.contains(told), "{bad}: {found}");
    }
    // Nobody is believed by default, and nobody may be meant by mistake.
    let found = with("certificate_header = { form = \"rfc9440\" }", "").expect_err("nobody").to_string();
    assert!(found.contains("`trusted_proxies` lists nobody who may write it"), "{found}");
}

#[test]
fn an_endpoint_swaps_bound_tokens_only_when_it_is_said_that_proofs_end_there() {
    #[derive(Debug)]
    struct Bound;
    #[async_trait::async_trait]
    impl Authenticate for Bound {
        fn recognizes(&self, _: sekisho_core::Credential<'_>) -> bool {
            true
        }
        fn authenticate_now(
            &self,
            credential: sekisho_core::Credential<'_>,
            now: UnixSeconds,
        ) -> Option<Result<Principal, sekisho_core::Refusal>> {
            FakeAuthenticator.authenticate_now(credential, now)
        }
        async fn authenticate(
            &self,
            credential: sekisho_core::Credential<'_>,
            now: UnixSeconds,
        ) -> Result<Principal, sekisho_core::Refusal> {
            FakeAuthenticator.authenticate(credential, now).await
        }
        fn accepted_proofs(&self) -> sekisho_core::AcceptedProofs {
            sekisho_core::AcceptedProofs::none().with_certificates()
        }
    }
    struct Makes;
    impl MakeIntrospection for Makes {
        fn make(&self, settings: &IntrospectionSettings, _: &ConfigContext) -> Result<Introspection, ConfigError> {
            let authenticator: Arc<dyn Authenticate> =
                if settings.certificate_bound { Arc::new(Bound) } else { Arc::new(FakeAuthenticator) };
            Ok(Introspection { authenticator, swap: Some(Arc::new(NoSwap)) })
        }
    }
    let context = context().with_introspection(Arc::new(Makes));
    let opaque = "kind = \"introspection\"\nendpoint = \"https://id.example/introspect\"\nclient_id = \"gateway\"\nclient_secret = { env = \"CLIENT_SECRET\" }";
    for (bound, told, expected) in [
        ("", "token = \"swap\"", None),
        ("certificate_bound = true", "", None),
        ("certificate_bound = true", "token = \"swap\"", Some("a bound token would become one that anybody can send")),
        (
            "certificate_bound = true",
            "token = \"swap\"\nproofs_checked_here = false",
            Some("a bound token would become"),
        ),
        ("certificate_bound = true", "token = \"swap\"\nproofs_checked_here = true", None),
        ("certificate_bound = true", "proofs_checked_here = true", Some("no bound token is swapped here")),
        (
            "certificate_bound = true",
            "token = \"drop\"\nproofs_checked_here = true",
            Some("no bound token is swapped here"),
        ),
        ("", "token = \"swap\"\nproofs_checked_here = true", Some("no bound token is swapped here")),
    ] {
        let file = ASKED.replacen("kind = \"jwt\"", &format!("{opaque}\n{bound}"), 1).replacen(
            "credentials = \"shop\"\n",
            &format!("credentials = \"shop\"\n{told}\n"),
            1,
        );
        match (GatewayConfig::parse(&file, &context), expected) {
            (Ok(_), None) => {}
            (Ok(_), Some(expected)) => panic!("{bound} {told}: taken, and should be refused: {expected}"),
            (Err(found), Some(expected)) => assert!(found.to_string().contains(expected), "{bound} {told}: {found}"),
            (Err(found), None) => panic!("{bound} {told}: {found}"),
        }
    }
}
