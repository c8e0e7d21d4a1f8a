//! A case in a process of its own.

use axum::serve::ListenerExt as _;
use sekisho_benches::process::end_with_the_bench;

use crate::cases;

/// Serves one case until the standard input ends; prints the port.
pub(crate) fn serve(case: &str, key_set: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let router = cases::router(case, key_set).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        end_with_the_bench();
        // On the worker thread, as in a service; the main thread only waits.
        tokio::spawn(async move { axum::serve(listener, router).await }).await.unwrap().unwrap();
    });
}
