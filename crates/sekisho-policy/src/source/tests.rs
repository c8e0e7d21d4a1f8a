use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize, Clock, Decision, EvaluationsSemantic, Failure, Resource};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};

use super::*;

/// Permits if its files say so.
#[derive(Debug)]
struct Word(bool);

#[async_trait]
impl Authorize for Word {
    fn decide_now(&self, _: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(Ok(if self.0 { Decision::permit() } else { Decision::not_applicable() }))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.decide_now(request).unwrap_or_else(|| Err(Failure::unavailable("never")))
    }
}

fn make(files: &PolicyFiles) -> Result<Word, ConfigError> {
    match files.get("word") {
        Some(b"yes") => Ok(Word(true)),
        Some(b"no") => Ok(Word(false)),
        _ => Err(ConfigError::new("no word")),
    }
}

/// Says what it is told to say.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Option<&'static str>>>, Arc<Mutex<Vec<Option<String>>>>);

impl Told {
    fn say(&self, word: Option<&'static str>) {
        *self.0.lock().unwrap() = word;
    }
}

#[async_trait]
impl PolicySource for Told {
    async fn load(&self, tag: Option<&str>, _: UnixSeconds) -> Result<Loaded, ConfigError> {
        self.1.lock().unwrap().push(tag.map(ToOwned::to_owned));
        let word = self.0.lock().unwrap().ok_or_else(|| ConfigError::new("down"))?;
        if tag == Some(word) || word == "unchanged" {
            return Ok(Loaded::Unchanged);
        }
        let files = PolicyFiles::new().with_file("word", word)?.with_revision(word);
        Ok(Loaded::Files { files, tag: Some(word.to_owned()) })
    }
}

#[derive(Clone, Debug, Default)]
struct Time(Arc<AtomicU64>);

impl Clock for Time {
    fn now(&self) -> UnixSeconds {
        UnixSeconds::new(self.0.load(Ordering::SeqCst))
    }
}

fn decide_at(live: &Live<Word>, now: u64) -> Result<bool, Failure> {
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(now));
    live.decide_now(&request).unwrap().map(|decision| decision.is_permitted())
}

/// Brings whatever set is given.
#[derive(Clone, Debug, Default)]
struct Given(Arc<Mutex<PolicyFiles>>);

impl Given {
    fn give(&self, revision: Option<&str>, word: &'static str) {
        let files = PolicyFiles::new().with_file("word", word).unwrap();
        *self.0.lock().unwrap() = revision.map_or(files.clone(), |revision| files.with_revision(revision));
    }
}

#[async_trait]
impl PolicySource for Given {
    async fn load(&self, _: Option<&str>, _: UnixSeconds) -> Result<Loaded, ConfigError> {
        Ok(Loaded::Files { files: self.0.lock().unwrap().clone(), tag: None })
    }
}

#[tokio::test]
async fn no_older_set_takes_the_place_of_a_newer_one_where_revisions_have_an_order() {
    let source = Given::default();
    let number = |revision: &str| revision.parse::<u64>().ok();
    let live = Live::builder(source.clone(), make).with_newer_revisions(move |new, in_use| {
        assert_ne!(new, "13", "somebody's mistake");
        number(new).zip(in_use.map_or(Some(5), number)).is_some_and(|(new, in_use)| new > in_use)
    });
    // Of before the start, the program remembers revision 5.
    source.give(Some("4"), "no");
    let live = live.build_empty();
    assert!(live.reload().await.is_err() && live.current().is_none());
    source.give(Some("7"), "yes");
    assert!(live.reload().await.unwrap());
    for (revision, word) in
        [(Some("6"), "no"), (Some("7"), "no"), (Some("x"), "no"), (Some("13"), "no"), (Some(""), "no"), (None, "no")]
    {
        source.give(revision, word);
        assert!(live.reload().await.is_err(), "{revision:?}");
        assert!(decide_at(&live, 0).unwrap(), "{revision:?}");
        assert_eq!(live.status().revision.as_deref(), Some("7"));
    }
    assert!(live.status().failures_in_a_row >= 6 && live.status().error.is_some());
    // The set in use is no news, and no failure.
    source.give(Some("7"), "yes");
    assert!(!live.reload().await.unwrap());
    source.give(Some("8"), "no");
    assert!(live.reload().await.unwrap() && !decide_at(&live, 0).unwrap());
    // Unless it was asked for, the source's word counts.
    source.give(Some("8"), "yes");
    let trusting = Live::builder(source.clone(), make).build().await.unwrap();
    source.give(Some("1"), "no");
    assert!(trusting.reload().await.unwrap() && !decide_at(&trusting, 0).unwrap());
}

#[tokio::test]
async fn a_bad_set_leaves_the_last_good_one_and_is_told() {
    let source = Told::default();
    source.say(Some("yes"));
    let live = Live::builder(source.clone(), make).build().await.unwrap();
    assert!(decide_at(&live, 0).unwrap());
    for bad in [None, Some("neither")] {
        source.say(bad);
        assert!(live.reload().await.is_err());
        assert!(decide_at(&live, 0).unwrap());
    }
    let status = live.status();
    assert_eq!((status.revision.as_deref(), status.failures, status.failures_in_a_row), (Some("yes"), 2, 2));
    assert_eq!(status.error.as_deref(), Some("no word"));
    source.say(Some("no"));
    assert!(live.reload().await.unwrap());
    assert!(!decide_at(&live, 0).unwrap());
    let status = live.status();
    assert_eq!((status.revision.as_deref(), status.failures, status.failures_in_a_row), (Some("no"), 2, 0));
    assert!(status.error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_load_and_loading_goes_on() {
    #[derive(Debug)]
    struct Panics(Told);

    #[async_trait]
    impl PolicySource for Panics {
        async fn load(&self, tag: Option<&str>, now: UnixSeconds) -> Result<Loaded, ConfigError> {
            let word = *self.0.0.lock().unwrap();
            assert_ne!(word, Some("source"), "hidden-value");
            self.0.load(tag, now).await
        }
    }

    let source = Told::default();
    let make = |files: &PolicyFiles| {
        assert_ne!(files.get("word"), Some(&b"make"[..]), "hidden-value");
        make(files)
    };
    source.say(Some("yes"));
    let live = Live::builder(Panics(source.clone()), make).build().await.unwrap();
    let run = tokio::spawn(live.run());
    for (word, failures) in [("make", 1), ("source", 2)] {
        source.say(Some(word));
        let error = live.reload().await.unwrap_err();
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
        let status = live.status();
        assert_eq!((status.revision.as_deref(), status.failures), (Some("yes"), failures));
        assert!(status.error.is_some_and(|error| error.contains("panicked")));
        assert!(decide_at(&live, 0).unwrap());
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(live.status().failures > 2 && !run.is_finished());
    source.say(Some("no"));
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert!(!decide_at(&live, 0).unwrap() && live.status().error.is_none());
}

#[tokio::test]
async fn the_tag_of_a_set_that_was_no_good_is_not_remembered() {
    let source = Told::default();
    source.say(Some("yes"));
    let live = Live::builder(source.clone(), make).build().await.unwrap();
    assert!(!live.reload().await.unwrap());
    source.say(Some("neither"));
    assert!(live.reload().await.is_err());
    assert!(live.reload().await.is_err());
    let tags = source.1.lock().unwrap().clone();
    assert_eq!(tags.iter().map(Option::as_deref).collect::<Vec<_>>(), [None, Some("yes"), Some("yes"), Some("yes")]);
}

#[tokio::test]
async fn without_a_first_set_there_is_no_live_one_and_no_permit() {
    let source = Told::default();
    assert!(Live::builder(source.clone(), make).build().await.is_err());
    source.say(Some("unchanged"));
    assert!(Live::builder(source.clone(), make).build().await.is_err());
    let live = Live::builder(source.clone(), make).build_empty();
    assert!(decide_at(&live, 0).is_err() && !live.status().is_ready());
    source.say(Some("yes"));
    live.reload().await.unwrap();
    assert!(decide_at(&live, 0).unwrap() && live.status().is_ready());
}

#[tokio::test]
async fn policies_that_nobody_confirms_grow_too_old() {
    let (source, time) = (Told::default(), Time::default());
    source.say(Some("yes"));
    time.0.store(1000, Ordering::SeqCst);
    let live = Live::builder(source.clone(), make)
        .with_clock(Arc::new(time.clone()))
        .with_max_age(Duration::from_secs(60))
        .build()
        .await
        .unwrap();
    assert!(decide_at(&live, 1060).unwrap());
    assert!(decide_at(&live, 1061).is_err());
    source.say(None);
    time.0.store(1100, Ordering::SeqCst);
    assert!(live.reload().await.is_err());
    assert!(decide_at(&live, 1100).is_err());
    source.say(Some("yes"));
    assert!(!live.reload().await.unwrap());
    assert!(decide_at(&live, 1160).unwrap());
}

#[tokio::test(start_paused = true)]
async fn it_loads_by_itself_while_somebody_holds_it_and_ends_then() {
    let source = Told::default();
    let live = Live::builder(source.clone(), make).build_empty();
    let run = tokio::spawn(live.run());
    source.say(Some("yes"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(decide_at(&live, 0).unwrap());
    source.say(Some("no"));
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert!(!decide_at(&live, 0).unwrap());
    drop(live);
    tokio::time::timeout(Duration::from_secs(121), run).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_folder_is_read_with_its_folders_and_without_hidden_names() {
    let root = std::env::temp_dir().join(format!("sekisho-policy-{}", std::process::id()));
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    for (name, text) in [("word", "yes"), ("a/b/c.rego", "x"), (".hidden", "x")] {
        std::fs::write(root.join(name), text).unwrap();
    }
    let Loaded::Files { files, .. } = FolderSource::new(&root).load(None, UnixSeconds::new(0)).await.unwrap() else {
        panic!("files")
    };
    assert_eq!(files.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a/b/c.rego", "word"]);
    std::fs::remove_dir_all(&root).unwrap();
    assert!(FolderSource::new(&root).load(None, UnixSeconds::new(0)).await.is_err());
}

/// Counts how often a set is made, and makes no `slow` one before it is allowed to.
fn gated() -> (impl Fn(&PolicyFiles) -> Result<Word, ConfigError>, tokio::sync::mpsc::UnboundedReceiver<()>, Sender<()>)
{
    let (begun, begins) = tokio::sync::mpsc::unbounded_channel();
    let (go, goes) = std::sync::mpsc::channel();
    let goes = Mutex::new(goes);
    let make = move |files: &PolicyFiles| {
        if files.get("word") != Some(b"slow") {
            return make(files);
        }
        begun.send(()).unwrap();
        match goes.lock().unwrap().recv_timeout(Duration::from_secs(10)) {
            Ok(()) => Ok(Word(false)),
            Err(_) => Err(ConfigError::new("nobody decides while a set is made")),
        }
    };
    (make, begins, go)
}

#[tokio::test]
async fn requests_are_decided_by_the_last_set_while_another_one_is_made_even_on_one_thread() {
    let source = Told::default();
    source.say(Some("yes"));
    let (make, mut begun, go) = gated();
    let live = Live::builder(source.clone(), make).build().await.unwrap();
    source.say(Some("slow"));
    let loads: Vec<_> = (0..2)
        .map(|_| {
            let live = live.clone();
            tokio::spawn(async move { live.reload().await })
        })
        .collect();
    begun.recv().await.unwrap();
    for _ in 0..1000 {
        assert!(decide_at(&live, 0).unwrap());
    }
    go.send(()).unwrap();
    let mut news = Vec::new();
    for load in loads {
        news.push(load.await.unwrap().unwrap());
    }
    // The second waited for the first, and found its set in use.
    assert_eq!(news, [true, false]);
    assert!(begun.try_recv().is_err() && !decide_at(&live, 0).unwrap());
}

#[tokio::test]
async fn a_load_that_is_given_up_swaps_nothing_and_the_next_one_does() {
    let source = Told::default();
    source.say(Some("yes"));
    let (make, mut begun, go) = gated();
    let live = Live::builder(source.clone(), make).build().await.unwrap();
    source.say(Some("slow"));
    tokio::select! {
        _ = live.reload() => panic!("it waits"),
        made = begun.recv() => made.unwrap(),
    }
    go.send(()).unwrap();
    assert!(decide_at(&live, 0).unwrap());
    go.send(()).unwrap();
    assert!(live.reload().await.unwrap());
    assert!(!decide_at(&live, 0).unwrap());
    assert_eq!(source.1.lock().unwrap().last().unwrap().as_deref(), Some("yes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_sets_are_swapped_every_request_is_decided_and_a_batch_by_one_set() {
    let source = Told::default();
    source.say(Some("yes"));
    let live = Live::builder(source.clone(), make).build().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let seen: [Arc<[AtomicU64; 2]>; 2] = Default::default();
    let readers = seen.each_ref().map(|seen| {
        let (live, stop, seen) = (live.clone(), Arc::clone(&stop), Arc::clone(seen));
        tokio::spawn(async move {
            let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
            let ask = || AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(0));
            while !stop.load(Ordering::Relaxed) {
                let both = live.decide_all(&[ask(), ask()], EvaluationsSemantic::ExecuteAll).await;
                let both: Vec<bool> = both.into_iter().map(|one| one.unwrap().is_permitted()).collect();
                assert!(both == [true; 2] || both == [false; 2], "{both:?}");
                seen[usize::from(both[0])].fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        })
    });
    let begun = std::time::Instant::now();
    let is_seen = || seen.iter().flat_map(|seen| seen.iter()).all(|count| count.load(Ordering::Relaxed) > 0);
    let mut round = 0;
    // Until each reader has met both sets; a machine with much to do starts them late.
    while round < 400 || !is_seen() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{seen:?}");
        source.say(Some(if round % 2 == 0 { "no" } else { "yes" }));
        assert!(live.reload().await.unwrap());
        round += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Serves one thing, as a server that knows its `ETag`.
#[derive(Clone, Debug, Default)]
struct Server(Arc<Mutex<Served>>);

#[derive(Debug, Default)]
struct Served {
    status: u16,
    etag: Option<&'static str>,
    body: Vec<u8>,
    asked: Vec<HttpRequest>,
}

impl Server {
    fn serve(&self, status: u16, etag: Option<&'static str>, body: impl Into<Vec<u8>>) {
        let mut served = self.0.lock().unwrap();
        (served.status, served.etag, served.body) = (status, etag, body.into());
    }

    /// The tag of which it was asked last whether it is current.
    fn asked_for(&self) -> Option<String> {
        let served = self.0.lock().unwrap();
        let headers = &served.asked.last().unwrap().headers;
        headers.iter().find(|(name, _)| *name == "if-none-match").map(|(_, tag)| tag.clone())
    }
}

#[async_trait]
impl HttpClient for Server {
    async fn send(&self, request: HttpRequest, limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        let mut served = self.0.lock().unwrap();
        served.asked.push(request.clone());
        let is_known = served.etag.is_some_and(|etag| request.headers.contains(&("if-none-match", etag.to_owned())));
        let (status, body) = match served.status {
            200 if is_known => (304, Vec::new()),
            status => (status, served.body.clone()),
        };
        if body.len() > limits.max_body_bytes {
            return Err(HttpError::TooLarge);
        }
        let headers = served.etag.iter().map(|etag| ("etag".to_owned(), (*etag).to_owned())).collect();
        Ok(HttpResponse { status, headers, body })
    }
}

fn policy_url(server: &Server) -> PolicyUrl {
    let url = "https://policies.example/word?key=hidden";
    PolicyUrl::new(url, "word", Arc::new(server.clone())).unwrap().with_authorization("Bearer very-secret")
}

#[tokio::test]
async fn a_plain_file_is_followed_by_its_etag() {
    let server = Server::default();
    server.serve(200, Some("\"1\""), "yes");
    let live = Live::builder(policy_url(&server), make).build().await.unwrap();
    assert!(decide_at(&live, 0).unwrap());
    assert_eq!(server.asked_for(), None);
    let headers = server.0.lock().unwrap().asked[0].headers.clone();
    assert!(headers.contains(&("authorization", "Bearer very-secret".to_owned())));
    // Not modified.
    assert!(!live.reload().await.unwrap());
    assert_eq!(server.asked_for().as_deref(), Some("\"1\""));
    // What is no good is asked for again by the tag of what is in use.
    for (status, etag, body) in [
        (200, "\"2\"", "neither"),
        (200, "\"2\"", ""),
        (204, "\"2\"", ""),
        (206, "\"2\"", "no"),
        (301, "\"2\"", "no"),
        (403, "\"2\"", "no"),
        (500, "\"2\"", "no"),
    ] {
        server.serve(status, Some(etag), body);
        assert!(live.reload().await.is_err(), "{status} {body}");
        assert_eq!(server.asked_for().as_deref(), Some("\"1\""), "{status} {body}");
        assert!(decide_at(&live, 0).unwrap());
    }
    server.serve(200, Some("W/\"3\""), "no");
    assert!(live.reload().await.unwrap());
    assert!(!decide_at(&live, 0).unwrap());
    // Another tag of the same file is no new set, but the tag to ask by; one that is malformed is not sent.
    for (etag, sent) in [(Some("\"4\""), Some("\"4\"")), (Some("4"), None), (Some("\"a b\""), None), (None, None)] {
        server.serve(200, etag, "no");
        assert!(!live.reload().await.unwrap());
        live.reload().await.unwrap();
        assert_eq!(server.asked_for().as_deref(), sent, "{etag:?}");
    }
}

#[tokio::test]
async fn a_file_is_refused_that_is_too_large_or_was_not_asked_for_as_it_came() {
    let server = Server::default();
    let now = UnixSeconds::new(0);
    server.serve(200, None, "yes");
    assert!(policy_url(&server).with_max_bytes(3).load(None, now).await.is_ok());
    assert!(policy_url(&server).with_max_bytes(2).load(None, now).await.is_err());
    server.serve(304, None, "");
    assert!(policy_url(&server).load(None, now).await.is_err());
    assert!(matches!(policy_url(&server).load(Some("\"1\""), now).await, Ok(Loaded::Unchanged)));
    let shown = format!("{:?}", policy_url(&server));
    assert!(
        shown.contains("policies.example") && !shown.contains("very-secret") && !shown.contains("hidden"),
        "{shown}"
    );
    for (url, name) in [("http://policies.example/word", "word"), ("https://policies.example/word", "../word")] {
        assert!(PolicyUrl::new(url, name, Arc::new(server.clone())).is_err(), "{url} {name}");
    }
}

#[cfg(all(feature = "bundle", feature = "aws-lc-rs"))]
mod url {
    use super::*;
    use crate::bundle::BundleReader;
    use crate::bundle::tests::{key, reader, signed};

    fn bundle(key: &sekisho_jwt::jwks::SigningKey, revision: &str, word: &str) -> Vec<u8> {
        let manifest = format!(r#"{{"revision":"{revision}"}}"#);
        signed(key, &[(".manifest", &manifest), ("word", word)])
    }

    #[tokio::test]
    async fn a_signed_bundle_is_followed_by_its_etag() {
        let (key, server) = (key(), Server::default());
        let source = BundleUrl::new("https://bundles.example/shop", reader(&key), Arc::new(server.clone())).unwrap();
        server.serve(200, Some("\"1\""), bundle(&key, "r1", "yes"));
        let live = Live::builder(source, make).build().await.unwrap();
        assert!(decide_at(&live, 0).unwrap());
        assert_eq!((live.status().revision.as_deref(), server.asked_for()), (Some("r1"), None));
        assert!(!live.reload().await.unwrap());
        assert_eq!(server.asked_for().as_deref(), Some("\"1\""));
        // Somebody else's bundle, and a torn one; what is in use stays, and so does its tag.
        let torn = bundle(&key, "r2", "no");
        for bad in [bundle(&crate::bundle::tests::key(), "r2", "no"), torn[..torn.len() / 2].to_vec(), Vec::new()] {
            server.serve(200, Some("\"2\""), bad);
            assert!(live.reload().await.is_err());
            assert_eq!(server.asked_for().as_deref(), Some("\"1\""));
            assert!(decide_at(&live, 0).unwrap());
        }
        assert_eq!((live.status().revision.as_deref(), live.status().failures), (Some("r1"), 3));
        server.serve(200, Some("\"2\""), bundle(&key, "r2", "no"));
        assert!(live.reload().await.unwrap());
        assert!(!decide_at(&live, 0).unwrap());
        assert!(!live.reload().await.unwrap());
        assert_eq!((live.status().revision.as_deref(), server.asked_for().as_deref()), (Some("r2"), Some("\"2\"")));
    }

    #[tokio::test]
    async fn a_url_brings_what_is_new_or_nothing() {
        let server = Server::default();
        let source = || {
            let reader = BundleReader::dangerous_unsigned();
            BundleUrl::new("https://bundles.example/shop?key=hidden", reader, Arc::new(server.clone()))
                .unwrap()
                .with_authorization("Bearer very-secret")
        };
        let now = UnixSeconds::new(0);
        server.serve(304, Some("\"1\""), "");
        assert!(matches!(source().load(Some("\"1\""), now).await, Ok(Loaded::Unchanged)));
        assert_eq!(server.asked_for().as_deref(), Some("\"1\""));
        let headers = server.0.lock().unwrap().asked[0].headers.clone();
        assert!(headers.contains(&("authorization", "Bearer very-secret".to_owned())));
        // Not asked, not modified; redirects; errors; a body that is no bundle.
        for status in [304, 301, 404, 500, 200, 204] {
            server.serve(status, Some("\"1\""), [1, 2]);
            assert!(source().load(None, now).await.is_err(), "{status}");
        }
        let shown = format!("{:?}", source());
        assert!(!shown.contains("very-secret") && !shown.contains("hidden"), "{shown}");
        let reader = BundleReader::dangerous_unsigned();
        assert!(BundleUrl::new("http://bundles.example/shop", reader, Arc::new(server)).is_err());
    }
}
