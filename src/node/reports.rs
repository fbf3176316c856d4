//! What the leaders on this node tell the catalog of their shards: which slots they have under new epochs, who the members are
//! once somebody has left, and that a shard that was removed is not needed any more.
//!
//! It is told again until the catalog shows it, at most every `PERIOD`; so nothing need be remembered of what was told, and a report
//! that is lost, doubled or late does no harm.

use std::time::Duration;

use super::replica::Replica;
use super::server::Shared;
use crate::control::operator::{Operator, Target};
use crate::failpoints::{Point, reached};
use crate::protocol::control::ControlRequest;
use crate::topology::{Catalog, CatalogCommand, ReplicaId};

/// The least time between two reports of a shard.
const PERIOD: Duration = Duration::from_millis(250);
/// Commands in one report; what is more comes with the next.
pub const COMMANDS_MAX: usize = 256;

/// Reports for ever.
pub async fn report(shared: Shared) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let (catalog, commands) = {
            let node = shared.borrow();
            let Some(catalog) = node.engine.catalog().cloned() else { continue };
            let due = node.engine.replicas().flat_map(|replica| due(replica, &catalog));
            let commands: Vec<CatalogCommand> = due.take(COMMANDS_MAX).collect();
            (catalog, commands)
        };
        if commands.is_empty() {
            continue;
        }
        let operator = Operator { name: shared.borrow().name.to_string(), cluster: Some(catalog.cluster) };
        let request = ControlRequest::Report { commands };
        if let Err(error) = operator.ask_leader(&Target::of_catalog(&catalog), &request).await {
            tracing::debug!("the catalog did not take a report: {error}");
        }
    }
}

/// What a replica has to say that this catalog does not know.
pub fn due(replica: &Replica, catalog: &Catalog) -> Vec<CatalogCommand> {
    if !replica.group.leads_surely() || replica.failed.is_some() {
        return Vec::new();
    }
    let owned = replica.unreported_slots(catalog);
    let owners = (!owned.is_empty()).then_some(CatalogCommand::RecordOwners { shard: replica.shard, owned });
    let retired = replica.may_retire(catalog).then_some(CatalogCommand::RetireShard { shard: replica.shard });
    if retired.is_some() {
        reached(Point::RetireReported);
    }
    members(replica, catalog).into_iter().chain(owners).chain(retired).collect()
}

/// The members of the group, where somebody who was to leave has left.
fn members(replica: &Replica, catalog: &Catalog) -> Option<CatalogCommand> {
    let record = catalog.shard(replica.shard)?;
    let (members, point) = (replica.group.members(), replica.group.applied());
    let left = record.leaving.iter().any(|leaving| !members.contains(leaving.id));
    // Who left may be destroyed by this: nobody may need it any more, whoever restarts, nor bring it in, whoever leads.
    if !left || !replica.group.members_are_settled() || replica.may_be_brought_in(record) {
        return None;
    }
    let mut ids: Vec<ReplicaId> = members.all().collect();
    ids.sort_unstable();
    ids.dedup();
    Some(CatalogCommand::RecordMembers {
        shard: replica.shard,
        index: point.index,
        revision: catalog.revision,
        members: ids,
    })
}
