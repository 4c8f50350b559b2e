//! The shipped strategies: components embedded in the binary, by name.
//!
//! `build.rs` lists the `.wasm` files of `plugins/components`, or of the
//! directory named by `ANUBIS_COMPONENTS_DIR` at build time (tests of freshly
//! built components).

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The component of a shipped strategy.
pub fn bytes(name: &str) -> Option<&'static [u8]> {
    SHIPPED
        .iter()
        .find(|(shipped, ..)| *shipped == name)
        .map(|(_, bytes, _)| *bytes)
}

/// The `plugin.toml` of a shipped strategy, empty when it has none.
pub fn manifest(name: &str) -> Option<&'static str> {
    SHIPPED
        .iter()
        .find(|(shipped, ..)| *shipped == name)
        .map(|(.., manifest)| *manifest)
}

/// Whether `component` is one of the shipped ones, byte for byte.
pub(super) fn holds(component: &[u8]) -> bool {
    SHIPPED.iter().any(|(_, bytes, _)| *bytes == component)
}

/// The names of all shipped strategies, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, ..)| *name)
}
