#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authorizer;
mod journey;

pub use authorizer::{AuthorizerAnswer, JwtAuthorizer, JwtAuthorizerBuilder, JwtAuthorizerStart, RouteScopes};
pub use journey::{Journey, JourneyListener, JourneyStep};
