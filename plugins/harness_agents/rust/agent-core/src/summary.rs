//! The corpus, read, and its summary (docs/agent-protocol.md, "Ingest, and the data summary").
//!
//! Plain blocking reads, before any stream starts: the same for every runtime.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::job::{Corpus, Kind};

const LISTED_MAX: usize = 20;

struct FileRead<'a> {
    path: &'a str,
    kind: Kind,
    bytes: usize,
    count: usize,
}

/// The summary of all the files; those that cannot be read are counted as skipped.
pub fn summarise(corpus: &Corpus) -> String {
    let read: Vec<FileRead<'_>> = corpus
        .files
        .iter()
        .filter_map(|file| {
            let content = fs::read(Path::new(&corpus.path).join(&file.path)).ok()?;
            let count = count(file.kind, &content)?;
            Some(FileRead { path: &file.path, kind: file.kind, bytes: content.len(), count })
        })
        .collect();
    written(&read, corpus.files.len() - read.len())
}

/// SHA-256 of the text's bytes, in hex.
pub fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String does not fail
        hex
    })
}

fn written(read: &[FileRead<'_>], skipped: usize) -> String {
    let bytes: usize = read.iter().map(|file| file.bytes).sum();
    let mut lines = vec![format!("files read: {}, skipped: {skipped}, bytes: {bytes}", read.len())];
    for kind in [Kind::Csv, Kind::Json, Kind::Md] {
        let files: Vec<&FileRead<'_>> = read.iter().filter(|file| file.kind == kind).collect();
        if !files.is_empty() {
            let count: usize = files.iter().map(|file| file.count).sum();
            let bytes: usize = files.iter().map(|file| file.bytes).sum();
            let (name, unit) = words(kind);
            lines.push(format!("{name}: {} files, {count} {unit}, {bytes} bytes", files.len()));
        }
    }
    for file in read.iter().take(LISTED_MAX) {
        let (_, unit) = words(file.kind);
        lines.push(format!("- {}: {} bytes, {} {unit}", file.path, file.bytes, file.count));
    }
    if read.len() > LISTED_MAX {
        lines.push(format!("- and {} more", read.len() - LISTED_MAX));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Csv => ("csv", "rows"),
        Kind::Json => ("json", "values"),
        Kind::Md => ("md", "headings"),
    }
}

/// None where it is not of its kind.
fn count(kind: Kind, content: &[u8]) -> Option<usize> {
    let lines = || content.split(|byte| *byte == b'\n');
    match kind {
        Kind::Csv => {
            let written = lines().filter(|line| !line.trim_ascii().is_empty());
            Some(written.count().saturating_sub(1))
        }
        Kind::Md => Some(lines().filter(|line| line.first() == Some(&b'#')).count()),
        Kind::Json => serde_json::from_slice(content).ok().map(|value| leaves(&value)),
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(leaves).sum(),
        Value::Array(items) => items.iter().map(leaves).sum(),
        _ => 1,
    }
}
