#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod address;
mod answer;
mod challenge;
mod checkpoint;
mod extract;
mod head;
mod metadata;
mod outbound;
mod passage;
mod public_routes;

pub use answer::{Answer, RefusalContent, RefusalSummary};
pub use checkpoint::{Checkpoint, CheckpointBuilder, Inspection, NeedsAuthenticator, Pending, Presence, Ready};
pub use extract::{CredentialSources, authorization, named_cookie, named_header};
pub use head::{HeadParts, RequestHead, is_grpc_call};
pub use metadata::{MetadataDocument, ProtectedResourceMetadata};
#[cfg(feature = "reqwest")]
pub use outbound::ReqwestClient;
pub use outbound::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse};
pub use passage::{Caller, Passage};
pub use public_routes::is_unambiguous_path;
