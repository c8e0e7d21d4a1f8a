#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{ConfigError, IntoAuthenticate, UnixSeconds, all_of, authentication_context, max_age, role, scope};

use super::*;
use crate::{HeadParts, ProtectedResourceMetadata, RefusalContent, RefusalSummary};

/// Takes what starts with its prefix: `<prefix>-good` is alice, `<prefix>-down` a failure, the rest is refused;
/// it has to wait for anything that holds `slow`.
struct Fake {
    prefix: &'static str,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, asked: Arc::default() }
    }

    fn answer(credential: Credential<'_>) -> Result<Principal, Refusal> {
        match credential.expose() {
            value if value.contains("good") => {
                Ok(PrincipalBuilder::new("https://id.example", "alice").with_scope("a").build().unwrap())
            }
            value if value.contains("down") => {
                let failure = Failure::unavailable("keys").with_source("s").with_retry_after(Duration::from_secs(7));
                Err(failure.into())
            }
            value if value.contains("over") => Err(Reject::SignedOut.into()),
            _ => Err(Reject::Signature.into()),
        }
    }
}

#[async_trait]
impl Authenticate for Fake {
    fn recognizes(&self, credential: Credential<'_>) -> bool {
        credential.expose().starts_with(self.prefix)
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (!credential.expose().contains("slow")).then(|| Self::answer(credential))
    }

    async fn authenticate(&self, credential: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> {
        tokio::task::yield_now().await;
        Self::answer(credential)
    }
}

pub(super) fn checkpoint() -> Checkpoint {
    Checkpoint::builder()
        .accept(Fake::new("t"))
        .with_cookie("sid")
        .with_public_routes(["/health", "/assets/*"])
        .build()
        .unwrap()
}

const GOOD: (&str, &[u8]) = ("Authorization", b"Bearer t-good");
const BAD: (&str, &[u8]) = ("Authorization", b"Bearer t-bad");
const GRPC: (&str, &[u8]) = ("content-type", b"application/grpc");

pub(super) fn get<'h>(path: &'h str, headers: &'h [(&'h str, &'h [u8])]) -> HeadParts<'h> {
    HeadParts { method: "GET", path, headers }
}

fn pass(inspection: Inspection) -> Passage {
    let Inspection::Pass(passage) = inspection else { panic!("{inspection:?}") };
    passage
}

fn refused(inspection: Inspection) -> Answer {
    let Inspection::Refuse(answer) = inspection else { panic!("{inspection:?}") };
    answer
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.headers().find(|(n, _)| *n == name).map(|(_, v)| String::from_utf8(v.to_vec()).unwrap())
}

fn challenge(answer: &Answer) -> String {
    header(answer, "www-authenticate").unwrap()
}

#[test]
fn passes_a_good_credential_with_its_principal() {
    for presence in [Presence::Required, Presence::Optional] {
        let passage = pass(checkpoint().inspect(&get("/", &[GOOD]), presence));
        assert_eq!(passage.principal().unwrap().subject(), "alice");
    }
}

#[test]
fn asks_for_a_credential_without_an_error_code() {
    let answer = refused(checkpoint().inspect(&get("/", &[]), Presence::Required));
    assert_eq!(answer.status(), 401);
    assert_eq!(challenge(&answer), r#"Bearer realm="protected""#);
    assert_eq!(header(&answer, "cache-control").as_deref(), Some("no-store"));
    assert!(pass(checkpoint().inspect(&get("/", &[]), Presence::Optional)).principal().is_none());
}

#[test]
fn refuses_a_bad_credential_also_where_none_is_needed() {
    for presence in [Presence::Required, Presence::Optional] {
        let answer = refused(checkpoint().inspect(&get("/", &[BAD]), presence));
        assert_eq!(answer.status(), 401);
        assert!(challenge(&answer).contains(r#"error="invalid_token""#));
        let twice = refused(checkpoint().inspect(&get("/", &[GOOD, ("Cookie", b"sid=t-good")]), presence));
        assert_eq!(twice.status(), 400);
        assert!(challenge(&twice).contains(r#"error="invalid_request""#));
        assert_eq!(refused(checkpoint().inspect(&get("/", &[("authorization", b"Bearer")]), presence)).status(), 400);
    }
}

#[tokio::test]
async fn the_cookie_of_an_ended_session_is_no_credential_and_a_token_that_says_so_is_a_bad_one() {
    for over in [&b"sid=t-over"[..], b"sid=t-over-slow"] {
        for presence in [Presence::Required, Presence::Optional] {
            let outcome = match checkpoint().inspect(&get("/", &[("Cookie", over)]), presence) {
                Inspection::Wait(pending) => pending.resolve().await,
                Inspection::Pass(passage) => Ok(passage),
                Inspection::Refuse(answer) => Err(answer),
            };
            match presence {
                Presence::Optional => assert!(outcome.unwrap().principal().is_none()),
                Presence::Required => assert_eq!(challenge(&outcome.unwrap_err()), challenge(&checkpoint().ask())),
            }
        }
    }
    for presence in [Presence::Required, Presence::Optional] {
        let answer = refused(checkpoint().inspect(&get("/", &[("Authorization", b"Bearer t-over")]), presence));
        assert!(challenge(&answer).contains(r#"error="invalid_token""#));
    }
}

#[test]
fn does_not_tell_the_caller_why() {
    let (signature, expired) = (Reject::Signature, Reject::Expired { by_secs: 60 });
    let [a, b] = [signature, expired].map(|reject| checkpoint().refuse(&reject.into()));
    assert_eq!(a.headers().collect::<Vec<_>>(), b.headers().collect::<Vec<_>>());
    assert_eq!(a.body(), b.body());
    assert_eq!(a.body(), r#"{"type":"about:blank","title":"Unauthorized","status":401}"#);
}

#[test]
fn takes_no_credential_from_the_query() {
    let head = get("/?access_token=t-good", &[("referer", b"https://a.example/?access_token=t-good")]);
    assert_eq!(refused(checkpoint().inspect(&head, Presence::Required)).status(), 401);
}

#[test]
fn our_own_trouble_is_503_and_no_challenge() {
    let answer = refused(checkpoint().inspect(&get("/", &[("authorization", b"Bearer t-down")]), Presence::Required));
    assert_eq!(answer.status(), 503);
    assert_eq!(header(&answer, "retry-after").as_deref(), Some("7"));
    assert_eq!(header(&answer, "www-authenticate"), None);
}

#[test]
fn asks_the_first_that_recognizes_the_credential_and_only_that_one() {
    let (first, second) = (Fake::new("t"), Fake::new("t"));
    let third = Fake::new("u");
    let asked = [&first, &second, &third].map(|fake| Arc::clone(&fake.asked));
    let checkpoint = Checkpoint::builder().accept(first).accept(second).accept(third).build().unwrap();
    let counts = || asked.each_ref().map(|a| a.load(Ordering::SeqCst));
    assert_eq!(refused(checkpoint.inspect(&get("/", &[BAD]), Presence::Required)).status(), 401);
    assert_eq!(counts(), [1, 0, 0], "a refused credential gets no second opinion");
    pass(checkpoint.inspect(&get("/", &[("authorization", b"Bearer u-good")]), Presence::Required));
    assert_eq!(counts(), [1, 0, 1]);
    let unknown = refused(checkpoint.inspect(&get("/", &[("authorization", b"Bearer x")]), Presence::Required));
    assert!(challenge(&unknown).contains("invalid_token"));
    assert_eq!(counts(), [1, 0, 1]);
}

#[tokio::test]
async fn waits_where_it_must_and_decides_alike() {
    // A content type that the caller chose turns no refusal into a 200.
    let wait = |value: &'static [u8]| match checkpoint()
        .inspect(&get("/", &[("authorization", value), GRPC]), Presence::Required)
    {
        Inspection::Wait(pending) => pending,
        other => panic!("{other:?}"),
    };
    assert!(!format!("{:?}", wait(b"Bearer t-slow-good")).contains("good"));
    let passage = wait(b"Bearer t-slow-good").resolve().await.unwrap();
    assert_eq!(passage.principal().unwrap().subject(), "alice");
    assert_eq!(wait(b"Bearer t-slow-bad").resolve().await.unwrap_err().status(), 401);
    assert_eq!(wait(b"Bearer t-slow-down").resolve().await.unwrap_err().status(), 503);
}

#[test]
fn a_content_type_that_the_caller_chose_turns_no_refusal_into_a_200() {
    for method in ["GET", "POST"] {
        let head = |headers| HeadParts { method, path: "/", headers };
        let answer = refused(checkpoint().inspect(&head(&[GRPC]), Presence::Required));
        assert_eq!((answer.status(), header(&answer, "grpc-status")), (401, None));
        let good = [GOOD, GRPC];
        let passage = pass(checkpoint().inspect(&head(&good), Presence::Required));
        let denied = passage.checkpoint().check_passage(Some(&passage), &scope("b"), &head(&good)).unwrap_err();
        assert_eq!((denied.status(), header(&denied, "grpc-status")), (403, None));
    }
}

#[test]
fn lets_public_routes_pass_without_a_look_at_the_credential() {
    for path in ["/health", "/assets/a.css"] {
        assert!(pass(checkpoint().inspect(&get(path, &[BAD]), Presence::Required)).principal().is_none());
        let good = pass(checkpoint().inspect(&get(path, &[GOOD]), Presence::Required));
        assert!(good.principal().is_none());
    }
    assert_eq!(refused(checkpoint().inspect(&get("/assets/%2e%2e/x", &[]), Presence::Required)).status(), 401);
}

const PREFLIGHT: [(&str, &[u8]); 2] = [("origin", b"https://a.example"), ("access-control-request-method", b"DELETE")];

#[test]
fn asks_a_preflight_for_a_credential_like_any_request() {
    let head = HeadParts { method: "OPTIONS", path: "/", headers: &PREFLIGHT };
    let answer = refused(checkpoint().inspect(&head, Presence::Required));
    assert_eq!((answer.status(), &*challenge(&answer)), (401, r#"Bearer realm="protected""#));
    let optional = pass(checkpoint().inspect(&head, Presence::Optional));
    assert_eq!(optional.checkpoint().check_passage(Some(&optional), &scope("a"), &head).unwrap_err().status(), 401);
}

#[test]
fn lets_a_preflight_and_nothing_like_it_pass_when_told_to() {
    let open = Checkpoint::builder().accept(Fake::new("t")).with_preflight_passing().build().unwrap();
    let head = HeadParts { method: "OPTIONS", path: "/", headers: &PREFLIGHT };
    let passage = pass(open.inspect(&head, Presence::Required));
    assert!(passage.principal().is_none());
    assert!(open.check_passage(Some(&passage), &scope("a"), &head).is_ok());
    let ordinary = HeadParts { method: "OPTIONS", path: "/", headers: &[] };
    let [origin, asks] = PREFLIGHT;
    let grpc = HeadParts { method: "OPTIONS", path: "/", headers: &[origin, asks, GRPC] };
    // Something between the two may have changed the request: what is no preflight any more must show a principal.
    let rewritten = HeadParts { method: "DELETE", path: "/", headers: &PREFLIGHT };
    for other in [ordinary, grpc, rewritten] {
        assert_eq!(refused(open.inspect(&other, Presence::Required)).status(), 401);
        assert_eq!(open.check_passage(Some(&passage), &scope("a"), &other).unwrap_err().status(), 401);
    }
}

#[test]
fn requires_a_principal_of_this_very_checkpoint() {
    let checkpoint = checkpoint();
    let head = get("/", &[GOOD]);
    let passage = pass(checkpoint.inspect(&head, Presence::Required));
    let status = |found: Option<&Passage>| checkpoint.check_passage(found, &scope("a"), &head).map_err(|a| a.status());
    assert_eq!(status(Some(&passage)), Ok(()));
    assert_eq!(status(None), Err(500));
    let other = pass(super::tests::checkpoint().inspect(&head, Presence::Required));
    assert_eq!(status(Some(&other)), Err(500));
    let nobody = pass(checkpoint.inspect(&get("/", &[]), Presence::Optional));
    assert_eq!(status(Some(&nobody)), Err(401));
    let public = pass(checkpoint.inspect(&get("/health", &[GOOD]), Presence::Required));
    assert_eq!(status(Some(&public)), Err(401));
}

#[test]
fn says_what_is_lacking() {
    let checkpoint = checkpoint();
    let passage = pass(checkpoint.inspect(&get("/", &[GOOD]), Presence::Required));
    let caller = Passage::caller(Some(&passage)).unwrap();
    assert!(caller.require(&scope("a")).is_ok());
    for (rule, status, part) in [
        (scope("b c"), 403, r#"error="insufficient_scope", error_description="more scope is needed", scope="b c""#),
        (all_of([scope("b"), scope("c")]), 403, r#"scope="b c""#),
        (role("admin"), 403, r#"error="insufficient_scope""#),
        (authentication_context(["gold"]), 401, r#"error="insufficient_user_authentication""#),
        (max_age(Duration::from_secs(60)), 401, r#"max_age="60""#),
    ] {
        let answer = caller.require(&rule).unwrap_err();
        assert_eq!(answer.status(), status);
        assert!(challenge(&answer).contains(part), "{}", challenge(&answer));
    }
}

#[test]
fn a_handler_without_a_checkpoint_is_our_own_fault() {
    assert_eq!(Passage::caller(None).unwrap_err().status(), 500);
    assert_eq!(Passage::optional_caller(None).unwrap_err().status(), 500);
    let nobody = pass(checkpoint().inspect(&get("/", &[]), Presence::Optional));
    assert_eq!(Passage::caller(Some(&nobody)).unwrap_err().status(), 401);
    assert!(Passage::optional_caller(Some(&nobody)).unwrap().is_none());
}

#[test]
fn compares_public_routes_with_the_whole_path() {
    struct Nested<'h>(&'h str, &'h str);
    impl RequestHead for Nested<'_> {
        fn method(&self) -> &str {
            "GET"
        }
        fn path(&self) -> &str {
            self.1
        }
        fn whole_path(&self) -> &str {
            self.0
        }
        fn header<'a>(&'a self, _: &'a str) -> impl Iterator<Item = &'a [u8]> {
            std::iter::empty()
        }
    }
    let passes =
        |whole, rest| matches!(checkpoint().inspect(&Nested(whole, rest), Presence::Required), Inspection::Pass(_));
    assert!(passes("/health", "/health"));
    assert!(passes("/assets/css/a.css", "/css/a.css"));
    // What is left of a guarded path may look like a public one.
    assert!(!passes("/admin/health", "/health"));
    assert!(!passes("/admin/assets/delete", "/assets/delete"));
    // Something has rewritten the path since: it may lead anywhere.
    assert!(!passes("/health", "/admin"));
    assert!(!passes("/assets/a.css", "/admin"));
    // axum's `nest("/health", …)` makes this of it; it cannot be told from a rewritten path.
    assert!(!passes("/health", "/"));
}

#[test]
fn a_missing_checkpoint_is_told_in_the_owners_words_where_they_are_known() {
    let body = |_: &RefusalSummary| RefusalContent::new("text/plain", "ours");
    let checkpoint = Checkpoint::builder().accept(Fake::new("t")).with_refusal_body(body).build().unwrap();
    let answer = checkpoint.check_passage(None, &scope("a"), &get("/", &[])).unwrap_err();
    assert_eq!((answer.status(), &answer.body()[..]), (500, &b"ours"[..]));
}

#[test]
fn claims_of_the_wrong_shape_are_an_invalid_token() {
    let passage = pass(checkpoint().inspect(&get("/", &[GOOD]), Presence::Required));
    let caller = Passage::caller(Some(&passage)).unwrap();
    #[derive(serde::Deserialize)]
    struct Mine {
        sub: String,
    }
    #[derive(serde::Deserialize, Debug)]
    struct Theirs {
        #[expect(dead_code, reason = "absent in the claims")]
        department: String,
    }
    assert_eq!(caller.claims::<Mine>().unwrap().sub, "alice");
    let answer = caller.claims::<Theirs>().unwrap_err();
    assert_eq!(answer.status(), 401);
    assert!(challenge(&answer).contains("invalid_token"));
}

#[test]
fn serves_and_points_to_the_metadata() {
    let metadata = ProtectedResourceMetadata::new("https://api.example/orders");
    let checkpoint = Checkpoint::builder()
        .accept(Fake::new("t"))
        .with_resource_metadata(metadata)
        .with_realm("orders")
        .build()
        .unwrap();
    let path = checkpoint.metadata().unwrap().path().to_owned();
    assert_eq!(path, "/.well-known/oauth-protected-resource/orders");
    pass(checkpoint.inspect(&get(&path, &[]), Presence::Required));
    assert_eq!(
        challenge(&checkpoint.ask()),
        r#"Bearer realm="orders", resource_metadata="https://api.example/.well-known/oauth-protected-resource/orders""#
    );
}

#[test]
fn a_token_that_whoever_decides_does_not_take_is_answered_as_one_that_is_refused_here() {
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let (denied, refused) =
        (checkpoint().deny(&alice, &Denial::InvalidToken), checkpoint().refuse(&Reject::Signature.into()));
    assert_eq!(denied.status(), 401);
    assert_eq!(
        (denied.status(), challenge(&denied), denied.body()),
        (refused.status(), challenge(&refused), refused.body())
    );
}

#[test]
fn writes_the_body_that_it_was_told_to() {
    let body =
        |summary: &RefusalSummary| RefusalContent::new("text/plain", format!("{} {:?}", summary.status, summary.error));
    let checkpoint = Checkpoint::builder().accept(Fake::new("t")).with_refusal_body(body).build().unwrap();
    let answer = checkpoint.refuse(&Reject::Signature.into());
    assert_eq!(answer.body(), r#"401 Some("invalid_token")"#);
    assert_eq!(header(&answer, "content-type").as_deref(), Some("text/plain"));
    assert_eq!(checkpoint.ask().body(), "401 None");
}

#[test]
fn reports_errors_of_configuration_when_built() {
    struct Broken;
    impl IntoAuthenticate for Broken {
        fn into_authenticate(self) -> Result<Arc<dyn Authenticate>, ConfigError> {
            Err(ConfigError::new("no issuer"))
        }
    }
    let good = || Checkpoint::builder().accept(Fake::new("t"));
    assert_eq!(Checkpoint::builder().accept(Broken).build().unwrap_err().to_string(), "no issuer");
    assert_eq!(good().accept(Broken).build().unwrap_err().to_string(), "no issuer");
    for broken in [
        good().with_cookie("a b"),
        good().with_cookie("a b").with_cookie("ok"),
        good().with_header("cookie"),
        good().with_cookie("a").with_cookie("b"),
        good().with_header("x-a").with_header("x-b"),
        good().with_public_routes(["/*"]),
        good().with_realm("a\r\nb"),
        good().with_resource_metadata(ProtectedResourceMetadata::new("http://api.example")),
    ] {
        assert!(broken.build().is_err());
    }
}

#[test]
fn debug_shows_no_credential() {
    let shown = format!(
        "{:?}",
        checkpoint().inspect(&get("/", &[("authorization", b"Bearer t-slow-s3cret")]), Presence::Required)
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}
