#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authorizer;
mod decision;
#[cfg(feature = "grpc")]
mod ext_authz;
mod forward_auth;
mod identity;
mod journey;
mod lambda;
mod path;
mod proxies;
mod refusal;
mod rules;

pub use authorizer::{AuthorizerAnswer, JwtAuthorizer, JwtAuthorizerBuilder, JwtAuthorizerStart, RouteScopes};
#[cfg(feature = "grpc")]
pub use ext_authz::{ExtAuthz, proto as ext_authz_proto};
pub use forward_auth::{Dialect, ForwardAuth};
pub use identity::{IdentityField, IdentityHeaders, InternalToken};
pub use journey::{Journey, JourneyListener, JourneyStep};
pub use lambda::{
    AuthorizerEvent, AuthorizerResponse, EventFormat, LambdaAuthorizer, LambdaError, PolicyDocument, PolicyEffect,
    PolicyStatement,
};
pub use path::{AmbiguousPath, NormalPath};
pub use proxies::TrustedProxies;
pub use rules::{Access, Rule, RuleTable};
