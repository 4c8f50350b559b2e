//! What a plugin did wrong.

use std::fmt;

use wasmtime::Trap;

use super::backtrace;
use super::imports::escape;
use super::limits::TooManyImportCalls;

/// A call that gave no usable answer. The instance it happened in is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For counters.
    pub kind: FaultKind,
    /// For people: what happened and, where the component has names, in which functions.
    pub message: String,
}

/// Kinds of faults, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Guest code trapped (`unreachable`, division by zero, stack overflow ...).
    Trap,
    /// A call used more CPU time than the deadline.
    Deadline,
    /// It failed after more memory was refused than the limit allows.
    Memory,
    /// The index is outside the list, or the plan is unusable.
    BadIndex,
    /// The status of a `reject` is not 400 to 599.
    BadStatus,
    /// Its answer is not a value of the contract's type.
    Lift,
    /// It called imports too often within one call.
    Imports,
    /// `configure` said no.
    Configure,
    /// All calls together used more CPU time than the budget.
    Budget,
    /// The host's side of the call panicked.
    Panic,
}

impl FaultKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::BadIndex,
        Self::BadStatus,
        Self::Lift,
        Self::Imports,
        Self::Configure,
        Self::Budget,
        Self::Panic,
    ];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::BadIndex => "bad-index",
            Self::BadStatus => "bad-status",
            Self::Lift => "lift",
            Self::Imports => "imports",
            Self::Configure => "configure",
            Self::Budget => "budget",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Classifies what a call into a guest failed with.
    pub(super) fn from_call(error: &wasmtime::Error, memory_refused: bool) -> Self {
        let trap = error.downcast_ref::<Trap>();
        let kind = match trap {
            Some(Trap::Interrupt) => FaultKind::Deadline,
            _ if memory_refused => FaultKind::Memory,
            Some(_) => FaultKind::Trap,
            None if error.is::<TooManyImportCalls>() => FaultKind::Imports,
            None => FaultKind::Lift,
        };
        let mut message = match kind {
            FaultKind::Deadline => "used more CPU time than its deadline".to_owned(),
            _ => escape(&error.root_cause().to_string(), 512),
        };
        if let Some(functions) = backtrace::of(error) {
            message = format!("{message}, {functions}");
        }
        Self { kind, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Fault {}
