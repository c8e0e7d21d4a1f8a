//! Of many at the same time, on two stores of one database, one wins.

use std::sync::Arc;

use sekisho_core::{Occurrence, OneTimeUse, ReplayGuard, SubjectId};
use sekisho_issuer::{DevicePoll, IssuerStore, TakenCode};
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore};

use crate::records::{code, device, family, grant, hash};
use crate::world::{Database, Folder, NOW, at};

const MANY: u16 = 64;

trait Everything: IssuerStore + ReferenceStore + ReplayGuard {}
impl<S: IssuerStore + ReferenceStore + ReplayGuard> Everything for S {}

/// Runs one future for each number, all at the same time, on both stores by turns, and counts those that won.
async fn winners<F: Future<Output = bool> + Send + 'static>(
    stores: &[Arc<dyn Everything>; 2],
    attempt: impl Fn(Arc<dyn Everything>, u16) -> F,
) -> usize {
    let start = Arc::new(tokio::sync::Barrier::new(usize::from(MANY)));
    let tasks: Vec<_> = (0..MANY)
        .map(|number| {
            let (attempt, start) = (attempt(Arc::clone(&stores[usize::from(number) % 2]), number), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                attempt.await
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap());
    }
    won
}

async fn one_wins(one: Arc<dyn Everything>, other: Arc<dyn Everything>) {
    let until = at(1000);
    one.begin_grant(&grant(1, "u", until), Some(&code(1, until)), NOW).await.unwrap();
    one.begin_refresh(&family(1, until), NOW).await.unwrap();
    assert!(one.begin_device(&device(1, until), NOW).await.unwrap());
    let stores = [one, other];

    let won = winners(&stores, |store, _| async move {
        matches!(store.take_code(&hash(1), NOW).await.unwrap(), TakenCode::Fresh(_))
    });
    assert_eq!(won.await, 1, "a code is taken once");
    let won = winners(&stores, |store, number| async move {
        store.rotate_refresh(&hash(1), &hash(1), &hash(1000 + number), at(500), NOW).await.unwrap()
    });
    assert_eq!(won.await, 1, "a refresh token rotates once");
    let won = winners(&stores, |store, _| async move { store.count(&hash(2), at(500), NOW).await.unwrap() == 1 });
    assert_eq!(won.await, 1, "one is the first");
    assert_eq!(stores[0].counted(&hash(2), NOW).await.unwrap(), u32::from(MANY), "and none is lost");
    let won = winners(&stores, |store, _| async move {
        let once = OneTimeUse::new([1; 32], [2; 32], at(61));
        ReplayGuard::insert(&*store, &once, NOW).await.unwrap() == Occurrence::First
    });
    assert_eq!(won.await, 1, "a proof is used once");
    let won = winners(&stores, |store, number| async move {
        store.decide_device(&hash(1), Some(&grant(100 + number, "u", at(1000))), NOW).await.unwrap()
    });
    assert_eq!(won.await, 1, "a device is decided about once");
    let won = winners(&stores, |store, _| async move {
        matches!(store.poll_device(&hash(1), "tv", NOW).await.unwrap(), DevicePoll::Approved(_))
    });
    assert_eq!(won.await, 1, "and told once");
    let won = winners(&stores, |store, number| async move {
        // All want the same user code.
        let mut request = device(2000 + number, at(1000));
        request.user_code = hash(3);
        store.begin_device(&request, NOW).await.unwrap()
    });
    assert_eq!(won.await, 1, "a user code is one device's");
    let won = winners(&stores, |store, number| async move {
        let content = ReferenceContent::Jwt(format!("jwt {number}").into());
        let record = ReferenceRecord::new(SubjectId::new("https://id.example", "u"), None, at(1000), content);
        ReferenceStore::insert(&*store, ReferenceDigest::from_bytes([9; 32]), &record, NOW).await.unwrap()
    });
    assert_eq!(won.await, 1, "a reference token is one record's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_sixty_four_wins_on_two_stores_of_one_file() {
    let folder = Folder::new();
    one_wins(Arc::new(folder.open().await), Arc::new(folder.open().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_sixty_four_wins_on_two_stores_of_one_postgresql() {
    let Some(database) = Database::new("races in PostgreSQL").await else { return };
    one_wins(Arc::new(database.open().await), Arc::new(database.open().await)).await;
    database.end().await;
}
