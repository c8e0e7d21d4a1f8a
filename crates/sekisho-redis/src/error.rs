use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use sekisho_core::{Failure, FailureKind};

/// Says what went wrong between here and Redis. It never holds what Redis sent or was sent, for that may be a secret.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    kind: FaultKind,
    /// What the operating system or TLS said about a connection that could not be made, or the first word of an error that is known.
    detail: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// As many commands as are allowed wait already.
    Busy,
    /// No answer in time; what was asked may have happened.
    Timeout,
    /// No connection could be made, or not yet again.
    Unreachable,
    /// A connection ended; what was asked may have happened.
    Lost,
    /// TLS did not come about.
    Tls,
    /// Name or password were refused.
    Login,
    /// The account may not do this.
    NotAllowed,
    /// Redis may throw keys away when its memory is full, or does not say.
    Evicts,
    /// Redis has no memory left.
    Full,
    /// It cannot serve at the moment: loading, failing over, half a cluster.
    NotNow,
    /// It is a replica now, and can be written to at another place.
    Moved,
    /// The key is at another place of the cluster.
    Elsewhere,
    /// It holds or answers what none of us wrote.
    Content,
    /// Too few replicas said in time that they have it.
    Unacknowledged,
    /// It answered with any other error.
    Server,
}

impl Fault {
    pub(crate) const fn new(kind: FaultKind) -> Self {
        Self { kind, detail: None }
    }

    pub(crate) fn connecting(kind: FaultKind, error: &io::Error) -> Self {
        let text: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        Self { kind, detail: Some(text.into()) }
    }

    pub(crate) const fn kind(&self) -> FaultKind {
        self.kind
    }

    /// Tells whether the connection is of no more use.
    pub(crate) const fn ends_connection(&self) -> bool {
        matches!(self.kind, FaultKind::Timeout | FaultKind::Lost | FaultKind::Moved | FaultKind::Login)
    }
}

/// Drops the text, which may show what a parser stumbled over.
impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let kind = match error.kind() {
            ErrorKind::AuthenticationFailed => FaultKind::Login,
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::NoPerm => FaultKind::NotAllowed,
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain => FaultKind::NotNow,
                ServerErrorKind::ReadOnly => FaultKind::Moved,
                ServerErrorKind::Moved | ServerErrorKind::Ask => FaultKind::Elsewhere,
                _ => FaultKind::Server,
            },
            ErrorKind::Extension => match error.code() {
                Some("OOM") => FaultKind::Full,
                Some("NOAUTH" | "WRONGPASS") => FaultKind::Login,
                Some("MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED") => FaultKind::NotNow,
                Some("WRONGTYPE" | TOO_LARGE) => FaultKind::Content,
                _ => FaultKind::Server,
            },
            ErrorKind::Parse => FaultKind::Lost,
            ErrorKind::Io if error.is_timeout() => FaultKind::Timeout,
            ErrorKind::Io => FaultKind::Lost,
            ErrorKind::UnexpectedReturnType => FaultKind::Content,
            _ => FaultKind::Server,
        };
        let detail = match error.kind() {
            ErrorKind::Server(_) => error.code().map(Into::into),
            _ => None,
        };
        Self { kind, detail }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let (kind, context) = match fault.kind {
            FaultKind::Busy => (FailureKind::Unavailable, "too many commands wait for redis"),
            FaultKind::Timeout => (FailureKind::Unavailable, "redis does not answer in time"),
            FaultKind::Unreachable | FaultKind::Lost => (FailureKind::Unavailable, "redis cannot be reached"),
            FaultKind::Tls => (FailureKind::BadGateway, "redis does not show that it is the right one"),
            FaultKind::Login => (FailureKind::BadGateway, "redis refuses this login"),
            FaultKind::NotAllowed => (FailureKind::BadGateway, "redis does not let this login do what is needed"),
            FaultKind::Evicts => (FailureKind::Misconfigured, "redis may forget what it must keep"),
            FaultKind::Full => (FailureKind::Unavailable, "the memory of redis is full"),
            FaultKind::NotNow | FaultKind::Moved | FaultKind::Elsewhere => {
                (FailureKind::Unavailable, "redis cannot serve at the moment")
            }
            FaultKind::Content => (FailureKind::BadGateway, "redis holds what was not written by this service"),
            FaultKind::Unacknowledged => (FailureKind::Unavailable, "too few replicas of redis have what was changed"),
            FaultKind::Server => (FailureKind::BadGateway, "redis answers with an error"),
        };
        let failure = Self::new(kind, context).with_source(fault);
        if kind == FailureKind::Unavailable { failure.with_retry_after(RETRY_AFTER) } else { failure }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FaultKind::Busy => "the bound of commands at once is reached",
            FaultKind::Timeout => "timeout",
            FaultKind::Unreachable => "no connection",
            FaultKind::Lost => "connection lost",
            FaultKind::Tls => "TLS failed",
            FaultKind::Login => "wrong name or password",
            FaultKind::NotAllowed => "not allowed",
            FaultKind::Evicts => "maxmemory-policy is not noeviction, or cannot be read",
            FaultKind::Full => "maxmemory reached",
            FaultKind::NotNow => "loading, failing over, or part of a cluster",
            FaultKind::Moved => "a replica",
            FaultKind::Elsewhere => "another server has the key",
            FaultKind::Content => "unexpected content",
            FaultKind::Unacknowledged => "not acknowledged by enough replicas",
            FaultKind::Server => "error reply",
        })?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

impl std::error::Error for Fault {}

/// What our own scripts answer when a value is longer than any that we write.
pub(crate) const TOO_LARGE: &str = "TOOLARGE";
/// After a short outage callers may come again soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_of_what_redis_sent() {
        let said = redis::make_extension_error("ERR".to_owned(), Some("near s3cret".to_owned()));
        let parse: RedisError = (ErrorKind::Parse, "cannot parse", "s3cret".to_owned()).into();
        for error in [said, parse] {
            let failure = Failure::from(Fault::from(error));
            assert!(!format!("{failure:?} {failure}").contains("s3cret"));
        }
    }

    #[test]
    fn whatever_is_worth_a_retry_says_when() {
        for (kind, is_worth_it) in [
            (FaultKind::Busy, true),
            (FaultKind::Timeout, true),
            (FaultKind::Lost, true),
            (FaultKind::Full, true),
            (FaultKind::Unacknowledged, true),
            (FaultKind::Login, false),
            (FaultKind::NotAllowed, false),
            (FaultKind::Content, false),
            (FaultKind::Evicts, false),
        ] {
            let failure = Failure::from(Fault::new(kind));
            assert_eq!(failure.retry_after().is_some(), is_worth_it, "{kind:?}");
        }
    }
}
