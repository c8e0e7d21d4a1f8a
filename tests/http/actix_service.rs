//! The suite's service on actix-web.

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::rt::System;
use actix_web::{App, HttpResponse, HttpServer, guard, web};
use sekisho_actix::{CheckpointExt as _, Claims, MaybePrincipal, Principal, RefusalError};
use sekisho_http::Checkpoint;
use serde_json::Value;

use crate::contract::{self, Employee, named};

/// A running service; dropping it ends it.
pub(crate) struct ActixService {
    pub(crate) url: String,
    handle: ServerHandle,
}

impl ActixService {
    /// Serves the suite's routes, by two workers on threads of their own.
    pub(crate) fn start(checkpoint: &Checkpoint) -> Self {
        let checkpoint = checkpoint.clone();
        Self::serve(move || App::new().configure(|config| routes(config, &checkpoint)))
    }

    /// Serves any app.
    pub(crate) fn serve<T, B>(app: impl Fn() -> App<T> + Clone + Send + 'static) -> Self
    where
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<B>,
                Error = actix_web::Error,
                InitError = (),
            > + 'static,
        B: MessageBody + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            System::new().block_on(async move {
                let server = HttpServer::new(app).workers(2).disable_signals().bind(("127.0.0.1", 0)).expect("a port");
                let address = *server.addrs().first().expect("an address");
                let server = server.run();
                sender.send((format!("http://{address}"), server.handle())).expect("the test waits");
                server.await.expect("it serves");
            });
        });
        let (url, handle) = receiver.recv().expect("it starts");
        Self { url, handle }
    }
}

impl Drop for ActixService {
    fn drop(&mut self) {
        // The order is given by the call; the future would only wait for it to be carried out.
        drop(self.handle.stop(false));
    }
}

pub(crate) fn routes(config: &mut web::ServiceConfig, checkpoint: &Checkpoint) {
    let ruled = |path: &'static str, rule| web::resource(path).wrap(checkpoint.require(rule)).route(web::get().to(me));
    let post = web::resource("/orders").guard(guard::Post()).wrap(checkpoint.require(contract::write()));
    let options = web::method(actix_web::http::Method::OPTIONS).to(HttpResponse::NoContent);
    config
        .service(checkpoint.metadata_resource())
        .service(web::resource("/optional").wrap(checkpoint.optional_middleware()).route(web::get().to(optional)))
        .route("/unguarded", web::get().to(me))
        .service(
            web::resource("/unguarded-rule")
                .wrap(checkpoint.require(contract::write()))
                .route(web::get().to(|| async { "passed" })),
        )
        .service(
            web::scope("/nested")
                .wrap(checkpoint.middleware())
                .route("/orders", web::get().to(me))
                .route("/public/hello", web::get().to(|| async { "hello" }))
                .route("/open", web::get().to(|| async { "hello" })),
        )
        .service(
            web::scope("")
                .service(post.route(web::post().to(me)))
                .service(web::resource("/orders").route(web::get().to(me)).route(options))
                .service(ruled("/both", contract::both()))
                .service(ruled("/each", contract::each()))
                .service(ruled("/any", contract::any()))
                .service(ruled("/admin", contract::admin()))
                .service(ruled("/step-up", contract::step_up()))
                .route("/in-handler", web::get().to(in_handler))
                .route("/claims", web::get().to(claims))
                .route("/public/hello", web::get().to(|| async { "hello" }))
                .route("/public/caller", web::get().to(me))
                .wrap(checkpoint.middleware()),
        );
}

async fn me(caller: Principal) -> web::Json<Value> {
    web::Json(named(&caller))
}

async fn in_handler(caller: Principal) -> Result<web::Json<Value>, RefusalError> {
    caller.require(&contract::write())?;
    Ok(web::Json(named(&caller)))
}

async fn claims(Claims(employee): Claims<Employee>) -> web::Json<Employee> {
    web::Json(employee)
}

async fn optional(MaybePrincipal(caller): MaybePrincipal) -> web::Json<Value> {
    web::Json(caller.map_or(Value::Null, |caller| named(&caller)))
}
