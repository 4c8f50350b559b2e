//! What a plugin may ask the proxy for. Using one makes the plugin import it.
//!
//! Natively, in tests, there is no proxy: every answer is empty.

#[cfg(target_arch = "wasm32")]
use crate::glue::proxy;
#[cfg(not(target_arch = "wasm32"))]
use native as proxy;

/// The proxy's log.
pub mod log {
    use crate::Level;

    /// Writes a line; rate-limited, cut at 1 KiB.
    pub fn write(level: Level, message: &str) {
        super::proxy::log::write(level, message);
    }
}

/// The request that is being picked for. Outside `pick` every text is empty.
pub mod inbound {
    use super::proxy::inbound as proxy;

    /// `GET`, `POST` ...
    pub fn method() -> String {
        proxy::method()
    }

    /// The path, with the query.
    pub fn path() -> String {
        proxy::path()
    }

    /// The host the client asked for, with the port where it gave one.
    pub fn authority() -> String {
        proxy::authority()
    }

    /// The client's IP address.
    pub fn client_address() -> String {
        proxy::client_address()
    }

    /// The first header of this name.
    pub fn header(name: &str) -> Option<String> {
        proxy::header(name)
    }

    /// A number (below 2^53) that comes back with the request's outcome.
    pub fn tag(value: u64) {
        proxy::tag(value);
    }
}

/// What does not change while a backend is in the pool, by
/// [`Backend::id`](crate::Backend::id); `None` for one that is not.
pub mod members {
    use super::proxy::members as proxy;

    /// What the operator calls it.
    pub fn name(id: u32) -> Option<String> {
        proxy::name(id)
    }

    /// Where it is.
    pub fn address(id: u32) -> Option<String> {
        proxy::address(id)
    }

    /// Its zone's name.
    pub fn zone(id: u32) -> Option<String> {
        proxy::zone(id)
    }

    /// What the operator wrote under `labels`.
    pub fn label(id: u32, key: &str) -> Option<String> {
        proxy::label(id, key)
    }
}

/// 1024 counters shared by the plugin's instances on all workers; they outlive
/// a swap.
pub mod shared {
    use super::proxy::shared as proxy;

    /// Adds to a counter and returns the new value.
    pub fn add(slot: u32, delta: i64) -> i64 {
        proxy::add(slot, delta)
    }

    /// The counter's value.
    pub fn load(slot: u32) -> i64 {
        proxy::load(slot)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    pub mod log {
        pub fn write(_: crate::Level, _: &str) {}
    }

    pub mod inbound {
        pub fn method() -> String {
            String::new()
        }
        pub fn path() -> String {
            String::new()
        }
        pub fn authority() -> String {
            String::new()
        }
        pub fn client_address() -> String {
            String::new()
        }
        pub fn header(_: &str) -> Option<String> {
            None
        }
        pub fn tag(_: u64) {}
    }

    pub mod members {
        pub fn name(_: u32) -> Option<String> {
            None
        }
        pub fn address(_: u32) -> Option<String> {
            None
        }
        pub fn zone(_: u32) -> Option<String> {
            None
        }
        pub fn label(_: u32, _: &str) -> Option<String> {
            None
        }
    }

    pub mod shared {
        pub fn add(_: u32, _: i64) -> i64 {
            0
        }
        pub fn load(_: u32) -> i64 {
            0
        }
    }
}
