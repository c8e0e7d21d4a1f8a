use std::sync::atomic::Ordering;

use sekisho_session::{MemorySessionStore, SameSite, SessionCookie, SessionKey, SessionKeys, Sessions};

use super::world::{Browser, CALL, NAVIGATE, World, location};
use crate::RelyingParty;

fn body(reply: &crate::Reply) -> String {
    String::from_utf8(reply.body().to_vec()).unwrap()
}

#[tokio::test]
async fn logs_in_under_a_new_id_keeps_the_deep_link_and_takes_the_login_s_cookie_away() {
    let world = World::new();
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "return_to=%2Forders%3Fpage%3D2").await;
    assert_eq!((browser.pending(), browser.who(&world.bff).await), (1, None));
    let reply = browser.return_with(&world.bff, &state, "alice").await;
    assert_eq!((reply.status(), location(&reply)), (303, "/orders?page=2"));
    assert_eq!(browser.pending(), 0);
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));

    let planted = browser.clone();
    browser.log_in(&world.bff, "alice", "/").await;
    assert_ne!(planted.0["__Host-session"], browser.0["__Host-session"]);
}

#[tokio::test]
async fn a_return_that_this_browser_did_not_begin_is_refused_and_sets_nothing() {
    let world = World::new();
    let mut attacker = Browser::default();
    let state = attacker.begin(&world.bff, "").await;
    // The attacker's own return, in the victim's browser: it would be logged in as the attacker.
    for mut victim in [Browser::default(), world.logged_in("victim").await] {
        let before = victim.0.clone();
        let reply = victim.return_with(&world.bff, &state, "attacker").await;
        assert_eq!(reply.status(), 400);
        assert!(reply.cookies().is_empty());
        assert_eq!(victim.0, before);
    }
    let mut victim = Browser::default();
    victim.begin(&world.bff, "").await;
    assert_eq!(victim.return_with(&world.bff, &state, "attacker").await.status(), 400, "nor with a login of its own");
    for query in [
        "",
        "code=alice",
        "state=",
        "state=short&code=a",
        "state=%00%00&code=a",
        &format!("state={state}&state={state}&code=a"),
    ] {
        let reply = attacker.open(&world.bff, &format!("/bff/callback?{query}")).await;
        assert_eq!(reply.status(), 400, "{query}");
    }
    assert_eq!(
        attacker.return_with(&world.bff, &state, "attacker").await.status(),
        303,
        "it is still good where it was begun"
    );
}

#[tokio::test]
async fn a_return_comes_to_the_address_that_its_own_provider_was_told() {
    let world = World::new();
    *world.other.returns_to.lock().unwrap() = "/bff/callback/other".to_owned();
    let mut browser = Browser::default();
    let (main, other) = (browser.begin(&world.bff, "").await, browser.begin(&world.bff, "provider=other").await);
    for (state, place) in [(&main, "callback/other"), (&other, "callback"), (&other, "callback/main")] {
        let mut copy = browser.clone();
        let reply = copy.open(&world.bff, &format!("/bff/{place}?code=alice&state={state}")).await;
        assert_eq!((reply.status(), copy.who(&world.bff).await), (400, None), "{place}");
    }
    for (state, place) in [(&main, "callback"), (&other, "callback/other")] {
        let mut copy = browser.clone();
        let reply = copy.open(&world.bff, &format!("/bff/{place}?code=alice&state={state}")).await;
        assert_eq!((reply.status(), copy.who(&world.bff).await.as_deref()), (303, Some("alice")), "{place}");
    }
    for nowhere in ["callback/", "callback/nobody", "callback/other/x"] {
        assert_eq!(browser.open(&world.bff, &format!("/bff/{nowhere}?code=alice&state={other}")).await.status(), 404);
    }
}

#[tokio::test]
async fn a_return_is_good_once_and_for_ten_minutes() {
    let world = World::new();
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "").await;
    assert_eq!(browser.return_with(&world.bff, &state, "alice").await.status(), 303);
    assert_eq!(browser.return_with(&world.bff, &state, "alice").await.status(), 400);
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"), "the duplicate logs nobody out");

    let state = browser.begin(&world.bff, "").await;
    world.wait(600);
    assert_eq!(browser.return_with(&world.bff, &state, "alice").await.status(), 400);
}

#[tokio::test]
async fn tabs_log_in_beside_each_other_and_each_ends_where_it_wanted_to() {
    let world = World::new();
    let mut browser = Browser::default();
    let mut states = Vec::new();
    for tab in 0..5 {
        states.push(browser.begin(&world.bff, &format!("return_to=/tab/{tab}")).await);
    }
    assert_eq!(browser.pending(), 5);
    for tab in [3, 0, 4, 1, 2] {
        let reply = browser.return_with(&world.bff, &states[tab], "alice").await;
        assert_eq!((reply.status(), location(&reply)), (303, &*format!("/tab/{tab}")));
        assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));
    }
    assert_eq!(browser.pending(), 0);
}

#[tokio::test]
async fn of_many_logins_the_oldest_go_and_the_cookies_stay_small() {
    let world = World::new();
    let mut browser = Browser::default();
    let mut states = Vec::new();
    for number in 0..20 {
        world.wait(1);
        states.push(browser.begin(&world.bff, &format!("return_to=/{number}")).await);
        assert!(browser.pending() <= 7, "{}", browser.pending());
    }
    assert_eq!(browser.pending(), 7);
    assert_eq!(browser.return_with(&world.bff, &states[12], "alice").await.status(), 400);
    assert_eq!(location(&browser.return_with(&world.bff, &states[13], "alice").await), "/13");

    let mut browser = Browser::default();
    for _ in 0..20 {
        world.wait(1);
        browser.begin(&world.bff, &format!("return_to=/{}", "x".repeat(1900))).await;
        assert!(browser.header().len() <= 8 * 1024, "{}", browser.header().len());
        assert!(browser.pending() >= 1);
    }
}

#[tokio::test]
async fn cookies_that_are_none_of_ours_take_no_room_from_logins() {
    let world = World::new();
    let mut browser = Browser::default();
    for number in 10..40 {
        browser.0.insert(format!("__Host-login-garbagegarbage{number}.0"), "x".repeat(50));
    }
    let state = browser.begin(&world.bff, "").await;
    assert_eq!(browser.pending(), 1, "what cannot be opened is taken away");
    assert_eq!(browser.return_with(&world.bff, &state, "alice").await.status(), 303);
}

#[tokio::test]
async fn leads_to_no_other_host() {
    let world = World::new();
    for place in
        ["https://evil.example", "//evil.example", "/%5cevil.example", "/a%0d%0aX:y", "javascript:alert(1)", "evil"]
    {
        let place: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
        let reply = Browser::default().open(&world.bff, &format!("/bff/login?return_to={place}")).await;
        assert_eq!(reply.status(), 400, "{place}");
        let reply = Browser::default()
            .open(&world.bff, &format!("/bff/initiate?iss=https%3A%2F%2Fid.example&target_link_uri={place}"))
            .await;
        assert_eq!(reply.status(), 400, "{place}");
    }
}

#[tokio::test]
async fn refuses_what_no_login_is_begun_with_and_says_nothing_of_it() {
    let world = World::new();
    for query in [
        "provider=nobody",
        "provider=MAIN",
        "prompt=hush",
        "max_age=-1",
        "max_age=1e3",
        "max_age=9999999999999",
        "acr_values=%C3%A9hush",
        "return_to=/&return_to=/hush",
        &format!("acr_values={}", "a+".repeat(20)),
        &format!("acr_values={}", "a".repeat(200)),
        &format!("return_to=/{}", "x".repeat(20_000)),
    ] {
        let reply = Browser::default().open(&world.bff, &format!("/bff/login?{query}")).await;
        assert_eq!(reply.status(), 400, "{query}");
        assert!(reply.cookies().is_empty() && !body(&reply).contains("hush"), "{query}");
    }
    assert!(world.provider.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_login_asks_for_reaches_the_provider_that_it_names() {
    let world = World::new();
    let mut browser = Browser::default();
    browser.begin(&world.bff, "provider=other&acr_values=gold+silver&max_age=300&prompt=login").await;
    let asked = world.other.started.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    for part in ["gold", "silver", "300", "Login"] {
        assert!(asked[0].contains(part), "{}", asked[0]);
    }
    assert!(world.provider.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_way_to_fail_has_its_status_and_none_logs_in_or_shows_anything_of_the_request() {
    let world = World::new();
    for (error, status) in [
        ("access_denied", 403),
        ("too_weak", 403),
        ("login_required", 502),
        ("hush<script>", 502),
        ("bad_token", 502),
        ("down", 503),
    ] {
        let mut browser = Browser::default();
        let state = browser.begin(&world.bff, "return_to=/deep").await;
        let reply = browser
            .open(&world.bff, &format!("/bff/callback?error={error}&error_description=hush&state={state}"))
            .await;
        assert_eq!(reply.status(), status, "{error}");
        assert_eq!(reply.headers().any(|(name, _)| name == "retry-after"), status == 503);
        assert!(!body(&reply).contains("hush") && !body(&reply).contains(&state), "{error}");
        assert_eq!((browser.pending(), browser.who(&world.bff).await), (0, None), "{error}");
    }
    world.provider.is_down.store(true, Ordering::SeqCst);
    assert_eq!(Browser::default().open(&world.bff, "/bff/login").await.status(), 503);
}

#[tokio::test]
async fn pages_are_for_navigations_and_everybody_else_gets_problem_details() {
    let world = World::new();
    let kind = |reply: &crate::Reply| reply.headers().find(|(name, _)| *name == "content-type").unwrap().1.to_owned();
    let reply = Browser::default().open(&world.bff, "/bff/callback").await;
    assert_eq!(kind(&reply), "text/html; charset=utf-8");
    let reply = Browser::default().send(&world.bff, "GET", "/bff/callback", CALL, "").await;
    assert_eq!(kind(&reply), "application/problem+json");
    for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        assert!(reply.headers().any(|header| header == (name, value)), "{name}");
    }
}

#[tokio::test]
async fn a_silent_login_that_cannot_be_done_goes_on_and_leaves_everything_as_it_was() {
    let world = World::new();
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "prompt=none&return_to=/start").await;
    let reply = browser.open(&world.bff, &format!("/bff/callback?error=login_required&state={state}")).await;
    assert_eq!((reply.status(), location(&reply)), (303, "/start"));
    assert_eq!((browser.pending(), browser.who(&world.bff).await), (0, None));

    let mut browser = world.logged_in("alice").await;
    let state = browser.begin(&world.bff, "prompt=none").await;
    browser.open(&world.bff, &format!("/bff/callback?error=login_required&state={state}")).await;
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("alice"));
    let state = browser.begin(&world.bff, "prompt=none").await;
    let reply = browser.open(&world.bff, &format!("/bff/callback?error=access_denied&state={state}")).await;
    assert_eq!(reply.status(), 403, "other trouble is trouble");
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart {
    cart: Vec<u32>,
}

async fn fill(browser: &mut Browser, world: &World) {
    let session = browser.session(&world.bff);
    session.session::<Cart>(None).await.unwrap().update(|cart| cart.cart.push(7));
    let set = session.finish().await.unwrap();
    browser.take(&set);
}

async fn cart(browser: &Browser, world: &World) -> Vec<u32> {
    browser.session(&world.bff).session::<Cart>(None).await.unwrap().data().cart.clone()
}

#[tokio::test]
async fn an_anonymous_cart_and_a_step_up_keep_the_data_and_another_subject_s_login_drops_them() {
    let world = World::new();
    let mut browser = Browser::default();
    fill(&mut browser, &world).await;
    browser.log_in(&world.bff, "alice", "/").await;
    assert_eq!(cart(&browser, &world).await, [7]);

    let before = browser.clone();
    let state = browser.begin(&world.bff, "acr_values=gold").await;
    browser.return_with(&world.bff, &state, "alice").await;
    assert_ne!(before.0["__Host-session"], browser.0["__Host-session"]);
    assert_eq!(cart(&browser, &world).await, [7]);
    let first = browser.token(&world.bff).await.unwrap();
    assert_eq!(first, "access-hush-2", "the tokens are those of the last login");

    let alice = browser.clone();
    let state = browser.begin(&world.bff, "acr_values=gold").await;
    browser.return_with(&world.bff, &state, "mallory").await;
    assert_eq!(browser.who(&world.bff).await.as_deref(), Some("mallory"));
    assert!(cart(&browser, &world).await.is_empty());
    assert_eq!(alice.who(&world.bff).await, None, "and the earlier session is over");
}

#[tokio::test]
async fn a_login_that_could_not_be_written_is_none() {
    let world = World::new();
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "").await;
    world.store.is_down.store(true, Ordering::SeqCst);
    let reply = browser.return_with(&world.bff, &state, "alice").await;
    assert_eq!(reply.status(), 503);
    assert!(!reply.headers().any(|(name, _)| name == "location"));
    assert!(!browser.0.contains_key("__Host-session"));
}

#[tokio::test]
async fn where_the_session_s_cookie_is_strict_a_page_goes_on() {
    let world = World::with_cookie(SessionCookie::builder().with_same_site(SameSite::Strict).build().unwrap());
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "return_to=%2Fa%3Fb%3D1%26c%3D%27").await;
    let reply = browser.return_with(&world.bff, &state, "alice").await;
    assert_eq!(reply.status(), 200);
    assert!(body(&reply).contains("content=\"0;url='/a?b=1&amp;c=&#39;'\""), "{}", body(&reply));
}

#[tokio::test]
async fn a_third_party_begins_a_login_at_a_provider_that_is_known() {
    let world = World::new();
    let issuer = "iss=https%3A%2F%2Fother.example";
    for (method, target, form) in [
        (
            "GET",
            format!("/bff/initiate?{issuer}&target_link_uri=https%3A%2F%2Fshop.example%2Fdeep&login_hint=bob"),
            String::new(),
        ),
        ("POST", "/bff/initiate".to_owned(), format!("{issuer}&target_link_uri=%2Fdeep&login_hint=bob")),
    ] {
        let mut browser = Browser::default();
        let reply = browser.send(&world.bff, method, &target, NAVIGATE, &form).await;
        assert_eq!(reply.status(), 303, "{method}");
        assert!(location(&reply).starts_with("https://other.example/authorize"));
        let state = super::world::state_in(location(&reply));
        assert_eq!(location(&browser.return_with(&world.bff, &state, "bob").await), "/deep");
    }
    for query in [
        "".to_owned(),
        "iss=https%3A%2F%2Fevil.example".to_owned(),
        "iss=https%3A%2F%2Fid.example%2F".to_owned(),
        format!("{issuer}&{issuer}"),
        format!("{issuer}&login_hint=a%0ab"),
        format!("{issuer}&login_hint={}", "a".repeat(300)),
        format!("{issuer}&target_link_uri=https%3A%2F%2Fshop.example.evil.example%2F"),
        format!("{issuer}&target_link_uri=https%3A%2F%2Fshop.example%40evil.example%2F"),
        format!("{issuer}&target_link_uri=https%3A%2F%2Fshop.example%2F%2Fevil.example"),
    ] {
        let reply = Browser::default().open(&world.bff, &format!("/bff/initiate?{query}")).await;
        assert_eq!(reply.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn no_cookie_answer_or_debug_shows_a_token() {
    let world = World::new();
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "").await;
    let reply = browser.return_with(&world.bff, &state, "alice").await;
    let held = super::super::access::held(&browser.session(&world.bff)).await.unwrap().unwrap();
    let token = world.bff.party().access_token(&browser.session(&world.bff)).await.unwrap();
    let shown = format!("{:?} {held:?} {token:?} {:?} {}", reply, world.bff, body(&reply));
    let cookies: Vec<_> = reply.cookies().iter().map(|cookie| cookie.expose().to_owned()).collect();
    let all = format!("{shown} {cookies:?} {:?}", reply.headers().collect::<Vec<_>>());
    assert!(!all.contains("hush"), "{all}");
    let session = format!("{:?}", browser.session(&world.bff));
    assert!(!session.contains("hush"));
}

#[test]
fn refuses_sessions_and_cookies_that_cannot_keep_what_a_login_needs() {
    let keys = || SessionKeys::new(SessionKey::generate().unwrap());
    let stored = || Sessions::builder(std::sync::Arc::new(MemorySessionStore::new()), keys()).build().unwrap();
    let party = |sessions| RelyingParty::builder(sessions, keys()).with_protocol("main", World::new().provider as _);
    assert!(party(stored()).build().is_ok());
    assert!(
        party(Sessions::client_side(keys()).build().unwrap()).build().is_err(),
        "nothing is refreshed or ended there"
    );
    for prefix in ["login-", "__Secure-login-", "__host-login-", "", "__Host-lo gin-"] {
        assert!(
            party(stored()).with_login_cookie(prefix).build().is_err(),
            "{prefix}: another host of the site can set it"
        );
    }
    assert!(party(stored()).with_login_cookie("__Host-shop-login-").build().is_ok());
}
