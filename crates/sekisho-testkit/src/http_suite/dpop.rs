//! Tokens that are bound to a key, before a second service that takes them ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449)).

use serde_json::Value;

use super::client::Request;
use super::{Expected, HttpSuite, Trial};
use crate::{DpopKey, ProofBuilder, hostile_proofs};

pub(super) async fn check(trial: &mut Trial<'_>, base_url: &str) {
    let key = DpopKey::generate().with_shared_clock(trial.suite.issuer.clock());
    let mut trial = Bound { trial, base_url, key };
    trial.schemes().await;
    trial.good().await;
    trial.replays().await;
    trial.normalised().await;
    trial.downgrades().await;
    trial.rules().await;
    trial.surroundings().await;
    trial.hostile().await;
}

struct Bound<'t, 's> {
    trial: &'t mut Trial<'s>,
    base_url: &'t str,
    key: DpopKey,
}

impl Bound<'_, '_> {
    fn token(&self) -> String {
        self.trial.token().bound_to(&self.key).sign()
    }

    fn proof(&self, method: &str, path: &str, token: &str) -> ProofBuilder {
        self.key.proof(method, &format!("{}{path}", HttpSuite::PUBLIC_URL)).for_token(token)
    }

    async fn expect(&mut self, rule: &str, request: Request, expected: &Expected) {
        self.trial.expect_of(self.base_url, &format!("DPoP: {rule}"), request, expected).await;
    }

    fn bearer(error: &'static str) -> Expected {
        Expected::Challenge { status: 401, schemes: &["Bearer", "DPoP"], error: Some(error) }
    }

    fn dpop(error: &'static str) -> Expected {
        Expected::Challenge { status: 401, schemes: &["DPoP"], error: Some(error) }
    }

    async fn schemes(&mut self) {
        let asked = Expected::Challenge { status: 401, schemes: &["Bearer", "DPoP"], error: None };
        self.expect("both schemes are asked for", Request::get("/orders"), &asked).await;
        let malformed =
            Expected::Challenge { status: 400, schemes: &["Bearer", "DPoP"], error: Some("invalid_request") };
        for value in ["DPoP", "DPoP a b", "DPoP a,b"] {
            let request = Request::get("/orders").header("Authorization", value);
            self.expect(&format!("a malformed {value:?} is 400"), request, &malformed).await;
        }
        let bearer = self.trial.good();
        let caller = self.trial.caller("u1");
        self.expect("a bearer token passes beside", Request::get("/orders").bearer(&bearer), &caller).await;
        let both = Request::get("/orders").bearer(&bearer).header("Authorization", format!("DPoP {bearer}"));
        self.expect("two schemes are two credentials", both, &malformed).await;
    }

    async fn good(&mut self) {
        let (token, caller) = (self.token(), self.trial.caller("u1"));
        for scheme in ["DPoP", "dpop", "DPOP"] {
            let proof = self.proof("GET", "/orders", &token).sign();
            let request = Request::get("/orders").header("Authorization", format!("{scheme} {token}"));
            self.expect(&format!("a fresh proof passes, {scheme}"), request.header("dPoP", proof), &caller).await;
        }
        let proof = self.proof("GET", "/orders", &token).sign();
        let query = Request::get("/orders?page=2").dpop(&token, &proof);
        self.expect("the query does not count", query, &caller).await;
        let proof = self.proof("GET", "/nested/orders", &token).sign();
        let nested = Request::get("/nested/orders").dpop(&token, &proof);
        self.expect("a nested router does not hide a part of the path", nested, &caller).await;
        let proof = self.proof("GET", "/orders", &token).sign();
        let nested = Request::get("/nested/orders").dpop(&token, &proof);
        let other = Self::dpop("invalid_dpop_proof");
        self.expect("what a nested router leaves of the path is not the path", nested, &other).await;
    }

    async fn replays(&mut self) {
        let (token, caller) = (self.token(), self.trial.caller("u1"));
        let proof = self.proof("GET", "/orders", &token).sign();
        let request = || Request::get("/orders").dpop(&token, &proof);
        self.expect("a proof passes once", request(), &caller).await;
        let again = Self::dpop("invalid_dpop_proof");
        for _ in 0..2 {
            self.expect("a proof passes once", request(), &again).await;
        }
        let mut calls = tokio::task::JoinSet::new();
        let proof = self.proof("GET", "/orders", &token).sign();
        for _ in 0..8 {
            let (base_url, request) = (self.base_url.to_owned(), Request::get("/orders").dpop(&token, &proof));
            calls.spawn(async move { super::send(&base_url, &request).await.is_ok_and(|answer| answer.status == 200) });
        }
        let passed = calls.join_all().await.into_iter().filter(|passed| *passed).count();
        self.trial.check(&format!("DPoP: of eight at once with one proof one passes, not {passed}"), passed == 1);
    }

    async fn normalised(&mut self) {
        let (token, caller) = (self.token(), self.trial.caller("u1"));
        let host = HttpSuite::PUBLIC_URL.trim_start_matches("https://");
        for url in [
            format!("HTTPS://{}/orders", host.to_ascii_uppercase()),
            format!("https://{host}:443/orders"),
            format!("https://{host}/%6Frders"),
            format!("https://{host}/x/../orders"),
            format!("https://{host}/orders?x=1#y"),
        ] {
            let proof = self.key.proof("GET", &url).for_token(&token).sign();
            self.expect(&format!("{url} is this request's"), Request::get("/orders").dpop(&token, &proof), &caller)
                .await;
        }
        // The public URL is a matter of configuration: what the request says of its host changes nothing.
        let wrong = Self::dpop("invalid_dpop_proof");
        let proof = self.key.proof("GET", "https://evil.example/orders").for_token(&token).sign();
        let forwarded = Request::get("/orders")
            .dpop(&token, &proof)
            .header("X-Forwarded-Host", "evil.example")
            .header("X-Forwarded-Proto", "https")
            .header("Forwarded", "host=evil.example;proto=https");
        self.expect("a host in a header is not believed", forwarded, &wrong).await;
        let proof = self.key.proof("GET", "http://service.test/orders").for_token(&token).sign();
        self.expect("Host is not believed", Request::get("/orders").dpop(&token, &proof), &wrong).await;
    }

    async fn downgrades(&mut self) {
        let token = self.token();
        let proof = self.proof("GET", "/orders", &token).sign();
        let refused = Self::bearer("invalid_token");
        self.expect("a bound token is no bearer token", Request::get("/orders").bearer(&token), &refused).await;
        let with = Request::get("/orders").bearer(&token).header("DPoP", &proof);
        self.expect("a bound token is no bearer token, with a proof", with, &refused).await;
        let cookie = Request::get("/orders").header("Cookie", format!("{}={token}", HttpSuite::COOKIE));
        self.expect("a bound token in a cookie", cookie.header("DPoP", &proof), &refused).await;
        let bearer = self.trial.good();
        let proof = self.proof("GET", "/orders", &bearer).sign();
        let unbound = Self::dpop("invalid_token");
        let request = Request::get("/orders").dpop(&bearer, &proof);
        self.expect("a token that is not bound is none under DPoP", request, &unbound).await;
    }

    async fn rules(&mut self) {
        let token = self.token();
        let proof = self.proof("POST", "/orders", &token).sign();
        let lacking = Expected::Challenge { status: 403, schemes: &["DPoP"], error: Some("insufficient_scope") };
        let request = Request::new("POST", "/orders").dpop(&token, &proof);
        self.expect("what a bound caller lacks is told to its scheme", request, &lacking).await;
        let token = self.trial.token().scope("orders:write").bound_to(&self.key).sign();
        let proof = self.proof("POST", "/orders", &token).sign();
        let caller = self.trial.caller("u1");
        self.expect("a rule passes", Request::new("POST", "/orders").dpop(&token, &proof), &caller).await;
        let proof = self.proof("GET", "/orders", &token).sign();
        let other = Self::dpop("invalid_dpop_proof");
        let request = Request::new("POST", "/orders").dpop(&token, &proof);
        self.expect("a proof for another method", request, &other).await;
    }

    async fn surroundings(&mut self) {
        let (token, caller) = (self.token(), self.trial.caller("u1"));
        let proof = self.proof("GET", "/optional", &token).sign();
        let request = || Request::get("/optional").dpop(&token, &proof);
        self.expect("optional: a good one is somebody", request(), &caller).await;
        self.expect("optional: a used one does not pass", request(), &Self::dpop("invalid_dpop_proof")).await;
        let nobody = Expected::Json(Value::Null);
        let alone = Request::get("/optional").header("DPoP", &proof);
        self.expect("optional: a proof without a token is nobody", alone, &nobody).await;
        let open = Expected::Status(200);
        self.expect("public: nothing is looked at", Request::get("/public/hello").dpop("x", "y"), &open).await;
    }

    async fn hostile(&mut self) {
        let url = format!("{}/orders", HttpSuite::PUBLIC_URL);
        for hostile in hostile_proofs(&self.trial.suite.issuer, HttpSuite::AUDIENCE, "GET", &url) {
            let under_dpop = hostile.authorization.starts_with("DPoP");
            let schemes: &[&str] = if under_dpop { &["DPoP"] } else { &["Bearer", "DPoP"] };
            let request = Request::get("/orders").header("Authorization", &hostile.authorization);
            let request = hostile.proofs.iter().fold(request, |request, proof| request.header("DPoP", proof));
            let expected = Expected::Challenge { status: 401, schemes, error: None };
            self.expect(&format!("hostile proof {} ({}) is refused", hostile.id, hostile.name), request, &expected)
                .await;
        }
    }
}
