//! One call: a request and its response on a connection that stands, stamped.
//!
//! What is measured is the part between `sent_ns` and `end_ns`, and in it there is nothing but hyper,
//! the stamps and the parser: the request is made before, and the events are made after the work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use crate::answer::{Answer, message_of};
use crate::clock::now_ns;
use crate::interrupt::Interrupt;
use crate::job::{Dialect, Stage};
use crate::race::{Ended, race};
use crate::runtime::{Reading, Runtime};

/// Of a response that is no answer, so many bytes are looked at for what went wrong.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Where requests go, and how answers are read: the same for all calls of a job.
pub(crate) struct Target {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) host: String,
    pub(crate) base: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) dialect: Dialect,
    pub(crate) reading: Reading,
    pub(crate) chunk_stamps: bool,
    pub(crate) interrupt: Arc<Interrupt>,
}

/// One call, as it will be reported.
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) sent_ns: i64,
    pub(crate) end_ns: i64,
    pub(crate) status: &'static str,
    pub(crate) error: Option<Value>,
    pub(crate) http_status: Option<u16>,
    pub(crate) answer: Answer,
}

/// The connection of one stream; made when it is needed.
#[derive(Default)]
pub(crate) struct Link(Option<SendRequest<Full<Bytes>>>);

/// How the HTTP side of a call ended.
enum Outcome {
    Whole,
    Refused(Vec<u8>),
    Failed(&'static str, &'static str, String),
}

impl Call {
    /// Make it. Whatever happens, there is a call to report.
    pub(crate) async fn make<R: Runtime>(
        target: &Target,
        link: &mut Link,
        stage: &Stage,
        name: String,
        body: Vec<u8>,
    ) -> Self {
        let mut call = Self {
            name,
            stage: stage.name.clone(),
            sent_ns: 0,
            end_ns: 0,
            status: "ok",
            error: None,
            http_status: None,
            answer: Answer::new(target.dialect, target.chunk_stamps),
        };
        let timeout = Duration::from_secs_f64(stage.timeout_s.min(1e9));
        let work = call.exchange::<R>(target, link, stage, body);
        let ended = race(work, R::sleep(timeout), &target.interrupt).await;
        call.end_ns = now_ns();
        let outcome = match ended {
            Ended::With(outcome) => outcome,
            Ended::Late => failed("timeout", "timeout", format!("not done after {timeout:?}")),
            Ended::Interrupted => failed("cancelled", "cancelled", "SIGTERM".to_owned()),
        };
        if matches!(outcome, Outcome::Failed(..)) || call.answer.fault.is_some() {
            *link = Link(None);
        }
        if call.sent_ns == 0 {
            call.sent_ns = call.end_ns; // it never came to be sent
        }
        call.conclude(outcome);
        call
    }

    async fn exchange<R: Runtime>(
        &mut self,
        target: &Target,
        link: &mut Link,
        stage: &Stage,
        body: Vec<u8>,
    ) -> Outcome {
        let mut request = match request(target, stage, &self.name, body) {
            Ok(request) => request,
            Err(error) => return failed("error", "request", error.to_string()),
        };
        loop {
            let (sender, kept) = match link.stand::<R>(target).await {
                Ok(stands) => stands,
                Err(error) => return failed("error", "connect", error),
            };
            self.sent_ns = now_ns();
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    self.http_status = Some(response.status().as_u16());
                    return self.read(response, target.reading).await;
                }
                Err(error) => error,
            };
            // The server hung up between two calls, and nothing of this one has been written.
            match error.take_message().filter(|_| kept) {
                Some(unsent) => request = unsent,
                None => return broken(&error.into_error()),
            }
            *link = Link(None);
        }
    }

    async fn read(&mut self, response: Response<Incoming>, reading: Reading) -> Outcome {
        let answers = response.status().is_success();
        let mut body = response.into_body();
        let mut held = Vec::new();
        let hold = match reading {
            _ if !answers => REFUSAL_BYTES_MAX,
            Reading::AsItComes => 0,
            Reading::Accumulating(bytes) => bytes,
        };
        while let Some(frame) = body.frame().await {
            let at_ns = now_ns();
            let Ok(frame) = frame else {
                let why = "the response broke off".to_owned();
                let refused = Outcome::Refused(held);
                return if answers { failed("truncated", "truncated", why) } else { refused };
            };
            let bytes = frame.into_data().unwrap_or_default();
            if hold == 0 {
                self.answer.feed(&bytes, at_ns);
            } else if answers || held.len() < hold {
                held.extend_from_slice(&bytes);
            }
            if answers && hold > 0 && held.len() >= hold {
                self.answer.feed(&held, at_ns);
                held.clear();
            }
            if self.answer.fault.is_some() {
                break; // what comes behind it is not read
            }
        }
        if !answers {
            return Outcome::Refused(held);
        }
        if self.answer.fault.is_none() {
            let at_ns = now_ns();
            self.answer.feed(&held, at_ns);
            self.answer.finish(at_ns);
        }
        Outcome::Whole
    }

    /// Status and error, in the order of the harness's own calls: a refusal, what the stream says,
    /// its proper end, and only then what became of the connection.
    fn conclude(&mut self, outcome: Outcome) {
        let whole = matches!(outcome, Outcome::Whole);
        (self.status, self.error) = match (outcome, &self.answer.fault) {
            (Outcome::Refused(body), _) => ("error", Some(self.refusal(&body))),
            (Outcome::Whole | Outcome::Failed("truncated", ..), Some(fault)) => {
                ("error", Some(fault.as_error()))
            }
            _ if self.answer.ended(whole) => ("ok", None),
            (Outcome::Failed(status, code, message), _) => (status, Some(error(code, &message))),
            (Outcome::Whole, _) => {
                let message = "the response is complete, but not the stream in it";
                ("truncated", Some(error("truncated", message)))
            }
        };
    }

    fn refusal(&self, body: &[u8]) -> Value {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let said = parsed.as_ref().and_then(|value| value.get("error")).map(message_of);
        let message = said.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body);
            text.trim().chars().take(200).collect()
        });
        error(&format!("http.{}", self.http_status.unwrap_or(0)), &message)
    }
}

impl Link {
    /// The connection, and whether it has been used before.
    async fn stand<R: Runtime>(
        &mut self,
        target: &Target,
    ) -> Result<(&mut SendRequest<Full<Bytes>>, bool), String> {
        // An answer of hyper's own: whether the connection can take another request.
        let usable = match self.0.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let kept = usable.is_some();
        let sender = match usable {
            Some(sender) => sender,
            None => open::<R>(target).await?,
        };
        Ok((self.0.insert(sender), kept))
    }
}

/// A new connection, driven by a task of its own, as hyper's users do it.
async fn open<R: Runtime>(target: &Target) -> Result<SendRequest<Full<Bytes>>, String> {
    let mut why = "no address".to_owned();
    for address in &target.addresses {
        match R::connect(*address).await {
            Ok(io) => {
                let (mut sender, connection) =
                    http1::handshake(io).await.map_err(|error| error.to_string())?;
                R::detach(async move {
                    let _ = connection.await; // the call on it says what happened
                });
                sender.ready().await.map_err(|error| error.to_string())?;
                return Ok(sender);
            }
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

fn request(
    target: &Target,
    stage: &Stage,
    name: &str,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{}", target.base, stage.path))
        .header("Host", &target.host)
        .header("Content-Type", "application/json")
        .header("X-Request-ID", name);
    let own = ["host", "content-type", "content-length", "x-request-id"];
    for (header, value) in &target.headers {
        if !own.contains(&header.to_ascii_lowercase().as_str()) {
            request = request.header(header, value);
        }
    }
    request.body(Full::new(Bytes::from(body)))
}

fn failed(status: &'static str, code: &'static str, message: String) -> Outcome {
    Outcome::Failed(status, code, message)
}

fn broken(error: &hyper::Error) -> Outcome {
    if error.is_incomplete_message() {
        return failed("truncated", "truncated", "the connection was closed".to_owned());
    }
    failed("error", "connection", error.to_string())
}

fn error(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message})
}
