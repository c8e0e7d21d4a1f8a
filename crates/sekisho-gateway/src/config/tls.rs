//! `[tls]`: certificates of the gateway's own, and whose client certificates are taken.

#[cfg(feature = "tls")]
use std::io::Read;
#[cfg(feature = "tls")]
use std::ops::Range;

#[cfg(feature = "tls")]
use sekisho_core::{ConfigError, Secret};

use super::Builder;
use super::reader::Section;
#[cfg(feature = "tls")]
use crate::tls::{ClientAuthorities, ServerCertificate, ServerTls};

/// Reads the section and the files that it names, each time anew: what is in them may have changed.
#[cfg(feature = "tls")]
pub(super) fn read(builder: &Builder<'_>, section: &Section<'_>) -> Option<ServerTls> {
    let sections = section.list("certificates");
    if sections.is_empty() {
        section.lacks("certificates");
    }
    let mut certificates = sections.iter().map(|section| certificate(builder, section));
    let first = certificates.next();
    let mut others = Vec::new();
    for other in certificates {
        others.push(other);
    }
    let clients = section.section("client_certificates").map(|section| authorities(builder, &section));
    let (handshake, http1_only) = (section.millis("handshake_ms"), section.flag("http1_only"));
    section.finish();
    let mut tls = ServerTls::builder(first??);
    for other in others {
        tls = tls.with_certificate(other?);
    }
    if let Some(authorities) = clients {
        tls = tls.with_client_certificates(authorities?);
    }
    if let Some(timeout) = handshake {
        tls = tls.with_handshake_timeout(timeout);
    }
    let tls = if http1_only { tls.without_http2() } else { tls };
    builder.kept(tls.build(), section.span())
}

#[cfg(not(feature = "tls"))]
pub(super) fn read(_builder: &Builder<'_>, section: &Section<'_>) -> Option<std::convert::Infallible> {
    section.say(section.span(), "this gateway was built without TLS");
    None
}

#[cfg(feature = "tls")]
fn certificate(builder: &Builder<'_>, section: &Section<'_>) -> Option<ServerCertificate> {
    let (chain, key) = (section.required_text("chain"), section.required_text("key"));
    section.finish();
    let chain = contents(builder, &chain?, section.span_of("chain"));
    let key = contents(builder, &key?, section.span_of("key")).map(Secret::new);
    builder.kept(ServerCertificate::from_pem(&chain?, &key?), section.span())
}

#[cfg(feature = "tls")]
fn authorities(builder: &Builder<'_>, section: &Section<'_>) -> Option<ClientAuthorities> {
    let (file, is_required) = (section.required_text("authorities"), section.flag("required"));
    section.finish();
    let pem = contents(builder, &file?, section.span_of("authorities"))?;
    let authorities = if is_required { ClientAuthorities::required(&pem) } else { ClientAuthorities::optional(&pem) };
    builder.kept(authorities, section.span_of("authorities"))
}

#[cfg(feature = "tls")]
fn contents(builder: &Builder<'_>, path: &str, span: Range<usize>) -> Option<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let contents = match read() {
        Ok(bytes) if bytes.len() as u64 > LONGEST_FILE => Err("it is longer than 1 MiB".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.kind().to_string()),
    };
    let contents = contents.map_err(|why| ConfigError::new(format!("the file {path:?} cannot be read: {why}")));
    builder.kept(contents, span)
}

#[cfg(feature = "tls")]
const LONGEST_FILE: u64 = 1024 * 1024;
