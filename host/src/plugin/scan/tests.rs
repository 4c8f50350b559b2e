use proptest::prelude::*;
use wasm_encoder::{
    BlockType, CodeSection, DataSection, ElementSection, Elements, Encode as _, ExportKind,
    ExportSection, Function, FunctionSection, InstructionSink, Module, Section, TypeSection,
    ValType,
};

use super::*;
use crate::plugin::{guests, shipped};

/// A module with these functions, all without parameters and results.
fn module(bodies: &[Function]) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for body in bodies {
        functions.function(0);
        code.function(body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module.finish()
}

fn body(locals: u32, fill: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut function = Function::new([(locals, ValType::I32)]);
    fill(&mut function.instructions());
    function.instructions().end();
    function
}

/// A module with this section alone.
fn only(section: &impl Section) -> Vec<u8> {
    let mut module = Module::new();
    module.section(section);
    module.finish()
}

/// A component with one section whose content is `data`.
fn component(id: u8, data: &[u8]) -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    component.push(id);
    data.encode(&mut component);
    component
}

/// Instance types nested in one another, in a component.
fn nested_types(levels: usize) -> Vec<u8> {
    let mut types = b"\x01".to_vec();
    types.extend(b"\x42\x01\x01".repeat(levels));
    types.extend(b"\x42\x00");
    component(7, &types)
}

fn nested_components(levels: usize) -> Vec<u8> {
    let innermost = component(0, b"\x01x");
    (1..levels).fold(innermost, |inner, _| component(4, &inner))
}

fn refusal(bytes: &[u8]) -> String {
    match scan(bytes) {
        Ok(found) => panic!("it was let through: {found:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn every_bomb_in_a_function_is_refused_with_its_numbers() {
    let large = body(0, |code| {
        for _ in 0..5 << 20 {
            code.nop();
        }
    });
    let deep = body(0, |code| {
        for _ in 0..10_000 {
            code.block(BlockType::Empty);
        }
        for _ in 0..10_000 {
            code.end();
        }
    });
    let table = body(0, |code| {
        code.i32_const(0).br_table(vec![0; 100_000], 0);
    });
    for (function, says) in [
        (large, "bytes of code in one function, at most 1048576"),
        (body(50_000, |_| ()), "50000 locals in one function"),
        (deep, "2001 nested blocks in one function"),
        (table, "100000 targets of one br_table"),
    ] {
        let why = refusal(&module(&[function]));
        assert!(why.contains(says), "{says}: {why}");
    }
}

#[test]
fn every_bomb_in_numbers_is_refused_with_them() {
    let mut segments = DataSection::new();
    let mut exports = ExportSection::new();
    let mut elements = ElementSection::new();
    let mut types = TypeSection::new();
    for number in 0..100_001 {
        segments.passive([]);
        exports.export(&number.to_string(), ExportKind::Func, 0);
        elements.passive(Elements::Functions([0].as_slice().into()));
        types.ty().function([], []);
    }
    let mut many = Vec::new();
    1_000_000u32.encode(&mut many);
    for (bytes, says) in [
        (module(&vec![body(0, |_| ()); 100_000]), "100000 functions"),
        (only(&segments), "100001 data segments"),
        (only(&exports), "100001 exports"),
        (only(&elements), "100001 element segments"),
        (only(&types), "100001 types"),
        (component(2, &many), "1000000 instances"),
        (component(5, &many), "1000000 instances"),
        (component(10, &many), "1000000 imports"),
        (component(8, &many), "1000000 lifted and lowered functions"),
        (component(6, &many), "1000000 aliases"),
        (
            component(7, &[0; 2 << 20]),
            "2097152 bytes of component types",
        ),
        (component(0, &[0; 50 << 20]), "bytes of custom sections"),
        (nested_components(9), "9 levels of modules and components"),
    ] {
        let why = refusal(&bytes);
        assert!(why.contains(says), "{says}: {why}");
    }
}

/// What reads types recurses, so that this ends a process that lets it through.
#[test]
fn deeply_nested_types_are_refused() {
    for levels in [1_000, 100_000, 300_000] {
        let why = refusal(&nested_types(levels));
        assert!(why.contains("levels of component types"), "{why}");
    }
    // The count of the section, 1, looks like one more level.
    assert!(scan(&nested_types(999)).is_ok());
}

/// The type of its world, which a lone module carries, is read like a component.
#[test]
fn deeply_nested_types_are_refused_in_a_module_too() {
    let world = nested_types(2_000);
    let custom = wasm_encoder::CustomSection {
        name: "component-type:x".into(),
        data: world.into(),
    };
    let why = refusal(&only(&custom));
    assert!(why.contains("levels of component types"), "{why}");
}

#[test]
fn as_much_as_is_let_through_is_compiled_without_harm() {
    let engine = guests::engine();
    for levels in [10, 999] {
        let refused = crate::plugin::Plugin::compile(engine, &nested_types(levels));
        assert!(refused.is_err(), "it exports nothing");
    }
    let deep = body(0, |code| {
        for _ in 0..1_999 {
            code.block(BlockType::Empty);
        }
        for _ in 0..1_999 {
            code.end();
        }
    });
    let wide = body(4_999, |code| {
        code.i32_const(0).br_table(vec![0; 20_000], 0);
    });
    let nested = component(1, &module(&[deep, wide]));
    let why = crate::plugin::Plugin::compile(engine, &nested)
        .err()
        .unwrap();
    assert!(why.to_string().contains("exports neither"), "{why:#}");
}

#[test]
fn what_is_shipped_is_let_through_and_known() {
    for name in shipped::names() {
        let found = scan(shipped::bytes(name).unwrap()).unwrap();
        assert!(
            found.functions > 0 && found.code > 0 && found.memory > 0,
            "{name}"
        );
        let generator = "wit-bindgen-rust 0.61.1".to_owned();
        assert!(found.producers.contains(&generator), "{name}: {found:?}");
    }
}

#[test]
fn every_prefix_of_a_component_is_read_without_harm() {
    let whole = guests::wasm("counts");
    for length in 0..whole.len() {
        let _ = scan(&whole[..length]);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes: Vec<u8>, component: bool) {
        let header: &[u8] = if component { b"\0asm\x0d\0\x01\0" } else { b"\0asm\x01\0\0\0" };
        let _ = scan(&[header, &bytes].concat());
    }

    #[test]
    fn any_damage_is_read_without_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = shipped::bytes("round-robin").unwrap().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = scan(&bytes);
    }
}
