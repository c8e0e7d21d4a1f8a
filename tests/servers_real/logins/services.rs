//! Services that people log in to, each in this process, with their sessions in a real Redis.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use sekisho_axum::{
    ApiProxyExt as _, BffExt as _, CheckpointExt as _, Principal, RefusalResponse, Session, SessionLayer,
};
use sekisho_core::{authentication_context, max_age};
use sekisho_gateway::Upstream;
use sekisho_http::Checkpoint;
use sekisho_jwt::{Jwt, Verifier};
use sekisho_oidc::{ApiProxy, ApiRoute, Bff, ClientCredentials, Provider, ProviderBuilder, RelyingParty};
use sekisho_redis::{Redis, RedisSessionStore};
use sekisho_session::{CsrfRules, LoginRedirect, SessionKey, SessionKeys, SessionRules, Sessions};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long ago somebody may have logged in who wants to be paid out.
pub(crate) const FRESH: Duration = Duration::from_secs(10);

/// A port that is taken, so that a provider can be told of it before anything runs there.
pub(crate) struct Place {
    pub(crate) origin: String,
    listener: TcpListener,
}

impl Place {
    /// `host`: a name or address of this machine; browsers send cookies to a host whatever the port.
    pub(crate) async fn at(host: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        Self { origin: format!("http://{host}:{port}"), listener }
    }

    pub(crate) fn callback(&self) -> String {
        format!("{}/bff/callback", self.origin)
    }

    /// A provider is on this machine too.
    pub(crate) fn backchannel(&self) -> String {
        format!("http://{}/bff/backchannel", self.address())
    }

    /// Returns where it listens, whatever its name.
    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().expect("an address").to_string()
    }

    /// Gives the place up, for a server that is another process.
    pub(crate) fn into_port(self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    pub(crate) fn serve(self, app: Router) -> JoinHandle<()> {
        self.run(|listener| async move { axum::serve(listener, app).await.expect("it serves") })
    }

    pub(crate) fn run<S: Future<Output = ()> + Send + 'static>(
        self,
        serve: impl FnOnce(TcpListener) -> S,
    ) -> JoinHandle<()> {
        tokio::spawn(serve(self.listener))
    }
}

/// What services that share logins share.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) sessions: Sessions,
    keys: SessionKeys,
}

impl Group {
    /// `name` keeps groups apart that share the Redis.
    pub(crate) fn new(redis_url: &str, name: &str) -> Self {
        let prefix = format!("logins-{}-{name}", std::process::id());
        let redis = Redis::standalone(redis_url).with_prefix(prefix).build().expect("a client");
        let keys = SessionKeys::new(SessionKey::generate().expect("a key"));
        let store = Arc::new(RedisSessionStore::new(redis));
        let sessions = Sessions::builder(store, keys.clone()).with_rotation_grace(Duration::from_secs(2)).build();
        Self { sessions: sessions.expect("sessions"), keys }
    }

    /// The same store and keys, as another process would open them.
    fn party(&self, place: &Place, provider: Provider) -> RelyingParty {
        RelyingParty::builder(self.sessions.clone(), self.keys.clone())
            .with_provider("people", provider)
            .with_origin(&place.origin)
            .with_post_logout_url(format!("{}/", place.origin))
            .build()
            .expect("a relying party")
    }
}

/// Where a service is a client.
pub(crate) struct Client<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) credentials: ClientCredentials,
    pub(crate) scopes: &'a [&'a str],
}

/// A running service; dropping it ends it.
pub(crate) struct Service {
    pub(crate) origin: String,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts it; calls below `/bff/api` go to the service at `api`.
    pub(crate) fn start(title: &'static str, place: Place, group: &Group, client: &Client<'_>, api: &Api) -> Self {
        let Client { issuer, credentials, scopes } = client;
        let provider: ProviderBuilder = Provider::discover(*issuer, credentials.clone()).redirect_uri(place.callback());
        let provider = provider.with_scopes(scopes.iter().copied()).build().expect("a provider");
        let party = group.party(&place, provider);
        let csrf = CsrfRules::new().with_own_origin(&place.origin).expect("an origin");
        let bff = Bff::builder(party).with_csrf(csrf.clone()).build().expect("a backend");
        let upstream = Upstream::new("orders", &api.url).expect("an address");
        let route = ApiRoute::new("/token", ["GET", "POST"], &upstream);
        let proxy = ApiProxy::builder(&bff).with_route(route).build().expect("a proxy");

        let sessions = &group.sessions;
        let checkpoint = Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator());
        let checkpoint = checkpoint.build().expect("a checkpoint");
        let login = LoginRedirect::to("/bff/login").expect("a page");
        let rules = SessionRules::new(sessions.clone()).with_csrf(csrf).with_login_redirect(login);
        let pages = Router::new()
            .route("/vault", get(vault))
            .route_layer(checkpoint.require(authentication_context(["gold"])))
            .merge(Router::new().route("/payout", get(payout)).route_layer(checkpoint.require(max_age(FRESH))))
            .route("/orders/{number}", get(order))
            .layer(checkpoint.layer())
            .route("/", get(home))
            .layer(SessionLayer::new(rules))
            .with_state(title);
        let origin = place.origin.clone();
        let task = place.serve(pages.merge(bff.router()).merge(proxy.router()));
        Self { origin, task }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn home(State(title): State<&'static str>, session: Session<()>) -> Result<Html<String>, RefusalResponse> {
    let who = session.principal().map_err(|failure| sekisho_http::Answer::of_failure(&failure))?;
    Ok(page(title, "Home", who.as_ref()))
}

async fn order(State(title): State<&'static str>, Path(number): Path<u32>, caller: Principal) -> Html<String> {
    page(title, &format!("Order {number}"), Some(&*caller))
}

async fn payout(State(title): State<&'static str>, caller: Principal) -> Html<String> {
    page(title, "Paid out", Some(&*caller))
}

async fn vault(State(title): State<&'static str>, caller: Principal) -> Html<String> {
    page(title, "Vault", Some(&*caller))
}

fn page(title: &str, heading: &str, who: Option<&sekisho_core::Principal>) -> Html<String> {
    let name = who.and_then(|who| Some(who.claims().get("preferred_username")?.as_str()?.into_owned()));
    let name = name.or_else(|| who.map(|who| who.subject().to_owned()));
    let (name, button) = match &name {
        Some(name) => (&**name, "<form method=post action=/bff/logout><button>Sign out</button></form>"),
        None => ("nobody", "<a href=/orders/7>Sign in</a>"),
    };
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><link rel=icon href=data:,>\
         <body style=\"font:18px sans-serif;margin:3em\"><p>{title}</p><h1>{heading}</h1><p>You are <b id=who>{name}</b></p>{button}"
    ))
}

/// The service behind the others: it takes access tokens, and tells which one it got.
pub(crate) struct Api {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Api {
    pub(crate) async fn start(issuer: &str, audience: &str) -> Self {
        let verifier = Jwt::issuer(issuer).audience(audience).with_leeway(Duration::ZERO).build();
        Self::with(verifier.expect("a verifier")).await
    }

    async fn with(verifier: Verifier) -> Self {
        let checkpoint = Checkpoint::builder().accept(verifier).build().expect("a checkpoint");
        let token = async |caller: Principal, headers: axum::http::HeaderMap| -> Json<Value> {
            let names: Vec<_> = headers.keys().map(ToString::to_string).collect();
            Json(json!({ "token": caller.token_id(), "subject": caller.subject(), "headers": names }))
        };
        let place = Place::at("127.0.0.1").await;
        let url = place.origin.clone();
        let app = Router::new().route("/token", get(token).post(token)).layer(checkpoint.layer());
        Self { url, task: place.serve(app) }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}
