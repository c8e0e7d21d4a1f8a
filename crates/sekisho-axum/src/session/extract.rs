use std::fmt;
use std::ops::{Deref, DerefMut};

use axum::extract::FromRequestParts;
use http::request::Parts;
use sekisho_http::Passage;
use sekisho_session::{Forgery, RequestSession};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RefusalResponse;

/// Extracts the session, with its data as a type of your own; `()` for none.
///
/// Reads as a [`sekisho_session::Session`]. The store is asked here, once in a request; not at all if a checkpoint has loaded
/// the session already. A request without a session has an empty one, which is kept when something is put into it.
///
/// # Rejections
/// - 500, with a clear line in the log, when no [`SessionLayer`](crate::SessionLayer) stands before the route, or the data
///   do not have the shape of `T`.
/// - 400 when the cookie stands twice or cannot be read.
/// - 503 when the store broke. [`SessionOrAnonymous`] goes on then.
pub struct Session<T>(sekisho_session::Session<T>);

/// Extracts the session as [`Session`] does, but where the store cannot be asked the request goes on as an anonymous one: for
/// routes that can do without. What it then puts into the session is answered with 503.
pub struct SessionOrAnonymous<T>(sekisho_session::Session<T>);

impl<S: Send + Sync, T: Serialize + DeserializeOwned + Default + Send> FromRequestParts<S> for Session<T> {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RefusalResponse> {
        let session = of(parts)?.session(passed(parts)).await;
        session.map(Self).map_err(|refusal| RequestSession::answer(&refusal).into())
    }
}

impl<S: Send + Sync, T: Serialize + DeserializeOwned + Default + Send> FromRequestParts<S> for SessionOrAnonymous<T> {
    type Rejection = RefusalResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RefusalResponse> {
        let session = of(parts)?.session_or_anonymous(passed(parts)).await;
        session.map(Self).map_err(|refusal| RequestSession::answer(&refusal).into())
    }
}

fn of(parts: &Parts) -> Result<&RequestSession, RefusalResponse> {
    parts.extensions.get().ok_or_else(|| RequestSession::missing().into())
}

fn passed(parts: &Parts) -> Option<&sekisho_core::Principal> {
    parts.extensions.get::<Passage>().and_then(Passage::principal)
}

impl From<Forgery> for RefusalResponse {
    fn from(forgery: Forgery) -> Self {
        forgery.answer().into()
    }
}

macro_rules! reads_as_session {
    ($name:ident) => {
        impl<T> $name<T> {
            /// Returns the session in no framework's terms.
            #[must_use]
            pub fn into_inner(self) -> sekisho_session::Session<T> {
                self.0
            }
        }

        impl<T> Deref for $name<T> {
            type Target = sekisho_session::Session<T>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<T> DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

reads_as_session!(Session);
reads_as_session!(SessionOrAnonymous);
