//! The author's own types for arguments and outputs, over the JSON that the journal keeps.

use crate::limits::{check_depth, check_output};
use crate::plan::{PlanError, StepId, StepSpec};
use crate::step::Context;
use crate::step_error::StepError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

impl StepSpec {
    /// A step like [`StepSpec::new`], with the author's own type as arguments. The step reads them with
    /// [`Context::args`].
    ///
    /// # Errors
    /// When `args` cannot be written as JSON, or cannot be kept ([`limits`](crate::limits)).
    pub fn with_args(id: impl Into<StepId>, args: &impl Serialize) -> Result<Self, PlanError> {
        let step = id.into();
        let args = match serde_json::to_value(args) {
            Ok(args) => args,
            Err(cause) => return Err(PlanError::Encode { step, cause: cause.to_string() }),
        };
        check_depth(|| format!("the arguments of step {step}"), &args)?;
        Ok(Self::new(step, args))
    }
}

impl Context {
    /// The step's arguments ([`StepSpec::with_args`]).
    ///
    /// # Errors
    /// A fatal [`StepError`] when the stored arguments are not a `T`. An earlier version of the program may
    /// have stored them: fields that are new since then need a default.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let args = self.plan.step(&self.step).map_or(&Value::Null, |spec| &spec.args);
        T::deserialize(args).map_err(|cause| {
            StepError::fatal(format!(
                "the stored arguments of step {} are not understood: {cause}",
                self.step
            ))
        })
    }

    /// The output of a done step. A step that has returned nothing has the output null, which is the `None` of
    /// an `Option`.
    ///
    /// # Errors
    /// A fatal [`StepError`] when the output is not a `T`.
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Result<T, StepError> {
        let output = self.output_value(step).unwrap_or(&Value::Null);
        T::deserialize(output).map_err(|cause| {
            StepError::fatal(format!("step {} reads the output of step {step}: {cause}", self.step))
        })
    }

    /// What a step's [`run`](crate::Step::run) returns for an output of the author's own type.
    ///
    /// # Errors
    /// A fatal [`StepError`] when `output` cannot be written as JSON, or is larger or deeper than an output may
    /// be ([`limits`](crate::limits)).
    pub fn returns(&self, output: &impl Serialize) -> Result<Value, StepError> {
        let output = serde_json::to_value(output)
            .map_err(|cause| StepError::fatal(format!("the output of step {}: {cause}", self.step)))?;
        check_output(&output).map_err(StepError::fatal)?;
        Ok(output)
    }
}
