//! Sessions that stay with their backend: the token is taken out of the request
//! before anybody sees it, asked before the strategy is, and given with the
//! response when it changes.
//!
//! The token is the proxy's own: what a client sends under its name never
//! reaches a backend, and what a backend sends under it never reaches a client.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use crate::config::{Carrier, CookieSettings, OnLost, SameSite, StickySettings};
use crate::pool::{Sessions, Token};
use crate::telemetry::metrics::SessionToken;
use crate::worker::{Choice, LocalPool, Picked};

/// Tokens of one request that are looked at. A browser sends two where two
/// paths or domains have one; each costs a hash.
const LOOKED_AT: usize = 4;

/// The session of one request.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    said: Said,
}

/// What the request's token comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// There is none that counts.
    Nothing,
    /// The member with this stable id has the session: the pool may have been
    /// replaced by the time that it is asked.
    Member(u32),
    /// A backend had it that is gone.
    Gone,
}

impl Session {
    /// Takes the token out of a request to `pool`; `None` where the pool has no
    /// sessions.
    #[inline]
    pub fn take(pool: &LocalPool, headers: &mut HeaderMap) -> Option<Session> {
        let (settings, sessions) = pool.sticky()?;
        Some(Session::taken(pool, settings, sessions, headers))
    }

    fn taken(
        pool: &LocalPool,
        settings: &StickySettings,
        sessions: &Sessions,
        headers: &mut HeaderMap,
    ) -> Session {
        let now_s = now_s();
        let mut best = Best::default();
        let id_of = |member| pool.id_of(member);
        let read = |token: &[u8]| best.add(|| sessions.read(token, now_s), id_of);
        match &settings.carrier {
            Carrier::Cookie(cookie) => take_cookies(headers, &cookie.name, read),
            Carrier::Header(name) => take_fields(headers, name, read),
        }
        let (token, said) = best.result();
        pool.counts.session_token(token);
        Session { said }
    }

    /// Where the request has to go; `None`: wherever the strategy wants.
    pub fn choose(&self, pool: &Rc<LocalPool>, at_us: u64, tried: &[usize]) -> Option<Choice> {
        let (settings, _) = pool.sticky()?;
        let bound = match self.said {
            Said::Nothing => return None,
            Said::Member(id) if tried.is_empty() => pool.claim_member(id, at_us),
            Said::Member(_) | Said::Gone => Choice::Lost,
        };
        let moves = settings.on_lost == OnLost::Move;
        let lost = matches!(bound, Choice::Busy | Choice::Lost);
        (!lost || !moves).then_some(bound)
    }

    /// Makes a response of the backend that was picked the session's: its own word
    /// on the token is dropped, and the client is told of a change.
    pub fn mark(&self, pool: &LocalPool, picked: &Picked, headers: &mut HeaderMap) {
        let Some((settings, sessions)) = pool.sticky() else {
            return;
        };
        match &settings.carrier {
            Carrier::Cookie(cookie) => drop_set_cookies(headers, &cookie.name),
            Carrier::Header(name) => drop(headers.remove(name)),
        }
        match self.said {
            Said::Member(same) if same == picked.id => return,
            Said::Member(_) | Said::Gone => pool.counts.sessions_moved.add(1),
            Said::Nothing => {}
        }
        let token = sessions.issue(picked.member, now_s());
        match &settings.carrier {
            Carrier::Cookie(cookie) => {
                if let Ok(line) = HeaderValue::try_from(set_cookie(cookie, &token, settings.ttl)) {
                    headers.append(SET_COOKIE, line);
                }
            }
            Carrier::Header(name) => {
                if let Ok(token) = HeaderValue::try_from(token) {
                    headers.insert(name, token);
                }
            }
        }
    }
}

/// The best of a request's tokens: the first that is good.
#[derive(Default)]
struct Best {
    seen: usize,
    good: Option<Said>,
    expired: bool,
}

impl Best {
    fn add(&mut self, read: impl FnOnce() -> Token, id_of: impl FnOnce(usize) -> u32) {
        self.seen += 1;
        if self.good.is_some() || self.seen > LOOKED_AT {
            return;
        }
        match read() {
            Token::Member(member) => self.good = Some(Said::Member(id_of(member))),
            Token::Gone => self.good = Some(Said::Gone),
            Token::Expired => self.expired = true,
            Token::Invalid => {}
        }
    }

    fn result(self) -> (SessionToken, Said) {
        match self.good {
            Some(said) => (SessionToken::Valid, said),
            None if self.expired => (SessionToken::Expired, Said::Nothing),
            None if self.seen > 0 => (SessionToken::Invalid, Said::Nothing),
            None => (SessionToken::None, Said::Nothing),
        }
    }
}

/// Tokens outlive processes and are shared among machines, so that their age
/// goes by the clock on the wall.
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Takes the cookies of this name out, and shows each value to `each`. All
/// others stay as they are.
fn take_cookies(headers: &mut HeaderMap, name: &str, mut each: impl FnMut(&[u8])) {
    let lines = headers.get_all(COOKIE);
    if !lines
        .iter()
        .any(|line| pairs(line).any(|pair| is_called(pair, name)))
    {
        return;
    }
    let kept: Vec<HeaderValue> = lines
        .iter()
        .filter_map(|line| {
            let mut rest = Vec::with_capacity(line.len());
            for pair in pairs(line) {
                if is_called(pair, name) {
                    each(&pair[name.len() + 1..]);
                } else {
                    if !rest.is_empty() {
                        rest.extend_from_slice(b"; ");
                    }
                    rest.extend_from_slice(pair);
                }
            }
            HeaderValue::from_bytes(&rest)
                .ok()
                .filter(|rest| !rest.is_empty())
        })
        .collect();
    headers.remove(COOKIE);
    for line in kept {
        headers.append(COOKIE, line);
    }
}

fn take_fields(headers: &mut HeaderMap, name: &HeaderName, mut each: impl FnMut(&[u8])) {
    headers
        .get_all(name)
        .iter()
        .for_each(|value| each(value.as_bytes()));
    headers.remove(name);
}

/// The `name=value` of a `Cookie` line (RFC 6265 section 4.2.1).
fn pairs(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let pairs = line.as_bytes().split(|byte| *byte == b';');
    pairs
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn is_called(pair: &[u8], name: &str) -> bool {
    pair.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&b'='))
}

/// Drops what a backend wants to set under this name.
fn drop_set_cookies(headers: &mut HeaderMap, name: &str) {
    // RFC 6265 section 5.2: white space around the name is no part of it.
    let ours = |line: &HeaderValue| {
        let pair = line.as_bytes().split(|byte| *byte == b';').next();
        let called = pair.and_then(|pair| pair.split(|byte| *byte == b'=').next());
        called.is_some_and(|called| called.trim_ascii() == name.as_bytes())
    };
    let lines = headers.get_all(SET_COOKIE);
    if !lines.iter().any(ours) {
        return;
    }
    let kept: Vec<HeaderValue> = lines.iter().filter(|line| !ours(line)).cloned().collect();
    headers.remove(SET_COOKIE);
    for line in kept {
        headers.append(SET_COOKIE, line);
    }
}

/// The line of RFC 6265 section 4.1.
fn set_cookie(cookie: &CookieSettings, token: &str, ttl: Option<Duration>) -> String {
    let CookieSettings { name, path, .. } = cookie;
    let mut line = format!("{name}={token}; Path={path}");
    if let Some(domain) = &cookie.domain {
        line += "; Domain=";
        line += domain;
    }
    if let Some(ttl) = ttl {
        line += &format!("; Max-Age={}", ttl.as_secs());
    }
    if cookie.secure {
        line += "; Secure";
    }
    if cookie.http_only {
        line += "; HttpOnly";
    }
    line += match cookie.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    };
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let value = |line: &&str| HeaderValue::from_str(line).expect("a value");
        lines
            .iter()
            .map(|line| (name.clone(), value(line)))
            .collect()
    }

    fn all(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
        let text = |value| HeaderValue::to_str(value).expect("text");
        headers.get_all(name).iter().map(text).collect()
    }

    /// The values that were taken, and the lines that are left.
    fn take(cookies: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut headers = lines(COOKIE, cookies);
        let mut taken = Vec::new();
        take_cookies(&mut headers, "b", |value| {
            taken.push(String::from_utf8_lossy(value).into_owned());
        });
        let left = all(&headers, COOKIE);
        (taken, left.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn the_tokens_are_taken_and_all_else_stays() {
        for (cookies, taken, left) in [
            (
                &["a=1;b=x; c=2"] as &[_],
                &["x"] as &[_],
                &["a=1; c=2"] as &[_],
            ),
            (&["b=x"], &["x"], &[]),
            (&["b=x", "a=1;  c=2"], &["x"], &["a=1; c=2"]),
            (&["b=x; b=y", "b="], &["x", "y", ""], &[]),
            (&["b=x=y; b"], &["x=y"], &["b"]),
            (&["bb=1; B=2;; ab=3"], &[], &["bb=1; B=2;; ab=3"]),
        ] {
            let (took, rest) = take(cookies);
            assert_eq!((took, rest), (owned(taken), owned(left)), "{cookies:?}");
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_backend_cannot_set_the_token() {
        let mut headers = lines(
            SET_COOKIE,
            &["a=1", "b=forged; Path=/", " b =x", "bb=2", "b", "B=3"],
        );
        drop_set_cookies(&mut headers, "b");
        assert_eq!(all(&headers, SET_COOKIE), ["a=1", "bb=2", "B=3"]);
    }

    #[test]
    fn the_cookie_has_its_attributes() {
        let mut cookie = CookieSettings::new("b");
        assert_eq!(
            set_cookie(&cookie, "t", None),
            "b=t; Path=/; HttpOnly; SameSite=Lax"
        );
        cookie.domain = Some("example.com".to_owned());
        cookie.secure = true;
        cookie.http_only = false;
        cookie.same_site = SameSite::None;
        assert_eq!(
            set_cookie(&cookie, "t", Some(Duration::from_secs(60))),
            "b=t; Path=/; Domain=example.com; Max-Age=60; Secure; SameSite=None"
        );
    }

    #[test]
    fn the_first_good_token_counts_and_few_are_looked_at() {
        let best = |tokens: &[Token]| {
            let mut best = Best::default();
            tokens
                .iter()
                .for_each(|token| best.add(|| *token, |member| member as u32));
            best.result()
        };
        use Token::{Expired, Gone, Invalid, Member};
        assert_eq!(best(&[]), (SessionToken::None, Said::Nothing));
        assert_eq!(best(&[Invalid]), (SessionToken::Invalid, Said::Nothing));
        assert_eq!(
            best(&[Expired, Invalid]),
            (SessionToken::Expired, Said::Nothing)
        );
        assert_eq!(
            best(&[Invalid, Expired, Member(1), Member(2)]),
            (SessionToken::Valid, Said::Member(1))
        );
        assert_eq!(best(&[Gone, Member(2)]), (SessionToken::Valid, Said::Gone));
        assert_eq!(
            best(&[Invalid, Invalid, Invalid, Invalid, Member(1)]),
            (SessionToken::Invalid, Said::Nothing)
        );
    }

    proptest! {
        /// Whatever is sent: no token is left for a backend, no other cookie is lost.
        #[test]
        fn only_tokens_are_taken(line in "([ab]{1,2}=?[xy=]{0,3}[; ]{0,3}){0,8}") {
            let (taken, left) = take(&[&line]);
            let value = HeaderValue::from_str(&line).expect("a value");
            let count = pairs(&value).count();
            let kept: Vec<HeaderValue> = left.iter().map(|line| HeaderValue::from_str(line).expect("a value")).collect();
            let kept: Vec<&[u8]> = kept.iter().flat_map(pairs).collect();
            prop_assert_eq!(taken.len() + kept.len(), count);
            prop_assert!(kept.iter().all(|pair| !is_called(pair, "b")));
        }
    }
}
