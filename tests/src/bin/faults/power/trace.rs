//! The text of `strace -f -y -xx`, read into what was done to a project's
//! `.monoco`, in the order seen.
//!
//! A call takes place where it ended, since nobody could build on it earlier; what
//! was printed counts from where the writing began, since it may be read from then
//! on. A call that is not known here and touches the project is an error: whoever
//! overlooks one finds fewer broken promises, not more.

use std::collections::HashMap;

/// Something that happened. Paths are relative to the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Folder(String),
    /// A file was opened for writing, and made where it was not there yet.
    File(String),
    Socket(String),
    Write {
        path: String,
        /// Where; `None` for the end.
        at: Option<usize>,
        bytes: Vec<u8>,
    },
    Length {
        path: String,
        len: usize,
    },
    /// The file is at least so long.
    Room {
        path: String,
        len: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove(String),
    Sync {
        path: String,
        /// How many operations were over when it began: what it covers.
        covers: usize,
    },
    Executed {
        pid: i32,
        argv: Vec<String>,
    },
    /// Something was written to standard output.
    Printed {
        pid: i32,
        text: String,
    },
    Ended {
        pid: i32,
        code: i32,
    },
}

/// Calls that change nothing that a power loss could take.
const HARMLESS: &[&str] = &[
    "access",
    "chdir",
    "chmod",
    "close",
    "connect",
    "dup",
    "dup2",
    "dup3",
    "epoll_ctl",
    "epoll_wait",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fchdir",
    // Modes are given at the making; what follows only takes back a umask.
    "fchmod",
    "fchmodat",
    "fcntl",
    "flock",
    "fstat",
    "fstatfs",
    "getcwd",
    "getdents64",
    "getsockname",
    "getsockopt",
    "inotify_add_watch",
    "ioctl",
    "listen",
    "lstat",
    "newfstatat",
    "poll",
    "ppoll",
    "pread64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "stat",
    "statfs",
    "statx",
];

/// What `text` tells of the project at `project`.
pub(super) fn read(text: &str, project: &str) -> Result<Vec<Op>, String> {
    let mut reader = Reader {
        project,
        ops: Vec::new(),
        begun: HashMap::new(),
        places: HashMap::new(),
        names: HashMap::new(),
    };
    for line in text.lines() {
        reader
            .line(line)
            .map_err(|why| format!("{why}: {}", shown(line)))?;
    }
    Ok(reader.ops)
}

/// A line for people: without the escapes, and not too much of it.
fn shown(line: &str) -> String {
    let plain = line.split('"').enumerate().map(|(n, part)| {
        if n % 2 == 0 {
            return part.to_owned();
        }
        let bytes = unescape(part).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    plain.collect::<String>().chars().take(300).collect()
}

struct Reader<'a> {
    project: &'a str,
    ops: Vec<Op>,
    /// The calls that have begun and not ended: their text, and what was over then.
    begun: HashMap<i32, (String, usize)>,
    /// Where in their file descriptors write next; none for the file's end.
    places: HashMap<(i32, i64), Option<usize>>,
    /// What descriptors led to when they were last seen.
    names: HashMap<(i32, i64), String>,
}

/// A call that is over.
struct Call<'a> {
    pid: i32,
    name: &'a str,
    args: Vec<&'a str>,
    /// What it returned; `None` for an error.
    result: Option<i64>,
    /// What was over when it began.
    covers: usize,
}

impl Reader<'_> {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (pid, rest) = line.trim_start().split_once(' ').ok_or("no pid")?;
        let pid: i32 = pid.parse().map_err(|_| "no pid")?;
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix("+++ ") {
            let code = rest.strip_prefix("exited with ");
            let code = code.and_then(|code| code.split(' ').next()?.parse().ok());
            // Whom a signal ended acknowledged nothing.
            let code = code.unwrap_or(-1);
            self.begun.remove(&pid);
            self.ops.push(Op::Ended { pid, code });
            return Ok(());
        }
        if rest.starts_with("--- ") {
            return Ok(());
        }
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            self.begins(pid, begun)?;
            self.begun.insert(pid, (begun.to_owned(), self.ops.len()));
            return Ok(());
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>").ok_or("no call")?;
            let Some((begun, covers)) = self.begun.remove(&pid) else {
                // One that began before it was followed.
                return Ok(());
            };
            return self.ends(pid, &(begun + end), covers);
        }
        self.begins(pid, rest)?;
        self.ends(pid, rest, self.ops.len())
    }

    /// Notes what counts from the beginning of a call.
    fn begins(&mut self, pid: i32, text: &str) -> Result<(), String> {
        if !text.starts_with("write(1<") {
            return Ok(());
        }
        let (_, args) = text.split_once(", ").ok_or("a write of nothing")?;
        let text = String::from_utf8_lossy(&strings(args)?.concat()).into_owned();
        self.ops.push(Op::Printed { pid, text });
        Ok(())
    }

    fn ends(&mut self, pid: i32, text: &str, covers: usize) -> Result<(), String> {
        let (name, rest) = text.split_once('(').ok_or("no call")?;
        let (args, result) = rest.rsplit_once(" = ").ok_or("no result")?;
        let args = args.trim_end().strip_suffix(')').ok_or("no end")?;
        let call = Call {
            pid,
            name,
            args: split(args),
            result: number(result).filter(|n| *n >= 0),
            covers,
        };
        for arg in call.args.iter().chain([&result]) {
            if let Some((fd, path)) = descriptor(arg)? {
                self.names.insert((pid, fd), path);
            }
        }
        if call.result.is_none() {
            return Ok(());
        }
        self.takes_place(&call)
    }

    fn takes_place(&mut self, call: &Call<'_>) -> Result<(), String> {
        let op = match call.name {
            "open" | "openat" | "creat" => return self.opened(call),
            "write" | "writev" | "pwrite64" => return self.written(call),
            "mkdir" | "mkdirat" => self.named(call, 0)?.map(Op::Folder),
            "unlink" | "unlinkat" | "rmdir" => self.named(call, 0)?.map(Op::Remove),
            "rename" | "renameat" | "renameat2" => return self.renamed(call),
            "bind" => self.bound(call)?.map(Op::Socket),
            "fsync" | "fdatasync" => self.open_file(call, 0)?.map(|path| Op::Sync {
                path,
                covers: call.covers,
            }),
            "truncate" | "ftruncate" => {
                let path = match call.name {
                    "truncate" => self.named(call, 0)?,
                    _ => self.open_file(call, 0)?,
                };
                let len = call.number(1)?;
                path.map(|path| Op::Length { path, len })
            }
            "fallocate" if call.args.get(1) == Some(&"0") => {
                let len = call.number(2)? + call.number(3)?;
                let path = self.open_file(call, 0)?;
                path.map(|path| Op::Room { path, len })
            }
            "execve" => Some(Op::Executed {
                pid: call.pid,
                argv: texts(call.args.get(1).unwrap_or(&""))?,
            }),
            "sync" | "syncfs" | "io_uring_setup" => return Err(unknown(call)),
            "lseek" => {
                let fd = number(call.args[0]).ok_or("no descriptor")?;
                let writes = self.places.contains_key(&(call.pid, fd));
                return if writes { Err(unknown(call)) } else { Ok(()) };
            }
            "mmap" if !(call.has(3, "MAP_SHARED") && call.has(2, "PROT_WRITE")) => None,
            name if HARMLESS.contains(&name) => None,
            _ if self.touches_project(call)? => return Err(unknown(call)),
            _ => None,
        };
        self.ops.extend(op);
        Ok(())
    }

    fn opened(&mut self, call: &Call<'_>) -> Result<(), String> {
        let path = self.named(call, 0)?;
        let flags = if call.name == "openat" { 2 } else { 1 };
        let fd = (call.pid, call.result.unwrap_or(-1));
        self.places.remove(&fd);
        let Some(path) = path else { return Ok(()) };
        if call.has(flags, "O_TMPFILE") {
            return Err(unknown(call));
        }
        if call.has(flags, "O_WRONLY") || call.has(flags, "O_RDWR") || call.name == "creat" {
            let place = (!call.has(flags, "O_APPEND")).then_some(0);
            self.places.insert(fd, place);
        }
        if call.has(flags, "O_CREAT") || call.name == "creat" {
            self.ops.push(Op::File(path.clone()));
        }
        if call.has(flags, "O_TRUNC") || call.name == "creat" {
            self.ops.push(Op::Length { path, len: 0 });
        }
        Ok(())
    }

    fn written(&mut self, call: &Call<'_>) -> Result<(), String> {
        let Some(path) = self.open_file(call, 0)? else {
            return Ok(());
        };
        let mut bytes = strings(call.args.get(1).unwrap_or(&""))?.concat();
        let n = usize::try_from(call.result.unwrap_or(0)).map_err(|_| "no length")?;
        if bytes.len() < n {
            return Err("not all that was written is told".to_owned());
        }
        bytes.truncate(n);
        let at = if call.name == "pwrite64" {
            Some(call.number(3)?)
        } else {
            // A descriptor that was inherited is a log's, which is appended to.
            let fd = number(call.args[0]).ok_or("no descriptor")?;
            let place = self.places.entry((call.pid, fd)).or_insert(None);
            let at = *place;
            *place = at.map(|at| at + n);
            at
        };
        self.ops.push(Op::Write { path, at, bytes });
        Ok(())
    }

    fn renamed(&mut self, call: &Call<'_>) -> Result<(), String> {
        let to = if call.name == "rename" { 1 } else { 2 };
        let flags = call.args.get(4).is_some_and(|flags| *flags != "0");
        match (self.named(call, 0)?, self.named(call, to)?) {
            (None, None) => Ok(()),
            (Some(from), Some(to)) if !flags => {
                self.ops.push(Op::Rename { from, to });
                Ok(())
            }
            _ => Err(unknown(call)),
        }
    }

    fn bound(&self, call: &Call<'_>) -> Result<Option<String>, String> {
        let address = call.args.get(1).unwrap_or(&"");
        if !address.contains("sun_path=\"") {
            return Ok(None);
        }
        let path = texts(address)?.concat();
        Ok(self.scope(&self.resolve(call.pid, None, &path)?))
    }

    /// What a path leads to that is `call`'s argument `n`, or, where a directory is
    /// argument `n`, the next; `None` where that is not of the project.
    fn named(&self, call: &Call<'_>, n: usize) -> Result<Option<String>, String> {
        let first = call.args.get(n).ok_or("too few arguments")?;
        let (folder, name) = match first.starts_with('"') {
            true => (None, *first),
            false => (folder(first)?, *call.args.get(n + 1).ok_or("no name")?),
        };
        let name = texts(name)?.concat();
        Ok(self.scope(&self.resolve(call.pid, folder, &name)?))
    }

    fn resolve(&self, pid: i32, folder: Option<String>, name: &str) -> Result<String, String> {
        if let Some(rest) = name.strip_prefix("/proc/self/fd/") {
            let (fd, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let fd = fd.parse().map_err(|_| "no descriptor")?;
            // One that was never seen in a call leads nowhere that is known.
            let folder = self.names.get(&(pid, fd));
            let folder = folder.ok_or("a descriptor that was not seen")?;
            return Ok(normal(&format!("{folder}/{rest}")));
        }
        if name.starts_with('/') {
            return Ok(normal(name));
        }
        let folder = folder.ok_or("a path relative to nothing that is told")?;
        Ok(normal(&format!("{folder}/{name}")))
    }

    /// What an open file is; `None` where that is not of the project, or has no
    /// name any more.
    fn open_file(&self, call: &Call<'_>, n: usize) -> Result<Option<String>, String> {
        let arg = call.args.get(n).ok_or("too few arguments")?;
        if arg.ends_with(">(deleted)") {
            return Ok(None);
        }
        let file = descriptor(arg)?;
        Ok(file.and_then(|(_, path)| self.scope(&path)))
    }

    /// The path relative to the project, if it is the project or in its `.monoco`.
    fn scope(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix(self.project)?;
        if below.is_empty() {
            return Some(String::new());
        }
        let below = below.strip_prefix('/')?;
        let is_ours = below == ".monoco" || below.starts_with(".monoco/");
        is_ours.then(|| below.to_owned())
    }

    fn touches_project(&self, call: &Call<'_>) -> Result<bool, String> {
        for arg in &call.args {
            let paths = match descriptor(arg)? {
                Some((_, path)) => vec![path],
                None => texts(arg)?,
            };
            if paths.iter().any(|path| self.scope(path).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Call<'_> {
    fn number(&self, n: usize) -> Result<usize, String> {
        let n = self.args.get(n).and_then(|arg| number(arg));
        n.and_then(|n| n.try_into().ok())
            .ok_or_else(|| "no number".to_owned())
    }

    fn has(&self, n: usize, flag: &str) -> bool {
        let flags = self.args.get(n).unwrap_or(&"");
        flags.split('|').any(|known| known == flag)
    }
}

fn unknown(call: &Call<'_>) -> String {
    format!("what {} does to the project is not known here", call.name)
}

/// The number that `text` begins with.
fn number(text: &str) -> Option<i64> {
    let end = text
        .char_indices()
        .skip(1)
        .find(|(_, c)| !c.is_ascii_digit());
    text[..end.map_or(text.len(), |(at, _)| at)].parse().ok()
}

/// A descriptor with what it leads to: `5<\x2f…>`.
fn descriptor(arg: &str) -> Result<Option<(i64, String)>, String> {
    let digits = arg.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (fd, rest) = arg.split_at(digits);
    match fd.parse() {
        Ok(fd) if rest.starts_with('<') => Ok(folder(arg)?.map(|path| (fd, path))),
        _ => Ok(None),
    }
}

/// What stands between `<` and `>`.
fn folder(arg: &str) -> Result<Option<String>, String> {
    let Some((_, path)) = arg.split_once('<') else {
        return Ok(None);
    };
    let (path, _) = path.split_once('>').ok_or("no end of a path")?;
    let path = unescape(path).ok_or("a path that is no text")?;
    Ok(Some(String::from_utf8_lossy(&path).into_owned()))
}

/// The arguments, which commas separate where no bracket is open. No string holds
/// a comma or a bracket: it is all escapes.
fn split(args: &str) -> Vec<&str> {
    let (mut all, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in args.char_indices() {
        match c {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth -= 1,
            ',' if depth == 0 => {
                all.push(args[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    all.push(args[from..].trim());
    all
}

/// The strings in `arg`, whole.
fn strings(arg: &str) -> Result<Vec<Vec<u8>>, String> {
    let parts: Vec<_> = arg.split('"').collect();
    let mut strings = Vec::new();
    for pair in parts[1..].chunks(2) {
        let [string, after] = pair else {
            return Err("a string without an end".to_owned());
        };
        if after.starts_with("...") {
            return Err("not all of a string is told".to_owned());
        }
        strings.push(unescape(string).ok_or("a string that is not all escapes")?);
    }
    Ok(strings)
}

fn texts(arg: &str) -> Result<Vec<String>, String> {
    let strings = strings(arg)?.into_iter();
    Ok(strings
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect())
}

/// The bytes of `\x2f\x70…`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.split("\\x");
    if !bytes.next()?.is_empty() {
        return None;
    }
    bytes.map(|hex| u8::from_str_radix(hex, 16).ok()).collect()
}

/// `path` without `.` and `..`.
fn normal(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => _ = names.pop(),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests;
