//! The testkit's hostile and honest tokens, before verifiers of each kind.

use sekisho_jwks::{KeySet, StaticKeys};
use sekisho_jwt::{Algorithm, Backend, Jwt, Profile, Verifier};
use sekisho_testkit::{FixedClock, HostileContext, HostileToken, Issuer, honest_tokens, hostile_tokens};
use sekisho_tests::{AUDIENCE, NOW, accepted, answer, refused, shown};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Ed25519];

/// Is one trusted issuer, a second one beside it, and the tokens that are made against both.
struct Scene {
    first: Issuer,
    second: Issuer,
}

impl Scene {
    fn new(algorithm: Algorithm) -> Self {
        let issuer = |url: &'static str| {
            Issuer::with_url(url).with_clock(FixedClock::at(NOW)).with_algorithm(algorithm).with_decoys()
        };
        Self { first: issuer("https://id.example"), second: issuer("https://two.example") }
    }

    fn context(&self) -> HostileContext {
        HostileContext::new(&self.first, AUDIENCE).with_second_issuer(&self.second)
    }

    /// Lists verifiers by RFC 9068 and by the compatible profile, of one issuer and of two, with a cache and without,
    /// with either backend.
    fn verifiers(&self) -> Vec<(String, Profile, Verifier)> {
        let mut verifiers = Vec::new();
        for profile in [Profile::rfc9068(), Profile::compatible()] {
            let of = |issuer: &Issuer| {
                let keys = issuer.static_keys();
                Jwt::issuer(issuer.url()).audience(AUDIENCE).with_keys(keys).with_profile(profile.clone())
            };
            for (kind, builder) in [
                ("one issuer", of(&self.first)),
                ("one issuer, by ring", of(&self.first).with_keys(by_ring(&self.first))),
                ("one issuer, no cache", of(&self.first).without_cache()),
                ("two issuers", of(&self.first).also(of(&self.second))),
                ("two issuers, no cache", of(&self.first).also(of(&self.second)).without_cache()),
            ] {
                verifiers.push((kind.to_owned(), profile.clone(), builder.build().unwrap()));
            }
        }
        verifiers
    }
}

/// Reads the published keys by the other backend.
fn by_ring(issuer: &Issuer) -> StaticKeys {
    StaticKeys::from_set(&KeySet::parse(Backend::ring(), issuer.key_set().as_bytes()).unwrap())
}

/// What the compatible profile takes, and RFC 9068 does not: access tokens of providers that know no `at+jwt`.
const COMPATIBLE: [&str; 2] = ["T071/a", "T071/b"];

fn all(scene: &Scene) -> Vec<HostileToken> {
    hostile_tokens(&scene.context()).collect()
}

#[test]
fn every_hostile_token_is_refused_by_every_kind_of_verifier() {
    for algorithm in ALGORITHMS {
        let scene = Scene::new(algorithm);
        let tokens = all(&scene);
        assert!(tokens.len() > 300, "{algorithm}: {} tokens", tokens.len());
        for (kind, profile, verifier) in scene.verifiers() {
            let is_strict = format!("{profile:?}") == format!("{:?}", Profile::rfc9068());
            let expected = |token: &HostileToken| !is_strict && COMPATIBLE.contains(&token.id);
            let mut wrong = Vec::new();
            // Twice, so that nothing is taken at the second time for having been seen.
            for token in tokens.iter().chain(&tokens) {
                assert!(token.strict || !expected(token), "{}", token.id);
                if answer(&verifier, &token.token).is_ok() != expected(token) {
                    wrong.push(format!("{} {}: {}", token.id, token.name, shown(&token.token)));
                }
            }
            assert!(wrong.is_empty(), "{algorithm}, {kind}, {profile:?}:\n{}", wrong.join("\n"));
            let remembered = if is_strict || kind.contains("no cache") { 0 } else { COMPATIBLE.len() };
            assert_eq!(verifier.cached_tokens(), remembered, "{kind}: a refused token is not remembered");
        }
    }
}

#[test]
fn every_honest_token_is_accepted_by_every_kind_of_verifier() {
    for algorithm in ALGORITHMS {
        let scene = Scene::new(algorithm);
        for (_, _, verifier) in scene.verifiers() {
            let mut seen = 0;
            for honest in honest_tokens(&scene.context()) {
                assert!(
                    answer(&verifier, &honest.token).is_ok(),
                    "{algorithm}: {honest:?}: {:?}",
                    answer(&verifier, &honest.token)
                );
                seen += 1;
            }
            assert!(seen >= 20, "{seen}");
        }
    }
}

#[test]
fn a_hostile_token_finds_no_gap_after_honest_ones_have_filled_the_cache() {
    let scene = Scene::new(Algorithm::Es256);
    let (_, _, verifier) = scene.verifiers().into_iter().next().unwrap();
    for honest in honest_tokens(&scene.context()) {
        accepted(&verifier, &honest.token);
    }
    assert!(verifier.cached_tokens() > 10);
    let honest: Vec<String> = honest_tokens(&scene.context()).map(|honest| honest.token).collect();
    for token in &honest {
        accepted(&verifier, token);
    }
    for hostile in all(&scene) {
        refused(&verifier, &hostile.token);
    }
    // The end of a token in the cache under the front of a hostile one: the cache compares the whole.
    for hostile in all(&scene) {
        let Some((front, _)) = hostile.token.rsplit_once('.') else { continue };
        let tail = honest[0].rsplit_once('.').unwrap().1;
        refused(&verifier, &format!("{front}.{tail}"));
    }
}
