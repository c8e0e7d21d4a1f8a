//! A user pool of moto, which makes tokens as Amazon Cognito does.

use sekisho_jwks::RemoteKeys;
use sekisho_jwt::{Jwt, JwtBuilder, Profile, Refusal, Reject, Verifier};
use serde_json::{Value, json};

use crate::service::Service;
use crate::setup::{self, header, now, part};

struct Cognito {
    url: String,
    http: reqwest::Client,
}

struct Pool {
    id: String,
    issuer: String,
    keys: String,
}

struct Login {
    access: String,
    id: String,
}

impl Cognito {
    fn reach(test: &str) -> Option<Self> {
        Some(Self { url: setup::variable("SEKISHO_MOTO_URL", test)?, http: setup::http() })
    }

    async fn ask(&self, operation: &str, body: Value) -> Value {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("AWSCognitoIdentityProviderService.{operation}"))
            // moto reads the region out of it and checks nothing.
            .header("authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/cognito-idp/aws4_request");
        let answer = request.body(body.to_string()).send().await.expect("moto answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{operation}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn pool(&self) -> Pool {
        let answer = self.ask("CreateUserPool", json!({ "PoolName": "shop" })).await;
        let id = text(&answer, "/UserPool/Id");
        let issuer = format!("https://cognito-idp.us-east-1.amazonaws.com/{id}");
        // The issuer is an address of Amazon's, so the keys' own address has to be given.
        let keys = format!("{}/{id}/.well-known/jwks.json", self.url);
        Pool { id, issuer, keys }
    }

    async fn client(&self, pool: &Pool) -> String {
        let flows = ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"];
        let request = json!({ "UserPoolId": pool.id, "ClientName": "orders", "ExplicitAuthFlows": flows });
        text(&self.ask("CreateUserPoolClient", request).await, "/UserPoolClient/ClientId")
    }

    async fn user(&self, pool: &Pool, name: &str, groups: &[&str]) {
        let user = |more: Value| {
            let mut request = json!({ "UserPoolId": pool.id, "Username": name });
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            request
        };
        self.ask("AdminCreateUser", user(json!({ "TemporaryPassword": "Passw0rd!x" }))).await;
        self.ask("AdminSetUserPassword", user(json!({ "Password": "Passw0rd!y", "Permanent": true }))).await;
        for group in groups {
            self.ask("CreateGroup", json!({ "UserPoolId": pool.id, "GroupName": group })).await;
            self.ask("AdminAddUserToGroup", user(json!({ "GroupName": group }))).await;
        }
    }

    async fn login(&self, client: &str, user: &str) -> Login {
        let parameters = json!({ "USERNAME": user, "PASSWORD": "Passw0rd!y" });
        let request = json!({ "ClientId": client, "AuthFlow": "USER_PASSWORD_AUTH", "AuthParameters": parameters });
        let answer = self.ask("InitiateAuth", request).await;
        let access = text(&answer, "/AuthenticationResult/AccessToken");
        Login { access, id: text(&answer, "/AuthenticationResult/IdToken") }
    }
}

impl Pool {
    fn jwt(&self, client: &str) -> JwtBuilder {
        let keys = RemoteKeys::new(&*self.keys);
        Jwt::issuer(&*self.issuer).audience(client).with_profile(Profile::cognito()).with_keys(keys)
    }

    fn verifier(&self, client: &str) -> Verifier {
        self.jwt(client).build().expect("a verifier")
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}

async fn reject(verifier: &Verifier, token: &str) -> Reject {
    match verifier.verify(token, now()).await {
        Err(Refusal::Reject(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_access_token_of_a_user_pool_is_accepted_with_its_groups_as_roles() {
    let Some(cognito) = Cognito::reach("access tokens of a Cognito user pool") else { return };
    let pool = cognito.pool().await;
    let client = cognito.client(&pool).await;
    cognito.user(&pool, "alice", &["clerk", "export"]).await;
    cognito.user(&pool, "bob", &[]).await;
    let alice = cognito.login(&client, "alice").await;
    assert_eq!(header(&alice.access, "alg"), "RS256");
    assert!(part(&alice.access, 1).get("aud").is_none(), "Cognito's access tokens have no audience");

    let verifier = pool.verifier(&client);
    let principal = verifier.verify(&alice.access, now()).await.expect("a good token").into_inner();
    assert_eq!(principal.issuer(), pool.issuer);
    assert_eq!(principal.client(), Some(&*client));
    assert_eq!(Some(principal.subject()), part(&alice.access, 1)["sub"].as_str());
    assert!(principal.has_role("clerk") && principal.has_role("export"), "{:?}", principal.roles());
    assert!(principal.has_scope("aws.cognito.signin.user.admin"));

    let service = Service::start(verifier).await;
    let bob = cognito.login(&client, "bob").await;
    assert_eq!(service.get("/clerks", &alice.access).await.status, 200);
    assert_eq!(service.get("/clerks", &bob.access).await.status, 403);
    assert_eq!(service.get("/me", &bob.access).await.status, 200);
}

#[tokio::test]
async fn what_is_not_an_access_token_of_this_pool_and_client_is_refused() {
    let Some(cognito) = Cognito::reach("refused tokens of a Cognito user pool") else { return };
    let pool = cognito.pool().await;
    let (client, other_client) = (cognito.client(&pool).await, cognito.client(&pool).await);
    cognito.user(&pool, "alice", &[]).await;
    let alice = cognito.login(&client, "alice").await;
    assert!(pool.verifier(&client).verify(&alice.access, now()).await.is_ok());
    // The ID token has this client as its audience; its use alone speaks against it.
    assert_eq!(part(&alice.id, 1)["aud"], client);
    assert_eq!(reject(&pool.verifier(&client), &alice.id).await, Reject::TokenUse);
    assert_eq!(reject(&pool.verifier(&other_client), &alice.access).await, Reject::Audience);
    let without_preset = pool.jwt(&client).with_profile(Profile::compatible()).build().expect("a verifier");
    assert_eq!(reject(&without_preset, &alice.id).await, Reject::TokenUse);
    assert!(matches!(reject(&without_preset, &alice.access).await, Reject::Missing(sekisho_jwt::Claim::Audience)));
    // All pools of moto share one key, so only the name tells them apart.
    let other_pool = cognito.pool().await;
    assert_eq!(reject(&other_pool.verifier(&client), &alice.access).await, Reject::Issuer);
}
