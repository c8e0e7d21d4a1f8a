//! Where a credential stands, and what it looks like there.

use super::client::{Request, exchange};
use super::{Expected, HttpSuite, Trial};

pub(super) async fn check(trial: &mut Trial<'_>) {
    absent(trial).await;
    scheme(trial).await;
    malformed(trial).await;
    several(trial).await;
    cookies(trial).await;
    header(trial).await;
    one_connection(trial).await;
}

async fn absent(trial: &mut Trial<'_>) {
    let (good, none) = (trial.good(), Expected::asked());
    trial.expect("no credential is 401 without an error code", Request::get("/orders"), &none).await;
    for scheme in ["Basic dXNlcjpwYXNz", "Token x", "Negotiate YII", "BearerX abc", "Digest username=\"x\""] {
        let request = Request::get("/orders").header("Authorization", scheme);
        trial.expect(&format!("another scheme is no credential: {scheme}"), request, &none).await;
    }
    let query = Request::get(format!("/orders?access_token={good}"));
    trial.expect("a token in the query is not seen", query, &none).await;
    let form = Request::new("POST", "/orders").form(format!("access_token={good}"));
    trial.expect("a token in the body is not seen", form, &none).await;
    let caller = trial.caller("u1");
    let both = Request::get(format!("/orders?access_token={good}")).bearer(&good);
    trial.expect("a token in the query does not count as a second one", both, &caller).await;
}

async fn scheme(trial: &mut Trial<'_>) {
    let (good, caller) = (trial.good(), trial.caller("u1"));
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request = Request::get("/orders").header("Authorization", format!("{scheme} {good}"));
        trial.expect(&format!("the scheme counts in any letter case: {scheme}"), request, &caller).await;
    }
    let request = Request::get("/orders").header("Authorization", format!("Bearer   {good}"));
    trial.expect("several spaces may follow the scheme", request, &caller).await;
    let request = Request::get("/orders").header("AUTHORIZATION", format!("Bearer {good}"));
    trial.expect("the name of the header counts in any letter case", request, &caller).await;
}

async fn malformed(trial: &mut Trial<'_>) {
    let (good, bad) = (trial.good(), Expected::invalid_request());
    let mut forms: Vec<(&str, Vec<u8>)> = vec![
        ("the scheme alone", b"Bearer".to_vec()),
        ("an empty value", Vec::new()),
        ("a tab behind the scheme", format!("Bearer\t{good}").into_bytes()),
        ("two tokens", format!("Bearer {good} {good}").into_bytes()),
        ("a comma behind", format!("Bearer {good},").into_bytes()),
        ("two credentials in one value", format!("Bearer {good}, Basic dTpw").into_bytes()),
        ("quotes", format!("Bearer \"{good}\"").into_bytes()),
        ("a parameter", format!("Bearer token={good}").into_bytes()),
        ("a semicolon", format!("Bearer {good};v=1").into_bytes()),
        ("a colon behind the scheme", format!("Bearer: {good}").into_bytes()),
        ("an equals sign in the middle", b"Bearer a=b".to_vec()),
        ("padding alone", b"Bearer ==".to_vec()),
        ("a percent escape", format!("Bearer {good}%20").into_bytes()),
        ("letters that are not ASCII", format!("Bearer {good}\u{e9}").into_bytes()),
        ("20,000 bytes", format!("Bearer {}", "a".repeat(20_000)).into_bytes()),
    ];
    let mut bytes = format!("Bearer {good}").into_bytes();
    bytes.push(0xff);
    forms.push(("a byte that is not UTF-8", bytes));
    for (name, value) in forms {
        let request = Request::get("/orders").header("Authorization", value);
        trial.expect(&format!("a malformed Authorization is 400: {name}"), request, &bad).await;
    }
}

async fn several(trial: &mut Trial<'_>) {
    let (good, bad) = (trial.good(), Expected::invalid_request());
    let cookie = format!("{}={good}", HttpSuite::COOKIE);
    let bearer = || Request::get("/orders").bearer(&good);
    for (name, request) in [
        ("Authorization twice, the same", bearer().bearer(&good)),
        ("Authorization twice, two schemes", bearer().header("Authorization", "Basic dTpw")),
        ("Authorization twice, the other scheme first", {
            Request::get("/orders").header("Authorization", "Basic dTpw").bearer(&good)
        }),
        ("Authorization and cookie", bearer().header("Cookie", &cookie)),
        ("Authorization and the credential header", bearer().header(HttpSuite::HEADER, &good)),
        ("cookie and the credential header", {
            Request::get("/orders").header("Cookie", &cookie).header(HttpSuite::HEADER, &good)
        }),
        ("the cookie twice", Request::get("/orders").header("Cookie", format!("{cookie}; {cookie}"))),
        ("the cookie twice, in two headers", {
            Request::get("/orders").header("Cookie", &cookie).header("Cookie", &cookie)
        }),
        ("the credential header twice", {
            Request::get("/orders").header(HttpSuite::HEADER, &good).header(HttpSuite::HEADER, &good)
        }),
    ] {
        trial.expect(&format!("two credentials are 400: {name}"), request, &bad).await;
    }
}

async fn cookies(trial: &mut Trial<'_>) {
    let (good, caller) = (trial.good(), trial.caller("u1"));
    let cookie = format!("{}={good}", HttpSuite::COOKIE);
    let with = |value: String| Request::get("/orders").header("Cookie", value);
    trial.expect("the cookie is a credential", with(cookie.clone()), &caller).await;
    let among = format!("theme=dark; {cookie}; lang=\"en\"; odd");
    trial.expect("other cookies may stand around", with(among), &caller).await;
    let spread = with("theme=dark".to_owned()).header("Cookie", &cookie);
    trial.expect("cookies may be spread over two headers", spread, &caller).await;
    let basic = with(cookie.clone()).header("Authorization", "Basic dTpw");
    trial.expect("another scheme does not hide the cookie", basic, &caller).await;
    for (name, value) in [
        ("other letter case", format!("{}={good}", HttpSuite::COOKIE.to_uppercase())),
        ("a longer name", format!("x{cookie}")),
        ("a prefix of the name", format!("__Host-{cookie}")),
        ("an empty value", format!("{}=", HttpSuite::COOKIE)),
        ("no value", HttpSuite::COOKIE.to_owned()),
    ] {
        trial.expect(&format!("no credential in the cookie: {name}"), with(value), &Expected::asked()).await;
    }
    for (name, value) in [
        ("quoted", format!("{}=\"{good}\"", HttpSuite::COOKIE)),
        ("a space inside", format!("{}={good} x", HttpSuite::COOKIE)),
        ("a comma inside", format!("{}={good},x", HttpSuite::COOKIE)),
    ] {
        trial.expect(&format!("a malformed cookie is 400: {name}"), with(value), &Expected::invalid_request()).await;
    }
    let (_, signature) = good.rsplit_once('.').unwrap_or_default();
    let tampered = format!("{}={}", HttpSuite::COOKIE, good.replace(signature, ""));
    trial.expect("a bad token in the cookie is 401", with(tampered), &Expected::invalid_token()).await;
}

async fn header(trial: &mut Trial<'_>) {
    let (good, caller) = (trial.good(), trial.caller("u1"));
    let with = |value: &str| Request::get("/orders").header(HttpSuite::HEADER, value);
    trial.expect("the credential header is a credential", with(&good), &caller).await;
    for (name, value) in [
        ("empty", String::new()),
        ("with a scheme", format!("Bearer {good}")),
        ("two, joined", format!("{good},{good}")),
    ] {
        let rule = format!("a malformed credential header is 400: {name}");
        trial.expect(&rule, with(&value), &Expected::invalid_request()).await;
    }
    trial.expect("a bad token in the credential header is 401", with("a.b.c"), &Expected::invalid_token()).await;
}

/// Nothing of one request may be left for the next on the same connection, or for another at the same moment.
async fn one_connection(trial: &mut Trial<'_>) {
    let (good, caller) = (trial.good(), trial.caller("u1"));
    let requests = [
        Request::get("/orders").bearer(&good),
        Request::get("/orders"),
        Request::get("/optional"),
        Request::get("/orders").bearer("a.b.c"),
        Request::get("/orders").bearer(&good),
    ];
    let due =
        [caller.clone(), Expected::asked(), Expected::Json(serde_json::Value::Null), Expected::invalid_token(), caller];
    match exchange(&trial.suite.base_url, &requests).await {
        Ok(answers) => {
            for (place, (answer, expected)) in answers.iter().zip(&due).enumerate() {
                let wrong = expected.check(answer);
                let rule = format!("request {place} of five on one connection: {}", wrong.join("; "));
                trial.check(&rule, wrong.is_empty());
            }
        }
        Err(error) => trial.check(&format!("five requests on one connection: {error}"), false),
    }
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..40 {
        let subject = format!("caller-{number}");
        let request = Request::get("/orders").bearer(&trial.token().subject(&subject).sign());
        let (base_url, expected) = (trial.suite.base_url.clone(), trial.caller(&subject));
        calls.spawn(async move {
            let answer = super::send(&base_url, &request).await;
            answer.is_ok_and(|answer| expected.check(&answer).is_empty())
        });
    }
    let each = calls.join_all().await;
    trial.check("forty callers at once are each told who they are", each.into_iter().all(|right| right));
}
