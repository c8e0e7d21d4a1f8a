//! What goes to the log of passkeys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "log/recorder.rs"]
mod recorder;
#[path = "passkeys/site.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod site;
#[expect(dead_code, reason = "shared with the other tests")]
mod world;

use sekisho_credentials::testing::authenticator::{SoftAssertion, SoftAuthenticator};
use sekisho_credentials::{AccountId, CeremonyTicket};

use recorder::Recorder;
use site::{ORIGIN, Site};
use world::{NOW, is_refused};

#[tokio::test]
async fn a_copied_authenticator_is_a_warning_and_every_refusal_names_the_account_if_one_was_named() {
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let site = Site::new();
    let (alice, key) = site.sign_up("alice.liddell@example.com").await;
    site.log_in(&alice, &key).await;
    let mut seen = recorder.text().len();
    let mut refused = async |key: &SoftAuthenticator, account: &AccountId, change: fn(&mut SoftAssertion)| {
        let ceremony = site.begin_login(None, NOW);
        let mut answer = key.log_in(&ceremony.options, ORIGIN, account.as_str());
        change(&mut answer);
        assert!(is_refused(&site.finish_login(&ceremony.ticket, &answer.to_json(key), NOW).await));
        let log = recorder.text().split_off(seen);
        seen += log.len();
        log
    };
    let counter = refused(&key, &alice, |answer| answer.said.sign_count = 1).await;
    assert!(counter.starts_with("WARN") && counter.contains(alice.as_str()), "{counter}");
    let backup = refused(&key, &alice, |answer| answer.said.flags ^= 0x08).await;
    assert!(backup.starts_with("WARN") && backup.contains(alice.as_str()), "{backup}");
    let origin =
        refused(&key, &alice, |answer| answer.said.client_data["origin"] = "https://evil.example".into()).await;
    assert!(origin.starts_with("INFO") && origin.contains(alice.as_str()), "{origin}");
    let unknown = refused(&SoftAuthenticator::new(), &alice, |_| {}).await;
    assert!(unknown.starts_with("INFO") && !unknown.contains("account"), "{unknown}");
    assert!(is_refused(&site.finish_login(&CeremonyTicket::new("junk"), b"{}", NOW).await));
    drop(guard);
    let id = base64_simd::URL_SAFE_NO_PAD.encode_to_string(&key.credential_id);
    let log = recorder.text();
    for secret in ["liddell", "evil", "junk", "blue key", &id] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}
