//! Plugins as text: no toolchain needed.

use std::path::Path;

use wasm_encoder::{
    CodeSection, Encode as _, Function, FunctionSection, Module, TypeSection, ValType,
};

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

/// A strategy that always answers with this index, or with 0 where the list
/// is shorter.
pub fn always(index: u32) -> Vec<u8> {
    let there = format!("(i32.lt_u (i32.const {index}) (local.get $count))");
    strategy(&format!(
        "(select (i32.const {index}) (i32.const 0) {there})"
    ))
}

/// A strategy that passes its rehearsal with index 0 and runs `body` when a
/// request is real: a rehearsal's clock ticks with its sequence.
pub fn live(body: &str) -> Vec<u8> {
    strategy(&format!(
        "(if (result i32) (i64.eq (local.get $now) (i64.mul (local.get $sequence) (i64.const 1000)))
           (then (i32.const 0)) (else {body}))"
    ))
}

/// A strategy of the world `simple` whose `pick` answers with the index that
/// `body`, WebAssembly text, leaves. It can read `$random`, `$sequence`,
/// `$now` (microseconds), `$backends` (the list's address) and `$count`.
///
/// # Panics
/// When `body` is not WebAssembly text.
pub fn strategy(body: &str) -> Vec<u8> {
    wat::parse_str(COMPONENT.replace("BODY", body)).unwrap_or_else(|error| panic!("guest: {error}"))
}

/// What a strategy's `body` leaves to have the request wait.
pub const WAIT: &str =
    "(block (result i32) (i32.store (i32.const 16) (i32.const 1)) (i32.const 1))";

/// What a strategy's `body` leaves to refuse the request with this status.
pub fn reject(status: u16) -> String {
    // The case in the first byte, its status in the third and fourth.
    let case = 2 + (u32::from(status) << 16);
    format!("(block (result i32) (i32.store (i32.const 16) (i32.const 1)) (i32.const {case}))")
}

/// A component within every limit on what a plugin may hold whose compilation
/// takes many seconds all the same.
pub fn slow_to_compile() -> Vec<u8> {
    code(8, 900 << 10)
}

/// A component with a function of about so many bytes.
pub fn code_in_one_function(bytes: usize) -> Vec<u8> {
    code(1, bytes)
}

/// A component of 600 KB whose types are nested so deeply that reading them by
/// recursion overflows any stack.
pub fn deeply_nested_types() -> Vec<u8> {
    let mut types = b"\x01".to_vec();
    types.extend(b"\x42\x01\x01".repeat(200_000));
    types.extend(b"\x42\x00");
    component(7, &types)
}

fn code(functions: u32, bytes: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I64], [ValType::I64]);
    let mut declared = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    let mut instructions = body.instructions();
    instructions.local_get(0);
    // Eight bytes a round.
    for _ in 0..bytes / 8 {
        instructions
            .local_get(0)
            .i64_const(7)
            .i64_rotl()
            .local_tee(0)
            .i64_xor();
    }
    instructions.end();
    for _ in 0..functions {
        declared.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&code);
    component(1, &module.finish())
}

/// A component with one section.
fn component(id: u8, content: &[u8]) -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    component.push(id);
    content.encode(&mut component);
    component
}

const COMPONENT: &str = r#"
(component
  (core module $code
    (memory (export "memory") 16)
    ;; Nothing outlives a call, so every list lies at the same place.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func $pick (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $backends i32) (param $count i32)
      (result i32)
      ;; result<u32, refusal> at address 16: the tag of ok, then the index.
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) BODY)
      (i32.const 16)))
  (core instance $code (instantiate $code))
  (type $types (instance
    (type $backend (record
      (field "id" u32) (field "weight" u32) (field "capacity" u32) (field "priority" u32)
      (field "zone" u32) (field "in-flight" u32) (field "latency-us" u32) (field "failures" u32)
      (field "utilization" u32) (field "state" u32)))
    (export "backend" (type (eq $backend)))
    (type $request (record
      (field "key" u64) (field "random" u64) (field "sequence" u64) (field "now-us" u64)
      (field "generation" u32) (field "attempt" u32)))
    (export "request" (type (eq $request)))
    (type $refusal (variant (case "fallback") (case "wait") (case "reject" u16)))
    (export "refusal" (type (eq $refusal)))))
  (import "anubis:lb/types@0.1.0" (instance $types (type $types)))
  (alias export $types "backend" (type $backend))
  (alias export $types "request" (type $request))
  (alias export $types "refusal" (type $refusal))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $code "pick") (memory $code "memory") (realloc (func $code "realloc"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy)))
"#;

#[cfg(test)]
mod tests {
    #[test]
    fn the_text_is_a_component() {
        let rejects = super::strategy(&super::reject(429));
        let waits = super::live(super::WAIT);
        for guest in [super::always(1), super::live("unreachable"), rejects, waits] {
            assert!(guest.starts_with(b"\0asm"));
        }
    }
}
