use std::collections::BTreeMap;
use std::error::Error;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use sekisho::jwt::Profile;
use sekisho::{Clock, Jwt, SystemClock};
use serde_json::Value;
use url::Url;

use crate::Running;
use crate::users::PASSWORD;

/// Where the shop would listen; nobody does.
pub(crate) const REDIRECT_URI: &str = "https://shop.example/callback";
/// A PKCE verifier and its SHA-256, those of RFC 7636 appendix B. A real client draws a new one for each login.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

type Walk<T> = Result<T, Box<dyn Error>>;

/// Goes through login, tokens, refresh, exchange, introspection and revocation, and prints what happens.
pub(crate) async fn walk(running: &Running) -> Walk<()> {
    let client = Client::builder().redirect(Policy::none()).build()?;
    println!("Authentication service  {}", running.url);

    println!("\n1. A user signs in with her password and the code of her app, and allows the shop to read orders");
    let code = code(running, &client).await?;
    println!("   code       {}… comes back to {REDIRECT_URI}", code.get(..8).unwrap_or_default());

    println!("\n2. The shop changes the code into tokens");
    let redeem =
        [("grant_type", "authorization_code"), ("client_id", "shop"), ("code", &code), ("code_verifier", VERIFIER)];
    let tokens = ask(running, &client, "/token", None, &redeem, 200).await?;
    let access = text(&tokens, "access_token")?;
    let told = ask(running, &client, "/introspect", Some("orders-api"), &[("token", &access)], 200).await?;
    let amr = told.get("amr").map(ToString::to_string).unwrap_or_default();
    println!("   how        {amr}, {} say amr and acr", text(&told, "acr")?);
    let verifier = Jwt::issuer(&running.url).audience("orders-api").with_profile(Profile::rfc9068()).build()?;
    let caller = verifier.verify(&access, SystemClock.now()).await?;
    println!("   verified   {} may {} says the access token", caller.id(), caller.scope());

    println!("\n3. A refresh token is good once");
    let refresh = text(&tokens, "refresh_token")?;
    let again = [("grant_type", "refresh_token"), ("client_id", "shop"), ("refresh_token", &refresh)];
    ask(running, &client, "/token", None, &again, 200).await?;
    println!("   the first time it gives new tokens");

    println!("\n4. The orders service asks for a token for the billing service, in the name of the user");
    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &access),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let exchanged = ask(running, &client, "/token", Some("orders-api"), &exchange, 200).await?;
    let exchanged = text(&exchanged, "access_token")?;
    let billing = Jwt::issuer(&running.url).audience("billing-api").build()?;
    let caller = billing.verify(&exchanged, SystemClock.now()).await?;
    println!("   verified   {}, through {}", caller.id(), caller.client().unwrap_or_default());

    println!("\n5. Somebody shows the first refresh token again: all that came of the login is taken back");
    ask(running, &client, "/token", None, &again, 400).await?;
    let told = ask(running, &client, "/introspect", Some("orders-api"), &[("token", &access)], 200).await?;
    println!("   introspect {told}");

    println!("\n6. A worker gets a reference token, and the gateway sees the JWT behind it");
    let answer = ask(running, &client, "/token", Some("worker"), &[("grant_type", "client_credentials")], 200).await?;
    let reference = text(&answer, "access_token")?;
    let phantom = client.post(format!("{}/introspect", running.url)).header("accept", "application/jwt");
    let phantom = phantom.basic_auth("orders-api", Some(&running.secret)).form(&[("token", &reference)]).send().await?;
    let caller = verifier.verify(&phantom.text().await?, SystemClock.now()).await?;
    println!("   outside    {reference}");
    println!("   inside     a JWT of {}", caller.id());
    ask(running, &client, "/revoke", Some("worker"), &[("token", &reference)], 200).await?;
    let told = ask(running, &client, "/introspect", Some("orders-api"), &[("token", &reference)], 200).await?;
    println!("   revoked    {told}");
    Ok(())
}

pub(crate) fn print_invitation(running: &Running) {
    let Running { url, secret, app, .. } = running;
    println!("\nOpen this, and sign in:\n  {}", authorize_url(url));
    if let Some(app) = app {
        println!("There is alice with {PASSWORD:?}.");
        let uri = app.to_uri("The example issuer", "alice");
        println!("A code is asked for. Her authenticator app, for yours:\n  {}", uri.expose_str().unwrap_or_default());
    }
    println!("\nOne's own account: password, another app, recovery codes:\n  {url}/account");
    println!(
        "\nIt ends at an address of {REDIRECT_URI} that does not answer; take the code out of it, within a minute:"
    );
    println!(
        "  curl -d grant_type=authorization_code -d client_id=shop -d code_verifier={VERIFIER} -d code=CODE {url}/token"
    );
    println!("\nA token for a machine, what it is worth, and the end of it:");
    println!("  curl -u worker:{secret} -d grant_type=client_credentials {url}/token");
    println!("  curl -u orders-api:{secret} -d token=TOKEN {url}/introspect");
    println!("  curl -u orders-api:{secret} -d token=TOKEN -H 'Accept: application/jwt' {url}/introspect");
    println!("  curl -u worker:{secret} -d token=TOKEN {url}/revoke");
    println!("\nWhat it is, and its keys:\n  curl {url}/.well-known/openid-configuration\n  curl {url}/jwks");
    println!("\nCtrl-C ends it.");
}

fn authorize_url(issuer: &str) -> String {
    format!(
        "{issuer}/authorize?response_type=code&client_id=shop&redirect_uri={REDIRECT_URI}&scope=openid+orders:read&state=xyz&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

/// Does what a browser and its user do: the login form, the consent form, the way back.
async fn code(running: &Running, client: &Client) -> Walk<String> {
    let mut browser = Browser { running, client, cookies: BTreeMap::new() };
    let login = client.get(authorize_url(&running.url)).send().await?;
    let wrong = browser.submit(login, &[("username", "alice"), ("password", "guess")]).await?;
    println!("   password   a wrong one: {}, the page that an unknown user gets too", wrong.status().as_u16());
    let right = [("username", "alice"), ("password", PASSWORD)];
    let mut consent = browser.submit(wrong, &right).await?;
    if let Some(app) = &running.app {
        println!(
            "   password   right: {}, and a code of her authenticator app is asked for",
            consent.status().as_u16()
        );
        let code = app.code(SystemClock.now());
        let code = code.expose_str().unwrap_or_default();
        consent = browser.submit(consent, &[("code", code)]).await?;
        println!("   code       {code}, good once: {}", consent.status().as_u16());
    }
    let answer = browser.submit(consent, &[("decision", "allow")]).await?;
    let back = answer.headers().get(LOCATION).ok_or("no way back to the client")?.to_str()?;
    let parameters: Vec<(String, String)> = Url::parse(back)?.query_pairs().into_owned().collect();
    let parameter = |name: &str| parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    if (parameter("state"), parameter("iss")) != (Some("xyz"), Some(&running.url)) {
        return Err("the answer is not the one to our request".into());
    }
    Ok(parameter("code").ok_or("no code")?.to_owned())
}

/// Is a browser: it keeps cookies, fills in forms and sends them.
struct Browser<'a> {
    running: &'a Running,
    client: &'a Client,
    cookies: BTreeMap<String, String>,
}

impl Browser<'_> {
    /// Fills in the form of a page.
    async fn submit(&mut self, page: Response, fields: &[(&str, &str)]) -> Walk<Response> {
        let cookies = page.headers().get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let pairs = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        self.cookies.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let html = page.text().await?;
        let after = |text: &str, mark: &str| {
            let rest = text.split_once(mark)?.1;
            Some(rest.split_once('"')?.0.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&"))
        };
        let action = after(&html, "action=\"").ok_or("a page without a form")?;
        let mut form: Vec<(String, String)> = Vec::new();
        for tag in html.split("<input type=\"hidden\"").skip(1) {
            form.extend(after(tag, "name=\"").zip(after(tag, "value=\"")));
        }
        form.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let request = self.client.post(format!("{}{action}", self.running.url));
        Ok(request.header(COOKIE, cookies.join("; ")).form(&form).send().await?)
    }
}

async fn ask(
    running: &Running,
    client: &Client,
    path: &str,
    as_client: Option<&str>,
    form: &[(&str, &str)],
    expected: u16,
) -> Walk<Value> {
    let mut request = client.post(format!("{}{path}", running.url)).form(form);
    if let Some(id) = as_client {
        request = request.basic_auth(id, Some(&running.secret));
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let body = answer.text().await?;
    println!("   POST {path:<12} {status}");
    if status != expected {
        return Err(format!("{path} answered {status}: {body}").into());
    }
    Ok(if body.is_empty() { Value::Null } else { serde_json::from_str(&body)? })
}

fn text(answer: &Value, name: &str) -> Walk<String> {
    Ok(answer.get(name).and_then(Value::as_str).ok_or("a member is missing")?.to_owned())
}
