//! What is known of a plugin before it runs, for people and for tools.

use super::binary::{Binary, Digest};
use super::bindings::{PACKAGE, VERSION};
use super::component::Plugin;
use super::engine::Engine;
use super::scan::{Found, scan};
use super::translate::recognise;

/// A look at a plugin, whether or not the proxy would take it.
pub struct Report {
    /// SHA-256 of the bytes: its version.
    pub digest: Digest,
    /// Bytes of the file.
    pub size: usize,
    /// What is in it; `None` when it cannot even be read.
    pub found: Option<Found>,
    /// What it is to the proxy, or in words why it is refused.
    pub verdict: Result<Role, String>,
}

/// What a plugin is to the proxy.
pub struct Role {
    /// What it exports: `simple`, `configured`, `learning` or `planned`.
    pub shape: &'static str,
    /// The contract that it was held against, such as `anubis:lb@0.1.0`.
    pub contract: String,
    /// Everything that it exports, by full name.
    pub exports: Vec<String>,
    /// Interfaces of the contract that it imports: what it may do besides
    /// computing.
    pub imports: Vec<String>,
}

impl Report {
    /// Looks at `binary`, and compiles it to know whether it fits.
    pub fn of(engine: &Engine, binary: &Binary) -> Self {
        let bytes = binary.bytes();
        Self {
            digest: binary.digest(),
            size: bytes.len(),
            found: recognise(bytes).and_then(|()| scan(bytes)).ok(),
            verdict: Plugin::compile(engine, bytes)
                .map(|plugin| Role::of(&plugin))
                .map_err(|error| format!("{error:#}")),
        }
    }
}

impl Role {
    fn of(plugin: &Plugin) -> Self {
        Self {
            shape: plugin.shape(),
            contract: format!("{PACKAGE}@{VERSION}"),
            exports: plugin.exported(),
            imports: plugin.imports().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::guests::{engine, wasm};

    fn report(bytes: Vec<u8>) -> Report {
        Report::of(engine(), &Binary::new("guest", bytes))
    }

    #[test]
    fn a_plugin_is_described() {
        for (guest, shape, imports) in [
            ("always-first", "simple", &[][..]),
            ("configure-refuses", "configured", &[]),
            ("reads-header", "simple", &["inbound"]),
            ("learns", "learning", &[]),
            ("planner-last", "planned", &[]),
        ] {
            let bytes = wasm(guest);
            let report = report(bytes.clone());
            assert_eq!(
                (report.digest, report.size),
                (Digest::of(&bytes), bytes.len())
            );
            assert!(report.found.unwrap().functions > 0);
            let role = report
                .verdict
                .unwrap_or_else(|why| panic!("{guest}: {why}"));
            assert_eq!(role.shape, shape, "{guest}");
            assert_eq!(role.contract, "anubis:lb@0.1.0");
            assert!(!role.exports.is_empty());
            assert_eq!(role.imports, imports, "{guest}");
        }
    }

    #[test]
    fn what_is_refused_is_described_as_far_as_it_can_be_read() {
        let report = report(wasm("wasi-import"));
        assert!(report.found.is_some());
        assert!(
            report
                .verdict
                .err()
                .unwrap()
                .contains("wasi:cli/environment")
        );
        let nothing = self::report(b"nonsense".to_vec());
        assert!(nothing.found.is_none());
        assert!(nothing.verdict.err().unwrap().contains("not WebAssembly"));
    }
}
