use sekisho_core::UnixSeconds;
use sekisho_jwks::{Algorithm, KeyLookup, KeyQuery, KeySource};

use crate::Issuer;

/// Checks that a [`KeySource`] keeps the contract of the trait; `issuer` is whose keys it is about, as they are
/// published now, and can be reached where the source looks for them.
///
/// It needs one fetch at most, and leaves the source with the memory of a few unknown names.
///
/// # Panics
/// When the contract is broken; the message says where.
pub async fn key_source_suite(source: &dyn KeySource, issuer: &Issuer, now: UnixSeconds) {
    let key = issuer.signing_key();
    let query = KeyQuery { kid: Some(key.kid()), algorithm: key.algorithm() };
    let message = b"signed by the issuer";
    let Ok(signature) = key.sign(message) else { return assert_eq!("signature", "", "the issuer cannot sign") };

    let fetched = match source.find(query, now) {
        KeyLookup::FetchNeeded => source.fetch(query, now).await,
        found => found,
    };
    let sound = |lookup: &KeyLookup| match lookup {
        KeyLookup::Found(candidates) => {
            let keys = candidates.as_slice();
            let signs = keys.iter().any(|k| k.key().verify(key.algorithm(), message, &signature));
            let usable = keys.iter().all(|k| k.key().fits(key.algorithm()) && k.life().is_live(now));
            signs && usable && keys.len() <= sekisho_jwks::Candidates::MAX
        }
        _ => false,
    };
    assert!(sound(&fetched), "{source:?}: the key that signs is found, fits and lives: {fetched:?}");
    let again = source.find(query, now);
    assert!(sound(&again), "{source:?}: once fetched, the key is found at once: {again:?}");
    assert!(source.health(now).is_ready(), "{source:?}: with keys at hand it is ready");
    let unnamed = source.find(KeyQuery { kid: None, ..query }, now);
    assert!(sound(&unnamed), "{source:?}: without a kid, the one key that fits is found: {unnamed:?}");

    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != key.algorithm()) {
        let query = KeyQuery { algorithm, ..query };
        refuses(source, query, now, "another algorithm than the key's").await;
    }
    let (cut, longer) = (key.kid().get(1..).unwrap_or_default(), format!("{} ", key.kid()));
    let long = "k".repeat(256);
    for kid in ["nobody", "", "../jwks", "x' OR '1'='1", "\r\n", "\u{202e}", cut, &longer, &long] {
        refuses(source, KeyQuery { kid: Some(kid), ..query }, now, "a name that nobody published").await;
    }
    let anew = source.fetch_anew(query, now).await;
    assert!(sound(&anew), "{source:?}: a second look finds the key that is still published: {anew:?}");
    let after = source.find(query, now);
    assert!(sound(&after), "{source:?}: unknown names do not push the known key out: {after:?}");
}

/// Asks both ways, and takes anything for an answer but a key; [`KeySource::fetch`] must also decide.
async fn refuses(source: &dyn KeySource, query: KeyQuery<'_>, now: UnixSeconds, what: &str) {
    let found = source.find(query, now);
    assert!(!matches!(found, KeyLookup::Found(_)), "{source:?}: {what} is found: {query:?}");
    let fetched = source.fetch(query, now).await;
    let decided = matches!(fetched, KeyLookup::Unknown | KeyLookup::Ambiguous | KeyLookup::Failed(_));
    assert!(decided, "{source:?}: {what}, asked of `fetch`: {query:?} gives {fetched:?}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use async_trait::async_trait;
    use sekisho_jwks::{Candidates, Discovery, IntoKeySource, KeyHealth, RemoteKeys, SourceContext, TrustedKey};

    use super::*;
    use crate::{Endpoint, FixedClock};

    const NOW: UnixSeconds = UnixSeconds::new(1_700_000_000);

    #[tokio::test]
    async fn every_source_of_the_family_keeps_the_contract() {
        let clock = FixedClock::at(NOW);
        let provider = Issuer::new().with_clock(clock).with_decoys().serve().await.unwrap();
        let context = SourceContext::new(provider.issuer().backend()).with_clock(provider.issuer().clock());
        key_source_suite(&provider.issuer().static_keys(), provider.issuer(), NOW).await;
        let remote = RemoteKeys::new(provider.key_set_url()).into_key_source(&context).unwrap();
        key_source_suite(&*remote, provider.issuer(), NOW).await;
        assert!(provider.requests_to(Endpoint::KeySet) <= 2);
        let discovered = Discovery::oidc(provider.url()).into_key_source(&context).unwrap();
        key_source_suite(&*discovered, provider.issuer(), NOW).await;
    }

    /// Finds its one key under every name and for every algorithm.
    #[derive(Debug)]
    struct Careless(TrustedKey);

    #[async_trait]
    impl KeySource for Careless {
        fn find(&self, _: KeyQuery<'_>, _: UnixSeconds) -> KeyLookup {
            KeyLookup::Found(Candidates::One(self.0.clone()))
        }

        async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
            self.find(query, now)
        }

        async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
            self.fetch(query, now).await
        }

        fn health(&self, _: UnixSeconds) -> KeyHealth {
            KeyHealth::Fresh { keys: 1 }
        }
    }

    #[tokio::test]
    #[should_panic(expected = "another algorithm than the key's is found")]
    async fn a_source_that_finds_everything_is_caught() {
        let issuer = Issuer::new();
        let careless = Careless(TrustedKey::forever(issuer.signing_key().verifying_key()));
        key_source_suite(&careless, &issuer, NOW).await;
    }
}
