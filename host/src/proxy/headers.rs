//! Which headers end here, and which the proxy adds.
//!
//! Order matters: first everything that the client nominated or that belongs
//! to its connection goes, then ours are added. So nothing that a client
//! writes into `Connection` can take away what the proxy says.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRANSFER_ENCODING, UPGRADE, VIA, WWW_AUTHENTICATE,
};

use crate::strategy::Added;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
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
    // Found by looking at the few that are there: hashing every name that could be costs
    // more than all of that.
    if !headers.keys().any(ends_here) {
        return;
    }
    strip_nominated(headers);
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

/// Which fields of a request are there that matter to the proxy. One look at
/// the few that are there costs less than a search for each that could be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    pub host: bool,
    /// `Content-Length` or `Transfer-Encoding`.
    pub framing: bool,
    pub te: bool,
    pub upgrade: bool,
    pub expect: bool,
    /// [`strip_hop_by_hop`] has something to do.
    pub hop_by_hop: bool,
    /// [`strip_claims`] may have something to do.
    pub claims: bool,
    /// Some that [`Forwarding::apply`] replaces.
    replaced: bool,
}

impl Found {
    /// Those of these headers.
    pub fn among(headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        for name in headers.keys() {
            found.hop_by_hop |= ends_here(name);
            match name.as_str() {
                "host" => found.host = true,
                "content-length" | "transfer-encoding" => found.framing = true,
                "te" => found.te = true,
                "upgrade" => found.upgrade = true,
                "expect" => found.expect = true,
                "forwarded" => found.replaced = true,
                name if is_ours(name) => found.replaced = true,
                name => found.claims |= may_claim(name),
            }
        }
        found
    }
}

/// Removes what a client claims about itself beyond what the proxy replaces: from
/// all but `trusted` ones further `X-Forwarded-` fields and `X-Real-IP`; from
/// everybody names that a backend's CGI-like interface could not tell from those
/// and from the framing, such as `X_Forwarded_For`.
pub fn strip_claims(headers: &mut HeaderMap, trusted: bool) {
    let is_claim = |name: &&HeaderName| match name.as_str() {
        name if !may_claim(name) => false,
        twin if twin.contains('_') => is_of_proxies(&twin.replace('_', "-")),
        name => !trusted && is_of_proxies(name) && !is_ours(name),
    };
    let claims: Vec<HeaderName> = headers.keys().filter(is_claim).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn may_claim(name: &str) -> bool {
    name.starts_with("x-") || name.contains('_')
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
    /// For the last `Host` seen.
    last: RefCell<Option<Account>>,
}

/// What is said of a client that asked for a host.
struct Account {
    host: Option<HeaderValue>,
    /// Its element of `Forwarded`.
    element: HeaderValue,
    added: Arc<Added>,
}

impl Forwarding {
    /// For a client at `address`.
    pub fn new(address: IpAddr, trusted: bool) -> Forwarding {
        Forwarding {
            address,
            trusted,
            forwarded_for: value(&address.to_string()),
            last: RefCell::default(),
        }
    }

    /// The last request that was forwarded was for this host.
    pub fn has_seen(&self, host: &HeaderValue) -> bool {
        let last = self.last.borrow();
        last.as_ref()
            .is_some_and(|last| last.host.as_ref() == Some(host))
    }

    /// The peer is a proxy whose own account is believed.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Says who is forwarded for, in `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded`
    /// (RFC 7239), and that it came through this proxy, in `Via`: by what is to be added
    /// to these headers, which have the `Host` that was asked for. What an untrusted client sent under these names, which was
    /// `found`, is removed; a trusted proxy's lists get this hop appended, and its host and
    /// protocol stand.
    pub fn apply(&self, headers: &mut HeaderMap, found: &Found) -> Arc<Added> {
        let mut last = self.last.borrow_mut();
        let host = headers.get(HOST);
        let known = last.take().filter(|last| last.host.as_ref() == host);
        let last = last.insert(known.unwrap_or_else(|| self.account(host)));
        if self.trusted {
            self.extend(headers, last);
        } else if found.replaced {
            for name in [
                FORWARDED,
                X_FORWARDED_FOR,
                X_FORWARDED_PROTO,
                X_FORWARDED_HOST,
            ] {
                headers.remove(name);
            }
        }
        Arc::clone(&last.added)
    }

    fn account(&self, host: Option<&HeaderValue>) -> Account {
        // A copy: the original is a part of the buffer that it came in, which would be kept
        // for it.
        let host = host.and_then(|host| HeaderValue::from_bytes(host.as_bytes()).ok());
        let asked = host.as_ref().and_then(|host| host.to_str().ok());
        let element = value(&forwarded_element(self.address, asked.unwrap_or_default()));
        let replaced = [
            (X_FORWARDED_FOR, Some(self.forwarded_for.clone())),
            (X_FORWARDED_PROTO, Some(PROTOCOL)),
            (X_FORWARDED_HOST, host.clone()),
            (FORWARDED, Some(element.clone())),
        ];
        let replaced = replaced.into_iter().filter(|_| !self.trusted);
        let replaced = replaced.filter_map(|(name, value)| Some((name, value?)));
        Account {
            host,
            element,
            added: Arc::new(replaced.chain([(VIA, VIA_SELF)]).collect()),
        }
    }

    fn extend(&self, headers: &mut HeaderMap, account: &Account) {
        append_to_list(headers, X_FORWARDED_FOR, &self.forwarded_for);
        append_to_list(headers, FORWARDED, &account.element);
        if !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, PROTOCOL);
        }
        if let Some(host) = &account.host
            && !headers.contains_key(X_FORWARDED_HOST)
        {
            headers.insert(X_FORWARDED_HOST, host.clone());
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
    use crate::strategy::Inbound;

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

    /// What is sent of these headers, line for line.
    fn sent(forwarding: &Forwarding, mut headers: HeaderMap, host: &'static str) -> Inbound {
        let found = Found::among(&headers);
        headers.insert(HOST, HeaderValue::from_static(host));
        let added = Some(forwarding.apply(&mut headers, &found));
        Inbound {
            headers,
            added,
            ..Inbound::default()
        }
    }

    fn only(sent: &Inbound, name: &'static str) -> HeaderValue {
        let name = HeaderName::from_static(name);
        let values: Vec<_> = sent.values(&name).collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].clone()
    }

    #[test]
    fn a_client_cannot_claim_to_be_someone_else() {
        for claim in [
            ("x-forwarded-for", "9.9.9.9"),
            ("forwarded", "for=9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "other.example"),
        ] {
            let forwarding = Forwarding::new([10, 0, 0, 1].into(), false);
            let sent = sent(&forwarding, headers(&[claim, claim]), "shop.example:8080");
            assert_eq!(only(&sent, "x-forwarded-for"), "10.0.0.1");
            assert_eq!(only(&sent, "x-forwarded-proto"), "http");
            assert_eq!(only(&sent, "x-forwarded-host"), "shop.example:8080");
            assert_eq!(
                only(&sent, "forwarded"),
                "for=10.0.0.1;host=\"shop.example:8080\";proto=http"
            );
            assert_eq!(only(&sent, "via"), "1.1 anubis");
        }
    }

    /// What is not found is not looked for.
    #[test]
    fn whatever_has_to_go_is_found() {
        let found = |name: &str| Found::among(&headers(&[("x-mine", ""), (name, "1")]));
        for name in &HOP_BY_HOP {
            assert!(found(name.as_str()).hop_by_hop, "{name}");
        }
        for name in ["x-real-ip", "x-forwarded-port", "x_mine", "content_length"] {
            assert!(found(name).claims, "{name}");
        }
        for name in [
            FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_PROTO,
            X_FORWARDED_HOST,
        ] {
            assert!(found(name.as_str()).replaced, "{name}");
        }
        assert!(found("content-length").framing && found("transfer-encoding").framing);
        assert!(found("host").host && !found("x-host").host);
        assert!(found("te").te && found("upgrade").upgrade && found("expect").expect);
        let found = found("cookie");
        assert!(!found.framing && !found.hop_by_hop && !found.replaced);
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
        let map = headers(&[
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-for", "8.8.8.8"),
            ("x-forwarded-proto", "https"),
        ]);
        let forwarding = Forwarding::new("::1".parse().expect("an address"), true);
        let sent = sent(&forwarding, map, "a");
        assert_eq!(only(&sent, "x-forwarded-for"), "9.9.9.9, 8.8.8.8, ::1");
        assert_eq!(only(&sent, "x-forwarded-proto"), "https");
        assert_eq!(only(&sent, "forwarded"), "for=\"[::1]\";host=a;proto=http");
    }

    #[test]
    fn forwarded_follows_the_host_of_each_request() {
        let forwarding = Forwarding::new([10, 0, 0, 1].into(), false);
        for host in ["a", "b", "b"] {
            let sent = sent(&forwarding, HeaderMap::new(), host);
            let expected = format!("for=10.0.0.1;host={host};proto=http");
            assert_eq!(only(&sent, "forwarded"), expected.as_str());
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
