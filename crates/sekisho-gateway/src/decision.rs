//! The decision about one request, the same for every dialect and for the proxy.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode};
use sekisho_core::{Principal, Requirement};
use sekisho_http::{Checkpoint, ClientCertificate, Inspection, Presence, RequestHead};

use crate::path::{NormalPath, shown_path};
use crate::refusal::{Refused, of_answer, problem};
use crate::rules::{Access, RuleTable};

/// Is a request as the client sent it, wherever we learnt of it.
pub(crate) struct Original<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a NormalPath,
    pub(crate) headers: &'a HeaderMap,
    /// Who tells us of it: the only one who may name the client's certificate in a header, if the checkpoint believes it.
    pub(crate) peer: Option<IpAddr>,
    /// The client's own. Of a connection that somebody else made to ask us, it is never the client's
    /// ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)).
    pub(crate) certificate: Option<ClientCertificate>,
}

impl RequestHead for Original<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        self.path.as_str()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    fn client_certificate(&self) -> Option<ClientCertificate> {
        self.certificate.clone()
    }
}

/// Decides by a table. The principal is `None` for public routes.
pub(crate) async fn decide(
    checkpoint: &Checkpoint,
    rules: &RuleTable,
    original: &Original<'_>,
) -> Result<Option<Principal>, Refused> {
    let access = rules.decide(original.host, original.path, original.method);
    match (access, access.requirement()) {
        (Access::Public, _) => Ok(None),
        (_, Some(requirement)) => guard(checkpoint, &requirement, original).await,
        (_, None) => {
            tracing::info!(target: "sekisho", path = %shown_path(original.path), "request denied: no rule lets it pass");
            Err(problem(StatusCode::FORBIDDEN))
        }
    }
}

/// Asks a checkpoint, and then for what is required. `None` only for what the checkpoint itself lets pass without a credential.
pub(crate) async fn guard(
    checkpoint: &Checkpoint,
    requirement: &Requirement,
    head: &Original<'_>,
) -> Result<Option<Principal>, Refused> {
    let refuse = |answer| of_answer(&answer);
    let passage = match checkpoint.inspect(head, Presence::Required) {
        Inspection::Pass(passage) => passage,
        Inspection::Refuse(answer) => return Err(refuse(answer)),
        Inspection::Wait(pending) => pending.resolve().await.map_err(refuse)?,
    };
    checkpoint.check_passage(Some(&passage), requirement, head).map_err(refuse)?;
    Ok(passage.principal().cloned())
}
