use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize, Clock, Decision, Failure, Resource};

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

#[cfg(all(feature = "bundle", feature = "aws-lc-rs"))]
mod url {
    use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};

    use super::super::BundleUrl;
    use super::*;
    use crate::bundle::BundleReader;

    #[derive(Debug)]
    struct Server(u16, Arc<Mutex<Vec<HttpRequest>>>);

    #[async_trait]
    impl HttpClient for Server {
        async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
            self.1.lock().unwrap().push(request);
            Ok(HttpResponse {
                status: self.0,
                headers: vec![("etag".to_owned(), "\"1\"".to_owned())],
                body: vec![1, 2],
            })
        }
    }

    #[tokio::test]
    async fn a_url_brings_what_is_new_or_nothing() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let source = |status| {
            let client = Arc::new(Server(status, Arc::clone(&asked)));
            let reader = BundleReader::dangerous_unsigned();
            BundleUrl::new("https://bundles.example/shop?key=hidden", reader, client)
                .unwrap()
                .with_authorization("Bearer very-secret")
        };
        let now = UnixSeconds::new(0);
        assert!(matches!(source(304).load(Some("\"1\""), now).await, Ok(Loaded::Unchanged)));
        // Not asked, not modified; redirects; errors; a body that is no bundle.
        for (status, tag) in [(304, None), (301, None), (404, None), (500, None), (200, None), (204, None)] {
            assert!(source(status).load(tag, now).await.is_err(), "{status}");
        }
        let shown = format!("{:?}", source(200));
        assert!(!shown.contains("very-secret") && !shown.contains("hidden"), "{shown}");
        let first = asked.lock().unwrap().first().unwrap().clone();
        assert!(first.headers.contains(&("if-none-match", "\"1\"".to_owned())));
        assert!(first.headers.contains(&("authorization", "Bearer very-secret".to_owned())));
        let client = Arc::new(Server(200, asked));
        assert!(BundleUrl::new("http://bundles.example/shop", BundleReader::dangerous_unsigned(), client).is_err());
    }
}
