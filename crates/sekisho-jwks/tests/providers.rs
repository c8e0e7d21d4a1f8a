//! Key sets and keys as the world publishes them. They lie outside of the repository, in the folder that
//! `SEKISHO_VECTORS` names; without it the tests say that they were skipped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sekisho_core::{Clock, SystemClock};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{
    Algorithm, Backend, Discovery, IntoKeySource, KeyHealth, KeyLookup, KeyQuery, KeySet, SigningKey, SourceContext,
};

#[path = "providers/keys.rs"]
mod keys;

/// Each document: its path, how many keys can be used, and why the others cannot. Counted in the documents
/// themselves: nearly all hold RSA keys of 2048 or 4096 bits with `use` `sig` and nothing else.
const DOCUMENTS: &[(&str, usize, &[&str])] = &[
    // `n` in padded base64 of the other alphabet; before that, an operation and an algorithm that do not exist.
    (
        "providers-azure-identitymodel/JsonWebKeySet.json",
        0,
        &["not a key for signatures: `key_ops` does not allow it", "the algorithm is not known or does not fit"],
    ),
    (
        "providers-azure-identitymodel/JsonWebKeySetEnd2End.json",
        0,
        &["malformed key: a member is not unpadded base64url", "malformed key: a member is not unpadded base64url"],
    ),
    // With a byte order mark; the third says `ES521`.
    ("providers-azure-identitymodel/JsonWebKeySetEnd2EndEC.json", 2, &["the algorithm is not known or does not fit"]),
    // A certificate and no key.
    (
        "providers-azure-identitymodel/JsonWebKeySetSingleX509Data.json",
        0,
        &["malformed key: a required member is missing"],
    ),
    (
        "providers-azure-identitymodel/JsonWebKeySetUnrecognizedKty.json",
        0,
        &["not a key for signatures: `key_ops` does not allow it", "a shared secret stands in a published set"],
    ),
    ("providers-azure-identitymodel/PingLabsJWKS.json", 3, &[]),
    ("providers/openid_connect/auth0/jwks.json", 2, &[]),
    ("providers/openid_connect/azure/jwks.json", 10, &[]),
    ("providers/openid_connect/cognito/jwks.json", 2, &[]),
    ("providers/openid_connect/google/jwks.json", 2, &[]),
    // The second is Keycloak's RSA-OAEP key.
    ("providers/openid_connect/keycloak/jwks.json", 1, &["not a key for signatures: `use` is not `sig`"]),
    ("providers/openid_connect/okta/jwks.json", 2, &[]),
    ("providers/openid_connect/onelogin/jwks.json", 1, &[]),
    ("providers/openid_connect/vault/jwks.json", 2, &[]),
    ("providers/other/google-x509-map/x509.json", 1, &[]),
    ("providers/other/kubernetes-meysam81/jwks.json", 1, &[]),
    ("providers/wellknown/apple/jwks-2024-06-05-ee76786a5b.json", 4, &[]),
    ("providers/wellknown/apple/jwks-2024-06-21-314276d000.json", 5, &[]),
    ("providers/wellknown/apple/jwks-2024-06-27-acaeef0210.json", 4, &[]),
    ("providers/wellknown/apple/jwks-2024-07-18-8c186a920d.json", 3, &[]),
    ("providers/wellknown/apple/jwks-2024-07-31-b2c552e584.json", 4, &[]),
    ("providers/wellknown/apple/jwks-2024-08-16-47e0c7d267.json", 4, &[]),
    ("providers/wellknown/apple/jwks-2024-08-29-601ca193ef.json", 3, &[]),
    ("providers/wellknown/apple/jwks-2024-10-01-206b4012fd.json", 3, &[]),
    ("providers/wellknown/apple/jwks-2024-10-01-cbf7c26e01.json", 3, &[]),
    ("providers/wellknown/discord/jwks-2024-08-16-1eb654c589.json", 1, &[]),
    ("providers/wellknown/docker/jwks-2024-10-01-60a99df885.json", 2, &[]),
    ("providers/wellknown/dropbox/jwks-2024-08-16-971f30781a.json", 1, &[]),
    ("providers/wellknown/facebook/jwks-2024-06-05-1e501dd843.json", 2, &[]),
    ("providers/wellknown/facebook/jwks-2024-07-02-5cbb995758.json", 2, &[]),
    ("providers/wellknown/facebook/jwks-2024-08-16-3e0b6ed9b3.json", 2, &[]),
    ("providers/wellknown/facebook/jwks-2024-09-02-1c1a0985c6.json", 2, &[]),
    ("providers/wellknown/facebook/jwks-2024-10-01-1e60f160f2.json", 2, &[]),
    ("providers/wellknown/gitlab/jwks-2024-08-16-06871a1365.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-06-05-3b8bf72534.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-06-15-28dde02239.json", 3, &[]),
    ("providers/wellknown/google/jwks-2024-06-24-46b302b199.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-07-09-bc84a8e57b.json", 3, &[]),
    ("providers/wellknown/google/jwks-2024-07-18-5fb57335bd.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-08-02-4aa535409f.json", 3, &[]),
    ("providers/wellknown/google/jwks-2024-08-16-0fb87c44aa.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-08-26-e4d20ccb05.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-09-03-a8bbed3835.json", 3, &[]),
    ("providers/wellknown/google/jwks-2024-09-19-54d433f89f.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-10-01-05060bf5e1.json", 2, &[]),
    ("providers/wellknown/google/jwks-2024-10-21-8b90b50d82.json", 2, &[]),
    ("providers/wellknown/klarna/jwks-2024-08-19-e8b6ed3a04.json", 4, &[]),
    ("providers/wellknown/lego/jwks-2024-10-20-621a42b8a2.json", 5, &[]),
    ("providers/wellknown/slack/jwks-2024-08-16-be7c904d5c.json", 1, &[]),
    ("providers/wellknown/spotify/jwks-2024-08-16-eb515892cf.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-08-19-55c8339065.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-08-26-99b1e9ed93.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-09-02-4889ac2c0a.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-09-09-2316b02b72.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-09-16-54df3f3b8e.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-09-23-0d5a46f213.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-09-30-dc711e1a96.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-10-07-7bb9cfc0da.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-10-14-8a7d5ce029.json", 3, &[]),
    ("providers/wellknown/spotify/jwks-2024-10-21-11fee4627a.json", 3, &[]),
    ("providers/wellknown/twitch/jwks-2024-10-01-ebacec024b.json", 1, &[]),
];

/// What comes of a discovery document when its own issuer is configured.
#[derive(Clone, Copy)]
enum Fate {
    /// It is taken; this is where the keys are.
    Taken(&'static str),
    /// It is of this issuer, and refused for a reason with these words.
    Refused(&'static str),
    /// The issuer itself cannot be configured, for a reason with these words.
    NoIssuer(&'static str),
}
use Fate::{NoIssuer, Refused, Taken};

const AZURE: &str = "https://sts.windows.net/d062b2b0-9aca-4ff7-b32a-ba47231a4002/";
const NO_URL: &str = "`jwks_uri` of the discovery document cannot be used";

/// Each discovery document with its issuer.
const DISCOVERY: &[(&str, &str, Fate)] = &[
    ("providers-azure-identitymodel/OpenIdConnectMetadata.json", AZURE, Refused(NO_URL)),
    (
        "providers-azure-identitymodel/OpenIdConnectMetadata2.json",
        "https://sts.windows.net2/d062b2b0-9aca-4ff7-b32a-ba47231a4002/",
        Refused(NO_URL),
    ),
    ("providers-azure-identitymodel/OpenIdConnectMetadataEnd2End.json", AZURE, Refused(NO_URL)),
    ("providers-azure-identitymodel/OpenIdConnectMetadataEnd2EndAcrValuesLast.json", AZURE, Refused(NO_URL)),
    // With a byte order mark.
    ("providers-azure-identitymodel/OpenIdConnectMetadataEnd2EndEC.json", AZURE, Refused(NO_URL)),
    ("providers-azure-identitymodel/OpenIdConnectMetadataUnrecognizedKty.json", AZURE, Refused(NO_URL)),
    (
        "providers-azure-identitymodel/PingLabs-openid-configuration.json",
        "https://connect-interop.pinglabs.org:9031",
        Taken("https://connect-interop.pinglabs.org:9031/pf/JWKS"),
    ),
    ("providers-azure-identitymodel/google-openid-configuration.json", "accounts.google.com", NoIssuer("discovery")),
    (
        "providers/openid_connect/auth0/metadata.json",
        "https://common.auth0.com/",
        Taken("https://common.auth0.com/.well-known/jwks.json"),
    ),
    (
        "providers/openid_connect/azure/metadata.json",
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        Taken("https://login.microsoftonline.com/common/discovery/v2.0/keys"),
    ),
    (
        "providers/openid_connect/cognito/metadata.json",
        "https://cognito-idp.REGION.amazonaws.com/REGION-CODE",
        Taken("https://cognito-idp.REGIONamazonaws.com/REGION-CODE/.well-known/jwks.json"),
    ),
    (
        "providers/openid_connect/google/metadata.json",
        "https://accounts.google.com",
        Taken("https://www.googleapis.com/oauth2/v3/certs"),
    ),
    (
        "providers/openid_connect/keycloak/metadata.json",
        "http://localhost:8080/realms/master",
        Taken("http://localhost:8080/realms/master/protocol/openid-connect/certs"),
    ),
    (
        "providers/openid_connect/okta/metadata.json",
        "https://common.okta.com",
        Taken("https://common.okta.com/oauth2/v1/keys"),
    ),
    (
        "providers/openid_connect/onelogin/metadata.json",
        "https://common.onelogin.com/oidc/2",
        Taken("https://common.onelogin.com/oidc/2/certs"),
    ),
    (
        "providers/openid_connect/vault/metadata.json",
        "http://0.0.0.0:8200/v1/identity/oidc/provider/default",
        NoIssuer("discovery"),
    ),
    (
        "providers/other/kubernetes-meysam81/metadata.json",
        "https://meysam81.github.io/k8s-oidc-provider",
        Taken("https://meysam81.github.io/k8s-oidc-provider/openid/v1/jwks"),
    ),
    (
        "providers/wellknown/apple/metadata-2024-10-01-2583800e76.json",
        "https://appleid.apple.com",
        Taken("https://appleid.apple.com/auth/keys"),
    ),
    (
        "providers/wellknown/discord/metadata-2024-08-16-94be6992db.json",
        "https://discord.com",
        Taken("https://discord.com/api/oauth2/keys"),
    ),
    (
        "providers/wellknown/docker/metadata-2024-10-01-977a247fbe.json",
        "https://login.docker.com/",
        Taken("https://login.docker.com/.well-known/jwks.json"),
    ),
    (
        "providers/wellknown/dropbox/metadata-2024-08-16-ef7155ef85.json",
        "https://www.dropbox.com",
        Taken("https://www.dropbox.com/.well-known/jwks"),
    ),
    (
        "providers/wellknown/facebook/metadata-2024-10-01-63ff8d85ec.json",
        "https://www.facebook.com",
        Taken("https://www.facebook.com/.well-known/oauth/openid/jwks/"),
    ),
    (
        "providers/wellknown/gitlab/metadata-2024-08-16-aa515e71a4.json",
        "https://gitlab.com",
        Taken("https://gitlab.com/oauth/discovery/keys"),
    ),
    (
        "providers/wellknown/google/metadata-2024-10-21-30b6065ddc.json",
        "https://accounts.google.com",
        Taken("https://www.googleapis.com/oauth2/v3/certs"),
    ),
    (
        "providers/wellknown/klarna/metadata-2024-08-19-7641e02e5e.json",
        "https://login.klarna.com",
        Taken("https://login.klarna.com/eu/lp/idp/.well-known/jwks.json"),
    ),
    (
        "providers/wellknown/lego/metadata-2024-10-20-5c779e65b4.json",
        "https://identity.lego.com",
        Taken("https://identity.lego.com/.well-known/openid-configuration/jwks"),
    ),
    (
        "providers/wellknown/slack/metadata-2024-08-16-946f16cb72.json",
        "https://slack.com",
        Taken("https://slack.com/openid/connect/keys"),
    ),
    (
        "providers/wellknown/spotify/metadata-2024-10-21-51ef2d4f72.json",
        "https://accounts.spotify.com",
        Taken("https://accounts.spotify.com/oidc/certs/v1"),
    ),
    (
        "providers/wellknown/twitch/metadata-2024-10-01-20408815e1.json",
        "https://id.twitch.tv/oauth2",
        Taken("https://id.twitch.tv/oauth2/keys"),
    ),
];

/// Every backend that this build has.
fn backends() -> Vec<Backend> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Backend::aws_lc(),
        #[cfg(feature = "ring")]
        Backend::ring(),
    ]
}

/// Finds the vectors, or says that the test was skipped. Where everything has to run, `CI=true`, only the word `none` in place
/// of a folder skips.
fn vectors(test: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("SEKISHO_VECTORS").map_or_else(|| "../shared/vectors".into(), PathBuf::from);
    let folder = workspace.join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    let is_skipped_on_purpose = folder.file_name().is_some_and(|name| name == "none");
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true") && !is_skipped_on_purpose;
    assert!(!must_run, "no folder {}; set SEKISHO_VECTORS to the vectors, or to `none`", folder.display());
    let line = format!("skipped: sekisho-jwks {test}: no vectors; set SEKISHO_VECTORS\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("SEKISHO_SKIPPED") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

#[test]
fn every_published_document_loads_with_the_counted_keys() {
    let Some(folder) = vectors("every_published_document_loads_with_the_counted_keys") else { return };
    for backend in backends() {
        for (path, usable, reasons) in DOCUMENTS {
            let bytes = std::fs::read(folder.join(path)).unwrap();
            let parse = if path.ends_with("x509.json") { KeySet::parse_x509_map } else { KeySet::parse };
            let set = parse(backend, &bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
            let skipped: Vec<String> = set.skipped().iter().map(|key| key.reason().to_string()).collect();
            assert_eq!(set.keys().len(), *usable, "{backend:?} {path}: {skipped:?}");
            assert_eq!(skipped.len(), reasons.len(), "{path}: {skipped:?}");
            for (skipped, reason) in skipped.iter().zip(*reasons) {
                assert!(skipped.starts_with(reason), "{path}: {skipped}");
            }
            assert!(set.keys().iter().all(|key| key.kid().is_some()), "{path}");
        }
    }
}

/// Serves the discovery document and the key set of Entra, as published for all tenants.
#[derive(Debug)]
struct Entra(PathBuf);

#[async_trait::async_trait]
impl HttpClient for Entra {
    async fn send(&self, request: HttpRequest, _limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let name = if request.url.contains("well-known") { "metadata.json" } else { "jwks.json" };
        Ok(HttpResponse { status: 200, headers: Vec::new(), body: std::fs::read(self.0.join(name)).unwrap() })
    }
}

#[tokio::test]
async fn entra_keys_for_personal_accounts_are_no_keys_of_an_enterprise_tenant() {
    let Some(folder) = vectors("entra_keys_for_personal_accounts_are_no_keys_of_an_enterprise_tenant") else { return };
    let folder = folder.join("providers/openid_connect/azure");
    let consumers = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    for backend in backends() {
        for (issuer, usable) in [
            ("https://login.microsoftonline.com/organizations/v2.0", 8),
            ("https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0", 8),
            (consumers, 10),
        ] {
            let context = SourceContext::new(backend).with_http_client(Arc::new(Entra(folder.clone())));
            let source = Discovery::oidc(issuer).with_tenant_template().into_key_source(&context).unwrap();
            let now = SystemClock.now();
            for (kid, is_taken) in
                [("nOo3ZDrODXEK1jKWhXslHR_KXEg", true), ("1LTMzakihiRla_8z2BEJVXeWMqo", issuer == consumers)]
            {
                let query = KeyQuery { kid: Some(kid), algorithm: Algorithm::Rs256 };
                let answer = source.fetch(query, now).await;
                assert_eq!(matches!(answer, KeyLookup::Found(_)), is_taken, "{issuer} {kid}: {answer:?}");
            }
            assert_eq!(source.health(now), KeyHealth::Fresh { keys: usable }, "{issuer}");
        }
    }
}

/// Serves a discovery document, and one key at the place that it names; keeps what is asked for.
#[derive(Debug)]
struct Published {
    document: Vec<u8>,
    key_set: String,
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl HttpClient for Published {
    async fn send(&self, request: HttpRequest, _limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let mut asked = self.asked.lock().unwrap();
        let body = if asked.is_empty() { self.document.clone() } else { self.key_set.clone().into_bytes() };
        asked.push(request.url);
        Ok(HttpResponse { status: 200, headers: Vec::new(), body })
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[tokio::test]
async fn every_published_discovery_document_leads_to_its_keys_or_is_refused_as_listed() {
    let Some(folder) = vectors("every_published_discovery_document_leads_to_its_keys") else { return };
    let backend = backends()[0];
    let key = SigningKey::generate(backend, Algorithm::Ed25519).unwrap().with_kid("k").public_jwk().unwrap();
    let key_set = serde_json::json!({ "keys": [key] }).to_string();
    let query = KeyQuery { kid: Some("k"), algorithm: Algorithm::Ed25519 };
    for (path, issuer, fate) in DISCOVERY {
        let document = std::fs::read(folder.join(path)).unwrap();
        let ask = async |issuer: &str| {
            let client =
                Arc::new(Published { document: document.clone(), key_set: key_set.clone(), asked: Mutex::default() });
            let context = SourceContext::new(backend).with_http_client(Arc::clone(&client) as Arc<dyn HttpClient>);
            let source = Discovery::oidc(issuer).into_key_source(&context).map_err(|error| told(&error))?;
            let answer = source.fetch(query, SystemClock.now()).await;
            let asked = client.asked.lock().unwrap().clone();
            match answer {
                KeyLookup::Found(_) => Ok(asked),
                KeyLookup::Failed(failure) => Err(told(&failure)),
                other => panic!("{path}: {other:?}"),
            }
        };
        match fate {
            Taken(jwks_uri) => {
                let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                assert_eq!(ask(issuer).await, Ok(vec![place, (*jwks_uri).to_owned()]), "{path}");
            }
            Refused(reason) | NoIssuer(reason) => {
                let refused = ask(issuer).await.unwrap_err();
                assert!(refused.contains(reason), "{path}: {refused}");
            }
        }
        // For nobody else it leads anywhere.
        let refused = ask("https://id.example").await.unwrap_err();
        assert!(refused.contains("is not the one configured"), "{path}: {refused}");
    }
}

#[test]
fn no_published_document_is_missing_in_the_tables() {
    let Some(folder) = vectors("no_published_document_is_missing_in_the_tables") else { return };
    let mut found = BTreeSet::new();
    for root in ["providers", "providers-azure-identitymodel"] {
        collect(&folder.join(root), &mut found);
    }
    // A discovery document has no `keys`; the map of certificates has neither.
    let (key_sets, documents): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) = found
        .into_iter()
        .partition(|path| path.ends_with("x509.json") || std::fs::read_to_string(path).unwrap().contains("\"keys\""));
    let shown = |paths: BTreeSet<PathBuf>| -> BTreeSet<String> {
        paths.into_iter().map(|path| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(shown(key_sets), DOCUMENTS.iter().map(|(path, ..)| (*path).to_owned()).collect());
    assert_eq!(shown(documents), DISCOVERY.iter().map(|(path, ..)| (*path).to_owned()).collect());
}

fn collect(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.insert(path);
        }
    }
}
