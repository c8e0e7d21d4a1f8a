//! The decision about one request, the same for every dialect and for the proxy.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sekisho_core::{Principal, Requirement};
use sekisho_http::{Checkpoint, ClientCertificate, Inspection, Presence, RequestHead};

use crate::origins::Origins;
use crate::path::{NormalPath, shown_path};
use crate::refusal::{Refused, of_answer, problem};
use crate::rules::{Access, RuleTable};

/// Is a request as the client sent it, wherever we learnt of it.
pub(crate) struct Original<'a> {
    pub(crate) method: &'a str,
    /// In the form that is compared.
    pub(crate) host: Option<&'a str>,
    /// The host as the client named it, with the port.
    pub(crate) authority: Option<&'a str>,
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

/// Is what a decision that lets pass says.
#[derive(Default)]
pub(crate) struct Passed {
    /// `None` for public routes.
    pub(crate) principal: Option<Principal>,
    /// For the client's next DPoP proof, to be said on the answer.
    pub(crate) nonce: Option<HeaderValue>,
}

/// Decides by a table.
pub(crate) async fn decide(
    checkpoint: &Checkpoint,
    rules: &RuleTable,
    origins: &Origins,
    original: &Original<'_>,
) -> Result<Passed, Refused> {
    let access = rules.decide(original.host, original.path, original.method);
    match (access, access.requirement()) {
        (Access::Public, _) => Ok(Passed::default()),
        (_, Some(requirement)) => guard(checkpoint, &requirement, origins, original).await,
        (_, None) => {
            tracing::info!(target: "sekisho", path = %shown_path(original.path), "request denied: no rule lets it pass");
            Err(problem(StatusCode::FORBIDDEN))
        }
    }
}

/// Asks a checkpoint, and then for what is required; before both, whether a cookie came along with what another site caused. There is no principal only for what the checkpoint itself lets pass without a credential.
pub(crate) async fn guard(
    checkpoint: &Checkpoint,
    requirement: &Requirement,
    origins: &Origins,
    head: &Original<'_>,
) -> Result<Passed, Refused> {
    origins.check_cookie(checkpoint, head)?;
    let refuse = |answer| of_answer(&answer);
    let passage = match checkpoint.inspect(head, Presence::Required) {
        Inspection::Pass(passage) => passage,
        Inspection::Refuse(answer) => return Err(refuse(answer)),
        Inspection::Wait(pending) => pending.resolve().await.map_err(refuse)?,
    };
    checkpoint.check_passage(Some(&passage), requirement, head).map_err(refuse)?;
    let nonce = passage.next_nonce().and_then(|nonce| HeaderValue::from_maybe_shared(nonce).ok());
    Ok(Passed { principal: passage.principal().cloned(), nonce })
}

/// Says the nonce for the client's next DPoP proof ([RFC 9449 §8.2](https://www.rfc-editor.org/rfc/rfc9449#section-8.2)).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
