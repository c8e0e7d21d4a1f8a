use async_trait::async_trait;
use sekisho::issuer::{AuthenticatedUser, LoginCheck, LoginOutcome, PasswordAttempt, SecondFactorAttempt};
use sekisho::{Failure, Secret, UnixSeconds};

/// The password of the one user, in the open because it is an example.
pub(crate) const PASSWORD: &str = "open sesame";

/// Knows alice.
#[derive(Debug)]
pub(crate) struct DemoLogin;

#[async_trait]
impl LoginCheck for DemoLogin {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        if attempt.username != "alice" || *attempt.password != Secret::from(PASSWORD) {
            return Ok(LoginOutcome::Refused);
        }
        Ok(LoginOutcome::Authenticated(AuthenticatedUser {
            subject: "alice".to_owned(),
            methods: vec!["pwd".to_owned()],
            context: None,
            authenticated_at: now,
        }))
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}
