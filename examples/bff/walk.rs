use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use serde_json::Value;
use url::Url;

use crate::Running;
use crate::issuer::PASSWORD;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Goes through both services as a browser and its user would, and prints what happens.
pub(crate) async fn walk(running: &Running) -> Outcome {
    let Running { issuer, shop, billing } = running;
    println!("Shop {shop}, Billing {billing}, authentication service {issuer}\n");
    let mut browser = Browser::new()?;

    let page = browser.open(&format!("{shop}/orders?page=2")).await?;
    let to = location(&page);
    expect("A page without a session leads to the login", to == "/bff/login?return_to=%2Forders%3Fpage%3D2")?;
    let script = browser.call(&format!("{shop}/bff/user"), true).await?;
    expect("A script gets 401, and no redirect", script.status() == 401)?;

    let first = browser.open(&format!("{shop}{to}")).await?;
    let first = location(&first);
    expect(
        "which leads to the authentication service, with PKCE",
        first.starts_with(&format!("{issuer}/authorize?")) && first.contains("code_challenge="),
    )?;
    let second = browser.open(&format!("{shop}/bff/login?return_to=/")).await?;
    let second = location(&second);
    let back = browser.sign_in(issuer, &first).await?;
    expect("Alice signs in there, and comes back with a code", back.starts_with(&format!("{shop}/bff/callback?")))?;
    let stranger = Browser::new()?.open(&back).await?;
    expect("In a browser that began no login the code is worth nothing", stranger.status() == 400)?;
    let done = browser.open(&back).await?;
    expect("The callback ends where she wanted to go", location(&done) == "/orders?page=2")?;
    expect(
        "and the page knows her",
        browser.open(&format!("{shop}/orders?page=2")).await?.text().await?.contains("of alice"),
    )?;
    let tab = browser.sign_in(issuer, &second).await?;
    expect(
        "A second tab, begun before, needs no password and ends at its own page",
        location(&browser.open(&tab).await?) == "/",
    )?;

    let user: Value = browser.call(&format!("{shop}/bff/user"), true).await?.text().await?.parse()?;
    println!("     {user}");
    expect("A script is told who she is", user.pointer("/claims/sub") == Some(&"alice".into()))?;
    expect("but not without the header", browser.call(&format!("{shop}/bff/user"), false).await?.status() == 403)?;

    let order: Value = browser.call(&format!("{shop}/bff/api/orders/7"), true).await?.text().await?.parse()?;
    println!("     {order}");
    expect(
        "A call reaches the API with her access token, and without cookies",
        order.get("of") == Some(&"alice".into()) && order.get("sees_cookies") == Some(&false.into()),
    )?;
    for (path, status) in [("/bff/api/admin", 404), ("/bff/api/orders/..%2fadmin", 400), ("/bff/apiorders/7", 404)] {
        let answer = browser.call(&format!("{shop}{path}"), true).await?;
        expect(&format!("but not at {path}"), answer.status() == status)?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let later: Value = browser.call(&format!("{shop}/bff/api/orders/7"), true).await?.text().await?.parse()?;
    expect("When the token is over, the next call has another one", later.get("token") != order.get("token"))?;

    let bill = browser.open(&format!("{billing}/")).await?.text().await?;
    expect("The other service knows the session", bill.contains("Billing of alice"))?;
    let forged =
        browser.send(Method::POST, &format!("{billing}/bff/logout"), &[("sec-fetch-site", "cross-site")]).await?;
    expect("A logout that another site causes is refused", forged.status() == 403)?;
    let kept = browser.clone();
    let logout =
        browser.send(Method::POST, &format!("{billing}/bff/logout"), &[("sec-fetch-site", "same-origin")]).await?;
    let end = location(&logout);
    expect("Her own leads to the authentication service", end.starts_with(issuer))?;
    expect("and the session is over already, in both services", kept.open_only(&format!("{shop}/")).await? == 303)?;
    let bye = browser.open(&end).await?;
    expect("which ends its own, and sends her back", location(&bye).starts_with(&format!("{billing}/bye")))?;
    let again = browser.open(&format!("{shop}/bff/login")).await?;
    let again = browser.open(&location(&again)).await?;
    expect("The next login asks for the password again", again.text().await?.contains("name=\"password\""))
}

fn expect(what: &str, holds: bool) -> Outcome {
    println!("{} {what}", if holds { "ok  " } else { "FAIL" });
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

/// Is a browser: cookies by name, for all ports of a host are one place to it.
#[derive(Clone)]
struct Browser {
    client: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Outcome<Self> {
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(10)).build()?;
        Ok(Self { client, cookies: BTreeMap::new() })
    }

    async fn open(&mut self, url: &str) -> Outcome<Response> {
        self.send(Method::GET, url, &[("sec-fetch-mode", "navigate")]).await
    }

    async fn open_only(&self, url: &str) -> Outcome<u16> {
        Ok(self.clone().open(url).await?.status().as_u16())
    }

    async fn call(&mut self, url: &str, with_header: bool) -> Outcome<Response> {
        let headers = [("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
        self.send(Method::GET, url, if with_header { &headers } else { &headers[..1] }).await
    }

    async fn send(&mut self, method: Method, url: &str, headers: &[(&str, &str)]) -> Outcome<Response> {
        let request = self.client.request(method, url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.finish(request).await
    }

    async fn finish(&mut self, request: reqwest::RequestBuilder) -> Outcome<Response> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.header(COOKIE, cookies.join("; ")).send().await?;
        for set in response.headers().get_all(SET_COOKIE) {
            let set = set.to_str()?;
            let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).ok_or("a cookie")?;
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }

    /// Goes through the pages of the authentication service, as far as there are any, and returns the way back.
    async fn sign_in(&mut self, issuer: &str, url: &str) -> Outcome<String> {
        let mut page = self.open(url).await?;
        for _ in 0..4 {
            if page.headers().contains_key(LOCATION) {
                let to = Url::parse(issuer)?.join(&location(&page))?;
                if !to.as_str().starts_with(&format!("{issuer}/")) {
                    return Ok(to.into());
                }
                page = self.open(to.as_str()).await?;
                continue;
            }
            let html = page.text().await?;
            let answer = if html.contains("name=\"password\"") {
                &[("username", "alice"), ("password", PASSWORD)][..]
            } else {
                &[("decision", "allow")][..]
            };
            let (action, mut form) = form_of(&html)?;
            form.extend(answer.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            page = self.finish(self.client.post(format!("{issuer}{action}")).form(&form)).await?;
        }
        Err("the authentication service does not let her go".into())
    }
}

/// Reads where a form goes, and its hidden fields.
fn form_of(html: &str) -> Outcome<(String, Vec<(String, String)>)> {
    let after = |text: &str, mark: &str| {
        let rest = text.split_once(mark)?.1;
        Some(rest.split_once('"')?.0.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let action = after(html, "action=\"").ok_or("a page without a form")?;
    let hidden = html.split("<input type=\"hidden\"").skip(1);
    Ok((action, hidden.filter_map(|tag| after(tag, "name=\"").zip(after(tag, "value=\""))).collect()))
}

fn location(response: &Response) -> String {
    response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default().to_owned()
}
