//! Asks the API server that serves and the one that is to follow it the same, while both listen, and compares the
//! answers. The new one gets no clients before they agree.
//!
//! What the new server serves in addition is no difference. An object counts as missing if the old server has it
//! before and after the new one was asked.

use crate::component::Component;
use crate::host::{MARK_NEWCOMER, MARK_SERVING, Process, Question};
use crate::site::{Site, describe};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lists that both are asked for: what components, nodes and clients cannot do without, from every group that
/// every release has. APIServices are left out: each server keeps those of the versions that it serves.
const LISTS: [&str; 17] = [
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/services",
    "/api/v1/persistentvolumes",
    "/api/v1/namespaces/kube-system/pods",
    "/api/v1/namespaces/kube-system/configmaps",
    "/api/v1/namespaces/kube-system/serviceaccounts",
    "/apis/apps/v1/namespaces/kube-system/daemonsets",
    "/apis/apps/v1/deployments",
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/storage.k8s.io/v1/storageclasses",
];

/// No list is longer: each server has the answer within the time for one question.
const PAGE: u32 = 500;
/// Where the kernel spreads connections, each server gets about half of them.
const QUESTIONS_MAX: u32 = 24;
/// This many differences are named.
const NAMED_MAX: usize = 5;

/// What has come of the comparison so far.
#[derive(Debug, Default)]
pub(crate) struct Shadow(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    same: Option<Compared>,
    /// What was wrong at the last look that could tell.
    wrong: Option<(Lasting, Wrong)>,
}

/// From the first to the last of looks that have all found something wrong. A look may take long on a busy machine, and
/// what it will find is not known before.
#[derive(Debug, Clone, Copy)]
struct Lasting {
    first: Instant,
    last: Instant,
}

/// Why the two have not agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    /// In words.
    Differs(String),
    /// The new one could not be asked.
    NotAsked(String),
    /// The old one could not be asked.
    OldNotAsked(String),
}

/// The two servers agreed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Compared {
    /// The lists that both had.
    lists: usize,
    /// The objects in them.
    objects: usize,
    /// What the new server does not serve: other versions of the group are there, or nothing is stored.
    no_longer_served: Vec<String>,
    /// What the old server did not answer with 200, so that there was nothing to compare.
    not_compared: Vec<String>,
}

impl Shadow {
    /// Whether the new server may get clients.
    pub(crate) fn has_passed(&self) -> bool {
        self.seen().same.is_some()
    }

    /// What was compared, once the two agreed.
    pub(crate) fn compared(&self) -> Option<Compared> {
        self.seen().same.clone()
    }

    /// What is wrong, once something has been for this long.
    pub(crate) fn wrong_for(&self, limit: Duration) -> Option<String> {
        let seen = self.seen();
        let (lasting, wrong) = seen.wrong.as_ref()?;
        let (Wrong::Differs(what) | Wrong::NotAsked(what) | Wrong::OldNotAsked(what)) = wrong;
        (lasting.last.duration_since(lasting.first) >= limit).then(|| what.clone())
    }

    /// What differed when the two were last compared. The old server may have gone since.
    pub(crate) fn differs(&self) -> Option<String> {
        match &self.seen().wrong {
            Some((_, Wrong::Differs(what))) => Some(what.clone()),
            _ => None,
        }
    }

    /// Compares these two once more, unless they have agreed.
    pub(crate) async fn look(&self, site: &Site, old: &Process, new: &Process) {
        if self.has_passed() {
            return;
        }
        let compared = Servers { site, old, new }.compare().await;
        if let Err(Wrong::OldNotAsked(what)) = &compared
            && has_gone(site, old).await
        {
            // That says nothing about the new one.
            tracing::debug!(what, "in the shadow");
            return;
        }
        self.note(compared, Instant::now());
    }

    fn note(&self, compared: Result<Compared, Wrong>, now: Instant) {
        let mut seen = self.seen();
        match compared {
            Ok(same) => *seen = Seen { same: Some(same), wrong: None },
            Err(wrong) => {
                tracing::debug!(?wrong, "in the shadow");
                let first = seen.wrong.take().map_or(now, |(lasting, _)| lasting.first);
                seen.wrong = Some((Lasting { first, last: now }, wrong));
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server no longer listens.
async fn has_gone(site: &Site, server: &Process) -> bool {
    let listeners = site.node.host.listeners(site.port(Component::ApiServer)).await;
    listeners.is_ok_and(|all| all.iter().all(|one| one.process.pid != server.pid))
}

/// The two API servers.
struct Servers<'a> {
    site: &'a Site,
    old: &'a Process,
    new: &'a Process,
}

/// The objects of a list: namespace and name, with their uids.
type Objects = BTreeSet<(String, String)>;

impl Servers<'_> {
    async fn compare(&self) -> Result<Compared, Wrong> {
        let mut same = Compared { no_longer_served: self.discovery().await?, ..Compared::default() };
        let mut differs = Vec::new();
        for list in LISTS {
            match self.list(list).await? {
                Listed::Same(objects) => {
                    same.lists += 1;
                    same.objects += objects;
                }
                Listed::NotHere(status) => same.not_compared.push(format!("{list}: {status}")),
                Listed::Differs(what) => differs.push(what),
            }
        }
        if differs.is_empty() {
            return Ok(same);
        }
        let more = differs.len().saturating_sub(NAMED_MAX);
        differs.truncate(NAMED_MAX);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(Wrong::Differs(format!("{}{more}", differs.join("; "))))
    }

    /// The groups and versions that only the old server has. An error if objects are stored in a group that goes.
    async fn discovery(&self) -> Result<Vec<String>, Wrong> {
        let (old, new) = (self.versions(self.old).await?, self.versions(self.new).await?);
        let mut gone = Vec::new();
        for (group, versions) in &old {
            let now = new.get(group);
            for version in versions.iter().filter(|version| now.is_none_or(|now| !now.contains(*version))) {
                let name = format!("{group}/{version}");
                if now.is_none()
                    && let Some(resource) = self.stored(&name).await?
                {
                    let new = describe(self.new);
                    let words = format!("{new} does not serve {name}, of which there are {resource}");
                    return Err(Wrong::Differs(words));
                }
                gone.push(name);
            }
        }
        Ok(gone)
    }

    /// The versions of each group but the core one.
    async fn versions(&self, server: &Process) -> Result<BTreeMap<String, BTreeSet<String>>, Wrong> {
        let (status, body) = self.read(server, "/apis").await?;
        if status != 200 {
            return Err(Wrong::Differs(format!("{} answers {status} to /apis", describe(server))));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let groups = body["groups"].as_array().into_iter().flatten();
        let versions = |group: &Value| {
            let all = group["versions"].as_array().into_iter().flatten();
            all.map(|version| text(&version["version"])).collect()
        };
        Ok(groups.map(|group| (text(&group["name"]), versions(group))).collect())
    }

    /// A resource of this group and version that has objects, as the old server knows.
    async fn stored(&self, version: &str) -> Result<Option<String>, Wrong> {
        let (_, body) = self.read(self.old, &format!("/apis/{version}")).await?;
        for resource in body["resources"].as_array().into_iter().flatten() {
            let name = resource["name"].as_str().unwrap_or_default();
            let verbs = resource["verbs"].as_array();
            if name.contains('/') || !verbs.is_some_and(|verbs| verbs.iter().any(|verb| verb == "list")) {
                continue;
            }
            let (status, list) = self.read(self.old, &format!("/apis/{version}/{name}?limit=1")).await?;
            if status == 200 && list["items"].as_array().is_some_and(|items| !items.is_empty()) {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    async fn list(&self, list: &str) -> Result<Listed, Wrong> {
        let path = format!("{list}?limit={PAGE}");
        let (status, before) = self.read(self.old, &path).await?;
        if status != 200 {
            return Ok(Listed::NotHere(status));
        }
        let (status, now) = self.read(self.new, &path).await?;
        if status != 200 {
            return Ok(Listed::Differs(format!("{} answers {status} to {list}", describe(self.new))));
        }
        let (before, now) = (objects(&before), objects(&now));
        if before.is_subset(&now) {
            return Ok(Listed::Same(before.len()));
        }
        // What was deleted meanwhile is gone on the old server, too.
        let (_, after) = self.read(self.old, &path).await?;
        let after = objects(&after);
        let missing: Vec<&str> = before
            .difference(&now)
            .filter(|one| after.contains(*one))
            .map(|(name, _)| name.as_str())
            .collect();
        Ok(match missing.first() {
            None => Listed::Same(before.len()),
            Some(first) => Listed::Differs(format!(
                "{} lacks {} of {} objects of {list}, such as {first}",
                describe(self.new),
                missing.len(),
                before.len()
            )),
        })
    }

    /// The answer of this very server.
    async fn read(&self, server: &Process, path: &str) -> Result<(u16, Value), Wrong> {
        let (mark, not_asked): (_, fn(String) -> Wrong) = match server.pid == self.new.pid {
            true => (MARK_NEWCOMER, Wrong::NotAsked),
            false => (MARK_SERVING, Wrong::OldNotAsked),
        };
        let question = self.site.question(Component::ApiServer);
        let question = Question { path: path.to_owned(), mark: Some(mark), ..question };
        for _ in 0..QUESTIONS_MAX {
            let read =
                self.site.node.host.read(&question).await.map_err(|error| not_asked(error.to_string()))?;
            if read.answer.process.is_some_and(|process| process.pid == server.pid) {
                // An answer that is no JSON has nothing in it.
                return Ok((read.answer.status, serde_json::from_str(&read.body).unwrap_or_default()));
            }
        }
        Err(not_asked(format!("{} gave none of {QUESTIONS_MAX} answers to {path}", describe(server))))
    }
}

/// What has come of one list.
enum Listed {
    /// The new server has every object that the old one has.
    Same(usize),
    /// The old server does not have the list.
    NotHere(u16),
    /// In words.
    Differs(String),
}

fn objects(list: &Value) -> Objects {
    let one = |object: &Value| {
        let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let name = match of("namespace") {
            "" => of("name").to_owned(),
            namespace => format!("{namespace}/{}", of("name")),
        };
        (name, of("uid").to_owned())
    };
    list["items"].as_array().into_iter().flatten().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one look has found, another one must find again.
    #[test]
    fn what_is_wrong_lasts_from_look_to_look() {
        let (shadow, limit) = (Shadow::default(), Duration::from_secs(7));
        let long_ago = Instant::now().checked_sub(limit * 10).unwrap();
        shadow.note(Err(Wrong::Differs("one".to_owned())), long_ago);
        assert_eq!(shadow.wrong_for(limit), None, "the next look takes long");
        shadow.note(Err(Wrong::NotAsked("silent".to_owned())), long_ago + limit);
        assert_eq!(shadow.wrong_for(limit).as_deref(), Some("silent"));
        assert_eq!(shadow.differs(), None, "that was something else");
        shadow.note(Ok(Compared::default()), long_ago + limit * 4);
        assert_eq!((shadow.has_passed(), shadow.wrong_for(Duration::ZERO)), (true, None));
    }
}
