//! Keycloak's Authorization Services: the provider decides.
//!
//! The provider that issued the caller's token also knows what its owner may do: resources, scopes and policies stand with a
//! client of the realm, the resource server. [`Keycloak`] asks the realm's token endpoint by the UMA grant, one permission
//! (`RESOURCE#SCOPE`) in a question, in the name of the caller's token, and `Remote` sends it within its bounds. What is lacking is
//! told to the caller: 403 `insufficient_scope`, naming the scope.
//!
//! ```
//! use sekisho_core::AccessRequest;
//! use sekisho_opaque::ClientCredentials;
//! use sekisho_policy::remote::keycloak::{KeepToken, Keycloak};
//! # let issuer = sekisho_testkit::Issuer::new();
//! # let jwt = sekisho_jwt::Jwt::issuer(issuer.url()).audience("orders-api").with_keys(issuer.static_keys());
//! let keycloak = Keycloak::realm("https://id.example/realms/shop", "orders-api")
//!     .with_client(ClientCredentials::basic("orders-api", "its secret"))
//!     .with_resource_name(|resource| Some(format!("{}s", resource.kind())))        // order/42 is `orders` there
//!     .with_challenge_scope(|resource, scope| Some(format!("{}s:{scope}", resource.kind())))
//!     .build()?;
//! // The checkpoint keeps the token that Keycloak must be shown.
//! let authenticator = KeepToken::new(jwt)?;
//! # let _ = (keycloak, authenticator);
//! # Ok::<(), sekisho_core::ConfigError>(())
//! ```
//!
//! # How late it is
//! Keycloak looks at each question whether the session has ended and the user is disabled. A role policy reads the roles out of
//! the token, as old as it is, unless it is told to fetch them ("Fetch Roles"); attributes and scopes are the token's. A
//! decision is as old as whoever keeps it lets it become: `Remote`'s cache (5 s for a permit, 1 s for a denial, unless
//! configured otherwise), or [kept permissions](KeycloakBuilder::with_kept_permissions) of a caller on a resource (the same
//! bounds), which answer for all scopes of the resource and are never kept twice. Permissions in the caller's own token, a
//! requesting party token, are as old as the token, and are only believed where that was
//! [asked for](KeycloakBuilder::with_permissions_in_token).
//!
//! A token that Keycloak does not take any more, because the session has ended or the user is disabled, is answered with 401
//! `invalid_token`, so that the caller gets another one.
//!
//! # What is refused before it is asked
//! Names that Keycloak would take for another question: of none, several, or a whole type of resources or scopes, of which
//! one that is granted would make the answer true. Subjects of another issuer, whose token must not be shown. Tokens that are
//! bound to a key or a certificate, unless we authenticate as a client: as a bearer token they are worth nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{
    AccessRequest, Decision, DecisionSource, Denial, Failure, FailureKind, Principal, Resource, Secret, SubjectId,
};
use sekisho_http::{HttpMethod, HttpRequest, HttpResponse};
use sekisho_opaque::{Backend, ClientCredentials};
use url::form_urlencoded::Serializer;

use super::{DecisionProtocol, Purge};

mod answer;
mod builder;
mod kept;
mod question;
#[cfg(test)]
mod tests;
mod token;

use answer::Answer;
pub use builder::KeycloakBuilder;
pub use kept::KeptPermissions;
use kept::{Kept, Key, Purged};
use question::{By, Permission};
pub use token::{CallerToken, KeepToken};

/// Asks Keycloak whether the caller may. A clone costs a counter, and shares what is kept.
///
/// Made by [`Keycloak::realm`]; given to `Remote`, which sends. See the [module](self) for an example.
#[derive(Clone)]
pub struct Keycloak(Arc<Parts>);

struct Parts {
    issuer: Box<str>,
    endpoint: Box<str>,
    resource_server: Box<str>,
    credentials: Option<ClientCredentials>,
    backend: Backend,
    resource_name: Box<NameResource>,
    by: By,
    scope_name: Box<NameScope>,
    challenge_scope: Box<NameChallenge>,
    pushed: Box<[Box<str>]>,
    kept: Option<Kept>,
    believes_token: bool,
    salt: [u8; 32],
}

type NameResource = dyn Fn(Resource<'_>) -> Option<String> + Send + Sync;
type NameScope = dyn Fn(&str) -> Option<String> + Send + Sync;
type NameChallenge = dyn Fn(Resource<'_>, &str) -> Option<String> + Send + Sync;

/// Is a question that may be put.
struct Question<'a> {
    permission: Permission,
    token: &'a Secret,
    claims: Option<String>,
    /// What its answer is kept under, where it is.
    key: Option<Key>,
}

/// Says why a question is not put.
enum Settled {
    Decided(Decision),
    Failed(Failure),
}

impl Keycloak {
    /// Starts from the realm, as its tokens name it (`iss`), and the client id of the resource server, whose resources and
    /// policies decide.
    pub fn realm(issuer: impl Into<Box<str>>, resource_server: impl Into<Box<str>>) -> KeycloakBuilder {
        KeycloakBuilder::new(issuer.into(), resource_server.into())
    }

    /// Forgets what is kept of a subject: at a logout, when its roles change. What was asked before and is on its way is not
    /// kept either. The purges of a `Remote` come here too, and end what it has kept itself: rather use those.
    pub fn purge_subject(&self, subject: &SubjectId) {
        self.0.kept.iter().for_each(|kept| kept.purge(Purged::Subject(subject.clone())));
    }

    /// Forgets what is kept of a session at the realm (`sid`).
    pub fn purge_session(&self, session: &str) {
        self.0.kept.iter().for_each(|kept| kept.purge(Purged::Session(session.into())));
    }

    /// Forgets what is kept of a token (`jti`).
    pub fn purge_token(&self, token_id: &str) {
        self.0.kept.iter().for_each(|kept| kept.purge(Purged::Token(token_id.into())));
    }

    /// Forgets all that is kept: when policies change.
    pub fn purge_all(&self) {
        self.0.kept.iter().for_each(|kept| kept.purge(Purged::All));
    }

    /// Tells of how many pairs of a token and a resource the permissions are kept.
    #[must_use]
    pub fn kept_permissions(&self) -> usize {
        self.0.kept.as_ref().map_or(0, Kept::len)
    }

    /// Names what is asked for, or says why it is not asked.
    fn permission(&self, request: &AccessRequest<'_>) -> Result<Permission, Settled> {
        let parts = &*self.0;
        let names = ((parts.resource_name)(request.resource()), (parts.scope_name)(request.action()));
        let (Some(resource), Some(scope)) = names else { return Err(Settled::Decided(Decision::not_applicable())) };
        Permission::new(parts.by, resource, scope).ok_or_else(|| forbidden(UNASKABLE))
    }

    /// Makes the question, or says why it is not put.
    fn question<'a>(&self, request: &AccessRequest<'a>) -> Result<Question<'a>, Settled> {
        let (parts, permission) = (&*self.0, self.permission(request)?);
        let caller = request.subject();
        // INVARIANT: a token is shown to nobody but the realm that issued it.
        if caller.issuer() != &*parts.issuer {
            return Err(forbidden("the authorization provider knows no subjects of another issuer"));
        }
        // INVARIANT: no question without the caller's token. Of a client that authenticates alone, Keycloak takes it that the
        // client asks for itself.
        let Some(token) = CallerToken::of(caller) else { return Err(Settled::Failed(NO_TOKEN)) };
        if caller.confirmation().is_some() && parts.credentials.is_none() {
            return Err(Settled::Failed(BOUND));
        }
        let claims = question::claims(&parts.pushed, request.context()).map_err(Settled::Failed)?;
        // What policies said of pushed claims holds for no other question.
        let is_kept = parts.kept.is_some() && claims.is_none();
        let key = is_kept.then(|| Key { token: self.hash(token.secret(), []), resource: permission.resource.clone() });
        Ok(Question { permission, token: token.secret(), claims, key })
    }

    /// Hashes a token, and what else there may be.
    fn hash<const N: usize>(&self, token: &Secret, rest: [Option<&str>; N]) -> [u8; 32] {
        let mut text = self.0.salt.to_vec();
        let mut add = |bytes: &[u8]| {
            text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            text.extend_from_slice(bytes);
        };
        add(token.expose());
        for part in rest {
            add(&[u8::from(part.is_some())]);
            add(part.unwrap_or_default().as_bytes());
        }
        // Wiped with the token in it.
        self.0.backend.sha256(Secret::new(text).expose())
    }

    /// Denies, and says which scope is lacking.
    fn lacking(&self, request: &AccessRequest<'_>, permission: &Permission) -> Decision {
        let scope = (self.0.challenge_scope)(request.resource(), &permission.scope);
        // RFC 6749 §3.3: what a scope may be written with.
        let is_scope = |scope: &String| {
            !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~' | b' '))
        };
        let denial = match scope.filter(is_scope) {
            Some(scope) => Denial::InsufficientScope { scope: scope.into() },
            None => Denial::Forbidden { reason: "the authorization provider does not grant the permission" },
        };
        Decision::deny(denial).with_reason(permission.written())
    }

    /// Makes a decision of an answer.
    fn decide<T>(&self, request: &AccessRequest<'_>, permission: &Permission, answer: &Answer<T>) -> Decision {
        let decision = match answer {
            Answer::Granted(_) => Decision::permit().with_reason(permission.written()),
            Answer::Denied => self.lacking(request, permission),
            Answer::Unknown => deny("the authorization provider has no such resource or scope"),
            // A bound token is none that it takes, and as good as before.
            Answer::TokenRefused if request.subject().confirmation().is_none() => {
                Decision::refuse(Denial::InvalidToken)
            }
            Answer::TokenRefused => deny("the authorization provider does not take the caller's token"),
        };
        decision.with_source(DecisionSource::Remote)
    }

    fn known_scope(&self, question: &Question<'_>, request: &AccessRequest<'_>) -> Option<Decision> {
        let Question { permission, key, .. } = question;
        let caller = request.subject();
        // What the token lists was granted without these claims, or with others.
        let believes_token = self.0.believes_token && question.claims.is_none();
        if believes_token && self.is_party_token(caller) && answer::holds(caller.claims(), permission) {
            return Some(Decision::permit().with_reason(permission.written()));
        }
        let granted = self.0.kept.as_ref()?.get(key.as_ref()?, &permission.scope, request.now())?;
        let decision = match granted {
            true => Decision::permit().with_reason(permission.written()),
            false => self.lacking(request, permission),
        };
        Some(decision.with_source(DecisionSource::Cache))
    }

    /// Tells whether the caller's token is for our resource server alone, so that what it lists are our resources.
    fn is_party_token(&self, caller: &Principal) -> bool {
        matches!(&*caller.audiences(), [audience] if *audience == *self.0.resource_server)
    }
}

#[async_trait]
impl DecisionProtocol for Keycloak {
    fn name(&self) -> &'static str {
        "keycloak"
    }

    fn may_send_twice(&self) -> bool {
        self.0.credentials.as_ref().is_none_or(ClientCredentials::may_be_sent_twice)
    }

    fn answer_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        match self.question(request) {
            Err(Settled::Decided(decision)) => Some(Ok(decision)),
            Err(Settled::Failed(failure)) => Some(Err(failure)),
            Ok(question) => self.known_scope(&question, request).map(Ok),
        }
    }

    fn purge(&self, what: Purge<'_>) {
        let of_realm = |issuer: &str| *issuer == *self.0.issuer;
        let what = match what {
            Purge::All => Purged::All,
            Purge::Subject(subject) => Purged::Subject(subject.clone()),
            Purge::Session { issuer, id } if of_realm(issuer) => Purged::Session(id.into()),
            Purge::Token { issuer, id } if of_realm(issuer) => Purged::Token(id.into()),
            Purge::Grant { issuer, id } if of_realm(issuer) => Purged::Grant(id.into()),
            Purge::Session { .. } | Purge::Token { .. } | Purge::Grant { .. } => return,
        };
        if let Some(kept) = &self.0.kept {
            kept.purge(what);
        }
    }

    fn key_part(&self, request: &AccessRequest<'_>) -> Option<[u8; 32]> {
        let token = CallerToken::of(request.subject())?;
        let claims = question::claims(&self.0.pushed, request.context()).ok()?;
        // Of the resource it may be called by what is no part of the key otherwise.
        let permission = self.permission(request).ok();
        let (resource, scope) = permission.as_ref().map(|one| (&*one.resource, &*one.scope)).unzip();
        Some(self.hash(token.secret(), [resource, scope, claims.as_deref()]))
    }

    async fn ask(&self, request: &AccessRequest<'_>) -> Result<HttpRequest, Failure> {
        let Question { permission, token, claims, key } = self.question(request).map_err(|settled| match settled {
            Settled::Decided(_) => {
                Failure::new(FailureKind::Misconfigured, "this is not asked of the authorization provider")
            }
            Settled::Failed(failure) => failure,
        })?;
        let parts = &*self.0;
        let token = token.expose_str().unwrap_or_default();
        let proof = match &parts.credentials {
            Some(credentials) => Some(credentials.prove(&parts.issuer, parts.backend, request.now())?),
            None => None,
        };
        let authorization = match &proof {
            Some(proof) => proof.authorization().map(str::to_owned),
            None => Some(format!("Bearer {token}")),
        };
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:uma-ticket");
        form.append_pair("audience", &parts.resource_server);
        let asked = if key.is_some() { permission.resource.to_string() } else { permission.written() };
        let is_listed = key.is_some() || permission.by == By::Id;
        form.append_pair("permission", &asked);
        form.append_pair("response_mode", if is_listed { "permissions" } else { "decision" });
        if let Some(proof) = &proof {
            form.append_pair("subject_token", token).extend_pairs(proof.parameters());
        }
        if let Some(claims) = &claims {
            form.append_pair("claim_token", &base64_simd::URL_SAFE_NO_PAD.encode_to_string(claims));
            form.append_pair("claim_token_format", "urn:ietf:params:oauth:token-type:jwt");
        }
        let mut headers = vec![
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("accept", "application/json".to_owned()),
        ];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let url = parts.endpoint.to_string();
        Ok(HttpRequest { method: HttpMethod::Post, url, headers, body: form.finish().into_bytes() })
    }

    /// Reads a decision, without knowing of what: a denial then names no scope. `Remote` reads by
    /// [`read_for`](DecisionProtocol::read_for).
    fn read(&self, response: &HttpResponse) -> Result<Decision, Failure> {
        let decision = match answer::decision(response)? {
            Answer::Granted(()) => Decision::permit(),
            _ => deny("the authorization provider does not grant the permission"),
        };
        Ok(decision.with_source(DecisionSource::Remote))
    }

    fn read_for(&self, request: &AccessRequest<'_>, response: &HttpResponse) -> Result<Decision, Failure> {
        let Question { permission, key, .. } = self.question(request).map_err(|settled| match settled {
            Settled::Decided(_) => {
                Failure::new(FailureKind::Misconfigured, "this was not asked of the authorization provider")
            }
            Settled::Failed(failure) => failure,
        })?;
        if key.is_none() && permission.by == By::Name {
            let answer = answer::decision(response)?;
            return Ok(self.decide(request, &permission, &answer));
        }
        let answer = answer::scopes(response, &permission)?;
        let kept = key.zip(self.0.kept.as_ref());
        let is_kept = kept.is_some();
        if let Some((key, kept)) = kept {
            let granted = match &answer {
                Answer::Granted(scopes) => Some(scopes.clone()),
                Answer::Denied => Some(Box::default()),
                Answer::Unknown | Answer::TokenRefused => None,
            };
            match granted {
                Some(scopes) => kept.keep(key, request.subject(), scopes, request.now()),
                None => kept.forget_token(&key.token),
            }
        }
        let decision = match answer {
            Answer::Granted(scopes) if !scopes.contains(&permission.scope) => {
                self.lacking(request, &permission).with_source(DecisionSource::Remote)
            }
            answer => self.decide(request, &permission, &answer),
        };
        Ok(if is_kept { decision.with_lifetime(Duration::ZERO) } else { decision })
    }
}

impl fmt::Debug for Keycloak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { issuer, resource_server, credentials, pushed, kept, believes_token, .. } = &*self.0;
        f.debug_struct("Keycloak")
            .field("issuer", issuer)
            .field("resource_server", resource_server)
            .field("credentials", credentials)
            .field("pushed", pushed)
            .field("kept", kept)
            .field("believes_token", believes_token)
            .finish_non_exhaustive()
    }
}

fn deny(reason: &'static str) -> Decision {
    Decision::refuse(Denial::Forbidden { reason })
}

fn forbidden(reason: &'static str) -> Settled {
    Settled::Decided(deny(reason))
}

const UNASKABLE: &str = "the resource or the action has a name that would be another question to the provider";
const NO_TOKEN: Failure = Failure::new(
    FailureKind::Misconfigured,
    "the caller's token is not at hand: wrap the authenticator in `KeepToken`",
);
const BOUND: Failure = Failure::new(
    FailureKind::Misconfigured,
    "a token that is bound to a key or a certificate cannot be shown as a bearer token: set the client's credentials",
);
