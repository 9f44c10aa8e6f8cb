//! What a step has changed, from what to what. The edges record it where they change something ([`record`]), and
//! the entry that ends the attempt or the undo has it: `facts`, a list. An export states these digests
//! (docs/audit.md).
//!
//! A process that is killed between a change and its entry records nothing. A step that is called again and finds
//! its work done records what its pre-image says.

use fulcrum_engine::Context;
use fulcrum_evidence::sha256_hex;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

tokio::task_local! {
    /// The call of a step that this task is in.
    static CALL: Context;
}

/// Does a step's work. What it changes meanwhile is recorded with this call.
pub(crate) async fn recorded<T>(cx: &Context, work: impl Future<Output = T>) -> T {
    CALL.scope(cx.clone(), work).await
}

/// Records a change with the call of a step that is at work. What is changed outside of steps is in no run.
pub(crate) fn record(change: Value) {
    let _ = CALL.try_with(|cx| cx.record(change));
}

/// A file before and after, as [`file_state`] says it. `None`: no file.
pub(crate) fn file(path: &Path, before: Option<Value>, after: Option<Value>) -> Value {
    json!({ "name": path.display().to_string(), "before": before, "after": after })
}

/// A file that a step finds as it would have made it: an earlier call that was cut short may have done that.
pub(crate) fn found(path: &Path, now: Value) -> Value {
    json!({ "name": path.display().to_string(), "after": now })
}

/// A file's content, permission bits and owner.
pub(crate) fn file_state(content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Value {
    digest_state(&sha256_hex(content), mode, owner)
}

/// As [`file_state`], where the digest is known and the content is not at hand.
pub(crate) fn state_of_digest(sha256: &str, mode: u32, owner: (u32, u32)) -> Value {
    digest_state(sha256, mode, Some(owner))
}

fn digest_state(sha256: &str, mode: u32, owner: Option<(u32, u32)>) -> Value {
    let mut state = json!({ "sha256": sha256, "mode": format!("{mode:04o}") });
    if let Some((uid, gid)) = owner {
        (state["uid"], state["gid"]) = (json!(uid), json!(gid));
    }
    state
}

/// An object of the API before and after. `None`: no object.
pub(crate) fn object(kind: &str, before: Option<&Value>, after: Option<&Value>) -> Value {
    let metadata = &after.or(before).unwrap_or(&Value::Null)["metadata"];
    let part = |field: &str| metadata[field].as_str().unwrap_or_default();
    let name = match part("namespace") {
        "" => format!("{kind}/{}", part("name")),
        namespace => format!("{kind}/{namespace}/{}", part("name")),
    };
    json!({ "name": name, "before": before.map(object_state), "after": after.map(object_state) })
}

/// Records an object before and after, of whichever type the caller has it. Nothing, if there was and is none.
pub(crate) fn record_object<T: Serialize>(kind: &str, before: Option<&T>, after: Option<&T>) {
    let [before, after] = [before, after].map(|one| one.and_then(|one| serde_json::to_value(one).ok()));
    if before.is_some() || after.is_some() {
        record(object(kind, before.as_ref(), after.as_ref()));
    }
}

/// The digest of what the object says, as JSON with sorted keys, and which version of which object it is. What is
/// not known of an object from before is null.
fn object_state(live: &Value) -> Value {
    let metadata = &live["metadata"];
    let mut said = live.clone();
    if let Some(fields) = said.as_object_mut() {
        fields.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    }
    let said = said.get("spec").filter(|spec| !spec.is_null()).unwrap_or(&said);
    json!({
        "sha256": sha256_hex(said.to_string().as_bytes()),
        "uid": metadata["uid"],
        "resource_version": metadata["resourceVersion"],
    })
}

/// One label or annotation of an object.
fn part(object: &str, part: &str, before: &Value, after: &Value) -> Value {
    json!({ "name": format!("{object}, {part}"), "before": before, "after": after })
}

/// Records what a label of a node was, and is. `None`: the node did not or does not bear it.
pub(crate) fn record_label(node: &str, label: &str, before: Option<&str>, after: Option<&str>) {
    record(part(&format!("Node/{node}"), &format!("label {label}"), &json!(before), &json!(after)));
}

/// Records what these annotations of an object were, and are.
pub(crate) fn record_annotations(object: &str, before: &Value, annotations: &Value) {
    for (key, after) in annotations.as_object().into_iter().flatten() {
        let before = &before["metadata"]["annotations"][key];
        record(part(object, &format!("annotation {key}"), before, after));
    }
}

/// A state of the machine that is in no file.
pub(crate) fn state(name: &str, before: &Value, after: &Value) -> Value {
    json!({ "name": name, "before": before, "after": after })
}
