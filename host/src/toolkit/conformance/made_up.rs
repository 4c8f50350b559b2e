//! The texts that a plugin may ask for: of made-up backends and made-up requests.
//! Some are absent, as they are in service.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::pool::Row;
use crate::strategy::{Inbound, Members, MembersHandle, PickRequest, spread};

/// Zones by their interned numbers; 0 is none.
const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];

/// The members of a pool that consists of `rows`.
pub(in crate::toolkit) fn members(rows: &[Row]) -> MembersHandle {
    let texts = |row: &Row| (row.id, Texts::of(row));
    Arc::new(MadeUp(rows.iter().map(texts).collect()))
}

struct MadeUp(HashMap<u32, Texts>);

struct Texts {
    name: String,
    address: String,
    zone: Option<&'static str>,
    labels: [(&'static str, Option<&'static str>); 3],
}

impl Texts {
    fn of(row: &Row) -> Self {
        let [_, high, middle, low] = row.id.to_be_bytes();
        let zone = row.zone.checked_sub(1).map(|zone| zone as usize);
        Self {
            name: format!("backend-{}", row.id),
            address: format!("10.{high}.{middle}.{low}:8080"),
            zone: zone.and_then(|zone| ZONES.get(zone)).copied(),
            labels: [
                ("version", row.id.is_multiple_of(4).then_some("canary")),
                ("cost", Some(if row.id % 2 == 1 { "1" } else { "2" })),
                ("nothing", Some("")),
            ],
        }
    }
}

impl Members for MadeUp {
    fn name(&self, id: u32) -> Option<&str> {
        Some(&self.0.get(&id)?.name)
    }

    fn address(&self, id: u32) -> Option<&str> {
        Some(&self.0.get(&id)?.address)
    }

    fn zone(&self, id: u32) -> Option<&str> {
        self.0.get(&id)?.zone
    }

    fn label(&self, id: u32, key: &str) -> Option<&str> {
        let labels = &self.0.get(&id)?.labels;
        labels.iter().find(|(name, _)| *name == key)?.1
    }
}

/// The head of a request. What is the client's follows from the key, so that who
/// goes by a cookie or a header comes to the same as who goes by the key; the path
/// is another for each request.
pub(in crate::toolkit) fn inbound(request: &PickRequest) -> Inbound {
    let client = spread(request.key, 11);
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("shop.example"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("made-up/1"));
    if !client.is_multiple_of(4) {
        let session = format!("theme=dark; session={client:016x}");
        headers.insert(header::COOKIE, text(session));
        headers.insert("x-user", text(format!("user-{}", client >> 40)));
    }
    if client.is_multiple_of(8) {
        headers.insert("x-canary", HeaderValue::from_static("true"));
    }
    let item = spread(request.random, 12) % 10_000;
    Inbound {
        method: match request.random % 8 {
            0 => Method::POST,
            _ => Method::GET,
        },
        uri: format!("/items/{item}?page={}", item % 7)
            .parse()
            .unwrap_or_else(|_| Uri::from_static("/")),
        headers,
        added: None,
        client: Some(IpAddr::V4(Ipv4Addr::from_bits(client as u32))),
    }
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_texts_are_there_and_some_are_not() {
        let row = |id, zone| Row {
            id,
            zone,
            ..Row::default()
        };
        let members = members(&[row(4, 1), row(5, 0), row(u32::MAX, u32::MAX)]);
        assert_eq!(members.name(4), Some("backend-4"));
        assert_eq!(members.name(6), None);
        assert_eq!(members.address(5), Some("10.0.0.5:8080"));
        assert_eq!(members.zone(4), Some("eu-west-1a"));
        assert_eq!(members.zone(5), None);
        assert_eq!(members.zone(u32::MAX), None);
        assert_eq!(members.label(4, "version"), Some("canary"));
        assert_eq!(members.label(5, "version"), None);
        assert_eq!(members.label(5, "other"), None);
    }

    #[test]
    fn a_client_is_the_same_for_the_same_key() {
        let request = |key, random| PickRequest {
            key,
            random,
            ..PickRequest::default()
        };
        let (a, b) = (inbound(&request(7, 1)), inbound(&request(7, 2)));
        assert_eq!((a.client, &a.headers), (b.client, &b.headers));
        assert_ne!(a.uri, b.uri);
        assert_ne!(a.client, inbound(&request(8, 1)).client);
        let has_cookie = |key| inbound(&request(key, 0)).headers.contains_key("cookie");
        let with = (0..1000).filter(|&key| has_cookie(key)).count();
        assert!((700..800).contains(&with), "{with}");
    }
}
