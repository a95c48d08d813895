//! One conversation with the harness, from `hello` to the end of the process.

use std::io::{self, BufRead};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;

use hyper::Uri;
use serde_json::{Value, json};

use crate::call::Target;
use crate::clock::{now_ns, sleep_until};
use crate::events::{report, say};
use crate::interrupt::Interrupt;
use crate::job::{Job, PROTOCOL};
use crate::runtime::{Reading, Runtime};
use crate::work::work;
use crate::{about, about::version_of};

/// The harness asks for the time so often.
const CLOCKS: usize = 5;

/// Who this is.
pub struct Identity {
    /// As the harness lists it.
    pub name: &'static str,
    /// The crate that is the runtime; its version is said.
    pub runtime: &'static str,
    /// Which of its flavours.
    pub flavour: &'static str,
    /// Crates that are this runtime's own, beside what all agents share.
    pub crates: &'static [&'static str],
    /// What a reader of the results should know.
    pub note: &'static str,
    /// How bytes reach the parser.
    pub reading: Reading,
}

/// `main` of every binary. `--about` says what it is made of, and does nothing else.
pub fn run<R: Runtime>(identity: &Identity) -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => converse::<R>(identity),
        Some("--about") => say(&about_of(identity, None)).map(|()| true).map_err(|e| e.to_string()),
        Some(other) => {
            Err(format!("{other}: takes no arguments but --about; a job comes by stdin"))
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            // Whoever should read it may be gone.
            let _ = say(&json!({"t": "error", "message": message}));
            eprintln!("{}: {message}", identity.name);
            ExitCode::FAILURE
        }
    }
}

/// True if all went well.
fn converse<R: Runtime>(identity: &Identity) -> Result<bool, String> {
    let interrupt = Interrupt::listen().map_err(|error| format!("no signal handler: {error}"))?;
    let mut lines = io::stdin().lock().lines();
    let mut next = || match lines.next() {
        Some(line) => line.map_err(gone),
        None => Err("standard input ended before the start".to_owned()),
    };
    let job = Arc::new(Job::read(&next()?)?);
    let target = Arc::new(target(&job, identity.reading, interrupt)?);
    let runtime = R::start().map_err(|error| format!("the runtime does not start: {error}"))?;
    // Not before: a job that cannot be done is answered by `error` alone.
    say(&hello(identity, runtime.threads())).map_err(gone)?;
    warm_up(&runtime);
    let start_ns = wait_for_start(next)?;
    sleep_until(start_ns);
    let begin_ns = now_ns();
    target.interrupt.work_begins();
    let done = runtime.block_on(work::<R>(Arc::clone(&job), target));
    report(&job, identity.reading, begin_ns, &done).map_err(gone)?;
    Ok(done.is_ok(job.stages.len()))
}

/// Clock lines, until the harness gives the instant at which to begin.
fn wait_for_start(mut next: impl FnMut() -> Result<String, String>) -> Result<i64, String> {
    let mut clocks = 0;
    loop {
        let line: Value =
            serde_json::from_str(&next()?).map_err(|error| format!("not JSON: {error}"))?;
        match line.get("t").and_then(Value::as_str) {
            Some("clock") => {
                say(&json!({"t": "clock", "n": line["n"], "at_ns": now_ns()})).map_err(gone)?;
                clocks += 1;
                if clocks == CLOCKS {
                    say(&json!({"t": "ready"})).map_err(gone)?;
                }
            }
            Some("start") => {
                return line["at_ns"].as_i64().ok_or_else(|| "start without at_ns".to_owned());
            }
            _ => return Err("a line that is neither clock nor start".to_owned()),
        }
    }
}

/// Threads that are started with the first task, timers with the first sleep: not within the work.
fn warm_up<R: Runtime>(runtime: &R) {
    runtime.block_on(async {
        R::spawn(R::sleep(std::time::Duration::from_nanos(1))).await;
    });
}

fn target(job: &Job, reading: Reading, interrupt: Arc<Interrupt>) -> Result<Target, String> {
    let url = &job.endpoint.url;
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(format!("{url}: this agent speaks no TLS (try: backend.tap: true)"));
        }
        _ => return Err(format!("{url}: not an http url")),
    }
    let authority = uri.authority().ok_or_else(|| format!("{url}: no host"))?;
    Ok(Target {
        addresses: addresses(authority.host(), uri.port_u16().unwrap_or(80))?,
        host: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
        base: uri.path().trim_end_matches('/').to_owned(),
        headers: job.endpoint.headers.clone(),
        dialect: job.endpoint.dialect,
        reading,
        chunk_stamps: job.chunk_stamps,
        interrupt,
    })
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    Ok(found.collect())
}

fn hello(identity: &Identity, threads: usize) -> Value {
    let version = version_of(identity.runtime);
    json!({
        "t": "hello",
        "protocol": PROTOCOL,
        "name": identity.name,
        "version": env!("CARGO_PKG_VERSION"),
        "language": "Rust",
        "runtime": format!("{} {version} {}", identity.runtime, identity.flavour).trim_end(),
        "about": about_of(identity, Some(threads)),
    })
}

fn about_of(identity: &Identity, threads: Option<usize>) -> Value {
    let mut about = about::about(identity.crates, identity.note);
    about["runtime"] = json!(format!("{} {}", identity.runtime, identity.flavour).trim_end());
    if let Some(threads) = threads {
        about["threads"] = json!(threads);
    }
    about
}

fn gone(error: io::Error) -> String {
    format!("the harness cannot be reached: {error}")
}
