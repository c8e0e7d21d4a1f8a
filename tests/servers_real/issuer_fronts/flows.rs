//! What clients and people do, by plain HTTP through the proxy.

use std::collections::BTreeMap;

use reqwest::{Client, Response, Url};
use serde_json::{Value, json};

use super::{Behind, REDIRECT_URI, secret};
use crate::setup::part;

/// The pair of RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(super) async fn json_of(answer: Response, status: u16) -> Value {
    let (got, body) = (answer.status().as_u16(), answer.text().await.expect("a body"));
    assert_eq!(got, status, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}"))
}

/// Sends a form as a client that has a secret.
async fn post_as(http: &Client, url: &str, id: &str, form: &[(&str, &str)]) -> Response {
    http.post(url).basic_auth(id, Some(secret(id))).form(form).send().await.expect("an answer")
}

pub(super) async fn introspect(behind: &Behind, token: &str) -> Value {
    let url = format!("{}/introspect", behind.url);
    json_of(post_as(&behind.client(None), &url, "orders-api", &[("token", token)]).await, 200).await
}

/// A person's browser, as far as it takes part.
pub(super) struct Browser<'a> {
    behind: &'a Behind,
    http: Client,
    cookies: BTreeMap<String, String>,
}

/// The form of a page.
pub(super) struct Form {
    action: Url,
    fields: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub(super) fn new(behind: &'a Behind) -> Self {
        Self { behind, http: behind.client(None), cookies: BTreeMap::new() }
    }

    /// Begins a code flow and returns the form of the login page.
    pub(super) async fn login_page(&mut self) -> Form {
        let mut url = Url::parse(&format!("{}/authorize", self.behind.url)).expect("a URL");
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", "web"),
            ("redirect_uri", REDIRECT_URI),
            ("scope", "openid orders:read"),
            ("resource", "orders-api"),
            ("state", "a state & more"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let answer = self.http.get(url.clone()).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        self.keep_cookies(&answer);
        let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        let html = answer.text().await.expect("a page");
        read_form(&html, &url)
    }

    /// Fills in the form and sends it as a browser would, with further headers.
    pub(super) async fn log_in(&mut self, form: &Form, username: &str, headers: &[(&str, &[u8])]) -> Response {
        let password = format!("{username}-password");
        let typed = [("username".to_owned(), username.to_owned()), ("password".to_owned(), password)];
        let fields: Vec<_> = form.fields.iter().cloned().chain(typed).collect();
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.http.post(form.action.clone()).form(&fields).header("cookie", cookies.join("; "));
        request = request.header("origin", &self.behind.url).header("sec-fetch-site", "same-origin");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        self.keep_cookies(&answer);
        answer
    }

    fn keep_cookies(&mut self, answer: &Response) {
        for line in answer.headers().get_all("set-cookie") {
            let line = line.to_str().expect("text");
            assert!(line.starts_with("__Host-") && line.contains("; Secure"), "{line}");
            let (name, value) = line.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

fn read_form(html: &str, page: &Url) -> Form {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next());
        let value = value.unwrap_or_else(|| panic!("no {name} in {tag}"));
        value.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
    };
    let form = html.split_once("<form").unwrap_or_else(|| panic!("no form: {html}")).1;
    let form = form.split("</form>").next().expect("an end");
    let hidden = form.split("<input").skip(1).filter(|tag| tag.contains("type=\"hidden\""));
    let fields = hidden.map(|tag| (attribute(tag, "name"), attribute(tag, "value"))).collect();
    Form { action: page.join(&attribute(form, "action")).expect("a URL"), fields }
}

/// Everything that goes on between clients and the server; the same as without a proxy.
pub(super) async fn assert_flows(behind: &Behind) {
    let (http, url) = (behind.client(None), &behind.url);
    let mut documents = Vec::new();
    for place in ["openid-configuration", "oauth-authorization-server"] {
        let answer = http.get(format!("{url}/.well-known/{place}")).send().await.expect("an answer");
        documents.push(json_of(answer, 200).await);
    }
    for document in &documents {
        assert_eq!(document["issuer"], json!(url));
        let endpoints = document.as_object().expect("an object").iter();
        for (name, value) in endpoints.filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri") {
            assert!(value.as_str().is_some_and(|text| text.starts_with(&format!("{url}/"))), "{name}: {value}");
        }
    }
    let place = |name: &str| documents[0][name].as_str().expect("a URL").to_owned();
    let keys = json_of(http.get(place("jwks_uri")).send().await.expect("an answer"), 200).await;
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");

    // A person logs in and the client has the code.
    let mut browser = Browser::new(behind);
    let page = browser.login_page().await;
    let answer = browser.log_in(&page, "alice", &[]).await;
    assert_eq!(answer.status(), 303);
    let target = Url::parse(answer.headers()["location"].to_str().expect("text")).expect("a URL");
    assert!(target.as_str().starts_with(&format!("{REDIRECT_URI}?")), "{target}");
    let told: BTreeMap<_, _> = target.query_pairs().into_owned().collect();
    assert_eq!((told["iss"].as_str(), told["state"].as_str()), (url.as_str(), "a state & more"));
    let form = |verifier| {
        let pairs = [("grant_type", "authorization_code"), ("client_id", "web"), ("redirect_uri", REDIRECT_URI)];
        let proof = [("code", told["code"].clone()), ("code_verifier", String::from(verifier))];
        pairs.map(|(name, value)| (name, value.to_owned())).into_iter().chain(proof).collect::<Vec<_>>()
    };
    let answer = http.post(place("token_endpoint")).form(&form(VERIFIER)).send().await.expect("an answer");
    let tokens = json_of(answer, 200).await;
    let (access, id) = (tokens["access_token"].as_str().expect("a token"), tokens["id_token"].as_str());
    assert_eq!(part(id.expect("an ID token"), 1)["iss"], json!(url));
    assert_eq!(part(access, 1)["sub"], "user-1");
    let answer = http.post(place("token_endpoint")).form(&form(VERIFIER)).send().await.expect("an answer");
    assert_eq!(json_of(answer, 400).await["error"], "invalid_grant", "a code is good once");
    assert_eq!(introspect(behind, access).await["active"], false, "a code that came twice takes its token along");

    // A client for itself, and who is asked about its token.
    let grant = [("grant_type", "client_credentials"), ("scope", "orders:read"), ("resource", "orders-api")];
    let tokens = json_of(post_as(&http, &place("token_endpoint"), "worker", &grant).await, 200).await;
    let access = tokens["access_token"].as_str().expect("a token");
    let told = introspect(behind, access).await;
    assert_eq!((&told["active"], &told["iss"], &told["client_id"]), (&json!(true), &json!(url), &json!("worker")));
    let wrong = http.post(place("token_endpoint")).basic_auth("worker", Some("wrong")).form(&grant).send();
    let wrong = wrong.await.expect("an answer");
    assert!(wrong.headers().contains_key("www-authenticate"));
    assert_eq!(json_of(wrong, 401).await["error"], "invalid_client");
    let nobody = http.post(place("introspection_endpoint")).form(&[("token", access)]).send().await;
    assert_eq!(nobody.expect("an answer").status(), 401);
}
