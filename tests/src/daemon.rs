//! `monoco serve` as a test's own, and a client of it: one request per
//! connection, with nothing between the test and the socket.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Signal, kill};
use crate::project::{Project, monoco};
use crate::ran::{Ran, finish};
use crate::wait::{PATIENCE, wait_until};

/// A daemon that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    pid: i32,
    place: Place,
    token: String,
    log: PathBuf,
    _stdout: BufReader<ChildStdout>,
}

#[derive(Debug, Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

/// An answer whose body comes bit by bit.
#[derive(Debug)]
pub struct Streamed {
    /// The status and the headers; the body is empty.
    pub head: Answer,
    body: Body,
}

/// Server-sent events, as they come.
#[derive(Debug)]
pub struct Events(BufReader<Streamed>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its `id`.
    pub id: String,
    /// Its `event`.
    pub kind: String,
    /// Its `data`.
    pub data: Value,
}

impl Daemon {
    /// Starts `monoco serve` with `options` in the project, on a port that is free.
    /// Returns once it has read everything.
    #[must_use]
    #[track_caller]
    pub fn start(project: &Project, options: &[&str]) -> Self {
        Self::start_behind(project, &[], options)
    }

    /// The same, with a command before `monoco` that executes what follows it.
    #[must_use]
    #[track_caller]
    pub fn start_behind(project: &Project, before: &[&str], options: &[&str]) -> Self {
        let listen: &[&str] = match options {
            options if options.contains(&"--no-tcp") => &[],
            _ => &["--listen", "127.0.0.1:0"],
        };
        let line = [before, &[monoco(), "serve"], listen, options].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]);
        Self::spawn(project, project.at_home(command))
    }

    /// The daemon that `command` becomes.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn spawn(project: &Project, mut command: Command) -> Self {
        let log = project.state_home().join("daemon.log");
        command.stderr(File::create(&log).expect("a writable directory"));
        // A group of its own, that can be killed as a whole.
        command.process_group(0);
        let mut child = command.spawn().expect("it can be executed");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let line = line.trim_end();
        let place = match (line.strip_prefix("http://"), line.strip_prefix("unix:")) {
            (Some(address), _) => Place::Tcp(address.parse().expect("an address")),
            (_, Some(path)) => Place::Unix(path.into()),
            _ => panic!("no daemon: {line} {}", read_log(&log)),
        };
        let token = std::fs::read_to_string(project.state_home().join("monoco/token"));
        Self {
            pid: child.id().cast_signed(),
            child: Some(child),
            place,
            token: token.unwrap_or_default().trim().to_owned(),
            log,
            _stdout: stdout,
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its port.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(address) => address.port(),
            Place::Unix(path) => panic!("no port, but {}", path.display()),
        }
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    /// Sends it a signal, and waits for its end.
    #[track_caller]
    pub fn end(mut self, signal: Signal) -> Ran {
        kill(self.pid, signal);
        finish(self.child.take().expect("it is taken only here"))
    }

    /// Sends a request, and reads the answer's head. The token comes with it, unless
    /// there is an `Authorization` among `headers`.
    ///
    /// # Panics
    /// When nothing that is HTTP comes back in time.
    #[must_use]
    #[track_caller]
    pub fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Streamed {
        request(&self.place, &self.token, (method, path), headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A request with a JSON body, to be sent by another thread while this daemon may
    /// be killed: an answer that is cut off is an error.
    pub fn request(
        &self,
        method: &'static str,
        path: &str,
        body: &Value,
    ) -> impl FnOnce() -> io::Result<Answer> + Send + use<> {
        let (place, token, path) = (self.place.clone(), self.token.clone(), path.to_owned());
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        move || {
            let json = [("Content-Type", "application/json")];
            request(&place, &token, (method, &path), &json, body.as_bytes())?.read_all()
        }
    }

    /// As [`open`](Self::open), read to the end.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.open(method, path, headers, body).finish()
    }

    /// `GET path`.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// `POST path` with a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        self.send("POST", path, &json, body.to_string().as_bytes())
    }

    /// `DELETE path`.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], b"")
    }

    /// The session `id`, or what a client is told instead.
    #[must_use]
    #[track_caller]
    pub fn show(&self, id: &str) -> Answer {
        self.get(&format!("/api/v1/sessions/{id}"))
    }

    /// The page of the listing that `query` asks for.
    #[must_use]
    #[track_caller]
    pub fn list(&self, query: &str) -> Value {
        self.get(&format!("/api/v1/sessions?{query}"))
            .is(200)
            .json()
    }

    /// The ids (or null) of that page.
    #[must_use]
    #[track_caller]
    pub fn ids(&self, query: &str) -> Vec<String> {
        let page = self.list(query);
        let ids = sessions(&page).iter();
        ids.map(|session| session["id"].as_str().unwrap_or("null").to_owned())
            .collect()
    }

    /// The only project's condition, or that of the project in `path`.
    #[must_use]
    #[track_caller]
    pub fn condition(&self, path: Option<&str>) -> String {
        let projects = self.get("/api/v1/projects").is(200).json();
        let mut projects = projects["projects"].as_array().expect("an array").iter();
        let wanted = projects.find(|project| path.is_none_or(|path| project["path"] == path));
        wanted.map_or("not served".to_owned(), |project| {
            project["condition"].as_str().expect("a word").to_owned()
        })
    }

    /// Waits until `id` is shown with `status`.
    #[track_caller]
    pub fn wait_for_status(&self, id: &str, status: &str) {
        wait_until(&format!("{id} is shown as {status}"), || {
            let shown = self.show(id);
            shown.status == 200 && shown.json()["status"] == status
        });
    }

    /// A figure of `/metrics` that has no labels.
    #[must_use]
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").is(200).text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let figure = line.and_then(|figure| figure.parse().ok());
        figure.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// What changes from now on, or after the event `last`.
    #[must_use]
    #[track_caller]
    pub fn events(&self, last: Option<&str>) -> Events {
        let last: Vec<_> = last
            .map(|last| ("Last-Event-ID", last))
            .into_iter()
            .collect();
        let stream = self.open("GET", "/api/v1/events", &last, b"");
        assert_eq!(stream.head.status, 200);
        assert_eq!(
            stream.head.header("content-type"),
            Some("text/event-stream")
        );
        Events(BufReader::new(stream))
    }
}

/// Sends a request, and reads the answer's head.
fn request(
    place: &Place,
    token: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Streamed> {
    let (mut socket, host) = connect(place)?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    let has = |wanted: &str| {
        headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    let authorization = format!("Bearer {token}");
    let mut all = headers.to_vec();
    if !has("authorization") && !token.is_empty() {
        all.push(("Authorization", &authorization));
    }
    for (name, value) in all {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    socket.write_all(&[request.as_bytes(), body].concat())?;
    Streamed::of(socket, method)
}

/// A connection to the daemon, and the name by which it is called there.
fn connect(place: &Place) -> io::Result<(Box<dyn Socket>, String)> {
    match place {
        Place::Tcp(address) => {
            let socket = TcpStream::connect(address)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok((Box::new(socket), address.to_string()))
        }
        Place::Unix(path) => {
            // By way of its folder: no address is longer than 107 bytes (unix(7)).
            let folder = path.parent().expect("an absolute path");
            let folder = File::open(folder)?;
            let name = path.file_name().expect("an absolute path");
            let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
            let socket = UnixStream::connect(PathBuf::from(short).join(name))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok((Box::new(socket), "localhost".to_owned()))
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill(self.pid, Signal::KILL);
            // It was killed; how it ended is known.
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let _ = writeln!(io::stderr(), "the daemon said:\n{}", self.log());
        }
    }
}

fn read_log(path: &std::path::Path) -> String {
    let log = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// The elements of a page.
///
/// # Panics
/// When it is not one.
#[must_use]
#[track_caller]
pub fn sessions(page: &Value) -> &Vec<Value> {
    page["sessions"].as_array().expect("a page has sessions")
}

impl Answer {
    /// Demands a status.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Demands a problem document with this status whose detail holds `words`.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn refuses(self, status: u16, words: &str) {
        let answer = self.is(status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        let kind = problem["type"].as_str().unwrap_or_default();
        assert!(kind.starts_with("urn:monoco:problem:"), "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "`{words}` is missing: {problem}");
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
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
            Err(error) => panic!("not JSON: {error}: {}", self.text()),
        }
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Events {
    /// The next event.
    ///
    /// # Panics
    /// When there is none within `deadline`.
    #[must_use]
    #[track_caller]
    pub fn next_event(&mut self, deadline: Duration) -> Event {
        let start = Instant::now();
        let (mut id, mut kind, mut data) = (String::new(), String::new(), Value::Null);
        loop {
            let mut line = String::new();
            let n = self
                .0
                .read_line(&mut line)
                .expect("there is an event in time");
            assert!(n > 0, "the events ended");
            let took = start.elapsed();
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => value.clone_into(&mut id),
                Some(("event", value)) => value.clone_into(&mut kind),
                Some(("data", value)) => data = serde_json::from_str(value).expect("JSON"),
                // What follows is a comment, or how soon to come back.
                _ if kind.is_empty() => assert!(took < deadline, "nothing within {took:?}"),
                Some(_) => {}
                None => {
                    assert!(took < deadline, "{kind} {data} came after {took:?}");
                    return Event { id, kind, data };
                }
            }
        }
    }

    /// Waits for the event `kind` of the session `id`; what comes before it is over.
    #[track_caller]
    pub fn until(&mut self, kind: &str, id: &str) -> Event {
        self.until_such(|event| event.kind == kind && event.data["id"] == id)
    }

    /// Waits until `id` is told to have `status`.
    #[track_caller]
    pub fn until_status(&mut self, id: &str, status: &str) -> Event {
        self.until_such(|event| event.data["id"] == id && event.data["status"] == status)
    }

    /// Waits for an event of which `condition` holds.
    #[track_caller]
    pub fn until_such(&mut self, condition: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next_event(PATIENCE);
            if condition(&event) {
                return event;
            }
        }
    }

    /// Waits for the end, and drops what comes before it.
    ///
    /// # Panics
    /// When it does not come in time, or not in order.
    pub fn finish(mut self) {
        io::copy(&mut self.0, &mut io::sink()).expect("it ends in order");
    }
}

trait Socket: Read + Write + std::fmt::Debug + Send {}
impl<T: Read + Write + std::fmt::Debug + Send> Socket for T {}

/// A body on its way.
#[derive(Debug)]
struct Body {
    socket: BufReader<Box<dyn Socket>>,
    left: Left,
}

#[derive(Debug)]
enum Left {
    Bytes(u64),
    /// Of this chunk; then others may follow.
    InChunk(u64),
    UntilClosed,
}

impl Streamed {
    fn of(socket: Box<dyn Socket>, method: &str) -> io::Result<Self> {
        let mut socket = BufReader::new(socket);
        let status = line(&mut socket)?;
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let mut head = Answer {
            status: status.ok_or_else(|| io::Error::other("not HTTP"))?,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = line(&mut socket)?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            head.headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = head
            .header("content-length")
            .and_then(|length| length.parse().ok());
        let left = match length {
            _ if method == "HEAD" || head.status == 304 => Left::Bytes(0),
            Some(length) => Left::Bytes(length),
            None if head.header("transfer-encoding") == Some("chunked") => Left::InChunk(0),
            None => Left::UntilClosed,
        };
        Ok(Self {
            head,
            body: Body { socket, left },
        })
    }

    /// Reads the rest.
    ///
    /// # Panics
    /// When it does not come in time, or is cut off.
    #[must_use]
    #[track_caller]
    pub fn finish(self) -> Answer {
        self.read_all()
            .unwrap_or_else(|error| panic!("no whole answer: {error}"))
    }

    fn read_all(mut self) -> io::Result<Answer> {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body)?;
        Ok(Answer { body, ..self.head })
    }
}

impl Read for Streamed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Left::InChunk(0) = self.left {
            let size = line(&mut self.socket)?;
            let size = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
            if size == 0 {
                self.left = Left::Bytes(0);
            } else {
                self.left = Left::InChunk(size);
            }
        }
        let (Left::Bytes(left) | Left::InChunk(left)) = &mut self.left else {
            return self.socket.read(buffer);
        };
        let most = buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.socket.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= n as u64;
        if let Left::InChunk(0) = self.left {
            line(&mut self.socket)?;
        }
        Ok(n)
    }
}

/// A line without its end.
fn line(socket: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if socket.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
