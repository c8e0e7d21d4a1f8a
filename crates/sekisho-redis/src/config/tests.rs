use super::*;

#[test]
fn reads_what_urls_of_redis_hold() {
    let parse = |url: &str| Address::parse(&Secret::from(url), 6379).unwrap();
    let plain = parse("redis://redis.example");
    assert_eq!((plain.endpoint.to_string().as_str(), plain.database), ("redis.example:6379", 0));
    assert!(plain.login.username.is_none() && plain.login.password.is_none() && !plain.is_secured);
    let full = parse("rediss://shop:p%40ss%2Fword@[::1]:7000/3");
    assert_eq!((full.endpoint.to_string().as_str(), full.database, full.is_secured), ("[::1]:7000", 3, true));
    assert_eq!(full.login.username.as_deref(), Some("shop"));
    assert_eq!(full.login.password, Some(Secret::from("p@ss/word")));
    assert_eq!(parse("redis://:word@h").login.password, Some(Secret::from("word")));
}

#[test]
fn refuses_urls_that_are_none_and_shows_none_of_them() {
    for url in [
        "",
        "redis.example:6379",
        "http://h",
        "redis://",
        "redis:///0",
        "redis://h/s3cret",
        "redis://h/256",
        "redis://h/0/1",
        "redis://h/-1",
        "redis://h?protocol=s3cret",
        "redis://h#s3cret",
        "redis://s3cret@h",
        "redis://u:%ff@h",
        "redis+unix:///s3cret",
        "redis://u:s3cret@h:99999",
    ] {
        let error = Redis::standalone(url).build().unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"), "{url}");
    }
}

#[test]
fn refuses_what_cannot_work() {
    let plain = || Redis::standalone("redis://h");
    assert!(plain().build().is_ok());
    for bad in [
        plain().with_prefix(""),
        plain().with_prefix("a{b}"),
        plain().with_prefix("a b"),
        plain().with_prefix("x".repeat(65)),
        plain().with_command_timeout(Duration::ZERO),
        plain().with_connect_timeout(Duration::ZERO),
        plain().with_longest_pause(Duration::ZERO),
        plain().with_max_commands(0),
        plain().with_max_commands(usize::MAX),
        Redis::cluster(Vec::<String>::new()),
        Redis::cluster(["redis://a/1"]),
        Redis::cluster(["redis://a", "rediss://b"]),
        Redis::cluster(vec!["redis://a"; 65]),
        Redis::sentinel("", ["redis://a"]),
        Redis::sentinel("a b", ["redis://a"]),
        Redis::sentinel("m", ["redis://a/1", "redis://b/2"]),
        Redis::standalone("rediss://h").with_roots("no certificate"),
        Redis::standalone("rediss://h").with_roots(""),
        Redis::standalone("rediss://h").with_client_certificate("none", "none"),
    ] {
        assert!(bad.build().is_err());
    }
    assert!(Redis::standalone("rediss://h").build().is_ok(), "the platform's certificates");
}

#[test]
fn no_debug_shows_a_password() {
    let builder = || {
        Redis::standalone("redis://shop:s3cret@h").with_login("other", "s3cret").with_client_certificate("c", "s3cret")
    };
    assert!(!format!("{:?}", builder()).contains("s3cret"));
    assert!(!format!("{:?}", builder().build().unwrap()).contains("s3cret"));
    assert!(!format!("{:?}", Redis::cluster(["redis://:s3cret@h"]).build().unwrap()).contains("s3cret"));
}

#[test]
fn a_login_of_its_own_stands_before_the_one_in_the_url() {
    let redis = Redis::standalone("redis://url:one@h").with_login("", "two").build().unwrap();
    let login = &redis.config().login;
    assert_eq!((login.username.as_deref(), login.password.clone()), (None, Some(Secret::from("two"))));
    let redis = Redis::sentinel("m", ["redis://url:one@h"]).build().unwrap();
    assert!(redis.config().login.password.is_none(), "the sentinels' password is not shown to the master");
}
