use std::error::Error;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

use crate::{Running, cut, text_of};

type Walk<T> = Result<T, Box<dyn Error>>;

/// Sends requests through the gateway and prints what becomes of them.
pub(crate) async fn walk(running: &Running) -> Walk<()> {
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;

    println!("\n1. A JWT, on its way through the gateway in eight steps");
    let jwt = token(running, &client, "shop").await?;
    send(running, &client, "/orders", &jwt, 200).await?;

    println!("\n2. The same JWT with its end changed: it stops at step 5, and no service hears of it");
    let mut forged = jwt.clone();
    forged.replace_range(jwt.len() - 2.., if jwt.ends_with("AA") { "BB" } else { "AA" });
    send(running, &client, "/orders", &forged, 401).await?;

    println!("\n3. An opaque token outside, a JWT inside");
    let opaque = token(running, &client, "warehouse").await?;
    println!("   outside    an opaque token, {}", cut(&opaque));
    let answer = send(running, &client, "/stock", &opaque, 200).await?;
    if answer.contains("ey") || answer.contains(&opaque) {
        return Err("a token came back".into());
    }

    println!("\n4. The client's token is revoked at the authentication service, and the next request is refused");
    let revoke = client.post(format!("{}/revoke", running.issuer)).form(&[("token", &opaque)]);
    let revoked = revoke.basic_auth("warehouse", Some(text_of(&running.secret))).send().await?;
    println!(
        "   try        curl -u warehouse:{} -d token={opaque} {}/revoke",
        text_of(&running.secret),
        running.issuer
    );
    println!("   revoke     {}", revoked.status());
    if !revoked.status().is_success() {
        return Err("the token could not be revoked".into());
    }
    send(running, &client, "/stock", &opaque, 401).await?;
    Ok(())
}

/// Leaves the reader with something to do. The tokens of the walk are good for some minutes more, the revoked one is not.
pub(crate) fn print_invitation(running: &Running) {
    let Running { gateway, issuer, secret } = running;
    let secret = text_of(secret);
    println!("\nIt stays until Ctrl-C, and tells the steps of each request. Fresh tokens, and what they open:\n");
    println!("  curl -u shop:{secret} -d grant_type=client_credentials {issuer}/token");
    println!("  curl -i -H \"Authorization: Bearer $TOKEN\" {gateway}/orders");
    println!("  curl -u warehouse:{secret} -d grant_type=client_credentials {issuer}/token");
    println!("  curl -i -H \"Authorization: Bearer $TOKEN\" {gateway}/stock");
    println!("  curl -u warehouse:{secret} -d token=$TOKEN {issuer}/revoke\n");
}

/// Gets a token for a client, as programs do.
async fn token(running: &Running, client: &Client, id: &str) -> Walk<String> {
    let request = client.post(format!("{}/token", running.issuer)).form(&[("grant_type", "client_credentials")]);
    let answer = request.basic_auth(id, Some(text_of(&running.secret))).send().await?.error_for_status()?;
    let answer: Value = serde_json::from_str(&answer.text().await?)?;
    Ok(answer.get("access_token").and_then(Value::as_str).ok_or("no token")?.to_owned())
}

async fn send(running: &Running, client: &Client, path: &str, token: &str, expected: u16) -> Walk<String> {
    let url = format!("{}{path}", running.gateway);
    println!("   try        curl -i -H 'Authorization: Bearer {token}' {url}");
    let response = client.get(&url).bearer_auth(token).send().await?;
    let status = response.status();
    println!("   status     {status}");
    for (name, title) in [(WWW_AUTHENTICATE, "challenge"), (RETRY_AFTER, "retry")] {
        for value in response.headers().get_all(&name) {
            println!("   {title:<10} {}", value.to_str()?);
        }
    }
    let body = response.text().await?;
    println!("   body       {body}");
    if status.as_u16() != expected {
        return Err(format!("{path}: expected {expected}, got {status}").into());
    }
    Ok(body)
}
