//! Where the daemon listens: an address that cannot be misread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port where none is given.
const PORT: u16 = 8642;

/// An IP address or `localhost`, with a port or without. Nothing is looked up,
/// and none of the spellings of old resolvers (`0`, `0x7f.1`, `127.1`) is known.
///
/// An IPv4 address in the clothes of IPv6 (`::ffff:0.0.0.0`) becomes what it is,
/// so that it is judged as what it is.
pub(super) fn parse(text: &str) -> Result<SocketAddr, String> {
    let parsed = || {
        let (host, port) = split(text)?;
        Some(SocketAddr::new(
            host.to_canonical(),
            port.map_or(Some(PORT), digits)?,
        ))
    };
    parsed().ok_or_else(|| {
        "expected an IP address or `localhost`, with or without a port: 127.0.0.1, \
         localhost:8642, ::1, [::1]:8642"
            .to_owned()
    })
}

/// The host, and the text of the port where there is one.
fn split(text: &str) -> Option<(IpAddr, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let host: Ipv6Addr = host.parse().ok()?;
        return match port {
            "" => Some((host.into(), None)),
            port => Some((host.into(), Some(port.strip_prefix(':')?))),
        };
    }
    if let Ok(host) = text.parse::<Ipv6Addr>() {
        return Some((host.into(), None));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host = if host.eq_ignore_ascii_case("localhost") {
        Ipv4Addr::LOCALHOST
    } else {
        host.parse().ok()?
    };
    Some((host.into(), port))
}

/// A port in plain digits; Rust's own parser would take `+80` as well.
fn digits(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A name to be accepted in `Host`: a host name or an IP address, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inner)
    };
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(bare.to_ascii_lowercase())
    } else {
        Err("expected a host name without scheme or port, such as agents.example.net".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read_as_they_mean_it() {
        for (text, meant) in [
            ("127.0.0.1", "127.0.0.1:8642"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost", "127.0.0.1:8642"),
            ("LocalHost:9", "127.0.0.1:9"),
            ("::1", "[::1]:8642"),
            ("[::1]", "[::1]:8642"),
            ("[::1]:65535", "[::1]:65535"),
            ("0.0.0.0", "0.0.0.0:8642"),
            ("::", "[::]:8642"),
            ("::ffff:127.0.0.1", "127.0.0.1:8642"),
            ("[::ffff:0.0.0.0]:1", "0.0.0.0:1"),
            ("192.168.1.7:8642", "192.168.1.7:8642"),
        ] {
            let read = parse(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), Ok(meant), "{text}");
        }
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            "0",
            "0x0",
            "0x7f000001",
            "127.1",
            "127.0.0.01",
            "2130706433",
            "8642",
            ":8642",
            "*",
            "*:8642",
            "example.org",
            "localhost.",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:-1",
            "127.0.0.1:65536",
            "127.0.0.1:80:80",
            "127.0.0.1 ",
            " 127.0.0.1",
            "[::1",
            "[::1]8642",
            "[::1]:",
            "[127.0.0.1]:80",
            "[localhost]",
            "::1%lo",
            "http://127.0.0.1",
            "127.0.0.1/8",
            "１２７.0.0.1",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("localhost:8642"), "{error}");
        }
    }

    #[test]
    fn a_host_is_a_name_without_anything_around_it() {
        for (text, name) in [
            ("Agents.example.NET", "agents.example.net"),
            ("box", "box"),
            ("10.0.0.1", "10.0.0.1"),
            ("[fe80::1]", "[fe80::1]"),
            ("fe80::1", "[fe80::1]"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(name), "{text}");
        }
        for text in [
            "", "*", "*.net", "a b", "a:80", "http://a", "a/", "a..b", ".", "ä", "[a]",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
