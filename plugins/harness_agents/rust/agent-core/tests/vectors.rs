//! The protocol's test vectors (../vectors/README.md): what every agent makes of the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use agent_core::answer::{Answer, Fault};
use agent_core::job::{Corpus, Dialect};
use agent_core::summary::{sha256_hex, summarise};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const RANDOM_CUTS: u64 = 40;

fn cases(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 10, "{name} has {} cases", cases.len());
    cases
}

fn part<T: DeserializeOwned>(case: &Value, name: &str) -> T {
    serde_json::from_value(case[name].clone()).unwrap_or_else(|e| panic!("{case}: {name}: {e}"))
}

fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = alphabet.iter().position(|known| *known == letter).unwrap();
        bits = (bits << 6) | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

/// What is in it, as the vectors say it; the body came whole.
fn read(dialect: Dialect, pieces: &[&[u8]]) -> Value {
    let mut answer = Answer::new(dialect, true);
    for (at_ns, piece) in (1..).zip(pieces) {
        answer.feed(piece, at_ns);
    }
    answer.finish(i64::MAX);
    let stamps = answer.chunk_ns.as_deref().unwrap();
    assert_eq!(stamps.len(), answer.content_chunks);
    assert!(stamps.is_sorted());
    assert_eq!(stamps.first().copied(), answer.first_ns);
    assert_eq!(stamps.last().copied(), answer.last_ns);
    json!({
        "content_chunks": answer.content_chunks,
        "text": answer.text,
        "server": answer.server(),
        "ended": answer.ended(true),
        "error": match &answer.fault {
            None => Value::Null,
            Some(Fault::Said(message)) => json!(message),
            Some(Fault::NotJson(_)) => json!("not JSON"),
        },
    })
}

/// Numbers that are the same each time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

fn cut_at_random(body: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut pieces = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(1 + numbers.below(rest.len().min(60)));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

#[test]
fn streams_are_read_as_the_vectors_say_however_they_are_cut() {
    for case in cases("streams.json") {
        let dialect: Dialect = part(&case, "dialect");
        let body = match case.get("body") {
            Some(body) => body.as_str().unwrap().as_bytes().to_vec(),
            None => decode_base64(case["body_base64"].as_str().unwrap()),
        };
        let fields = ["content_chunks", "text", "server", "ended", "error"];
        let expected: Map<_, _> =
            fields.iter().map(|f| ((*f).to_owned(), case[*f].clone())).collect();
        let expected = Value::Object(expected);
        let what = format!("{dialect:?}: {}", case["name"]);
        assert_eq!(read(dialect, &[&body]), expected, "{what}, whole");
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(read(dialect, &bytes), expected, "{what}, byte by byte");
        for seed in 0..RANDOM_CUTS {
            let pieces = cut_at_random(&body, seed);
            assert_eq!(read(dialect, &pieces), expected, "{what}, seed {seed}");
        }
    }
}

#[test]
fn a_stream_that_is_torn_is_never_taken_for_a_whole_one() {
    for case in cases("streams.json").iter().filter(|case| case["ended"] == json!(true)) {
        let Some(body) = case.get("body").and_then(Value::as_str) else { continue };
        let dialect: Dialect = part(case, "dialect");
        let end = if dialect == Dialect::Ollama { "\"done\": true" } else { "[DONE]" };
        let Some(at) = body.find(end) else { continue };
        let mut answer = Answer::new(dialect, false);
        answer.feed(&body.as_bytes()[..at], 1);
        assert!(!answer.ended(false), "{dialect:?}: {}", case["name"]);
        assert_eq!(answer.fault, None, "half a line is no fault of its own: {}", case["name"]);
    }
}

#[test]
fn folders_are_summarised_as_the_vectors_say() {
    for (number, case) in cases("summaries.json").iter().enumerate() {
        let folder =
            std::env::temp_dir().join(format!("agent-core-{}-{number}", std::process::id()));
        let write = |name: &str, content: &[u8]| {
            let path: PathBuf = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in part::<Map<String, Value>>(case, "files") {
            write(&name, content.as_str().unwrap().as_bytes());
        }
        for (name, content) in part::<Map<String, Value>>(case, "files_base64") {
            write(&name, &decode_base64(content.as_str().unwrap()));
        }
        let path = folder.to_str().unwrap().to_owned();
        let corpus = Corpus { path, files: part(case, "listed") };
        let summary = summarise(&corpus);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(json!(summary), case["summary"], "{}", case["name"]);
        assert_eq!(json!(sha256_hex(&summary)), case["sha256"], "{}", case["name"]);
    }
}
