//! Configuration files for tests with one pool; others are written out.

use crate::backend::Backend;

/// A configuration with one listener on a port the system chooses and one
/// pool, `web`. Everything not given is the proxy's default.
#[derive(Clone, Debug, Default)]
pub struct Config {
    global: String,
    listener: String,
    pool: String,
    backends: String,
}

impl Config {
    /// A pool with this strategy: a shipped name, a path, or `fallback`.
    pub fn strategy(strategy: &str) -> Self {
        Self::default().pool(&format!("strategy = {strategy:?}"))
    }

    /// Smooth weighted round robin over backends of equal weight.
    pub fn balanced<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Self {
        backends
            .into_iter()
            .fold(Self::strategy("round-robin"), |config, backend| {
                config.backend(backend, "")
            })
    }

    /// Adds lines at the top, such as `workers = 2`.
    pub fn global(mut self, lines: &str) -> Self {
        add(&mut self.global, lines);
        self
    }

    /// Adds lines to the listener.
    pub fn listener(mut self, lines: &str) -> Self {
        add(&mut self.listener, lines);
        self
    }

    /// Adds lines to the pool.
    pub fn pool(mut self, lines: &str) -> Self {
        add(&mut self.pool, lines);
        self
    }

    /// Adds a backend, with lines such as `weight = 5`.
    pub fn backend(mut self, backend: &Backend, lines: &str) -> Self {
        let entry = format!(
            "[[pools.web.backends]]\nname = {:?}\naddress = \"{backend}\"",
            backend.name()
        );
        add(&mut self.backends, &entry);
        add(&mut self.backends, lines);
        self
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            global,
            listener,
            pool,
            backends,
        } = self;
        write!(
            f,
            "{global}[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
             [pools.web]\n{pool}\n{backends}"
        )
    }
}

fn add(text: &mut String, lines: &str) {
    text.push_str(lines);
    text.push('\n');
}
