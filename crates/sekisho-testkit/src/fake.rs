use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Authenticate, Credential, Failure, Principal, Refusal, Reject, UnixSeconds};

/// Stands in for an authenticator where keys and tokens do not matter: the credential itself says what becomes of it.
///
/// - `good…` is `alice` of `https://id.example` with the scope `a`.
/// - `down…` is a failure of our side.
/// - Anything else is refused as a bad signature.
/// - What ends in `-slow` has to wait: it is not answered from memory.
///
/// # Examples
/// ```
/// use sekisho_core::{Authenticate, Credential, UnixSeconds};
/// use sekisho_testkit::FakeAuthenticator;
/// let caller = FakeAuthenticator.authenticate_now(Credential::bearer("good"), UnixSeconds::new(0)).unwrap()?;
/// assert_eq!(caller.subject(), "alice");
/// # Ok::<(), sekisho_core::Refusal>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct FakeAuthenticator;

#[async_trait]
impl Authenticate for FakeAuthenticator {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        (!credential.expose().ends_with("-slow")).then(|| answer(credential))
    }

    async fn authenticate(&self, credential: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> {
        tokio::task::yield_now().await;
        answer(credential)
    }
}

fn answer(credential: Credential<'_>) -> Result<Principal, Refusal> {
    match credential.expose() {
        value if value.starts_with("good") => PrincipalBuilder::new("https://id.example", "alice")
            .with_scope("a")
            .build()
            .map_err(|error| Failure::unavailable("the fake principal").with_source(error).into()),
        value if value.starts_with("down") => Err(Failure::unavailable("keys").into()),
        _ => Err(Reject::Signature.into()),
    }
}
