//! The client's request: refused here if it is not what RFC 9110 and 9112 allow,
//! otherwise made ready to be forwarded.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{KeepError, RequestBody};
use super::error::Refusal;
use super::headers::{self, Found};
use super::sticky::Session;
use crate::connection::Client;
use crate::strategy::Inbound;
use crate::telemetry::metrics::Refused;
use crate::transport::RequestHead;

/// A request that may be sent to any backend of its pool.
pub struct Outgoing {
    /// As a backend gets it, but for `Host` where the pool rewrites that.
    pub head: Inbound,
    /// `None` once a backend may have seen some of it.
    body: Option<RequestBody>,
    /// Sending it twice does no harm: the method is idempotent (RFC 9110
    /// section 9.2.2) and there is no body that would be used up: none, or a kept one.
    replayable: bool,
    /// What the client asks to switch to.
    pub upgrade: Option<Upgrade>,
    /// Where the request's pool has sessions: which one it belongs to.
    pub session: Option<Session>,
    /// Not so for HTTP/1.0 clients only.
    has_host: bool,
}

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// A wish to leave HTTP, and the way to grant it.
pub struct Upgrade {
    pub protocol: HeaderValue,
    pub downstream: OnUpgrade,
}

impl Outgoing {
    /// Checks `request` and prepares its head for forwarding.
    pub fn accept(mut request: Request<Incoming>, client: &Client) -> Result<Outgoing, Refusal> {
        let found = Found::among(request.headers());
        if found.framing {
            check_framing(request.version(), request.headers())?;
        }
        check_length(request.body(), client)?;
        let absolute = check_target(
            request.method(),
            request.uri(),
            request.version(),
            request.headers(),
            |host| client.forwarding.has_seen(host),
        )?;
        let upgrade = match found.upgrade {
            true => wanted_upgrade(&mut request),
            false => None,
        };
        let trailers = found.te && headers::takes_trailers(request.headers());
        // One by one: all parts together are a large thing to move.
        let method = std::mem::take(request.method_mut());
        let uri = std::mem::take(request.uri_mut());
        let mut map = std::mem::take(request.headers_mut());
        if found.expect {
            expect_continue(&mut map)?;
        }
        if found.hop_by_hop {
            headers::strip_hop_by_hop(&mut map);
        }
        if found.claims {
            headers::strip_claims(&mut map, client.forwarding.is_trusted());
        }
        let has_host = found.host || absolute.is_some();
        let uri = match absolute {
            None => uri,
            Some(Absolute { path, authority }) => {
                // RFC 9112 section 3.2.2: an absolute-form target replaces Host.
                map.insert(HOST, authority);
                path
            }
        };
        if trailers {
            headers::announce_trailers(&mut map);
        }
        if let Some(upgrade) = &upgrade {
            headers::set_upgrade(&mut map, upgrade.protocol.clone());
        }
        let added = client.forwarding.apply(&mut map, &found);
        let mut head = Inbound {
            method,
            uri,
            headers: map,
            added: Some(added),
            client: Some(client.address.ip()),
        };
        let body = RequestBody::new(request.into_body(), client);
        if !body.is_empty() && !head.headers.contains_key(CONTENT_LENGTH) {
            // Said outright: nothing else tells where it ends.
            head.headers.insert(TRANSFER_ENCODING, CHUNKED);
        }
        let mut outgoing = Outgoing {
            head,
            body: Some(body),
            replayable: false,
            upgrade,
            session: None,
            has_host,
        };
        outgoing.replayable = outgoing.could_be_repeated();
        Ok(outgoing)
    }

    fn could_be_repeated(&self) -> bool {
        let is_here = self.body.as_ref().is_some_and(RequestBody::is_here);
        is_here && self.head.method.is_idempotent() && self.upgrade.is_none()
    }

    /// A body whose declared length is at most `limit` is read completely, so that
    /// no backend waits for the client, and so that an idempotent request can be
    /// sent again with it. All others stream.
    ///
    /// # Errors
    ///
    /// 408 or 400, when the client does not send what it declared.
    pub async fn keep_body(&mut self, limit: usize) -> Result<(), Refusal> {
        let body = self.body.as_mut().filter(|body| body.fits(limit));
        let Some(body) = body else {
            return Ok(());
        };
        let refusal = match Box::pin(body.keep()).await {
            Ok(()) => {
                self.replayable = self.could_be_repeated();
                return Ok(());
            }
            Err(KeepError::Stalled) => Refusal::closing(StatusCode::REQUEST_TIMEOUT),
            Err(KeepError::Broken) => Refusal::bad_request(),
        };
        Err(refusal.because(Refused::Client))
    }

    /// The same request once more, to be sent beside this one; only of use where
    /// it [is replayable](Outgoing::is_replayable).
    pub fn twin(&self) -> Outgoing {
        Outgoing {
            head: self.head.clone(),
            body: self.body.as_ref().map(RequestBody::again),
            replayable: self.replayable,
            upgrade: None,
            session: self.session,
            has_host: self.has_host,
        }
    }

    /// It may be sent again even when a backend has got it.
    pub fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// [`Outgoing::take_body`] would give one.
    pub fn can_be_sent(&self) -> bool {
        self.body.is_some()
    }

    /// The client named a host.
    pub fn has_host(&self) -> bool {
        self.has_host
    }

    /// The head to send, with `host` in place of the client's `Host` where the pool
    /// rewrites that.
    pub fn head<'a>(&'a self, host: Option<&'a HeaderValue>) -> RequestHead<'a> {
        RequestHead {
            method: &self.head.method,
            target: &self.head.uri,
            headers: &self.head.headers,
            host,
            added: self.head.added(),
        }
    }

    /// The body to send. `None` when the request was sent before and a second time would
    /// not be safe.
    pub fn take_body(&mut self) -> Option<RequestBody> {
        match self.replayable {
            true => self.body.as_ref().map(RequestBody::again),
            false => self.body.take(),
        }
    }

    /// Takes back the body of a request of which nothing was sent.
    pub fn give_back(&mut self, unsent: Option<RequestBody>) {
        if let Some(body) = unsent.filter(|_| !self.replayable) {
            self.body = Some(body);
        }
    }

    /// The host that the client asked for, as written; empty if it gave none
    /// (HTTP/1.0).
    pub fn host(&self) -> &str {
        self.head
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default()
    }

    /// The path of the target, without the query.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }
}

/// An absolute-form target in the two parts that it is forwarded in.
struct Absolute {
    path: Uri,
    authority: HeaderValue,
}

/// The forms of RFC 9112 section 3.2 that a reverse proxy serves; what an absolute one
/// stands for. Of a host that `is_known`, it is known that it is one.
fn check_target(
    method: &Method,
    uri: &Uri,
    version: Version,
    map: &HeaderMap,
    is_known: impl Fn(&HeaderValue) -> bool,
) -> Result<Option<Absolute>, Refusal> {
    if method == Method::CONNECT {
        return Err(Refusal::closing(StatusCode::METHOD_NOT_ALLOWED));
    }
    // Not its path, which is `/` where there is none: `?query` is no target.
    let path = match uri.authority() {
        None => uri.path_and_query().map_or("", PathAndQuery::as_str),
        Some(_) => uri.path(),
    };
    if path == "*" && method != Method::OPTIONS || !path.starts_with('/') && path != "*" {
        return Err(Refusal::bad_request());
    }
    check_host(version, map, is_known)?;
    let Some(authority) = uri.authority() else {
        return Ok(None);
    };
    if !is_plain_host(authority.as_str()) {
        return Err(Refusal::bad_request());
    }
    // RFC 9112 section 3.2.1: an empty path is sent as `/`. One that is nothing at
    // all says that it is `/`, and is written as nothing.
    let path = match uri.path_and_query().map(PathAndQuery::as_str) {
        None | Some("/") => PathAndQuery::from_static("/"),
        Some(path) if path.starts_with('/') => path.parse().map_err(|_| Refusal::bad_request())?,
        Some(query) => format!("/{query}")
            .parse()
            .map_err(|_| Refusal::bad_request())?,
    };
    let authority =
        HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::bad_request())?;
    let path = Uri::from(path);
    Ok(Some(Absolute { path, authority }))
}

/// What a request is forwarded with as its target and its `Host`, if it is.
#[cfg(any(test, fuzzing))]
pub fn target_of(
    method: &Method,
    uri: &Uri,
    version: Version,
    map: &HeaderMap,
) -> Option<(Uri, HeaderValue)> {
    Some(
        match check_target(method, uri, version, map, |_| false).ok()? {
            Some(Absolute { path, authority }) => (path, authority),
            None => (uri.clone(), map.get(HOST).cloned()?),
        },
    )
}

/// RFC 9112 section 3.2: an HTTP/1.1 request has exactly one valid `Host`.
fn check_host(
    version: Version,
    map: &HeaderMap,
    is_known: impl Fn(&HeaderValue) -> bool,
) -> Result<(), Refusal> {
    let mut hosts = map.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version <= Version::HTTP_10 => Ok(()),
        (Some(host), None) if is_known(host) => Ok(()),
        (Some(host), None) if host.is_empty() || host.to_str().is_ok_and(is_plain_host) => Ok(()),
        _ => Err(Refusal::bad_request()),
    }
}

/// `uri-host [":" port]` without user information. A name may have a comma (RFC
/// 3986 section 3.2.2), but so does what somebody made of two `Host` fields.
fn is_plain_host(host: &str) -> bool {
    if host.contains(',') {
        return false;
    }
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let port = host.strip_prefix(authority.host());
    // What follows the host is nothing, a colon, or a colon and a port number.
    matches!(port, Some("" | ":")) || port.is_some() && authority.port_u16().is_some()
}

/// RFC 9112 section 6.3: refuses every framing that two parsers could read
/// differently, before anything of it reaches a backend.
fn check_framing(version: Version, map: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = map.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = map.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            if version <= Version::HTTP_10 || lengths.next().is_some() {
                return Err(Refusal::bad_request());
            }
        }
        _ => return Err(Refusal::bad_request()),
    }
    match (lengths.next(), lengths.next()) {
        (Some(length), None) if !length.as_bytes().iter().all(u8::is_ascii_digit) => {
            Err(Refusal::bad_request())
        }
        (Some(_), Some(_)) => Err(Refusal::bad_request()),
        _ => Ok(()),
    }
}

/// What says that it will be too large is refused before any of it is there. A
/// chunked body is cut off where it becomes so (`connection/framing.rs`).
fn check_length(body: &Incoming, client: &Client) -> Result<(), Refusal> {
    match http_body::Body::size_hint(body).exact() {
        Some(length) if length > client.max_body_size => Err(Refusal::too_large()),
        _ => Ok(()),
    }
}

/// `Expect: 100-continue` ends here: hyper sends the 100 when a backend wants
/// the body (RFC 9110 section 10.1.1). Other expectations cannot be met.
fn expect_continue(map: &mut HeaderMap) -> Result<(), Refusal> {
    match map.remove(EXPECT) {
        Some(expected) if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Refusal::closing(StatusCode::EXPECTATION_FAILED))
        }
        _ => Ok(()),
    }
}

/// A switch is only forwarded for a request without a body: otherwise bytes of
/// the body could be taken for the new protocol, or the other way round.
fn wanted_upgrade(request: &mut Request<Incoming>) -> Option<Upgrade> {
    let has_body = !http_body::Body::is_end_stream(request.body());
    if has_body || request.version() != Version::HTTP_11 {
        return None;
    }
    let protocol = headers::upgrade_wanted(request.headers())?;
    Some(Upgrade {
        protocol,
        downstream: hyper::upgrade::on(request),
    })
}
