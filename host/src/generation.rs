//! One state of the whole proxy: listeners, routes, pools, strategies.
//!
//! Immutable. A reload builds the next one aside and publishes it once; a
//! request sees one generation from start to finish.

use std::sync::Arc;
use std::time::Duration;

use crate::config::ListenerSettings;
use crate::history::History;
use crate::listener::Bound;
use crate::pool::Pool;
use crate::route::Routes;
use crate::strategy::Strategy;

/// What the workers serve.
pub struct Generation {
    /// 1 for the first, then one more for each that was published.
    pub number: u64,
    /// How long requests in flight may take to finish when the process ends.
    pub shutdown_grace: Duration,
    /// How long a successor may take until it serves.
    pub upgrade_timeout: Duration,
    /// Most connections of clients at once.
    pub max_connections: usize,
    pub listeners: Vec<Listening>,
    pub routes: Routes,
    /// In the order of the settings; [`Routes`] gives indices into it.
    pub pools: Vec<Served>,
}

/// A socket and how its clients are treated in this generation.
#[derive(Clone)]
pub struct Listening {
    pub bound: Arc<Bound>,
    pub settings: Arc<ListenerSettings>,
}

/// A pool and who picks for it.
#[derive(Clone)]
pub struct Served {
    pub pool: Arc<Pool>,
    pub strategy: Arc<Strategy>,
    /// What was in force before, and since when this is.
    pub history: History,
}

impl Generation {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Served> {
        self.pools
            .iter()
            .find(|served| served.pool.settings.name == name)
    }
}
