//! Host and path to pool: the most specific route wins.
//!
//! The host is looked at first: an exact name before a wildcard, a longer
//! wildcard before a shorter one, any wildcard before routes without host.
//! Among the routes of one host the longest path prefix wins, on whole
//! segments. A host whose routes all have other paths does not end the search:
//! it goes on with the next less specific host (as in the Kubernetes Gateway
//! API), so that a route without host and path catches everything.
//!
//! Hosts are compared without case, port and trailing dot. Paths are compared
//! as they came: nothing is decoded, no `..` resolved, no `//` merged, just as
//! they are sent on.

use rustc_hash::FxHashMap;

use crate::config::{HostPattern, RouteSettings};

/// Longest host name that can match; DNS names end at 253 characters.
const LONGEST_HOST: usize = 255;

/// The routes of one generation.
#[derive(Debug, Default)]
pub struct Routes {
    exact: FxHashMap<Box<str>, Paths>,
    /// By what follows the `*.`
    below: FxHashMap<Box<str>, Paths>,
    any: Paths,
}

impl Routes {
    /// Routes that lead to indices of pools. Of two with one host and path the
    /// first wins; the configuration allows no such pair.
    pub fn new(routes: &[RouteSettings]) -> Self {
        let mut table = Self::default();
        for route in routes {
            let paths = match &route.host {
                HostPattern::Any => &mut table.any,
                HostPattern::Below(name) => table.below.entry(key(name)).or_default(),
                HostPattern::Exact(name) => table.exact.entry(key(name)).or_default(),
            };
            paths.add(&route.path, route.pool);
        }
        table
    }

    /// The pool for a request's host (with or without port; empty when the
    /// client sent none) and path (without query).
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.any.find(path);
        }
        let mut lower = [0; LONGEST_HOST];
        self.find_host(lower_case(host, &mut lower), path)
            .or_else(|| self.any.find(path))
    }

    /// Looks at the exact name, then at the wildcards above it, longest first.
    fn find_host(&self, host: &str, path: &str) -> Option<usize> {
        if let Some(pool) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(pool);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut name = host;
        while let Some((_, above)) = name.split_once('.') {
            if let Some(pool) = self.below.get(above).and_then(|paths| paths.find(path)) {
                return Some(pool);
            }
            name = above;
        }
        None
    }
}

/// The routes of one host, longest prefix first.
#[derive(Debug, Default)]
struct Paths(Vec<Path>);

#[derive(Debug)]
struct Path {
    /// Without a `/` at the end, hence empty for `/`.
    prefix: Box<str>,
    pool: usize,
}

impl Paths {
    fn add(&mut self, path: &str, pool: usize) {
        let prefix = path.trim_end_matches('/');
        let longer = |known: &Path| known.prefix.len() >= prefix.len();
        let at = self.0.partition_point(longer);
        let prefix = prefix.into();
        self.0.insert(at, Path { prefix, pool });
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.0
            .iter()
            .find(|known| known.matches(path))
            .map(|known| known.pool)
    }
}

impl Path {
    /// The empty prefix also matches what is no path, the `*` of `OPTIONS *`.
    fn matches(&self, path: &str) -> bool {
        match path.strip_prefix(&*self.prefix) {
            Some(rest) => self.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

fn key(name: &str) -> Box<str> {
    name.trim_end_matches('.').to_ascii_lowercase().into()
}

/// The name in a `Host` header, in lower case. What is too long for a name
/// becomes the empty name, which no route has.
fn lower_case<'a>(host: &'a str, buffer: &'a mut [u8; LONGEST_HOST]) -> &'a str {
    let host = without_port(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    let Some(lower) = buffer.get_mut(..host.len()) else {
        return "";
    };
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).unwrap_or_default()
}

/// `[::1]:80` is the one kind of host with colons of its own.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(host: &str, path: &str, pool: usize) -> RouteSettings {
        let host = match host.strip_prefix("*.") {
            _ if host.is_empty() => HostPattern::Any,
            Some(name) => HostPattern::Below(name.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        };
        let path = path.to_owned();
        RouteSettings { host, path, pool }
    }

    fn example() -> Routes {
        Routes::new(&[
            route("", "/", 0),
            route("", "/api", 1),
            route("*.example.com", "/", 2),
            route("*.eu.example.com", "/", 3),
            route("www.example.com", "/api", 4),
            route("www.example.com", "/api/v2", 5),
            route("[::1]", "/", 6),
        ])
    }

    #[test]
    fn the_most_specific_route_wins() {
        for (host, path, pool) in [
            ("other.org", "/", 0),
            ("other.org", "/api/x", 1),
            ("a.example.com", "/api", 2),
            ("a.b.example.com", "/", 2),
            ("a.eu.example.com", "/", 3),
            ("www.example.com", "/api/v1", 4),
            ("www.example.com", "/api/v2/x", 5),
            ("example.com", "/", 0),
            ("", "/", 0),
        ] {
            assert_eq!(example().find(host, path), Some(pool), "{host}{path}");
        }
    }

    #[test]
    fn a_host_without_the_path_leaves_it_to_less_specific_hosts() {
        assert_eq!(example().find("www.example.com", "/"), Some(2));
        let routes = Routes::new(&[route("a.b", "/x", 0), route("", "/y", 1)]);
        assert_eq!(routes.find("a.b", "/y"), Some(1));
        assert_eq!(routes.find("a.b", "/z"), None);
    }

    #[test]
    fn prefixes_match_whole_segments() {
        let routes = Routes::new(&[route("", "/api/", 0)]);
        assert_eq!(routes.find("h", "/api"), Some(0));
        assert_eq!(routes.find("h", "/api/"), Some(0));
        assert_eq!(routes.find("h", "/api/x"), Some(0));
        assert_eq!(routes.find("h", "/apix"), None);
        assert_eq!(routes.find("h", "/"), None);
    }

    #[test]
    fn hosts_match_without_case_port_and_trailing_dot() {
        for host in [
            "WWW.Example.com",
            "www.example.com:8080",
            "www.example.com.",
            "WWW.EXAMPLE.COM.:80",
        ] {
            assert_eq!(example().find(host, "/api"), Some(4), "{host}");
        }
        assert_eq!(example().find("[::1]:8080", "/"), Some(6));
        assert_eq!(example().find("[::1]", "/"), Some(6));
    }

    #[test]
    fn odd_hosts_and_paths_find_the_general_route() {
        let long = "A".repeat(1000);
        for host in [long.as_str(), ":", "]", "...", "ÄÖ.example", "[::1"] {
            assert_eq!(example().find(host, "/"), Some(0), "{host}");
        }
        assert_eq!(example().find("other.org", "*"), Some(0));
        assert_eq!(example().find("other.org", ""), Some(0));
    }

    /// The rules in the plainest words: of all that match, the most specific.
    fn by_the_rules(routes: &[RouteSettings], host: &str, path: &str) -> Option<usize> {
        let host_rank = |pattern: &HostPattern| match pattern {
            HostPattern::Any => Some(0),
            HostPattern::Below(name) => host
                .ends_with(&format!(".{name}"))
                .then_some(1 + name.len()),
            HostPattern::Exact(name) => (host == name).then_some(usize::MAX),
        };
        let path_rank = |prefix: &str| {
            let wanted: Vec<&str> = prefix.split('/').filter(|s| !s.is_empty()).collect();
            let given: Vec<&str> = path.split('/').skip(1).collect();
            given.starts_with(&wanted).then_some(wanted.len())
        };
        let mut best = None;
        for route in routes {
            if let (Some(host), Some(path)) = (host_rank(&route.host), path_rank(&route.path))
                && best.is_none_or(|(rank, _)| (host, path) > rank)
            {
                best = Some(((host, path), route.pool));
            }
        }
        best.map(|(_, pool)| pool)
    }

    prop_compose! {
        fn any_route()(
            host in prop_oneof![Just(""), Just("a.b"), Just("b"), Just("*.b"), Just("*.a.b"), Just("c.a.b")],
            path in "(/[ab]{0,2}){1,3}".prop_filter("segments are not empty", |p| p == "/" || !p.contains("//") && !p.ends_with('/')),
            pool in 0..100_usize,
        ) -> RouteSettings {
            route(host, &path, pool)
        }
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_rules(
            routes in prop::collection::vec(any_route(), 0..12),
            host in "([abc]\\.){0,3}[ab]",
            path in "(/[ab]{1,2}){1,4}",
        ) {
            let found = Routes::new(&routes).find(&host, &path);
            prop_assert_eq!(found, by_the_rules(&routes, &host, &path));
        }

        #[test]
        fn no_host_and_no_path_can_break_it(host in ".*", path in ".*") {
            example().find(&host, &path);
        }
    }
}
