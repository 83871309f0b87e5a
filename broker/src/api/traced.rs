//! The traces of clients' requests. Where they are off, this is one look at a pointer that is not there.

use highwater_node::telemetry::Trace;
use highwater_proto::kafka::ApiKey;

use crate::reply::Pending;

#[cfg(test)]
#[path = "../../../proto/tests/kafka/allocations.rs"]
mod allocations;

/// Begins the trace of a request, if it is to be followed.
pub(super) fn begin(api: ApiKey, version: i16, client_id: Option<&str>) -> Option<Trace> {
    let trace = Trace::root(api.name())?;
    let client_id = client_id.unwrap_or_default();
    trace.set("messaging.system", "kafka");
    trace.set("api.version", i64::from(version));
    trace.set("messaging.client.id", client_id.to_owned());
    trace
        .log_span()
        .in_scope(|| tracing::debug!(%api, client_id, "serving a traced request"));
    Some(trace)
}

/// Log lines of what is left to do carry the trace's id, and so do its calls of other processes.
pub(super) fn within(trace: Option<Trace>, pending: Pending) -> Pending {
    match (trace, pending) {
        (Some(trace), Pending::Later(answer)) => Pending::Later(Box::pin(trace.scope(answer))),
        (Some(trace), Pending::Parked(rest)) => {
            let parked = trace.clone().scope(rest);
            Pending::Parked(Box::pin(async move { within(Some(trace), parked.await) }))
        }
        (_, pending) => pending,
    }
}

#[cfg(test)]
mod tests {
    use super::allocations::counted;
    use super::*;
    use crate::reply::Answer;

    #[test]
    fn a_request_that_nobody_follows_costs_no_allocation() {
        let pending = Pending::Later(Box::pin(std::future::ready(Answer::Close)));
        let ((), bytes) = counted(|| {
            let trace = begin(ApiKey::Produce, 9, Some("a client"));
            assert!(trace.is_none(), "no test takes traces");
            assert!(matches!(within(trace, pending), Pending::Later(_)));
        });
        assert_eq!(bytes, 0);
    }
}
