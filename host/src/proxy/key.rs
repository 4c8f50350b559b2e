//! `request.key`: the hash that affinity is built on.

use http::header::COOKIE;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::HashKey;
use crate::strategy::Inbound;

/// Keys stay below 2^53, so that they are exact where numbers are doubles.
const BITS: u32 = 53;

/// The hash of what `setting` names in `head`; `None` where nothing is
/// configured or the request has none of it. The same everywhere and for ever:
/// several proxies, and the same one after a restart, agree.
pub fn of(setting: &HashKey, head: &Inbound) -> Option<u64> {
    match setting {
        HashKey::Random => None,
        HashKey::ClientAddress => match head.client? {
            std::net::IpAddr::V4(address) => Some(hash(&address.octets())),
            std::net::IpAddr::V6(address) => Some(hash(&address.octets())),
        },
        HashKey::Header(name) => head.values(name).next().map(|value| hash(value.as_bytes())),
        HashKey::Cookie(name) => cookie(head, name).map(hash),
        HashKey::Path => Some(hash(head.uri.path().as_bytes())),
        HashKey::Query(name) => query(head.uri.query()?, name).map(hash),
    }
}

/// The same for a rate limit: of an IPv6 client, which has a network, that counts.
pub fn of_client(setting: &HashKey, head: &Inbound) -> Option<u64> {
    match (setting, head.client?) {
        (HashKey::ClientAddress, std::net::IpAddr::V6(address)) => {
            Some(hash(&address.octets()[..8]))
        }
        _ => of(setting, head),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes) >> (u64::BITS - BITS)
}

/// The value of the first cookie of this name (RFC 6265 section 4.2.1).
fn cookie<'a>(head: &'a Inbound, name: &str) -> Option<&'a [u8]> {
    head.headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.as_bytes())
}

/// The value of the first parameter of this name, as it stands in the query
/// (not decoded: one spelling, one key).
fn query<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue, Uri};

    fn head(uri: &'static str, headers: &[(&'static str, &'static str)]) -> Inbound {
        Inbound {
            uri: Uri::from_static(uri),
            headers: headers
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect(),
            client: Some([127, 0, 0, 1].into()),
            ..Inbound::default()
        }
    }

    #[test]
    fn a_key_is_the_same_for_the_same_value_only() {
        let cookie = HashKey::Cookie("session".to_owned());
        let of_cookie = |line| of(&cookie, &head("/", &[("cookie", line)]));
        assert_eq!(of_cookie("a=1; session=xyz"), of_cookie("session=xyz; b=2"));
        assert_ne!(of_cookie("session=xyz"), of_cookie("session=xyy"));
        assert_eq!(of_cookie("xsession=xyz"), None);
        let query = HashKey::Query("user".to_owned());
        assert_eq!(
            of(&query, &head("/?a=1&user=7", &[])),
            of(&query, &head("/other?user=7", &[]))
        );
        assert_eq!(of(&query, &head("/?users=7", &[])), None);
        assert_eq!(
            of(&HashKey::Path, &head("/a?x=1", &[])),
            of(&HashKey::Path, &head("/a?x=2", &[]))
        );
    }

    #[test]
    fn a_key_does_not_change_between_versions() {
        assert_eq!(
            of(&HashKey::ClientAddress, &head("/", &[])),
            Some(hash(&[127, 0, 0, 1]))
        );
        assert_eq!(hash(b"anubis"), KEY_OF_ANUBIS);
        assert!(hash(b"anubis") < 1 << BITS);
    }

    /// XXH3 of "anubis" without its lowest 11 bits, as the reference implementation
    /// has it. Deployed proxies depend on it.
    const KEY_OF_ANUBIS: u64 = 77_575_365_512_688;
}
