use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Client, Response};
use sekisho_testkit::DpopKey;
use serde_json::{Value, json};

use crate::service::{COOKIE as TOKEN, READABLE};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Goes through what holds without a browser: what the server sets, takes and refuses. The rest, the page shows.
pub(crate) async fn walk(origin: &str, api: &str, stranger: &str) -> Outcome {
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let shop = Shop { client: client.clone(), origin, api };
    let login = shop.post("/login", &[]).await?;
    let cookies = set_cookies(login.headers());
    let hidden = |set: &&String| set.contains("; HttpOnly") && set.contains("; SameSite=Strict");
    expect("A login sets two cookies that no script reads", cookies.iter().filter(hidden).count() == 2)?;
    expect("and tells scripts nothing else", login.text().await?.is_empty())?;
    let jar = cookies.iter().filter_map(|set| set.split(';').next()).collect::<Vec<_>>().join("; ");

    let from_browser = [(COOKIE.as_str(), &*jar)];
    expect("The API takes the JWT out of the cookie", shop.get("/api/cookie/orders", &from_browser).await? == 200)?;
    expect("and the backend the one of the session", shop.get("/bff/orders", &from_browser).await? == 200)?;
    let token = shop.token("", &from_browser).await?;
    let bearer = format!("Bearer {token}");
    let readable = format!("{READABLE}={token}");
    expect("and out of a header", shop.get("/api/bearer/orders", &[(AUTHORIZATION.as_str(), &bearer)]).await? == 200)?;
    let status = shop.get("/api/readable/orders", &[(COOKIE.as_str(), &readable)]).await?;
    expect("and out of a cookie that a script has set", status == 200)?;

    for way in ["/api/cookie/orders", "/bff/orders"] {
        let forged = [(COOKIE.as_str(), &*jar), ("sec-fetch-site", "same-site"), ("x-csrf", "1")];
        let status = shop.send(way, &forged).await?.status();
        expect(&format!("{way} refuses what another host caused"), status == 403)?;
        let ridden = [(COOKIE.as_str(), &*jar), ("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
        let status = shop.send(way, &ridden).await?.status();
        expect(&format!("{way} cannot tell a script in the page from the page"), status == 200)?;
    }

    let key = DpopKey::generate();
    let bound = shop.token(&format!("?jkt={}", key.thumbprint()), &from_browser).await?;
    let loot = async |loot: Value| -> Outcome<Value> {
        let answer = client.post(format!("{stranger}/loot")).body(loot.to_string()).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    };
    let taken = loot(json!({ "place": "localStorage", "token": token })).await?;
    expect("A token that was read works on another computer", told(&taken, "alone") == 200)?;
    let taken = loot(json!({ "place": "bound", "token": bound })).await?;
    expect("One that is bound to a key does not", told(&taken, "alone") == 401)?;
    let proof = key.proof("GET", &format!("{origin}/api/bearer/orders")).for_token(&bound).sign();
    let taken = loot(json!({ "place": "bound", "token": bound, "proof": proof })).await?;
    let once = (told(&taken, "proved"), told(&taken, "provedAgain")) == (200, 401);
    expect("With a proof it works, once", once)?;

    let gone = set_cookies(shop.post("/logout", &from_browser).await?.headers());
    let both = gone.iter().filter(|set| set.contains("; Max-Age=0")).count();
    expect("Logging out takes both cookies away", both == 2 && gone.iter().any(|set| set.starts_with(TOKEN)))?;
    expect("and ends the session at once", shop.get("/bff/orders", &from_browser).await? == 401)?;
    let late = client.post(format!("{stranger}/loot/again")).send().await?.text().await?;
    let late: Value = serde_json::from_str(&late)?;
    expect("What was taken before goes on until it expires", told(&late, "localStorage") == 200)?;
    expect("and so would the cookie's", shop.get("/api/cookie/orders", &from_browser).await? == 200)?;

    let policy = async |path: &str| -> Outcome<String> {
        let response = client.get(format!("{api}{path}")).send().await?;
        let policy = response.headers().get(CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok());
        Ok(policy.unwrap_or_default().to_owned())
    };
    expect("The page lets its own scripts run alone", policy("/").await?.contains("script-src 'self';"))?;
    expect("The unsafe one lets all run", !policy("/dangerously-unescaped").await?.contains("script-src"))
}

/// Is the shop, as a page of its own calls it.
struct Shop<'w> {
    client: Client,
    origin: &'w str,
    api: &'w str,
}

impl Shop<'_> {
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Outcome<u16> {
        let request = self.client.get(format!("{}{path}", self.api));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Ok(request.send().await?.status().as_u16())
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)]) -> Outcome<Response> {
        let request = self.client.post(format!("{}{path}", self.api));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Ok(request.send().await?)
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Outcome<Response> {
        let own = [("origin", self.origin), ("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
        Ok(self.send(path, &[&own, headers].concat()).await?.error_for_status()?)
    }

    async fn token(&self, query: &str, headers: &[(&str, &str)]) -> Outcome<String> {
        let answer = self.post(&format!("/token{query}"), headers).await?.text().await?;
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(answer.get("access_token").and_then(Value::as_str).ok_or("no token")?.to_owned())
    }
}

fn told(answer: &Value, of: &str) -> u64 {
    answer.get(of).and_then(Value::as_u64).unwrap_or_default()
}

fn set_cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(SET_COOKIE).iter().filter_map(|set| set.to_str().ok()).map(str::to_owned).collect()
}

fn expect(what: &str, holds: bool) -> Outcome {
    println!("{} {what}", if holds { "ok  " } else { "FAIL" });
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}
