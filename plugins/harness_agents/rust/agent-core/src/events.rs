//! Events (docs/agent-protocol.md, "Events"): written when the work is done, because a write in the
//! middle of a stream is itself a disturbance.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::call::Call;
use crate::job::Job;
use crate::runtime::Reading;
use crate::work::{Done, Phase, Stream};

/// One event, at once.
pub(crate) fn say(event: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    line(&mut out, event)?;
    out.flush()
}

/// All that came of the work, in order.
pub(crate) fn report(job: &Job, reading: Reading, begin_ns: i64, done: &Done) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    line(&mut out, &json!({"t": "begin", "at_ns": begin_ns}))?;
    if let Some(ingest) = &done.ingest {
        phase(&mut out, ingest, |_| Ok(()))?;
    }
    for stream in &done.streams {
        calls(&mut out, job, reading, stream)?;
    }
    let mistake = done.streams.iter().find_map(|stream| stream.mistake.as_ref());
    if let Some(message) = mistake {
        line(&mut out, &json!({"t": "error", "message": message}))?;
    } else {
        let status = if done.is_ok(job.stages.len()) { "ok" } else { "error" };
        let mut result = json!({"t": "result", "at_ns": done.end_ns, "status": status});
        if let Some(digest) = &done.summary_sha256 {
            result["data"] = json!({"summary_sha256": digest});
        }
        line(&mut out, &result)?;
    }
    out.flush()
}

fn calls(out: &mut impl Write, job: &Job, reading: Reading, stream: &Stream) -> io::Result<()> {
    let alone = job.streams == 1;
    for (made, within) in stream.calls.iter().zip(&stream.phases) {
        if alone {
            phase(out, within, |out| call(out, job, reading, made))?;
        } else {
            call(out, job, reading, made)?;
        }
    }
    Ok(())
}

fn phase<W: Write>(
    out: &mut W,
    phase: &Phase,
    within: impl FnOnce(&mut W) -> io::Result<()>,
) -> io::Result<()> {
    line(out, &json!({"t": "phase_start", "name": phase.name, "at_ns": phase.start_ns}))?;
    within(out)?;
    line(out, &json!({"t": "phase_end", "name": phase.name, "at_ns": phase.end_ns}))
}

fn call(out: &mut impl Write, job: &Job, reading: Reading, call: &Call) -> io::Result<()> {
    let (name, answer) = (&call.name, &call.answer);
    let sent = json!({"t": "call_sent", "call": name, "stage": call.stage, "at_ns": call.sent_ns});
    line(out, &sent)?;
    let blind = reading.blind();
    let tokens = [("call_first_token", answer.first_ns), ("call_last_token", answer.last_ns)];
    for (t, at_ns) in tokens.iter().filter(|(_, at_ns)| at_ns.is_some()) {
        line(
            out,
            &match &blind {
                None => json!({"t": t, "call": name, "at_ns": at_ns}),
                Some(reason) => json!({"t": t, "call": name, "at_ns": null, "reason": reason}),
            },
        )?;
    }
    let mut end = json!({
        "t": "call_end",
        "call": name,
        "at_ns": call.end_ns,
        "status": call.status,
        "http_status": call.http_status,
        "content_chunks": answer.content_chunks,
        "server": answer.server(),
    });
    if job.keep_text {
        end["text"] = json!(answer.text);
    }
    if let Some(stamps) = answer.chunk_ns.as_ref().filter(|_| blind.is_none()) {
        end["chunk_ns"] = json!(stamps);
    }
    if let Some(error) = &call.error {
        end["error"] = error.clone();
    }
    line(out, &end)
}

fn line(out: &mut impl Write, event: &Value) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}
