//! Names of request headers that mean more than they seem to.

/// Tells whether a name is made of lower-case letters, digits and `-` alone, so that all servers tell it apart from every other.
///
/// CGI and what follows it (PHP, WSGI, Rack) write names as variables, with `_` for `-`, and some for every byte that is neither letter
/// nor digit ([RFC 3875 §4.1.18](https://www.rfc-editor.org/rfc/rfc3875#section-4.1.18)).
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Tells whether some server reads this name as that plain one: `x_auth.subject` as `x-auth-subject`.
pub(crate) fn reads_as(name: &str, plain: &str) -> bool {
    name.len() == plain.len() && folded(name).eq(plain.bytes())
}

/// Writes a name as the most careless server reads it, with `-` for everything that is neither letter nor digit.
fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' })
}

fn begins_as(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && folded(name).zip(prefix.bytes()).all(|(b, own)| b == own)
}

/// Tells whether services take this for a client's certificate, as verified by whoever ended TLS
/// ([RFC 9440 §2](https://www.rfc-editor.org/rfc/rfc9440#section-2), and what proxies wrote before it).
pub(crate) fn is_certificate(name: &str) -> bool {
    CERTIFICATE.iter().any(|prefix| begins_as(name, prefix))
}

const CERTIFICATE: [&str; 10] = [
    "client-cert",
    "ssl-client",
    "x-ssl-client",
    "x-ssl-cert",
    "x-client-cert",
    "x-client-verify",
    "x-tls-client",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-amzn-mtls-clientcert",
];

/// Tells whether some frameworks take this for a method or a path in place of the request's own.
pub(crate) fn is_override(name: &str) -> bool {
    OVERRIDES.iter().any(|own| reads_as(name, own))
}

const OVERRIDES: [&str; 9] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-original-path",
    "x-original-method",
    "x-rewrite-url",
    "x-rewrite-uri",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_has_no_second_reading() {
        for name in ["x-auth-subject", "te", "x2"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "x_auth", "x.auth", "x~auth", "x!auth", "X-Auth", "x`auth", "x|auth", "x'auth"] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn names_that_some_server_reads_as_another_are_known() {
        for name in ["x-auth-subject", "x_auth_subject", "x.auth.subject", "x~auth`subject", "X.AUTH_SUBJECT"] {
            assert!(reads_as(name, "x-auth-subject"), "{name}");
        }
        for name in ["x-auth-subjects", "xaauth-subject", "x-auth", ""] {
            assert!(!reads_as(name, "x-auth-subject"), "{name}");
        }
    }

    #[test]
    fn certificates_and_overrides_are_known_in_any_spelling() {
        for name in [
            "client-cert",
            "client-cert-chain",
            "client.cert",
            "ssl-client-verify",
            "ssl_client_s_dn",
            "x-ssl-client-cert",
            "x-client-cert-hash",
            "x-forwarded-client-cert",
            "x-forwarded-tls-client-cert-info",
        ] {
            assert!(is_certificate(name), "{name}");
        }
        for name in ["client", "x-client-ip", "x-ssl", "x-client-id", ""] {
            assert!(!is_certificate(name), "{name}");
        }
        for name in ["x-http-method-override", "x_http_method", "x.method.override", "x-original-url", "x-rewrite.url"]
        {
            assert!(is_override(name), "{name}");
        }
        for name in ["x-original-host", "x-method", "x-http-method-overrides", ""] {
            assert!(!is_override(name), "{name}");
        }
    }
}
