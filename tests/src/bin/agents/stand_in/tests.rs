//! The stand-in by itself, asked as agents ask.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use monoco_tests::continued::n_heard;
use serde_json::{Value, json};

use super::{Mood, StandIn};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Each API: where it is asked, what a conversation of two prompts is in its words, and
/// with which words a whole answer ends.
fn apis() -> [(&'static str, Value, &'static str); 4] {
    let messages = json!([
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ]);
    let contents = json!([
        {"role": "user", "parts": [{"text": "first"}]},
        {"role": "model", "parts": [{"text": "yes"}]},
        {"role": "user", "parts": [{"text": "second"}]},
    ]);
    let tools = json!([{"name": "exec_command", "function": {"name": "bash"}}]);
    let streamed =
        |name: &str| json!({"stream": true, "model": "m", "tools": tools, name: messages});
    [
        ("/v1/messages", streamed("messages"), "message_stop"),
        ("/v1/responses", streamed("input"), "response.completed"),
        (
            "/v1/chat/completions",
            streamed("messages"),
            "\"total_tokens\":19",
        ),
        (
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({"contents": contents, "tools": tools}),
            "\"finishReason\":\"STOP\"",
        ),
    ]
}

/// What is answered until it ends, or until nothing more comes for the while that
/// `patience` is.
fn ask(stand_in: &StandIn, path: &str, body: &Value, patience: Duration) -> String {
    let mut stream = TcpStream::connect(stand_in.address).expect("it listens");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: stand-in\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        answer.extend_from_slice(&bytes[..n]);
    }
    String::from_utf8(answer).expect("text")
}

fn check(mood: Mood, look: impl Fn(&str, &str, &str)) {
    let stand_in = StandIn::start(mood).expect("a free port");
    for (path, body, end) in apis() {
        look(path, &ask(&stand_in, path, &body, TIMEOUT), end);
    }
}

#[test]
fn every_api_answers_whole_and_is_heard() {
    let stand_in = StandIn::start(Mood::Answers).expect("a free port");
    for (n, (path, body, end)) in apis().into_iter().enumerate() {
        let answer = ask(&stand_in, path, &body, TIMEOUT);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(answer.contains("You said: second"), "{path}: {answer}");
        assert!(answer.contains(end), "{path}: {answer}");
        assert_eq!(n_heard(&stand_in, &["first", "second"]), n + 1, "{path}");
    }
}

#[test]
fn an_answer_that_hangs_has_begun_and_does_not_end() {
    let stand_in = StandIn::start(Mood::Hangs).expect("a free port");
    for (path, body, end) in apis() {
        let answer = ask(&stand_in, path, &body, Duration::from_millis(200));
        assert!(answer.contains("I begin, and"), "{path}: {answer}");
        assert!(!answer.contains(end), "{path}: {answer}");
    }
}

#[test]
fn a_limit_is_a_429_that_tells_when_it_ends() {
    check(Mood::RateLimited(4_102_444_800), |path, answer, _| {
        assert!(answer.starts_with("HTTP/1.1 429"), "{path}: {answer}");
        assert!(answer.contains("anthropic-ratelimit-unified-reset: 4102444800"));
        assert!(answer.contains("retry-after: "), "{path}: {answer}");
    });
}

#[test]
fn what_is_too_long_is_a_400_and_a_failure_has_its_status() {
    check(Mood::Overflows, |path, answer, _| {
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    });
    check(Mood::Fails(401), |path, answer, _| {
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    });
}

#[test]
fn a_tool_is_called_with_the_command() {
    check(Mood::Runs("touch it".to_owned()), |path, answer, _| {
        assert!(answer.contains("touch it"), "{path}: {answer}");
        assert!(!answer.contains("You said"), "{path}: {answer}");
    });
}

#[test]
fn a_mood_is_told_in_words() {
    let told = |word: &str| word.parse::<Mood>().ok();
    assert_eq!(told("answers"), Some(Mood::Answers));
    assert_eq!(told("rate-limited 7"), Some(Mood::RateLimited(7)));
    assert_eq!(
        told("runs touch it"),
        Some(Mood::Runs("touch it".to_owned()))
    );
    assert_eq!(told("rate-limited soon"), None);
    assert_eq!(told("sulks"), None);
}
