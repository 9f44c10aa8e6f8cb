//! The attempts of a run as spans of OpenTelemetry.
//!
//! ```text
//! cargo run --manifest-path engine/examples/otel/Cargo.toml
//! ```
//!
//! The engine has a `tracing` span for each call of a step, below the span that its caller is in. A layer of
//! `tracing-opentelemetry` hands them to an exporter: here to standard output. For a collector, put the exporter of
//! `opentelemetry-otlp` in its place.
//!
//! The run has a step that fails once, and one that fails for good: the trace shows the attempts and the undos.

use fulcrum_engine::state::Journal;
use fulcrum_engine::{Engine, Plan, Session, StepError, StepSpec, Steps, step};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::error::Error;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
        .with_resource(Resource::builder().with_service_name("orders").build())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("fulcrum-engine"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;

    let key = "order 17";
    let span = tracing::info_span!("order", key);
    let ending = engine()?.run_or_resume(key, plan()?).instrument(span).await?;
    provider.shutdown()?; // Exports what is left.
    println!("{}", ending.phase);
    Ok(())
}

fn engine() -> Result<Engine, Box<dyn Error>> {
    let reserve = step("reserve").run(|_| async { Ok(()) }).undo(|_| async { Ok(()) });
    let pay = step("pay")
        .run(|cx| async move {
            match cx.attempt() {
                1 => Err(StepError::retry("the bank does not answer")),
                _ => Ok(()),
            }
        })
        .undo(|_| async { Ok(()) });
    let send = step("send")
        .run(|_| async { Err::<(), _>(StepError::fatal("there is no such address")) })
        .undo(|_| async { Ok(()) });
    let steps = Steps::new().with(reserve).with(pay).with(send);
    Ok(Engine::new(Journal::in_memory(), steps, Session::current("orders 1")?))
}

fn plan() -> Result<Plan, Box<dyn Error>> {
    let spec = |name: &str| StepSpec::with_args(name, &());
    let steps = vec![spec("reserve")?, spec("pay")?.after(["reserve"]), spec("send")?.after(["pay"])];
    Ok(Plan::new("order", steps)?)
}
