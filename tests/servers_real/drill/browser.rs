//! As much of a browser as a login takes.

use std::collections::BTreeMap;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use super::parts::Issuer;

const REDIRECT_URI: &str = "https://shop.example/callback";
/// A PKCE verifier and its SHA-256, those of RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Is a login of a user, with the tokens that a shop got by it.
pub(super) struct Login {
    pub(super) access: String,
    pub(super) refresh: String,
    id_token: String,
    browser: Browser,
}

struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn request(&self, request: RequestBuilder) -> RequestBuilder {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request.header(COOKIE, cookies.join("; "))
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let answer = self.request(request).send().await.expect("an answer");
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let (name, value) = cookie.to_str().expect("ASCII").split_once('=').expect("a cookie");
            self.cookies.insert(name.to_owned(), value.split(';').next().unwrap_or_default().to_owned());
        }
        answer
    }
}

impl Login {
    /// Signs somebody in; everybody has the issuer's one password.
    pub(super) async fn begin(issuer: &Issuer, user: &str) -> Self {
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let mut browser = Browser { http: http.build().expect("a client"), cookies: BTreeMap::new() };
        let url = format!(
            "{}/authorize?response_type=code&client_id=shop&redirect_uri={REDIRECT_URI}&scope=openid+orders:read\
             &state=xyz&code_challenge={CHALLENGE}&code_challenge_method=S256",
            issuer.url
        );
        let request = browser.http.get(url);
        let page = browser.send(request).await.text().await.expect("a page");
        let (action, mut form) = read_form(&page);
        form.extend([("username".to_owned(), user.to_owned()), ("password".to_owned(), issuer.secret.clone())]);
        let request = browser.http.post(format!("{}{action}", issuer.url)).form(&form);
        let back = browser.send(request).await;
        let location = back.headers().get(LOCATION).expect("a way back").to_str().expect("ASCII").to_owned();
        let code = location.split_once("code=").expect("a code").1.split('&').next().unwrap_or_default().to_owned();
        let redeem = [
            ("grant_type", "authorization_code"),
            ("client_id", "shop"),
            ("code", &*code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", REDIRECT_URI),
        ];
        let tokens = issuer.post("/token", None, &redeem).await;
        let text = |name: &str| tokens.get(name).and_then(Value::as_str).expect("a token").to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), id_token: text("id_token"), browser }
    }

    /// Signs them out.
    pub(super) async fn end_at(&self, issuer: &Issuer) {
        let url = format!("{}/end_session?id_token_hint={}", issuer.url, self.id_token);
        let answer = self.browser.request(self.browser.http.get(url)).send().await.expect("an answer");
        let (status, page) = (answer.status(), answer.text().await.expect("a page"));
        assert!(status == 200 && !page.contains("<form"), "{status} {page}");
    }
}

/// Returns where the form of a page leads, and its hidden fields.
fn read_form(page: &str) -> (String, Vec<(String, String)>) {
    let after = |text: &str, mark: &str| {
        let (value, _) = text.split_once(mark)?.1.split_once('"')?;
        Some(value.replace("&#39;", "'").replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&"))
    };
    let hidden = page.split("<input type=\"hidden\"").skip(1);
    let fields = hidden.filter_map(|tag| after(tag, "name=\"").zip(after(tag, "value=\""))).collect();
    (after(page, "action=\"").unwrap_or_else(|| panic!("no form: {page}")), fields)
}
