//! What is done after each run, whoever has ended it. It signs the journal, and says in the cluster's roll call what was
//! signed and how the run stands. No run ever fails of it: the journal is then unsigned from its last checkpoint on, and
//! this says so as loudly as it can. Before that it removes the kubeadm of an upgrade that is over.

use crate::roll_call::{RollCall, Said, phase_of};
use crate::run_info::{PIVOT, shown};
use crate::site::Site;
use crate::upgrade::sweep_kubeadm;
use async_trait::async_trait;
use fulcrum_engine::run::Phase;
use fulcrum_engine::state::{Journal, Reader, RunId, Timestamp};
use fulcrum_engine::{AfterRun, Engine, Event, Observer};
use fulcrum_evidence::note::Note;
use fulcrum_evidence::seal::{Stage, read_keys, seal_watched, sizes};
use fulcrum_evidence::{EvidenceError, leaves};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The longest that the API may take. A rollback may end while the API server is being started.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// Gets each stage of a signing when it is reached.
pub type Watch = Arc<dyn Fn(Stage) + Send + Sync>;

/// Signs after each run on a site.
pub struct Sealer {
    site: Arc<Site>,
    roll_call: RollCall,
    program: &'static str,
    say: fn(&str),
    watch: Watch,
}

impl Sealer {
    /// A sealer for this site and program. `say` tells a person what they must know: the key, when it is made,
    /// and why something is unsigned.
    pub fn new(site: Arc<Site>, program: &'static str, say: fn(&str)) -> Self {
        let roll_call = RollCall::new(Arc::clone(&site));
        Self { site, roll_call, program, say, watch: Arc::new(|_| {}) }
    }

    /// This sealer, which tells `watch` each stage. A rehearsal stops there.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// This sealer for both of its places in an engine: it says what happens in a run, and how the run has ended.
    #[must_use]
    pub fn attached(self, engine: Engine) -> Engine {
        let both = Arc::new(self);
        engine.observer(Arc::clone(&both) as _).after(both)
    }

    async fn record(&self, sealed: Option<&Sealed>, run: RunId, kind: &str, phase: &Phase) {
        let (phase, reason) = phase_of(phase);
        let said = Said {
            kind: Some(shown(kind).to_owned()).filter(|kind| !kind.is_empty()),
            reason,
            program: Some((self.program.to_owned(), None)),
            checkpoint: sealed.map(|sealed| sealed.note.to_string()),
            key: sealed.map(|sealed| sealed.key.clone()),
            ..Said::of(run, phase)
        };
        let recorded = self.roll_call.ended(said, kind == PIVOT);
        let why = match tokio::time::timeout(RECORDED_WITHIN, recorded).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the API gave no answer within {RECORDED_WITHIN:?}"),
        };
        (self.say)(&format!(
            "the journal's head is not recorded in the cluster: {why}; the next run records it"
        ));
    }
}

/// What happens in a run is said in the cluster, beside the run.
impl Observer for Sealer {
    fn event(&self, run: RunId, _time: Timestamp, event: &Event) {
        self.roll_call.event(run, event);
    }
}

#[async_trait]
impl AfterRun for Sealer {
    async fn ended(&self, journal: &Journal, run: RunId, phase: &Phase) {
        let (reader, state_dir, watch) =
            (journal.reader(), self.site.state_dir.clone(), Arc::clone(&self.watch));
        if let Err(left) = sweep_kubeadm(&reader, &state_dir) {
            (self.say)(&left.to_string());
        }
        let kind = reader.runs().ok().and_then(|runs| runs.into_iter().rfind(|header| header.run == run));
        let kind = kind.map(|header| header.kind).unwrap_or_default();
        // Reading the log and writing files takes its time, and other tasks go on meanwhile.
        let sealed = tokio::task::spawn_blocking(move || sealed(&reader, &state_dir, &*watch)).await;
        match sealed.map_err(|error| error.to_string()).and_then(|sealed| sealed.map_err(|e| e.to_string())) {
            Ok(sealed) => {
                if sealed.is_first {
                    (self.say)(&format!(
                        "for audits: {} is the public key of this node's journal; keep it, and what `fulcrum history \
                         checkpoint` prints, elsewhere",
                        sealed.key
                    ));
                }
                self.record(Some(&sealed), run, &kind, phase).await;
            }
            Err(why) => {
                (self.say)(&format!("UNSIGNED: the journal is whole, and nothing signs it: {why}"));
                self.record(None, run, &kind, phase).await;
            }
        }
    }
}

/// What was signed.
struct Sealed {
    note: Note,
    /// The public half of the key.
    key: String,
    /// Whether this is the journal's first signature.
    is_first: bool,
}

/// Signs.
fn sealed(journal: &Reader, state_dir: &Path, watch: &dyn Fn(Stage)) -> Result<Sealed, EvidenceError> {
    let dir = leaves::evidence_dir(state_dir);
    let is_first = sizes(&dir)?.is_empty();
    let note = seal_watched(journal, state_dir, watch)?;
    let key = read_keys(&dir)?.into_iter().rfind(|key| note.is_signed_by(key));
    Ok(Sealed { note, key: key.map(|key| key.to_string()).unwrap_or_default(), is_first })
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("program", &self.program).finish_non_exhaustive()
    }
}
