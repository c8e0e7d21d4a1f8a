use std::fmt;
use std::net::IpAddr;

use http::Extensions;
use sekisho_http::{ClientCertificate, PeerAddress};

/// Is what a framework knows of a request beside its head: where it came from, and what a router took away of its path.
///
/// Only bound tokens need it (DPoP, client certificates).
#[derive(Clone, Copy, Default)]
pub struct Around<'a> {
    whole_path: Option<&'a str>,
    peer: Option<IpAddr>,
    certificate: Option<&'a ClientCertificate>,
}

/// Reads it out of a request's extensions. It runs for each request where bound tokens are taken, and must copy nothing.
pub type ReadAround = fn(&Extensions) -> Around<'_>;

impl<'a> Around<'a> {
    /// Reads [`PeerAddress`] and [`ClientCertificate`], which the application itself has put into the extensions.
    #[must_use]
    pub fn of_extensions(extensions: &'a Extensions) -> Self {
        let peer = extensions.get::<PeerAddress>().map(|PeerAddress(address)| *address);
        Self { whole_path: None, peer, certificate: extensions.get() }
    }

    /// Sets the path before any router took a part of it away.
    #[must_use]
    pub const fn with_whole_path(mut self, path: Option<&'a str>) -> Self {
        self.whole_path = path;
        self
    }

    /// Sets the address of whoever made the connection, if it is known.
    #[must_use]
    pub fn with_peer(mut self, peer: Option<IpAddr>) -> Self {
        self.peer = peer.or(self.peer);
        self
    }

    pub(crate) const fn whole_path(&self) -> Option<&'a str> {
        self.whole_path
    }

    pub(crate) const fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub(crate) const fn certificate(&self) -> Option<&'a ClientCertificate> {
        self.certificate
    }
}

/// Reads what [`Around::of_extensions`] reads, of extensions of any lifetime.
pub(crate) fn of_extensions(extensions: &Extensions) -> Around<'_> {
    Around::of_extensions(extensions)
}

impl fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around")
            .field("peer", &self.peer)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
