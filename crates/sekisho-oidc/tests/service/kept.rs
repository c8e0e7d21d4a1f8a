//! What is kept and for how long, and how few questions are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use sekisho_core::FailureKind;
use sekisho_oidc::{ServiceTokens, TokenError, TokenRequest};
use serde_json::json;

use crate::support::{Endpoint, NOW, at, builder, good, is_pending, refuse, tokens};

fn stock() -> TokenRequest {
    TokenRequest::client_credentials().with_audience("stock").with_scope("read")
}

async fn get(tokens: &ServiceTokens, request: &TokenRequest, seconds: u64) -> String {
    let token = tokens.token(request, at(seconds)).await.unwrap();
    token.secret().expose_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_who_ask_at_once_are_one_question() {
    let endpoint = Endpoint::living(300);
    endpoint.close();
    let tokens = tokens(&endpoint);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { get(&tokens, &stock(), 0).await })
        })
        .collect();
    while endpoint.count() == 0 {
        tokio::task::yield_now().await;
    }
    endpoint.open();
    for got in join_all(tasks).await {
        assert_eq!(got.unwrap(), "at-1");
    }
    assert_eq!((endpoint.count(), tokens.kept()), (1, 1));
}

#[tokio::test]
async fn whoever_goes_away_leaves_the_question_to_the_others() {
    let endpoint = Endpoint::living(300);
    endpoint.close();
    let tokens = tokens(&endpoint);
    let request = stock();
    let mut first = Box::pin(tokens.token(&request, NOW));
    let mut second = Box::pin(tokens.token(&request, NOW));
    assert!(is_pending(&mut first));
    assert!(is_pending(&mut second));
    drop(first);
    endpoint.open();
    assert_eq!(second.await.unwrap().secret().expose_str(), Some("at-1"));
    assert_eq!(endpoint.count(), 1);
    // When all go away the question ends, and the next one is asked anew.
    let endpoint = Endpoint::living(300);
    endpoint.close();
    let tokens = self::tokens(&endpoint);
    let mut alone = Box::pin(tokens.token(&request, NOW));
    assert!(is_pending(&mut alone));
    drop(alone);
    endpoint.open();
    assert_eq!(get(&tokens, &request, 0).await, "at-2");
}

#[tokio::test]
async fn too_many_different_questions_at_once_fail_at_once() {
    let endpoint = Endpoint::living(300);
    endpoint.close();
    let tokens = builder(&endpoint).with_concurrency(1).build().unwrap();
    let request = stock();
    let mut first = Box::pin(tokens.token(&request, NOW));
    assert!(is_pending(&mut first));
    let error = tokens.token(&TokenRequest::client_credentials(), NOW).await.unwrap_err();
    assert!(
        matches!(&error, TokenError::Failure(f) if f.kind() == FailureKind::Unavailable && f.retry_after().is_some())
    );
    drop(first);
    endpoint.open();
    assert!(tokens.token(&TokenRequest::client_credentials(), NOW).await.is_ok(), "its place is free again");
}

#[tokio::test]
async fn a_token_is_replaced_before_its_end() {
    // Life, the last second in which it is kept, and the first in which the next is asked for.
    for (life, last, next) in [(300, 269, 270), (3600, 3539, 3540), (10, 8, 9), (5, 4, 5), (1, 0, 1)] {
        let endpoint = Endpoint::living(life);
        let tokens = tokens(&endpoint);
        assert_eq!(get(&tokens, &stock(), 0).await, "at-1");
        assert_eq!(get(&tokens, &stock(), last).await, "at-1", "{life}");
        assert_eq!(get(&tokens, &stock(), next).await, "at-2", "{life}");
    }
}

#[tokio::test]
async fn a_token_without_a_stated_end_is_kept_for_a_minute() {
    let endpoint = Endpoint::new(|number, _| {
        Some((200, json!({ "access_token": format!("at-{number}"), "token_type": "Bearer" })))
    });
    let tokens = tokens(&endpoint);
    assert_eq!(get(&tokens, &stock(), 0).await, "at-1");
    assert_eq!(get(&tokens, &stock(), 59).await, "at-1");
    assert_eq!(get(&tokens, &stock(), 60).await, "at-2");
}

#[tokio::test]
async fn a_token_that_is_dead_on_arrival_is_not_kept() {
    let endpoint = Endpoint::living(0);
    let tokens = tokens(&endpoint);
    assert_eq!(get(&tokens, &stock(), 0).await, "at-1");
    assert_eq!((get(&tokens, &stock(), 0).await, tokens.kept()), ("at-2".to_owned(), 0));
}

#[tokio::test]
async fn a_clock_that_is_set_back_ends_what_is_kept() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    assert_eq!(get(&tokens, &stock(), 1000).await, "at-1");
    assert_eq!(get(&tokens, &stock(), 996).await, "at-1", "another thread read it a moment earlier");
    assert_eq!(get(&tokens, &stock(), 0).await, "at-2");
}

#[tokio::test]
async fn what_differs_in_anything_is_another_token() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    let own = TokenRequest::client_credentials;
    let different = [
        own(),
        own().with_audience("a"),
        own().with_audience("b"),
        own().with_audience("a").with_audience("b"),
        own().with_audience("ab"),
        own().with_resource("a"),
        own().with_scope("a"),
        own().with_scope("a b"),
        own().with_audience("a").with_scope("a"),
        TokenRequest::exchange("a"),
        TokenRequest::exchange("b"),
        TokenRequest::exchange("a").with_actor_token("b"),
        TokenRequest::exchange("a").with_subject_token_type("urn:ietf:params:oauth:token-type:jwt"),
    ];
    for (index, request) in different.iter().enumerate() {
        assert_eq!(get(&tokens, request, 0).await, format!("at-{}", index + 1));
    }
    for (index, request) in different.iter().enumerate() {
        assert_eq!(get(&tokens, request, 1).await, format!("at-{}", index + 1));
    }
    // The order of scopes makes no other token.
    assert_eq!(get(&tokens, &own().with_scope("b  a").with_scope("a"), 1).await, "at-8");
}

#[tokio::test]
async fn no_more_than_so_many_are_kept() {
    let endpoint = Endpoint::living(300);
    let tokens = builder(&endpoint).with_cache_limits(10, 1 << 20).build().unwrap();
    for number in 0..200 {
        get(&tokens, &TokenRequest::client_credentials().with_audience(format!("a{number}")), 0).await;
    }
    assert!(tokens.kept() <= 10, "{}", tokens.kept());
}

#[tokio::test]
async fn a_refusal_is_remembered_for_a_moment_and_a_failure_is_not() {
    for (code, is_kept) in [
        ("invalid_grant", true),
        ("invalid_scope", true),
        ("invalid_client", true),
        ("temporarily_unavailable", false),
        ("nonsense", false),
    ] {
        let endpoint = Endpoint::new(move |_, _| refuse(code));
        let tokens = tokens(&endpoint);
        for _ in 0..3 {
            tokens.token(&stock(), NOW).await.unwrap_err();
        }
        assert_eq!(endpoint.count(), if is_kept { 1 } else { 3 }, "{code}");
        tokens.token(&stock(), at(4)).await.unwrap_err();
        endpoint.then(|number, _| Some((200, good(number, 300))));
        assert!(tokens.token(&stock(), at(5)).await.is_ok(), "{code}");
        assert!(tokens.token(&stock(), at(5)).await.is_ok(), "{code}");
    }
}

#[tokio::test]
async fn a_token_that_lives_still_bridges_an_outage_and_no_refusal() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    assert_eq!(get(&tokens, &stock(), 0).await, "at-1");
    endpoint.then(|_, _| None);
    assert_eq!(get(&tokens, &stock(), 270).await, "at-1");
    assert_eq!(get(&tokens, &stock(), 274).await, "at-1");
    assert_eq!(endpoint.count(), 2, "not asked for each request");
    assert_eq!(get(&tokens, &stock(), 275).await, "at-1");
    assert_eq!(endpoint.count(), 3);
    let error = tokens.token(&stock(), at(300)).await.unwrap_err();
    assert!(matches!(error, TokenError::Failure(_)), "it has ended: {error:?}");

    endpoint.then(|number, _| Some((200, good(number, 300))));
    let before = get(&tokens, &stock(), 300).await;
    endpoint.then(|_, _| refuse("unauthorized_client"));
    let error = tokens.token(&stock(), at(580)).await.unwrap_err();
    assert!(matches!(error, TokenError::Refused("unauthorized_client")), "{error:?}");
    assert_eq!(tokens.kept(), 0, "{before} is not handed out any more");
}

#[tokio::test]
async fn a_token_that_was_refused_is_replaced_once_for_all_and_not_while_it_is_fresh() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    let first = tokens.token(&stock(), NOW).await.unwrap();
    assert!(tokens.renew(&stock(), &first, at(4)).await.unwrap().is_none(), "fetched a moment ago");
    let renewed = join_all((0..50).map(|_| async {
        let token = tokens.renew(&stock(), &first, at(5)).await.unwrap().unwrap();
        token.secret().expose_str().unwrap().to_owned()
    }))
    .await;
    assert!(renewed.iter().all(|token| token == "at-2"), "{renewed:?}");
    assert_eq!(endpoint.count(), 2);
    assert_eq!(get(&tokens, &stock(), 6).await, "at-2");
}

#[tokio::test]
async fn what_is_purged_while_it_is_asked_for_is_not_kept() {
    let endpoint = Endpoint::living(300);
    endpoint.close();
    let tokens = tokens(&endpoint);
    let request = stock();
    let mut waiting = Box::pin(tokens.token(&request, NOW));
    assert!(is_pending(&mut waiting));
    tokens.purge(&request);
    endpoint.open();
    assert_eq!(waiting.await.unwrap().secret().expose_str(), Some("at-1"), "who waits gets it");
    assert_eq!(tokens.kept(), 0);
    assert_eq!(get(&tokens, &stock(), 0).await, "at-2");
    tokens.purge(&stock());
    assert_eq!(tokens.kept(), 0);
}

#[tokio::test]
async fn asks_for_what_was_wanted() {
    let endpoint = Endpoint::living(300);
    let request = TokenRequest::client_credentials().with_audience("a").with_audience("b").with_resource("r");
    get(&tokens(&endpoint), &request.with_scope("y x"), 0).await;
    let form = endpoint.form(0);
    assert_eq!(form["grant_type"], ["client_credentials"]);
    assert_eq!(
        (&*form["audience"], &*form["resource"]),
        (&["a".to_owned(), "b".to_owned()][..], &["r".to_owned()][..])
    );
    assert_eq!(form["scope"], ["x y"]);
    assert_eq!((form.len(), endpoint.proof(0)), (4, None));
}

#[tokio::test]
async fn each_of_many_subjects_has_a_token_of_its_own() {
    let wrong = Arc::new(AtomicUsize::new(0));
    let endpoint = Endpoint::new(|_, form| {
        let mut answer = good(0, 300);
        answer["access_token"] = format!("for-{}", form["subject_token"][0]).into();
        Some((200, answer))
    });
    let tokens = tokens(&endpoint);
    join_all((0..300).map(|number| {
        let (tokens, wrong) = (tokens.clone(), Arc::clone(&wrong));
        async move {
            let subject = format!("s{}", number % 30);
            if get(&tokens, &TokenRequest::exchange(&*subject), 0).await != format!("for-{subject}") {
                wrong.fetch_add(1, Ordering::SeqCst);
            }
        }
    }))
    .await;
    assert_eq!((wrong.load(Ordering::SeqCst), endpoint.count()), (0, 30));
}
