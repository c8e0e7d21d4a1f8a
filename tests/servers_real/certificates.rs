//! Certificates for programs that end TLS, and clients that show some.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity};

use crate::leash::Folder;

/// A certificate with its key.
pub(crate) struct Shown {
    pub(crate) der: Vec<u8>,
    certificate: String,
    key: String,
}

impl Shown {
    /// Returns `x5t#S256`'s bytes.
    pub(crate) fn thumbprint(&self) -> [u8; 32] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der);
        digest.as_ref().try_into().expect("32 bytes")
    }

    /// Returns the base64 of its DER.
    pub(crate) fn base64(&self) -> String {
        base64_simd::STANDARD.encode_to_string(&self.der)
    }
}

/// An authority, and a server's certificate of it in files; dropping it removes them.
pub(crate) struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    host: &'static str,
    folder: Folder,
}

impl Pki {
    pub(crate) fn new(host: &'static str) -> Self {
        let mut params = CertificateParams::default();
        // Without a name of its own it would look as if each certificate had made itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let pki = Self { authority, host, folder: Folder::new() };
        let server = pki.issue(host);
        pki.put("chain.pem", &server.certificate);
        pki.put("key.pem", &server.key);
        // The form of HAProxy: both in one file.
        pki.put("server.pem", &format!("{}{}", server.certificate, server.key));
        pki.put("authorities.pem", &pki.authority.pem());
        pki
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        let path: &Path = self.folder.path();
        path.join(name)
    }

    /// Returns the path of `chain.pem`, `key.pem`, `server.pem` (both of these) or `authorities.pem`.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes a certificate with `CN=name` for its subject.
    pub(crate) fn issue(&self, name: &str) -> Shown {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        Shown { der: certificate.der().to_vec(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Returns a client that comes from the loopback address `from`, shows `shown`, and follows nobody.
    pub(crate) fn client(&self, shown: Option<&Shown>, from: [u8; 4], port: u16) -> Client {
        let root = Certificate::from_pem(self.authority.pem().as_bytes()).expect("a certificate");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut builder = Client::builder().no_proxy().tls_certs_only([root]).resolve(self.host, address);
        builder = builder.local_address(IpAddr::from(from)).redirect(Policy::none());
        if let Some(Shown { certificate, key, .. }) = shown {
            let pem = format!("{certificate}{key}");
            builder = builder.identity(Identity::from_pem(pem.as_bytes()).expect("an identity"));
        }
        builder.build().expect("a client")
    }
}

/// Writes what a header may hold, as nginx and Envoy do.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Each header that a proxy may hand a certificate over in.
pub(crate) fn told(shown: &Shown) -> Vec<(&'static str, String)> {
    let (base64, pem) = (shown.base64(), escaped(&shown.certificate));
    vec![
        ("Client-Cert", format!(":{base64}:")),
        ("SSL-Client-Cert", pem.clone()),
        ("X-Client-Cert", base64.clone()),
        ("X-Forwarded-Client-Cert", format!("Cert=\"{pem}\"")),
        ("X-Forwarded-Tls-Client-Cert", escaped(&base64)),
        ("Client_Cert", format!(":{base64}:")),
        ("SSL_Client_Cert", pem.clone()),
        ("X_Client_Cert", base64.clone()),
        ("X_Forwarded_Client_Cert", format!("Cert=\"{pem}\"")),
        ("X_Forwarded_Tls_Client_Cert", escaped(&base64)),
    ]
}
