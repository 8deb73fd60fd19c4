//! What every request has to pass before anybody looks at it: it must be meant
//! for this server, not be sent by another site's page, and know the token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;

/// The name of a browser's cookie.
pub(super) const COOKIE: &str = "monoco";

/// From where a browser says that a request comes; `none` is its user.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Anybody who can reach the port.
    Anybody,
    /// This user, as the kernel says (`SO_PEERCRED`).
    Ourselves,
}

/// The names by which this server may be called. A page whose name was made to
/// point here (DNS rebinding) calls it by another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    /// With these ports.
    addresses: Vec<SocketAddr>,
    /// With the port that is given, or any.
    names: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(addresses: Vec<SocketAddr>, names: Vec<String>) -> Self {
        Self { addresses, names }
    }

    /// Whether `host` (`name[:port]`) means this server.
    pub(super) fn allows(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        let by_name = |allowed: &String| {
            let (allowed_name, allowed_port) = split_port(allowed);
            allowed_name.eq_ignore_ascii_case(name)
                && port.is_none_or(|port| digits(port).is_some())
                && (allowed_port.is_none() || allowed_port == port)
        };
        if self.names.iter().any(by_name) {
            return true;
        }
        let is_ours = |address: &SocketAddr| {
            // 80 is what HTTP means without a port.
            let port = match port {
                Some(port) => digits(port) == Some(address.port()),
                None => address.port() == 80,
            };
            port && is_name_of(name, address.ip())
        };
        self.addresses.iter().any(is_ours)
    }

    /// Whether `host` can mean this machine, at whatever port, for a program that
    /// has no better name for a Unix socket. The name of a page that was made to point
    /// here has a dot.
    fn allows_here(&self, host: &str) -> bool {
        let (name, _) = split_port(host);
        let is_local = is_name_of(name, IpAddr::from([127, 0, 0, 1]));
        is_local || !name.is_empty() && !name.contains('.') || self.allows(host)
    }

    /// Whether a page from `origin` is our own.
    fn allows_origin(&self, origin: &str) -> bool {
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| self.allows(host))
    }
}

fn is_name_of(name: &str, ip: IpAddr) -> bool {
    let named = match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(v6) => v6.parse().map(IpAddr::V6),
        None => name.parse().map(IpAddr::V4),
    };
    let is_localhost = name.eq_ignore_ascii_case("localhost");
    match named {
        Ok(named) if named == ip => true,
        // Whoever listens on loopback, or everywhere, is reached by its usual names.
        Ok(named) => (ip.is_loopback() || ip.is_unspecified()) && is_usual_loopback(named),
        Err(_) => is_localhost && (ip.is_loopback() || ip.is_unspecified()),
    }
}

fn is_usual_loopback(ip: IpAddr) -> bool {
    ip == IpAddr::from([127, 0, 0, 1]) || ip == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
}

/// A port in plain digits; Rust's own parser would take `+80` as well.
fn digits(port: &str) -> Option<u16> {
    let plain = !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| port.parse().ok()).flatten()
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // A colon inside brackets is not a port's.
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// Lets a request pass that is meant for this server.
pub(super) async fn check_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    match is_for_us(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn is_for_us(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::bad_request("expected one Host header"));
    };
    let host = host.to_str().unwrap_or_default();
    // Nothing but this user's own programs can reach a Unix socket; but one of them
    // may carry it to a port, where a browser's pages reach it.
    if peer(request) == Peer::Ourselves {
        let from_page =
            headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
        return match (app.hosts.allows_here(host), from_page) {
            (true, false) => Ok(()),
            (true, true) => Err(Problem::wrong_origin("pages are not answered here")),
            (false, _) => Err(Problem::wrong_host(
                "over a Unix socket this server is called localhost",
            )),
        };
    }
    // A request with a whole URL is for the host in it (RFC 9112, 3.2.2).
    let in_url = request.uri().authority().map(ToString::to_string);
    if !app.hosts.allows(host) || in_url.is_some_and(|host| !app.hosts.allows(&host)) {
        return Err(Problem::wrong_host(
            "the Host header names another server; a name of this one can be added with --allow-host",
        ));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let allowed = |origin: &axum::http::HeaderValue| {
        origin
            .to_str()
            .is_ok_and(|origin| app.hosts.allows_origin(origin))
    };
    if !origins.all(allowed) {
        return Err(Problem::wrong_origin(
            "pages of other sites are not answered",
        ));
    }
    Ok(())
}

/// Lets a request pass that knows the token, or comes from a browser that did.
pub(super) async fn check_access(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    match may_pass(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn may_pass(app: &App, request: &Request) -> Result<(), Problem> {
    if peer(request) == Peer::Ourselves {
        return Ok(());
    }
    if let Some(token) = bearer(request.headers()) {
        return match app.access.is_token(token) {
            true => Ok(()),
            false => Err(Problem::unauthorized()),
        };
    }
    if !cookies(request.headers()).any(|cookie| app.access.is_cookie(cookie)) {
        return Err(Problem::unauthorized());
    }
    // A browser adds its cookie to whatever it sends. `SameSite` keeps it from other
    // hosts' pages, but a page of another port is of the same site: what it embeds or
    // opens has no Origin, and how long an answer takes would tell it something. Fetch
    // metadata tell it apart (W3C, "Fetch Metadata Request Headers").
    let mut sites = request.headers().get_all(SEC_FETCH_SITE).iter();
    if !sites.all(|site| site == "same-origin" || site == "none") {
        return Err(Problem::wrong_origin(
            "pages of other sites and ports are not answered",
        ));
    }
    // To look, and no more: browsers send a cookie to every port of a host, so
    // whoever else serves this user's browser from here may learn it.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::only_looking(
            "send `Authorization: Bearer TOKEN` to change something",
        ));
    }
    Ok(())
}

fn peer(request: &Request) -> Peer {
    let peer = request.extensions().get::<Peer>().copied();
    peer.unwrap_or(Peer::Anybody)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, host: &str, expected: bool) {
        let address = address.parse().expect("an address");
        let hosts = Hosts::new(vec![address], vec!["Box.lan".into(), "proxy:443".into()]);
        assert_eq!(hosts.allows(host), expected, "{host} for {address}");
        let origin = format!("http://{host}");
        assert_eq!(hosts.allows_origin(&origin), expected, "{origin}");
    }

    #[test]
    fn the_names_of_this_server_and_no_others() {
        for host in [
            "127.0.0.1:8642",
            "localhost:8642",
            "LOCALHOST:8642",
            "[::1]:8642",
        ] {
            check("127.0.0.1:8642", host, true);
            check("[::1]:8642", host, true);
            check("0.0.0.0:8642", host, true);
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8642",
            "127.0.0.1",
            "localhost",
            "localhost:80",
            "localhost.:8642",
            "127.0.0.1.evil.example:8642",
            "127.0.0.2:8642",
            "0.0.0.0:8642",
            "[::1]",
            "[::1:8642",
            "::1:8642",
            "localhost:8642:8642",
            "localhost:08642x",
            "localhost:08642",
            "localhost:+8642",
            "localhost:",
            "null",
            "127.0.0.1:8642@evil.example",
            "2130706433:8642",
            "0x7f000001:8642",
            "127.1:8642",
        ] {
            check("127.0.0.1:8642", host, false);
        }
        check("127.0.0.2:8642", "127.0.0.2:8642", true);
        check("127.0.0.1:80", "localhost", true);
        check("10.0.0.7:8642", "10.0.0.7:8642", true);
        check("10.0.0.7:8642", "localhost:8642", false);
    }

    #[test]
    fn names_that_were_allowed() {
        for host in ["box.lan", "BOX.LAN:9999", "proxy:443"] {
            check("127.0.0.1:8642", host, true);
        }
        for host in [
            "proxy",
            "proxy:80",
            "my.box.lan",
            "box.lan.evil.example",
            "box.lan:80@evil.example",
        ] {
            check("127.0.0.1:8642", host, false);
        }
    }

    #[test]
    fn over_a_unix_socket_a_page_has_a_name_with_a_dot() {
        let hosts = Hosts::new(Vec::new(), vec!["box.lan".into()]);
        for host in [
            "localhost",
            "localhost:1",
            "x",
            "127.0.0.1:80",
            "[::1]",
            "box.lan",
        ] {
            assert!(hosts.allows_here(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "evil.example:8642",
            "10.0.0.1",
            "127.0.0.1.nip.io",
        ] {
            assert!(!hosts.allows_here(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_a_page_of_our_own() {
        let address = "127.0.0.1:8642".parse().expect("an address");
        let hosts = Hosts::new(vec![address], Vec::new());
        for origin in [
            "null",
            "",
            "file://",
            "http://evil.example",
            "localhost:8642",
            "ftp://localhost:8642",
        ] {
            assert!(!hosts.allows_origin(origin), "{origin}");
        }
    }
}
