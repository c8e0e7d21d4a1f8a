use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use sekisho_core::{ConfigError, Secret};

/// Makes the settings of TLS, on aws-lc-rs, whatever provider the process has set.
pub(crate) fn config(
    roots: Option<&[u8]>,
    client_certificate: Option<&(Vec<u8>, Secret)>,
) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |error: rustls::Error| ConfigError::new("TLS for redis cannot be set up").with_source(error);
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)?;
    let builder = match roots {
        None => builder.with_platform_verifier().map_err(failed)?,
        Some(pem) => builder.with_root_certificates(root_store(pem)?),
    };
    let config = match client_certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain)?;
            // The source of an error about a key could show some of it.
            let key = PrivateKeyDer::from_pem_slice(key.expose())
                .map_err(|_| ConfigError::new("the key of the client certificate for redis is no PEM"))?;
            builder.with_client_auth_cert(chain, key).map_err(failed)?
        }
    };
    Ok(Arc::new(config))
}

fn root_store(pem: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store
            .add(certificate)
            .map_err(|error| ConfigError::new("a root certificate for redis cannot be trusted").with_source(error))?;
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ConfigError::new("no certificates can be read from the PEM for redis")),
    }
}
