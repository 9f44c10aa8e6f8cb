//! Steps from closures, and the registry that holds them beside steps that implement the trait.

use crate::event::ProbeResult;
use crate::plan::StepSpec;
use crate::step::{Context, Step, StepRegistry};
use crate::step_error::StepError;
use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Begins a step from closures. [`StepBuilder::run`] gives it its work.
///
/// ```
/// use fulcrum_engine::{ProbeResult, StepError, Steps, step};
/// use std::path::Path;
///
/// let steps = Steps::new().with(
///     step("make-directory")
///         .run(|cx| async move {
///             let path: String = cx.args()?;
///             std::fs::create_dir_all(&path)?;
///             Ok(path)
///         })
///         .undo(|cx| async move {
///             match std::fs::remove_dir(cx.args::<String>()?) {
///                 Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
///                 _ => Ok(()),
///             }
///         })
///         .probe(|cx| async move {
///             let there = Path::new(&cx.args::<String>()?).is_dir();
///             Ok(if there { ProbeResult::Done } else { ProbeResult::Absent })
///         }),
/// );
/// # let _ = steps;
/// ```
#[must_use]
pub fn step(name: impl Into<String>) -> StepBuilder {
    let parts = Parts { version: 1, undo: None, probe: None, output: None, save: None };
    StepBuilder { name: name.into(), parts }
}

/// A step from closures that has no work yet.
#[derive(Clone)]
pub struct StepBuilder {
    name: String,
    parts: Parts,
}

/// A step from closures, for [`Steps::with`].
///
/// The contract is that of [`Step`]: `run` and `undo` are idempotent. A step without an `undo` has nothing to
/// take back. A step without a `probe` is run again after a crash. A step whose later steps read its output
/// needs an `output` beside its `probe`.
#[derive(Clone)]
pub struct ClosureStep {
    name: String,
    run: Call<Value>,
    parts: Parts,
}

/// What a step may have besides its work.
#[derive(Clone)]
struct Parts {
    version: u32,
    undo: Option<Call<()>>,
    probe: Option<Call<ProbeResult>>,
    output: Option<Call<Value>>,
    save: Option<Call<Vec<u8>>>,
}

/// Steps by name: a [`StepRegistry`] for programs that know their steps beforehand.
///
/// A step of a plan is found by its whole name. If there is none of that name, it is found by the part before
/// the first `/`: the steps `update/device-1` and `update/device-2` are both carried out by `update`, each with
/// its own arguments.
#[derive(Clone, Default)]
pub struct Steps {
    by_name: BTreeMap<String, Arc<dyn Step>>,
}

type Call<T> = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<T, StepError>> + Send + Sync>;

impl StepBuilder {
    /// The step's work. The journal keeps what the closure returns, for later steps
    /// ([`Context::output`]).
    pub fn run<T, R>(self, run: impl Fn(Context) -> R + Send + Sync + 'static) -> ClosureStep
    where
        T: Serialize + Send,
        R: Future<Output = Result<T, StepError>> + Send + 'static,
    {
        ClosureStep { name: self.name, run: returning(run), parts: self.parts }
    }
}

impl fmt::Debug for StepBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The parts of a step are the same before and after its work is given.
macro_rules! with_parts {
    ($of:ident) => {
        impl $of {
            /// Takes the work back ([`Step::undo`]).
            #[must_use]
            pub fn undo<R>(mut self, undo: impl Fn(Context) -> R + Send + Sync + 'static) -> Self
            where
                R: Future<Output = Result<(), StepError>> + Send + 'static,
            {
                self.parts.undo = Some(calling(undo));
                self
            }

            /// Looks at what is there ([`Step::probe`]).
            #[must_use]
            pub fn probe<R>(mut self, probe: impl Fn(Context) -> R + Send + Sync + 'static) -> Self
            where
                R: Future<Output = Result<ProbeResult, StepError>> + Send + 'static,
            {
                self.parts.probe = Some(calling(probe));
                self
            }

            /// Reads the output of work that is there ([`Step::output`]).
            #[must_use]
            pub fn output<T, R>(mut self, output: impl Fn(Context) -> R + Send + Sync + 'static) -> Self
            where
                T: Serialize + Send,
                R: Future<Output = Result<T, StepError>> + Send + 'static,
            {
                self.parts.output = Some(returning(output));
                self
            }

            /// Reads the pre-image ([`Step::save`]).
            #[must_use]
            pub fn save<R>(mut self, save: impl Fn(Context) -> R + Send + Sync + 'static) -> Self
            where
                R: Future<Output = Result<Vec<u8>, StepError>> + Send + 'static,
            {
                self.parts.save = Some(calling(save));
                self
            }

            /// Sets the version ([`Step::version`]). Without a call it is 1.
            #[must_use]
            pub fn version(mut self, version: u32) -> Self {
                self.parts.version = version;
                self
            }
        }
    };
}

with_parts!(StepBuilder);
with_parts!(ClosureStep);

impl Steps {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step from closures. A second step of one name replaces the first.
    #[must_use]
    pub fn with(self, step: ClosureStep) -> Self {
        let name = step.name.clone();
        self.with_step(name, step)
    }

    /// Adds a step that implements the trait. A second step of one name replaces the first.
    #[must_use]
    pub fn with_step(mut self, name: impl Into<String>, step: impl Step + 'static) -> Self {
        self.by_name.insert(name.into(), Arc::new(step));
        self
    }
}

impl StepRegistry for Steps {
    fn step(&self, spec: &StepSpec) -> Result<Arc<dyn Step>, String> {
        let name = spec.id.as_str();
        let family = name.split('/').next().unwrap_or(name);
        let found = self.by_name.get(name).or_else(|| self.by_name.get(family));
        found.cloned().ok_or_else(|| format!("this program has no step {name}"))
    }
}

#[async_trait]
impl Step for ClosureStep {
    fn version(&self) -> u32 {
        self.parts.version
    }

    async fn probe(&self, cx: &Context) -> Result<ProbeResult, StepError> {
        match &self.parts.probe {
            Some(probe) => probe(cx.clone()).await,
            None => Ok(ProbeResult::Absent),
        }
    }

    async fn run(&self, cx: &Context) -> Result<Value, StepError> {
        (self.run)(cx.clone()).await
    }

    async fn output(&self, cx: &Context) -> Result<Value, StepError> {
        match &self.parts.output {
            Some(output) => output(cx.clone()).await,
            None => Ok(Value::Null),
        }
    }

    async fn undo(&self, cx: &Context) -> Result<(), StepError> {
        match &self.parts.undo {
            Some(undo) => undo(cx.clone()).await,
            None => Ok(()),
        }
    }

    fn saves(&self) -> bool {
        self.parts.save.is_some()
    }

    async fn save(&self, cx: &Context) -> Result<Vec<u8>, StepError> {
        match &self.parts.save {
            Some(save) => save(cx.clone()).await,
            None => Ok(Vec::new()),
        }
    }
}

fn calling<T, R>(work: impl Fn(Context) -> R + Send + Sync + 'static) -> Call<T>
where
    R: Future<Output = Result<T, StepError>> + Send + 'static,
{
    Arc::new(move |cx| Box::pin(work(cx)))
}

/// A call whose result is written as JSON.
fn returning<T, R>(work: impl Fn(Context) -> R + Send + Sync + 'static) -> Call<Value>
where
    T: Serialize + Send,
    R: Future<Output = Result<T, StepError>> + Send + 'static,
{
    Arc::new(move |cx| {
        let work = work(cx.clone());
        Box::pin(async move { cx.returns(&work.await?) })
    })
}
