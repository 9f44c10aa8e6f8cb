//! The three patch formats that the simulated API server accepts.

use super::failure::Failure;
use serde_json::Value;

/// The object after the patch `body`. `content_type` gives its format.
///
/// A strategic patch is merged like a merge patch. The two agree as long as the patch holds no list of
/// objects and no directive. A patch that does is refused rather than applied wrongly.
pub(super) fn apply(mut object: Value, content_type: &str, body: &[u8]) -> Result<Value, Failure> {
    let format = content_type.split(';').next().unwrap_or_default().trim();
    let unreadable = |e: serde_json::Error| Failure::bad_request(format!("the patch cannot be read: {e}"));
    match format {
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(body).map_err(unreadable)?;
            json_patch::patch(&mut object, &patch).map_err(|e| Failure {
                code: 422,
                reason: "Invalid",
                message: format!("the server rejected our request due to an error in our request: {e}"),
            })?;
        }
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            let patch: Value = serde_json::from_slice(body).map_err(unreadable)?;
            if format.contains("strategic") && needs_merge_keys(&patch) {
                return Err(Failure::not_simulated(
                    "a strategic merge patch with lists of objects or directives is not simulated; \
                     use a merge patch or a JSON patch",
                ));
            }
            json_patch::merge(&mut object, &patch);
        }
        other => {
            return Err(Failure::unsupported_media(format!("patches of type {other:?} are not simulated")));
        }
    }
    Ok(object)
}

fn needs_merge_keys(patch: &Value) -> bool {
    match patch {
        Value::Object(map) => map.iter().any(|(key, v)| key.starts_with('$') || needs_merge_keys(v)),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches_change_what_they_name() {
        let check = |format: &str, body: Value, expect: Result<Value, u16>| {
            let object = json!({"a": {"x": 1, "y": 2}, "list": [1]});
            let seen = apply(object, &format!("application/{format}+json"), body.to_string().as_bytes());
            assert_eq!(seen.map_err(|f| f.code), expect, "{format} {body}");
        };
        check("merge-patch", json!({"a": {"x": null}}), Ok(json!({"a": {"y": 2}, "list": [1]})));
        let test_passes = json!([{"op": "test", "path": "/a/x", "value": 1}, {"op": "remove", "path": "/a"}]);
        check("json-patch", test_passes, Ok(json!({"list": [1]})));
        let test_fails = json!([{"op": "test", "path": "/a/x", "value": 9}, {"op": "remove", "path": "/a"}]);
        check("json-patch", test_fails, Err(422));
        check("strategic-merge-patch", json!({"b": {"c": [{"name": "d"}]}}), Err(501));
        check("apply-patch", json!({}), Err(415));
    }
}
