//! Another binary in the place of this process, while traffic flows.
//!
//! ```text
//! SIGUSR2   the running process starts its own path anew, with the arguments that
//!           it was started with: [`Successor`]
//! fds       it inherits the listening sockets, queues and all, and a letter that
//!           says which is which: [`Offer`], [`Inheritance`]
//! ready     once it serves it says so through a pipe; the old process ends as if
//!           told to, but that nobody is turned away and the admin API goes over
//! ```
//!
//! A successor that ends or is not ready in time is killed, and changes nothing.

mod inheritance;
mod letter;
mod manager;
mod offer;
mod successor;

pub use inheritance::Inheritance;
pub use manager::{Told, Vigil, tell};
pub use offer::{AdminHandles, Offer};
pub use successor::{Program, Successor};
