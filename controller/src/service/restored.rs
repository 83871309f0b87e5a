//! Notices a store that was restored from a backup without telling the cluster: nodes have seen more than it has.

use highwater_proto::grpc::session_request::Register;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::Revision;
use tonic::Status;

use crate::cluster::{Command, Decision, Settings};
use crate::service::{Shared, StoreBehind};

/// Changes nothing. Its answer comes after everything that was committed before it was asked for.
struct Look;

impl Command for Look {
    type Reply = ();

    fn decide(&self, _: &MetadataImage, _: &Settings) -> Decision<()> {
        Decision::unchanged(())
    }
}

/// Refuses a node that has seen more than the store has, and decides nothing more: what is decided on such a store
/// takes back what nodes have acted on, and gives epochs a second time.
///
/// # Errors
/// The status for the node, which tries again.
pub(super) async fn check(shared: &Shared, register: &Register) -> Result<(), Status> {
    let who = register
        .node_id
        .map_or("a new node".to_owned(), |id| format!("node {id}"));
    // What a member of another cluster has seen says nothing; it is refused for that.
    let cluster_id = &shared.updates.image().cluster.cluster_id;
    if !register.cluster_id.is_empty() && register.cluster_id != *cluster_id {
        return Ok(());
    }
    let (generation, revision) = (register.generation, Revision(register.revision));
    if StoreBehind::check(&shared.updates.image(), &who, generation, revision).is_none() {
        return Ok(());
    }
    // A standby may have shown what this controller is about to hear of.
    let decided = shared.decided(Look).await?;
    let Some(behind) = StoreBehind::check(&decided.image, &who, generation, revision) else {
        return Ok(());
    };
    tracing::error!(%behind, "this controller decides nothing");
    let status = Status::unavailable(behind.to_string());
    // The first report is as good as any.
    let _ = shared.behind.set(behind);
    shared.shutdown.trigger();
    Err(status)
}
