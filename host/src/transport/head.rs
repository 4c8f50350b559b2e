//! The heads of messages: a request's as it is written, an answer's as it is read.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version};
use hyper::ext::ReasonPhrase;
use memchr::{memchr, memchr_iter};

use super::Malformed;
use super::chunked::Chunked;
use super::framing::Framing;
use super::spare;
use crate::grammar;

/// Largest head of an answer, in bytes.
const LARGEST: usize = 8 * 1024 + 100 * 4096;
/// Most fields of an answer.
const FIELDS: usize = 100;

/// A request's head.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// Its path and query, or `*`.
    pub target: &'a Uri,
    pub headers: &'a HeaderMap,
    /// Written in the place of the `Host` that `headers` have, or where they have none.
    pub host: Option<&'a HeaderValue>,
    /// Further fields, as they are written: each line with its end.
    pub added: &'a [u8],
}

impl RequestHead<'_> {
    /// Writes it behind what `out` holds.
    pub fn write(&self, out: &mut Vec<u8>, has_body: bool) {
        let mut add = |bytes: &[u8]| out.extend_from_slice(bytes);
        add(self.method.as_str().as_bytes());
        add(b" ");
        add(self.target.path().as_bytes());
        if let Some(query) = self.target.query() {
            add(b"?");
            add(query.as_bytes());
        }
        add(b" HTTP/1.1\r\n");
        let mut field = |name: &HeaderName, value: &HeaderValue| {
            add(name.as_str().as_bytes());
            add(b": ");
            add(value.as_bytes());
            add(b"\r\n");
        };
        if let Some(host) = self.host {
            field(&HOST, host);
        }
        for (name, value) in self.headers {
            let is_replaced = self.host.is_some() && name == HOST;
            // Nothing would come in chunks.
            let is_false = !has_body && name == TRANSFER_ENCODING;
            if !is_replaced && !is_false {
                field(name, value);
            }
        }
        add(self.added);
        add(b"\r\n");
    }
}

/// An answer's head, and what follows it.
#[derive(Debug)]
pub struct AnswerHead {
    pub response: Response<()>,
    pub framing: Framing,
    /// Another request may follow on the connection.
    pub persists: bool,
}

/// Reads the head of an answer from bytes that come bit by bit.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Bytes in which the head does not end.
    seen: usize,
}

impl HeadReader {
    /// Takes the head of the answer to a request with `method` from the beginning of
    /// `buffer`, once it is there. Interim answers (1xx) are skipped.
    ///
    /// # Errors
    /// It is not the head of an answer in HTTP/1.
    pub fn take(
        &mut self,
        buffer: &mut BytesMut,
        method: &Method,
    ) -> Result<Option<AnswerHead>, Malformed> {
        while let Some(end) = self.end(buffer)? {
            let head = parse(buffer.split_to(end).freeze(), method)?;
            let status = head.response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Where the head ends, with the empty line.
    fn end(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, Malformed> {
        // Some send an empty line after a body (RFC 9112, section 2.2).
        while buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.seen = 0;
        }
        let from = self.seen.saturating_sub(2);
        for at in memchr_iter(b'\n', &buffer[from..]).map(|at| from + at) {
            let line = &buffer[..at];
            let before = line.strip_suffix(b"\r").unwrap_or(line);
            if before.ends_with(b"\n") {
                self.seen = 0;
                return Ok(Some(at + 1));
            }
        }
        self.seen = buffer.len();
        match self.seen > LARGEST {
            true => Err(Malformed::LargeHead),
            false => Ok(None),
        }
    }
}

fn parse(head: Bytes, method: &Method) -> Result<AnswerHead, Malformed> {
    let mut lines = lines(&head);
    let (version, status, reason) = lines.next().and_then(status_line).ok_or(Malformed::Head)?;
    let mut response = Response::new(());
    *response.version_mut() = version;
    *response.status_mut() = status;
    *response.headers_mut() = spare::take();
    let headers = response.headers_mut();
    headers.reserve(spare::ROOM);
    let mut said = Said::default();
    for (count, line) in lines.enumerate() {
        let (name, value) = field(line)
            .filter(|_| count < FIELDS)
            .ok_or(Malformed::Head)?;
        if said.take(&name, value) {
            continue;
        }
        // A part of the head: nothing is copied.
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value));
        headers.append(name, value.map_err(|_| Malformed::Head)?);
    }
    if Some(reason) != status.canonical_reason().map(str::as_bytes) {
        let reason = ReasonPhrase::try_from(head.slice_ref(reason));
        let reason = reason.map_err(|_| Malformed::Head)?;
        response.extensions_mut().insert(reason);
    }
    let framing = said.framing(version, status, method)?;
    if said.lies() {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(AnswerHead {
        persists: said.persists(version, status)
            && !said.lies()
            && !matches!(framing, Framing::UntilClose),
        framing,
        response,
    })
}

/// The lines of a head, without their ends, up to the empty one.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
    .take_while(|line| !line.is_empty())
}

/// Version, status and reason phrase, which may be left out (RFC 9112, section 4).
fn status_line(line: &[u8]) -> Option<(Version, StatusCode, &[u8])> {
    let (version, rest) = match line.split_at_checked(9)? {
        (b"HTTP/1.1 ", rest) => (Version::HTTP_11, rest),
        (b"HTTP/1.0 ", rest) => (Version::HTTP_10, rest),
        _ => return None,
    };
    let (status, rest) = rest.split_at_checked(3)?;
    let reason = match rest {
        [] => rest,
        [b' ', reason @ ..] => reason,
        _ => return None,
    };
    Some((version, StatusCode::from_bytes(status).ok()?, reason))
}

/// A field's name, and its value without the space around (RFC 9112, section 5). What is
/// not allowed in them, such as space before the colon or a line that goes on in the next,
/// is not allowed in a [`HeaderName`] or a [`HeaderValue`].
fn field(line: &[u8]) -> Option<(HeaderName, &[u8])> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, grammar::trim(&value[1..])))
}

/// What an answer's fields say of the connection and of where the answer ends.
#[derive(Debug, Default)]
struct Said {
    closes: bool,
    keeps: bool,
    /// Fields that name transfer codings.
    codings: u32,
    /// Coded as something else than chunked.
    otherwise_coded: bool,
    length: Option<u64>,
    /// There is a length that is none, or one that is not the other one.
    length_is_wrong: bool,
}

impl Said {
    /// Takes note of a field; of no use to anybody else: it is not to be passed on.
    fn take(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        if name == CONTENT_LENGTH {
            self.declare(value);
        } else if name == TRANSFER_ENCODING {
            self.codings += 1;
            self.otherwise_coded |= !value.eq_ignore_ascii_case(b"chunked");
        } else if name == CONNECTION {
            return self.connection(value);
        }
        false
    }

    /// All lengths that are declared, also in one field, must be the same (RFC 9110,
    /// section 8.6).
    fn declare(&mut self, value: &[u8]) {
        for length in value.split(|byte| *byte == b',').map(grammar::length) {
            self.length_is_wrong |=
                length.is_none() || self.length.is_some_and(|it| Some(it) != length);
            self.length = length;
        }
    }

    /// Whether it is about the connection only, and about no field.
    fn connection(&mut self, value: &[u8]) -> bool {
        let mut is_all = true;
        for option in value.split(|byte| *byte == b',').map(grammar::trim) {
            let closes = option.eq_ignore_ascii_case(b"close");
            let keeps = option.eq_ignore_ascii_case(b"keep-alive");
            self.closes |= closes;
            self.keeps |= keeps;
            is_all &= closes || keeps;
        }
        is_all
    }

    /// RFC 9112, section 6.3.
    fn framing(
        &self,
        version: Version,
        status: StatusCode,
        method: &Method,
    ) -> Result<Framing, Malformed> {
        match self.codings {
            0 => {}
            // Not of HTTP/1.0 (RFC 9112, section 6.1).
            _ if version == Version::HTTP_10 => return Err(Malformed::Head),
            1 if !self.otherwise_coded => {}
            // Other codings than `chunked` would have to be undone here, because they are
            // announced to one hop only (RFC 9112, section 6.1); no request asks for any.
            _ => return Err(Malformed::Coding),
        }
        if self.length_is_wrong && self.codings == 0 {
            return Err(Malformed::Length);
        }
        Ok(match self.length {
            _ if never_has_body(status, method) => Framing::Length(0),
            _ if self.codings > 0 => Framing::Chunked(Chunked::default()),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }

    /// A length beside a transfer coding is not to be believed and not to be passed on
    /// (RFC 9112, section 6.3); nor does whoever sent it agree with us for sure on where the
    /// answer ends.
    fn lies(&self) -> bool {
        self.codings > 0 && (self.length.is_some() || self.length_is_wrong)
    }

    /// RFC 9112, section 9.3. What follows a 101 is another protocol.
    fn persists(&self, version: Version, status: StatusCode) -> bool {
        let is_kept = match version {
            Version::HTTP_10 => self.keeps,
            _ => true,
        };
        is_kept && !self.closes && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

fn never_has_body(status: StatusCode, method: &Method) -> bool {
    let by_status = [
        StatusCode::SWITCHING_PROTOCOLS,
        StatusCode::NO_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    method == Method::HEAD || by_status.contains(&status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], method: &Method) -> Result<Option<AnswerHead>, Malformed> {
        HeadReader::default().take(&mut BytesMut::from(text), method)
    }

    fn read_get(text: &str) -> AnswerHead {
        let head = read(text.as_bytes(), &Method::GET);
        head.expect(text).expect(text)
    }

    fn refused(text: &str) -> Malformed {
        read(text.as_bytes(), &Method::GET).expect_err(text)
    }

    fn written(head: &RequestHead<'_>, has_body: bool) -> String {
        let mut out = b"before ".to_vec();
        head.write(&mut out, has_body);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_request_is_written_as_it_is_but_for_a_rewritten_host() {
        let mut headers = HeaderMap::new();
        headers.append("x", HeaderValue::from_static("1"));
        headers.append("x", HeaderValue::from_static("2"));
        headers.insert(HOST, HeaderValue::from_static("theirs"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        let target = Uri::from_static("/a/b?c=d");
        let ours = HeaderValue::from_static("ours");
        let mut head = RequestHead {
            method: &Method::POST,
            target: &target,
            headers: &headers,
            host: None,
            added: b"via: us\r\n",
        };
        let expected = "before POST /a/b?c=d HTTP/1.1\r\nx: 1\r\nx: 2\r\nhost: theirs\r\n\
            transfer-encoding: chunked\r\nvia: us\r\n\r\n";
        assert_eq!(written(&head, true), expected);
        head.host = Some(&ours);
        let expected =
            "before POST /a/b?c=d HTTP/1.1\r\nhost: ours\r\nx: 1\r\nx: 2\r\nvia: us\r\n\r\n";
        assert_eq!(written(&head, false), expected);
        let star = Uri::from_static("*");
        head.target = &star;
        head.method = &Method::OPTIONS;
        assert!(written(&head, false).starts_with("before OPTIONS * HTTP/1.1\r\n"));
    }

    #[test]
    fn where_an_answer_ends_is_as_rfc_9112_has_it() {
        let ends = |text: &str| read_get(text).framing;
        let ok = "HTTP/1.1 200 OK\r\n";
        assert!(matches!(
            ends(&format!("{ok}Content-Length: 5\r\n\r\n")),
            Framing::Length(5)
        ));
        assert!(matches!(
            ends(&format!("{ok}Content-Length: 5, 5\r\n\r\n")),
            Framing::Length(5)
        ));
        assert!(matches!(
            ends(&format!("{ok}Transfer-Encoding: Chunked\r\n\r\n")),
            Framing::Chunked(_)
        ));
        assert!(matches!(ends(&format!("{ok}\r\n")), Framing::UntilClose));
        for status in [
            "204 No Content",
            "304 Not Modified",
            "101 Switching Protocols",
        ] {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
            assert!(matches!(ends(&text), Framing::Length(0)), "{status}");
        }
        let to_head = read(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            &Method::HEAD,
        );
        let to_head = to_head.expect("right").expect("complete");
        assert!(matches!(to_head.framing, Framing::Length(0)));
        assert_eq!(to_head.response.headers()[CONTENT_LENGTH], "5");
    }

    #[test]
    fn a_length_beside_chunks_is_dropped_and_nothing_follows_on_the_connection() {
        let head =
            read_get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(matches!(head.framing, Framing::Chunked(_)));
        assert!(!head.response.headers().contains_key(CONTENT_LENGTH));
        assert!(!head.persists);
    }

    #[test]
    fn what_is_no_answer_or_could_be_read_in_two_ways_is_refused() {
        let ok = "HTTP/1.1 200 OK\r\n";
        for length in [
            "5\r\nContent-Length: 6",
            "5, 6",
            "-5",
            "+5",
            "",
            "0x5",
            "5 5",
        ] {
            let text = format!("{ok}Content-Length: {length}\r\n\r\n");
            assert_eq!(refused(&text), Malformed::Length, "{length}");
        }
        for coding in [
            "gzip, chunked",
            "gzip",
            "chunked\r\nTransfer-Encoding: chunked",
            "chunked, chunked",
        ] {
            let text = format!("{ok}Transfer-Encoding: {coding}\r\n\r\n");
            assert_eq!(refused(&text), Malformed::Coding, "{coding}");
        }
        for text in [
            "hello\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 ?\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname: a\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname: \0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(refused(text), Malformed::Head, "{text:?}");
        }
        let many = format!("{ok}{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(refused(&many), Malformed::Head);
        let large = format!("{ok}a: {}", "b".repeat(LARGEST));
        assert_eq!(refused(&large), Malformed::LargeHead);
    }

    #[test]
    fn interim_answers_and_empty_lines_are_skipped() {
        let text = "\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
            HTTP/1.1 418 I am one\r\nContent-Length: 3\r\n\r\nabc";
        let mut buffer = BytesMut::from(text);
        let head = HeadReader::default().take(&mut buffer, &Method::GET);
        let head = head.expect("right").expect("complete");
        assert_eq!(head.response.status(), 418);
        assert!(!head.response.headers().contains_key("link"));
        let reason = head.response.extensions().get::<ReasonPhrase>();
        assert_eq!(reason.map(ReasonPhrase::as_bytes), Some(&b"I am one"[..]));
        assert_eq!(buffer, "abc");
        assert!(
            read(b"HTTP/1.1 100 Continue\r\n\r\n", &Method::GET)
                .expect("right")
                .is_none()
        );
    }

    #[test]
    fn whether_a_connection_persists_is_as_rfc_9112_has_it() {
        for (text, persists) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            // Its body ends with it.
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            (
                "HTTP/1.1 204 No Content\r\nConnection: x, Close\r\n\r\n",
                false,
            ),
            (
                "HTTP/1.1 204 No Content\r\nConnection: x\r\nConnection: close\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 204 No Content\r\n\r\n", false),
            (
                "HTTP/1.0 204 No Content\r\nConnection: Keep-Alive\r\n\r\n",
                true,
            ),
            (
                "HTTP/1.0 204 No Content\r\nConnection: keep-alive, close\r\n\r\n",
                false,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(read_get(text).persists, persists, "{text}");
        }
    }

    proptest! {
        #[test]
        fn how_it_is_cut_makes_no_difference(
            noise in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\
                Content-Length: 12\r\nSet-Cookie: a=b\r\nX: \xff y \r\n\r\nbody".to_vec();
            if let Some((at, byte)) = noise {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            ends.push(text.len());
            ends.sort_unstable();
            let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
            let (mut from, mut result) = (0, Ok(None));
            for end in ends {
                buffer.extend_from_slice(&text[from..end]);
                from = end;
                if matches!(result, Ok(None)) {
                    result = reader.take(&mut buffer, &Method::GET);
                }
            }
            let mut rest = BytesMut::from(&text[..]);
            let whole = HeadReader::default().take(&mut rest, &Method::GET);
            prop_assert_eq!(format!("{result:?}"), format!("{whole:?}"));
            if matches!(whole, Ok(Some(_))) {
                prop_assert_eq!(buffer, rest);
            }
        }
    }

    /// Status lines, fields, and what is neither.
    const LINES: &[&str] = &[
        "HTTP/1.1 200 OK",
        "HTTP/1.0 404 Not Found",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 No",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 \u{1}",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "Server: x",
        "Server:x",
        "Server:  x \t ",
        "Server:",
        "Server : x",
        " Server: x",
        "\tserver: x",
        "Server",
        ": x",
        "Ser\u{e9}: x",
        "Server: \u{e9}",
        "Server: a\tb",
        "Server: a\rb",
        "Server: a\0",
        "Server: \u{7f}",
        "Date: y",
        "x_y.z!: 1",
        "(): 1",
        "Set-Cookie: a",
        "Set-Cookie: b",
        "",
    ];

    /// A status, and fields.
    type Parsed = (u16, Vec<(String, Vec<u8>)>);

    /// What httparse, which is what most Rust programs read heads with, makes of it.
    fn reference(head: &[u8]) -> Option<Parsed> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        if !matches!(parsed.parse(head), Ok(httparse::Status::Complete(_))) {
            return None;
        }
        let fields = parsed.headers.iter();
        let field = |it: &httparse::Header<'_>| (it.name.to_ascii_lowercase(), it.value.to_vec());
        let mut fields: Vec<_> = fields.map(field).collect();
        // As a header map has them.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some((parsed.code?, fields))
    }

    fn ours(head: &[u8]) -> Option<Parsed> {
        let head = parse(Bytes::copy_from_slice(head), &Method::GET).ok()?;
        let fields = head.response.headers().iter();
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        let mut fields: Vec<_> = fields.map(field).collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some((head.response.status().as_u16(), fields))
    }

    proptest! {
        #[test]
        fn a_head_is_what_a_well_kept_parser_makes_of_it(
            begins in 0..3_usize,
            lines in proptest::collection::vec(proptest::sample::select(LINES), 0..5),
            ends in proptest::collection::vec(proptest::sample::select(&["\r\n", "\n"][..]), 6),
        ) {
            let lines = [LINES[begins]].into_iter().chain(lines.into_iter().take_while(|it| !it.is_empty()));
            let lines = lines.chain([""]).zip(&ends);
            let head: String = lines.flat_map(|(line, end)| [line, end]).collect();
            let (ours, mut reference) = (ours(head.as_bytes()), reference(head.as_bytes()));
            if let Some((status, _)) = &reference && StatusCode::from_u16(*status).is_err() {
                reference = None;
            }
            prop_assert_eq!(ours, reference, "{:?}", head);
        }

        #[test]
        fn any_status_line_is_what_a_well_kept_parser_makes_of_it(
            line in proptest::sample::select(&LINES[..12]),
        ) {
            let head = format!("{line}\r\n\r\n");
            let reference = reference(head.as_bytes()).filter(|(status, _)| *status >= 100);
            prop_assert_eq!(ours(head.as_bytes()), reference, "{:?}", head);
        }
    }
}
