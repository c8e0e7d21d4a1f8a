//! The same rules on the requests of a `reqwest` client, over real connections.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, reqwest};
use sekisho_core::UnixSeconds;
use sekisho_jwt::{Backend, DpopSigner};
use sekisho_oidc::{AllowedOrigins, ServiceTokenMiddleware, TokenError, TokenRequest};
use sekisho_testkit::FixedClock;
use tokio::net::TcpListener;

use crate::support::{Endpoint, NOW, at, builder, good, refuse};

type Answer = Box<dyn Fn(usize) -> Response + Send + Sync>;

/// Is a server on a port of its own, which keeps what came.
struct Server {
    url: String,
    seen: Arc<Seen>,
}

struct Seen {
    headers: Mutex<Vec<HeaderMap>>,
    answer: Answer,
}

impl Server {
    async fn start(answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Seen { headers: Mutex::default(), answer: Box::new(answer) });
        let handler = |State(seen): State<Arc<Seen>>, request: Request| async move {
            let mut headers = seen.headers.lock().unwrap();
            headers.push(request.headers().clone());
            (seen.answer)(headers.len())
        };
        let router = Router::new().fallback(handler).with_state(Arc::clone(&seen));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    async fn refusing_first() -> Self {
        Self::start(|number| if number == 1 { refused() } else { StatusCode::OK.into_response() }).await
    }

    fn tokens(&self) -> Vec<Option<String>> {
        let headers = self.seen.headers.lock().unwrap();
        let value = |headers: &HeaderMap| Some(headers.get("authorization")?.to_str().unwrap().to_owned());
        headers.iter().map(value).collect()
    }
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)]).into_response()
}

fn wanted() -> TokenRequest {
    TokenRequest::client_credentials().with_audience("stock")
}

async fn client_at(servers: &[&Server], is_dpop: bool, now: UnixSeconds) -> (ClientWithMiddleware, Arc<Endpoint>) {
    let endpoint = Endpoint::new(move |number, _| {
        let mut answer = good(number, 3600);
        answer["token_type"] = if is_dpop { "DPoP" } else { "Bearer" }.into();
        Some((200, answer))
    });
    let builder = builder(&endpoint).with_clock(Arc::new(FixedClock::at(now)));
    let builder = if is_dpop { builder.with_dpop(DpopSigner::generate(Backend::aws_lc()).unwrap()) } else { builder };
    let tokens = builder.build().unwrap();
    tokens.token(&wanted(), NOW).await.unwrap();
    let origins = AllowedOrigins::new(servers.iter().map(|server| &*server.url)).unwrap();
    let middleware = ServiceTokenMiddleware::new(tokens, origins).with_default(wanted());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    (ClientBuilder::new(client).with(middleware).build(), endpoint)
}

async fn client(servers: &[&Server]) -> (ClientWithMiddleware, Arc<Endpoint>) {
    client_at(servers, false, at(10)).await
}

fn bearer(number: usize) -> Option<String> {
    Some(format!("Bearer at-{number}"))
}

#[tokio::test]
async fn a_token_goes_to_listed_servers_and_to_nobody_else() {
    let (stock, other) = (Server::start(|_| "ok".into_response()).await, Server::start(|_| refused()).await);
    let (client, endpoint) = client(&[&stock]).await;
    client.get(format!("{}/a", stock.url)).send().await.unwrap();
    client.get(&other.url).send().await.unwrap();
    // The same port by another name is another origin.
    client.get(stock.url.replace("127.0.0.1", "localhost")).send().await.unwrap();
    client.get(&stock.url).bearer_auth("own").send().await.unwrap();
    let own = Some("Bearer own".to_owned());
    assert_eq!((stock.tokens(), other.tokens()), (vec![bearer(1), None, own], vec![None]));
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn a_redirect_to_another_server_takes_no_token_along() {
    let evil = Server::start(|_| "ok".into_response()).await;
    let location = format!("{}/take", evil.url);
    let redirect = move |_| (StatusCode::FOUND, [(header::LOCATION, location.clone())]).into_response();
    let stock = Server::start(redirect).await;
    let (client, _) = client(&[&stock]).await;
    assert_eq!(client.get(&stock.url).send().await.unwrap().status(), 200);
    assert_eq!((stock.tokens(), evil.tokens()), (vec![bearer(1)], vec![None]));
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_request_sent_again_once() {
    let stock = Server::refusing_first().await;
    let (client, _) = client(&[&stock]).await;
    let answer = client.post(&stock.url).body("in memory").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(stock.tokens(), [bearer(1), bearer(2)]);

    let stubborn = Server::start(|_| refused()).await;
    let (client, endpoint) = self::client(&[&stubborn]).await;
    assert_eq!(client.get(&stubborn.url).send().await.unwrap().status(), 401);
    assert_eq!((stubborn.tokens(), endpoint.count()), (vec![bearer(1), bearer(2)], 2));
}

#[tokio::test]
async fn a_request_that_could_do_its_work_twice_is_not_sent_again() {
    let stock = Server::start(|_| StatusCode::UNAUTHORIZED.into_response()).await;
    let (client, _) = client(&[&stock]).await;
    assert_eq!(client.post(&stock.url).send().await.unwrap().status(), 401);
    assert_eq!(stock.tokens(), [bearer(1)]);
}

#[tokio::test]
async fn each_request_has_a_proof_of_its_own_with_the_servers_nonce_sent_again_once() {
    let ask = |_| {
        let challenge = (header::WWW_AUTHENTICATE, r#"DPoP error="use_dpop_nonce""#.to_owned());
        (StatusCode::UNAUTHORIZED, [challenge, ("dpop-nonce".parse().unwrap(), "n-1".to_owned())]).into_response()
    };
    let stock = Server::start(ask).await;
    let (client, endpoint) = client_at(&[&stock], true, at(10)).await;
    assert_eq!(client.get(format!("{}/a?b", stock.url)).send().await.unwrap().status(), 401);
    let dpop = Some("DPoP at-1".to_owned());
    assert_eq!((stock.tokens(), endpoint.count()), (vec![dpop.clone(), dpop], 1));
    let headers = stock.seen.headers.lock().unwrap();
    let proofs: Vec<serde_json::Value> = headers
        .iter()
        .map(|headers| {
            let proof = headers["dpop"].to_str().unwrap().split('.').nth(1).unwrap();
            serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(proof).unwrap()).unwrap()
        })
        .collect();
    assert_eq!((proofs[0].get("nonce"), &proofs[1]["nonce"]), (None, &"n-1".into()));
    assert_eq!(proofs[1]["htu"], format!("{}/a", stock.url));
}

#[tokio::test]
async fn a_request_says_in_whose_name_it_goes_and_without_a_token_it_does_not_go() {
    let stock = Server::start(|_| "ok".into_response()).await;
    let (client, endpoint) = client(&[&stock]).await;
    client.get(&stock.url).with_extension(TokenRequest::exchange("alice")).send().await.unwrap();
    assert_eq!(endpoint.form(1)["subject_token"], ["alice"]);
    endpoint.then(|_, _| refuse("invalid_grant"));
    let error = client.get(&stock.url).with_extension(TokenRequest::exchange("bob")).send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error:?}") };
    assert!(matches!(error.downcast_ref(), Some(TokenError::Grant)), "{error:?}");
    assert_eq!(stock.tokens(), [bearer(2)]);
}
