//! Anthropic's Messages API (`POST /v1/messages`), as claude asks it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::reply::{Refusal, Reply, events, texts};
use super::{Heard, StandIn};

const USAGE: [u64; 2] = [12, 7];

pub(super) async fn count() -> Json<Value> {
    Json(json!({"input_tokens": USAGE[0]}))
}

pub(super) async fn answer(State(stand_in): State<StandIn>, Json(asked): Json<Value>) -> Response {
    let heard = heard(&asked);
    let stream = heard.stream;
    let (block, stop, whole) = match stand_in.reply(heard) {
        Reply::Text(text) => (text_block(&text), "end_turn", true),
        Reply::Beginning(text) => (text_block(&text), "end_turn", false),
        Reply::Tool(command) => (tool_block(&command), "tool_use", true),
        Reply::Refused(refusal) => return refusal.response(error(&refusal)),
    };
    let mut message = json!({
        "id": "msg_stand_in", "type": "message", "role": "assistant",
        "model": asked["model"], "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": USAGE[0], "output_tokens": USAGE[1]},
    });
    if stream {
        return events(streamed(message, &block, stop, whole), whole);
    }
    message["content"] = json!([block]);
    message["stop_reason"] = stop.into();
    Json(message).into_response()
}

fn heard(asked: &Value) -> Heard {
    let messages = asked["messages"].as_array().cloned().unwrap_or_default();
    let users = messages.iter().filter(|message| message["role"] == "user");
    let last = messages.last().map(|message| message["content"].clone());
    let is_result = |block: &Value| block["type"] == "tool_result";
    let blocks = last.and_then(|content| content.as_array().cloned());
    Heard {
        prompts: users
            .flat_map(|message| texts(&message["content"]))
            .collect(),
        after_tool: blocks.is_some_and(|blocks| blocks.iter().any(is_result)),
        has_tools: asked["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty()),
        stream: asked["stream"] == true,
    }
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn tool_block(command: &str) -> Value {
    let input = json!({"command": command, "description": "Runs a command"});
    json!({"type": "tool_use", "id": "toolu_stand_in", "name": "Bash", "input": input})
}

fn streamed(message: Value, block: &Value, stop: &str, whole: bool) -> Vec<(&'static str, Value)> {
    let (empty, delta) = match block["type"].as_str() {
        Some("tool_use") => {
            let mut empty = block.clone();
            empty["input"] = json!({});
            let input = block["input"].to_string();
            (
                empty,
                json!({"type": "input_json_delta", "partial_json": input}),
            )
        }
        _ => (
            text_block(""),
            json!({"type": "text_delta", "text": block["text"]}),
        ),
    };
    let mut all = vec![
        ("message_start", json!({"message": message})),
        (
            "content_block_start",
            json!({"index": 0, "content_block": empty}),
        ),
        ("content_block_delta", json!({"index": 0, "delta": delta})),
    ];
    if whole {
        let delta = json!({"stop_reason": stop, "stop_sequence": null});
        let usage = json!({"output_tokens": USAGE[1]});
        all.extend([
            ("content_block_stop", json!({"index": 0})),
            ("message_delta", json!({"delta": delta, "usage": usage})),
            ("message_stop", json!({})),
        ]);
    }
    for (name, data) in &mut all {
        data["type"] = (*name).into();
    }
    all
}

fn error(refusal: &Refusal) -> Value {
    let (kind, message) = match refusal {
        Refusal::RateLimited { .. } => (
            "rate_limit_error",
            "This request would exceed your account's rate limit. Please try again later.",
        ),
        Refusal::TooLong => (
            "invalid_request_error",
            "prompt is too long: 201000 tokens > 200000 maximum",
        ),
        Refusal::Failed { status: 401 } => ("authentication_error", "invalid x-api-key"),
        Refusal::Failed { status: 400 } => ("invalid_request_error", "the stand-in refuses"),
        Refusal::Failed { .. } => ("api_error", "Internal server error"),
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}
