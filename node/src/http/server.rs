//! The server. Bounded in connections and time, so that nobody can starve the process through it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::StreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Health;
use crate::telemetry::Metrics;
use crate::transport::{Connection, Listener};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Pause after a failed accept: out of file handles is not cured by asking at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Life of a connection, whatever happens on it.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// What requests in flight get once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Served {
    health: Health,
    metrics: Metrics,
}

/// Serves until `stop` is cancelled and the requests in flight are done.
pub async fn serve_http(mut listener: Listener, health: Health, metrics: Metrics, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Served { health, metrics });
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            let connection = listener.next().await?;
            Some((permit, connection))
        };
        let (permit, connection) = tokio::select! {
            accepted = accepted => match accepted {
                Some((permit, Ok(connection))) => (permit, connection),
                Some((_, Err(error))) => {
                    tracing::debug!(%error, "cannot accept an http connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                None => break,
            },
            () = stop.cancelled() => break,
        };
        let serving = serve_connection(connection, router.clone(), stop.clone());
        connections.spawn(async move {
            if tokio::time::timeout(CONNECTION_LIFE, serving).await.is_err() {
                tracing::debug!("http connection closed at the end of its time");
            }
            drop(permit);
        });
    }
    connections.close();
    if tokio::time::timeout(STOP_GRACE, connections.wait()).await.is_err() {
        tracing::debug!(left = connections.len(), "http connections cut");
    }
}

async fn serve_connection(connection: Connection, router: Router, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024);
    let serving = builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "http connection failed");
    }
}

/// Answering is the proof.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(served): State<Served>) -> (StatusCode, String) {
    let status = if served.health.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, served.health.report())
}

async fn render_metrics(State(served): State<Served>) -> Response {
    // Collectors may take a while: not on a worker that serves clients.
    let rendered = tokio::task::spawn_blocking(move || served.metrics.encode()).await;
    match rendered {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot render metrics: {error}\n"),
        )
            .into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot render metrics: {error}\n"),
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::Clock;

    struct Server {
        port: u16,
        health: Health,
        stop: CancellationToken,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn start() -> Server {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let (port, health, stop) = (listener.port(), Health::new(), CancellationToken::new());
        let metrics = Metrics::new(&Clock::system());
        let serving = tokio::spawn(serve_http(listener, health.clone(), metrics, stop.clone()));
        Server {
            port,
            health,
            stop,
            serving,
        }
    }

    async fn request(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_process_is_ready_when_every_check_is() {
        let server = start().await;
        let (log, session) = (server.health.check("log"), server.health.check("session"));
        log.ready();
        let answer = request(server.port, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("log: ok\nsession: starting\n"), "{answer}");
        session.ready();
        assert!(request(server.port, "/readyz").await.starts_with("HTTP/1.1 200"));
        log.not_ready("disk full");
        assert!(request(server.port, "/readyz").await.contains("log: disk full"));
        assert!(request(server.port, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(request(server.port, "/other").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn metrics_are_served_in_the_format_that_prometheus_reads() {
        let server = start().await;
        let answer = request(server.port, "/metrics").await;
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert!(answer.contains("process_resident_memory_bytes "), "{answer}");
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_idle_connections_and_frees_the_port() {
        let server = start().await;
        let mut idle = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 15];
        idle.read_exact(&mut first).await.unwrap();
        server.stop.cancel();
        tokio::time::timeout(Duration::from_millis(900), server.serving)
            .await
            .expect("stops")
            .unwrap();
        assert!(Listener::bind(&format!("127.0.0.1:{}", server.port)).await.is_ok());
    }
}
