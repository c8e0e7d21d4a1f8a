//! Bodies flow through, in both directions, no faster than they are taken.

use super::*;

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

/// Reads until the text is there.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut got = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&got).contains(text) {
            let mut buffer = [0; 16 * 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("it comes in time");
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test]
async fn each_piece_goes_through_before_the_next_is_sent() {
    let (_service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let mut stream = connect(&served).await;
    stream
        .write_all(b"POST /public/echo HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    for piece in ["piece-one", "piece-two", "piece-three"] {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        // The service has it, and its answer is here, while the request is not at its end.
        read_until(&mut stream, piece).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "0\r\n\r\n").await;
    // The connection lives on.
    stream.write_all(b"GET /public HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
    read_until(&mut stream, "got 0").await;
}

#[tokio::test]
async fn a_large_body_goes_through_whole() {
    const SIZE: usize = 32 * 1024 * 1024;
    let (_service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let stream = connect(&served).await;
    let (mut reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        let head = format!(
            "POST /public/echo HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ncontent-length: {SIZE}\r\n\r\n"
        );
        writing.write_all(head.as_bytes()).await.unwrap();
        let block = vec![b'x'; 256 * 1024];
        for _ in 0..SIZE / block.len() {
            writing.write_all(&block).await.unwrap();
        }
        writing
    });
    let mut buffer = vec![0; 256 * 1024];
    let mut xs = 0;
    loop {
        let read = reading.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        xs += buffer[..read].iter().filter(|byte| **byte == b'x').count();
    }
    drop(writer.await.unwrap());
    // The head of the answer has an `x` or two.
    assert!((SIZE..SIZE + 64).contains(&xs), "{xs}");
}

/// Lets more through than all buffers between can hold.
fn large() -> ProxyLimits {
    ProxyLimits { body_bytes: 2_000_000_000, ..ProxyLimits::default() }
}

#[tokio::test]
async fn a_service_that_takes_nothing_holds_the_client_back() {
    let (_service, upstream) = echo().await;
    let slow = ProxyTimeouts { response: Duration::from_secs(5), idle: Duration::from_secs(5), ..timeouts() };
    let served = Served::start(proxy(routes(&upstream)).with_timeouts(slow).with_limits(large())).await;
    let mut stream = connect(&served).await;
    stream
        .write_all(b"POST /public/hang HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    let block = vec![b'x'; 64 * 1024];
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(&block)).await {
        taken += written.unwrap();
        // The kernel's buffers of both connections grow to 75 MB on a machine that lets them.
        assert!(taken < 500_000_000, "the gateway buffers");
    }
    println!("taken before the client was held back: {taken} bytes of 1,000,000,000");
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_the_service_back_and_is_given_up() {
    let (_service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream)).with_limits(large())).await;
    let mut stream = connect(&served).await;
    stream
        .write_all(b"POST /public/echo HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    let block = vec![b'x'; 64 * 1024];
    let mut taken = 0;
    // The echo is not read, so at some point nothing is taken any more; soon after the connection is cut.
    let cut = loop {
        match tokio::time::timeout(Duration::from_secs(3), stream.write(&block)).await {
            Ok(Ok(written)) => taken += written,
            Ok(Err(error)) => break error,
            Err(_) => panic!("nothing was cut after {taken} bytes"),
        }
        // The kernel's buffers of all connections between grow to 150 MB on a machine that lets them.
        assert!(taken < 500_000_000, "the gateway buffers");
    };
    println!("taken before the connection was cut: {taken} bytes of 1,000,000,000 ({cut})");
}

#[tokio::test]
async fn a_body_longer_than_allowed_is_413_announced_or_not() {
    let (service, upstream) = echo().await;
    let mut all = routes(&upstream);
    all.insert(0, Route::new("/public/small", &upstream, Guard::Public).with_max_body(1000));
    let served = Served::start(proxy(all)).await;
    let announced = format!(
        "POST /public/small HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1001\r\n\r\n{}",
        "x".repeat(1001)
    );
    assert_eq!(Reply::read(&served.raw(announced).await).status, 413);
    assert!(service.seen().is_empty());
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let head = "POST /public/small HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let within = Reply::read(&served.raw(format!("{head}{chunk}{chunk}0\r\n\r\n")).await);
    assert_eq!((within.status, within.body.contains("got 1000")), (200, true), "{within:?}");
    let beyond = Reply::read(&served.raw(format!("{head}{chunk}{chunk}1\r\nx\r\n0\r\n\r\n")).await);
    assert_eq!(beyond.status, 413, "{beyond:?}");
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_on_either_side() {
    let (_service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let before = std::time::Instant::now();
    let client = served.raw("POST /public/post HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc").await;
    assert_eq!(Reply::read(&client).status, 408, "{client}");
    let service = served.raw("GET /public/stall HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // It is cut in the middle, so nobody takes it for whole.
    assert!(service.contains("first") && !service.ends_with("0\r\n\r\n"), "{service}");
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_service_is_spoken_to_in_http2_where_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let text =
                        format!("{:?} {} {:?}", request.version(), request.uri(), request.headers().get("connection"));
                    Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::from(text)))
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let _closed = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await;
            });
        }
    });
    let options = sekisho_gateway::UpstreamOptions { http2: true, ..Default::default() };
    let upstream = Upstream::with_options("two", &origin, options).unwrap();
    let served = Served::start(proxy(vec![Route::new("/a", &upstream, Guard::Public)])).await;
    let reply = served.send("GET", "/a?b", &[]).await;
    assert_eq!((reply.status, &*reply.body), (200, &*format!("HTTP/2.0 {origin}/a?b None")));
    server.abort();
}

#[tokio::test]
async fn trailers_of_a_request_reach_no_service() {
    use http_body_util::BodyExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let body = request.into_body().collect().await.unwrap();
                    let trailers = body.trailers().cloned().unwrap_or_default();
                    let text = format!("{:?} {trailers:?}", body.to_bytes());
                    Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::from(text)))
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let _closed = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await;
            });
        }
    });
    let options = sekisho_gateway::UpstreamOptions { http2: true, ..Default::default() };
    let upstream = Upstream::with_options("two", &origin, options).unwrap();
    let served = Served::start(proxy(vec![Route::new("/a", &upstream, Guard::Public)])).await;
    let text = served
        .raw("POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-auth-subject: root\r\n\r\n")
        .await;
    let reply = Reply::read(&text);
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains(r#"b"abc" {}"#), "{}", reply.body);
    server.abort();
}
