//! What a strategy implements.

use crate::{Backend, Outcome, Refusal, Request, Routing};

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

/// Makes plans, from which the proxy routes without asking: for what is slow to
/// compute, and for pools of thousands. Its [`Default`] is the state of a new instance.
pub trait Planner: Default + 'static {
    /// A plan for these backends. Asked when the pool changes, and at the operator's
    /// `plan-interval`. The list is never empty.
    fn plan(&mut self, backends: &[Backend]) -> Routing;
}

/// A strategy that learns from what becomes of requests, and hands over what it
/// learned when the plugin is replaced.
pub trait Learn: Configure + Strategy {
    /// Takes outcomes, in batches and off the request path. This instance hears of the
    /// attempts of its own worker.
    fn observe(&mut self, outcomes: &[Outcome]);

    /// What a successor begins with; nothing unless this is implemented.
    fn save(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes what a predecessor saved, which may have been another version or another
    /// plugin: any bytes.
    ///
    /// # Errors
    ///
    /// Where these bytes are of no use: the instance begins with nothing.
    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        match saved {
            [] => Ok(()),
            _ => Err("nothing is handed over here".into()),
        }
    }
}

/// A strategy or planner that takes options.
pub trait Configure: Default + 'static {
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
