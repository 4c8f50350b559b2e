//! Who may ask: requests that a web page made a browser send are refused, and
//! those without the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::body::expect_media_type;
use super::problem::Problem;
use crate::config::Token;

/// Set by browsers, and by nothing that a page can tell them
/// (W3C Fetch Metadata Request Headers, section 2.3).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What whoever watches over a process may ask without a token.
const FREE: [&str; 2] = ["/livez", "/readyz"];

/// What one way in asks of its requests.
pub struct Guard {
    entry: Entry,
}

enum Entry {
    Tcp {
        token: Option<Token>,
    },
    /// Who can open the file is let in.
    Unix,
}

impl Guard {
    /// For a TCP address, with the token that is asked for.
    pub fn tcp(token: Option<Token>) -> Self {
        Self {
            entry: Entry::Tcp { token },
        }
    }

    /// For a Unix socket.
    pub fn unix() -> Self {
        Self { entry: Entry::Unix }
    }

    /// Lets `request` pass, or says why not.
    ///
    /// # Errors
    ///
    /// 421 for a strange `Host`, 403 for another origin, 401 without the token,
    /// 415 for a `POST` that a form could have sent.
    pub async fn watch(
        State(guard): State<Arc<Guard>>,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        guard.admit(&request)?;
        Ok(next.run(request).await)
    }

    fn admit(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        self.check_host(headers)?;
        check_origin(headers)?;
        if !FREE.contains(&request.uri().path()) {
            self.check_token(headers)?;
        }
        match *request.method() {
            // What a page can send without asking first is no JSON.
            Method::POST => expect_media_type(headers, &["application/json"]),
            _ => Ok(()),
        }
    }

    /// A name that an attacker's DNS server has turned into our address is not
    /// ours. Who knows the token comes from no web page.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Entry::Tcp { token: None } = self.entry else {
            return Ok(());
        };
        if host(headers).is_some_and(is_local) {
            return Ok(());
        }
        let detail = "the field Host has to name an IP address or localhost";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Entry::Tcp { token: Some(token) } = &self.entry else {
            return Ok(());
        };
        match bearer(headers) {
            Some(presented) if token.is(presented) => Ok(()),
            Some(_) => Err(Problem::unauthorized("the token is wrong")),
            None => Err(Problem::unauthorized(
                "a token is needed: Authorization: Bearer TOKEN",
            )),
        }
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get(SEC_FETCH_SITE);
    let own_site = site.is_none_or(|site| site == "same-origin" || site == "none");
    let origin = headers.get(ORIGIN);
    let own_origin = origin.is_none_or(|origin| {
        let own = headers.get(HOST).map(|host| host.as_bytes());
        let from = origin.as_bytes().strip_prefix(b"http://");
        own.is_some() && own == from
    });
    if own_site && own_origin {
        return Ok(());
    }
    let detail = "requests of another origin are refused";
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(HOST)?.to_str().ok()?.parse().ok()
}

fn is_local(authority: Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request {
        let builder = Request::builder().method(method).uri(path);
        fields
            .iter()
            .fold(builder, |builder, (name, value)| {
                builder.header(*name, *value)
            })
            .body(Body::empty())
            .expect("a request")
    }

    fn answer(guard: &Guard, request: &Request) -> u16 {
        guard
            .admit(request)
            .map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    fn get(guard: &Guard, fields: &[(&str, &str)]) -> u16 {
        answer(guard, &request(Method::GET, "/v1/pools", fields))
    }

    #[test]
    fn names_that_may_be_anybodys_are_refused_where_there_is_no_token() {
        let open = Guard::tcp(None);
        for host in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "localhost",
            "LocalHost:1",
            "10.1.2.3",
        ] {
            assert_eq!(get(&open, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.example",
            "",
        ] {
            assert_eq!(get(&open, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(get(&open, &[]), 421);
    }

    #[test]
    fn pages_of_other_origins_are_refused_whichever_way_they_come() {
        let token = Token::from_text(SECRET).expect("a token");
        let with_token = ("authorization", &*format!("Bearer {SECRET}"));
        for guard in [Guard::tcp(None), Guard::tcp(Some(token)), Guard::unix()] {
            let host = ("host", "127.0.0.1:9090");
            let get = |field| get(&guard, &[host, with_token, field]);
            assert_eq!(get(("origin", "http://127.0.0.1:9090")), 200);
            assert_eq!(get(("sec-fetch-site", "same-origin")), 200);
            assert_eq!(get(("sec-fetch-site", "none")), 200, "typed by a person");
            assert_eq!(get(("sec-fetch-site", "cross-site")), 403);
            assert_eq!(get(("sec-fetch-site", "same-site")), 403);
            assert_eq!(get(("origin", "http://127.0.0.1:8080")), 403);
            assert_eq!(get(("origin", "https://127.0.0.1:9090")), 403);
            assert_eq!(get(("origin", "null")), 403);
        }
    }

    #[test]
    fn the_token_is_asked_for_but_not_by_probes_and_not_on_the_socket() {
        let guard = Guard::tcp(Token::from_text(SECRET).ok());
        let with = |value: &str| get(&guard, &[("authorization", value)]);
        assert_eq!(with(&format!("Bearer {SECRET}")), 200);
        assert_eq!(with(&format!("bearer  {SECRET} ")), 200);
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeF",
        ] {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        assert_eq!(get(&guard, &[]), 401);
        for path in FREE {
            assert_eq!(answer(&guard, &request(Method::GET, path, &[])), 200);
        }
        assert_eq!(get(&Guard::unix(), &[]), 200);
    }

    #[test]
    fn what_a_form_can_send_changes_nothing() {
        let post =
            |fields: &[_]| answer(&Guard::unix(), &request(Method::POST, "/v1/reload", fields));
        assert_eq!(post(&[]), 415);
        assert_eq!(post(&[("content-type", "text/plain")]), 415);
        assert_eq!(
            post(&[("content-type", "application/x-www-form-urlencoded")]),
            415
        );
        assert_eq!(
            post(&[("content-type", "application/json; charset=utf-8")]),
            200
        );
    }
}
