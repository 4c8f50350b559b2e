//! What must hold for any bytes whatsoever, as functions that panic where it
//! does not. `tests/fuzz` calls them with what a fuzzer thinks of, the tests
//! here with random bytes and with pieces of real messages.
//!
//! Not part of the program: there only for tests and under `cargo fuzz`.

mod reference;

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};

use crate::config;
use crate::connection::framing::{Framing, Limits, Violation};
use crate::proxy::headers::Found;
use crate::proxy::{self, Forwarding};
use crate::strategy::Inbound;
use crate::transport;

const LIMITS: Limits = Limits {
    line: 512,
    head: 2048,
    body: 4096,
};

/// The check in front of hyper: how bytes are cut into pieces makes no
/// difference, and where requests end is where a plain reading of RFC 9112 has
/// them end. The first byte says how long the pieces are.
pub fn framing(data: &[u8]) {
    let Some((&length, bytes)) = data.split_first() else {
        return;
    };
    let whole = read(bytes, bytes.len());
    assert_eq!(whole, read(bytes, usize::from(length)), "in pieces");
    let (ends, violation) = whole;
    let passed = violation.map_or(bytes.len(), |Violation { at, .. }| at);
    let expected = reference::ends(&bytes[..passed]);
    assert_eq!(
        ends.as_slice(),
        expected.as_deref().unwrap_or(&[]),
        "where requests end; no ends: the reference refuses"
    );
    assert!(expected.is_some(), "the reference refuses what has passed");
}

/// Where requests end, and what must not pass.
fn read(bytes: &[u8], piece: usize) -> (Vec<usize>, Option<Violation>) {
    let mut framing = Framing::new(LIMITS);
    let (mut at, mut ends) = (0, Vec::new());
    while at < bytes.len() {
        let until = bytes.len().min(at + piece.max(1));
        match framing.feed(&bytes[at..until]) {
            Ok(passed) => at += passed,
            Err(Violation { at: ahead, fault }) => {
                let at = at + ahead;
                return (ends, Some(Violation { at, fault }));
            }
        }
        if framing.holds() {
            ends.push(at);
            framing.go_on();
        }
    }
    (ends, None)
}

/// A request's target and `Host`, the first line and the rest: what is accepted
/// means one thing only, and cannot leave its place in the request to a backend.
pub fn target(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (target, host) = data.split_at(end.unwrap_or(data.len()));
    let host = host.strip_prefix(b"\n").unwrap_or(host);
    let (Ok(uri), Ok(host)) = (Uri::try_from(target), HeaderValue::from_bytes(host)) else {
        return;
    };
    let headers = HeaderMap::from_iter([(HOST, host)]);
    for method in [Method::GET, Method::OPTIONS, Method::CONNECT] {
        let Some((path, host)) = proxy::target_of(&method, &uri, Version::HTTP_11, &headers) else {
            continue;
        };
        assert_ne!(method, Method::CONNECT);
        let path = path.to_string();
        assert!(path.starts_with('/') || path == "*" && method == Method::OPTIONS);
        assert!(path.bytes().all(|byte| byte > b' ' && byte != 0x7f));
        assert!(!path.contains('#'), "{path}");
        let host = host.to_str().expect("a host is text");
        assert!(host.bytes().all(|byte| byte > b' ' && byte != 0x7f));
        assert!(!host.contains(['@', '/', '?', '#', '\\', ',']), "{host}");
    }
}

/// What the proxy says of a client: whatever stood there before and whoever was
/// asked for, its own element is the last one, whole, and on the same line.
pub fn forwarded(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (host, earlier) = data.split_at(end.unwrap_or(data.len()));
    let (Ok(host), Ok(earlier)) = (
        HeaderValue::from_bytes(host),
        HeaderValue::from_bytes(earlier.strip_prefix(b"\n").unwrap_or(earlier)),
    ) else {
        return;
    };
    let names = ["forwarded", "x-forwarded-for", "x-forwarded-host"].map(HeaderName::from_static);
    for address in [IpAddr::from([10, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
        for trusted in [false, true] {
            let mut map = HeaderMap::from_iter([(HOST, host.clone())]);
            for name in &names {
                map.append(name, earlier.clone());
            }
            let found = Found::among(&map);
            let forwarding = Forwarding::new(address, trusted);
            let added = Some(forwarding.apply(&mut map, &found));
            let inbound = Inbound {
                headers: map,
                added,
                ..Inbound::default()
            };
            let [said, node, _] = names.each_ref().map(|name| {
                let values: Vec<_> = inbound.values(name).collect();
                assert_eq!(values.len(), 1, "{name}");
                values[0].as_bytes()
            });
            assert!(node.ends_with(address.to_string().as_bytes()));
            assert!(said.ends_with(b";proto=http"));
            if !trusted {
                assert_eq!(node, address.to_string().as_bytes());
                assert!(said.starts_with(b"for="), "nothing of a stranger's");
                reference::is_one_element(said);
            }
        }
    }
}

/// A backend's answer; the first byte says how long the pieces are that it comes in, and
/// whether it answers a HEAD: pieces make no difference, and a whole answer is the one
/// that hyper reads, if hyper reads one.
pub fn answer(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else {
        return;
    };
    let method = [Method::GET, Method::HEAD][usize::from(first & 1)].clone();
    let whole = transport::read_answer(bytes, bytes.len(), &method);
    let pieces = transport::read_answer(bytes, usize::from(first >> 1), &method);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "in pieces");
    let Ok(Some(answer)) = whole else {
        return;
    };
    let (status, said) = (answer.response.status(), answer.response.headers());
    assert!(!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS);
    let hypers = reference::answer(bytes, &method);
    if let Some(hypers) = hypers.filter(|_| answer.whole) {
        assert_eq!(status, hypers.status());
        assert_eq!(answer.response.body(), hypers.body(), "{status} {said:?}");
        for (name, value) in said {
            assert!(hypers.headers().get_all(name).iter().any(|it| it == value));
        }
    }
}

/// A configuration: never a panic, and what is wrong is told with its place.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match config::parse(text, Path::new("fuzz/anubis.toml")) {
        Ok(settings) => {
            assert!(!settings.listeners.is_empty() && !settings.pools.is_empty());
            assert!(
                settings
                    .routes
                    .iter()
                    .all(|one| one.pool < settings.pools.len())
            );
        }
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What requests are made of, and what they are broken with.
    const PIECES: [&str; 40] = [
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "Host: h\r\n",
        "Content-Length: ",
        "content-length:",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:",
        "Upgrade: x\r\n",
        "Connection: upgrade\r\n",
        "X: y\r\n",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        "0",
        "1",
        "5",
        "a",
        "F",
        "0\r\n\r\n",
        "0\r\n",
        "5\r\nhello\r\n",
        "1\r\nx\r\n",
        "hello",
        "ffffffffffffffff",
        "99999999999999999999",
        "1000\r\n",
        ";a=b",
        " ",
        "\t",
        ",",
        "+",
        "-",
        "0x",
        "_",
        ":",
        "\0",
        "\u{e4}",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "GET /2 HTTP/1.1\r\n\r\n",
    ];

    /// What answers are made of, and what they are broken with.
    const ANSWERS: [&str; 32] = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 \r\n",
        "HTTP/1.1 101 Switching Protocols\r\n",
        "HTTP/1.1 304\r\n",
        "Content-Length: ",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:",
        "Connection: close\r\n",
        "X: y\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "0",
        "5",
        "a",
        "0\r\n\r\n",
        "0\r\nA: b\r\n\r\n",
        "5\r\nhello\r\n",
        "1;x=y\r\nx\r\n",
        "hello",
        "ffffffffffffffff",
        " ",
        ",",
        ":",
        "\0",
        "\u{e4}",
    ];

    const HOSTS: [&str; 24] = [
        "a",
        "b.example",
        ":",
        "80",
        "@",
        "/",
        "?",
        "#",
        "[",
        "]",
        "::1",
        "%",
        "\\",
        ",",
        " ",
        ";",
        "\"",
        "=",
        "http://",
        "*",
        "..",
        "\t",
        "\u{e4}",
        "\n",
    ];

    const SETTINGS: [&str; 24] = [
        "[[listeners]]\n",
        "address = \"127.0.0.1:0\"\n",
        "[[pools.web.backends]]\n",
        "address = \"a:1\"\n",
        "[pools.web]\n",
        "[pools.web.rate-limit]\n",
        "[pools.web.health-check]\n",
        "[pools.web.sticky]\n",
        "[[routes]]\n",
        "pool = \"web\"\n",
        "rate = 1\n",
        "type = \"http\"\n",
        "cookie = \"c\"\n",
        "max-body-size = \"1KiB\"\n",
        "idle-timeout = \"1s\"\n",
        "hash-key = \"header:X\"\n",
        "weight = 1\n",
        "x = ",
        "{}\n",
        "\"",
        "=",
        "-1\n",
        "nan\n",
        "\u{e4}\n",
    ];

    fn of(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(pieces).prop_map(str::as_bytes);
        let noise = prop::collection::vec(any::<u8>(), 1..4);
        let piece = prop_oneof![9 => piece.prop_map(<[u8]>::to_vec), 1 => noise];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// 2,000, or as many as `PROPTEST_CASES` says.
    fn cases() -> ProptestConfig {
        match std::env::var_os("PROPTEST_CASES") {
            Some(_) => ProptestConfig::default(),
            None => ProptestConfig::with_cases(2_000),
        }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn framing_of_anything(length in any::<u8>(), bytes in of(&PIECES)) {
            framing(&[&[length], &*bytes].concat());
        }

        #[test]
        fn answers_of_anything(first in any::<u8>(), bytes in of(&ANSWERS)) {
            answer(&[&[first], &*bytes].concat());
        }

        #[test]
        fn targets_of_anything(bytes in of(&HOSTS)) {
            target(&bytes);
            target(&[b"/\n", &*bytes].concat());
        }

        #[test]
        fn forwarding_of_anything(bytes in of(&HOSTS)) {
            forwarded(&bytes);
        }

        #[test]
        fn configurations_of_anything(bytes in of(&SETTINGS)) {
            configuration(&bytes);
        }
    }
}
