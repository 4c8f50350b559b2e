;; Takes a page of memory at every thousandth pick. Counts its picks in its own
;; memory, hands the number over, and counts them in a slot that instances share:
;; where the two differ (on one worker, an instance has lost its state), it refuses
;; the request with 503.
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
    (memory (export "memory") 2)
    ;; Whatever is passed in lies at 64 KiB; there is one list per call.
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      (if (i32.gt_u (i32.add (local.get $size) (i32.const 65536)) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.shr_u (local.get $size) (i32.const 16))))))
      (i32.const 65536)))
  (core instance $mem (instantiate $memory))
  (core func $add (canon lower (func $shared "add")))
  (core module $code
    (import "mem" "memory" (memory 2))
    (import "shared" "add" (func $add (param i32 i64) (result i64)))
    (global $picks (mut i64) (i64.const 0))
    (func (export "save") (result i32)
      (i64.store (i32.const 64) (global.get $picks))
      (i32.store (i32.const 32) (i32.const 64))
      (i32.store (i32.const 36) (i32.const 8))
      (i32.const 32))
    (func (export "restore") (param $saved i32) (param $length i32) (result i32)
      (if (i32.ne (local.get $length) (i32.const 8)) (then unreachable))
      (global.set $picks (i64.load (local.get $saved)))
      (i32.store8 (i32.const 32) (i32.const 0)) ;; ok
      (i32.const 32))
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (global.set $picks (i64.add (global.get $picks) (i64.const 1)))
      (if (i64.eqz (i64.rem_u (global.get $picks) (i64.const 1000)))
        (then (drop (memory.grow (i32.const 1)))))
      (if (i64.ne (call $add (i32.const 0) (i64.const 1)) (global.get $picks))
        (then
          (i32.store8 (i32.const 16) (i32.const 1)) ;; error
          (i32.store8 (i32.const 20) (i32.const 2)) ;; reject
          (i32.store16 (i32.const 22) (i32.const 503))
          (return (i32.const 16))))
      (i32.store8 (i32.const 16) (i32.const 0)) ;; ok
      (i32.store (i32.const 20) (i32.wrap_i64 (i64.rem_u (global.get $picks)
        (i64.extend_i32_u (local.get $count)))))
      (i32.const 16))
  )
  (core instance $main (instantiate $code (with "mem" (instance $mem))
    (with "shared" (instance (export "add" (func $add))))))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $main "pick")
      (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy))
  (func $save (result (list u8))
    (canon lift (core func $main "save") (memory (core memory $mem "memory"))))
  (func $restore (param "saved" (list u8)) (result (result (error string)))
    (canon lift (core func $main "restore")
      (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (instance $state (export "save" (func $save)) (export "restore" (func $restore)))
  (export "anubis:lb/state@0.1.0" (instance $state))
)
