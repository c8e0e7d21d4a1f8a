//! The same session as of another request: for tasks that outlive the one that started them.

use sekisho_session::Login;

use crate::world::{Browser, Cart, World, somebody};

#[tokio::test]
async fn what_a_task_writes_leaves_alone_what_the_handler_has_noted() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let request = browser.request(&world.sessions);
    let mut session = request.session::<Cart>(None).await.unwrap();
    session.update(|cart| cart.count += 1);

    let own = request.detached();
    let mut task = own.session::<Cart>(None).await.unwrap();
    assert_eq!(task.data().count, 0, "what the handler has noted is not written yet");
    task.update(|cart| cart.items.push(7));
    own.flush().await.unwrap();

    let between = browser.request(&world.sessions).session::<Cart>(None).await.unwrap().data().clone();
    assert_eq!(between, Cart { items: vec![7], count: 0 });
    request.finish().await.unwrap();
    let after = browser.request(&world.sessions).session::<Cart>(None).await.unwrap().data().clone();
    assert_eq!(after, Cart { items: vec![7], count: 1 }, "neither write is lost");
}

#[tokio::test]
async fn it_is_the_session_that_the_request_has_now_and_none_where_there_is_none() {
    let world = World::new();
    let nobody = Browser::default().request(&world.sessions).detached();
    nobody.load(None).await.unwrap();
    assert!(nobody.id().is_none());

    let mut browser = world.logged_in("alice").await;
    let request = browser.request(&world.sessions);
    request.log_in(Login::new(&somebody("bob")));
    request.flush().await.unwrap();
    let own = request.detached();
    own.load(None).await.unwrap();
    assert_eq!(own.principal().unwrap(), Some(somebody("bob")));
    browser.take(request.finish().await.unwrap());

    own.log_out();
    own.flush().await.unwrap();
    assert_eq!(browser.who(&world.sessions).await, None);
}

#[tokio::test]
async fn a_task_brings_no_ended_session_back() {
    let world = World::new();
    let browser = world.logged_in("alice").await;
    let request = browser.request(&world.sessions);
    let own = request.detached();
    let mut task = own.session::<Cart>(None).await.unwrap();
    request.log_out();
    request.flush().await.unwrap();
    task.update(|cart| cart.count += 1);
    own.flush().await.unwrap();
    assert!(own.id().is_none());
    assert_eq!(browser.who(&world.sessions).await, None);
}
