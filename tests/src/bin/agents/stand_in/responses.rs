//! OpenAI's Responses API (`POST /v1/responses`), as codex asks it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::chat::error;
use super::reply::{Refusal, Reply, events, now, texts};
use super::{Heard, StandIn};

const ID: &str = "resp_stand_in";

pub(super) async fn answer(State(stand_in): State<StandIn>, Json(asked): Json<Value>) -> Response {
    let heard = heard(&asked);
    let stream = heard.stream;
    let (item, whole) = match stand_in.reply(heard) {
        Reply::Text(text) => (message(&text), true),
        Reply::Beginning(text) => (message(&text), false),
        Reply::Tool(command) => (call(&asked, &command), true),
        Reply::Refused(refusal) => return refusal.response(refused(&refusal)),
    };
    let done = json!({
        "id": ID, "object": "response", "status": "completed", "model": asked["model"],
        "output": [item.clone()],
        "usage": {
            "input_tokens": 12, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 19,
        },
    });
    match stream {
        true => events(streamed(&item, done, whole), whole),
        false => Json(done).into_response(),
    }
}

fn heard(asked: &Value) -> Heard {
    let input = asked["input"].as_array().cloned().unwrap_or_default();
    let users = input.iter().filter(|item| item["role"] == "user");
    let result = |item: &Value| {
        let kind = item["type"].as_str().unwrap_or_default();
        kind.ends_with("call_output")
    };
    Heard {
        prompts: users.flat_map(|item| texts(&item["content"])).collect(),
        after_tool: input.last().is_some_and(result),
        has_tools: asked["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty()),
        stream: asked["stream"] == true,
    }
}

fn message(text: &str) -> Value {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    json!({"type": "message", "id": "msg_stand_in", "role": "assistant", "content": content})
}

/// A call of whichever tool for commands was offered.
fn call(asked: &Value, command: &str) -> Value {
    let offered = |name: &str| {
        let tools = asked["tools"].as_array();
        tools.is_some_and(|tools| tools.iter().any(|tool| tool["name"] == name))
    };
    let (name, arguments) = match () {
        () if offered("exec_command") => ("exec_command", json!({"cmd": command})),
        () if offered("shell_command") => ("shell_command", json!({"command": command})),
        () => ("shell", json!({"command": ["sh", "-c", command]})),
    };
    let arguments = arguments.to_string();
    json!({
        "type": "function_call", "id": "fc_stand_in", "call_id": "call_stand_in",
        "name": name, "arguments": arguments,
    })
}

fn streamed(item: &Value, done: Value, whole: bool) -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("response.created", json!({"response": {"id": ID}})),
        (
            "response.output_item.added",
            json!({"output_index": 0, "item": item}),
        ),
    ];
    if let Some(text) = item["content"][0]["text"].as_str() {
        let delta = json!({"output_index": 0, "content_index": 0, "delta": text});
        all.push(("response.output_text.delta", delta));
    }
    if whole {
        let item = json!({"output_index": 0, "item": item});
        all.push(("response.output_item.done", item));
        all.push(("response.completed", json!({"response": done})));
    }
    for (name, data) in &mut all {
        data["type"] = (*name).into();
    }
    all
}

/// How this API refuses; the limit is a subscriber's, of which it tells the end.
fn refused(refusal: &Refusal) -> Value {
    match refusal {
        Refusal::RateLimited { until } => json!({"error": {
            "type": "usage_limit_reached", "message": "The usage limit has been reached",
            "plan_type": "pro", "resets_at": until,
            "resets_in_seconds": until.saturating_sub(now()),
        }}),
        refusal => error(refusal),
    }
}
