use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use sekisho_http::Passage;
use sekisho_session::{Forgery, RequestSession};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RefusalError;

/// Extracts the session, with its data as a type of your own; `()` for none.
///
/// Reads as a [`sekisho_session::Session`]. The store is asked here, once in a request; not at all if a checkpoint has loaded
/// the session already. A request without a session has an empty one, which is kept when something is put into it.
///
/// # Errors
/// - 500, with a clear line in the log, when no [`SessionMiddleware`](crate::SessionMiddleware) stands before the route, or the
///   data do not have the shape of `T`.
/// - 400 when the cookie stands twice or cannot be read.
/// - 503 when the store broke. [`SessionOrAnonymous`] goes on then.
pub struct Session<T>(sekisho_session::Session<T>);

/// Extracts the session as [`Session`] does, but where the store cannot be asked the request goes on as an anonymous one: for
/// routes that can do without. What it then puts into the session is answered with 503.
pub struct SessionOrAnonymous<T>(sekisho_session::Session<T>);

type Extracted<S> = Pin<Box<dyn Future<Output = Result<S, RefusalError>>>>;

impl<T: Serialize + DeserializeOwned + Default + 'static> FromRequest for Session<T> {
    type Error = RefusalError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (session, passed) = of(request);
        Box::pin(async move {
            let session = session?.session(passed.as_ref().and_then(Passage::principal)).await;
            session.map(Self).map_err(|refusal| RequestSession::answer(&refusal).into())
        })
    }
}

impl<T: Serialize + DeserializeOwned + Default + 'static> FromRequest for SessionOrAnonymous<T> {
    type Error = RefusalError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (session, passed) = of(request);
        Box::pin(async move {
            let session = session?.session_or_anonymous(passed.as_ref().and_then(Passage::principal)).await;
            session.map(Self).map_err(|refusal| RequestSession::answer(&refusal).into())
        })
    }
}

fn of(request: &HttpRequest) -> (Result<RequestSession, RefusalError>, Option<Passage>) {
    let extensions = request.extensions();
    let session = extensions.get::<RequestSession>().cloned();
    (session.ok_or_else(|| RequestSession::missing().into()), extensions.get::<Passage>().cloned())
}

impl From<Forgery> for RefusalError {
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
