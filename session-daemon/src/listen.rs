//! Where the daemon is reached: a port on loopback, a Unix socket, or sockets
//! that a service manager has opened for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::http::Health;

/// How many connections wait in the kernel.
const BACKLOG: i32 = 1024;
/// How much the kernel keeps of what a client has not read yet, in bytes, so that
/// those who never read do not cost its memory.
const SEND_BUFFER: usize = 256 << 10;
/// How long somebody else on our port has to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(1);

/// The daemon cannot be reached where it was to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody else listens there.
    #[error("{place} is in use: {who}")]
    InUse {
        /// The address, or the socket's path.
        place: String,
        /// Who it is, as far as can be told.
        who: String,
    },
    /// Something that is not a socket of ours stands there.
    #[error("{} is not a socket of a daemon; it is left alone", .0.display())]
    NotOurs(PathBuf),
    /// The system refused.
    #[error("cannot listen on {place}")]
    Io {
        /// The address, or the socket's path.
        place: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// The sockets that the daemon listens on.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) unix: Vec<UnixListener>,
    /// Held for as long as the Unix socket is ours.
    lock: Option<SocketLock>,
}

/// Says that the socket beside it is in use. The socket is removed with it; the
/// file that is locked stays, or two could hold locks on two files of one name.
#[derive(Debug)]
struct SocketLock {
    socket: PathBuf,
    _file: File,
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        // Where that fails, the next daemon finds a socket that nobody listens on.
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Listeners {
    /// Takes the sockets that the service manager opened (`sd_listen_fds(3)`); false
    /// when it opened none.
    pub(crate) fn inherit(&mut self) -> io::Result<bool> {
        let mut given = listenfd::ListenFd::from_env();
        for i in 0..given.len() {
            match given.take_tcp_listener(i) {
                Ok(Some(listener)) => self.tcp.push(listener),
                Ok(None) => {}
                Err(_) => self.unix.extend(given.take_unix_listener(i)?),
            }
        }
        for listener in &self.tcp {
            limit_send_buffer(listener);
        }
        Ok(given.len() > 0)
    }

    pub(crate) fn listen_tcp(&mut self, address: SocketAddr) -> Result<(), ListenError> {
        let place = format!("http://{address}");
        match bind_tcp(address) {
            Ok(listener) => {
                self.tcp.push(listener);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ListenError::InUse {
                place,
                who: who_is_at(address),
            }),
            Err(source) => Err(ListenError::Io { place, source }),
        }
    }

    /// Listens on a Unix socket that only this user can connect to.
    pub(crate) fn listen_unix(&mut self, path: &Path) -> Result<(), ListenError> {
        let place = path.display().to_string();
        let io = |source| ListenError::Io {
            place: place.clone(),
            source,
        };
        let lock = lock_beside(path).map_err(io)?;
        if let Err(error) = lock.try_lock() {
            return Err(match error {
                std::fs::TryLockError::WouldBlock => ListenError::InUse {
                    place,
                    who: "another daemon listens there".to_owned(),
                },
                std::fs::TryLockError::Error(source) => io(source),
            });
        }
        match path.symlink_metadata() {
            // A daemon that was killed left it: whoever uses it holds the lock.
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(path).map_err(io)?;
            }
            Ok(_) => return Err(ListenError::NotOurs(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        self.unix.push(bind_unix(path).map_err(io)?);
        self.lock = Some(SocketLock {
            socket: path.to_owned(),
            _file: lock,
        });
        Ok(())
    }

    /// The addresses under which the ports are reached.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.tcp.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// Makes all of them fit for a runtime that never blocks.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.tcp
            .iter()
            .try_for_each(|listener| listener.set_nonblocking(true))?;
        self.unix
            .iter()
            .try_for_each(|listener| listener.set_nonblocking(true))
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A daemon that is started again does not wait for its own old connections.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    limit_send_buffer(&listener);
    Ok(listener)
}

/// Connections have what their listener has (tcp(7)).
fn limit_send_buffer(listener: &TcpListener) {
    // Refused, it costs the kernel's memory only.
    let _ = sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER);
}

/// Binds relative to the open folder, so that a path of any length will do
/// (`unix(7)` allows 107 bytes).
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On Linux a socket's file has the mode of the socket at the moment of binding:
    // there is no moment in which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let folder = folder_of(path)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    rustix::net::bind(&socket, &SocketAddrUnix::new(short.join(name))?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

fn folder_of(path: &Path) -> io::Result<OwnedFd> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = folder.unwrap_or_else(|| Path::new("."));
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

fn lock_beside(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    // A FIFO that somebody put there would keep us waiting for its reader.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(&name)?;
    if lock.metadata()?.is_file() {
        Ok(lock)
    } else {
        let what = format!("{} is not a regular file", name.display());
        Err(io::Error::other(what))
    }
}

/// Asks whoever listens on our port who it is.
fn who_is_at(address: SocketAddr) -> String {
    match ask(address) {
        Some(health) if health.server == "monoco" => format!(
            "monoco {} is there already (pid {})",
            health.version, health.pid
        ),
        _ => "another program listens there; `ss -ltnp` tells which, --listen takes another port"
            .to_owned(),
    }
}

fn ask(mut address: SocketAddr) -> Option<Health> {
    if address.ip().is_unspecified() {
        // It listens everywhere, so also here.
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut stream = TcpStream::connect_timeout(&address, INTRODUCTION).ok()?;
    stream.set_read_timeout(Some(INTRODUCTION)).ok()?;
    stream.set_write_timeout(Some(INTRODUCTION)).ok()?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // Whatever it is: a little of it is enough.
    let _ = stream.take(4096).read_to_end(&mut answer);
    let answer = String::from_utf8(answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body.trim()).ok()
}
