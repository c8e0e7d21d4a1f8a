use std::sync::Arc;

use sekisho_jwks::KeySource;

use crate::Profile;
use crate::algorithms::AlgorithmSet;

/// Holds everything that the verifier knows of one trusted issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: Arc<str>,
    pub(crate) audiences: Box<[Box<str>]>,
    pub(crate) keys: Arc<dyn KeySource>,
    pub(crate) algorithms: AlgorithmSet,
    pub(crate) leeway_secs: u64,
    pub(crate) profile: Profile,
    pub(crate) roles_at: Box<[Box<str>]>,
    pub(crate) client_claim: Option<Box<str>>,
    pub(crate) tenant_claim: Option<Box<str>>,
}
