//! The values that labels may have, where they are not names of the
//! configuration: closed sets, so that nothing a client sends makes a series.

use http::StatusCode;

use crate::strategy::Failure;

/// A closed set: the enum, and its values in the order of their numbers.
macro_rules! values {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$meaning])* $value,)+
        }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$value),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// As the label has it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

values! {
    /// The class of a response's status.
    Code {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
}

impl Code {
    /// The class of `status`. One above 599 is a 5xx (RFC 9110 section 15).
    pub fn of(status: StatusCode) -> Code {
        match status.as_u16() {
            ..200 => Code::Informational,
            200..300 => Code::Success,
            300..400 => Code::Redirection,
            400..500 => Code::ClientError,
            500.. => Code::ServerError,
        }
    }
}

values! {
    /// What could be done with what a backend told of its load.
    LoadReport {
        /// It is what strategies see.
        Taken = "taken",
        /// It names none of the metrics that are looked for, or is damaged.
        Unusable = "unusable",
    }
}

values! {
    /// Why the proxy answered a pool's request itself.
    Refused {
        /// No backend is eligible and untried.
        NoBackend = "no-backend",
        /// All that are eligible have as many requests as they may.
        Full = "full",
        /// There are as many requests in the pool as it may have.
        Limit = "limit",
        /// As many wait as may.
        QueueFull = "queue-full",
        /// It waited for as long as it may.
        QueueTimeout = "queue-timeout",
        /// The strategy wanted to wait, and there is no queue.
        Wait = "wait",
        /// The strategy refused, or faulted with `on-fault = "reject"`.
        Reject = "reject",
        /// No backend could be connected to.
        Connect = "connect",
        /// The last backend did not connect or answer in time.
        Timeout = "timeout",
        /// The last backend closed before it answered.
        Reset = "reset",
        /// What the last backend answered is not HTTP/1, or a switch that nobody wanted.
        Protocol = "protocol",
        /// The client's body stalled or broke off.
        Client = "client",
        /// This machine had no socket to give.
        Local = "local",
        /// Its client sends faster than it may.
        Rate = "rate",
        /// The session's backend cannot take it, with `on-lost = "reject"`.
        Session = "session",
    }
}

values! {
    /// Why a request was tried again.
    RetryReason {
        /// There was no connection: nothing had been sent.
        Connect = "connect",
        /// The backend closed before it answered.
        Reset = "reset",
        /// There was no answer in time.
        Timeout = "timeout",
        /// The answer has a status of `retry-on`.
        Status = "status",
    }
}

values! {
    /// Why a request that might have been tried again was not.
    RetryDenied {
        /// The pool's retries of the last seconds are as many as it bears.
        Budget = "budget",
        /// The last attempts at all eligible backends failed.
        Failing = "failing",
    }
}

values! {
    /// What a request's session token came to.
    SessionToken {
        /// There was none.
        None = "none",
        /// It was ours.
        Valid = "valid",
        /// It was ours, longer ago than sessions last.
        Expired = "expired",
        /// It was not ours, or not whole.
        Invalid = "invalid",
    }
}

values! {
    /// What became of an attempt at a backend.
    Attempted {
        /// A whole response below 500.
        Ok = "ok",
        /// A whole response of 500 or more.
        ServerError = "5xx",
        /// No connection.
        Connect = "connect",
        /// No connection, no response head or no more of the body in time.
        Timeout = "timeout",
        /// It closed before the response was complete.
        Reset = "reset",
        /// What it sent is not HTTP/1.
        Protocol = "protocol",
        /// The client left before the response was complete.
        ClientLeft = "client-left",
        /// Another attempt of the same request was answered sooner.
        Cancelled = "cancelled",
        /// Neither did its part badly: the client's body broke off, or this
        /// machine had no socket.
        Other = "other",
    }
}

impl Attempted {
    /// It tells of a backend that did its part badly.
    pub fn is_of_backend(self) -> bool {
        match self {
            Self::ServerError | Self::Connect | Self::Timeout | Self::Reset | Self::Protocol => {
                true
            }
            Self::Ok | Self::ClientLeft | Self::Cancelled | Self::Other => false,
        }
    }
}

values! {
    /// Why a backend was ejected.
    Ejection {
        /// Too many errors in a row.
        Errors = "errors",
        /// A far smaller share of good answers than the others.
        SuccessRate = "success-rate",
        /// A far greater latency than the others.
        Slow = "slow",
        /// It failed its trial.
        Trial = "trial",
    }
}

impl From<Failure> for Attempted {
    fn from(failure: Failure) -> Attempted {
        match failure {
            Failure::None => Attempted::Ok,
            Failure::Connect => Attempted::Connect,
            Failure::Timeout => Attempted::Timeout,
            Failure::Reset => Attempted::Reset,
            Failure::Protocol => Attempted::Protocol,
            Failure::ClientLeft => Attempted::ClientLeft,
        }
    }
}

values! {
    /// What a health check came to.
    Checked {
        /// The backend is well, as far as this check goes.
        Passed = "passed",
        /// No connection.
        Connect = "connect",
        /// No result in time.
        Timeout = "timeout",
        /// The connection ended before the answer did.
        Reset = "reset",
        /// The answer is none of the protocol's, or too large.
        Protocol = "protocol",
        /// Another status than the expected ones; of gRPC, not `SERVING`.
        Status = "status",
        /// The body lacks what it should contain.
        Body = "body",
        /// It says nothing of the backend: this process was stopped meanwhile,
        /// or this machine had no socket.
        Discarded = "discarded",
    }
}

values! {
    /// Why the proxy ended a client's connection.
    Ended {
        /// No further request came in time.
        Idle = "idle",
        /// A request head did not arrive in time; answered with 408.
        SlowHead = "slow-head",
        /// Nothing of a body moved in time.
        Stalled = "stalled",
        /// What arrived is not HTTP/1; answered with 400 where that is possible.
        Malformed = "malformed",
        /// A head or a chunked body was larger than the listener allows; answered
        /// with 413, 414 or 431 where that is possible.
        TooLarge = "too-large",
        /// Its client had as many as it may.
        ClientLimit = "client-limit",
        /// It had not been accepted yet, and there were no descriptors for it.
        NoResources = "no-resources",
    }
}

values! {
    /// What a reload came to.
    Reload {
        /// A new generation is in force.
        Published = "published",
        /// Nothing had changed.
        Unchanged = "unchanged",
        /// The configuration or a plugin was refused; what was in force stays.
        Refused = "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_in_order() {
        for (number, reason) in Refused::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
        assert_eq!(Refused::ALL.len(), Refused::COUNT);
    }

    #[test]
    fn every_status_has_a_class() {
        let class = |code| Code::of(StatusCode::from_u16(code).expect("a status")).as_str();
        assert_eq!([100, 101, 199].map(class), ["1xx"; 3]);
        assert_eq!(
            [200, 299, 300, 404, 503].map(class),
            ["2xx", "2xx", "3xx", "4xx", "5xx"]
        );
        assert_eq!([600, 999].map(class), ["5xx"; 2]);
    }
}
