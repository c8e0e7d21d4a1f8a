//! Redis behind TLS, with certificates that are trusted and others.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sekisho_core::FailureKind;
use sekisho_redis::{Redis, RedisBuilder};

use crate::control::wait_until;
use crate::setup::{prefix, skip};

/// Is a Redis of this test alone, that takes nothing but TLS and wants to see a certificate.
struct Secured {
    process: Child,
    folder: PathBuf,
    port: u16,
    roots: String,
    client: (String, String),
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

impl Secured {
    fn start(test: &str) -> Option<Self> {
        let program =
            ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            skip(&format!("{test}: there is no redis-server"));
            return None;
        };
        let folder = std::env::temp_dir().join(format!("sekisho-redis-{}", prefix()));
        fs::create_dir_all(&folder).unwrap();
        let authority = authority();
        let (server, client) = (certificate(&authority, "localhost"), certificate(&authority, "client"));
        for (name, text) in [("ca", &authority.pem()), ("cert", &server.0), ("key", &server.1)] {
            fs::write(folder.join(name), text).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "bind 127.0.0.1\nport 0\ntls-port {port}\ntls-cert-file cert\ntls-key-file key\ntls-ca-cert-file ca\n\
             tls-auth-clients yes\nrequirepass s3cret\nsave \"\"\n"
        );
        fs::write(folder.join("redis.conf"), settings).unwrap();
        // It ends by itself when this test cannot end it.
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "120", program, "redis.conf"]).current_dir(&folder);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { process, folder, port, roots: authority.pem(), client })
    }

    fn builder(&self, host: &str) -> RedisBuilder {
        Redis::standalone(format!("rediss://:s3cret@{host}:{}", self.port))
            .with_prefix(prefix())
            .with_connect_timeout(Duration::from_secs(5))
            .with_command_timeout(Duration::from_secs(5))
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // `timeout` hands it on to the server; killed itself, it would leave that behind.
        drop(Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_server_is_talked_to_and_the_process_is_not_asked_for_a_provider() {
    let Some(secured) = Secured::start("Redis behind TLS") else { return };
    let trusting = |host| {
        let (chain, key) = &secured.client;
        secured.builder(host).with_roots(secured.roots.as_str()).with_client_certificate(chain.as_str(), key.as_str())
    };
    wait_until("it serves by TLS", Duration::from_secs(20), async || {
        let answer = trusting("localhost").build().unwrap().check().await;
        if let Err(failure) = &answer {
            println!("not yet: {failure:?}");
        }
        answer.is_ok()
    })
    .await;
    assert!(rustls::crypto::CryptoProvider::get_default().is_none(), "nothing is set for the process");

    let failed = async |builder: RedisBuilder, what: &str| {
        let failure = builder.build().unwrap().check().await.expect_err(what);
        assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
        failure.kind()
    };
    let (chain, key) = secured.client.clone();
    let strange = secured.builder("localhost").with_client_certificate(chain.as_str(), key.as_str());
    assert_eq!(failed(strange, "the platform does not know the authority").await, FailureKind::BadGateway);
    let other = secured.builder("localhost").with_roots(authority().pem()).with_client_certificate(chain, key);
    assert_eq!(failed(other, "another authority").await, FailureKind::BadGateway);
    assert_eq!(failed(trusting("127.0.0.1"), "another name").await, FailureKind::BadGateway);
    let nameless = secured.builder("localhost").with_roots(secured.roots.as_str());
    failed(nameless, "Redis wants a certificate").await;
    let plain = Redis::standalone(format!("redis://:s3cret@localhost:{}", secured.port));
    failed(plain.with_command_timeout(Duration::from_secs(5)), "nothing goes in the clear").await;
}
