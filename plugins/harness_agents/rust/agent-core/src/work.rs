//! The work: the corpus, and then the streams, each a task of the runtime, through their stages.

use std::sync::Arc;

use crate::call::{Call, Link, Target};
use crate::clock::now_ns;
use crate::job::Job;
use crate::prompt::{Known, body_of};
use crate::runtime::Runtime;
use crate::summary::{sha256_hex, summarise};

/// A part of the work, with its instants.
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

/// What one stream did.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) calls: Vec<Call>,
    /// One for each stage that was begun.
    pub(crate) phases: Vec<Phase>,
    /// What kept it from making a call at all.
    pub(crate) mistake: Option<String>,
}

/// All that there is to report.
pub(crate) struct Done {
    pub(crate) ingest: Option<Phase>,
    pub(crate) summary_sha256: Option<String>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) end_ns: i64,
}

impl Done {
    pub(crate) fn is_ok(&self, stages: usize) -> bool {
        let all_ok = |stream: &Stream| stream.calls.iter().all(|call| call.status == "ok");
        self.streams.iter().all(|stream| stream.calls.len() == stages && all_ok(stream))
    }
}

/// Do the job. Nothing is written meanwhile.
pub(crate) async fn work<R: Runtime>(job: Arc<Job>, target: Arc<Target>) -> Done {
    let mut ingest = None;
    let mut summary = None;
    if let Some(corpus) = &job.corpus {
        let start_ns = now_ns();
        summary = Some(summarise(corpus));
        ingest = Some(Phase { name: "ingest".to_owned(), start_ns, end_ns: now_ns() });
    }
    let data_summary: Arc<str> = summary.as_deref().unwrap_or_default().into();
    let tasks: Vec<_> = (0..job.streams)
        .map(|number| {
            let (job, target) = (Arc::clone(&job), Arc::clone(&target));
            R::spawn(stream::<R>(job, target, number, Arc::clone(&data_summary)))
        })
        .collect();
    let mut streams = Vec::with_capacity(tasks.len());
    for task in tasks {
        streams.push(task.await);
    }
    let end_ns = now_ns();
    Done { ingest, summary_sha256: summary.as_deref().map(sha256_hex), streams, end_ns }
}

/// One stream: its stages in order, on a connection of its own, until a call fails.
async fn stream<R: Runtime>(
    job: Arc<Job>,
    target: Arc<Target>,
    number: usize,
    data_summary: Arc<str>,
) -> Stream {
    let mut done = Stream::default();
    let mut link = Link::default();
    let mut known = Known { data_summary, stream: number, ..Known::default() };
    for stage in &job.stages {
        if target.interrupt.is_asked() {
            break;
        }
        let start_ns = now_ns();
        let name = format!("{}.{number}.{}", job.agent, stage.name);
        let body = match body_of(stage, &known) {
            Ok(body) => body,
            Err(mistake) => {
                done.mistake = Some(mistake);
                break;
            }
        };
        let call = Call::make::<R>(&target, &mut link, stage, name, body).await;
        let ok = call.status == "ok";
        known.answers.insert(stage.name.clone(), call.answer.text.clone());
        done.calls.push(call);
        done.phases.push(Phase { name: stage.name.clone(), start_ns, end_ns: now_ns() });
        if !ok {
            break;
        }
    }
    done
}
