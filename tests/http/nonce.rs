//! The nonce for the next DPoP proof on answers that are no refusals (RFC 9449 §8.2), on both frameworks.

use actix_web::rt::System;
use actix_web::{App, HttpServer, web};
use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use sekisho_core::{AcceptedProofs, Authenticate, Credential, Principal, Refusal, UnixSeconds, scope};
use sekisho_http::Checkpoint;
use sekisho_testkit::FakeAuthenticator;
use tokio::net::TcpListener;

/// Takes no notice of proofs, and makes nonces all the same.
struct Nonced;

#[async_trait]
impl Authenticate for Nonced {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        FakeAuthenticator.authenticate_now(credential, now)
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        FakeAuthenticator.authenticate(credential, now).await
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        AcceptedProofs::none().with_dpop("ES256")
    }

    fn proof_nonce(&self, _: UnixSeconds) -> Option<String> {
        Some("n-1".to_owned())
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint::builder().accept(Nonced).with_public_url("https://api.example").build().unwrap()
}

async fn axum() -> String {
    use sekisho_axum::CheckpointExt as _;
    let checkpoint = checkpoint();
    let app = Router::new()
        .route("/me", get(|| async { "me" }))
        .route("/own", get(|| async { ([("dpop-nonce", "own")], "own") }))
        .route("/more", get(|| async { "more" }).layer(checkpoint.require(scope("nobody"))))
        .layer(checkpoint.layer());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

fn actix() -> String {
    use sekisho_actix::CheckpointExt as _;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        System::new().block_on(async move {
            let app = move || {
                let checkpoint = checkpoint();
                let own = || async { actix_web::HttpResponse::Ok().insert_header(("dpop-nonce", "own")).body("own") };
                App::new()
                    .route("/me", web::get().to(|| async { "me" }))
                    .route("/own", web::get().to(own))
                    .service(web::resource("/more").wrap(checkpoint.require(scope("nobody"))).to(|| async { "more" }))
                    .wrap(checkpoint.middleware())
            };
            let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
            sender.send(format!("http://{}", server.addrs().first().unwrap())).unwrap();
            server.run().await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

#[tokio::test]
async fn an_answer_to_a_proof_has_the_next_nonce() {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for url in [axum().await, actix()] {
        for (path, authorization, status, nonce) in [
            ("/me", Some("DPoP good"), 200, Some("n-1")),
            ("/me", Some("DPoP good-slow"), 200, Some("n-1")),
            ("/own", Some("DPoP good"), 200, Some("own")),
            ("/more", Some("DPoP good"), 403, Some("n-1")),
            ("/me", Some("Bearer good"), 200, None),
            ("/me", Some("Bearer good-slow"), 200, None),
            ("/me", Some("DPoP bad"), 401, None),
            ("/me", None, 401, None),
        ] {
            let mut request = http.get(format!("{url}{path}"));
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answer = request.send().await.unwrap();
            let found = answer.headers().get_all("dpop-nonce").iter().collect::<Vec<_>>();
            assert_eq!(answer.status().as_u16(), status, "{url} {path} {authorization:?}");
            assert_eq!(found, nonce.into_iter().collect::<Vec<_>>(), "{url} {path} {authorization:?}");
        }
    }
}
