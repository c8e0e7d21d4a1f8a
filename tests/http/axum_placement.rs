//! Where the axum layer may stand: it guards what it is put around, all of it, and nothing that forgot it passes.

use axum::Router;
use axum::routing::get;
use sekisho_axum::{CheckpointExt as _, Principal};
use sekisho_core::scope;
use sekisho_http::Checkpoint;
use sekisho_jwks::StaticKeys;
use sekisho_jwt::Jwt;
use sekisho_testkit::Issuer;

use crate::axum_service::AxumService;
use crate::log::Log;

const HOUSE: &str = "house";
const CELLAR: &str = "cellar";

fn checkpoint(issuer: &Issuer, audience: &str) -> Checkpoint {
    let keys = StaticKeys::from_set(&issuer.keys());
    Checkpoint::builder().accept(Jwt::issuer(issuer.url()).audience(audience).with_keys(keys)).build().unwrap()
}

async fn me(caller: Principal) -> String {
    caller.subject().to_owned()
}

async fn maybe(caller: Option<Principal>) -> String {
    caller.map_or_else(|| "nobody".to_owned(), |caller| caller.subject().to_owned())
}

async fn open() -> &'static str {
    "open"
}

/// A served router and who asks it.
struct Visit {
    service: AxumService,
    http: reqwest::Client,
    token: String,
}

impl Visit {
    async fn to(issuer: &Issuer, router: Router) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let token = issuer.token().audience(HOUSE).scope("orders:read").sign();
        Self { service: AxumService::serve(router).await, http, token }
    }

    async fn ask(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let mut request = self.http.get(format!("{}{path}", self.service.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    async fn good(&self, path: &str) -> (u16, String) {
        self.ask(path, Some(&self.token)).await
    }

    /// Returns the statuses without a credential, with a bad one and with a good one.
    async fn statuses(&self, path: &str) -> [u16; 3] {
        [self.ask(path, None).await.0, self.ask(path, Some("a.b.c")).await.0, self.good(path).await.0]
    }
}

const GUARDED: [u16; 3] = [401, 401, 200];

#[tokio::test]
async fn a_layer_guards_every_route_and_the_fallback() {
    let issuer = Issuer::new();
    let inner = Router::new().route("/", get(me)).route("/deep", get(me));
    let router = Router::new().route("/me", get(me)).route("/items/{id}", get(me)).nest("/inner", inner);
    let visit = Visit::to(&issuer, router.layer(checkpoint(&issuer, HOUSE).layer())).await;
    for path in ["/me", "/items/7", "/inner", "/inner/deep"] {
        assert_eq!(visit.statuses(path).await, GUARDED, "{path}");
    }
    // Nobody learns without a token which routes there are.
    assert_eq!(visit.statuses("/nowhere").await, [401, 401, 404]);
    assert_eq!(visit.good("/me").await.1, "u1");
}

#[tokio::test]
async fn a_route_layer_guards_the_routes_and_leaves_404_alone() {
    let issuer = Issuer::new();
    let router = Router::new().route("/me", get(me)).route("/items/{id}", get(me));
    let visit = Visit::to(&issuer, router.route_layer(checkpoint(&issuer, HOUSE).layer())).await;
    for path in ["/me", "/items/7"] {
        assert_eq!(visit.statuses(path).await, GUARDED, "{path}");
    }
    assert_eq!(visit.statuses("/nowhere").await, [404, 404, 404]);
}

#[tokio::test]
async fn a_layer_of_one_route_guards_that_route() {
    let issuer = Issuer::new();
    let checkpoint = checkpoint(&issuer, HOUSE);
    let router = Router::new()
        .route("/me", get(me).layer(checkpoint.layer()))
        .route("/read", get(me).route_layer(checkpoint.require(scope("orders:read"))).layer(checkpoint.layer()))
        .route("/write", get(me).route_layer(checkpoint.require(scope("orders:write"))).layer(checkpoint.layer()))
        .route("/open", get(open));
    let visit = Visit::to(&issuer, router).await;
    assert_eq!(visit.statuses("/me").await, GUARDED);
    assert_eq!(visit.statuses("/read").await, GUARDED);
    assert_eq!(visit.statuses("/write").await, [401, 401, 403]);
    assert_eq!(visit.statuses("/open").await, [200, 200, 200]);
}

#[tokio::test]
async fn a_layer_in_a_nested_router_guards_that_router_alone() {
    let issuer = Issuer::new();
    let nested = Router::new().route("/me", get(me)).layer(checkpoint(&issuer, HOUSE).layer());
    let deeper = Router::new().nest("/b", nested);
    let visit = Visit::to(&issuer, Router::new().route("/open", get(open)).nest("/a", deeper)).await;
    assert_eq!(visit.statuses("/a/b/me").await, GUARDED);
    assert_eq!(visit.statuses("/open").await, [200, 200, 200]);
}

#[tokio::test]
async fn of_nested_checkpoints_both_must_pass_and_the_inner_one_names_the_caller() {
    let issuer = Issuer::new();
    let cellar = Router::new().route("/me", get(me)).layer(checkpoint(&issuer, CELLAR).layer());
    let house = Router::new().route("/me", get(me)).nest("/cellar", cellar);
    let visit = Visit::to(&issuer, house.layer(checkpoint(&issuer, HOUSE).layer())).await;
    assert_eq!(visit.statuses("/me").await, GUARDED);
    assert_eq!(visit.statuses("/cellar/me").await, [401, 401, 401]);
    let only_cellar = issuer.token().audience(CELLAR).sign();
    assert_eq!(visit.ask("/cellar/me", Some(&only_cellar)).await.0, 401);
    let both = issuer.token().claim("aud", vec![HOUSE, CELLAR]).sign();
    assert_eq!(visit.ask("/cellar/me", Some(&both)).await, (200, "u1".to_owned()));
}

#[tokio::test]
async fn a_rule_of_another_checkpoint_does_not_take_its_principal_for_granted() {
    let issuer = Issuer::new();
    let (house, cellar) = (checkpoint(&issuer, HOUSE), checkpoint(&issuer, CELLAR));
    let router = Router::new().route("/me", get(me).layer(cellar.require(scope("orders:read"))));
    let visit = Visit::to(&issuer, router.layer(house.layer())).await;
    assert_eq!(visit.good("/me").await.0, 500);
}

#[tokio::test]
async fn an_optional_layer_lets_nobody_pass_as_nobody_and_still_refuses_a_bad_credential() {
    let issuer = Issuer::new();
    let checkpoint = checkpoint(&issuer, HOUSE);
    let router = Router::new()
        .route("/maybe", get(maybe))
        .route("/me", get(me))
        .route("/ruled", get(maybe).layer(checkpoint.require(scope("orders:read"))));
    let visit = Visit::to(&issuer, router.layer(checkpoint.optional_layer())).await;
    assert_eq!(visit.ask("/maybe", None).await, (200, "nobody".to_owned()));
    assert_eq!(visit.good("/maybe").await, (200, "u1".to_owned()));
    assert_eq!(visit.statuses("/maybe").await, [200, 401, 200]);
    // The handler or a rule may still insist.
    assert_eq!(visit.statuses("/me").await, GUARDED);
    assert_eq!(visit.statuses("/ruled").await, GUARDED);
}

#[tokio::test]
async fn a_missing_layer_is_a_500_that_says_in_the_log_what_to_do() {
    let issuer = Issuer::new();
    let checkpoint = checkpoint(&issuer, HOUSE);
    let router = Router::new()
        .route("/guarded", get(me))
        .layer(checkpoint.layer())
        // Added after the layer, so it is not behind it: the mistake that is easy to make.
        .route("/late", get(me))
        .route("/late-maybe", get(maybe))
        .route("/late-rule", get(open).layer(checkpoint.require(scope("orders:read"))));
    let visit = Visit::to(&issuer, router).await;
    assert_eq!(visit.statuses("/guarded").await, GUARDED);
    for path in ["/late", "/late-maybe", "/late-rule"] {
        let log = Log::start();
        for token in [None, Some("a.b.c"), Some(&*visit.token)] {
            let (status, body) = visit.ask(path, token).await;
            assert_eq!(status, 500, "{path}");
            assert!(body.contains("\"status\":500"), "{path}: {body}");
            let said = log.take();
            assert!(said.starts_with("ERROR") && said.lines().count() == 1, "{path}: {said:?}");
            assert!(said.contains("no checkpoint guards this route: put the checkpoint's layer around it"), "{said:?}");
            // The caller is told nothing about how the service is made.
            assert!(!body.contains("checkpoint"), "{path}: {body}");
        }
    }
}
