use std::error::Error;
use std::time::Duration;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use crate::service::PASSWORD;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Goes through both services as two browsers of one user would.
pub(crate) async fn walk(shop: &u16, billing: &u16) -> Outcome {
    let (shop, billing) = (format!("http://127.0.0.1:{shop}"), format!("http://127.0.0.1:{billing}"));
    let mut laptop = Browser::new("Laptop", &shop)?;
    let mut phone = Browser::new("Phone", &shop)?;

    let response = laptop.navigate("/").await?;
    expect("A page without a session leads to the login", response.status() == StatusCode::SEE_OTHER)?;
    expect("and back to where it was asked for", location(&response) == "/login?return_to=%2F")?;
    let script = laptop.client.get(format!("{shop}/")).header("sec-fetch-mode", "cors").send().await?;
    expect("A script gets 401", script.status() == StatusCode::UNAUTHORIZED)?;

    laptop.post("/cart", &[("item", "a book")]).await?;
    let anonymous = laptop.cookie.clone();
    laptop.log_in("wrong").await?;
    expect("A wrong password logs nobody in", laptop.navigate("/").await?.status() == StatusCode::SEE_OTHER)?;
    laptop.log_in(PASSWORD).await?;
    expect("A login changes the cookie", laptop.cookie != anonymous && laptop.cookie.is_some())?;
    expect("and keeps the cart", laptop.page("/").await?.contains("a book"))?;

    let bill = laptop.client.get(format!("{billing}/")).header(COOKIE, laptop.cookie()).send().await?.text().await?;
    expect("The other service knows the session and its data", bill.contains("Bill of alice: 1 items"))?;

    phone.log_in(PASSWORD).await?;
    let list = laptop.page("/sessions").await?;
    expect("The list shows both devices", list.contains("Laptop/1.0 (this one)") && list.contains("Phone/1.0"))?;

    let forged = laptop.client.post(format!("{shop}/sessions/end-all")).header("sec-fetch-site", "cross-site");
    let forged = forged.header(COOKIE, laptop.cookie()).send().await?;
    expect("A request that another site causes is refused", forged.status() == StatusCode::FORBIDDEN)?;

    let phones = of_device(&list, "Phone/1.0").ok_or("the phone is not in the list")?;
    laptop.post_form("/sessions", "/sessions/end", &[("session", &phones)]).await?;
    expect("The laptop ends the phone's session", phone.navigate("/").await?.status() == StatusCode::SEE_OTHER)?;

    phone.log_in(PASSWORD).await?;
    laptop.post_form("/sessions", "/sessions/end-all", &[]).await?;
    for browser in [&laptop, &phone] {
        expect("All sessions are ended at once", browser.navigate("/").await?.status() == StatusCode::SEE_OTHER)?;
    }

    laptop.log_in(PASSWORD).await?;
    let before = laptop.cookie();
    laptop.post_form("/", "/logout", &[]).await?;
    expect("A logout takes the cookie away", laptop.cookie.is_none())?;
    laptop.cookie = Some(before);
    expect("and whoever kept it has nothing", laptop.navigate("/").await?.status() == StatusCode::SEE_OTHER)
}

fn expect(what: &str, holds: bool) -> Outcome {
    println!("{} {what}", if holds { "ok  " } else { "FAIL" });
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

/// Is a browser: one cookie, and the headers that browsers send.
struct Browser {
    client: Client,
    name: &'static str,
    url: String,
    cookie: Option<String>,
}

impl Browser {
    fn new(name: &'static str, url: &str) -> Outcome<Self> {
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(10)).build()?;
        Ok(Self { client, name, url: url.to_owned(), cookie: None })
    }

    fn cookie(&self) -> String {
        self.cookie.clone().unwrap_or_default()
    }

    async fn navigate(&self, path: &str) -> Outcome<Response> {
        let mut request = self.client.get(format!("{}{path}", self.url)).header("sec-fetch-mode", "navigate");
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        Ok(request.send().await?)
    }

    /// Opens a page, and keeps the cookie that it sets.
    async fn page(&mut self, path: &str) -> Outcome<String> {
        let response = self.navigate(path).await?.error_for_status()?;
        self.take(&response);
        Ok(response.text().await?)
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Outcome<Response> {
        let agent = format!("{}/1.0", self.name);
        let mut request = self.client.post(format!("{}{path}", self.url)).header(USER_AGENT, agent).form(fields);
        request = request.header("sec-fetch-site", "same-origin");
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let response = request.send().await?;
        self.take(&response);
        if response.status().is_client_error() || response.status().is_server_error() {
            return Err(format!("{path}: {}", response.status()).into());
        }
        Ok(response)
    }

    /// Opens a page and sends one of its forms, with the token that stands in it.
    async fn post_form(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Outcome<Response> {
        let html = self.page(page).await?;
        let token = between(&html, r#"name="token" value=""#, "\"").ok_or("a form without a token")?;
        self.post(path, &[&[("token", token)], fields].concat()).await
    }

    async fn log_in(&mut self, password: &str) -> Outcome {
        self.post("/login", &[("user", "alice"), ("password", password)]).await.map(drop)
    }

    fn take(&mut self, response: &Response) {
        let set = response.headers().get_all(SET_COOKIE).iter().filter_map(|set| set.to_str().ok()).next_back();
        if let Some(set) = set {
            let pair = set.split(';').next().unwrap_or_default();
            self.cookie = (!set.contains("Max-Age=0")).then(|| pair.to_owned());
        }
    }
}

fn location(response: &Response) -> &str {
    response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default()
}

/// Finds the session of a device in the list.
fn of_device(list: &str, device: &str) -> Option<String> {
    let row = list.split("<tr>").find(|row| row.contains(device))?;
    between(row, r#"name="session" value=""#, "\"").map(str::to_owned)
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
