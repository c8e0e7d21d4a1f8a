//! What `build` refuses.

use std::time::Duration;

use sekisho_core::ConfigError;
use sekisho_http::Checkpoint;
use sekisho_opaque::{CacheLimits, ClientCredentials, IntrospectionBuilder, Opaque};

use crate::support::{AUDIENCE, ISSUER, credentials};

const URL: &str = "https://id.example/introspect";

fn good() -> IntrospectionBuilder {
    Opaque::introspect(URL, credentials()).issuer(ISSUER).audience(AUDIENCE)
}

fn error_of(builder: IntrospectionBuilder) -> String {
    builder.build().expect_err("refused").to_string()
}

#[test]
fn builds_with_every_default() {
    assert!(good().build().is_ok());
}

#[test]
fn refuses_addresses_that_may_not_be_asked_and_shows_no_secret_of_them() {
    for url in [
        "http://id.example/introspect",
        "ftp://id.example/",
        "https://user:hunter2@id.example/",
        "https://id.example/#f",
        "",
        "/introspect",
        "https://id.example/a b",
    ] {
        let error = error_of(Opaque::introspect(url, credentials()).issuer(ISSUER).audience(AUDIENCE));
        assert!(error.contains("cannot be asked") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn refuses_settings_out_of_their_range() {
    let seconds = Duration::from_secs;
    for (what, builder) in [
        ("cache of no time", good().cache_for(Duration::ZERO)),
        ("cache of half a second", good().cache_for(Duration::from_millis(500))),
        ("cache too long", good().cache_for(seconds(3601))),
        ("refusals too long", good().with_negative_cache(seconds(61))),
        ("stale without cache", good().with_stale_on_failure(seconds(1))),
        ("stale too long", good().cache_for(seconds(1)).with_stale_on_failure(seconds(3601))),
        ("nobody at once", good().with_concurrency(0)),
        ("everybody at once", good().with_concurrency(10_001)),
        ("no time", good().with_timeout(Duration::ZERO)),
        ("all the time", good().with_timeout(seconds(61))),
        ("tokens too short", good().with_max_token_bytes(15)),
        ("tokens too long", good().with_max_token_bytes(65_537)),
        ("leeway", good().with_leeway(seconds(301))),
        ("no room", good().cache_for(seconds(1)).with_cache_limits(CacheLimits::new(0, 0))),
        ("no pointer", good().with_roles_at("roles")),
        ("another empty audience", good().with_audience("")),
        ("no issuer", Opaque::introspect(URL, credentials()).issuer("").audience(AUDIENCE)),
        ("no audience", Opaque::introspect(URL, credentials()).issuer(ISSUER).audience("")),
        (
            "a secret that is none",
            Opaque::introspect(URL, ClientCredentials::basic("a", "")).issuer(ISSUER).audience("x"),
        ),
        (
            "a certificate nobody has",
            Opaque::introspect(URL, ClientCredentials::certificate("a")).issuer(ISSUER).audience("x"),
        ),
    ] {
        assert!(builder.build().is_err(), "{what}");
    }
}

#[test]
fn a_bad_setting_surfaces_when_the_checkpoint_is_built() {
    let built: Result<_, ConfigError> = Checkpoint::builder().accept(good().with_concurrency(0)).build();
    assert!(built.is_err());
    assert!(Checkpoint::builder().accept(good()).build().is_ok());
}
