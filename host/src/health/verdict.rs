//! What one check comes to.

use std::io;
use std::time::Duration;

use crate::telemetry::metrics::Checked;
use crate::transport;

/// Why a backend failed a check.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("{}", spoken(.0))]
    Connect(io::Error),
    /// No result in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The connection ended before the answer did.
    #[error("closed before it answered")]
    Closed,
    /// The answer is none of the protocol's, or too large.
    #[error("{0}")]
    Protocol(String),
    /// An HTTP status that is not expected.
    #[error("status {0}")]
    Status(u16),
    /// The beginning of the body lacks this text.
    #[error("body does not contain `{0}`")]
    Body(String),
    /// What a gRPC server says of its service, or says instead.
    #[error("{0}")]
    Grpc(String),
}

/// Why a check was not passed.
#[derive(Debug)]
pub enum Unfit {
    /// The backend failed it.
    Fault(Fault),
    /// It says nothing of the backend: this machine had no socket to give.
    Local(io::Error),
}

impl Fault {
    /// What it counts as.
    pub fn label(&self) -> Checked {
        match self {
            Self::Connect(_) => Checked::Connect,
            Self::Timeout(_) => Checked::Timeout,
            Self::Closed => Checked::Reset,
            Self::Protocol(_) => Checked::Protocol,
            Self::Status(_) | Self::Grpc(_) => Checked::Status,
            Self::Body(_) => Checked::Body,
        }
    }
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Unfit {
        Unfit::Fault(fault)
    }
}

impl Unfit {
    /// What a failure to connect says.
    pub fn connecting(error: io::Error) -> Unfit {
        match transport::is_local(&error) {
            true => Unfit::Local(error),
            false => Unfit::Fault(Fault::Connect(error)),
        }
    }
}

impl From<hyper::Error> for Fault {
    fn from(error: hyper::Error) -> Fault {
        if error.is_parse() || error.is_parse_too_large() {
            Fault::Protocol(format!("its answer is not HTTP: {error}"))
        } else {
            Fault::Closed
        }
    }
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn spoken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind if error.raw_os_error().is_some() && kind.to_string() != "uncategorized error" => {
            kind.to_string()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_read_as_a_person_would_say_them() {
        let refused = io::Error::from_raw_os_error(111);
        for (fault, text) in [
            (Fault::Connect(refused), "connection refused"),
            (
                Fault::Timeout(Duration::from_secs(1)),
                "no answer within 1s",
            ),
            (Fault::Status(500), "status 500"),
            (Fault::Body("ok".into()), "body does not contain `ok`"),
            (
                Fault::Connect(io::Error::other("no such name")),
                "no such name",
            ),
        ] {
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn want_of_descriptors_is_not_the_backends_fault() {
        let emfile = io::Error::from_raw_os_error(24);
        assert!(matches!(Unfit::connecting(emfile), Unfit::Local(_)));
    }
}
