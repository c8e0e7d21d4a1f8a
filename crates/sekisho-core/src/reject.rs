use std::fmt;

/// Names the claim or header parameter that a [`Reject`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Claim {
    /// `iss`
    Issuer,
    /// `sub`
    Subject,
    /// `aud`
    Audience,
    /// `exp`
    Expiry,
    /// `nbf`
    NotBefore,
    /// `iat`
    IssuedAt,
    /// `jti`
    TokenId,
    /// `client_id` or `azp`
    Client,
    /// `scope` or `scp`
    Scope,
    /// `cnf`
    Confirmation,
    /// `auth_time`
    AuthenticationTime,
    /// `acr` or `amr`
    AuthenticationContext,
    /// `nonce`
    Nonce,
    /// `at_hash`
    AccessTokenHash,
    /// `c_hash`
    CodeHash,
    /// `events`
    Events,
    /// `sid`
    Session,
    /// A claim that this service's own configuration names.
    Custom,
}

impl Claim {
    /// Returns the name as it stands in the token.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "iss",
            Self::Subject => "sub",
            Self::Audience => "aud",
            Self::Expiry => "exp",
            Self::NotBefore => "nbf",
            Self::IssuedAt => "iat",
            Self::TokenId => "jti",
            Self::Client => "client_id",
            Self::Scope => "scope",
            Self::Confirmation => "cnf",
            Self::AuthenticationTime => "auth_time",
            Self::AuthenticationContext => "acr",
            Self::Nonce => "nonce",
            Self::AccessTokenHash => "at_hash",
            Self::CodeHash => "c_hash",
            Self::Events => "events",
            Self::Session => "sid",
            Self::Custom => "a configured claim",
        }
    }
}

/// Says which check of [RFC 9449 §4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3) a DPoP proof failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProofFault {
    /// No proof came with a token that was sent as bound.
    Absent,
    /// Several headers, or one with a list.
    Several,
    /// Longer than the limit, or not a strict compact JWS with strict JSON in it.
    Malformed,
    /// `typ` is not `dpop+jwt`.
    Type,
    /// `alg` is not one that is allowed, or not one of the key.
    Algorithm,
    /// `jwk` is absent, private, a shared secret, or not a usable key.
    Key,
    /// The bytes do not match.
    Signature,
    /// `htm` is not the method of this request.
    Method,
    /// `htu` is not the target of this request.
    Target,
    /// `ath` is not the hash of this token.
    TokenHash,
    /// `iat` is absent, too long ago or in the future; or it has an `exp` or `nbf` that says so.
    Time,
    /// `jti` is absent, empty, too long, or not a string.
    TokenId,
    /// It has been used before.
    Replayed,
}

impl fmt::Display for ProofFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is none",
            Self::Several => "there is more than one",
            Self::Malformed => "not in the strict form that the standard asks for",
            Self::Type => "`typ` is not `dpop+jwt`",
            Self::Algorithm => "the algorithm is not allowed here, or not the one of the key",
            Self::Key => "`jwk` is not a usable public key",
            Self::Signature => "the signature does not match",
            Self::Method => "made for another method",
            Self::Target => "made for another URL",
            Self::TokenHash => "made for another token",
            Self::Time => "made too long ago, or in the future",
            Self::TokenId => "`jti` is missing or is not a short string",
            Self::Replayed => "used before",
        })
    }
}

/// Says why a caller's credential was refused.
///
/// Flat and `Copy`, without a byte of what the caller sent, so that it can go to a log, a metric
/// label or a trace as it is. The caller is told the RFC 6750 code only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// No authenticator here knows this kind of credential.
    Unrecognized,
    /// More than one credential in one request ([RFC 6750 §2](https://www.rfc-editor.org/rfc/rfc6750#section-2)). HTTP 400.
    SeveralCredentials,
    /// The header or cookie that should hold the credential does not have its form. HTTP 400.
    MalformedRequest,
    /// Longer than the configured limit.
    TooLarge,
    /// Not the strict form that the standard asks for: parts, base64url, JSON, member types.
    Malformed,
    /// A member name stands twice in one JSON object.
    DuplicateMember,
    /// `alg` is not the one of the key, not allowed here, or not known ([RFC 8725 §3.1](https://www.rfc-editor.org/rfc/rfc8725#section-3.1)).
    Algorithm,
    /// `crit` names an extension that is not understood ([RFC 7515 §4.1.11](https://www.rfc-editor.org/rfc/rfc7515#section-4.1.11)).
    Critical,
    /// `typ` is not one that the profile takes ([RFC 8725 §3.11](https://www.rfc-editor.org/rfc/rfc8725#section-3.11)).
    Type,
    /// An ID, refresh or logout token where an access token is due.
    TokenUse,
    /// No trusted key has this `kid`, or none fits the algorithm.
    UnknownKey,
    /// No `kid`, and more than one key could have signed it.
    AmbiguousKey,
    /// The bytes do not match.
    Signature,
    /// The issuer is not trusted here.
    Issuer,
    /// Made for another audience.
    Audience,
    /// A required claim is absent.
    Missing(Claim),
    /// A claim has the wrong JSON type or a value out of range.
    Invalid(Claim),
    /// Past its expiry, by this many seconds beyond the leeway.
    Expired {
        /// Whole seconds since it died, 0 in the second of its death.
        by_secs: u64,
    },
    /// Before its `nbf`, by this many seconds beyond the leeway.
    NotYetValid {
        /// Whole seconds until it lives.
        by_secs: u64,
    },
    /// `iat` lies in the future, by this many seconds beyond the leeway.
    IssuedInFuture {
        /// Whole seconds until then.
        by_secs: u64,
    },
    /// Bound to a key or certificate by a `cnf` member that is not understood.
    Confirmation,
    /// Bound to a key or certificate, and the request brought no proof of possession.
    ProofRequired,
    /// Sent as bound to a key, or to a service that takes nothing else, and it is not bound to one.
    Unbound,
    /// The proof of possession is not a good one for this request.
    InvalidProof(ProofFault),
    /// The proof of possession has no nonce of this service, or an old one. The caller gets a new one and may try again.
    ProofNonce,
    /// The proof of possession is of another key or certificate than the one that the token is bound to.
    ProofMismatch,
    /// The user's own claims type does not fit the claims.
    ClaimsType,
    /// Withdrawn before its expiry.
    Revoked,
    /// Good once, and it has been used.
    Replayed,
    /// The issuer says that it is not active.
    Inactive,
    /// The cookie of a session that has ended, or in which nobody is logged in. Browsers send it unasked, so it is no
    /// credential that failed: to a checkpoint the request has none.
    SignedOut,
}

impl Reject {
    /// Returns a short stable name for logs and metric labels, such as `expired`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unrecognized => "unrecognized",
            Self::SeveralCredentials => "several_credentials",
            Self::MalformedRequest => "malformed_request",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::Type => "type",
            Self::TokenUse => "token_use",
            Self::UnknownKey => "unknown_key",
            Self::AmbiguousKey => "ambiguous_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Missing(_) => "missing_claim",
            Self::Invalid(_) => "invalid_claim",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::IssuedInFuture { .. } => "issued_in_future",
            Self::Confirmation => "confirmation",
            Self::ProofRequired => "proof_required",
            Self::Unbound => "unbound",
            Self::InvalidProof(_) => "invalid_proof",
            Self::ProofNonce => "proof_nonce",
            Self::ProofMismatch => "proof_mismatch",
            Self::ClaimsType => "claims_type",
            Self::Revoked => "revoked",
            Self::Replayed => "replayed",
            Self::Inactive => "inactive",
            Self::SignedOut => "signed_out",
        }
    }

    /// Tells whether the request itself is malformed (HTTP 400, `invalid_request`) rather than its token (401).
    #[must_use]
    pub const fn is_invalid_request(self) -> bool {
        matches!(self, Self::SeveralCredentials | Self::MalformedRequest)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unrecognized => "no authenticator here knows this kind of credential",
            Self::SeveralCredentials => "more than one credential in one request",
            Self::MalformedRequest => "the credential's header or cookie is malformed",
            Self::TooLarge => "longer than the limit",
            Self::Malformed => "not in the strict form that the standard asks for",
            Self::DuplicateMember => "a member name stands twice in one object",
            Self::Algorithm => "the algorithm is not the one of the key, or not allowed here",
            Self::Critical => "a critical extension is not understood",
            Self::Type => "the token is of a type that is not taken here",
            Self::TokenUse => "the token is not an access token",
            Self::UnknownKey => "no trusted key fits the token",
            Self::AmbiguousKey => "no key id, and more than one key would fit",
            Self::Signature => "the signature does not match",
            Self::Issuer => "the issuer is not trusted here",
            Self::Audience => "made for another audience",
            Self::Missing(claim) => return write!(f, "`{}` is missing", claim.name()),
            Self::Invalid(claim) => return write!(f, "`{}` has the wrong type or is out of range", claim.name()),
            Self::Expired { by_secs } => return write!(f, "expired {by_secs} s ago"),
            Self::NotYetValid { by_secs } => return write!(f, "not valid for another {by_secs} s"),
            Self::IssuedInFuture { by_secs } => return write!(f, "issued {by_secs} s in the future"),
            Self::Confirmation => "bound to its holder in a way that is not understood",
            Self::ProofRequired => "bound to its holder, and no proof of possession came with it",
            Self::Unbound => "sent as bound to a key, or where nothing else is taken, and not bound to one",
            Self::InvalidProof(fault) => return write!(f, "the proof of possession is refused: {fault}"),
            Self::ProofNonce => "the proof of possession has no current nonce of this service",
            Self::ProofMismatch => "the proof is of another key or certificate than the token is bound to",
            Self::ClaimsType => "the claims do not have the shape that this service expects",
            Self::Revoked => "withdrawn before its expiry",
            Self::Replayed => "good once, and used before",
            Self::Inactive => "not active any more",
            Self::SignedOut => "the session has ended, or nobody is logged in",
        })
    }
}

impl std::error::Error for Reject {}
