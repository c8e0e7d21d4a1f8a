//! Tokens for calls between services: of our own, and in the name of whoever called us.

#[cfg(any(feature = "tower", feature = "reqwest-middleware"))]
mod attach;
mod builder;
mod cache;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod origins;
mod request;
mod source;
mod token;
#[cfg(feature = "tower")]
mod tower;

pub use builder::{ServiceTokensBuilder, ServiceTokensStart};
#[cfg(feature = "reqwest-middleware")]
pub use middleware::ServiceTokenMiddleware;
pub use origins::AllowedOrigins;
pub use request::TokenRequest;
pub use source::ServiceTokens;
pub use token::ServiceToken;
#[cfg(feature = "tower")]
pub use tower::{ClonedBody, EmptyBody, RepeatBody, ServiceTokenLayer, ServiceTokenService};
