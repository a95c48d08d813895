//! The work of an agent by harness's agent protocol (docs/agent-protocol.md), generic over the async
//! runtime.
//!
//! A binary is a [`Runtime`] (how to connect, spawn and sleep) and a `main` that hands it to
//! [`session::run`]. Everything else is here, and the same for all of them, so that what differs
//! between two binaries is the executor and its I/O:
//!
//! - `session`: one conversation with the harness: hello, job, clock, ready, start, events
//! - `job`: what is to be done; `prompt`: a stage's request body
//! - `summary`: the corpus, read
//! - `work`: the streams, each a task of the runtime, through their stages
//! - `call`: one request and its response over hyper's HTTP/1, stamped
//! - `lines`, `answer`: the response's bytes → lines → content, end and figures
//! - `events`: what is written at the end
//! - `clock`, `race`, `interrupt`, `about`: as they are called

pub mod about;
pub mod answer;
mod call;
pub mod clock;
mod events;
mod interrupt;
pub mod job;
pub mod lines;
pub mod prompt;
mod race;
mod runtime;
pub mod session;
pub mod summary;
mod work;

pub use runtime::{Reading, Runtime};
