//! The job: what the harness wants done (docs/agent-protocol.md, "The job").

use serde::Deserialize;
use serde_json::Value;

/// The version of the protocol that this code knows.
pub const PROTOCOL: u64 = 1;

/// One piece of work. What is for information only is not read.
#[derive(Debug, Deserialize)]
pub struct Job {
    /// This agent's name within the run.
    pub agent: String,
    /// Where to send requests.
    pub endpoint: Endpoint,
    /// What to read first.
    #[serde(default)]
    pub corpus: Option<Corpus>,
    /// What each stream goes through, in order.
    pub stages: Vec<Stage>,
    /// How many times the stages are gone through, at once.
    #[serde(default = "one")]
    pub streams: usize,
    /// Whether to report an instant for every content chunk.
    #[serde(default)]
    pub chunk_stamps: bool,
    /// Whether to report the text.
    #[serde(default)]
    pub keep_text: bool,
}

/// Where to send requests, and in what tongue the answers are.
#[derive(Debug, Deserialize)]
pub struct Endpoint {
    /// Scheme, host, port.
    pub url: String,
    /// How answers are framed.
    pub dialect: Dialect,
    /// For every request.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// How answers are framed, and what is what in them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// NDJSON.
    Ollama,
    /// Server-Sent Events.
    Openai,
}

/// A folder, and what to read of it.
#[derive(Debug, Deserialize)]
pub struct Corpus {
    /// The folder.
    pub path: String,
    /// In the order in which they are to be read.
    pub files: Vec<CorpusFile>,
}

/// One file of the corpus.
#[derive(Debug, Deserialize)]
pub struct CorpusFile {
    /// Relative to the folder.
    pub path: String,
    /// What is counted in it.
    pub kind: Kind,
}

/// What is counted in a file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rows.
    Csv,
    /// Values.
    Json,
    /// Headings.
    Md,
}

/// One call of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Stage {
    /// Such as `analysis`.
    pub name: String,
    /// Of the request, below the endpoint's url.
    pub path: String,
    /// The request's JSON, complete but for the prompt.
    pub body: Value,
    /// Where in the body the prompt belongs: keys and indices.
    #[serde(default)]
    pub prompt_at: Vec<Value>,
    /// With placeholders.
    pub prompt: String,
    /// Of an earlier answer, so many code points are taken.
    #[serde(default)]
    pub answer_chars_max: Option<usize>,
    /// From sending to the end of the response.
    pub timeout_s: f64,
}

fn one() -> usize {
    1
}

impl Job {
    /// The job of a line, or what is wrong with it in one line.
    pub fn read(line: &str) -> Result<Self, String> {
        let raw: Value =
            serde_json::from_str(line).map_err(|error| format!("the job is not JSON: {error}"))?;
        let protocol = raw.get("protocol").and_then(Value::as_u64);
        if protocol != Some(PROTOCOL) {
            let asked = raw.get("protocol").unwrap_or(&Value::Null);
            return Err(format!("this agent speaks protocol {PROTOCOL}, and not {asked}"));
        }
        let job: Self =
            serde_json::from_value(raw).map_err(|error| format!("the job is wrong: {error}"))?;
        for stage in &job.stages {
            let known = stage.timeout_s.is_finite() && stage.timeout_s > 0.0;
            if !known {
                return Err(format!("stage {}: timeout_s must be above 0", stage.name));
            }
        }
        Ok(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_protocol_is_refused_whatever_else_the_job_says() {
        let said = Job::read(r#"{"t": "job", "protocol": 999}"#).unwrap_err();
        assert_eq!(said, "this agent speaks protocol 1, and not 999");
        assert!(Job::read("{").unwrap_err().starts_with("the job is not JSON"));
        assert!(Job::read(r#"{"protocol": 1}"#).unwrap_err().contains("missing field `agent`"));
    }

    #[test]
    fn a_stage_needs_time() {
        for timeout in ["0", "-1"] {
            let stage = format!(
                r#"{{"name":"s","path":"/","body":{{}},"prompt":"","timeout_s":{timeout}}}"#
            );
            let job = format!(
                r#"{{"protocol":1,"agent":"a","endpoint":{{"url":"","dialect":"openai"}},"stages":[{stage}]}}"#
            );
            assert!(Job::read(&job).unwrap_err().contains("timeout_s"));
        }
    }
}
