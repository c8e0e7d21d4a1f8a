use std::fmt;

use sekisho_core::{Principal, Reject};
use serde::de::DeserializeOwned;

/// Proves that the value inside came out of a complete verification.
///
/// Only this crate builds one, so a function that takes a `Verified<…>` cannot be called with anything unchecked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Verified<C>(C);

impl<C> Verified<C> {
    pub(crate) const fn new(inner: C) -> Self {
        Self(inner)
    }

    /// Returns the value.
    #[must_use]
    pub const fn get(&self) -> &C {
        &self.0
    }

    /// Returns the value without the proof.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.0
    }
}

impl Verified<Principal> {
    /// Reads the claims as a type of the caller's, without parsing the whole again.
    ///
    /// # Errors
    /// [`Reject::ClaimsType`] when the claims do not have the shape of `T`.
    pub fn typed<T: DeserializeOwned>(self) -> Result<Verified<Claims<T>>, Reject> {
        let custom = self.0.claims().deserialize().map_err(|_| Reject::ClaimsType)?;
        Ok(Verified(Claims { principal: self.0, custom }))
    }
}

impl<C> std::ops::Deref for Verified<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: fmt::Debug> fmt::Debug for Verified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verified").field(&self.0).finish()
    }
}

/// Holds the claims of one token: as the caller's own type `T`, and as a [`Principal`].
///
/// `Debug` shows the principal's issuer, subject, client and expiry; `T` stays out, for claims are personal data.
#[derive(Clone)]
pub struct Claims<T> {
    principal: Principal,
    custom: T,
}

impl<T> Claims<T> {
    /// Returns who calls, with every registered claim.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the caller's own type.
    #[must_use]
    pub const fn custom(&self) -> &T {
        &self.custom
    }

    /// Returns both parts.
    #[must_use]
    pub fn into_parts(self) -> (Principal, T) {
        (self.principal, self.custom)
    }
}

impl<T> fmt::Debug for Claims<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("principal", &self.principal).finish_non_exhaustive()
    }
}
