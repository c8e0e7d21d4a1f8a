#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod authorizer;
mod journey;
mod lambda;

pub use authorizer::{AuthorizerAnswer, JwtAuthorizer, JwtAuthorizerBuilder, JwtAuthorizerStart, RouteScopes};
pub use journey::{Journey, JourneyListener, JourneyStep};
pub use lambda::{
    AuthorizerEvent, AuthorizerResponse, EventFormat, LambdaAuthorizer, LambdaError, PolicyDocument, PolicyEffect,
    PolicyStatement,
};
