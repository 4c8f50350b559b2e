//! Which headers end here, and which the proxy adds.
//!
//! Order matters: first everything that the client nominated or that belongs
//! to its connection goes, then ours are added. So nothing that a client
//! writes into `Connection` can take away what the proxy says.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRANSFER_ENCODING, UPGRADE, VIA, WWW_AUTHENTICATE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

static HOP_BY_HOP: [HeaderName; 7] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
];

const PROTOCOL: HeaderValue = HeaderValue::from_static("http");
const NEVER_IN_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    SET_COOKIE,
    VIA,
    WWW_AUTHENTICATE,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const UPGRADE_OPTION: HeaderValue = HeaderValue::from_static("upgrade");
/// RFC 9110 section 7.6.3: received protocol version and a pseudonym.
const VIA_SELF: HeaderValue = HeaderValue::from_static("1.1 anubis");

/// Removes what is meant for one connection only (RFC 9110 section 7.6.1):
/// the fields that `Connection` nominates, the well-known ones, and those for
/// the authentication of proxies. `Host` and framing cannot be nominated away.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        strip_nominated(headers);
        headers.remove(CONNECTION);
    }
    // Found by looking at the few that are there: hashing every name that could be costs
    // more than all of that.
    while let Some(name) = headers.keys().find(|name| ends_here(name)).cloned() {
        headers.remove(name);
    }
}

fn ends_here(name: &HeaderName) -> bool {
    // Lengths of those names, to which few others come.
    matches!(name.as_str().len(), 2 | 7 | 10 | 16..=19) && HOP_BY_HOP.contains(name)
}

fn strip_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        // What nearly all say names no field that is not removed anyway.
        .filter(|token| {
            !["close", "keep-alive"]
                .iter()
                .any(|it| it.eq_ignore_ascii_case(token))
        })
        .filter_map(|token| HeaderName::try_from(token).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// Removes what a client claims about itself beyond what the proxy replaces: from
/// all but `trusted` ones further `X-Forwarded-` fields and `X-Real-IP`; from
/// everybody names that a backend's CGI-like interface could not tell from those
/// and from the framing, such as `X_Forwarded_For`.
pub fn strip_claims(headers: &mut HeaderMap, trusted: bool) {
    let is_claim = |name: &&HeaderName| match name.as_str() {
        twin if twin.as_bytes().contains(&b'_') => is_of_proxies(&twin.replace('_', "-")),
        name if name.starts_with("x-") => !trusted && is_of_proxies(name) && !is_ours(name),
        _ => false,
    };
    let claims: Vec<HeaderName> = headers.keys().filter(is_claim).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Removes from trailers what may stand in a head only (RFC 9110 section 6.5.1):
/// whatever frames, routes or authenticates a message, and what proxies say. Some
/// readers merge trailers into the head, where these would count.
pub fn strip_from_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    strip_claims(trailers, false);
    for name in NEVER_IN_TRAILERS {
        trailers.remove(name);
    }
}

/// What proxies say, and clients should not.
fn is_of_proxies(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || ["x-real-ip", "content-length", "transfer-encoding"].contains(&name)
}

/// It is replaced.
fn is_ours(name: &str) -> bool {
    [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO]
        .iter()
        .any(|ours| *ours == name)
}

/// The client announced with `TE: trailers` that it takes trailers
/// (RFC 9110 section 10.1.4).
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .any(|value| list_contains(value, "trailers"))
}

/// Announces to the backend that trailers are welcome.
pub fn announce_trailers(headers: &mut HeaderMap) {
    headers.insert(TE, TRAILERS);
    headers.insert(CONNECTION, HeaderValue::from_static("te"));
}

/// The protocol that the client asks to switch to, if it asks in a form that
/// may be forwarded (RFC 9110 section 7.8). Never HTTP/2: that would be
/// spoken past this proxy.
pub fn upgrade_wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .any(|value| list_contains(value, "upgrade"));
    let protocol = headers.get(UPGRADE).filter(|_| asked)?;
    let name = protocol.to_str().ok()?.to_ascii_lowercase();
    let forbidden = name
        .split(',')
        .any(|token| token.trim().starts_with("h2") || token.trim().starts_with("http/"));
    (!forbidden).then(|| protocol.clone())
}

/// Puts back what asks for, or agrees to, a switch to `protocol`.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, UPGRADE_OPTION);
    headers.insert(UPGRADE, protocol);
}

/// Adds this proxy to `Via`.
pub fn add_via(headers: &mut HeaderMap) {
    headers.append(VIA, VIA_SELF);
}

/// Who is forwarded for: one per client connection, so that its header values
/// are written once and not per request.
pub struct Forwarding {
    address: IpAddr,
    /// The peer is a proxy whose own account is believed and extended.
    trusted: bool,
    forwarded_for: HeaderValue,
    /// `Forwarded` for the last `Host` seen.
    forwarded: std::cell::RefCell<Option<(HeaderValue, HeaderValue)>>,
}

impl Forwarding {
    /// For a client at `address`.
    pub fn new(address: IpAddr, trusted: bool) -> Forwarding {
        Forwarding {
            address,
            trusted,
            forwarded_for: value(&address.to_string()),
            forwarded: std::cell::RefCell::default(),
        }
    }

    /// The last request that was forwarded was for this host.
    pub fn has_seen(&self, host: &HeaderValue) -> bool {
        let last = self.forwarded.borrow();
        last.as_ref().is_some_and(|(known, _)| known == host)
    }

    /// The peer is a proxy whose own account is believed.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Sets `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239).
    /// What an untrusted client sent under these names is replaced; a trusted
    /// proxy's lists get this hop appended, and its host and protocol stand.
    pub fn apply(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        if self.trusted {
            self.extend(headers, host);
        } else {
            self.replace(headers, host);
        }
    }

    fn replace(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        headers.insert(X_FORWARDED_FOR, self.forwarded_for.clone());
        headers.insert(X_FORWARDED_PROTO, PROTOCOL);
        match host {
            Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
            None => headers.remove(X_FORWARDED_HOST),
        };
        headers.insert(FORWARDED, self.forwarded(host));
    }

    fn extend(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        append_to_list(headers, X_FORWARDED_FOR, &self.forwarded_for);
        append_to_list(headers, FORWARDED, &self.forwarded(host));
        if !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, PROTOCOL);
        }
        if let Some(host) = host.filter(|_| !headers.contains_key(X_FORWARDED_HOST)) {
            headers.insert(X_FORWARDED_HOST, host.clone());
        }
    }

    fn forwarded(&self, host: Option<&HeaderValue>) -> HeaderValue {
        let mut last = self.forwarded.borrow_mut();
        let none = HeaderValue::from_static("");
        let host = host.unwrap_or(&none);
        match &*last {
            Some((known, forwarded)) if known == host => forwarded.clone(),
            _ => {
                let forwarded = value(&forwarded_element(
                    self.address,
                    host.to_str().unwrap_or_default(),
                ));
                // A copy: the original is a part of the buffer that it came in, which
                // would be kept for it.
                *last = HeaderValue::from_bytes(host.as_bytes())
                    .ok()
                    .map(|host| (host, forwarded.clone()));
                forwarded
            }
        }
    }
}

/// One `forwarded-element` (RFC 7239 section 4); values with characters that
/// are not of a token are quoted.
fn forwarded_element(address: IpAddr, host: &str) -> String {
    let node = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if host.is_empty() {
        format!("for={node};proto=http")
    } else if host.chars().all(is_token) {
        format!("for={node};host={host};proto=http")
    } else {
        let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
        format!("for={node};host=\"{quoted}\";proto=http")
    }
}

/// One field line that holds all earlier elements and then `element`.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    let mut list: Vec<u8> = Vec::new();
    for earlier in headers
        .get_all(&name)
        .iter()
        .filter(|value| !value.is_empty())
    {
        list.extend_from_slice(earlier.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

fn list_contains(list: &HeaderValue, token: &str) -> bool {
    list.to_str().is_ok_and(|list| {
        list.split(',').any(|item| {
            let name = item.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(token)
        })
    })
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).expect("a name"),
                    HeaderValue::from_str(value).expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn the_lengths_of_names_that_end_here_are_those_looked_for() {
        for name in &HOP_BY_HOP {
            assert!(ends_here(name), "{name}");
        }
        assert!(
            !ends_here(&http::header::USER_AGENT),
            "as long as keep-alive"
        );
    }

    #[test]
    fn connection_takes_what_it_nominates_but_not_host_or_framing() {
        let mut map = headers(&[
            ("connection", "close, X-Mine, Host, Content-Length"),
            ("x-mine", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("upgrade", "x"),
            ("x-other", "2"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort();
        assert_eq!(left, ["content-length", "host", "x-other"]);
    }

    #[test]
    fn a_client_cannot_claim_to_be_someone_else() {
        let mut map = headers(&[
            ("x-forwarded-for", "9.9.9.9"),
            ("forwarded", "for=9.9.9.9"),
            ("x-forwarded-proto", "https"),
        ]);
        let host = HeaderValue::from_static("shop.example:8080");
        Forwarding::new([10, 0, 0, 1].into(), false).apply(&mut map, Some(&host));
        assert_eq!(map["x-forwarded-for"], "10.0.0.1");
        assert_eq!(map["x-forwarded-proto"], "http");
        assert_eq!(map["x-forwarded-host"], "shop.example:8080");
        assert_eq!(
            map["forwarded"],
            "for=10.0.0.1;host=\"shop.example:8080\";proto=http"
        );
    }

    #[test]
    fn claims_and_their_twins_go() {
        let sent = [
            ("x-real-ip", "9.9.9.9"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x_forwarded_for", "9.9.9.9"),
            ("x-forwarded_prefix", "/admin"),
            ("content_length", "1"),
            ("x_mine", "1"),
            ("x-mine", "1"),
        ];
        let left = |trusted| {
            let mut map = headers(&sent);
            strip_claims(&mut map, trusted);
            let mut left: Vec<String> = map.keys().map(HeaderName::to_string).collect();
            left.sort();
            left.join(" ")
        };
        assert_eq!(left(false), "x-forwarded-for x-mine x_mine");
        let trusted = "x-forwarded-for x-forwarded-port x-mine x-real-ip x_mine";
        assert_eq!(left(true), trusted);
    }

    #[test]
    fn a_trusted_proxy_is_extended() {
        let mut map = headers(&[
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-for", "8.8.8.8"),
            ("x-forwarded-proto", "https"),
        ]);
        let host = HeaderValue::from_static("a");
        Forwarding::new("::1".parse().expect("an address"), true).apply(&mut map, Some(&host));
        assert_eq!(map["x-forwarded-for"], "9.9.9.9, 8.8.8.8, ::1");
        assert_eq!(map["x-forwarded-proto"], "https");
        assert_eq!(map["forwarded"], "for=\"[::1]\";host=a;proto=http");
    }

    #[test]
    fn forwarded_follows_the_host_of_each_request() {
        let forwarding = Forwarding::new([10, 0, 0, 1].into(), false);
        for host in ["a", "b", "b"] {
            let mut map = HeaderMap::new();
            forwarding.apply(&mut map, Some(&HeaderValue::from_static(host)));
            assert_eq!(
                map["forwarded"],
                format!("for=10.0.0.1;host={host};proto=http").as_str()
            );
        }
    }

    #[test]
    fn http2_is_never_forwarded_as_an_upgrade() {
        let asks = |protocol| {
            upgrade_wanted(&headers(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", protocol),
            ]))
        };
        assert_eq!(
            asks("websocket"),
            Some(HeaderValue::from_static("websocket"))
        );
        assert_eq!(asks("h2c"), None);
        assert_eq!(asks("HTTP/2.0"), None);
        assert_eq!(upgrade_wanted(&headers(&[("upgrade", "websocket")])), None);
    }
}
