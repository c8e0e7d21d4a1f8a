//! What the services for the suite have in common: the checkpoint, the rules and the answers.

use std::time::Duration;

use sekisho_core::{Requirement, all_of, any_of, authentication_context, max_age, role, scope};
use sekisho_http::{Checkpoint, CheckpointBuilder, ProtectedResourceMetadata, Ready};
use sekisho_jwt::{Dpop, Jwt, JwtBuilder, Profile};
use sekisho_testkit::{HttpSuite, Issuer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Is what a handler wants to know of a caller's claims.
#[derive(Deserialize, Serialize)]
pub(crate) struct Employee {
    department: String,
}

/// Begins the verifier that the suite asks for. Keys come by discovery.
pub(crate) fn jwt(issuer: &Issuer) -> JwtBuilder {
    Jwt::issuer(issuer.url())
        .audience(HttpSuite::AUDIENCE)
        .with_profile(Profile::rfc9068())
        .with_roles_at(HttpSuite::ROLES)
        .with_clock(issuer.clock())
}

/// Builds the checkpoint that the suite asks for.
pub(crate) fn checkpoint(issuer: &Issuer, jwt: JwtBuilder) -> Checkpoint {
    builder(issuer, jwt).build().expect("a checkpoint")
}

/// Builds the checkpoint that the suite asks for, for tokens that are bound to a key too.
pub(crate) fn dpop_checkpoint(issuer: &Issuer) -> Checkpoint {
    let jwt = jwt(issuer).with_dpop(Dpop::new());
    builder(issuer, jwt).with_public_url(HttpSuite::PUBLIC_URL).build().expect("a checkpoint")
}

fn builder(issuer: &Issuer, jwt: JwtBuilder) -> CheckpointBuilder<Ready> {
    Checkpoint::builder()
        .accept(jwt)
        .with_realm(HttpSuite::REALM)
        .with_cookie(HttpSuite::COOKIE)
        .with_header(HttpSuite::HEADER)
        .with_public_routes(HttpSuite::PUBLIC_ROUTES)
        .with_resource_metadata(
            ProtectedResourceMetadata::new(HttpSuite::RESOURCE).with_authorization_server(issuer.url()),
        )
        .with_clock(issuer.clock())
}

pub(crate) fn write() -> Requirement {
    scope("orders:write")
}

pub(crate) fn both() -> Requirement {
    scope("orders:read orders:write")
}

pub(crate) fn each() -> Requirement {
    all_of([scope("orders:read"), scope("orders:write")])
}

pub(crate) fn any() -> Requirement {
    any_of([scope("orders:write"), role("admin")])
}

pub(crate) fn admin() -> Requirement {
    role("admin")
}

pub(crate) fn step_up() -> Requirement {
    all_of([authentication_context(["gold", "silver"]), max_age(Duration::from_secs(300))])
}

/// Says who called.
pub(crate) fn named(caller: &sekisho_core::Principal) -> Value {
    json!({ "issuer": caller.issuer(), "subject": caller.subject() })
}
