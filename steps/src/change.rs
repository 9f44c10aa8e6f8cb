//! What a step has changed, from what to what, as its output tells it: `changes`, a list. An export states these
//! digests (docs/audit.md). An undo goes back from `after` to `before`.

use crate::host::FileImage;
use fulcrum_evidence::sha256_hex;
use serde_json::{Value, json};
use std::path::Path;

/// A file that is there, or not, before and after.
pub(crate) fn file(path: &Path, before: Option<&FileImage>, after: Option<&FileImage>) -> Value {
    json!({ "name": path.display().to_string(), "before": before.map(image), "after": after.map(image) })
}

/// An object of the API that was made.
pub(crate) fn object(kind: &str, live: &Value) -> Value {
    let metadata = &live["metadata"];
    let part = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    json!({
        "name": format!("{kind}/{}/{}", part("namespace"), part("name")),
        "before": null,
        "after": { "sha256": sha256_hex(live["spec"].to_string().as_bytes()), "uid": metadata["uid"] },
    })
}

/// An object of the API whose spec was another one.
pub(crate) fn edited(kind: &str, before: &Value, live: &Value) -> Value {
    let mut change = object(kind, live);
    change["before"] =
        json!({ "sha256": sha256_hex(before.to_string().as_bytes()), "uid": live["metadata"]["uid"] });
    change
}

fn image(image: &FileImage) -> Value {
    json!({
        "sha256": sha256_hex(image.content.as_bytes()),
        "mode": format!("{:04o}", image.mode),
        "uid": image.uid,
        "gid": image.gid,
    })
}
