#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
pub mod address;
mod answer;
mod certificate;
mod challenge;
mod checkpoint;
mod csrf;
mod extract;
mod head;
mod metadata;
mod outbound;
mod passage;
mod proxies;
mod public_routes;
pub mod single_flight;
mod sync;
mod target;

pub use access::{Ask, Enforcement, PendingDecision, Question, RouteQuestion};
pub use answer::{Answer, RefusalContent, RefusalSummary};
pub use certificate::{ClientCertificate, ClientCertificateHeader, certificate_der};
pub use checkpoint::{Checkpoint, CheckpointBuilder, Inspection, NeedsAuthenticator, Pending, Presence, Ready};
pub use csrf::{CsrfRules, Forgery};
pub use extract::{CredentialSources, authorization, dpop_proof, named_cookie, named_header};
pub use head::{HeadParts, PeerAddress, RequestHead, is_grpc_call};
pub use metadata::{MetadataDocument, ProtectedResourceMetadata};
#[cfg(feature = "reqwest")]
pub use outbound::ReqwestClient;
pub use outbound::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse};
pub use passage::{Caller, Passage};
pub use proxies::TrustedProxies;
pub use public_routes::is_unambiguous_path;
pub use target::is_target;
