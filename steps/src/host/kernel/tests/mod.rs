//! Tests on real sockets, each in a network namespace of its own. The listeners are processes, as in a pivot.

mod harness;
mod hold;
mod redirect;
mod share;
mod steer;
