//! Key sets and keys as the world publishes them. They lie outside of the repository, in the folder that
//! `SEKISHO_VECTORS` names; without it the tests say that they were skipped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sekisho_core::{Clock, SystemClock};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{
    Algorithm, Backend, Discovery, IntoKeySource, KeyHealth, KeyLookup, KeyQuery, KeySet, SourceContext,
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

/// Every backend that this build has.
fn backends() -> Vec<Backend> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Backend::aws_lc(),
        #[cfg(feature = "ring")]
        Backend::ring(),
    ]
}

/// Finds the vectors, or says that the test was skipped.
fn vectors(test: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("SEKISHO_VECTORS").map_or_else(|| "../shared/vectors".into(), PathBuf::from);
    let folder = workspace.join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
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

#[test]
fn no_published_document_is_missing_in_the_table() {
    let Some(folder) = vectors("no_published_document_is_missing_in_the_table") else { return };
    let mut found = BTreeSet::new();
    for root in ["providers", "providers-azure-identitymodel"] {
        collect(&folder.join(root), &mut found);
    }
    let found: BTreeSet<String> = found
        .into_iter()
        .filter(|path| {
            // A discovery document has no `keys`; the map of certificates has neither.
            let text = std::fs::read_to_string(path).unwrap();
            text.contains("\"keys\"") || path.ends_with("x509.json")
        })
        .map(|path| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned())
        .collect();
    let table: BTreeSet<String> = DOCUMENTS.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(found, table);
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
