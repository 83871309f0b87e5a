//! Serving gRPC on a listener.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use crate::transport::dialer::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::transport::{CountCalls, DialOptions, JoinTraces, Listener};

/// What every call goes through.
type Layers = Stack<JoinTraces, Stack<CountCalls, Identity>>;
/// A tonic server whose calls are counted and traced.
pub type Server = tonic::transport::Server<Layers>;

/// Calls in flight on one connection before further ones wait.
const MAX_STREAMS_PER_CONNECTION: u32 = 4096;

/// A tonic server with our bounds; add services and pass the router to [`serve`].
#[must_use]
pub fn server() -> Server {
    let options = DialOptions::default();
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(options.keep_alive_interval))
        .http2_keepalive_timeout(Some(options.keep_alive_timeout))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .layer(CountCalls)
        .layer(JoinTraces)
}

/// Serves until `stop` is cancelled, then lets calls in flight finish for at most `grace` and cuts the connections that
/// are left (endless streams end there unless their service ends them itself).
///
/// # Errors
/// Those of tonic's server.
pub async fn serve(
    router: Router<Layers>,
    listener: Listener,
    stop: CancellationToken,
    grace: Duration,
) -> Result<(), tonic::transport::Error> {
    let abort = CancellationToken::new();
    // Also cuts the connections when this future is dropped, as a killed process would.
    let _cut = abort.clone().drop_guard();
    let per_connection = abort.clone();
    let incoming = listener.map(move |accepted| accepted.map(|connection| connection.abort_on(per_connection.clone())));
    let serving = router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::pin!(serving);
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        result = &mut serving => return result,
        () = deadline => abort.cancel(),
    }
    serving.await
}
