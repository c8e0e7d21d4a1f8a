use actix_web::Error;
use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::ServiceResponse;
use sekisho_http::Checkpoint;
pub(crate) use sekisho_testkit::FakeAuthenticator as Fake;

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint::builder().accept(Fake).with_public_routes(["/health"]).build().unwrap()
}

/// Returns the status and the body, of an error as the client gets it.
pub(crate) async fn answer(response: Result<ServiceResponse<impl MessageBody + 'static>, Error>) -> (u16, String) {
    let response = match response {
        Ok(response) => response.into_parts().1.map_into_boxed_body(),
        Err(error) => error.error_response(),
    };
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}
