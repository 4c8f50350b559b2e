//! Why a question has no answer.

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;

/// Why there is no answer. Two that are equal are told once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// NXDOMAIN
    #[error("there is no such name")]
    NoSuchName,
    /// The name is there, but nothing of the kind that was asked for.
    #[error("the name has no address")]
    NoAddresses,
    /// Nobody answered in time.
    #[error("no answer in time")]
    Timeout,
    /// A server answered that it will not or cannot (SERVFAIL, REFUSED).
    #[error("the name server answers {0}")]
    Refused(String),
    /// No server could be asked, or its answer was no DNS.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// A server has said that there is nothing: somewhere else there may be.
    pub fn is_denial(&self) -> bool {
        matches!(self, Failure::NoSuchName | Failure::NoAddresses)
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => Failure::Timeout,
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => Failure::NoSuchName,
                _ => Failure::NoAddresses,
            },
            NetError::Dns(DnsError::ResponseCode(code)) => Failure::Refused(code.to_string()),
            other => Failure::Other(other.to_string()),
        }
    }
}
