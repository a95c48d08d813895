//! smol with a reader that gathers 1,024 bytes before it looks at them, as some published agents did.
//! It cannot see a first token, and says so.

use std::process::ExitCode;

use agent_core::Reading;
use agent_smol::{Smol, identity};

fn main() -> ExitCode {
    let reading = Reading::Accumulating(1024);
    let identity = identity("rust-smol-1kb", "single-thread, 1,024 byte reader", reading);
    agent_core::session::run::<Smol>(&identity)
}
