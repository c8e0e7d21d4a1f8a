use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sekisho::policy::cedar::CedarPolicies;
use sekisho::policy::combine::{fallback, local_then_remote};
use sekisho::policy::remote::Remote;
use sekisho::policy::remote::authzen::AuthZen;
use sekisho::{Authorize, ConfigError, Jwt, Verifier, all_of, any_of, not, role, scope, when};
use sekisho_testkit::Issuer;

/// The four ways to decide about the shop's orders.
pub(crate) struct Patterns {
    all: Vec<(&'static str, Arc<dyn Authorize>)>,
    hybrid: Arc<dyn Authorize>,
}

impl Patterns {
    pub(crate) fn new(issuer: &str, decision_service: &str) -> Result<Self, Box<dyn Error>> {
        // Without a cache, so that the tables show who decides; a service has one, for 5 s of a permit and 1 s of a denial.
        let remote = || -> Result<Remote, Box<dyn Error>> {
            let protocol = AuthZen::builder(decision_service).with_issuer(issuer).build()?;
            Ok(Remote::builder(protocol).without_cache().build()?)
        };
        let action = |name: &'static str| when(name, move |request| request.action() == name);
        let delegated = any_of([
            all_of([action("read"), scope("orders:read")]),
            all_of([action("refund"), scope("orders:refund")]),
        ]);
        let coarse = all_of([scope("orders:read"), not(role("suspended"))]);
        let fine = fallback(remote()?).reads(["read"]).last_known_for(Duration::from_secs(60)).build()?;
        let hybrid: Arc<dyn Authorize> = Arc::new(local_then_remote(coarse, fine));
        let all: Vec<(&'static str, Arc<dyn Authorize>)> = vec![
            ("centralised: the decision service", Arc::new(remote()?)),
            ("delegated: scopes that the provider gave", Arc::new(delegated)),
            ("distributed: Cedar in this process", Arc::new(cedar(issuer)?)),
            ("hybrid: both, with a fallback", Arc::clone(&hybrid)),
        ];
        Ok(Self { all, hybrid })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Authorize>)> {
        self.all.iter().map(|(name, authorizer)| (*name, authorizer))
    }

    pub(crate) fn hybrid(&self) -> Arc<dyn Authorize> {
        Arc::clone(&self.hybrid)
    }

    pub(crate) fn outline_of_hybrid(&self) -> String {
        self.hybrid.outline().to_string()
    }
}

/// Verifies the tokens of the shop's callers, with their roles and their tenant.
pub(crate) fn verifier(issuer: &Issuer) -> Result<Verifier, ConfigError> {
    let tokens = Jwt::issuer(issuer.url()).audience("shop").with_keys(issuer.static_keys());
    tokens.with_roles_at("/roles").with_tenant_claim("tenant").build()
}

/// Reads the shop's policies: owners and the staff of the tenant read, the staff refunds up to 100, managers any sum.
pub(crate) fn cedar(issuer: &str) -> Result<CedarPolicies, Box<dyn Error>> {
    const SCHEMA: &str = include_str!("shop.cedarschema");
    const POLICIES: &[u8] = include_bytes!("shop.cedar");
    Ok(CedarPolicies::builder(SCHEMA).with_issuer(issuer).with_revision("7").build(POLICIES)?)
}
