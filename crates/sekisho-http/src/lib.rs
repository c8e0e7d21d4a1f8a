#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod outbound;

#[cfg(feature = "reqwest")]
pub use outbound::ReqwestClient;
pub use outbound::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse};
