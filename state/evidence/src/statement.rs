//! What is stated of one run: an in-toto Statement v1 in a DSSE envelope, for tools that know neither this
//! program nor its hashes. docs/audit.md has the predicate.

use crate::encode::{base64, from_base64, hex, sha256};
use crate::key::{PublicKey, SigningKey};
use crate::merkle::Hash;
use crate::note::Checkpoint;
use fulcrum_state::{Entry, Head, RunHeader};
use serde_json::{Value, json};

pub(crate) const PREDICATE: &str = "https://fulcrum.dev/run/v1";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PAYLOAD: &str = "application/vnd.in-toto+json";

/// What the records of a run say of it, gathered as they are read.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) header: Option<RunHeader>,
    pub(crate) leaves: Vec<Hash>,
    pub(crate) head: Option<Head>,
    pub(crate) last_leaf: usize,
    sessions: Vec<Value>,
    changes: Vec<Value>,
    ended: Value,
}

impl Gathered {
    /// Takes in an entry. Its body is an event of the engine's: what is not as expected is left out here, and is
    /// in the exported entries all the same.
    pub(crate) fn entry(&mut self, entry: &Entry, leaf: usize) {
        self.head = Some(entry.head());
        self.last_leaf = leaf;
        let Ok(body) = serde_json::from_str::<Value>(&entry.body) else { return };
        if body["session"].is_object() {
            self.sessions.push(json!({ "entry": entry.seq, "session": body["session"] }));
        }
        // Before there were facts, the output had the changes.
        let [facts, earlier] = [&body["facts"], &body["output"]["changes"]].map(Value::as_array);
        for change in facts.into_iter().chain(earlier).flatten().filter(|one| one["name"].is_string()) {
            self.changes.push(json!({ "entry": entry.seq, "step": body["step"], "change": change }));
        }
        if body["event"] == "ended" {
            self.ended = json!({ "outcome": body["outcome"], "reason": body["reason"], "time": entry.time });
        }
    }

    /// The digest that stands for the run: of the hashes of its leaves, a line each.
    pub(crate) fn digest(&self) -> String {
        let lines: String = self.leaves.iter().map(|leaf| hex(leaf) + "\n").collect();
        hex(&sha256(&[lines.as_bytes()]))
    }

    fn statement(&self, checkpoint: &Checkpoint) -> Option<Value> {
        let (header, head) = (self.header.as_ref()?, self.head?);
        let run = header.run.to_string();
        let mut subjects =
            vec![json!({ "name": format!("run/{run}"), "digest": { "sha256": self.digest() } })];
        for change in &self.changes {
            for when in ["before", "after"] {
                let name = change["change"]["name"].as_str().unwrap_or_default();
                if let Some(digest) = change["change"][when]["sha256"].as_str() {
                    let name = format!("{when}/{}/{name}", change["entry"]);
                    subjects.push(json!({ "name": name, "digest": { "sha256": digest } }));
                }
            }
        }
        Some(json!({
            "_type": STATEMENT,
            "subject": subjects,
            "predicateType": PREDICATE,
            "predicate": {
                "run": run,
                "kind": header.kind,
                "created": header.created,
                "after": header.after,
                "entries": head.seq,
                "head": head.hash,
                "sessions": self.sessions,
                "changes": self.changes,
                "ended": self.ended,
                "checkpoint": {
                    "origin": checkpoint.origin,
                    "size": checkpoint.size,
                    "root": base64(&checkpoint.root),
                },
            },
        }))
    }

    /// The statement in an envelope, as one line of JSON. `None` if the run has no entry.
    pub(crate) fn envelope(&self, checkpoint: &Checkpoint, key: &SigningKey) -> Option<String> {
        let payload = self.statement(checkpoint)?.to_string();
        let signature = base64(&key.sign(&to_sign(payload.as_bytes())));
        let envelope = json!({
            "payload": base64(payload.as_bytes()),
            "payloadType": PAYLOAD,
            "signatures": [{ "keyid": hex(&key.public().id()), "sig": signature }],
        });
        Some(envelope.to_string())
    }

    /// Whether this envelope states of the run what its records say, and one of the keys has signed that.
    pub(crate) fn is_stated_by(&self, envelope: &Value, checkpoint: &Checkpoint, keys: &[PublicKey]) -> bool {
        let text = |value: &Value| value.as_str().and_then(from_base64);
        let (Some(payload), Some(signature)) =
            (text(&envelope["payload"]), text(&envelope["signatures"][0]["sig"]))
        else {
            return false;
        };
        let signed = keys.iter().any(|key| key.verifies(&to_sign(&payload), &signature));
        let stated = serde_json::from_slice::<Value>(&payload).ok();
        signed
            && envelope["payloadType"] == PAYLOAD
            && stated.is_some()
            && stated == self.statement(checkpoint)
    }
}

/// The pre-authentication encoding of DSSE.
fn to_sign(payload: &[u8]) -> Vec<u8> {
    let before = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len());
    [before.as_bytes(), payload].concat()
}
