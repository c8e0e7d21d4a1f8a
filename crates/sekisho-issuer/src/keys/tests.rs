use super::*;

const START: UnixSeconds = UnixSeconds::new(1_764_072_000);

async fn opened(store: &Arc<MemoryKeyStore>, master: &MasterKey) -> Result<IssuerKeys, Failure> {
    let store: Arc<dyn KeyStore> = Arc::clone(store) as Arc<dyn KeyStore>;
    IssuerKeys::open(store, master.clone(), &[Algorithm::Ed25519, Algorithm::Es256], KeyRotation::default(), START)
        .await
}

fn after(hours: u64) -> UnixSeconds {
    START.saturating_add(Duration::from_secs(hours * 3600))
}

#[tokio::test]
async fn keys_come_back_after_a_restart_and_not_with_another_master_key() {
    let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().unwrap());
    let first = opened(&store, &master).await.unwrap();
    let token = first.sign(Algorithm::Es256, "at+jwt", &serde_json::json!({"a": 1})).unwrap();
    let again = opened(&store, &master).await.unwrap();
    assert_eq!(first.publish(START), again.publish(START));
    assert!(again.read_own(&token, "at+jwt", START).is_some());
    assert_eq!(again.algorithms(), [Algorithm::Ed25519, Algorithm::Es256]);
    let other = opened(&store, &MasterKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(other.kind(), FailureKind::Misconfigured);
    let text = master.to_text();
    let same = MasterKey::from_text(text.expose_str().unwrap()).unwrap();
    assert!(opened(&store, &same).await.is_ok());
}

#[tokio::test]
async fn a_changed_document_or_an_old_one_under_a_new_number_does_not_open() {
    let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().unwrap());
    opened(&store, &master).await.unwrap();
    let sealed = store.load().await.unwrap().unwrap();
    for place in [0, 11, 12, sealed.bytes.len() - 1] {
        let mut bytes = sealed.bytes.clone();
        bytes[place] ^= 1;
        let changed = SealedKeys { bytes, ..sealed.clone() };
        assert!(document::open(&master, &changed, &KeyRotation::default()).is_err(), "byte {place}");
    }
    let renumbered = SealedKeys { revision: 2, ..sealed.clone() };
    assert!(document::open(&master, &renumbered, &KeyRotation::default()).is_err());
    assert!(document::open(&master, &sealed, &KeyRotation::default()).is_ok());
    let shown = String::from_utf8_lossy(&sealed.bytes).into_owned();
    assert!(!shown.contains("kid") && !shown.contains("rings"));
}

#[tokio::test]
async fn rotates_without_a_moment_in_which_a_token_cannot_be_verified() {
    let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().unwrap());
    let keys = opened(&store, &master).await.unwrap();
    let other_process = opened(&store, &master).await.unwrap();
    let sign = || keys.sign(Algorithm::Es256, "at+jwt", &serde_json::json!({})).unwrap();
    let old = sign();
    let period = 24 * 30;
    keys.maintain(after(period - 2)).await.unwrap();
    assert_eq!(keys.publish(after(period - 2)).matches("\"kid\"").count(), 2);
    keys.maintain(after(period - 1)).await.unwrap();
    assert_eq!(keys.publish(after(period - 1)).matches("\"kid\"").count(), 4);
    // The other process knows the next keys before they sign.
    other_process.maintain(after(period - 1)).await.unwrap();
    keys.maintain(after(period)).await.unwrap();
    let new = sign();
    assert!(other_process.read_own(&new, "at+jwt", after(period)).is_some());
    assert!(keys.read_own(&old, "at+jwt", after(period + 23)).is_some());
    assert!(keys.read_own(&old, "at+jwt", after(period + 24)).is_none());
    let again = opened(&store, &master).await.unwrap();
    assert!(again.read_own(&old, "at+jwt", after(period + 23)).is_some());
    assert!(again.read_own(&new, "at+jwt", after(period + 23)).is_some());
}

#[tokio::test]
async fn a_stolen_key_is_gone_at_once() {
    let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().unwrap());
    let keys = opened(&store, &master).await.unwrap();
    let token = keys.sign(Algorithm::Es256, "at+jwt", &serde_json::json!({})).unwrap();
    let header = handle::decode(token.split('.').next().unwrap()).unwrap();
    let header = JsonObject::parse(header).unwrap();
    let kid = header.get("kid").unwrap().as_str().unwrap().into_owned();
    assert!(keys.replace_stolen("nobody", START).await.is_err());
    keys.replace_stolen(&kid, START).await.unwrap();
    assert!(keys.read_own(&token, "at+jwt", START).is_none());
    assert!(!keys.publish(START).contains(&kid));
}

#[tokio::test]
async fn reads_no_token_that_is_not_its_own() {
    let (store, master) = (Arc::new(MemoryKeyStore::new()), MasterKey::generate().unwrap());
    let keys = opened(&store, &master).await.unwrap();
    let token = keys.sign(Algorithm::Es256, "at+jwt", &serde_json::json!({"a": 1})).unwrap();
    let other = opened(&Arc::new(MemoryKeyStore::new()), &master).await.unwrap();
    assert!(other.read_own(&token, "at+jwt", START).is_none(), "another issuer's keys");
    assert!(keys.read_own(&token, "JWT", START).is_none(), "another type");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    for bad in [
        String::new(),
        "..".to_owned(),
        signed.to_owned(),
        format!("{header}.{payload}."),
        format!("{header}.{}.{signature}", handle::encode(b"{\"a\":2}")),
        format!("{}.{payload}.{signature}", handle::encode(b"{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"x\"}")),
        format!("{token}."),
        format!("{token}="),
        "x".repeat(20_000),
    ] {
        assert!(keys.read_own(&bad, "at+jwt", START).is_none(), "{bad}");
    }
    assert!(keys.read_own(&token, "at+jwt", START).is_some());
}

#[test]
fn the_master_key_is_random_bytes_and_shows_none() {
    for bad in ["", "correct horse battery staple", "AAAA", &"A".repeat(44)] {
        assert!(MasterKey::from_text(bad).is_err(), "{bad}");
    }
    let master = MasterKey::generate().unwrap();
    assert_eq!(format!("{master:?}"), "MasterKey(Secret(..))");
    assert!(master.open("p", b"", b"short").is_none());
    let sealed = master.seal("p", b"c", b"plain").unwrap();
    assert_eq!(master.open("p", b"c", &sealed).unwrap().as_slice(), b"plain");
    assert!(master.open("q", b"c", &sealed).is_none());
    assert!(master.open("p", b"d", &sealed).is_none());
}
