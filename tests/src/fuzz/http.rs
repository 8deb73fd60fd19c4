//! Any bytes at the daemon's door.

use std::net::{SocketAddr, TcpStream};

use session_core::SessionId;

use crate::raw::{Answer, Raw};

/// A daemon with a project that holds nothing alive, and a connection to it.
///
/// The bytes that it is tried with begin with what they are: `!` a whole request,
/// sent as it is, without the token; `+VERB`, then a line's end, the body of a request
/// to act on a session that has ended; everything else the target of a GET.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    token: String,
    /// The only session there is, which has ended.
    id: SessionId,
    /// Answers come in order, so one connection will do while it is kept open.
    kept: Option<Raw>,
}

impl Http {
    /// The daemon at `address`, whose only session is `id`.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str, id: SessionId) -> Self {
        Self {
            address,
            token: token.to_owned(),
            id,
            kept: None,
        }
    }

    /// Whatever is asked is answered with a document of the documented kinds, never
    /// with a failure of the daemon's own; what is no id is no session, and who has no
    /// token sees nothing.
    ///
    /// # Panics
    /// When that does not hold.
    pub fn check(&mut self, bytes: &[u8]) {
        match bytes {
            [b'!', request @ ..] => self.check_stranger(request),
            [b'+', asked @ ..] => self.check_act(asked),
            target => self.check_target(target),
        }
    }

    fn connect(&self) -> Raw {
        let stream = TcpStream::connect(self.address).expect("the daemon listens");
        // Closed at once: thousands a second would use up the ports.
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))
            .expect("a socket");
        Raw::new(stream)
    }

    fn check_stranger(&self, request: &[u8]) {
        let request = replaced(request, b"HOST", self.address.to_string().as_bytes());
        // A fuzzer in this process sees what is compared, and so learns the token.
        if String::from_utf8_lossy(&request).contains(&self.token) {
            return;
        }
        let mut raw = self.connect();
        // It may have heard enough before it was all said.
        let _ = raw.send(&request);
        let _ = raw.stream().shutdown(std::net::Shutdown::Write);
        let Some(answer) = raw.head() else { return };
        assert!(answer.status < 500 || answer.status == 505, "{answer}");
        let is_open = request.windows(7).any(|word| word == b"/health");
        assert!(answer.status >= 300 || is_open, "{answer}");
    }

    fn check_act(&mut self, asked: &[u8]) {
        let mut parts = asked.splitn(2, |byte| *byte == b'\n');
        let verb = parts.next().unwrap_or_default();
        let verbs = ["stop", "kill", "suspend", "resume"];
        let verb = verbs[verb.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 4];
        let body = parts.next().unwrap_or_default();
        let line = format!("POST /api/v1/sessions/{}/{verb}", self.id);
        let answer = self.ask(line.as_bytes(), body);
        assert!(
            matches!(answer.status, 200 | 400 | 409 | 413 | 422),
            "{answer}"
        );
        let is_object = body.trim_ascii_start().starts_with(b"{");
        assert!(is_object || answer.status != 200, "{answer}");
        check_document(&answer);
    }

    fn check_target(&mut self, target: &[u8]) {
        // The line has to stay one line of three words.
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let target = target
            .iter()
            .map(|byte| if is_space(byte) { b'+' } else { *byte });
        let target: Vec<_> = target.take(8000).collect();
        if target.is_empty() {
            return;
        }
        let answer = self.ask(&[b"GET ", &target[..]].concat(), b"");
        assert!(answer.status < 500, "{answer}");
        if let Some(named) = session_in(&target) {
            let is_id = SessionId::parse(&named).is_ok();
            assert!(is_id || answer.status != 200, "{named:?}: {answer}");
            let is_there = named == self.id.as_str();
            assert!(is_there || answer.status >= 400, "{named:?}: {answer}");
        }
        check_document(&answer);
    }

    /// Asks, over the connection that is open if there is one.
    fn ask(&mut self, line: &[u8], body: &[u8]) -> Answer {
        let head = format!(
            " HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        let request = [line, head.as_bytes(), body].concat();
        let kept = self.kept.take();
        let answered = kept.and_then(|raw| answer(raw, &request));
        // One that was kept may have been closed meanwhile.
        let (answer, raw) = answered
            .or_else(|| answer(self.connect(), &request))
            .expect("what is whole is answered");
        self.kept = raw;
        answer
    }
}

/// Sends a request, and reads its answer; with the connection where it stays open.
fn answer(mut raw: Raw, request: &[u8]) -> Option<(Answer, Option<Raw>)> {
    // It may have heard enough before it was all said.
    let _ = raw.send(request);
    let head = raw.head()?;
    if head.header("content-type") == Some("text/event-stream") {
        return Some((head, None));
    }
    let closes = head.header("connection") == Some("close");
    let answer = raw.body_of(head);
    Some((answer, (!closes).then_some(raw)))
}

/// What is said is said in JSON, refusals as problems that tell their status.
fn check_document(answer: &Answer) {
    let kind = answer.header("content-type").unwrap_or_default();
    if kind == "application/problem+json" {
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status, "{answer}");
        assert!(problem["detail"].is_string() && problem["type"].is_string());
        assert!(answer.body.len() < 8 << 10, "{}", answer.body.len());
    } else if kind == "application/json" {
        let _ = answer.json();
    }
    let is_refused = (400..500).contains(&answer.status);
    // What is not HTTP is refused without words.
    let is_problem = kind == "application/problem+json" || answer.body.is_empty();
    assert!(!is_refused || is_problem, "{answer}");
}

/// The text in the place of an id in the target of a request.
fn session_in(target: &[u8]) -> Option<String> {
    let path = target.split(|byte| matches!(byte, b'?' | b'#')).next()?;
    let rest = path.strip_prefix(b"/api/v1/sessions/")?;
    let name = rest.split(|byte| *byte == b'/').next()?;
    Some(String::from_utf8_lossy(&decoded(name)).into_owned())
}

/// Without percent signs (RFC 3986, 2.1).
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                decoded.push(byte);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

fn replaced(text: &[u8], word: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(word.len()).position(|found| found == word) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(by);
        rest = &rest[at + word.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
