//! Tests of the guard: its decisions by value, and the whole of it on the rehearsal cluster.

mod decide;
mod rehearsed;
