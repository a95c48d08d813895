//! A response's body, read: content, text, proper end and the server's figures (docs/agent-protocol.md,
//! "Reading the answer").
//!
//! Every line or event is parsed as soon as it is complete, with the instant at which its last byte was
//! handed to us; so an agent would, that shows text as it comes. What comes behind an error is not read.

use serde_json::{Map, Value, json};

use crate::job::Dialect;
use crate::lines::{Ends, Events, Lines};

/// A line or event that is longer is taken for a fault, and not kept.
pub const PIECE_BYTES_MAX: usize = 16 << 20;
/// Nothing grows beneath the stamps of an ordinary answer.
const CHUNKS_EXPECTED: usize = 4096;
const NOT_FIGURES: [&str; 4] = ["message", "response", "thinking", "context"];

/// What went wrong within a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server says so.
    Said(String),
    /// A line or event is no JSON object.
    NotJson(String),
}

/// Collects what a body says.
#[derive(Debug)]
pub struct Answer {
    /// The answer, without reasoning.
    pub text: String,
    /// Lines or events with content.
    pub content_chunks: usize,
    /// When the first of them came …
    pub first_ns: Option<i64>,
    /// … and the last.
    pub last_ns: Option<i64>,
    /// When each of them came, if that was asked for.
    pub chunk_ns: Option<Vec<i64>>,
    /// What ended the reading.
    pub fault: Option<Fault>,
    dialect: Dialect,
    lines: Lines,
    events: Events,
    done: bool,
    finished: bool,
    last: Map<String, Value>,
    figures: Map<String, Value>,
}

impl Answer {
    /// Of an empty body.
    pub fn new(dialect: Dialect, chunk_stamps: bool) -> Self {
        let ends = if dialect == Dialect::Ollama { Ends::Lf } else { Ends::LfOrCr };
        Self {
            text: String::with_capacity(CHUNKS_EXPECTED),
            content_chunks: 0,
            first_ns: None,
            last_ns: None,
            chunk_ns: chunk_stamps.then(|| Vec::with_capacity(CHUNKS_EXPECTED)),
            fault: None,
            dialect,
            lines: Lines::new(ends),
            events: Events::default(),
            done: false,
            finished: false,
            last: Map::new(),
            figures: Map::new(),
        }
    }

    /// Bytes of the body that were handed to us at this instant.
    pub fn feed(&mut self, bytes: &[u8], at_ns: i64) {
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(Ends::Lf));
        lines.feed(bytes, |line| self.line(line, at_ns));
        self.lines = lines;
    }

    /// The body is whole: what has no line end is a line all the same.
    pub fn finish(&mut self, at_ns: i64) {
        let rest = self.lines.rest();
        if !rest.is_empty() {
            self.line(&rest, at_ns);
        }
        let mut events = std::mem::take(&mut self.events);
        events.dispatch(|data| self.piece(data, at_ns));
    }

    /// Whether the stream has its proper end.
    pub fn ended(&self, body_is_whole: bool) -> bool {
        self.fault.is_none() && (self.done || (self.finished && body_is_whole))
    }

    /// The server's own figures, as it gave them.
    pub fn server(&self) -> Value {
        match self.dialect {
            Dialect::Ollama => Value::Object(self.last.clone()),
            Dialect::Openai => Value::Object(self.figures.clone()),
        }
    }

    fn line(&mut self, line: &[u8], at_ns: i64) {
        match self.dialect {
            Dialect::Ollama => self.piece(line, at_ns),
            Dialect::Openai => {
                let mut events = std::mem::take(&mut self.events);
                events.feed(line, |data| self.piece(data, at_ns));
                self.events = events;
            }
        }
    }

    /// One line of NDJSON, or one event's data.
    fn piece(&mut self, bytes: &[u8], at_ns: i64) {
        if self.fault.is_some() || bytes.trim_ascii().is_empty() {
            return;
        }
        if self.dialect == Dialect::Openai && bytes.trim_ascii() == b"[DONE]" {
            self.done = true;
            return;
        }
        let Some(found) = object(bytes) else {
            let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            self.fault = Some(Fault::NotJson(beginning));
            return;
        };
        let has_content = match self.dialect {
            Dialect::Ollama => self.ollama(found),
            Dialect::Openai => self.openai(found),
        };
        if has_content {
            self.content_chunks += 1;
            self.first_ns.get_or_insert(at_ns);
            self.last_ns = Some(at_ns);
            if let Some(stamps) = &mut self.chunk_ns {
                stamps.push(at_ns);
            }
        }
    }

    fn ollama(&mut self, mut line: Map<String, Value>) -> bool {
        let message = line.get("message");
        let in_message = |name| message.and_then(|message| message.get(name));
        let text = [in_message("content"), line.get("response")];
        let other = [in_message("thinking"), line.get("thinking"), in_message("tool_calls")];
        let has_content = text.iter().chain(&other).any(|value| is_not_empty(*value));
        text.iter().for_each(|piece| push(&mut self.text, *piece));
        self.done |= line.get("done") == Some(&Value::Bool(true));
        self.note_fault(line.get("error"));
        NOT_FIGURES.iter().for_each(|name| drop(line.shift_remove(*name)));
        self.last = line;
        has_content
    }

    fn openai(&mut self, event: Map<String, Value>) -> bool {
        for name in ["usage", "timings"] {
            self.note_figure(name, event.get(name));
        }
        self.note_fault(event.get("error"));
        let Some(choice) = event.get("choices").and_then(|choices| choices.get(0)) else {
            return false;
        };
        let reason = choice.get("finish_reason");
        self.finished |= reason.is_some_and(|reason| !reason.is_null());
        self.note_figure("finish_reason", reason);
        let delta = choice.get("delta");
        let in_delta = |name| delta.and_then(|delta| delta.get(name));
        let text = [in_delta("content"), choice.get("text")];
        let other = ["reasoning_content", "reasoning", "tool_calls"].map(in_delta);
        text.iter().for_each(|piece| push(&mut self.text, *piece));
        text.iter().chain(&other).any(|value| is_not_empty(*value))
    }

    fn note_figure(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.figures.insert(name.to_owned(), value.clone());
        }
    }

    fn note_fault(&mut self, error: Option<&Value>) {
        if let Some(error) = error.filter(|error| !error.is_null()) {
            self.fault = Some(Fault::Said(message_of(error)));
        }
    }
}

/// What an `error` field says: its text, or that of its `message`.
pub fn message_of(error: &Value) -> String {
    let text = error.as_str().or_else(|| error.get("message").and_then(Value::as_str));
    text.map_or_else(|| error.to_string(), str::to_owned)
}

/// A JSON object; bytes that are not UTF-8 become U+FFFD.
fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    if bytes.len() > PIECE_BYTES_MAX {
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text).ok(),
        Err(_) => serde_json::from_str(&String::from_utf8_lossy(bytes)).ok(),
    }
}

fn is_not_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    }
}

fn push(text: &mut String, piece: Option<&Value>) {
    if let Some(piece) = piece.and_then(Value::as_str) {
        text.push_str(piece);
    }
}

impl Fault {
    /// As `call_end` has it.
    pub fn as_error(&self) -> Value {
        match self {
            Fault::Said(message) => json!({"code": "stream", "message": message}),
            Fault::NotJson(beginning) => {
                json!({"code": "protocol", "message": format!("not JSON: {beginning}")})
            }
        }
    }
}
