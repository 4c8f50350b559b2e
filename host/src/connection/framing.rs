//! What hyper reads one way only and somebody else might read another way: two
//! readers that disagree on where a request ends are what request smuggling is
//! made of. So it is refused in front of hyper, byte for byte:
//!
//! - a line that ends in a bare LF, or has a CR in the middle (RFC 9112,
//!   section 2.2 lets a recipient accept the one and tells it to mend the other),
//! - a `Content-Length` beside a `Transfer-Encoding` (section 6.3 lets a
//!   recipient drop the length),
//! - a chunk whose size is not just hexadecimal digits (section 7.1), and one
//!   whose data does not end where its size says.
//!
//! And so that nothing grows without bound: a request line, a head, trailers and a
//! chunked body longer than the listener allows. (A declared length can be answered
//! before any of the body is there: `proxy/request.rs` does.)
//!
//! Everything else about a request is `proxy/request.rs`' affair. No IO, no
//! allocation: bytes in, and whether they may pass.

use memchr::{memchr, memchr2};

use crate::grammar;

/// As much of a line as is looked at: the longest field name here, its colon,
/// and a length of 20 digits with some space around.
const LINE: usize = 64;

/// Follows one client's bytes from request to request.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    place: Place,
    /// Bytes of the current head, or of its trailers, so far.
    head: usize,
    /// Bytes of the current chunked body, the current chunk included.
    body: u64,
    /// The last byte was the CR of a line's end.
    carriage_return: bool,
    line: Line,
    /// What the head so far says of the body.
    length: Option<u64>,
    chunked: bool,
    /// A request is complete. What follows is another one, or another protocol if
    /// it asked for that: it is held until the answer is known.
    complete: bool,
}

/// Where in a request the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the request line; empty lines are skipped (RFC 9112, section 2.2).
    Start,
    Fields,
    /// So many bytes of a body or a chunk.
    Data {
        left: u64,
        chunk: bool,
    },
    /// The line's end after a chunk's data.
    ChunkEnd,
    ChunkSize,
    Trailers,
}

/// The beginning of the current line, where the rest of it has not come.
#[derive(Debug)]
struct Line {
    bytes: [u8; LINE],
    length: usize,
    /// It goes on beyond what is kept.
    cut: bool,
}

/// The beginning of a line, as much of it as is looked at.
#[derive(Clone, Copy)]
struct Beginning<'a> {
    bytes: &'a [u8],
    /// It goes on beyond that.
    cut: bool,
}

/// Longest request line, longest head (with it) and longest body, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub line: usize,
    pub head: usize,
    pub body: u64,
}

/// The byte at this index must not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    pub at: usize,
    pub fault: Fault,
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// It stops making sense.
    Malformed = 1,
    /// Its request line is too long.
    LongLine = 2,
    /// Its head is too large.
    LargeHead = 3,
    /// Its chunks are more than a body may be.
    LargeBody = 4,
}

impl Fault {
    /// Never 0.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The fault of this number.
    pub fn numbered(number: u8) -> Option<Fault> {
        let all = [
            Fault::Malformed,
            Fault::LongLine,
            Fault::LargeHead,
            Fault::LargeBody,
        ];
        all.into_iter().find(|fault| fault.number() == number)
    }
}

fn malformed(at: usize) -> Violation {
    let fault = Fault::Malformed;
    Violation { at, fault }
}

impl Framing {
    /// Before the first byte of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            place: Place::Start,
            head: 0,
            body: 0,
            carriage_return: false,
            line: Line::default(),
            length: None,
            chunked: false,
            complete: false,
        }
    }

    /// Looks at the next bytes of the client. How many of them may pass now:
    /// fewer than all when there is more than one request.
    ///
    /// # Errors
    ///
    /// Those from the index on must not pass.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() && !self.holds() {
            let rest = &bytes[at..];
            at += match self.place {
                Place::Data { left, chunk } => self.data(left, chunk, rest),
                _ => self
                    .line(rest)
                    .map_err(|Violation { at: in_rest, fault }| Violation {
                        at: at + in_rest,
                        fault,
                    })?,
            };
        }
        Ok(at)
    }

    /// Nothing more passes until [`Framing::go_on`].
    pub fn holds(&self) -> bool {
        self.complete
    }

    /// The request was answered: what follows is another one.
    pub fn go_on(&mut self) {
        self.complete = false;
    }

    /// Nothing of the next request has come yet.
    pub fn is_between_requests(&self) -> bool {
        self.place == Place::Start && self.head == 0 && !self.carriage_return
    }

    /// What comes next belongs to a request's head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Start | Place::Fields)
    }

    fn data(&mut self, left: u64, chunk: bool, bytes: &[u8]) -> usize {
        let used = left.min(bytes.len() as u64);
        self.place = match (left - used, chunk) {
            (0, true) => Place::ChunkEnd,
            (0, false) => self.end_of_request(),
            (left, chunk) => Place::Data { left, chunk },
        };
        used as usize
    }

    /// Takes up to the CR of the line's end, or the LF after it; how much that was.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        if self.carriage_return {
            self.carriage_return = false;
            if bytes[0] != b'\n' {
                return Err(malformed(0));
            }
            let kept = std::mem::take(&mut self.line);
            let ended = self.end_of_line(kept.beginning());
            return ended
                .map(|()| 1)
                .map_err(|fault| Violation { at: 0, fault });
        }
        let end = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        // A request has no fragment (RFC 9112 section 3.2). Whoever drops one routes
        // by another target than whoever does not.
        let fragment = match self.place {
            Place::Start => memchr(b'#', &bytes[..end]),
            _ => None,
        };
        self.count(fragment.unwrap_or(end))?;
        if let Some(at) = fragment {
            return Err(malformed(at));
        }
        let text = &bytes[..end];
        match bytes[end..] {
            // All of it is here, as nearly always: nothing is kept.
            [b'\r', b'\n', ..] if self.line.is_empty() => {
                let ended = self.end_of_line(Beginning::of(text));
                ended
                    .map(|()| end + 2)
                    .map_err(|fault| Violation { at: end + 1, fault })
            }
            [] => {
                self.line.add(text);
                Ok(end)
            }
            [b'\r', ..] => {
                self.line.add(text);
                self.carriage_return = true;
                Ok(end + 1)
            }
            [_bare_line_feed, ..] => Err(malformed(end)),
        }
    }

    /// So many bytes more of the current line; their ends do not count.
    fn count(&mut self, bytes: usize) -> Result<(), Violation> {
        let (limit, fault) = match self.place {
            Place::Start => (self.limits.line, Fault::LongLine),
            Place::Fields | Place::Trailers => (self.limits.head, Fault::LargeHead),
            Place::Data { .. } | Place::ChunkEnd | Place::ChunkSize => return Ok(()),
        };
        let left = limit.saturating_sub(self.head);
        self.head = self.head.saturating_add(bytes);
        match bytes > left {
            true => Err(Violation { at: left, fault }),
            false => Ok(()),
        }
    }

    /// A whole line is there, which begins so.
    fn end_of_line(&mut self, line: Beginning<'_>) -> Result<(), Fault> {
        self.place = self.after_line(line)?;
        Ok(())
    }

    fn after_line(&mut self, line: Beginning<'_>) -> Result<Place, Fault> {
        let empty = line.bytes.is_empty();
        match self.place {
            Place::Start if empty => Ok(Place::Start),
            Place::Start => {
                (self.length, self.chunked, self.body) = (None, false, 0);
                Ok(Place::Fields)
            }
            Place::Fields if empty => self.after_head(),
            Place::Fields => self
                .field(line)
                .map(|()| Place::Fields)
                .ok_or(Fault::Malformed),
            Place::ChunkSize => self.chunk(line),
            Place::ChunkEnd if empty => Ok(Place::ChunkSize),
            Place::Trailers if empty => Ok(self.end_of_request()),
            Place::Trailers => Ok(Place::Trailers),
            Place::ChunkEnd | Place::Data { .. } => Err(Fault::Malformed),
        }
    }

    fn after_head(&mut self) -> Result<Place, Fault> {
        self.head = 0;
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Fault::Malformed),
            (true, None) => Ok(Place::ChunkSize),
            (false, None | Some(0)) => Ok(self.end_of_request()),
            (false, Some(left)) => Ok(Place::Data { left, chunk: false }),
        }
    }

    fn end_of_request(&mut self) -> Place {
        self.head = 0;
        self.complete = true;
        Place::Start
    }

    fn chunk(&mut self, line: Beginning<'_>) -> Result<Place, Fault> {
        let size = grammar::chunk_size(line.bytes, line.cut).ok_or(Fault::Malformed)?;
        self.body = self.body.saturating_add(size);
        match size {
            _ if self.body > self.limits.body => Err(Fault::LargeBody),
            0 => Ok(Place::Trailers),
            left => Ok(Place::Data { left, chunk: true }),
        }
    }

    fn field(&mut self, line: Beginning<'_>) -> Option<()> {
        // What is no field is for hyper to refuse.
        let Some(colon) = memchr(b':', line.bytes) else {
            return Some(());
        };
        let (name, value) = (&line.bytes[..colon], &line.bytes[colon + 1..]);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = (!line.cut).then(|| grammar::length(value)).flatten()?;
            // Twice the same is once (RFC 9110, section 8.6).
            if self.length.is_some_and(|before| before != length) {
                return None;
            }
            self.length = Some(length);
        }
        Some(())
    }
}

impl Line {
    fn add(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(LINE - self.length);
        self.bytes[self.length..self.length + kept].copy_from_slice(&bytes[..kept]);
        self.length += kept;
        self.cut |= kept < bytes.len();
    }

    fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn beginning(&self) -> Beginning<'_> {
        Beginning {
            bytes: &self.bytes[..self.length],
            cut: self.cut,
        }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; LINE],
            length: 0,
            cut: false,
        }
    }
}

impl<'a> Beginning<'a> {
    /// What would be kept of this line.
    fn of(line: &'a [u8]) -> Self {
        Self {
            bytes: &line[..line.len().min(LINE)],
            cut: line.len() > LINE,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        line: 10_100,
        head: 30_000,
        body: 40_000,
    };

    fn fed(bytes: &[u8]) -> Result<(), Violation> {
        let mut framing = Framing::new(LIMITS);
        let mut at = 0;
        while at < bytes.len() {
            let ahead = |violation: Violation| Violation {
                at: at + violation.at,
                ..violation
            };
            at += framing.feed(&bytes[at..]).map_err(ahead)?;
            framing.go_on();
        }
        Ok(())
    }

    /// The first byte that must not pass, when they come in these pieces.
    fn fed_in_pieces(bytes: &[u8], cuts: &[usize]) -> Option<usize> {
        let mut framing = Framing::new(LIMITS);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for piece in cuts.windows(2) {
            let mut from = piece[0];
            while from < piece[1] {
                match framing.feed(&bytes[from..piece[1]]) {
                    Ok(passed) => from += passed,
                    Err(Violation { at, .. }) => return Some(from + at),
                }
                framing.go_on();
            }
        }
        None
    }

    const GOOD: [&str; 7] = [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\na\nb\rc",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\n\n\r\n\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ];

    #[test]
    fn requests_that_are_what_they_say_pass() {
        for request in GOOD {
            assert_eq!(fed(request.as_bytes()), Ok(()), "{request:?}");
        }
        let long = format!(
            "GET /{} HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(9999),
            "y".repeat(9999)
        );
        assert_eq!(fed(long.as_bytes()), Ok(()));
        assert_eq!(fed(GOOD.concat().as_bytes()), Ok(()), "one after the other");
    }

    #[test]
    fn what_two_readers_may_read_differently_does_not() {
        for (passes, rest) in [
            ("GET / HTTP/1.1", "\nHost: h\r\n\r\n"),
            ("GET / HTTP/1.1\r", "x"),
            ("GET / HTTP/1.1\r\nHost: h\r", "X: y\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: h\r\n", "\n"),
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nContent-Length: 5\r\n\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r",
                "\n",
            ),
            ("POST / HTTP/1.1\r\nContent-Length: 5, 5\r", "\n"),
            ("POST / HTTP/1.1\r\nContent-Length: +5\r", "\n"),
            (
                "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r",
                "\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1",
                "\na\r\n",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y",
                "\n\r\n",
            ),
        ] {
            let request = format!("{passes}{rest}");
            let violation = fed_in_pieces(request.as_bytes(), &[]);
            assert_eq!(violation, Some(passes.len()), "{request:?}");
        }
    }

    #[test]
    fn a_line_and_a_head_have_their_ends() {
        let fed = |line: usize, fields: usize, size: usize| {
            let field = format!("{}\r\n", "f".repeat(size));
            let target = "x".repeat(line - "GET / HTTP/1.1".len());
            let fields = field.repeat(fields);
            fed(format!("GET /{target} HTTP/1.1\r\n{fields}\r\n").as_bytes())
        };
        let at = |at, fault| Err(Violation { at, fault });
        assert_eq!(fed(LIMITS.line, 1, 30_000 - LIMITS.line), Ok(()));
        assert_eq!(fed(LIMITS.line + 1, 1, 1), at(LIMITS.line, Fault::LongLine));
        assert_eq!(fed(100, 299, 100), Ok(()));
        // Two more bytes for each line's end.
        let last = 30_000 + 300 * 2;
        assert_eq!(fed(100, 300, 100), at(last, Fault::LargeHead));
        let two = format!("{}{}", GOOD[0], GOOD[3]).repeat(2000);
        assert_eq!(
            super::tests::fed(two.as_bytes()),
            Ok(()),
            "each head for itself"
        );
    }

    #[test]
    fn chunks_and_trailers_have_their_ends_too() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        let whole = format!("{head}{}{}0\r\n\r\n", chunk(39_999), chunk(1));
        assert_eq!(fed(whole.repeat(2).as_bytes()), Ok(()), "each for itself");
        let first = format!("{head}{}", chunk(39_999));
        // Known from the size, before any of it.
        let at = first.len() + "2\r".len();
        let fault = Fault::LargeBody;
        let second = format!("{first}{}", chunk(2));
        assert_eq!(fed(second.as_bytes()), Err(Violation { at, fault }));
        let most = "f".repeat(15);
        let huge = format!("{head}{most}\r\n");
        let at = huge.len() - 1;
        assert_eq!(fed(huge.as_bytes()), Err(Violation { at, fault }));
        let trailers = |count| format!("{head}0\r\n{}\r\n", "T: xxxxxxx\r\n".repeat(count));
        assert_eq!(fed(trailers(3_000).as_bytes()), Ok(()));
        let fault = fed(trailers(3_001).as_bytes()).map_err(|Violation { fault, .. }| fault);
        assert_eq!(fault, Err(Fault::LargeHead));
    }

    #[test]
    fn between_requests_is_between_requests() {
        let mut framing = Framing::new(LIMITS);
        let request = b"\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
        for (at, byte) in request.iter().enumerate() {
            let was = framing.is_between_requests();
            assert_eq!(was, matches!(at, 0 | 2), "before byte {at}");
            assert_eq!(framing.feed(&[*byte]), Ok(1));
        }
        assert!(framing.is_between_requests());
    }

    #[test]
    fn what_follows_a_request_is_held() {
        let mut framing = Framing::new(LIMITS);
        let wish = "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n!";
        let bytes = format!("{wish}GET / HTTP/1.1\nHost: h\r\n\r\n");
        assert_eq!(framing.feed(bytes.as_bytes()), Ok(wish.len()));
        assert!(framing.holds());
        let rest = &bytes.as_bytes()[wish.len()..];
        assert_eq!(framing.feed(rest), Ok(0));
        framing.go_on();
        assert_eq!(framing.feed(rest), Err(malformed(14)));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            which in prop::collection::vec(0..GOOD.len(), 1..4),
            noise in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let mut bytes: Vec<u8> = which.iter().flat_map(|&one| GOOD[one].bytes()).collect();
            if let Some((place, byte)) = noise {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            prop_assert_eq!(fed_in_pieces(&bytes, &cuts), fed_in_pieces(&bytes, &[]));
        }

        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Framing::new(LIMITS).feed(&bytes);
        }
    }
}
