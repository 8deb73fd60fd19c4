//! OpenAI's Chat Completions API (`POST /v1/chat/completions`), as qwen and opencode
//! ask it; and how OpenAI says no.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::reply::{Refusal, Reply, events, texts};
use super::{Heard, StandIn};

pub(super) async fn answer(State(stand_in): State<StandIn>, Json(asked): Json<Value>) -> Response {
    let heard = heard(&asked);
    let stream = heard.stream;
    let (mut message, reason, whole) = match stand_in.reply(heard) {
        Reply::Text(text) => (json!({"content": text}), "stop", true),
        Reply::Beginning(text) => (json!({"content": text}), "stop", false),
        Reply::Tool(command) => (call(&asked, &command), "tool_calls", true),
        Reply::Refused(refusal) => return refusal.response(error(&refusal)),
    };
    message["role"] = "assistant".into();
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19});
    let chunk = |choices: Value, usage: &Value, object: &str| {
        json!({
            "id": "chatcmpl-stand-in", "object": object, "created": 1_767_225_600,
            "model": asked["model"], "choices": choices, "usage": usage,
        })
    };
    if !stream {
        let choice = json!([{"index": 0, "message": message, "finish_reason": reason}]);
        return Json(chunk(choice, &usage, "chat.completion")).into_response();
    }
    let piece = |choices, usage: &Value| ("", chunk(choices, usage, "chat.completion.chunk"));
    let choice = json!([{"index": 0, "delta": message, "finish_reason": null}]);
    let mut all = vec![piece(choice, &Value::Null)];
    if whole {
        let end = json!([{"index": 0, "delta": {}, "finish_reason": reason}]);
        all.push(piece(end, &Value::Null));
        all.push(piece(json!([]), &usage));
    }
    events(all, whole)
}

fn heard(asked: &Value) -> Heard {
    let messages = asked["messages"].as_array().cloned().unwrap_or_default();
    let users = messages.iter().filter(|message| message["role"] == "user");
    Heard {
        prompts: users
            .flat_map(|message| texts(&message["content"]))
            .collect(),
        after_tool: messages
            .last()
            .is_some_and(|message| message["role"] == "tool"),
        has_tools: asked["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty()),
        stream: asked["stream"] == true,
    }
}

/// A call of whichever tool for commands was offered.
fn call(asked: &Value, command: &str) -> Value {
    let tools = asked["tools"].as_array();
    let names = tools
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["function"]["name"].as_str());
    let is_shell = |name: &&str| ["bash", "run_shell_command", "shell"].contains(name);
    let name = names.clone().find(is_shell).unwrap_or("run_shell_command");
    let arguments = json!({
        "command": command, "description": "Runs a command", "is_background": false,
    });
    let function = json!({"name": name, "arguments": arguments.to_string()});
    let call = json!({
        "index": 0, "id": "call_stand_in", "type": "function", "function": function,
    });
    json!({"content": null, "tool_calls": [call]})
}

/// How OpenAI's APIs refuse.
pub(super) fn error(refusal: &Refusal) -> Value {
    let (kind, code, message) = match refusal {
        Refusal::RateLimited { .. } => (
            "rate_limit_exceeded",
            "rate_limit_exceeded",
            "Rate limit reached for requests. Please try again later.",
        ),
        Refusal::TooLong => (
            "invalid_request_error",
            "context_length_exceeded",
            "Your input exceeds the context window of this model. \
             Please adjust your input and try again.",
        ),
        Refusal::Failed { status: 401 } => (
            "invalid_request_error",
            "invalid_api_key",
            "Incorrect API key provided.",
        ),
        Refusal::Failed { status: 400 } => {
            ("invalid_request_error", "invalid", "the stand-in refuses")
        }
        Refusal::Failed { .. } => ("server_error", "server_error", "Internal server error"),
    };
    json!({"error": {"message": message, "type": kind, "code": code, "param": null}})
}
