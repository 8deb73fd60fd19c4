//! A client that keeps its connection and reads answers as fast as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a figure of requests per second is taken.
const WHILE: Duration = Duration::from_secs(2);

/// A server, and what is asked of it.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    request: String,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, path: &str, token: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        Self { address, request }
    }

    pub(crate) fn connect(&self) -> Client<'_> {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Client {
            target: self,
            stream: BufReader::with_capacity(1 << 16, stream),
            body: Vec::new(),
        }
    }

    /// How many requests a second are answered on two connections.
    pub(crate) fn per_second(&self) -> f64 {
        let count = |client: &mut Client<'_>| {
            let (start, mut n) = (Instant::now(), 0_u32);
            while start.elapsed() < WHILE {
                client.answer();
                n += 1;
            }
            f64::from(n) / start.elapsed().as_secs_f64()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| count(&mut self.connect()));
            count(&mut self.connect()) + other.join().expect("it counts")
        })
    }
}

pub(crate) struct Client<'a> {
    target: &'a Target,
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Client<'_> {
    /// One request, and the body of its answer.
    pub(crate) fn get(&mut self) -> &[u8] {
        self.answer();
        &self.body
    }

    /// One request, and its whole answer.
    ///
    /// # Panics
    /// When it is not 200, with a length.
    pub(crate) fn answer(&mut self) {
        let stream = self.stream.get_mut();
        stream
            .write_all(self.target.request.as_bytes())
            .expect("it listens");
        let mut line = String::new();
        let mut next = |stream: &mut BufReader<TcpStream>| {
            line.clear();
            stream.read_line(&mut line).expect("it answers");
            line.trim_end().to_ascii_lowercase()
        };
        let status = next(&mut self.stream);
        assert!(status.starts_with("http/1.1 200"), "{status}");
        let mut len = 0;
        loop {
            let header = next(&mut self.stream);
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                len = value.trim().parse().expect("a length is a number");
            }
        }
        self.body.resize(len, 0);
        self.stream
            .read_exact(&mut self.body)
            .expect("the whole body");
    }
}
