//! Tokens bound to a client's certificate (RFC 8705) through real nginx, which ends TLS and asks our forward-auth endpoint.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};
use sekisho_core::scope;
use sekisho_gateway::{Access, Dialect, ForwardAuth, IdentityHeaders, Rule, RuleTable};
use sekisho_http::{Checkpoint, ClientCertificateHeader, TrustedProxies};
use sekisho_jwt::{Algorithm, Jwt};
use sekisho_testkit::Issuer;
use tokio::net::TcpListener;

use crate::gateway_process::free_port;
use crate::gateways::{Gateway, Upstream};

const HOST: &str = "api.example";

/// A certificate with its key.
struct Shown {
    der: Vec<u8>,
    certificate: String,
    key: String,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    // Without a name of its own it would look as if each certificate had made itself.
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn issue(authority: &Authority, name: &str) -> Shown {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Shown { der: certificate.der().to_vec(), certificate: certificate.pem(), key: key.serialize_pem() }
}

fn client(authority: &Authority, shown: Option<&Shown>, address: SocketAddr) -> Client {
    let root = Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
    let mut builder = Client::builder().tls_certs_only([root]).resolve(HOST, address);
    if let Some(Shown { certificate, key, .. }) = shown {
        let pem = format!("{certificate}{key}");
        builder = builder.identity(Identity::from_pem(pem.as_bytes()).expect("an identity"));
    }
    builder.build().expect("a client")
}

/// Serves the endpoint, which believes the header of nginx.
async fn endpoint(issuer: &Issuer) -> u16 {
    let proxies = || TrustedProxies::new(["127.0.0.1"]).expect("an address");
    let jwt = Jwt::issuer(issuer.url()).audience("orders-api").with_keys(issuer.static_keys());
    let checkpoint = Checkpoint::builder()
        .accept(jwt.with_certificate_binding())
        .with_client_certificate_header(
            ClientCertificateHeader::escaped_pem("ssl-client-cert", proxies()).expect("a header"),
        )
        .build()
        .expect("a checkpoint");
    let rules = RuleTable::new([Rule::new("/orders/*", Access::Require(scope("orders:read")))]).expect("rules");
    let auth = ForwardAuth::new(Dialect::Nginx, checkpoint, rules, proxies()).expect("an endpoint");
    let app = auth.with_identity(IdentityHeaders::standard()).router("/check");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
    port
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[tokio::test]
async fn nginx_hands_over_the_certificate_and_no_client_can() {
    let issuer = Issuer::with_url("https://id.example").with_algorithm(Algorithm::Es256);
    let (upstream, endpoint, tls) = (Upstream::start().await, endpoint(&issuer).await, free_port());
    let authority = authority();
    let (server, own, other) =
        (issue(&authority, HOST), issue(&authority, "own.example"), issue(&authority, "other.example"));
    let folder = std::env::temp_dir().join(format!("sekisho-mtls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (chain, key) = (put("chain.pem", &server.certificate), put("key.pem", &server.key));
    let authorities = put("authorities.pem", &authority.pem());
    let settings = format!(
        "listen 127.0.0.1:{tls} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_client_certificate {authorities};
        ssl_verify_client optional;
        location / {{
            auth_request /_authz;
            proxy_set_header Authorization \"\";
            proxy_set_header ssl-client-cert \"\";
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location = /_authz {{
            internal;
            proxy_pass http://127.0.0.1:{endpoint}/check;
            proxy_pass_request_body off;
            proxy_set_header Content-Length \"\";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URI    $request_uri;
            proxy_set_header ssl-client-cert   $ssl_client_escaped_cert;
        }}",
        upstream = upstream.port,
    );
    let Some(_gateway) = Gateway::nginx("client certificates through nginx", &settings).await else { return };
    let address = SocketAddr::from(([127, 0, 0, 1], tls));
    let token = issuer.token().audience("orders-api").scope("orders:read");
    let unbound = format!("Bearer {}", token.sign());
    let token = issuer.token().audience("orders-api").scope("orders:read").bound_to_certificate(&own.der);
    let bound = format!("Bearer {}", token.sign());
    let forged = escaped(&own.certificate);
    let passed = upstream.requests();
    for (what, shown, token, header, expected) in [
        ("the token with its certificate", Some(&own), &bound, None, 200),
        ("the token alone", None, &bound, None, 401),
        ("another's certificate", Some(&other), &bound, None, 401),
        ("a header of the client's own", None, &bound, Some(&forged), 401),
        ("a header beside another's certificate", Some(&other), &bound, Some(&forged), 401),
        ("a header beside the certificate", Some(&own), &bound, Some(&forged), 200),
        ("a token that is bound to nobody", None, &unbound, None, 200),
    ] {
        let request = client(&authority, shown, address).get(format!("https://{HOST}:{tls}/orders/7"));
        let mut request = request.header("authorization", token);
        if let Some(header) = header {
            request = request.header("ssl-client-cert", header);
        }
        let status = request.send().await.expect("an answer").status().as_u16();
        assert_eq!(status, expected, "{what}");
    }
    assert_eq!(upstream.requests(), passed + 3);
    drop(std::fs::remove_dir_all(&folder));
}
