use std::fmt;
use std::ops::Deref;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use sekisho_core::{AccessRequest, Enforcer, Permit, Requirement, Resource};
use sekisho_http::{Answer, Caller, Passage};
use serde::de::DeserializeOwned;

use crate::RefusalResponse;

/// Extracts who calls.
///
/// Reads as a [`sekisho_core::Principal`]. `Option<Principal>` is for routes behind an optional layer; it is `None`
/// when no credential came.
///
/// # Rejections
/// - 500, with a clear line in the log, when no checkpoint's layer stands before the route; also for `Option`.
/// - 401 when the checkpoint let the request pass without a principal.
#[derive(Clone)]
pub struct Principal(Caller);

impl Principal {
    /// Checks, in the middle of a handler, that the principal satisfies `rule` now.
    ///
    /// # Errors
    /// The response to return, plain HTTP whoever calls: 403, or 401 when the caller must step up, each with its challenge.
    pub fn require(&self, rule: &Requirement) -> Result<(), RefusalResponse> {
        self.0.require(rule).map_err(RefusalResponse::from)
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
    ) -> Result<Permit, RefusalResponse> {
        self.0.enforce(enforcer, action, resource).await.map_err(RefusalResponse::from)
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
    ) -> Result<Permit, RefusalResponse> {
        self.0.enforce_request(enforcer, request).await.map_err(RefusalResponse::from)
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
    ) -> Vec<Result<Permit, RefusalResponse>> {
        refused(self.0.enforce_all(enforcer, action, resources).await)
    }

    /// Checks as [`enforce_all`](Self::enforce_all) does; each of `requests` was made by [`request`](Self::request).
    pub async fn enforce_requests(
        &self,
        enforcer: &Enforcer,
        requests: &[AccessRequest<'_>],
    ) -> Vec<Result<Permit, RefusalResponse>> {
        refused(self.0.enforce_requests(enforcer, requests).await)
    }

    /// Returns the principal without its checkpoint.
    #[must_use]
    pub fn into_inner(self) -> sekisho_core::Principal {
        self.0.into_principal()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RefusalResponse> {
        Ok(Self(Passage::caller(parts.extensions.get())?))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, RefusalResponse> {
        Ok(Passage::optional_caller(parts.extensions.get())?.map(Self))
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

/// Extracts the caller's claims as a type of your own.
///
/// The claims are those of a principal, so they are proved. `Option<Claims<T>>` is for routes behind an optional
/// layer.
///
/// # Rejections
/// Those of [`Principal`], and 401 `invalid_token` when the claims do not have the shape of `T`: a token that lacks
/// what this service needs is not a usable one. The log then says `claims_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct Claims<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Claims<T> {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RefusalResponse> {
        Ok(Self(Passage::caller(parts.extensions.get())?.claims()?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequestParts<S> for Claims<T> {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, RefusalResponse> {
        match Passage::optional_caller(parts.extensions.get())? {
            Some(caller) => Ok(Some(Self(caller.claims()?))),
            None => Ok(None),
        }
    }
}

fn refused(enforced: Vec<Result<Permit, Answer>>) -> Vec<Result<Permit, RefusalResponse>> {
    enforced.into_iter().map(|outcome| outcome.map_err(RefusalResponse::from)).collect()
}
