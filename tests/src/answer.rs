//! What a backend does with a request, as steps taken in order.

use std::time::Duration;

use bytes::Bytes;

use crate::gate::Gate;

/// Steps a backend takes once it has a request. By default the request's body
/// is read before the first step.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub(crate) steps: Vec<Step>,
    pub(crate) early: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Bytes),
    Pattern(u64),
    ChunkedPattern(u64),
    Wait(Duration),
    Gate(Gate),
    Echo,
    Tunnel,
    Silence,
    Close,
    Reset,
}

impl Answer {
    /// 200 with this text and its `Content-Length`.
    pub fn text(body: &str) -> Self {
        Self::status("200 OK", body)
    }

    /// A status such as `"404 Not Found"`, with this text and its `Content-Length`.
    pub fn status(status: &str, body: &str) -> Self {
        Self::head(status, &[("Content-Length", &body.len().to_string())]).write(body)
    }

    /// An `HTTP/1.1` response head and nothing after it yet.
    pub fn head(status: &str, fields: &[(&str, &str)]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self::raw(head)
    }

    /// Exactly these bytes.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::default().then(Step::Write(bytes.into()))
    }

    /// 200 with `length` bytes of [`crate::pattern`].
    pub fn pattern(length: u64) -> Self {
        Self::head("200 OK", &[("Content-Length", &length.to_string())]).then(Step::Pattern(length))
    }

    /// The same in chunks.
    pub fn chunked_pattern(length: u64) -> Self {
        Self::head("200 OK", &[("Transfer-Encoding", "chunked")]).then(Step::ChunkedPattern(length))
    }

    /// 200 with the request's body in chunks, each piece as soon as it is there.
    pub fn echo() -> Self {
        Self::head("200 OK", &[("Transfer-Encoding", "chunked")])
            .then(Step::Echo)
            .early()
    }

    /// 101 to this protocol; afterwards every byte is sent back.
    pub fn tunnel(protocol: &str) -> Self {
        Self::head(
            "101 Switching Protocols",
            &[("Connection", "Upgrade"), ("Upgrade", protocol)],
        )
        .then(Step::Tunnel)
    }

    /// Nothing, ever; the connection stays open.
    pub fn silence() -> Self {
        Self::default().then(Step::Silence)
    }

    /// The connection is closed without a byte.
    pub fn close() -> Self {
        Self::default().then_close()
    }

    /// Then these bytes.
    pub fn write(self, bytes: impl Into<String>) -> Self {
        let bytes: String = bytes.into();
        self.then(Step::Write(bytes.into()))
    }

    /// Then `length` bytes of [`crate::pattern`].
    pub fn write_pattern(self, length: u64) -> Self {
        self.then(Step::Pattern(length))
    }

    /// Then waits until the gate opens.
    pub fn then_when(self, gate: &Gate) -> Self {
        self.then(Step::Gate(gate.clone()))
    }

    /// Then waits so long.
    pub fn then_after(self, delay: Duration) -> Self {
        self.then(Step::Wait(delay))
    }

    /// Then neither writes nor closes.
    pub fn then_silence(self) -> Self {
        self.then(Step::Silence)
    }

    /// Then closes the connection.
    pub fn then_close(self) -> Self {
        self.then(Step::Close)
    }

    /// Then resets the connection.
    pub fn then_reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Before everything else waits so long.
    pub fn after(self, delay: Duration) -> Self {
        self.first(Step::Wait(delay))
    }

    /// Before everything else waits until the gate opens.
    pub fn when(self, gate: &Gate) -> Self {
        self.first(Step::Gate(gate.clone()))
    }

    /// Does not wait for the request's body.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn first(mut self, step: Step) -> Self {
        self.steps.insert(0, step);
        self
    }
}
