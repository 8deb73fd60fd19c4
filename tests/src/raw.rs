//! A daemon of a test's own, and clients that send it whatever they like, byte by
//! byte: no HTTP library would.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde_json::Value;

use crate::process::memory_kb;
use crate::project::Project;
use crate::wait::{PATIENCE, wait_until};

/// `monoco serve` on a port that was free. It is killed when this is dropped.
#[derive(Debug)]
pub struct RawServer {
    child: Child,
    address: SocketAddr,
    token: String,
    /// What it prints to standard error.
    log: PathBuf,
}

/// One connection to it.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// What was read and belongs to the next answer.
    rest: Vec<u8>,
}

/// One answer, taken apart.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body, without its chunks.
    pub body: Vec<u8>,
}

impl RawServer {
    /// Serves `project` with further `options`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(project: &Project, options: &[&str]) -> Self {
        let log = project.state_home().join("daemon.log");
        let args = [&["serve", "--listen", "127.0.0.1:0"], options].concat();
        let mut command = project.monoco(&args);
        command.stderr(Stdio::from(File::create(&log).expect("a new file")));
        let mut child = command.spawn().expect("monoco can be executed");
        let stdout = child.stdout.take().expect("it is a pipe");
        let mut line = String::new();
        // The daemon says where it listens, or ends.
        let _ = BufReader::new(stdout).read_line(&mut line);
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok());
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let address = address.unwrap_or_else(|| panic!("it said {line:?} and {}", said()));
        let token = token_path(project);
        let token = std::fs::read_to_string(token).expect("the daemon has made a token");
        Self {
            child,
            address,
            token: token.trim().to_owned(),
            log,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What lets anybody in.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it has printed to standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The path of the link for a browser that it printed.
    ///
    /// # Panics
    /// When it printed none.
    #[must_use]
    pub fn link(&self) -> String {
        let mut link = None;
        wait_until("it prints a link", || {
            let said = self.said();
            link = said.find("/login/").map(|at| {
                let path = said[at..].split_whitespace().next();
                path.expect("it begins with a slash").to_owned()
            });
            link.is_some()
        });
        link.expect("it was found")
    }

    /// The most memory that it ever had, in KiB.
    #[must_use]
    pub fn peak(&self) -> u64 {
        memory_kb(self.pid(), "VmHWM:")
    }

    /// A new connection.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> Raw {
        let stream = TcpStream::connect(self.address).expect("the daemon listens");
        Raw::new(stream)
    }

    /// A new connection of somebody who takes in only about `buffer` bytes that were
    /// not read.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn connect_with_buffer(&self, buffer: usize) -> Raw {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .expect("a socket");
        sockopt::set_socket_recv_buffer_size(&socket, buffer).expect("any size is taken");
        rustix::net::connect(&socket, &self.address).expect("the daemon listens");
        Raw::new(TcpStream::from(socket))
    }

    /// Sends `bytes` on a connection of its own, and reads one answer; `None` when the
    /// connection is closed without one.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Option<Answer> {
        let mut raw = self.connect();
        // An answer may come before everything was sent.
        let _ = raw.send(bytes);
        raw.answer()
    }

    /// Sends a request with `headers` (lines without their ends) and `body`. `Host` is
    /// as it should be, and nothing else is there.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn request(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let answer = self.send(self.text(line, headers, body));
        answer.unwrap_or_else(|| panic!("no answer to {line} with {headers:?}"))
    }

    /// The text of such a request.
    #[must_use]
    pub fn text(&self, line: &str, headers: &[&str], body: &str) -> String {
        let mut text = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text + "\r\n" + body
    }

    /// The header with the token.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    /// `GET path` with the token.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), &[&self.bearer()], "")
    }

    /// `POST path` with the token and a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Answer {
        let json = "Content-Type: application/json";
        self.request(&format!("POST {path}"), &[&self.bearer(), json], body)
    }

    /// A figure of its metrics.
    ///
    /// # Panics
    /// When there is no such figure.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(found, _)| *found == name);
        let figure = found.and_then(|(_, figure)| figure.parse().ok());
        figure.unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the token of the daemons of `project` stands.
#[must_use]
pub fn token_path(project: &Project) -> PathBuf {
    project.state_home().join("monoco/token")
}

impl Raw {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .expect("more than no time");
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// The connection itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other side has closed the connection.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads one answer; `None` when the connection was closed without one.
    ///
    /// # Panics
    /// When it does not come in time, or is none.
    #[track_caller]
    pub fn answer(&mut self) -> Option<Answer> {
        let head = self.head()?;
        Some(self.body_of(head))
    }

    /// Reads the body that belongs to `head`.
    #[track_caller]
    pub(crate) fn body_of(&mut self, mut head: Answer) -> Answer {
        let body_less = matches!(head.status, 100..=199 | 204 | 304);
        let len = head.header("content-length");
        let len = len.map(|len| len.parse().expect("a length is a number"));
        head.body = if body_less {
            Vec::new()
        } else if head.header("transfer-encoding").is_some() {
            self.chunks()
        } else {
            self.take(len.unwrap_or(usize::MAX))
        };
        head
    }

    /// Reads an answer up to its body; `None` when the connection was closed without one.
    ///
    /// # Panics
    /// When it does not come in time, or is none.
    #[track_caller]
    pub fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                let rest = String::from_utf8_lossy(&self.rest);
                assert!(rest.is_empty(), "half an answer: {rest}");
                return None;
            }
        };
        let rest = self.rest.split_off(end);
        let head = std::mem::replace(&mut self.rest, rest);
        let head = String::from_utf8(head).expect("our headers are ASCII");
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        Some(Answer {
            status: status.unwrap_or_else(|| panic!("not an answer: {head}")),
            head,
            body: Vec::new(),
        })
    }

    /// Reads until `word` has come; what came with it.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub fn until(&mut self, word: &str) -> String {
        let start = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&self.rest).into_owned();
            if text.contains(word) {
                self.rest.clear();
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "no {word} in {text}");
            assert!(self.more(), "it was closed after {text}");
        }
    }

    /// Reads until `n` of one of `words` have come, counting only the first of them;
    /// whether they have before the second did.
    ///
    /// # Panics
    /// When neither comes in time.
    #[track_caller]
    pub fn until_one_of(&mut self, words: &[&str; 2], n: usize) -> bool {
        let start = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&self.rest).into_owned();
            if text.matches(words[0]).count() >= n {
                return true;
            }
            if text.contains(words[1]) {
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "none of {words:?}");
            assert!(self.more(), "it was closed");
        }
    }

    /// Reads whatever comes until the connection is closed, but not for longer than
    /// `time`; `None` when it was not closed.
    #[must_use]
    pub fn drained(&mut self, time: Duration) -> Option<usize> {
        let start = Instant::now();
        let mut total = self.rest.len();
        let mut buffer = vec![0; 64 << 10];
        while let Some(left) = time.checked_sub(start.elapsed()) {
            let left = left.max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(left))
                .expect("more than no time");
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(total),
                Ok(n) => total += n,
                Err(error) if is_late(&error) => return None,
                Err(_) => return Some(total),
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.rest.len() < len {
            if !self.more() {
                assert_eq!(len, usize::MAX, "the body ended early");
                return std::mem::take(&mut self.rest);
            }
        }
        let rest = self.rest.split_off(len);
        std::mem::replace(&mut self.rest, rest)
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            while !self.rest.windows(2).any(|end| end == b"\r\n") {
                assert!(self.more(), "the body ended early");
            }
            let end = self.rest.windows(2).position(|end| end == b"\r\n");
            let line = self.take(end.expect("it was found") + 2);
            let len = String::from_utf8_lossy(&line);
            let len = usize::from_str_radix(len.trim(), 16).expect("a chunk's length");
            let mut chunk = self.take(len + 2);
            chunk.truncate(len);
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// Reads a little more; false at the end.
    #[track_caller]
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.rest.extend_from_slice(&buffer[..n]);
                n > 0
            }
            Err(error) if is_late(&error) => panic!("nothing within {PATIENCE:?}"),
            // Closed, with something that we sent unread.
            Err(_) => false,
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl Answer {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("not JSON: {error}: {self}"),
        }
    }

    /// Demands a status.
    ///
    /// # Panics
    /// When it was another.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(2000).collect();
        write!(f, "{}{body}", self.head)
    }
}

/// Writes a record as other programs do, whole: a pending session without an owner,
/// whose role says which change this is.
///
/// # Panics
/// When it cannot be written.
pub fn write_record(project: &Path, id: &str, role: &str) {
    let sessions = project.join(".monoco/sessions");
    let time = "2026-01-01T00:00:00Z";
    let record = serde_json::json!({
        "id": id, "issue_id": "FEAT-1", "role_name": role, "status": "pending",
        "branch_name": "b", "pid": null, "created_at": time, "updated_at": time,
    });
    let temporary = project.join(format!(".monoco/{id}.tmp"));
    std::fs::write(&temporary, record.to_string())
        .and_then(|()| std::fs::rename(&temporary, sessions.join(format!("{id}.json"))))
        .expect("a writable project");
}
