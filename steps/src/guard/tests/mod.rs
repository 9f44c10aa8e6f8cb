//! Tests of the guard: its decisions, by value.

mod decide;
