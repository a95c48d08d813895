//! What this binary is made of, as it was written down when it was built.

use serde_json::{Value, json};

/// `hello.about`: compiler, target, profile, and the versions of the crates that make the difference.
pub fn about(crates: &[&str], note: &str) -> Value {
    let locked = |name: &&str| {
        let entry = env!("AGENT_CRATES").split(';').find(|e| e.split('=').next() == Some(*name));
        let version = entry.and_then(|e| e.split_once('=')).map(|(_, version)| version);
        ((*name).to_owned(), json!(version))
    };
    let common = ["hyper", "http-body-util", "bytes", "serde_json"];
    json!({
        "rustc": env!("AGENT_RUSTC"),
        "target": env!("AGENT_TARGET"),
        "profile": env!("AGENT_PROFILE"),
        "settings": if env!("AGENT_PROFILE") == "release" { env!("AGENT_SETTINGS") } else { "" },
        "rustflags": env!("AGENT_FLAGS"),
        "allocator": "system",
        "crates": crates.iter().chain(&common).map(locked).collect::<serde_json::Map<_, _>>(),
        "note": note,
    })
}

/// The locked version of a crate.
pub fn version_of(name: &str) -> &'static str {
    let entries = env!("AGENT_CRATES").split(';').filter_map(|entry| entry.split_once('='));
    entries.into_iter().find(|(found, _)| *found == name).map_or("?", |(_, version)| version)
}
