//! Core modules to components, and what a component asks of the proxy.

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::plugin::Plugin;

/// The contract's package.
const PACKAGE: &str = "anubis:lb/";

/// A component and its world.
#[derive(Debug)]
pub struct Component {
    /// The binary.
    pub bytes: Vec<u8>,
    /// What it asks of the proxy; `types`, which holds no function, left out.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// Turns a core module that carries its component type into a component.
///
/// # Errors
///
/// Where it is not valid, or imports what the plugin may not.
pub fn encode(plugin: &Plugin, core: &[u8]) -> Result<Component> {
    let context = || format!("plugin {}", plugin.name);
    let encoder = ComponentEncoder::default()
        .module(core)
        .with_context(context)?;
    let bytes = encoder.validate(true).encode().with_context(context)?;
    let (imports, exports) = world(&bytes).with_context(context)?;
    let types = format!("{PACKAGE}types");
    let imports: Vec<String> = imports
        .into_iter()
        .filter(|import| without_version(import) != types)
        .collect();
    for import in &imports {
        let interface = without_version(import).strip_prefix(PACKAGE);
        let is_allowed = |name: &str| plugin.imports.iter().any(|allowed| allowed == name);
        if !interface.is_some_and(is_allowed) {
            bail!(
                "plugin {} imports {import}, which its Cargo.toml does not allow",
                plugin.name
            );
        }
    }
    Ok(Component {
        bytes,
        imports,
        exports,
    })
}

/// The names of a component's imports and exports, in alphabetical order: their
/// own order is the linker's.
fn world(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(bytes)? else {
        bail!("it is not a component");
    };
    let world = &resolve.worlds[world];
    let mut imports: Vec<String> = world
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    let mut exports: Vec<String> = world
        .exports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    imports.sort_unstable();
    exports.sort_unstable();
    Ok((imports, exports))
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}
