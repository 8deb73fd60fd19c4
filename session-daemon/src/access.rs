//! Who may ask: the token, one-time links for browsers, and the cookies that
//! they are exchanged for.
//!
//! The token stands in one file that only its owner can read. It is never
//! printed, logged, or part of a URL or of a command line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::OFlags;
use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq;

/// The shortest token that is taken: 16 random characters are beyond guessing.
const MIN_TOKEN_LEN: usize = 16;
/// The longest.
const MAX_TOKEN_LEN: usize = 1024;
/// How long a link can be used.
const LINK_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a browser stays signed in.
pub(crate) const COOKIE_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How many browsers are signed in at once; the oldest has to make room.
const MAX_COOKIES: usize = 16;

/// The token's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The system refused.
    #[error("cannot {attempt} the token file {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not as it must be.
    #[error("the token file {} {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        what: String,
    },
}

/// What lets somebody in.
#[derive(Debug)]
pub(crate) struct Access {
    path: PathBuf,
    token: RwLock<Secret>,
    links: Mutex<VecDeque<Pass>>,
    cookies: Mutex<VecDeque<Pass>>,
}

/// Something to be known by.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// 256 random bits in letters that a URL and a header can hold.
    fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        // Once the system's pool is there, so few bytes come all at once (getrandom(2)).
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Compares without telling by the time it takes where a guess goes wrong.
    fn is(&self, guess: &str) -> bool {
        self.0.as_bytes().ct_eq(guess.as_bytes()).into()
    }
}

/// A secret for a time.
#[derive(Debug)]
struct Pass {
    secret: Secret,
    until: Instant,
}

impl Access {
    /// Reads the token from `path`; makes a new one where there is none, if
    /// `create` says so.
    pub(crate) fn open(path: PathBuf, create: bool) -> Result<Self, TokenError> {
        let token = match read(&path)? {
            Some(token) => token,
            None if create => make(&path)?,
            None => {
                let what = "does not exist; write a token of your own into it (chmod 600)";
                return Err(unusable(&path, what));
            }
        };
        Ok(Self {
            path,
            token: RwLock::new(token),
            links: Mutex::default(),
            cookies: Mutex::default(),
        })
    }

    /// Reads the token again. Browsers have to sign in again if it changed.
    pub(crate) fn reread(&self) -> Result<(), TokenError> {
        let Some(token) = read(&self.path)? else {
            return Err(unusable(&self.path, "is gone; the old token stays valid"));
        };
        let mut known = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if !known.is(&token.0) {
            *known = token;
            lock(&self.cookies).clear();
            lock(&self.links).clear();
        }
        Ok(())
    }

    pub(crate) fn is_token(&self, guess: &str) -> bool {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        token.is(guess)
    }

    pub(crate) fn is_cookie(&self, guess: &str) -> bool {
        let now = Instant::now();
        let cookies = lock(&self.cookies);
        let mut valid = cookies.iter().filter(|pass| pass.until > now);
        valid.any(|pass| pass.secret.is(guess))
    }

    /// A word that lets one browser in, once.
    pub(crate) fn new_link(&self) -> io::Result<String> {
        issue(&self.links, LINK_LIFETIME)
    }

    /// Takes such a word, and gives the cookie for it.
    pub(crate) fn redeem(&self, guess: &str) -> io::Result<Option<String>> {
        let now = Instant::now();
        let mut links = lock(&self.links);
        links.retain(|link| link.until > now);
        let Some(used) = links.iter().position(|link| link.secret.is(guess)) else {
            return Ok(None);
        };
        links.remove(used);
        drop(links);
        issue(&self.cookies, COOKIE_LIFETIME).map(Some)
    }
}

fn lock(passes: &Mutex<VecDeque<Pass>>) -> std::sync::MutexGuard<'_, VecDeque<Pass>> {
    passes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn issue(passes: &Mutex<VecDeque<Pass>>, lifetime: Duration) -> io::Result<String> {
    let secret = Secret::random()?;
    let text = secret.0.clone();
    let until = Instant::now() + lifetime;
    let mut passes = lock(passes);
    if passes.len() >= MAX_COOKIES {
        passes.pop_front();
    }
    passes.push_back(Pass { secret, until });
    Ok(text)
}

/// The token in a file; `None` when there is no file.
fn read(path: &Path) -> Result<Option<Secret>, TokenError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("read", path, source)),
    };
    let metadata = file
        .metadata()
        .map_err(|source| failed("look at", path, source))?;
    if !metadata.is_file() {
        return Err(unusable(path, "is not a regular file"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(unusable(path, "belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(unusable(
            path,
            "can be read by others; `chmod 600` it, and put a new token in if others may have seen it",
        ));
    }
    let mut text = String::new();
    let limit = MAX_TOKEN_LEN as u64 + 2;
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|source| failed("read", path, source))?;
    let token = text.trim();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !(MIN_TOKEN_LEN..=MAX_TOKEN_LEN).contains(&token.len()) || !is_plain {
        return Err(unusable(
            path,
            "does not hold a token: 16 to 1024 printable ASCII characters without spaces",
        ));
    }
    Ok(Some(Secret(token.to_owned())))
}

/// A new token in a new file. Of two who make one at once, both have the first's.
fn make(path: &Path) -> Result<Secret, TokenError> {
    let io = |source| failed("make", path, source);
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io)?;
    }
    let secret = Secret::random().map_err(io)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    // What a process of our number left there is nobody's.
    let _ = std::fs::remove_file(&temporary);
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(secret.0.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        // Unlike a rename, a link never replaces what somebody else has made.
        .and_then(|()| std::fs::hard_link(&temporary, path));
    let _ = std::fs::remove_file(&temporary);
    match written {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| io(error))
        }
        Err(error) => Err(io(error)),
    }
}

fn failed(attempt: &'static str, path: &Path, source: io::Error) -> TokenError {
    TokenError::Io {
        attempt,
        path: path.to_owned(),
        source,
    }
}

fn unusable(path: &Path, what: &str) -> TokenError {
    TokenError::Unusable {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(dir: &tempfile::TempDir, content: &str, mode: u32) -> PathBuf {
        let path = dir.path().join("token");
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).expect("a writable directory");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("our own file");
        path
    }

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[test]
    fn a_token_is_made_once_and_only_for_its_owner() {
        let dir = dir();
        let path = dir.path().join("state/monoco/token");
        let first = Access::open(path.clone(), true).expect("a new token");
        let mode = std::fs::metadata(&path).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text.trim().len(), 43);
        assert!(first.is_token(text.trim()));
        let second = Access::open(path, true).expect("the same token");
        assert!(second.is_token(text.trim()));
        assert!(!second.is_token("") && !second.is_token(&text.trim()[1..]));
        assert_eq!(
            format!("{:?}", first.token),
            "RwLock { data: Secret, poisoned: false, .. }"
        );
    }

    #[test]
    fn a_token_that_others_can_read_or_guess_is_refused() {
        let dir = dir();
        for (content, mode, why) in [
            ("a-token-of-my-own-0123", 0o640, "chmod 600"),
            ("a-token-of-my-own-0123", 0o604, "chmod 600"),
            ("short", 0o600, "16 to 1024"),
            ("", 0o600, "16 to 1024"),
            ("two words and some more", 0o600, "16 to 1024"),
            (&"x".repeat(2000), 0o600, "16 to 1024"),
        ] {
            let error = Access::open(file(&dir, content, mode), true).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
        let path = file(&dir, "a-token-of-my-own-0123", 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a writable directory");
        assert!(Access::open(link, true).is_err());
        assert!(Access::open(dir.path().join("none"), false).is_err());
    }

    #[test]
    fn a_token_that_was_replaced_signs_everybody_out() {
        let dir = dir();
        let path = file(&dir, "a-token-of-my-own-0123", 0o600);
        let access = Access::open(path, false).expect("a token");
        let link = access.new_link().expect("random bytes");
        let cookie = access.redeem(&link).expect("random bytes").expect("a link");
        access.reread().expect("it is still there");
        assert!(access.is_cookie(&cookie));
        file(&dir, "another-token-of-my-own", 0o600);
        access.reread().expect("a token");
        assert!(access.is_token("another-token-of-my-own"));
        assert!(!access.is_token("a-token-of-my-own-0123"));
        assert!(!access.is_cookie(&cookie));
    }

    #[test]
    fn a_link_works_once() {
        let dir = dir();
        let path = file(&dir, "a-token-of-my-own-0123", 0o600);
        let access = Access::open(path, false).expect("a token");
        let link = access.new_link().expect("random bytes");
        assert!(access.redeem("guess").expect("random bytes").is_none());
        let cookie = access.redeem(&link).expect("random bytes").expect("a link");
        assert!(access.redeem(&link).expect("random bytes").is_none());
        assert!(access.is_cookie(&cookie) && !access.is_cookie(&link));
        assert!(!access.is_token(&cookie));
    }
}
