//! Google's Gemini API (`POST /v1beta/models/MODEL:generateContent` and
//! `:streamGenerateContent?alt=sse`), as gemini asks it.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::reply::{Refusal, Reply, events, texts};
use super::{Heard, StandIn};

pub(super) async fn answer(
    State(stand_in): State<StandIn>,
    Path(call): Path<String>,
    Json(asked): Json<Value>,
) -> Response {
    if call.ends_with(":countTokens") {
        return Json(json!({"totalTokens": 12})).into_response();
    }
    let stream = call.ends_with(":streamGenerateContent");
    let (part, whole) = match stand_in.reply(heard(&asked, stream)) {
        Reply::Text(text) => (json!({"text": text}), true),
        Reply::Beginning(text) => (json!({"text": text}), false),
        Reply::Tool(command) => {
            let arguments = json!({"command": command, "description": "Runs a command"});
            let call = json!({"name": "run_shell_command", "args": arguments});
            (json!({"functionCall": call}), true)
        }
        Reply::Refused(refusal) => return refusal.response(error(&refusal)),
    };
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
    if whole {
        candidate["finishReason"] = "STOP".into();
    }
    let usage = json!({"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19});
    let answer = json!({"candidates": [candidate], "usageMetadata": usage});
    match stream {
        true => events(vec![("", answer)], whole),
        false => Json(answer).into_response(),
    }
}

fn heard(asked: &Value, stream: bool) -> Heard {
    let contents = asked["contents"].as_array().cloned().unwrap_or_default();
    let users = contents.iter().filter(|content| content["role"] == "user");
    let last = contents
        .last()
        .and_then(|content| content["parts"].as_array());
    let is_result = |part: &Value| part.get("functionResponse").is_some();
    Heard {
        prompts: users.flat_map(|content| texts(&content["parts"])).collect(),
        after_tool: last.is_some_and(|parts| parts.iter().any(is_result)),
        has_tools: asked["tools"]
            .as_array()
            .is_some_and(|tools| !tools.is_empty()),
        stream,
    }
}

fn error(refusal: &Refusal) -> Value {
    let (status, message) = match refusal {
        Refusal::RateLimited { .. } => (
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        Refusal::TooLong => (
            "INVALID_ARGUMENT",
            "The input token count (1100000) exceeds the maximum number of tokens allowed \
             (1048576).",
        ),
        Refusal::Failed { status: 401 } => ("UNAUTHENTICATED", "API key not valid."),
        Refusal::Failed { status: 400 } => ("INVALID_ARGUMENT", "the stand-in refuses"),
        Refusal::Failed { .. } => ("INTERNAL", "Internal server error"),
    };
    let code = refusal.status().as_u16();
    let mut error = json!({"code": code, "message": message, "status": status});
    if let Refusal::RateLimited { until } = refusal {
        let wait = until.saturating_sub(super::reply::now());
        let kind = "type.googleapis.com/google.rpc.RetryInfo";
        error["details"] = json!([{"@type": kind, "retryDelay": format!("{wait}s")}]);
    }
    json!({"error": error})
}
