//! A request's head, for whoever decides by it and for the backend that gets it.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// The request head that is being picked for, as a backend gets it. A plugin that imports
/// `inbound` reads it during its pick; the head is moved into the plugin's store and back
/// (no copy), which is why it has a `Default`.
#[derive(Debug, Clone, Default)]
pub struct Inbound {
    pub method: Method,
    pub uri: Uri,
    /// All fields but those that the proxy [added](Inbound::added).
    pub headers: HeaderMap,
    pub added: Option<Arc<Added>>,
    pub client: Option<IpAddr>,
}

impl Inbound {
    /// The values of a field, in the order in which they are sent.
    pub fn values<'a>(
        &'a self,
        name: &'a HeaderName,
    ) -> impl Iterator<Item = &'a HeaderValue> + 'a {
        let added = self.added.iter().flat_map(|added| &added.fields);
        let added = added.filter(move |(added, _)| added == name);
        let values = self.headers.get_all(name).iter();
        values.chain(added.map(|(_, value)| value))
    }

    /// The fields that the proxy added, as they are written.
    pub fn added(&self) -> &[u8] {
        match &self.added {
            Some(added) => &added.written,
            None => &[],
        }
    }
}

/// Fields that the proxy adds to many requests alike. They are made and written once, not
/// once for each request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    fields: Vec<(HeaderName, HeaderValue)>,
    written: Vec<u8>,
}

impl FromIterator<(HeaderName, HeaderValue)> for Added {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Added {
        let fields: Vec<_> = fields.into_iter().collect();
        let written = fields
            .iter()
            .flat_map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"])
            .collect::<Vec<&[u8]>>()
            .concat();
        Added { fields, written }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HOST, VIA};

    use super::*;

    #[test]
    fn what_was_added_follows_what_was_there() {
        let value = HeaderValue::from_static;
        let added = [(VIA, value("ours")), (HOST, value("b"))];
        let mut inbound = Inbound::default();
        inbound.headers.append(VIA, value("theirs"));
        assert_eq!(inbound.added(), b"");
        inbound.added = Some(Arc::new(added.into_iter().collect()));
        assert_eq!(inbound.added(), b"via: ours\r\nhost: b\r\n");
        let values = |name| -> Vec<HeaderValue> { inbound.values(&name).cloned().collect() };
        assert_eq!(values(VIA), ["theirs", "ours"]);
        assert_eq!(values(HOST), ["b"]);
        assert!(values(http::header::TE).is_empty());
    }
}
