//! A case in a process of its own.

use actix_session::SessionMiddleware;
use actix_web::cookie::Key;
use actix_web::{App, HttpServer, web};
use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use sekisho_benches::process::end_with_the_bench;

use crate::{cases, ours, peers};

pub(crate) const BODY: &str = "ok";

/// Serves one case until the standard input ends; prints the port.
pub(crate) fn serve(case: &str, place: &str) {
    let (service, operation) = case.split_once(": ").unwrap_or((case, ""));
    let (library, store) = service.split_once(", ").unwrap_or((service, ""));
    if case == cases::BARE_ACTIX || library.contains("actix") {
        actix_web::rt::System::new().block_on(serve_actix(library, store, place));
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let router = match library {
            cases::BARE_AXUM => Router::new().route("/login", get(async || BODY)).route("/orders", get(async || BODY)),
            "sekisho" if operation == "read and touch" => {
                ours::router(ours::sessions_to_touch(store, place).await, operation)
            }
            "sekisho" => ours::router(ours::sessions(store, place).await, operation),
            _ => peers::router(library, store, operation, place).await,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        end_with_the_bench();
        // On the worker thread, as in a service; the main thread only waits.
        tokio::spawn(async move { axum::serve(listener, router).await }).await.unwrap().unwrap();
    });
}

async fn serve_actix(library: &str, store: &str, place: &str) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    end_with_the_bench();
    match (library, store) {
        (cases::BARE_ACTIX, _) => {
            let app = || {
                let bare = || web::get().to(async || BODY);
                App::new().route("/login", bare()).route("/orders", bare())
            };
            HttpServer::new(app).workers(1).listen(listener).unwrap().run().await.unwrap();
        }
        ("sekisho-actix", store) => {
            let sessions = ours::sessions(store, place).await;
            let app = move || {
                let layer = sekisho_actix::SessionMiddleware::new(sessions.clone());
                App::new().configure(ours::configure).wrap(layer)
            };
            HttpServer::new(app).workers(1).listen(listener).unwrap().run().await.unwrap();
        }
        ("actix-session", "Redis") => {
            let (store, key) = (peers::redis_store(place).await, Key::generate());
            let app =
                move || App::new().configure(peers::configure).wrap(SessionMiddleware::new(store.clone(), key.clone()));
            HttpServer::new(app).workers(1).listen(listener).unwrap().run().await.unwrap();
        }
        ("actix-session", _) => {
            let key = Key::generate();
            let app = move || {
                App::new().configure(peers::configure).wrap(SessionMiddleware::new(peers::cookie_store(), key.clone()))
            };
            HttpServer::new(app).workers(1).listen(listener).unwrap().run().await.unwrap();
        }
        other => panic!("no case {other:?}"),
    }
}
