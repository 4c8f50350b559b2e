//! The misbehaving plugins under `tests/guests`, compiled from text: no
//! toolchain needed.

use std::path::Path;

/// The component that `tests/guests/NAME.wat` describes.
///
/// # Panics
/// When there is no such guest or it does not parse.
pub fn wasm(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guests")
        .join(name)
        .with_extension("wat");
    wat::parse_file(&path).unwrap_or_else(|error| panic!("guest {name}: {error}"))
}
