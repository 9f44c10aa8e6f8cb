//! On real sockets, each test in a network namespace of its own, with listeners that are processes of their
//! own: what is steered is what a pivot steers.

mod harness;
mod hold;
mod redirect;
mod share;
mod steer;
