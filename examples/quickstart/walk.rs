use std::error::Error;
use std::time::Duration;

use reqwest::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Method};
use sekisho::{Clock, SystemClock};
use sekisho_testkit::{Endpoint, Issuer, ServedIssuer};

use crate::service::Service;

/// Is how the service is named in `aud`.
pub(crate) const AUDIENCE: &str = "orders-api";

/// Is one stop of the walk: what is sent, and what must come back.
struct Stop {
    title: &'static str,
    method: Method,
    token: Option<String>,
    expected: u16,
}

/// Sends each kind of token to the service and prints what happens.
pub(crate) async fn walk(provider: &ServedIssuer, service: &Service) -> Result<(), Box<dyn Error>> {
    println!("Identity provider  {}", provider.url());
    println!("Guarded service    {}/orders", service.url());
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    for (number, stop) in stops(provider).into_iter().enumerate() {
        visit(number + 1, &stop, &client, service).await?;
    }
    rotate(provider, &client, service).await
}

fn stops(provider: &ServedIssuer) -> Vec<Stop> {
    let token = || provider.token().subject("alice").audience(AUDIENCE).scope("orders:read");
    // The attacker knows everything that is public: the name of the provider, and of its key.
    let attacker = Issuer::with_url(provider.url()).signing_key().with_kid(provider.issuer().signing_key().kid());
    let stop = |title, method, token, expected| Stop { title, method, token, expected };
    let (get, post) = (Method::GET, Method::POST);
    vec![
        stop("No token at all", get.clone(), None, 401),
        stop("A good token", get.clone(), Some(token().sign()), 200),
        stop("An expired token", get.clone(), Some(token().expired().sign()), 401),
        stop("A token for another audience", get.clone(), Some(token().audience("billing-api").sign()), 401),
        stop(
            "A token signed by another key, under the right name",
            get,
            Some(token().signed_by(&attacker).sign()),
            401,
        ),
        stop("A good token without the scope for this route", post.clone(), Some(token().sign()), 403),
        stop("A good token with the scope", post, Some(token().scope("orders:read orders:write").sign()), 200),
    ]
}

/// Changes the provider's key while the service runs.
async fn rotate(provider: &ServedIssuer, client: &Client, service: &Service) -> Result<(), Box<dyn Error>> {
    // The source asks for an unknown key at most once a second here.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let before = provider.requests_to(Endpoint::KeySet);
    let sign = || Some(provider.token().subject("alice").audience(AUDIENCE).sign());
    let old = sign();
    provider.rotate();
    let title = "The provider has rotated its key: a token signed by the new one";
    visit(8, &Stop { title, method: Method::GET, token: sign(), expected: 200 }, client, service).await?;
    println!(
        "   fetched    the key set, {} time(s), because the key was unknown",
        provider.requests_to(Endpoint::KeySet) - before
    );
    let title = "A token signed by the old key, which is still published";
    visit(9, &Stop { title, method: Method::GET, token: old, expected: 200 }, client, service).await
}

async fn visit(number: usize, stop: &Stop, client: &Client, service: &Service) -> Result<(), Box<dyn Error>> {
    let Stop { title, method, token, expected } = stop;
    let url = format!("{}/orders", service.url());
    println!("\n{number}. {title}");
    let bearer = token.as_deref().map(|token| format!(" -H 'Authorization: Bearer {token}'")).unwrap_or_default();
    println!("   try        curl -i -X {method}{bearer} {url}");

    let mut request = client.request(method.clone(), &url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await?;
    println!("   status     {}", response.status());
    for name in [WWW_AUTHENTICATE, RETRY_AFTER] {
        for value in response.headers().get_all(&name) {
            println!("   {:<10} {}", if name == WWW_AUTHENTICATE { "challenge" } else { "retry" }, value.to_str()?);
        }
    }
    println!("   reason     {}", reason(token.as_deref(), response.status().as_u16(), service).await);
    if response.status().as_u16() != *expected {
        return Err(format!("{title}: expected {expected}, got {}", response.status()).into());
    }
    Ok(())
}

/// Says in words what only the service's own log says; the caller is not told.
async fn reason(token: Option<&str>, status: u16, service: &Service) -> String {
    let Some(token) = token else { return "no credential came, so the challenge names no error".to_owned() };
    match (service.verifier.verify(token, SystemClock.now()).await, status) {
        (Err(refusal), _) => refusal.to_string(),
        (Ok(caller), 403) => format!("{} may come in, but not do this: granted is `{}`", caller.id(), caller.scope()),
        (Ok(caller), _) => format!("every check passed; the caller is {}", caller.id()),
    }
}

/// Leaves the reader with something to do.
pub(crate) fn print_invitation(provider: &ServedIssuer, service: &Service) {
    let token = provider.token().subject("you").audience(AUDIENCE).scope("orders:read orders:write");
    println!(
        "\nThe service stays until Ctrl-C, and explains each request that it refuses. A token for five minutes:\n"
    );
    println!("  TOKEN={}", token.sign());
    println!("  curl -i -H \"Authorization: Bearer $TOKEN\" {}/orders", service.url());
    println!("  curl -i -H \"Authorization: Bearer ${{TOKEN}}x\" {}/orders\n", service.url());
}
