use super::failed::Failed;
use super::ground::Ground;
use super::{certificates, daemonsets, lists, nodes, objects, servers, static_pods, sweep, watches};
use futures::future::LocalBoxFuture;

/// One behaviour of both worlds.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// What the worlds do, as a sentence.
    pub name: &'static str,
    check: for<'a> fn(&'a Ground) -> LocalBoxFuture<'a, Result<(), Failed>>,
}

impl Behaviour {
    /// Checks the behaviour, and removes what the check made.
    ///
    /// # Errors
    /// If the world behaves otherwise, if the behaviour cannot be seen within ten times
    /// [`super::Tempo::soon`], or if what was made cannot be removed.
    pub async fn check(&self, ground: &Ground) -> Result<(), Failed> {
        sweep::sweep(ground).await?;
        let deadline = ground.tempo.soon * 10;
        let found = match tokio::time::timeout(deadline, (self.check)(ground)).await {
            Ok(found) => found,
            Err(_) => Err(Failed::new(self.name, format!("did not come to an end within {deadline:?}"))),
        };
        let swept = sweep::sweep(ground).await;
        found.and(swept)
    }
}

macro_rules! behaviours {
    ($($name:literal: $module:ident::$check:ident,)*) => {
        &[$(Behaviour { name: $name, check: |ground| Box::pin($module::$check(ground)) }),*]
    };
}

/// All behaviours. Those that disturb the node most come last.
pub const ALL: &[Behaviour] = behaviours![
    "a stale update is a conflict": objects::stale_update,
    "what exists cannot be made again": objects::made_twice,
    "what is not there cannot be read, changed or deleted": objects::absent,
    "what is invalid is not stored": objects::invalid,
    "a deletion that means another object is a conflict": objects::other_uid,
    "an update that changes nothing makes no version": objects::no_change,
    "a dry run changes nothing": objects::dry_run,
    "a finalizer holds what is deleted, and none can be added then": objects::finalizer,
    "a status is written apart from its object": objects::status_apart,
    "a lease that was renewed cannot be taken by who has not seen it": objects::lease,
    "lists select by label and by field": lists::selectors,
    "the pages of a list are of one moment": lists::pages,
    "a list from a version yet to come is refused": lists::from_the_future,
    "a list of an exact version shows what was there": lists::exact,
    "a watch tells what is made, changed and deleted, in order": watches::in_order,
    "what stops matching is told as deleted": watches::stops_matching,
    "a watch from version 0 begins with what is there": watches::from_zero,
    "a streamed list ends with a bookmark, and must be asked for properly": watches::streamed_list,
    "a watch ends when its time is up, and bookmarks come only if asked for": watches::time_is_up,
    "a manifest becomes a mirror pod that bears its hash": static_pods::mirror,
    "a manifest that goes takes its pod along, and comes back as the same": static_pods::goes_and_comes,
    "a file that begins with a dot is no manifest": static_pods::dot_file,
    "a file that is no pod harms no other": static_pods::not_a_pod,
    "a manifest is its first document, and the last of keys that are alike counts": static_pods::leniently,
    "a link to a manifest is a manifest": static_pods::link,
    "a flag may be of two words": static_pods::two_words,
    "a probe of localhost asks over loopback": static_pods::localhost,
    "a changed manifest is another pod": static_pods::changed,
    "a mirror pod that is deleted comes back, and its process does not notice": static_pods::mirror_deleted,
    "a container that keeps ending is started later and later": static_pods::crash_loop,
    "a container whose image is nowhere never starts": static_pods::no_image,
    "a container whose readiness probe fails is unready, and left alone": static_pods::readiness,
    "a container whose liveness probe fails is restarted": static_pods::liveness,
    "a container whose startup probe fails has not started, and is restarted": static_pods::startup,
    "a static pod whose host port is taken is rejected": static_pods::taken_host_port,
    "a second listener on a port is refused": static_pods::taken_port,
    "a DaemonSet runs one pod on a node that it selects": daemonsets::runs,
    "a pod of a DaemonSet that is deleted is replaced": daemonsets::replaced,
    "a changed DaemonSet replaces its pod": daemonsets::rolls,
    "a roll-out right after a pod became Ready stands still until its DaemonSet is written to": daemonsets::stands_still,
    "the pods of a DaemonSet bear the hash of its newest revision": daemonsets::revisions,
    "a DaemonSet that selects no node makes no pod": daemonsets::no_node,
    "a DaemonSet that goes takes its pod along": daemonsets::goes,
    "a pod is told to end, and lives on for its grace": daemonsets::grace,
    "a host port that is taken keeps a second pod away": daemonsets::host_port,
    "a pod that no other of its kind may stand beside waits": daemonsets::anti_affinity,
    "a pod that asks for more than is left waits": daemonsets::no_room,
    "a field that the API does not know is dropped": objects::unknown_field,
    "a renewed certificate is presented by the process that presented the former one": certificates::renewed,
    "a second API server serves the same objects and publishes no address": servers::second,
    "an API server that has just started knows no older versions": servers::no_older_versions,
    "a watch goes on at another API server, and ends with its own": servers::watch_goes_on,
    "an API server that ends takes its address out, and puts it back when it is there again": servers::address,
];

/// The behaviours of several control-plane nodes. All of [`ALL`] holds on each of these nodes, too.
pub const SEVERAL: &[Behaviour] = behaviours![
    "what is written at one node is read at the others": nodes::shared,
    "a DaemonSet runs a pod on each node that it selects": nodes::one_on_each,
    "a changed DaemonSet replaces its pods node by node": nodes::node_by_node,
    "a label that is taken from one node ends the pod there, and no other": nodes::label,
    "a pod that names its node needs no scheduler": nodes::named,
    "a lease whose holder ends goes to another node": nodes::leader_moves,
    "an API server that was killed is no address until it is ready again": nodes::killed,
];
