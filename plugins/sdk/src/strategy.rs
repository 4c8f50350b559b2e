//! What a strategy implements.

use crate::{Backend, Refusal, Request};

/// A balancing strategy. Its [`Default`] is the state of a new instance.
pub trait Strategy: Default + 'static {
    /// Chooses one of `backends` by its index in this list.
    ///
    /// The list is never empty and holds only backends that may be asked now.
    /// An index out of range or a panic is a fault of the plugin: the pool's
    /// fallback strategy answers instead.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] where none of them is to be asked.
    fn pick(&mut self, request: &Request, backends: &[Backend]) -> Result<usize, Refusal>;
}

/// A strategy that takes options.
pub trait Configure: Strategy {
    /// Takes the operator's configuration: JSON where it was a TOML table
    /// (read it with [`Options`](crate::options::Options) or a JSON crate), the
    /// text itself where it was a string, and empty where there was none.
    /// Called once, before the first pick.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for the operator: the plugin is then not used.
    fn configure(&mut self, text: &str) -> Result<(), String>;
}
