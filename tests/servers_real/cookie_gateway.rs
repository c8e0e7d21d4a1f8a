//! A front end that has people log in at a real Keycloak and keeps the JWT in a cookie, and gateways that verify it and
//! pass requests on to services: ours, and a real nginx that asks ours.

use std::sync::Arc;
use std::time::Duration;

use sekisho_gateway::{
    AsBearer, ConfigContext, GatewayConfig, Guard, IdentityHeaders, ReverseProxy, Route, TokenForward,
    Upstream as Behind,
};
use sekisho_http::Checkpoint;
use sekisho_jwt::{Profile, Verifier};
use sekisho_revocation::RevocationList;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::gateways::{Gateway, RawAnswer, Upstream, send_raw};
use crate::keycloak::Keycloak;
use crate::logins::realm::{AUDIENCE, Realm, client};
use crate::logins::services::Place;
use crate::scripts;
use crate::setup::{self, altered, part};

mod front;

use front::Front;

const COOKIE: &str = "__Host-token";

/// A realm, and what stands behind a gateway.
struct Scene {
    realm: Realm,
    withdrawn: RevocationList,
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
        // Nearly as long as a cookie may be, which takes larger buffers than nginx has by itself.
        let long = json!({ "claim.name": "note", "claim.value": "x".repeat(2150), "access.token.claim": "true" });
        let mapper = "oidc-hardcoded-claim-mapper";
        let long = json!({ "name": "note", "protocol": "openid-connect", "protocolMapper": mapper, "config": long });
        front["protocolMappers"].as_array_mut().expect("a list").push(long);
        front["redirectUris"] = json!([format!("{}/callback", gateway.origin)]);
        let realm = Realm::make(keycloak, name, vec![front, brief, elsewhere], 300).await;
        let (withdrawn, tasks) = (RevocationList::new().expect("a list"), Vec::new());
        Some(Self { realm, withdrawn, orders: Upstream::start().await, stock: Upstream::start().await, tasks })
    }

    /// Starts the service where people log in, and returns where it is.
    async fn front(&mut self, origin: &str) -> String {
        let place = Place::at("127.0.0.1").await;
        let address = place.address();
        let front = Front::new(&self.realm.issuer(), origin, self.verifier(), self.withdrawn.clone());
        self.tasks.push(place.serve(front.router()));
        address
    }

    fn verifier(&self) -> Verifier {
        let verifier = sekisho_jwt::Jwt::issuer(self.realm.issuer())
            .audience(AUDIENCE)
            .with_profile(Profile::keycloak())
            .with_leeway(Duration::ZERO)
            .with_revocation(Arc::new(self.withdrawn.local()));
        verifier.build().expect("a verifier")
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::builder().accept(self.verifier()).with_cookie(COOKIE).build().expect("a checkpoint")
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

/// The same for every gateway: a person logs in, calls services, and logs out.
///
/// `leads_to_login`: whether the gateway sends browsers there that ask for a page.
async fn assert_journey(test: &str, scene: &Scene, origin: &str, leads_to_login: bool) {
    let (before, stranger) = (scene.requests(), Upstream::start().await);
    let input = json!({
        "gateway": origin, "issuer": scene.realm.issuer(), "provider": "keycloak", "leadsToLogin": leads_to_login,
        "stranger": format!("http://127.0.0.1:{}", stranger.port), "sibling": format!("http://localhost:{}", stranger.port),
    });
    let Some(report) = scripts::browse(test, "cookie-gateway.mjs", input).await else { return };
    assert_eq!(report.step("nobody")["status"], 401);
    assert_eq!(report.step("asked")["asked"], true);
    let in_ = report.step("logged in");
    // nginx cannot encode a query.
    let query = if leads_to_login { "" } else { "?from=mail" };
    assert_eq!((&in_["url"], &in_["readable"]), (&json!(format!("{origin}/orders/7{query}")), &json!("")), "{in_}");
    let cookies = in_["cookies"].as_array().unwrap();
    assert_eq!((cookies.len(), &cookies[0]["name"]), (1, &json!(COOKIE)), "{in_}");
    assert!((3_950..4_084).contains(&cookies[0]["length"].as_u64().unwrap()), "{in_}");
    let flags = json!([cookies[0]["httpOnly"], cookies[0]["secure"], cookies[0]["sameSite"], cookies[0]["path"]]);
    assert_eq!(flags, json!([true, true, "Lax", "/"]), "{in_}");
    assert!(in_["seen"]["headers"]["authorization"].as_str().unwrap().starts_with("Bearer eyJ"), "{in_}");
    for step in ["other service", "own form", "with the cookie alone"] {
        let told = report.step(step);
        assert_eq!((&told["status"], told["seen"]["headers"]["cookie"].is_null()), (&json!(200), true), "{told}");
    }
    // A cross-site form has no cookie with it, one of the same site has.
    for (from, sent, status) in [("another site", false, [401, 403]), ("the same site", true, [403, 403])] {
        let told = report.step(from);
        assert_eq!(told["sent"], sent, "{told}");
        assert!(status.iter().any(|status| told["status"] == *status), "{from}: {told}");
    }
    for step in ["the same site logs out", "nobody again", "a copy"] {
        let status = if step == "the same site logs out" { 403 } else { 401 };
        assert_eq!(report.step(step)["status"], status, "{step}");
    }
    let out = report.step("logged out");
    assert_eq!((&out["url"], &out["cookies"]), (&json!(format!("{origin}/")), &json!([])), "{out}");
    assert_eq!(report.step("asked again")["asked"], true);
    // The page, the other service, our own form, the cookie alone, the page before the logout.
    assert_eq!(scene.requests() - before, 5, "and nothing from elsewhere");
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
    let front = scene.front(&origin).await;
    let behind = |name: &str, url: &str| Behind::new(name, url).expect("an upstream");
    let front = behind("front", &format!("http://{front}"));
    let guarded = |path: &str, port: u16| {
        let upstream = behind(path, &format!("http://127.0.0.1:{port}"));
        Route::new(format!("/{path}/*"), &upstream, Guard::checkpoint(scene.checkpoint()))
            .with_origins([origin.clone()])
            .forwarding(TokenForward::Swap(Arc::new(AsBearer::new())))
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
    assert_journey(test, &scene, &origin, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_verifies_the_cookie_of_a_login_at_keycloak_by_asking_ours_and_routes_by_path() {
    let test = "a cookie before nginx";
    if setup::variable("SEKISHO_CHROMIUM", test).is_none() {
        return;
    }
    let place = Place::at("localhost").await;
    let Some(mut scene) = Scene::set(test, "cookie-nginx", &place).await else { return };
    let origin = place.origin.clone();
    let stock = "[[forward_auth.rules]]\npath = \"/stock/*\"\naccess = \"authenticated\"\n";
    let file = changed(
        &documented("toml"),
        &[
            ("https://id.example/realms/shop", &scene.realm.issuer()),
            ("[\"orders\"]", &format!("[\"{AUDIENCE}\"]\nleeway_s = 0")),
            ("https://shop.example", &origin),
        ],
    ) + stock;
    let context = ConfigContext::default().with_revocation(Arc::new(scene.withdrawn.local()));
    let config = GatewayConfig::parse(&file, &context).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let endpoint = Place::at("127.0.0.1").await;
    let endpoint_address = endpoint.address();
    scene.tasks.push(endpoint.run(|listener| async move {
        sekisho_gateway::Gateway::from_config(config).serve(listener, std::future::pending()).await.expect("it serves");
    }));
    let server = documented("nginx");
    let orders = server.split_once("location /orders/ {").expect("a location").1.split_once("}\n").expect("its end").0;
    let stock = format!("location /stock/ {{{orders}}}\n")
        .replace("http://orders", &format!("http://127.0.0.1:{}", scene.stock.port));
    let server = changed(
        &server,
        &[
            ("http://login", &format!("http://{}", scene.front(&origin).await)),
            ("http://orders", &format!("http://127.0.0.1:{}", scene.orders.port)),
            ("127.0.0.1:9191", &endpoint_address),
        ],
    ) + &stock;
    let Some(gateway) = Gateway::nginx_at(test, place.into_port(), &server).await else { return };
    let address = gateway.address();
    assert_guards(&scene, address, &origin).await;

    let page = ask(address, "GET", "/orders/7", &[("Sec-Fetch-Mode", "navigate")]).await;
    assert_eq!(page.status, 302, "{page:?}");
    assert!(page.head.contains("\r\nlocation: /login?return_to=/orders/7\r\n"), "{page:?}");
    for (method, target, mode, status) in [
        ("GET", "/orders/7", "cors", 401),
        // After a login the browser would come back and ask for a page.
        ("POST", "/orders/7", "navigate", 401),
        // nginx writes the path as it reads it.
        ("GET", "/orders/%0d%0aSet-Cookie:%20a=b", "navigate", 400),
        ("GET", "/orders/..%2f..%2flogin", "navigate", 400),
        ("GET", "/nowhere", "navigate", 404),
    ] {
        let answer = ask(address, method, target, &[("Sec-Fetch-Mode", mode)]).await;
        assert_eq!(answer.status, status, "{method} {target} {mode}: {answer:?}");
        assert!(!answer.head.contains("set-cookie") && !answer.head.contains("location:"), "{target}: {answer:?}");
    }
    for target in
        ["/login?return_to=//evil.example", "/login?return_to=https://evil.example/", "/callback?code=x&state=y"]
    {
        assert_eq!(ask(address, "GET", target, &[]).await.status, 400, "{target}");
    }
    let out =
        ask(address, "POST", "/logout", &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")]).await;
    assert_eq!(out.status, 403, "{out:?}");
    assert_journey(test, &scene, &origin, true).await;
}

/// Returns the first block in this language of the part of `docs/gateway.md` about tokens in cookies.
fn documented(language: &str) -> String {
    let text =
        include_str!("../../docs/gateway.md").split_once("## Single sign-on behind a gateway").expect("a part").1;
    let block = text.split_once(&format!("```{language}\n")).expect("a block").1;
    block.split_once("```").expect("its end").0.to_owned()
}

/// Changes what has to be there.
fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from} in {text}");
        text.replace(from, to)
    })
}
