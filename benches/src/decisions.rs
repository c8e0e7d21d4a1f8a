//! What the benches of decisions share: who asks for what, and the policies that decide it, in each language.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authorize, Principal, Requirement, Resource, UnixSeconds, all_of, any_of, owner, role, same_tenant,
    scope,
};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_policy::cedar::CedarPolicies;
use sekisho_policy::rego::RegoPolicies;
use sekisho_policy::remote::opa::Opa;
use sekisho_policy::remote::{Remote, RemoteBuilder};
use serde::Serialize;

use crate::claims::{ISSUER, claims, now};

/// Is a question in plain values: what a service knows before it asks anybody.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub subject: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub subject_tenant: String,
    pub order: String,
    pub owner: String,
    pub tenant: String,
    pub total: i64,
    pub locked: bool,
    pub now: u64,
}

/// Is the same question as a service that uses us has it: a verified token's principal and a loaded order.
#[derive(Debug)]
pub struct Asked {
    pub principal: Principal,
    pub id: String,
    pub order: JsonObject,
    pub facts: Facts,
    now: UnixSeconds,
}

impl Asked {
    /// Lets a clerk ask for an order that she does not own, and that her tenant has. `number` makes questions differ.
    pub fn new(number: usize) -> Self {
        Self::with(number, &claims(ISSUER, number), now())
    }

    /// Asks the same twice, with a principal and an order of its own each time, as two requests do.
    pub fn twice(number: usize) -> [Self; 2] {
        let (claims, now) = (claims(ISSUER, number), now());
        [(); 2].map(|()| Self::with(number, &claims, now))
    }

    fn with(number: usize, claims: &serde_json::Value, now: u64) -> Self {
        let subject = claims["sub"].as_str().unwrap().to_owned();
        let (roles, scopes) = (["offline_access", "default-roles-shop", "clerk"], ["openid", "profile", "orders:read"]);
        let mut principal = PrincipalBuilder::new(ISSUER, &subject);
        for (name, value) in claims.as_object().unwrap() {
            principal = principal.with_claim(name, value.clone());
        }
        let principal = principal.with_scope(&scopes.join(" ")).with_roles(roles).with_tenant("acme").build().unwrap();
        let facts = Facts {
            subject,
            roles: roles.map(str::to_owned).to_vec(),
            scopes: scopes.map(str::to_owned).to_vec(),
            subject_tenant: "acme".to_owned(),
            order: format!("order-{number:08}"),
            owner: format!("0b7f4a1c-52d8-4c5e-8a57-{:012x}", number + 1_000_000),
            tenant: "acme".to_owned(),
            total: 4_200,
            locked: false,
            now,
        };
        let order = serde_json::json!({
            "owner": facts.owner, "tenant": facts.tenant, "total": facts.total, "locked": facts.locked,
        });
        let order = JsonObject::parse(order.to_string().into_bytes()).unwrap();
        Self { principal, id: facts.order.clone(), order, now: UnixSeconds::new(facts.now), facts }
    }

    /// Puts the question.
    pub fn request(&self) -> AccessRequest<'_> {
        self.request_to("read")
    }

    /// Puts the question for another action.
    pub fn request_to<'a>(&'a self, action: &'a str) -> AccessRequest<'a> {
        let resource = Resource::new("order", &self.id).with_attributes(&self.order);
        AccessRequest::new(&self.principal, action, resource, self.now)
    }
}

/// Asks the principal alone, as a layer does.
pub fn scope_or_role() -> Requirement {
    any_of([scope("orders:read"), role("admin")])
}

/// The same for somebody who has the second of the two.
pub fn role_after_scope() -> Requirement {
    any_of([scope("orders:write"), role("clerk")])
}

/// Asks the loaded order too, as a handler does: its owner, or a clerk of its tenant.
pub fn owner_or_clerk() -> Requirement {
    any_of([owner("owner"), all_of([role("clerk"), same_tenant("tenant")])])
}

pub const SCHEMA: &str = r#"
    entity Role;
    entity Shop;
    entity User in [Role] { tenant?: String };
    entity Order in [Shop] { owner: User, tenant: String, total: Long, locked: Bool };
    action read, refund, cancel appliesTo { principal: User, resource: Order, context: { now: Long } };
"#;

/// The two that speak of a clerk who reads an order.
pub const CEDAR_THAT_MATTER: &str = r#"
@id("own") permit(principal, action == Action::"read", resource is Order) when { resource.owner == principal };
@id("clerk") permit(principal in Role::"clerk", action == Action::"read", resource is Order)
    when { principal has tenant && principal.tenant == resource.tenant };
"#;

/// Writes policies of which those two matter; the others name other roles, users, orders, shops or actions.
pub fn cedar_policies(count: usize) -> String {
    let mut text = CEDAR_THAT_MATTER.to_owned();
    for number in 2..count {
        text += &match number % 4 {
            0 => format!(
                "@id(\"{number}\") permit(principal in Role::\"team-{number}\", action == Action::\"read\", resource is Order) \
                 when {{ resource.total < {number} }};\n"
            ),
            1 => format!(
                "@id(\"{number}\") permit(principal == User::\"user-{number}\", action in [Action::\"read\", Action::\"refund\"], \
                 resource == Order::\"order-{number}\");\n"
            ),
            2 => format!(
                "@id(\"{number}\") permit(principal in Role::\"clerk\", action == Action::\"cancel\", \
                 resource in Shop::\"shop-{number}\") unless {{ resource.locked }};\n"
            ),
            _ => format!(
                "@id(\"{number}\") forbid(principal in Role::\"suspended-{number}\", action, resource) \
                 when {{ resource.total > {number} }};\n"
            ),
        };
    }
    text
}

/// Writes policies all of which may matter: no scope rules anything out, so that each one has to be evaluated.
pub fn cedar_policies_without_scope(count: usize) -> String {
    let mut text = CEDAR_THAT_MATTER.to_owned();
    for number in 2..count {
        text += &format!(
            "@id(\"{number}\") permit(principal, action, resource) when {{ resource.tenant == \"tenant-{number}\" }};\n"
        );
    }
    text
}

/// Compiles policies as a service would.
pub fn cedar(policies: &str) -> CedarPolicies {
    CedarPolicies::builder(SCHEMA).with_issuer(ISSUER).build(policies.as_bytes()).unwrap()
}

pub const REGO: &str = r#"
package shop

default decision := false

decision if { input.action.name == "read"; input.resource.properties.owner == input.subject.id }

decision if {
    input.action.name == "read"
    "clerk" in input.subject.roles
    input.resource.properties.tenant == input.subject.tenant
}
"#;

pub const REGO_ENTRY_POINT: &str = "data.shop.decision";

/// Compiles the module as a service would.
pub fn rego() -> RegoPolicies {
    RegoPolicies::builder(REGO_ENTRY_POINT).with_module("shop.rego", REGO).build().unwrap()
}

/// Writes the input that OPA and Rego get of us, from plain values.
pub fn input(facts: &Facts) -> serde_json::Value {
    serde_json::json!({
        "subject": {
            "type": "user", "id": facts.subject, "issuer": ISSUER, "client": "shop-web", "tenant": facts.subject_tenant,
            "roles": facts.roles, "scopes": facts.scopes, "properties": {},
        },
        "action": { "name": "read" },
        "resource": {
            "type": "order", "id": facts.order,
            "properties": { "owner": facts.owner, "tenant": facts.tenant, "total": facts.total, "locked": facts.locked },
        },
        "now": facts.now,
    })
}

/// Starts a decider that asks this OPA.
pub fn remote(url: &str) -> RemoteBuilder {
    Remote::builder(Opa::at(url, "shop/decision").unwrap())
}

/// Makes a decider that has a decision for each question in memory, for the longest time that there is.
pub fn cached(builder: RemoteBuilder, asked: &[Asked]) -> Remote {
    let minute = std::time::Duration::from_secs(60);
    let remote = builder.with_client(Arc::new(Permits)).with_cache_lifetimes(minute, minute).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for one in asked {
        assert!(runtime.block_on(remote.decide(&one.request())).unwrap().is_permitted());
    }
    remote
}

/// Answers as an OPA would that permits: what is in memory afterwards is the same, and nobody has to be there.
#[derive(Debug)]
struct Permits;

#[async_trait]
impl HttpClient for Permits {
    async fn send(&self, _: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let body = br#"{"decision_id":"4e1d9b62-7a05-4c33-9d1e-29f2f2a1c0d7","result":true}"#.to_vec();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(HttpResponse { status: 200, headers, body })
    }
}

/// Is a decider by its name.
pub struct Named {
    pub name: &'static str,
    pub decider: Arc<dyn Authorize>,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
