//! What needs the whole: journal, engine, steps and, where it says so, the command.

#![allow(clippy::print_stdout, reason = "a test that skips says why")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod harness;
mod support;

// The pivot and the way back against the rehearsal cluster, and everything that can go wrong on the way.
mod hand_over;
mod hand_over_again;
mod pivot;

// The hand-over without a restart: what it leaves untouched, and when.
mod steer;

// Runs broken at named points, by the machinery of `rehearse --crash`.
mod crash_matrix;
// The same on one of three nodes.
mod crash_nodes;

// `rehearse`: what it shows, refuses and leaves behind.
mod rehearse;

// The command: exit codes and words.
mod cli;

// All nodes at one glance, again and again.
mod watch;

// What was done, as people and programs read it.
mod history;
// The page of a history, in a browser.
mod browser;

// Each refusal of the checks, provoked, in its words.
mod refusals;

// An edit of a component's flags: good, bad, killed, and taken back.
mod edit;

// An upgrade of Kubernetes: merged, emulated, taken back, finalized, killed.
mod upgrade;
mod upgrade_asked;
// The same on three nodes: each follows, or is refused.
mod upgrade_nodes;
// Another image for etcd: given, refused, killed, taken back, and what is not taken back.
mod upgrade_etcd;
// A control plane that was found self-hosted: taken over, killed, and taken back.
mod adopt;
// Certificates renewed: by kubeadm, in use everywhere, killed, and put back.
mod certs;
// Certificates in Secrets: there and back, broken, rotated, and no key elsewhere.
mod certs_in_secrets;
// After a renewal by hand: what the guard says, or does.
mod certs_guard;

// Broken nodes, and what `doctor` says of each.
mod doctor;

// Journals that earlier builds have left.
mod kept;

// What a terminal shows of a rehearsal, at 80 and at 120 columns.
mod screens;

// What a command leaves to other processes while it asks, or prints.
mod beside;

// What steps return, in the history and after a crash.
mod outputs;

// That the journal has everything which a run has changed.
mod changes;

// What is signed at the end of a run.
mod evidence;

// That no secret leaves, in any form, to any place.
mod secrets;
// What a pod of `--all-nodes` does on its host.
mod on_host;

// A terminal, or a pipe, that goes away while the command runs.
mod terminal;

// Manifests of real clusters: rehearsed, or refused with a reason.
mod wild;

// House rules that a compiler does not check.
mod tidy;
mod tidy_imports;
mod tidy_pages;
