//! Group `session`: cookies that were planted, doubled or bent, stores that break, places to go on to that are elsewhere.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, FailureKind, Refusal, Reject, UnixSeconds};
use sekisho_http::{Answer, Checkpoint, HeadParts, Inspection, Presence};
use sekisho_session::{
    ListedSession, Login, MemorySessionStore, NewSession, ReturnTo, SameSite, Saved, Sealed, Session, SessionCookie,
    SessionHash, SessionKey, SessionKeys, SessionStore, SessionTag, SessionUpdate, Sessions, StoredSession,
};
use sekisho_tests::wait;

/// Is an honest store until it is told to fail.
#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: MemorySessionStore,
    pub(crate) trouble: Mutex<Option<&'static str>>,
}

impl Store {
    async fn pass(&self) -> Result<(), Failure> {
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Some("refuses") => Err(Failure::unavailable("refused")),
            Some("times out") => {
                tokio::task::yield_now().await;
                Err(Failure::unavailable("timeout"))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SessionStore for Store {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        self.pass().await?;
        self.inner.create(id, new, now).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.pass().await?;
        let found = self.inner.load(id, now).await?;
        let trouble = *self.trouble.lock().unwrap();
        Ok(found.map(|found| {
            let mut bytes = found.body.as_bytes().to_vec();
            match trouble {
                Some("one bit") => bytes[30] ^= 1,
                Some("cut") => bytes.truncate(20),
                Some("empty") => bytes.clear(),
                Some("garbage") => bytes = b"{\"p\":{\"sub\":\"admin\"}}".to_vec(),
                _ => {}
            }
            let version = if trouble == Some("older version") { found.version + 1 } else { found.version };
            StoredSession { body: Sealed::from_bytes(bytes), version, ..found }
        }))
    }

    async fn save(&self, id: &SessionHash, v: u64, to: &SessionUpdate, now: UnixSeconds) -> Result<Saved, Failure> {
        self.pass().await?;
        self.inner.save(id, v, to, now).await
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.pass().await?;
        self.inner.touch(id, until, now).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.pass().await?;
        self.inner.delete(id, now).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.pass().await?;
        self.inner.list(tag, now).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        self.pass().await?;
        self.inner.delete_tagged(tag, now).await
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.inner.sweep(now).await
    }
}

pub(crate) fn world() -> (Arc<Store>, Sessions) {
    let (store, key) = (Arc::new(Store::default()), SessionKey::generate().unwrap());
    let sessions = Sessions::builder(Arc::clone(&store) as _, SessionKeys::new(key)).build().unwrap();
    (store, sessions)
}

/// Sends a request with this `Cookie` header; returns what a page would see, and the cookie that was set.
pub(crate) async fn visit(
    sessions: &Sessions,
    cookie: &[u8],
    then: impl FnOnce(&mut Session<std::collections::BTreeMap<String, u32>>),
) -> Result<(Option<String>, Option<String>), Refusal> {
    let headers: &[(&str, &[u8])] = if cookie.is_empty() { &[] } else { &[("cookie", cookie)] };
    let request = sessions.begin(&HeadParts { method: "GET", path: "/", headers });
    let mut session = request.session(None).await?;
    let who = session.principal()?.map(|principal| principal.subject().to_owned());
    then(&mut session);
    let set = request.finish().await?;
    Ok((who, set.first().map(|set| set.expose().split(';').next().unwrap().to_owned())))
}

pub(crate) async fn log_in(sessions: &Sessions, cookie: &[u8], subject: &str) -> String {
    let principal = PrincipalBuilder::new("https://shop.example", subject).build().unwrap();
    let set = visit(sessions, cookie, |session| session.log_in(Login::new(&principal))).await.unwrap().1;
    set.unwrap()
}

pub(crate) async fn who(sessions: &Sessions, cookie: &[u8]) -> Result<Option<String>, Refusal> {
    visit(sessions, cookie, |_| ()).await.map(|(who, _)| who)
}

fn refused(sessions: &Sessions, cookie: &[u8]) -> Answer {
    let checkpoint =
        Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build().unwrap();
    let headers: [(&str, &[u8]); 1] = [("cookie", cookie)];
    match checkpoint.inspect(&HeadParts { method: "GET", path: "/", headers: &headers }, Presence::Required) {
        Inspection::Refuse(answer) => answer,
        Inspection::Wait(pending) => wait(pending.resolve()).unwrap_err(),
        Inspection::Pass(passage) => panic!("{passage:?}"),
    }
}

#[test]
fn a131_fixation() {
    wait(async {
        let (_, sessions) = world();
        // The attacker's own session, planted in the victim's browser; and a name that the attacker made up.
        let (_, planted) = visit(&sessions, b"", |session| {
            session.update(|data| {
                data.insert("a".into(), 1);
            });
        })
        .await
        .unwrap();
        let invented = format!("__Host-session={}", "A".repeat(48));
        for planted in [planted.unwrap(), invented] {
            let after = log_in(&sessions, planted.as_bytes(), "alice").await;
            assert_ne!(after, planted);
            assert_eq!(who(&sessions, after.as_bytes()).await.unwrap().as_deref(), Some("alice"));
            assert_eq!(who(&sessions, planted.as_bytes()).await.unwrap(), None, "not even for a moment");
        }
        // The attacker's own login in the victim's browser is over with the victim's.
        let mallory = log_in(&sessions, b"", "mallory").await;
        let alice = log_in(&sessions, mallory.as_bytes(), "alice").await;
        assert_ne!(alice, mallory);
        assert_eq!(who(&sessions, mallory.as_bytes()).await.unwrap(), None);
    });
}

#[test]
fn a132_cookie_prefix() {
    for name in ["__Host-session", "__host-session", "__HOST-session", "__Host-Http-session"] {
        let named = || SessionCookie::builder().with_name(name);
        assert!(named().build().is_ok(), "{name}");
        assert!(named().with_domain("shop.example").build().is_err(), "{name}");
        assert!(named().with_path("/account").build().is_err(), "{name}");
        assert!(named().dangerous_without_secure().build().is_err(), "{name}");
    }
    let named = |name: &str| SessionCookie::builder().with_name(name);
    assert!(named("__Secure-session").dangerous_without_secure().build().is_err());
    assert!(named("session").dangerous_without_secure().with_same_site(SameSite::None).build().is_err());
}

#[test]
fn a133_cookie_dup() {
    wait(async {
        let (_, sessions) = world();
        let (alice, mallory) = (log_in(&sessions, b"", "alice").await, log_in(&sessions, b"", "mallory").await);
        // The one with the longer path comes first (RFC 6265 §5.4): neither place is believed.
        for pair in [format!("{mallory}; {alice}"), format!("{alice}; {mallory}"), format!("{alice}; a=b; {alice}")] {
            let refusal = who(&sessions, pair.as_bytes()).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Reject(Reject::SeveralCredentials)), "{refusal:?}");
            let headers: [(&str, &[u8]); 2] = [("cookie", alice.as_bytes()), ("cookie", mallory.as_bytes())];
            let request = sessions.begin(&HeadParts { method: "GET", path: "/", headers: &headers });
            assert!(request.load(None).await.is_err(), "nor over two headers");
        }
    });
    let (_, sessions) = world();
    assert_eq!(refused(&sessions, b"__Host-session=a; __Host-session=b").status(), 400);
}

#[test]
fn a134_cookie_octets() {
    let (_, sessions) = world();
    let alice = wait(log_in(&sessions, b"", "alice"));
    let value = alice.split_once('=').unwrap().1;
    for bent in [
        format!("__Host-session={value}\r"),
        format!("__Host-session={value}\n"),
        format!("__Host-session={value}\0"),
        format!("__Host-session={value},"),
        format!("__Host-session=\"{value}\""),
        format!("__Host-session={value} x"),
        format!("__Host-session={value}="),
        format!("__Host-session={value}A"),
        format!("__Host-session ={value}\u{e9}"),
        format!("={value}"),
        format!("__Host-session;{value}"),
        format!("__host-session={value}"),
        value.to_owned(),
        "__Host-session".to_owned(),
        "__Host-session=".to_owned(),
        format!("__Host-session={}", &value[..47]),
    ] {
        let found = wait(who(&sessions, bent.as_bytes()));
        assert!(!matches!(found, Ok(Some(_))), "{bent:?}: {found:?}");
        assert!(matches!(refused(&sessions, bent.as_bytes()).status(), 400 | 401), "{bent:?}");
    }
    for (name, hostile) in
        [("a;b", ""), ("a b", ""), ("a\r\nSet-Cookie: x", ""), ("", ""), ("a", "/x\r\ny"), ("a", "/;")]
    {
        let builder = SessionCookie::builder().with_name(name);
        let builder = if hostile.is_empty() { builder } else { builder.with_path(hostile) };
        assert!(builder.build().is_err(), "{name:?} {hostile:?}");
    }
}

#[test]
fn a135_store_down() {
    let (store, sessions) = world();
    let alice = wait(log_in(&sessions, b"", "alice"));
    for trouble in ["refuses", "times out", "one bit", "cut", "empty", "garbage", "older version"] {
        *store.trouble.lock().unwrap() = Some(trouble);
        let refusal = wait(who(&sessions, alice.as_bytes())).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Failure(failure) if failure.kind() == FailureKind::Unavailable),
            "{trouble}: {refusal:?}"
        );
        let answer = refused(&sessions, alice.as_bytes());
        assert_eq!(answer.status(), 503, "{trouble}: a 401 would send the browser round in circles");
        assert!(answer.headers().any(|(name, _)| name == "retry-after"));
        // Whoever has no cookie of ours needs no store.
        assert_eq!(refused(&sessions, b"__Host-session=x").status(), 401);
    }
    *store.trouble.lock().unwrap() = None;
    assert_eq!(wait(who(&sessions, alice.as_bytes())).unwrap().as_deref(), Some("alice"));
}

#[test]
fn a137_open_redirect() {
    for elsewhere in [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/\\\\evil.example",
        "\\/evil.example",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "https:evil.example",
        "https://evil.example",
        "https:///evil.example",
        "/%0d%0aX: y",
        "/%0d%0aX",
        "/\r\nX: y",
        "/%2f%2fevil.example",
        "/%5cevil.example",
        "/./\\evil.example",
        "/.//evil.example",
        "/\u{2028}",
        "/\t/evil.example",
        "",
        "evil.example",
        "@evil.example",
        ":80",
    ] {
        assert_eq!(ReturnTo::parse(elsewhere), None, "{elsewhere:?}");
    }
    assert!(ReturnTo::parse("/orders?page=2").is_some());
}
