//! A stage's request body: the harness's own, with the prompt in its place.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::job::Stage;

/// What replaces the placeholders of one stream's prompts.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Of the corpus.
    pub data_summary: Arc<str>,
    /// The stream's number.
    pub stream: usize,
    /// Texts of earlier stages, by name.
    pub answers: HashMap<String, String>,
}

/// The request's bytes, or what is wrong with the stage.
pub fn body_of(stage: &Stage, known: &Known) -> Result<Vec<u8>, String> {
    let mut body = stage.body.clone();
    let mut place = &mut body;
    for step in &stage.prompt_at {
        let next = match step {
            Value::String(key) => place.as_object_mut().and_then(|object| object.get_mut(key)),
            Value::Number(index) => {
                let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
                index.and_then(|index| place.get_mut(index))
            }
            _ => None,
        };
        place = next.ok_or_else(|| format!("stage {}: the body has no {step}", stage.name))?;
    }
    *place = Value::String(fill(&stage.prompt, stage.answer_chars_max, known));
    serde_json::to_vec(&body).map_err(|error| format!("stage {}: {error}", stage.name))
}

/// The prompt with its placeholders replaced, once: what they are replaced by is not looked into.
/// Braces around anything else stay as they are.
pub fn fill(prompt: &str, answer_chars_max: Option<usize>, known: &Known) -> String {
    let mut filled = String::with_capacity(prompt.len());
    let mut rest = prompt;
    while let Some(at) = rest.find("{{") {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find("}}").unwrap_or(0);
        match rest.get(2..end).and_then(|name| replacement(name, answer_chars_max, known)) {
            Some(text) => {
                filled.push_str(&text);
                rest = &rest[end + 2..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

fn replacement(name: &str, answer_chars_max: Option<usize>, known: &Known) -> Option<String> {
    match name {
        "data_summary" => Some(known.data_summary.to_string()),
        "stream" => Some(known.stream.to_string()),
        _ => {
            let answer = known.answers.get(name.strip_prefix("answer:")?)?;
            Some(answer.chars().take(answer_chars_max.unwrap_or(usize::MAX)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known() -> Known {
        let answers = HashMap::from([("a".to_owned(), "élan {{stream}}".to_owned())]);
        Known { data_summary: "2 files\n".into(), stream: 7, answers }
    }

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_stay() {
        let prompt =
            "{{data_summary}}{{stream}} {{{stream}}} {{answer:a}} {{answer:b}} {{x}} }} {{";
        let filled = fill(prompt, None, &known());
        assert_eq!(filled, "2 files\n7 {7} élan {{stream}} {{answer:b}} {{x}} }} {{");
    }

    #[test]
    fn answers_are_cut_by_code_points() {
        assert_eq!(fill("[{{answer:a}}]", Some(2), &known()), "[él]");
    }

    #[test]
    fn the_body_is_as_it_was_but_for_the_prompt() {
        let stage: Stage = serde_json::from_value(json!({
            "name": "s", "path": "/x", "prompt": "n {{stream}}", "timeout_s": 1.0,
            "prompt_at": ["messages", 0, "content"],
            "body": {"z": 0.2, "a": 9007199254740993u64, "messages": [{"role": "user", "content": ""}]},
        }))
        .unwrap();
        let body = String::from_utf8(body_of(&stage, &known()).unwrap()).unwrap();
        let expected =
            r#"{"z":0.2,"a":9007199254740993,"messages":[{"role":"user","content":"n 7"}]}"#;
        assert_eq!(body, expected);
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let stage: Stage = serde_json::from_value(json!({
            "name": "s", "path": "/x", "prompt": "", "timeout_s": 1.0, "prompt_at": ["input"], "body": {},
        }))
        .unwrap();
        assert_eq!(body_of(&stage, &known()).unwrap_err(), "stage s: the body has no \"input\"");
    }
}
