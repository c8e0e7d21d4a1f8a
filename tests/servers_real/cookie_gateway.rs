//! A front end that has people log in at a real Keycloak and keeps the JWT in a cookie, and gateways that verify it and
//! pass requests on to services: ours, and a real nginx that asks ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use sekisho_core::{Credential, Principal, Refusal, Secret, UnixSeconds};
use sekisho_gateway::{
    Access, Dialect, ForwardAuth, Guard, IdentityHeaders, ReverseProxy, Route, Rule, RuleTable, TokenForward,
    TokenSwap, Upstream as Behind,
};
use sekisho_http::{Checkpoint, HeadParts, TrustedProxies};
use sekisho_jwt::Profile;
use sekisho_oidc::{Callback, ClientCredentials, LoginRequest, PendingLogin, Provider};
use sekisho_session::{ClientSideCookie, ReturnTo, SessionKey, SessionKeys};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::gateways::{Gateway, RawAnswer, Upstream, send_raw};
use crate::keycloak::Keycloak;
use crate::logins::realm::{AUDIENCE, Realm, client};
use crate::logins::services::Place;
use crate::scripts;
use crate::setup::{self, altered, part};

const COOKIE: &str = "__Host-token";

/// The service where people log in, behind the gateway.
#[derive(Clone)]
struct Front {
    provider: Provider,
    pending: ClientSideCookie,
}

impl Front {
    fn new(issuer: &str, origin: &str) -> Self {
        let provider = Provider::discover(issuer, ClientCredentials::basic("front", "front-secret"))
            .redirect_uri(format!("{origin}/callback"))
            .build()
            .expect("a provider");
        let keys = SessionKeys::new(SessionKey::generate().expect("a key"));
        let pending = ClientSideCookie::builder(keys).with_name("__Host-pending").build().expect("a cookie");
        Self { provider, pending }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/login", get(log_in))
            .route("/callback", get(come_back))
            .route("/logout", post(log_out))
            .with_state(Arc::new(self))
    }
}

async fn log_in(State(front): State<Arc<Front>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let place = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to");
    let Some(place) = ReturnTo::parse(place.as_ref().map_or("/", |(_, place)| place)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let now = setup::now();
    let Ok(start) = front.provider.start(&LoginRequest::new(), now).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut value = place.as_str().as_bytes().to_vec();
    value.push(0);
    value.extend_from_slice(&start.pending.to_bytes());
    let mut answer = Redirect::to(&start.url).into_response();
    with_head(&headers, |head| {
        for set in front.pending.set(&value, now, head).expect("a cookie") {
            answer.headers_mut().append("set-cookie", set.expose().parse().expect("a header"));
        }
    });
    answer
}

async fn come_back(State(front): State<Arc<Front>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let (now, query) = (setup::now(), query.unwrap_or_default());
    let value = with_head(&headers, |head| front.pending.read(head, now).ok().flatten());
    let found = value.as_ref().and_then(|value| {
        let end = value.iter().position(|byte| *byte == 0)?;
        let place = ReturnTo::parse(std::str::from_utf8(&value[..end]).ok()?)?;
        Some((place, PendingLogin::from_bytes(&value[end + 1..])?))
    });
    let Some((place, pending)) = found else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(logged_in) = front.provider.finish(pending, &Callback::from_query(&query), now).await else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let tokens = logged_in.tokens;
    let lifetime = tokens.expires_at.map_or(60, |end| end.since(now).as_secs());
    let token = tokens.access_token.expose_str().expect("a JWT");
    let cookie = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={lifetime}");
    let mut answer = Redirect::to(place.as_str()).into_response();
    answer.headers_mut().append("set-cookie", cookie.parse().expect("a header"));
    with_head(&headers, |head| {
        for removal in front.pending.removal(head) {
            answer.headers_mut().append("set-cookie", removal.expose().parse().expect("a header"));
        }
    });
    answer
}

async fn log_out() -> Response {
    let cookie = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    ([("set-cookie", cookie)], StatusCode::NO_CONTENT).into_response()
}

fn with_head<T>(headers: &HeaderMap, read: impl FnOnce(&HeadParts<'_>) -> T) -> T {
    let cookies: Vec<_> = headers.get_all("cookie").iter().map(|value| ("cookie", value.as_bytes())).collect();
    read(&HeadParts { method: "GET", path: "/", headers: &cookies })
}

/// Gives services the token of the cookie as a bearer token.
#[derive(Debug)]
struct OutOfTheCookie;

#[async_trait]
impl TokenSwap for OutOfTheCookie {
    fn swap_now(&self, cookie: Credential<'_>, _: &Principal, _: UnixSeconds) -> Option<Result<Secret, Refusal>> {
        Some(Ok(Secret::from(cookie.expose())))
    }

    async fn swap(&self, cookie: Credential<'_>, _: &Principal, _: UnixSeconds) -> Result<Secret, Refusal> {
        Ok(Secret::from(cookie.expose()))
    }
}

/// A realm, and what stands behind a gateway.
struct Scene {
    realm: Realm,
    orders: Upstream,
    stock: Upstream,
    tasks: Vec<JoinHandle<()>>,
}

impl Scene {
    async fn set(test: &str, name: &'static str, gateway: &Place) -> Option<Self> {
        let keycloak = Keycloak::reach(test).await?;
        let direct = |mut client: Value| {
            client["directAccessGrantsEnabled"] = json!(true);
            client
        };
        let mut brief = direct(client("brief", &[gateway]));
        brief["attributes"]["access.token.lifespan"] = json!("2");
        let mut elsewhere = direct(client("elsewhere", &[gateway]));
        elsewhere["protocolMappers"] = json!([]);
        let mut front = direct(client("front", &[gateway]));
        front["redirectUris"] = json!([format!("{}/callback", gateway.origin)]);
        let realm = Realm::make(keycloak, name, vec![front, brief, elsewhere], 300).await;
        Some(Self { realm, orders: Upstream::start().await, stock: Upstream::start().await, tasks: Vec::new() })
    }

    fn checkpoint(&self) -> Checkpoint {
        let verifier = sekisho_jwt::Jwt::issuer(self.realm.issuer())
            .audience(AUDIENCE)
            .with_profile(Profile::keycloak())
            .with_leeway(Duration::ZERO)
            .build()
            .expect("a verifier");
        Checkpoint::builder().accept(verifier).with_cookie(COOKIE).build().expect("a checkpoint")
    }

    fn requests(&self) -> usize {
        self.orders.requests() + self.stock.requests()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn ask(address: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if method == "POST" {
        request.push_str("Content-Length: 0\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    send_raw(address, request.as_bytes()).await
}

/// The same for every gateway. `own` is the origin that pages of ours have.
async fn assert_guards(scene: &Scene, address: &str, own: &str) {
    let good = scene.realm.password_grant("front", "alice").await;
    let subject = part(&good, 1)["sub"].as_str().expect("a subject").to_owned();
    let cookie = format!("theme=dark; {COOKIE}={good}");
    for (target, name) in [("/orders/7?x=1", "orders"), ("/stock/3", "stock")] {
        let spoofed = [("Cookie", &*cookie), ("X-Auth-Subject", "root"), ("Sec-Fetch-Site", "same-origin")];
        let answer = ask(address, "GET", target, &spoofed).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let seen = &answer.body["headers"];
        assert_eq!(json!([seen["x-auth-subject"], seen["authorization"]]), json!([subject, format!("Bearer {good}")]));
        assert!(!seen["cookie"].to_string().contains(COOKIE), "the cookie goes no further: {answer:?}");
        assert_eq!(
            format!("{}?", answer.body["path"].as_str().unwrap()),
            format!("{}?", target.split('?').next().unwrap())
        );
        assert!(!answer.head.contains("eyj"), "the client sees no token: {answer:?}");
    }
    assert_eq!((scene.orders.requests(), scene.stock.requests()), (1, 1), "by their paths");

    let brief = scene.realm.password_grant("brief", "alice").await;
    let audience = scene.realm.password_grant("elsewhere", "alice").await;
    let other_realm = scene.realm.keycloak().client_token("worker", "").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pair = |token: &str| format!("{COOKIE}={token}");
    for (what, cookie, status) in [
        ("no cookie", String::new(), 401),
        ("another cookie", "theme=dark".to_owned(), 401),
        ("a word", pair("word"), 401),
        ("expired", pair(&brief), 401),
        ("of another realm", pair(&other_realm), 401),
        ("for another audience", pair(&audience), 401),
        ("altered claims", pair(&altered(&good, 1)), 401),
        ("an altered signature", pair(&altered(&good, 2)), 401),
        ("a name without its prefix", format!("token={good}"), 401),
        ("twice", format!("{}; {}", pair(&good), pair(&brief)), 400),
    ] {
        let answer = ask(address, "GET", "/orders/7", &[("Cookie", &*cookie)]).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(status != 401 || answer.head.contains("\r\nwww-authenticate: bearer"), "{what}: {answer:?}");
    }
    let both = [("Cookie", &*cookie), ("Authorization", "Bearer word")];
    assert_eq!(ask(address, "GET", "/orders/7", &both).await.status, 400, "two credentials");

    // What another site could have caused.
    for origin in ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"] {
        let site = if origin.contains("localhost") { "same-site" } else { "cross-site" };
        let headers = [("Cookie", &*cookie), ("Origin", origin), ("Sec-Fetch-Site", site)];
        let answer = ask(address, "POST", "/orders/7", &headers).await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
    }
    assert_eq!(scene.requests(), 2, "nothing that was refused reached a service");
    let headers = [("Cookie", &*cookie), ("Origin", own), ("Sec-Fetch-Site", "same-origin")];
    let answer = ask(address, "POST", "/orders/7", &headers).await;
    assert_eq!((answer.status, scene.orders.requests()), (200, 2), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_gateway_verifies_the_cookie_of_a_login_at_keycloak_and_routes_by_path() {
    let test = "a cookie before our gateway";
    if setup::variable("SEKISHO_CHROMIUM", test).is_none() {
        return;
    }
    let place = Place::at("localhost").await;
    let Some(mut scene) = Scene::set(test, "cookie-gateway", &place).await else { return };
    let origin = place.origin.clone();
    let front = Place::at("127.0.0.1").await;
    let front_address = front.origin.clone();
    scene.tasks.push(front.serve(Front::new(&scene.realm.issuer(), &origin).router()));
    let behind = |name: &str, url: &str| Behind::new(name, url).expect("an upstream");
    let front = behind("front", &front_address);
    let guarded = |path: &str, port: u16| {
        let upstream = behind(path, &format!("http://127.0.0.1:{port}"));
        Route::new(format!("/{path}/*"), &upstream, Guard::checkpoint(scene.checkpoint()))
            .with_origins([origin.clone()])
            .forwarding(TokenForward::Swap(Arc::new(OutOfTheCookie)))
    };
    let proxy = ReverseProxy::new([
        Route::new("/login", &front, Guard::Public).for_methods(["GET"]),
        Route::new("/callback", &front, Guard::Public).for_methods(["GET"]),
        Route::new("/logout", &front, Guard::Public).for_methods(["POST"]).with_origins([origin.clone()]),
        guarded("orders", scene.orders.port),
        guarded("stock", scene.stock.port),
    ]);
    let gateway = sekisho_gateway::Gateway::new(proxy.expect("a proxy").with_identity(IdentityHeaders::standard()));
    let address = place.address();
    scene.tasks.push(place.run(|listener| async move {
        gateway.serve(listener, std::future::pending()).await.expect("it serves");
    }));
    assert_guards(&scene, &address, &origin).await;

    let (before, stranger) = (scene.requests(), Upstream::start().await);
    let input = json!({
        "gateway": origin, "issuer": scene.realm.issuer(), "provider": "keycloak",
        "stranger": format!("http://127.0.0.1:{}", stranger.port), "sibling": format!("http://localhost:{}", stranger.port),
    });
    let Some(report) = scripts::browse(test, "cookie-gateway.mjs", input).await else { return };
    assert_eq!(report.step("nobody")["status"], 401);
    assert_eq!(report.step("asked")["asked"], true);
    let in_ = report.step("logged in");
    assert_eq!((&in_["url"], &in_["readable"]), (&json!(format!("{origin}/orders/7?from=mail")), &json!("")), "{in_}");
    let cookies = in_["cookies"].as_array().unwrap();
    assert_eq!((cookies.len(), &cookies[0]["name"]), (1, &json!(COOKIE)), "{in_}");
    let flags = json!([cookies[0]["httpOnly"], cookies[0]["secure"], cookies[0]["sameSite"], cookies[0]["path"]]);
    assert_eq!(flags, json!([true, true, "Lax", "/"]), "{in_}");
    assert!(in_["seen"]["headers"]["authorization"].as_str().unwrap().starts_with("Bearer eyJ"), "{in_}");
    assert_eq!(
        (&report.step("other service")["status"], &report.step("own form")["status"]),
        (&json!(200), &json!(200))
    );
    for (from, sent) in [("another site", false), ("the same site", true)] {
        let told = report.step(from);
        assert_eq!(
            (&told["sent"], told["status"] == 403 || told["status"] == 401),
            (&json!(sent), true),
            "{from}: {told}"
        );
    }
    assert_eq!(
        (&report.step("logged out")["status"], &report.step("nobody again")["status"]),
        (&json!(204), &json!(401))
    );
    // The page, the other service, our own form, the page again.
    assert_eq!(scene.requests() - before, 4, "and nothing from elsewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_ours_about_the_cookie_and_routes_by_path() {
    let test = "a cookie before nginx";
    let place = Place::at("localhost").await;
    let Some(mut scene) = Scene::set(test, "cookie-nginx", &place).await else { return };
    let rules =
        RuleTable::new([Rule::new("/orders/*", Access::Authenticated), Rule::new("/stock/*", Access::Authenticated)]);
    let proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
    let endpoint = ForwardAuth::new(Dialect::Nginx, scene.checkpoint(), rules.expect("rules"), proxies);
    let endpoint = endpoint.expect("an endpoint").with_identity(IdentityHeaders::standard());
    let endpoint = endpoint.with_token_swap(Arc::new(OutOfTheCookie)).expect("unbound tokens");
    let service = endpoint.router("/check").into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    scene.tasks.push(tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") }));
    let own = place.origin.clone();
    let server = nginx(port, &own, scene.orders.port, scene.stock.port);
    let Some(gateway) = Gateway::nginx(test, &server).await else { return };
    assert_guards(&scene, gateway.address(), &own).await;

    let page = ask(gateway.address(), "GET", "/orders/7", &[("Sec-Fetch-Mode", "navigate")]).await;
    assert_eq!(page.status, 302, "{page:?}");
    assert!(page.head.contains("/login?return_to=/orders/7\r\n"), "{page:?}");
    let script = ask(gateway.address(), "GET", "/orders/7", &[("Sec-Fetch-Mode", "cors")]).await;
    assert_eq!(script.status, 401, "{script:?}");
}

/// Writes the server of `docs/gateway.md` for tokens in a cookie.
fn nginx(endpoint: u16, own: &str, orders: u16, stock: u16) -> String {
    let guarded = |path: &str, port: u16| {
        format!(
            "location {path}/ {{
                # A cookie goes along whoever causes the request.
                if ($forged = yes-unsafe) {{ return 403; }}
                auth_request /_authz;
                auth_request_set $authz $upstream_status;
                auth_request_set $challenge $upstream_http_www_authenticate;
                auth_request_set $token $upstream_http_authorization;
                auth_request_set $x_auth_subject $upstream_http_x_auth_subject;
                proxy_set_header Authorization $token;
                proxy_set_header X-Auth-Subject $x_auth_subject;
                proxy_set_header Cookie \"\";
                proxy_pass http://127.0.0.1:{port};
                error_page 401 = @login;
                error_page 500 = @authz_failed;
            }}"
        )
    };
    format!(
        "set $forged \"\";
        if ($http_origin != \"{own}\") {{ set $forged yes; }}
        if ($http_origin = \"\") {{ set $forged \"\"; }}
        if ($request_method !~ ^(GET|HEAD)$) {{ set $forged \"$forged-unsafe\"; }}
        {orders}
        {stock}
        location = /_authz {{
            internal;
            proxy_pass http://127.0.0.1:{endpoint}/check;
            proxy_pass_request_body off;
            proxy_set_header Content-Length \"\";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URI    $request_uri;
            proxy_set_header X-Original-Host   $host;
        }}
        location @login {{
            if ($http_sec_fetch_mode = navigate) {{ return 302 /login?return_to=$uri; }}
            add_header WWW-Authenticate $challenge always;
            return 401;
        }}
        location @authz_failed {{
            if ($authz = 400) {{ return 400; }}
            if ($authz = 502) {{ return 502; }}
            if ($authz = 503) {{ return 503; }}
            return 500;
        }}",
        orders = guarded("/orders", orders),
        stock = guarded("/stock", stock),
    )
}
