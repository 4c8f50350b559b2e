;; Picks the first backend, and calls an import when its answer has been taken.
(component
  (type $types-interface (instance
    (type $backend (record
      (field "id" u32) (field "weight" u32) (field "capacity" u32) (field "priority" u32)
      (field "zone" u32) (field "in-flight" u32) (field "latency-us" u32)
      (field "failures" u32) (field "utilization" u32) (field "state" u32)))
    (export "backend" (type (eq $backend)))
    (type $request (record
      (field "key" u64) (field "random" u64) (field "sequence" u64) (field "now-us" u64)
      (field "generation" u32) (field "attempt" u32)))
    (export "request" (type (eq $request)))
    (type $refusal (variant (case "fallback") (case "wait") (case "reject" u16)))
    (export "refusal" (type (eq $refusal)))))
  (import "anubis:lb/types@0.1.0" (instance $types (type $types-interface)))
  (alias export $types "backend" (type $backend))
  (alias export $types "request" (type $request))
  (alias export $types "refusal" (type $refusal))
  (import "anubis:lb/shared@0.1.0" (instance $shared
    (export "add" (func (param "slot" u32) (param "delta" s64) (result s64)))
    (export "load" (func (param "slot" u32) (result s64)))))
  (core module $memory
    (memory (export "memory") 16)
    (global $next (mut i32) (i32.const 65536))
    ;; The list of backends, which is all that is aligned to 4, comes first in
    ;; every pick: at 64 KiB. Texts follow behind it.
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      (if (i32.eq (local.get $align) (i32.const 4)) (then (global.set $next (i32.const 65536))))
      (global.get $next)
      (global.set $next (i32.and
        (i32.add (i32.add (global.get $next) (local.get $size)) (i32.const 7)) (i32.const -8)))))
  (core instance $mem (instantiate $memory))
  (core func $add (canon lower (func $shared "add")))
  (core module $code
    (import "mem" "memory" (memory 16))
    (import "shared" "add" (func $add (param i32 i64) (result i64)))
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (i32.store8 (i32.const 16) (i32.const 0)) ;; ok
      (i32.store (i32.const 20) (i32.const 0))
      (i32.const 16))
    (func (export "after") (param $answer i32)
      (drop (call $add (i32.const 0) (i64.const 1))))
  )
  (core instance $main (instantiate $code (with "mem" (instance $mem))
    (with "shared" (instance (export "add" (func $add))))))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $main "pick")
      (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))
      (post-return (core func $main "after"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy))
)
