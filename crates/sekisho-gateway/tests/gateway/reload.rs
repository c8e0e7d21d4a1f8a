//! Ending and changing under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn requests_under_way_are_ended_and_new_ones_are_not_taken() {
    let (_service, upstream) = echo().await;
    let mut served = Served::start(proxy(routes(&upstream))).await;
    let address = served.address;
    let running = tokio::spawn(raw(address, "GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ended = served.end();
    let reply = Reply::read(&running.await.unwrap());
    assert_eq!((reply.status, &*reply.body), (200, "slow"));
    ended.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_when_the_grace_is_over() {
    let (_service, upstream) = echo().await;
    let slow = ProxyTimeouts { response: Duration::from_secs(60), shutdown: Duration::from_millis(300), ..timeouts() };
    let mut served = Served::start(proxy(routes(&upstream)).with_timeouts(slow)).await;
    let running = tokio::spawn(raw(served.address, "GET /public/hang HTTP/1.1\r\nhost: a\r\n\r\n"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = std::time::Instant::now();
    served.end().await.unwrap().unwrap();
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(running.await.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_proxy_takes_over_under_load_and_no_request_fails() {
    let (_service, upstream) = echo().await;
    let (_other_service, other) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (address, stop, done) = (served.address, Arc::clone(&stop), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                stream
                    .write_all(b"POST /public/post HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc")
                    .await
                    .unwrap();
                let mut got = Vec::new();
                while !got.ends_with(b"got 3") {
                    let mut buffer = [0; 1024];
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&got));
                    got.extend_from_slice(&buffer[..read]);
                }
                assert!(got.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&got));
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for round in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        served.gateway.replace(proxy(routes(if round % 2 == 0 { &other } else { &upstream })));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    println!("{done} requests over 50 changes, none failed");
    assert!(done > 100, "{done}");
}
