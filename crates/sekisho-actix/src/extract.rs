use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use sekisho_core::{AccessRequest, Enforcer, Permit, Requirement, Resource};
use sekisho_http::{Answer, Caller, Passage};
use serde::de::DeserializeOwned;

use crate::RefusalError;

/// Extracts who calls.
///
/// Reads as a [`sekisho_core::Principal`]. `Option<Principal>` works behind an optional middleware, but actix-web turns
/// *every* refusal of an extractor into `None` there, a missing checkpoint included (which is still logged);
/// [`MaybePrincipal`] does not.
///
/// # Errors
/// - 500, with a clear line in the log, when no checkpoint stands before the route.
/// - 401 when the checkpoint let the request pass without a principal.
#[derive(Clone)]
pub struct Principal(Caller);

impl Principal {
    /// Checks, in the middle of a handler, that the principal satisfies `rule` now.
    ///
    /// # Errors
    /// The response to return, plain HTTP whoever calls: 403, or 401 when the caller must step up, each with its challenge.
    pub fn require(&self, rule: &Requirement) -> Result<(), RefusalError> {
        self.0.require(rule).map_err(RefusalError::from)
    }

    /// Checks, in the middle of a handler, that the principal may do this: with the loaded object as the resource's
    /// attributes. Obligations that are passed on stand in the permit.
    ///
    /// # Errors
    /// The response to return: that of [`require`](Self::require), and 502, 503 or 500 when no decision could be had.
    pub async fn enforce(
        &self,
        enforcer: &Enforcer,
        action: &str,
        resource: Resource<'_>,
    ) -> Result<Permit, RefusalError> {
        self.0.enforce(enforcer, action, resource).await.map_err(RefusalError::from)
    }

    /// Asks for an action on a resource, with the checkpoint's clock; add context to it if there is some.
    #[must_use]
    pub fn request<'a>(&'a self, action: &'a str, resource: Resource<'a>) -> AccessRequest<'a> {
        self.0.request(action, resource)
    }

    /// Checks as [`enforce`](Self::enforce) does; `request` was made by [`request`](Self::request).
    ///
    /// # Errors
    /// As there.
    pub async fn enforce_request(
        &self,
        enforcer: &Enforcer,
        request: &AccessRequest<'_>,
    ) -> Result<Permit, RefusalError> {
        self.0.enforce_request(enforcer, request).await.map_err(RefusalError::from)
    }

    /// Checks each of these resources by itself, in their order: which of these may she read? The authorizer is asked for all
    /// at once.
    ///
    /// There is one item for each resource: its permit, or the response that it alone would be refused with. A list shows the
    /// permitted ones: `zip` them, and leave out the rest.
    pub async fn enforce_all(
        &self,
        enforcer: &Enforcer,
        action: &str,
        resources: &[Resource<'_>],
    ) -> Vec<Result<Permit, RefusalError>> {
        refused(self.0.enforce_all(enforcer, action, resources).await)
    }

    /// Checks as [`enforce_all`](Self::enforce_all) does; each of `requests` was made by [`request`](Self::request).
    pub async fn enforce_requests(
        &self,
        enforcer: &Enforcer,
        requests: &[AccessRequest<'_>],
    ) -> Vec<Result<Permit, RefusalError>> {
        refused(self.0.enforce_requests(enforcer, requests).await)
    }

    /// Returns the principal without its checkpoint.
    #[must_use]
    pub fn into_inner(self) -> sekisho_core::Principal {
        self.0.into_principal()
    }
}

impl FromRequest for Principal {
    type Error = RefusalError;
    type Future = Ready<Result<Self, RefusalError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map(Self))
    }
}

impl Deref for Principal {
    type Target = sekisho_core::Principal;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Extracts who calls, if anybody does.
///
/// # Errors
/// 500, with a clear line in the log, when no checkpoint stands before the route.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct MaybePrincipal(pub Option<Principal>);

impl FromRequest for MaybePrincipal {
    type Error = RefusalError;
    type Future = Ready<Result<Self, RefusalError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = Passage::optional_caller(request.extensions().get());
        ready(found.map(|caller| Self(caller.map(Principal))).map_err(RefusalError::from))
    }
}

/// Extracts the caller's claims as a type of your own.
///
/// The claims are those of a principal, so they are proved.
///
/// # Errors
/// Those of [`Principal`], and 401 `invalid_token` when the claims do not have the shape of `T`: a token that lacks
/// what this service needs is not a usable one. The log then says `claims_type`. `Option<Claims<T>>` would turn each of
/// these into `None`; [`MaybeClaims`] does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct Claims<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Claims<T> {
    type Error = RefusalError;
    type Future = Ready<Result<Self, RefusalError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).and_then(|caller| Ok(Self(caller.claims()?))))
    }
}

/// Extracts the caller's claims as a type of your own, if there is a caller.
///
/// # Errors
/// 500 when no checkpoint stands before the route, and 401 `invalid_token` when there is a caller whose claims do not have
/// the shape of `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct MaybeClaims<T>(pub Option<T>);

impl<T: DeserializeOwned + 'static> FromRequest for MaybeClaims<T> {
    type Error = RefusalError;
    type Future = Ready<Result<Self, RefusalError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = Passage::optional_caller(request.extensions().get());
        let claims = found.and_then(|caller| caller.map(|caller| caller.claims()).transpose());
        ready(claims.map(Self).map_err(RefusalError::from))
    }
}

fn caller(request: &HttpRequest) -> Result<Caller, RefusalError> {
    Passage::caller(request.extensions().get()).map_err(RefusalError::from)
}

fn refused(enforced: Vec<Result<Permit, Answer>>) -> Vec<Result<Permit, RefusalError>> {
    enforced.into_iter().map(|outcome| outcome.map_err(RefusalError::from)).collect()
}
