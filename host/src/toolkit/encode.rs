//! What a compiler leaves to a component of the contract.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, whole.
pub const WIT: &str = include_str!("../../../wit/lb.wit");

/// WASI preview 1 with nothing behind it, from `adapter/null.wat`: what a language's
/// runtime needs to begin, and no clock, file or randomness.
const NULL_ADAPTER: &[u8] = include_bytes!("adapter/null.wasm");
const PREVIEW_1: &str = "wasi_snapshot_preview1";

const PACKAGE: &str = "anubis:lb/";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The component of what a compiler made: of a core module, whether or not it carries
/// its component type already; a component is taken as it is.
///
/// # Errors
/// Where the module does not fit the contract; says in words why.
pub fn component(compiled: &[u8]) -> Result<Vec<u8>> {
    if !compiled.starts_with(MODULE) {
        return Ok(compiled.to_vec());
    }
    let module = typed(compiled)?;
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.adapter(PREVIEW_1, NULL_ADAPTER))
        .map(|encoder| encoder.realloc_via_memory_grow(true).validate(true))
        .and_then(|mut encoder| encoder.encode())
        .context("what was compiled does not fit the contract")
}

/// The module with its component type: the one that its bindings left in it, or else
/// that of the smallest world which has its exports.
fn typed(module: &[u8]) -> Result<Cow<'_, [u8]>> {
    let bare = without_debug_sections(module)?;
    let (carried, _) = wit_component::metadata::decode(&bare).context("not a valid module")?;
    if carried.is_some() {
        return Ok(Cow::Owned(bare));
    }
    let mut bare = bare;
    let mut resolve = Resolve::default();
    resolve.push_str("lb.wit", WIT).context("the contract")?;
    let exports = exported_interfaces(&bare)?;
    let package = resolve
        .push_str("plugin.wit", &world(&exports))
        .with_context(|| {
            let exports: Vec<&str> = exports.iter().map(String::as_str).collect();
            format!("not all of the contract: it exports {}", exports.join(", "))
        })?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    embed_component_metadata(&mut bare, &resolve, world, StringEncoding::UTF8)?;
    Ok(Cow::Owned(bare))
}

/// Interfaces of the contract that the module exports functions of: what stands in
/// front of the `#` in the canonical ABI's names.
fn exported_interfaces(module: &[u8]) -> Result<BTreeSet<String>> {
    let mut interfaces = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload? else {
            continue;
        };
        for export in exports {
            let name = export?.name;
            if let Some((interface, _)) = name.split_once('#')
                && interface.starts_with(PACKAGE)
            {
                interfaces.insert(interface.to_owned());
            }
        }
    }
    ensure!(
        !interfaces.is_empty(),
        "what was compiled exports no function of {PACKAGE}strategy or {PACKAGE}planner: a \
         strategy exports `{PACKAGE}strategy@0.1.0#pick`"
    );
    Ok(interfaces)
}

fn world(exports: &BTreeSet<String>) -> String {
    let mut text = String::from(
        "package anubis:plugin;\nworld plugin {\n  include anubis:lb/imports@0.1.0;\n",
    );
    for interface in exports {
        text.push_str(&format!("  export {interface};\n"));
    }
    text.push_str("}\n");
    text
}

/// The module without what only a debugger reads. The names of functions stay: they
/// are what a trap's backtrace is made of.
fn without_debug_sections(module: &[u8]) -> Result<Vec<u8>> {
    let mut kept = module.get(..MODULE.len()).unwrap_or_default().to_vec();
    let mut rest = module.get(MODULE.len()..).unwrap_or_default();
    while !rest.is_empty() {
        let section = Section::first(rest)?;
        if !section.is_for_debuggers() {
            kept.extend_from_slice(section.whole);
        }
        rest = &rest[section.whole.len()..];
    }
    Ok(kept)
}

/// One section of a module (WebAssembly core specification, section 5.5.2).
struct Section<'a> {
    whole: &'a [u8],
    id: u8,
    contents: &'a [u8],
}

impl<'a> Section<'a> {
    fn first(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = wasmparser::BinaryReader::new(bytes, 0);
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        let begin = reader.original_position();
        let Some(contents) = bytes.get(begin..begin + size) else {
            bail!("a section ends behind the module's end");
        };
        Ok(Self {
            whole: &bytes[..begin + size],
            id,
            contents,
        })
    }

    fn is_for_debuggers(&self) -> bool {
        const CUSTOM: u8 = 0;
        let name = || wasmparser::BinaryReader::new(self.contents, 0).read_string();
        self.id == CUSTOM
            && name().is_ok_and(|name| {
                name.starts_with(".debug_")
                    || ["sourceMappingURL", "external_debug_info"].contains(&name)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A strategy by hand that always answers the first.
    const FIRST: &str = r#"(module
        (memory (export "memory") 1)
        (global $free (mut i32) (i32.const 16))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (i32.add (i32.const 16) (i32.const 0)))
        (func $pick (export "anubis:lb/strategy@0.1.0#pick")
            (param i64 i64 i64 i64 i32 i32 i32 i32) (result i32) (i32.const 0))
        (@custom ".debug_info" "for debuggers")
        (@custom "producers" "\00"))"#;

    fn module(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    fn has(bytes: &[u8], text: &str) -> bool {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    #[test]
    fn the_adapter_is_what_its_source_says() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/toolkit/adapter/null.wat");
        assert_eq!(wat::parse_file(source).unwrap(), NULL_ADAPTER);
    }

    #[test]
    fn a_bare_module_becomes_a_component_of_what_it_exports() {
        let component = component(&module(FIRST)).unwrap();
        assert!(!component.starts_with(MODULE));
        assert!(has(&component, "anubis:lb/strategy@0.1.0"));
        assert!(!has(&component, "anubis:lb/config"));
        assert!(!has(&component, "anubis:lb/log"));
    }

    #[test]
    fn what_debuggers_read_is_dropped_and_names_stay() {
        let bare = without_debug_sections(&module(FIRST)).unwrap();
        assert!(!has(&bare, ".debug_info"));
        assert!(has(&bare, "producers"));
        assert!(has(&bare, "name"));
        assert!(Section::first(&[0, 200, 1, 2]).is_err());
    }

    #[test]
    fn wasi_is_answered_by_nothing() {
        let text = FIRST.replace(
            "(memory (export",
            r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
               (memory (export"#,
        );
        let component = component(&module(&text)).unwrap();
        assert!(!has(&component, "wasi:"));
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        let nothing = component(&module("(module)")).unwrap_err();
        assert!(
            nothing.to_string().contains("exports no function"),
            "{nothing}"
        );
        let unknown = FIRST.replace("/strategy@", "/strategies@");
        let unknown = component(&module(&unknown)).unwrap_err();
        assert!(format!("{unknown:#}").contains("strategies"), "{unknown:#}");
        let other = FIRST.replace("(param i64 i64 i64 i64 i32", "(param i64 i64 i64 i32");
        let other = component(&module(&other)).unwrap_err();
        assert!(format!("{other:#}").contains("pick"), "{other:#}");
    }
}
