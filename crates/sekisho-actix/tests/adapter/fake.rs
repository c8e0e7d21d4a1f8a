use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Authenticate, Credential, Failure, Principal, Refusal, Reject, UnixSeconds};
use sekisho_http::Checkpoint;

/// `good…` is alice with the scope `a`, `down…` a failure, the rest is refused; it has to wait for what ends in `-slow`.
pub(crate) struct Fake;

fn answer(credential: Credential<'_>) -> Result<Principal, Refusal> {
    match credential.expose() {
        value if value.starts_with("good") => {
            Ok(PrincipalBuilder::new("https://id.example", "alice").with_scope("a").build().unwrap())
        }
        value if value.starts_with("down") => Err(Failure::unavailable("keys").into()),
        _ => Err(Reject::Signature.into()),
    }
}

#[async_trait]
impl Authenticate for Fake {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        (!credential.expose().ends_with("-slow")).then(|| answer(credential))
    }

    async fn authenticate(&self, credential: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> {
        actix_web::rt::task::yield_now().await;
        answer(credential)
    }
}

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint::builder().accept(Fake).with_public_routes(["/health"]).build().unwrap()
}
