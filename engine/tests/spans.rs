//! Each call of a step's method has a `tracing` span: run, step, attempt and method.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod world;

use fulcrum_engine::state::Journal;
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::Instrument;
use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use world::{Script, Shared, diamond, engine, script};

/// The fields of every span `attempt`, as text.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 += &format!("{}={value} ", field.name());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &tracing::span::Id, cx: Context<'_, S>) {
        if attributes.metadata().name() == "attempt" {
            let mut fields = Fields(String::new());
            attributes.record(&mut fields);
            if let Some(above) = attributes.parent().and_then(|above| cx.span(above)) {
                fields.0 += &format!("below={}", above.name());
            }
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[tokio::test]
async fn each_call_of_a_step_has_a_span_with_its_run_step_and_attempt() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let (journal, world) = (Journal::in_memory(), Shared::default());
    script(&world, "d", &[Script::Fail]);
    let ending = engine(&journal, &world).parallelism(1).start(diamond()).await.unwrap();
    let engine = engine(&journal, &world).parallelism(1);
    let _ = engine.roll_back(ending.run, "asked to").await.unwrap();
    let seen = spans.0.lock().unwrap().clone();
    let of = |step: &str, attempt: u32, method: &str| {
        format!("run={} step={step} attempt={attempt} method={method} ", ending.run)
    };
    let expected = [
        of("a", 1, "run"),
        of("b", 1, "save"),
        of("b", 1, "run"),
        of("c", 1, "run"),
        of("d", 1, "run"),
        of("d", 2, "run"),
        of("d", 1, "undo"),
        of("c", 1, "undo"),
        of("b", 1, "undo"),
        of("a", 1, "undo"),
    ];
    assert_eq!(seen, expected);
}

/// Also where the call has a task of its own.
#[tokio::test]
async fn attempts_are_below_the_span_of_their_caller() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let (journal, world) = (Journal::in_memory(), Shared::default());
    let engine = engine(&journal, &world);
    let _ = engine.start(diamond()).instrument(tracing::info_span!("caller")).await.unwrap();
    let seen = spans.0.lock().unwrap().clone();
    assert!(seen.len() >= 4 && seen.iter().all(|span| span.ends_with(" below=caller")), "{seen:#?}");
}
