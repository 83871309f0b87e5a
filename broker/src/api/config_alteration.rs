//! What AlterConfigs and IncrementalAlterConfigs share: which resources are for the controller, and the answers in the
//! order of the request.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_proto::grpc;
use highwater_proto::grpc::alter_configs_request::{Alteration, Resource};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::NodeId;

use super::controller_call::{Controller, Refused, ask, deadline, outcome};
use super::describe_configs::own_id;
use super::resource_type::{BROKER, BROKER_LOGGER};
use crate::broker::Broker;

/// The requests have no timeout of their own; clients give up after 30 s by default.
const TIMEOUT_MS: i32 = 25_000;

/// The changes asked for on one resource.
pub(super) struct ResourceChange {
    pub(super) kind: i8,
    pub(super) name: String,
    /// What to change, or why that cannot be said.
    pub(super) alterations: Result<Vec<Alteration>, Refused>,
}

/// Carries the changes out, each resource on its own. `replace` forgets the keys that are not named. One result per
/// resource, in the order of the request.
pub(super) async fn alter(
    broker: &Arc<Broker>,
    changes: Vec<ResourceChange>,
    replace: bool,
    validate_only: bool,
) -> Vec<Result<(), Refused>> {
    let (mut results, resources) = sort_out(broker.node_id(), changes, replace);
    if resources.is_empty() {
        return results.into_iter().map(|result| result.unwrap_or(Ok(()))).collect();
    }
    let asked = grpc::AlterConfigsRequest {
        resources,
        validate_only,
    };
    let call = |mut controller: Controller| {
        let asked = asked.clone();
        async move { controller.alter_configs(asked).await }
    };
    let decided = ask(broker, deadline(TIMEOUT_MS), call).await;
    let mut outcomes = match decided {
        Ok(decided) => Ok(decided.results.into_iter().map(|result| outcome(result.outcome))),
        Err(refused) => Err(refused),
    };
    for open in results.iter_mut().filter(|result| result.is_none()) {
        *open = Some(match &mut outcomes {
            Ok(outcomes) => outcomes.next().unwrap_or_else(|| outcome(None)),
            Err(refused) => Err(refused.clone()),
        });
    }
    results.into_iter().map(|result| result.unwrap_or(Ok(()))).collect()
}

/// Refuses what this broker can judge itself; what is left is for the controller, in the same order. The results of
/// those are open.
fn sort_out(
    asked: NodeId,
    changes: Vec<ResourceChange>,
    replace: bool,
) -> (Vec<Option<Result<(), Refused>>>, Vec<Resource>) {
    let mut count: BTreeMap<(i8, String), usize> = BTreeMap::new();
    for change in &changes {
        *count.entry((change.kind, change.name.clone())).or_default() += 1;
    }
    let mut resources = Vec::new();
    let results = changes.into_iter().map(|change| {
        let key = (change.kind, change.name);
        let twice = count.get(&key).is_some_and(|count| *count > 1);
        match judge(asked, twice, key.0, &key.1).and(change.alterations) {
            Ok(alterations) => {
                resources.push(Resource {
                    resource_type: i32::from(key.0),
                    resource_name: key.1,
                    alterations,
                    replace,
                });
                None
            }
            Err(refused) => Some(Err(refused)),
        }
    });
    let results = results.collect();
    (results, resources)
}

fn judge(asked: NodeId, twice: bool, kind: i8, name: &str) -> Result<(), Refused> {
    if twice {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            "Each resource must appear at most once.",
        ));
    }
    match kind {
        BROKER if !name.is_empty() => own_id(name, asked),
        BROKER_LOGGER => Err(Refused::new(
            ErrorCode::InvalidRequest,
            "Log levels cannot be changed in this way.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: i8, name: &str) -> ResourceChange {
        ResourceChange {
            kind,
            name: name.to_owned(),
            alterations: Ok(Vec::new()),
        }
    }

    #[test]
    fn what_the_broker_can_judge_does_not_reach_the_controller() {
        let bad = Refused::new(ErrorCode::InvalidRequest, "Unknown operation type 9 for config x.");
        let changes = vec![
            change(2, "a"),
            change(2, "twice"),
            change(4, "7"),
            change(4, "8"),
            change(4, "seven"),
            change(4, ""),
            change(8, "7"),
            change(2, "twice"),
            ResourceChange {
                alterations: Err(bad.clone()),
                ..change(2, "b")
            },
            change(3, "no such type"),
        ];
        let (results, resources) = sort_out(NodeId(7), changes, true);
        let left: Vec<_> = resources
            .iter()
            .map(|r| (r.resource_type, r.resource_name.as_str(), r.replace))
            .collect();
        assert_eq!(
            left,
            [(2, "a", true), (4, "7", true), (4, "", true), (3, "no such type", true)]
        );
        let open: Vec<_> = results.iter().map(Option::is_none).collect();
        assert_eq!(open, [true, false, true, false, false, true, false, false, false, true]);
        assert!(
            results.iter().flatten().flatten().next().is_none(),
            "nothing is a success before it is decided"
        );
        assert_eq!(results[8], Some(Err(bad)));
        let codes = results
            .iter()
            .flatten()
            .filter_map(|r| r.as_ref().err())
            .map(|r| r.code);
        assert!(codes.into_iter().all(|code| code == ErrorCode::InvalidRequest));
    }
}
