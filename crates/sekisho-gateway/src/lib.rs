#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authorizer;
mod config;
mod decision;
#[cfg(feature = "grpc")]
mod ext_authz;
mod forward_auth;
mod gateway;
mod header_names;
mod identity;
mod journey;
mod lambda;
#[cfg(feature = "opaque")]
mod opaque;
mod origins;
mod path;
mod proxy;
mod refusal;
mod rules;
#[cfg(feature = "tls")]
mod tls;
mod token_swap;

pub use authorizer::{AuthorizerAnswer, JwtAuthorizer, JwtAuthorizerBuilder, JwtAuthorizerStart, RouteScopes};
pub use config::{
    ConfigContext, ConfigMistake, ConfigMistakes, GatewayConfig, Introspection, IntrospectionSettings,
    MakeIntrospection,
};
#[cfg(feature = "grpc")]
pub use ext_authz::{ExtAuthz, proto as ext_authz_proto};
pub use forward_auth::{Dialect, ForwardAuth};
pub use gateway::Gateway;
pub use identity::{IdentityField, IdentityHeaders, InternalToken};
pub use journey::{Journey, JourneyListener, JourneyStep};
pub use lambda::{
    AuthorizerEvent, AuthorizerResponse, EventFormat, LambdaAuthorizer, LambdaError, PolicyDocument, PolicyEffect,
    PolicyStatement,
};
#[cfg(feature = "opaque")]
pub use opaque::{OpaqueIntrospection, OpaqueSwap};
pub use path::{AmbiguousPath, NormalPath};
pub use proxy::{Guard, ProxyLimits, ProxyTimeouts, ReverseProxy, Route, Upstream, UpstreamOptions};
pub use rules::{Access, Rule, RuleTable};
#[cfg(feature = "tls")]
pub use tls::{ClientAuthorities, ServerCertificate, ServerTls, ServerTlsBuilder};
pub use token_swap::{AsBearer, TokenForward, TokenSwap};
