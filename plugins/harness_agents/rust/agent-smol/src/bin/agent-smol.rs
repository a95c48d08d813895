//! smol.

use std::process::ExitCode;

use agent_core::Reading;
use agent_smol::{Smol, identity};

fn main() -> ExitCode {
    let identity = identity("rust-smol", "single-thread", Reading::AsItComes);
    agent_core::session::run::<Smol>(&identity)
}
