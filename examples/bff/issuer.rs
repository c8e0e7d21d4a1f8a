use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho::issuer::{
    AuthenticatedUser, AuthorizationServer, Client, ClientAuthentication, ClientSecret, Essentials, IssuerKeys,
    KeyRotation, Lifetimes, LoginCheck, LoginOutcome, MasterKey, MemoryKeyStore, MemoryStore, PasswordAttempt,
    SecondFactorAttempt, StaticClients,
};
use sekisho::{Algorithm, Clock, Failure, Secret, SystemClock, UnixSeconds};

use crate::Running;

/// The password of the one user, in the open because it is an example.
pub(crate) const PASSWORD: &str = "open sesame";

/// Makes the authentication service; returns the secret of its one client too, which both services are.
pub(crate) async fn server(
    running: &Running,
    lifetime: Duration,
) -> Result<(AuthorizationServer, Secret), Box<dyn Error>> {
    let Running { issuer, shop, billing } = running;
    let (secret, hash) = ClientSecret::generate()?;
    let client = Client::confidential("shop", ClientAuthentication::Secret(vec![hash]))
        .with_name("The Shop")
        .with_redirect_uri(format!("{shop}/bff/callback"))
        .with_redirect_uri(format!("{billing}/bff/callback"))
        .with_post_logout_redirect_uri(format!("{shop}/bye"))
        .with_post_logout_redirect_uri(format!("{billing}/bye"))
        .with_scopes("openid orders:read")
        .with_audience("orders-api")
        .with_refresh_tokens()
        .build()?;
    let (key_store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate()?);
    let algorithms = [Algorithm::Es256];
    let keys = IssuerKeys::open(key_store, master, &algorithms, KeyRotation::default(), SystemClock.now()).await?;
    let essentials = Essentials {
        clients: Arc::new(StaticClients::new([client])?),
        login: Arc::new(Alice),
        store: Arc::new(MemoryStore::new()),
        keys: Arc::new(keys),
    };
    let mut lifetimes = Lifetimes::default();
    lifetimes.access_token = lifetime;
    Ok((AuthorizationServer::builder(issuer, essentials).with_lifetimes(lifetimes).build()?, secret))
}

/// Knows one user. A real service asks `sekisho-credentials`, which slows down whoever guesses.
#[derive(Debug)]
struct Alice;

#[async_trait]
impl LoginCheck for Alice {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        if attempt.username != "alice" || *attempt.password != Secret::from(PASSWORD) {
            return Ok(LoginOutcome::Refused);
        }
        Ok(LoginOutcome::Authenticated(AuthenticatedUser {
            subject: "alice".to_owned(),
            methods: vec!["pwd".to_owned()],
            context: None,
            authenticated_at: now,
            revision: None,
        }))
    }

    async fn second_factor(&self, _: SecondFactorAttempt<'_>, _: UnixSeconds) -> Result<LoginOutcome, Failure> {
        Ok(LoginOutcome::Refused)
    }
}
