use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::forge::{base64url, compact, sign_input, signing_input};
use crate::issuer::{generate, public_jwk};
use crate::{DpopKey, Issuer, ProofBuilder};

/// Is a request with a token and a proof of possession that must be refused with 401, by a service that takes DPoP and bearer
/// tokens.
#[derive(Clone)]
#[non_exhaustive]
pub struct HostileProof {
    /// Names the case: `A…` is that of a known attack, `D…` one of our own.
    pub id: &'static str,
    /// Says what is wrong.
    pub name: String,
    /// Says why it must be refused.
    pub why: &'static str,
    /// The value of `Authorization`.
    pub authorization: String,
    /// The values of `DPoP`, one a header.
    pub proofs: Vec<String>,
}

impl fmt::Debug for HostileProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostileProof({} {})", self.id, self.name)
    }
}

/// Makes requests that a service must refuse, each with a token of its own.
///
/// - `issuer`, `audience`: of the tokens, which are good but for what they are bound to.
/// - `method`, `url`: of the request as its client calls it; the service is told the URL by its configuration.
///
/// Proofs carry no nonce. Replays are not among them, for they are good the first time.
///
/// # Examples
/// ```
/// use sekisho_testkit::{Issuer, hostile_proofs};
/// for hostile in hostile_proofs(&Issuer::new(), "orders", "GET", "https://api.example/orders") {
///     assert!(!hostile.why.is_empty()); // send `hostile.authorization` and `hostile.proofs`: the answer must be 401
/// }
/// ```
#[must_use]
pub fn hostile_proofs(issuer: &Issuer, audience: &str, method: &str, url: &str) -> Vec<HostileProof> {
    let key = DpopKey::with_key(generate(issuer.backend(), sekisho_jwks::Algorithm::Es256));
    let key = key.with_shared_clock(issuer.clock());
    let attacker = DpopKey::with_key(generate(issuer.backend(), sekisho_jwks::Algorithm::Es256));
    let attacker = attacker.with_shared_clock(issuer.clock());
    let mut bench = Bench { issuer, audience, method, url, key, attacker, cases: Vec::new() };
    bench.downgrades();
    bench.requests();
    bench.hashes();
    bench.several();
    bench.keys();
    bench.times();
    bench.types();
    bench.signatures();
    bench.forms();
    bench.cases
}

struct Bench<'a> {
    issuer: &'a Issuer,
    audience: &'a str,
    method: &'a str,
    url: &'a str,
    key: DpopKey,
    attacker: DpopKey,
    cases: Vec<HostileProof>,
}

impl Bench<'_> {
    fn token(&self) -> String {
        self.issuer.token().audience(self.audience).bound_to(&self.key).sign()
    }

    /// Begins the good proof of a token.
    fn proof(&self, token: &str) -> ProofBuilder {
        self.key.proof(self.method, self.url).for_token(token)
    }

    fn add(&mut self, id: &'static str, name: impl Into<String>, why: &'static str, sent: (String, Vec<String>)) {
        let (authorization, proofs) = sent;
        self.cases.push(HostileProof { id, name: name.into(), why, authorization, proofs });
    }

    /// Adds a bound token with a good proof that was then spoilt.
    fn spoil(
        &mut self,
        id: &'static str,
        name: impl Into<String>,
        why: &'static str,
        spoil: impl FnOnce(ProofBuilder) -> ProofBuilder,
    ) {
        let token = self.token();
        let proof = spoil(self.proof(&token)).sign();
        self.add(id, name, why, (format!("DPoP {token}"), vec![proof]));
    }

    /// Adds a bound token with what is made of the good proof.
    fn replace(
        &mut self,
        id: &'static str,
        name: impl Into<String>,
        why: &'static str,
        replace: impl FnOnce(&ProofBuilder) -> String,
    ) {
        let token = self.token();
        let proof = replace(&self.proof(&token));
        self.add(id, name, why, (format!("DPoP {token}"), vec![proof]));
    }

    fn downgrades(&mut self) {
        let why = "a token that is bound to a key is no bearer token (RFC 9449 §7.2)";
        let token = self.token();
        self.add("A117/a", "bound token as Bearer, no proof", why, (format!("Bearer {token}"), vec![]));
        let proof = self.proof(&token).sign();
        self.add("A117/b", "bound token as Bearer, with a good proof", why, (format!("Bearer {token}"), vec![proof]));
        let why = "nothing proves that the caller has the key (RFC 9449 §7.1)";
        self.add("A117/c", "bound token under DPoP, no proof", why, (format!("DPoP {token}"), vec![]));
        let why = "whoever stole a bearer token can bind any key to it (RFC 9449 §7.2)";
        let bearer = self.issuer.token().audience(self.audience).sign();
        let proof = self.proof(&bearer).sign();
        self.add("A124/a", "token without cnf under DPoP", why, (format!("DPoP {bearer}"), vec![proof]));
        let certificate = json!({ "x5t#S256": self.key.thumbprint() });
        let other = self.issuer.token().audience(self.audience).claim("cnf", certificate).sign();
        let proof = self.proof(&other).sign();
        self.add("A124/b", "token bound to a certificate under DPoP", why, (format!("DPoP {other}"), vec![proof]));
    }

    fn requests(&mut self) {
        let why = "a proof is for one method (RFC 9449 §4.3, check 8)";
        let method = self.method.to_owned();
        let other = if method == "GET" { "POST" } else { "GET" };
        for (id, htm) in [
            ("A118/a", json!(other)),
            ("A118/b", json!(method.to_ascii_lowercase())),
            ("A118/c", json!(format!("{method} "))),
            ("A118/d", json!([method])),
            ("A118/e", json!("")),
        ] {
            self.spoil(id, format!("htm {htm}"), why, |proof| proof.claim("htm", htm));
        }
        self.spoil("A118/f", "no htm", why, |proof| proof.without_claim("htm"));
        let why = "a proof is for one URL (RFC 9449 §4.3, check 9)";
        let url = self.url.to_owned();
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", &url));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let other = if scheme == "https" { "http" } else { "https" };
        for (id, htu) in [
            ("A118/g", json!(format!("{url}x"))),
            ("A118/h", json!(format!("{url}/"))),
            ("A118/i", json!(format!("{scheme}://evil.example{path}"))),
            ("A118/j", json!(format!("{scheme}://{host}.evil.example{path}"))),
            ("A118/k", json!(format!("{scheme}://user@{host}{path}"))),
            ("A118/l", json!(format!("{scheme}://{host}@evil.example{path}"))),
            ("A118/m", json!(format!("{other}://{host}{path}"))),
            ("A118/n", json!(format!("{scheme}://{host}/"))),
            ("A118/o", json!(format!("{scheme}://{host}/x?{path}"))),
            ("A118/p", json!(format!("{scheme}://{host}/x#{path}"))),
            ("A118/q", json!(path)),
            ("A118/r", json!(format!(" {url}"))),
            ("A118/s", json!(format!("{url}%00"))),
            ("A118/t", json!(url.to_ascii_uppercase())),
            ("A118/u", json!([url])),
            ("A118/v", json!("")),
        ] {
            self.spoil(id, format!("htu {htu}"), why, |proof| proof.claim("htu", htu));
        }
        self.spoil("A118/w", "no htu", why, |proof| proof.without_claim("htu"));
    }

    fn hashes(&mut self) {
        let why = "a proof is for one token (RFC 9449 §4.3, check 12)";
        self.spoil("A119/a", "no ath", why, |proof| proof.without_claim("ath"));
        self.spoil("A119/b", "ath of another token", why, |proof| proof.for_token("another"));
        let token = self.token();
        let good = base64url(crate::crypto::sha256(token.as_bytes()));
        let hex: String = crate::crypto::sha256(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        for (id, ath) in [
            ("A119/c", json!(format!("{good}="))),
            ("A119/d", json!(hex)),
            ("A119/e", json!("")),
            ("A119/f", json!([good])),
            ("A119/g", json!(good.get(..42))),
            ("A119/h", json!(token)),
            ("A119/i", Value::Null),
        ] {
            let proof = self.proof(&token).claim("ath", ath.clone()).sign();
            self.add(id, format!("ath {ath}"), why, (format!("DPoP {token}"), vec![proof]));
        }
    }

    fn several(&mut self) {
        let why = "one request has one proof (RFC 9449 §4.3, check 1)";
        let token = self.token();
        let [first, second] = [self.proof(&token).sign(), self.proof(&token).sign()];
        let sent = |proofs: Vec<String>| (format!("DPoP {token}"), proofs);
        self.add("A120/a", "two headers, the same", why, sent(vec![first.clone(), first.clone()]));
        self.add("A120/b", "two headers", why, sent(vec![first.clone(), second.clone()]));
        self.add("A120/c", "a list", why, sent(vec![format!("{first},{second}")]));
        self.add("A120/d", "a list with a space", why, sent(vec![format!("{first}, {second}")]));
        self.add("A120/e", "a list that ends early", why, sent(vec![format!("{first},")]));
        self.add("A120/f", "a good one and nonsense", why, sent(vec![first, "x".to_owned()]));
    }

    fn keys(&mut self) {
        let jwk = self.key.jwk();
        let with = |name: &str, value: Value| {
            let mut jwk = jwk.clone();
            if let Some(members) = jwk.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
            jwk
        };
        let why = "a private key that others can read proves nothing (RFC 9449 §4.3, check 7)";
        for (id, name) in [("A121/a", "d"), ("A121/b", "p"), ("A121/c", "k"), ("A121/d", "dp"), ("A121/e", "oth")] {
            let spoilt = with(name, json!("AAAA"));
            self.spoil(id, format!("jwk holds {name}"), why, |proof| proof.header("jwk", spoilt));
        }
        let why = "a shared secret in the proof itself proves nothing (RFC 9449 §4.3, check 5)";
        let secret = [7; 32];
        let mac = |proof: &ProofBuilder, secret: &[u8]| {
            let input = signing_input(proof.header_json(), proof.claims_json());
            format!("{input}.{}", base64url(crate::crypto::hmac_sha256(secret, input.as_bytes())))
        };
        self.replace("A121/f", "kty oct with HS256", why, |proof| {
            let jwk = json!({ "kty": "oct", "k": base64url(secret), "alg": "HS256" });
            mac(&proof.clone().header("alg", "HS256").header("jwk", jwk), &secret)
        });
        let text = jwk.to_string();
        self.replace("A121/g", "HS256 with the text of the JWK as its secret", why, |proof| {
            mac(&proof.clone().header("alg", "HS256"), text.as_bytes())
        });
        let why = "alg none signs nothing (RFC 9449 §4.3, check 5)";
        for (id, alg) in [("A121/h", "none"), ("A121/i", "None"), ("A121/j", "")] {
            self.replace(id, format!("alg {alg:?}, no signature"), why, |proof| {
                let proof = proof.clone().header("alg", alg);
                format!("{}.", signing_input(proof.header_json(), proof.claims_json()))
            });
        }
        let why = "the key stands in `jwk` and nowhere else (RFC 9449 §4.2)";
        self.spoil("A121/k", "no jwk", why, |proof| proof.without_header("jwk"));
        for (id, value) in [
            ("A121/l", Value::Null),
            ("A121/m", json!(jwk.to_string())),
            ("A121/n", json!([jwk])),
            ("A121/o", json!({})),
        ] {
            self.spoil(id, format!("jwk {value}"), why, |proof| proof.header("jwk", value));
        }
        let kid = self.key.key().kid().to_owned();
        self.spoil("A121/p", "kid and jku in place of jwk", why, |proof| {
            proof.without_header("jwk").header("kid", kid).header("jku", "https://evil.example/keys")
        });
        let why = "the algorithm is the one of the key (RFC 8725 §3.1)";
        for (id, alg) in [("A121/q", "ES384"), ("A121/r", "EdDSA"), ("A121/s", "PS256"), ("A121/t", "ES256K")] {
            self.spoil(id, format!("alg {alg} for a key of P-256"), why, |proof| proof.header("alg", alg));
        }
        let why = "a key that is not for signatures signs none (RFC 7517 §4.2)";
        let spoilt = with("use", json!("enc"));
        self.spoil("A121/u", "jwk for encryption", why, |proof| proof.header("jwk", spoilt));
        let why = "a point that is not on its curve is no key";
        let spoilt = with("x", json!(base64url([1; 32])));
        self.spoil("A121/v", "a point off the curve", why, |proof| proof.header("jwk", spoilt));
    }

    fn times(&mut self) {
        let why = "a proof is made for now (RFC 9449 §4.3, check 11)";
        let (now, hour) = (self.issuer.now(), Duration::from_secs(3600));
        for (id, name, iat) in [
            ("A122/a", "an hour ago", json!(now.saturating_sub(hour).as_secs())),
            ("A122/b", "an hour ahead", json!(now.saturating_add(hour).as_secs())),
            ("A122/c", "a string", json!(now.as_secs().to_string())),
            ("A122/d", "in milliseconds", json!(now.as_secs() * 1000)),
            ("A122/e", "negative", json!(-1)),
            ("A122/f", "null", Value::Null),
            ("A122/g", "zero", json!(0)),
        ] {
            self.spoil(id, format!("iat {name}"), why, |proof| proof.claim("iat", iat));
        }
        self.spoil("A122/h", "no iat", why, |proof| proof.without_claim("iat"));
        let ago = now.saturating_sub(hour).as_secs();
        self.spoil("A122/i", "exp an hour ago", why, |proof| proof.claim("exp", ago));
    }

    fn types(&mut self) {
        let why = "only what was made as a proof is one (RFC 9449 §4.3, check 4)";
        for (id, typ) in [
            ("A123/a", json!("JWT")),
            ("A123/b", json!("at+jwt")),
            ("A123/c", json!("DPOP+JWT")),
            ("A123/d", json!("application/dpop+jwt")),
            ("A123/e", json!("dpop+jwt ")),
            ("A123/f", json!("")),
            ("A123/g", Value::Null),
            ("A123/h", json!(["dpop+jwt"])),
        ] {
            self.spoil(id, format!("typ {typ}"), why, |proof| proof.header("typ", typ));
        }
        self.spoil("A123/i", "no typ", why, |proof| proof.without_header("typ"));
    }

    fn signatures(&mut self) {
        let why = "whoever has the key signs with it (RFC 9449 §4.3, checks 6 and 12)";
        let attacker = self.attacker.clone();
        self.spoil("D001/a", "signed by another key", why, |proof| proof.signed_by(attacker.key()));
        self.spoil("D001/b", "by another key, which it shows", why, |proof| {
            proof.signed_by(attacker.key()).header("jwk", attacker.jwk())
        });
        let key = self.key.key().clone();
        let published = public_jwk(&key);
        self.spoil("D001/c", "another key, with the kid of the right one", why, |proof| {
            let mut jwk = attacker.jwk();
            if let (Some(members), Some(kid)) = (jwk.as_object_mut(), published.get("kid")) {
                members.insert("kid".to_owned(), kid.clone());
            }
            proof.signed_by(attacker.key()).header("jwk", jwk)
        });
        self.replace("D001/d", "no signature", why, |proof| {
            format!("{}.", signing_input(proof.header_json(), proof.claims_json()))
        });
        self.replace("D001/e", "a signature of zeros", why, |proof| {
            format!("{}.{}", signing_input(proof.header_json(), proof.claims_json()), base64url([0; 64]))
        });
        self.replace("D001/f", "the signature of another proof", why, |proof| {
            let other = proof.clone().claim("jti", "other").sign();
            let signature = other.rsplit('.').next().unwrap_or_default();
            format!("{}.{signature}", signing_input(proof.header_json(), proof.claims_json()))
        });
    }

    fn forms(&mut self) {
        let why = "each proof has an id, to be known again by (RFC 9449 §4.3, check 3)";
        self.spoil("D002/a", "no jti", why, |proof| proof.without_claim("jti"));
        for (id, jti) in [
            ("D002/b", json!("")),
            ("D002/c", json!(7)),
            ("D002/d", Value::Null),
            ("D002/e", json!("x".repeat(257))),
            ("D002/f", json!(["x"])),
        ] {
            self.spoil(id, "jti that is no short string", why, |proof| proof.claim("jti", jti));
        }
        let why = "extensions that are not understood are refused (RFC 7515 §4.1.11)";
        self.spoil("D003/a", "crit", why, |proof| proof.header("crit", json!(["exp"])).header("exp", 1));
        self.spoil("D003/b", "b64", why, |proof| proof.header("b64", false).header("crit", json!(["b64"])));
        let why = "what can be read in two ways is refused (RFC 8725 §2.4)";
        let key = self.key.key().clone();
        self.replace("D004/a", "htu twice", why, |proof| {
            let claims = proof.claims_json().replacen('{', "{\"htu\":\"https://evil.example/\",", 1);
            compact(proof.header_json(), claims, &key)
        });
        self.replace("D004/b", "jwk twice", why, |proof| {
            let header = proof.header_json().replacen('{', "{\"jwk\":{},", 1);
            compact(header, proof.claims_json(), &key)
        });
        self.replace("D004/c", "kty twice, in jwk", why, |proof| {
            let header = proof.header_json().replacen("\"jwk\":{", "\"jwk\":{\"kty\":\"oct\",", 1);
            compact(header, proof.claims_json(), &key)
        });
        self.replace("D004/d", "JSON with something behind it", why, |proof| {
            compact(proof.header_json(), format!("{}x", proof.claims_json()), &key)
        });
        self.replace("D004/e", "padding", why, |proof| format!("{}=", proof.sign()));
        self.replace("D004/f", "four parts", why, |proof| format!("{}.x", proof.sign()));
        self.replace("D004/g", "two parts", why, |proof| {
            let proof = proof.sign();
            proof.rsplit_once('.').map_or_else(String::new, |(input, _)| input.to_owned())
        });
        self.replace("D004/h", "white space inside", why, |proof| proof.sign().replacen('.', ". ", 1));
        self.replace("D004/i", "an empty claims object", why, |proof| compact(proof.header_json(), "{}", &key));
        self.replace("D004/j", "no claims", why, |proof| {
            sign_input(&format!("{}.", base64url(proof.header_json())), &key)
        });
        let why = "what is longer than any proof is not looked at";
        self.spoil("D005", "7,000 bytes of a claim", why, |proof| proof.claim("x", "x".repeat(7_000)));
        let why = "an access token is no proof";
        let token = self.token();
        self.add("D006", "the token as its own proof", why, (format!("DPoP {token}"), vec![token.clone()]));
    }
}
