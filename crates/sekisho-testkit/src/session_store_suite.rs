use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::UnixSeconds;
use sekisho_session::{NewSession, Saved, Sealed, SessionHash, SessionStore, SessionTag, SessionUpdate, StoredSession};

use crate::crypto;

/// Checks that a [`SessionStore`] keeps the contract of the trait, with many tasks at once where that matters. It may hold
/// other sessions, also of earlier runs. To see that several processes keep it together, give it two stores over one engine:
/// every other call then goes to the second.
///
/// Time is what the suite says, from `now` on, which should be about the present for stores that expire records by themselves; it
/// moves by minutes, no longer than two hours.
///
/// # Panics
/// When the contract is broken; the message says where.
pub async fn session_store_suite(stores: [Arc<dyn SessionStore>; 2], now: UnixSeconds) {
    late_session_store_suite(stores, Duration::ZERO, now).await;
}

/// Does as [`session_store_suite`], with stores of which each may be late with what the other did: it waits for `lateness` before it
/// looks. A bit more than the bound that the store states is right.
///
/// # Panics
/// When the contract is broken; the message says where.
pub async fn late_session_store_suite(stores: [Arc<dyn SessionStore>; 2], lateness: Duration, now: UnixSeconds) {
    let suite = Suite { stores, lateness, now };
    suite.keeps_what_it_was_given().await;
    suite.keeps_odd_and_long_content().await;
    suite.is_dead_in_its_second().await;
    suite.saves_by_compare_and_set().await;
    suite.touches_without_rewriting().await;
    suite.remembers_what_was_ended().await;
    suite.lists_by_each_tag_and_no_other().await;
    suite.ends_by_tag_and_no_other().await;
    suite.sweeps_the_dead_and_nobody_else().await;
    suite.lets_one_of_many_create().await;
    suite.loses_no_update_of_many().await;
    suite.ends_for_good_while_many_save_and_touch().await;
    suite.ends_all_that_was_there_while_others_come().await;
}

struct Suite {
    stores: [Arc<dyn SessionStore>; 2],
    lateness: Duration,
    now: UnixSeconds,
}

fn new_id() -> SessionHash {
    SessionHash::from_bytes(crypto::random())
}

fn tag() -> SessionTag {
    SessionTag::from_bytes(crypto::random())
}

fn sealed(bytes: &[u8]) -> Sealed {
    Sealed::from_bytes(bytes.to_vec())
}

const HOUR: u64 = 3600;

/// The suite's checks end in this: what a store says is compared, and the place is named.
#[track_caller]
fn expect<T: PartialEq + std::fmt::Debug, E: std::fmt::Display>(answer: Result<T, E>, expected: &T, what: &str) {
    let answer = answer.map_err(|failure| failure.to_string());
    assert_eq!(answer.as_ref(), Ok(expected), "{what}");
}

impl Suite {
    fn one(&self) -> &dyn SessionStore {
        &*self.stores[0]
    }

    fn other(&self) -> &dyn SessionStore {
        &*self.stores[1]
    }

    fn store(&self, number: usize) -> Arc<dyn SessionStore> {
        let [one, other] = &self.stores;
        Arc::clone(if number.is_multiple_of(2) { one } else { other })
    }

    fn later(&self, seconds: u64) -> UnixSeconds {
        self.now.saturating_add(Duration::from_secs(seconds))
    }

    fn session(&self, tags: &[SessionTag]) -> NewSession {
        NewSession {
            idle_until: self.later(HOUR / 2),
            expires_at: self.later(HOUR),
            tags: tags.to_vec(),
            card: sealed(b"card"),
            body: sealed(b"body 1"),
        }
    }

    fn update(&self, body: &[u8]) -> SessionUpdate {
        SessionUpdate { idle_until: self.later(HOUR / 2), expires_at: self.later(HOUR), body: sealed(body) }
    }

    async fn create(&self, new: &NewSession) -> SessionHash {
        let id = new_id();
        expect(self.one().create(id, new, self.now).await, &true, "a free name is given");
        id
    }

    /// Loads by both stores, both ways, which must agree.
    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Option<StoredSession> {
        if !self.lateness.is_zero() {
            tokio::time::sleep(self.lateness).await;
        }
        let mut answers = Vec::new();
        for store in &self.stores {
            let found = match store.load(id, now).await {
                Ok(found) => found,
                Err(failure) => {
                    assert_eq!(failure.to_string(), "", "{store:?}: a look-up fails");
                    None
                }
            };
            if let Some(at_once) = store.load_now(id, now) {
                assert!(at_once.is_ok_and(|at_once| at_once == found), "{store:?}: `load_now` and `load` differ");
            }
            answers.push(found);
        }
        assert_eq!(answers.first(), answers.last(), "what one store knows, the other knows");
        answers.pop().flatten()
    }

    async fn listed(&self, tag: &SessionTag, now: UnixSeconds) -> HashSet<SessionHash> {
        let listed = self.other().list(tag, now).await;
        assert!(listed.is_ok(), "{:?}: a list fails: {listed:?}", self.other());
        listed.unwrap_or_default().into_iter().map(|session| session.id).collect()
    }

    async fn keeps_what_it_was_given(&self) {
        assert_eq!(self.load(&new_id(), self.now).await, None, "what nobody created is not there");
        let new = self.session(&[tag()]);
        let id = self.create(&new).await;
        let NewSession { idle_until, expires_at, body, .. } = new.clone();
        let stored = StoredSession { version: 1, idle_until, expires_at, body };
        assert_eq!(self.load(&id, self.now).await.as_ref(), Some(&stored), "a session is found as it was created");
        let by = tag();
        let rival = NewSession { body: sealed(b"rival"), tags: vec![by], ..new };
        expect(self.other().create(id, &rival, self.now).await, &false, "a taken name is not given twice");
        assert_eq!(self.load(&id, self.now).await, Some(stored), "a refused creation changes nothing");
        assert!(self.listed(&by, self.now).await.is_empty(), "nor does it leave a tag");
    }

    async fn keeps_odd_and_long_content(&self) {
        let every_byte: Vec<u8> = (0..=255).cycle().take(NewSession::MAX_BODY).collect();
        let tags: Vec<SessionTag> = (0..NewSession::MAX_TAGS).map(|_| tag()).collect();
        let card = sealed(every_byte.get(..NewSession::MAX_CARD).unwrap_or_default());
        let new = NewSession { card: card.clone(), body: sealed(&every_byte), ..self.session(&tags) };
        let id = self.create(&new).await;
        assert_eq!(self.load(&id, self.now).await.map(|found| found.body), Some(new.body), "long content is kept");
        for tag in &tags {
            let listed = self.other().list(tag, self.now).await.unwrap_or_default();
            let cards: Vec<_> = listed.into_iter().map(|listed| listed.card).collect();
            assert_eq!(cards, std::slice::from_ref(&card), "it is listed by each tag, with its card");
        }
        let empty = NewSession { card: sealed(b""), body: sealed(b""), ..self.session(&[]) };
        let id = self.create(&empty).await;
        assert_eq!(self.load(&id, self.now).await.map(|found| found.body), Some(sealed(b"")), "nothing is kept too");
        expect(self.one().save(&id, 1, &self.update(&every_byte), self.now).await, &Saved::Done, "and can grow");
        assert_eq!(self.load(&id, self.now).await.map(|found| found.body), Some(sealed(&every_byte)));
    }

    async fn is_dead_in_its_second(&self) {
        for (idle, end) in [(60, HOUR), (HOUR, 60), (60, 60)] {
            let by = tag();
            let (idle_until, expires_at) = (self.later(idle), self.later(end));
            let new = NewSession { idle_until, expires_at, ..self.session(&[by]) };
            let id = self.create(&new).await;
            assert!(self.load(&id, self.later(59)).await.is_some(), "alive a second before its end");
            assert_eq!(self.listed(&by, self.later(59)).await.len(), 1);
            for at in [self.later(60), self.later(61)] {
                assert_eq!(self.load(&id, at).await, None, "dead in the second of its end");
                assert!(self.listed(&by, at).await.is_empty(), "and not listed");
                expect(self.one().save(&id, 1, &self.update(b"x"), at).await, &Saved::Gone, "nor saved");
                expect(self.other().touch(&id, self.later(HOUR), at).await, &false, "nor touched");
                expect(self.one().delete_tagged(&by, at).await, &0, "nor ended as one that lives");
            }
            assert_eq!(self.load(&id, self.later(60)).await, None, "and none of it has brought it back");
        }
        let short = NewSession { expires_at: self.later(60), ..self.session(&[]) };
        let id = self.create(&short).await;
        expect(self.one().create(id, &self.session(&[]), self.later(60)).await, &true, "a dead name is free");
        assert!(self.load(&id, self.later(61)).await.is_some());
    }

    async fn saves_by_compare_and_set(&self) {
        let by = tag();
        let id = self.create(&self.session(&[by])).await;
        for wrong in [0, 2, u64::from(u32::MAX)] {
            let saved = self.one().save(&id, wrong, &self.update(b"wrong"), self.now).await;
            expect(saved, &Saved::Conflict, "another version is a conflict");
        }
        assert_eq!(self.load(&id, self.now).await.map(|found| found.version), Some(1), "a conflict changes nothing");
        expect(self.one().save(&id, 1, &self.update(b"body 2"), self.now).await, &Saved::Done, "the version fits");
        let found = self.load(&id, self.now).await;
        assert_eq!(found.map(|found| (found.version, found.body)), Some((2, sealed(b"body 2"))));
        let again = self.other().save(&id, 1, &self.update(b"late"), self.now).await;
        expect(again, &Saved::Conflict, "and does not fit twice");
        assert_eq!(self.listed(&by, self.now).await.len(), 1, "tags outlive saves");
        let shorter = SessionUpdate { expires_at: self.later(60), ..self.update(b"body 3") };
        expect(self.other().save(&id, 2, &shorter, self.now).await, &Saved::Done, "an end can be moved");
        assert!(self.load(&id, self.later(59)).await.is_some());
        assert_eq!(self.load(&id, self.later(60)).await, None, "and then counts");
        expect(self.one().save(&new_id(), 1, &shorter, self.now).await, &Saved::Gone, "what is not there is gone");
    }

    async fn touches_without_rewriting(&self) {
        let new = NewSession { idle_until: self.later(60), ..self.session(&[tag()]) };
        let id = self.create(&new).await;
        expect(self.one().touch(&id, self.later(120), self.now).await, &true, "it is alive");
        let found = self.load(&id, self.later(119)).await;
        let seen = found.map(|found| (found.version, found.idle_until, found.body));
        assert_eq!(seen, Some((1, self.later(120), new.body)), "a touch moves the idle deadline and nothing else");
        expect(self.other().touch(&id, self.later(30), self.now).await, &true, "an earlier deadline is no news");
        assert!(self.load(&id, self.later(119)).await.is_some(), "and shortens nothing");
        let early = SessionUpdate { idle_until: self.later(30), ..self.update(b"body 2") };
        expect(self.one().save(&id, 1, &early, self.now).await, &Saved::Done, "a touch is no new version");
        assert!(self.load(&id, self.later(119)).await.is_some(), "a save takes back no touch");
        expect(self.one().touch(&id, self.later(9 * HOUR), self.now).await, &true, "a touch beyond the end");
        assert!(self.load(&id, self.later(HOUR - 1)).await.is_some());
        assert_eq!(self.load(&id, self.later(HOUR)).await, None, "does not move the end");
        expect(self.one().touch(&new_id(), self.later(60), self.now).await, &false, "nobody is touched");
    }

    async fn remembers_what_was_ended(&self) {
        let by = tag();
        let id = self.create(&self.session(&[by])).await;
        expect(self.other().delete(&id, self.now).await, &true, "it was alive");
        for at in [self.now, self.later(60), self.later(HOUR - 1)] {
            assert_eq!(self.load(&id, at).await, None, "what was ended is gone");
            for version in [0, 1, 2] {
                let saved = self.one().save(&id, version, &self.update(b"late"), at).await;
                expect(saved, &Saved::Gone, "a late save brings nobody back");
            }
            expect(self.one().touch(&id, self.later(HOUR), at).await, &false, "nor does a late touch");
            expect(self.one().create(id, &self.session(&[by]), at).await, &false, "nor a late creation");
            expect(self.one().delete(&id, at).await, &false, "and it is not ended twice");
            assert!(self.listed(&by, at).await.is_empty());
        }
        expect(self.one().delete(&new_id(), self.now).await, &false, "nobody is ended");
    }

    async fn lists_by_each_tag_and_no_other(&self) {
        let (subject, client, stranger) = (tag(), tag(), tag());
        let both = self.create(&self.session(&[subject, client])).await;
        let one = self.create(&self.session(&[subject])).await;
        let none = self.create(&self.session(&[])).await;
        let other = self.create(&self.session(&[stranger])).await;
        assert_eq!(self.listed(&subject, self.now).await, HashSet::from([both, one]));
        assert_eq!(self.listed(&client, self.now).await, HashSet::from([both]));
        assert_eq!(self.listed(&stranger, self.now).await, HashSet::from([other]));
        assert!(self.listed(&tag(), self.now).await.is_empty(), "a tag of nobody lists nobody");
        expect(self.one().touch(&one, self.later(HOUR), self.now).await, &true, "alive");
        let listed = self.other().list(&subject, self.now).await.unwrap_or_default();
        let touched = listed.iter().find(|listed| listed.id == one);
        assert_eq!(touched.map(|listed| listed.idle_until), Some(self.later(HOUR)), "a list shows the last touch");
        assert!(self.load(&none, self.now).await.is_some());
    }

    async fn ends_by_tag_and_no_other(&self) {
        let (subject, client) = (tag(), tag());
        let mut near = *subject.as_bytes();
        near[31] ^= 1;
        let near = SessionTag::from_bytes(near);
        let own = [self.create(&self.session(&[subject, client])).await, self.create(&self.session(&[subject])).await];
        let others = [
            self.create(&self.session(&[client])).await,
            self.create(&self.session(&[near])).await,
            self.create(&self.session(&[])).await,
        ];
        expect(self.other().delete_tagged(&subject, self.now).await, &2, "two were alive");
        for id in &own {
            assert_eq!(self.load(id, self.now).await, None, "what has the tag is ended");
            expect(self.one().save(id, 1, &self.update(b"late"), self.now).await, &Saved::Gone, "for good");
            expect(self.one().create(*id, &self.session(&[]), self.now).await, &false, "its name too");
        }
        for id in &others {
            assert!(self.load(id, self.now).await.is_some(), "what has it not lives");
        }
        assert_eq!(self.listed(&client, self.now).await, HashSet::from([others[0]]), "other lists forget it");
        expect(self.one().delete_tagged(&subject, self.now).await, &0, "none is left");
        let next = self.create(&self.session(&[subject])).await;
        assert!(self.load(&next, self.now).await.is_some(), "who comes after it lives");
    }

    async fn sweeps_the_dead_and_nobody_else(&self) {
        let by = tag();
        let dead = self.create(&NewSession { idle_until: self.later(60), ..self.session(&[by]) }).await;
        let alive = self.create(&self.session(&[by])).await;
        let ended = self.create(&self.session(&[by])).await;
        expect(self.one().delete(&ended, self.now).await, &true, "alive");
        for _ in 0..2 {
            let swept = self.one().sweep(self.later(120)).await;
            assert!(swept.is_ok(), "{:?}: sweeping fails: {swept:?}", self.one());
        }
        assert!(self.load(&alive, self.later(120)).await.is_some(), "who lives is not swept");
        assert_eq!(self.load(&dead, self.later(120)).await, None);
        let back = self.one().create(ended, &self.session(&[]), self.later(120)).await;
        expect(back, &false, "what was ended is remembered over a sweep");
        assert_eq!(self.listed(&by, self.later(120)).await, HashSet::from([alive]));
    }

    async fn lets_one_of_many_create(&self) {
        let id = new_id();
        let tasks: Vec<_> = (0..16)
            .map(|number| {
                let (store, now, new) = (self.store(number), self.now, self.session(&[]));
                tokio::spawn(async move { store.create(id, &new, now).await })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            let created = task.await;
            assert!(matches!(created, Ok(Ok(_))), "a race is no failure: {created:?}");
            winners += usize::from(matches!(created, Ok(Ok(true))));
        }
        assert_eq!(winners, 1, "one of those that race gets the name");
    }

    /// Many count in one session, each by load and save until it fits.
    async fn loses_no_update_of_many(&self) {
        const TASKS: usize = 20;
        const EACH: usize = 10;
        let id = self.create(&NewSession { body: sealed(&0_u64.to_be_bytes()), ..self.session(&[]) }).await;
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let (store, now, update) = (self.store(number), self.now, self.update(b""));
                tokio::spawn(async move {
                    let mut done = 0;
                    while done < EACH {
                        let Ok(Some(found)) = store.load(&id, now).await else { return Err("it is not there") };
                        let count = <[u8; 8]>::try_from(found.body.as_bytes()).map(u64::from_be_bytes);
                        let Ok(count) = count else { return Err("it is not what was written") };
                        let update = SessionUpdate { body: sealed(&(count + 1).to_be_bytes()), ..update.clone() };
                        match store.save(&id, found.version, &update, now).await {
                            Ok(Saved::Done) => done += 1,
                            Ok(Saved::Conflict) => tokio::task::yield_now().await,
                            Ok(Saved::Gone) => return Err("it is gone"),
                            Err(_) => return Err("a race is no failure"),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for task in tasks {
            let counted = task.await;
            assert!(matches!(counted, Ok(Ok(()))), "counting together: {counted:?}");
        }
        let count = (TASKS * EACH) as u64;
        let found = self.load(&id, self.now).await.map(|found| (found.version, found.body));
        assert_eq!(found, Some((count + 1, sealed(&count.to_be_bytes()))), "no update is lost");
    }

    async fn ends_for_good_while_many_save_and_touch(&self) {
        for round in 0..8 {
            let id = self.create(&self.session(&[tag()])).await;
            let tasks: Vec<_> = (0..12)
                .map(|number| {
                    let (store, now, until) = (self.store(number), self.now, self.later(HOUR));
                    let (update, new) = (self.update(b"late"), self.session(&[]));
                    tokio::spawn(async move {
                        for version in 1..6 {
                            let _ = store.save(&id, version, &update, now).await;
                            let _ = store.touch(&id, until, now).await;
                            let _ = store.create(id, &new, now).await;
                        }
                    })
                })
                .collect();
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            expect(self.other().delete(&id, self.now).await, &true, "it is ended in the middle");
            assert_eq!(self.load(&id, self.now).await, None, "and gone at once");
            for task in tasks {
                assert!(task.await.is_ok(), "no call panics");
            }
            assert_eq!(self.load(&id, self.now).await, None, "nothing that came later brought it back");
        }
    }

    async fn ends_all_that_was_there_while_others_come(&self) {
        let by = tag();
        let mut before = Vec::new();
        for _ in 0..8 {
            before.push(self.create(&self.session(&[by])).await);
        }
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let (store, now, new) = (self.store(number), self.now, self.session(&[by]));
                tokio::spawn(async move { store.create(new_id(), &new, now).await })
            })
            .collect();
        let ended = self.one().delete_tagged(&by, self.now).await;
        assert!(matches!(ended, Ok(8..=16)), "{:?}: at least those that were there: {ended:?}", self.one());
        for id in &before {
            assert_eq!(self.load(id, self.now).await, None, "all that were acknowledged before are ended");
        }
        for task in tasks {
            let created = task.await;
            assert!(matches!(created, Ok(Ok(true))), "a race is no failure: {created:?}");
        }
        let rest = self.one().delete_tagged(&by, self.now).await;
        assert!(rest.is_ok(), "{:?}: {rest:?}", self.one());
        assert!(self.listed(&by, self.now).await.is_empty(), "and those that came after by the next call");
    }
}
