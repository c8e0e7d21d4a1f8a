use std::error::Error;
use std::net::TcpListener;

use sekisho::policy::decision_point::DecisionPoint;
use tokio::runtime::{Builder, Runtime};

use crate::patterns;

/// A decision service as it would run somewhere else: on threads and a port of its own, so that it can be killed.
pub(crate) struct DecisionService {
    url: String,
    runtime: Runtime,
}

impl DecisionService {
    pub(crate) fn start(issuer: &str) -> Result<Self, Box<dyn Error>> {
        let point = DecisionPoint::builder(patterns::cedar(issuer)?)
            .with_subjects("user", issuer)
            .with_reasons()
            // It listens on this machine only. On a network it belongs behind a checkpoint.
            .open_to_everybody()
            .build()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, point.into_router()).await
        });
        Ok(Self { url, runtime })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends it in the middle of whatever it does, its connections with it.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}
