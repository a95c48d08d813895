//! What this was built by and of, for `hello.about`: written down at compile time, because only then
//! is it known for certain.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("..");
    let lock = root.join("Cargo.lock");
    let manifest = root.join("Cargo.toml");
    for watched in [&lock, &manifest] {
        println!("cargo:rerun-if-changed={}", watched.display());
    }
    set("RUSTC", &rustc_version());
    set("TARGET", &variable("TARGET"));
    set("PROFILE", &variable("PROFILE"));
    set("SETTINGS", &profile_settings(&read(&manifest)));
    set("FLAGS", &variable("CARGO_ENCODED_RUSTFLAGS").replace('\x1f', " "));
    set("CRATES", &locked_crates(&read(&lock)));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn set(name: &str, value: &str) {
    println!("cargo:rustc-env=AGENT_{name}={value}");
}

fn rustc_version() -> String {
    let said = Command::new(variable("RUSTC")).arg("--version").output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The lines of `[profile.release]`, as `lto=fat, panic=abort`.
fn profile_settings(manifest: &str) -> String {
    let section = manifest.lines().skip_while(|line| line.trim() != "[profile.release]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    let settings = lines.filter_map(|line| line.split_once(" = "));
    let pairs: Vec<String> =
        settings.map(|(name, value)| format!("{name}={}", value.trim_matches('"'))).collect();
    pairs.join(", ")
}

/// `name=version` of every package that is locked, with `;` between them.
fn locked_crates(lock: &str) -> String {
    let value = |line: &str, key: &str| {
        let quoted = line.strip_prefix(key)?.strip_prefix(" = ")?;
        Some(quoted.trim_matches('"').to_owned())
    };
    let mut crates = Vec::new();
    let mut name = String::new();
    for line in lock.lines() {
        if let Some(found) = value(line, "name") {
            name = found;
        } else if let Some(version) = value(line, "version").filter(|_| !name.is_empty()) {
            crates.push(format!("{name}={version}"));
            name.clear();
        }
    }
    crates.join(";")
}
