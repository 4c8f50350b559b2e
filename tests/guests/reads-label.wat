;; Picks the first backend that has a label `version`, else has no opinion.
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
  (import "anubis:lb/members@0.1.0" (instance $members
    (export "label" (func (param "id" u32) (param "key" string) (result (option string))))))
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
  (core func $label (canon lower (func $members "label")
    (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (core module $code
    (import "mem" "memory" (memory 16))
    (import "members" "label" (func $label (param i32 i32 i32 i32)))
    (data (i32.const 64) "version")
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (local $index i32)
      (loop $next
        (call $label
          (i32.load (i32.add (local.get $rows) (i32.mul (local.get $index) (i32.const 40))))
          (i32.const 64) (i32.const 7) (i32.const 32))
        (if (i32.load8_u (i32.const 32))
          (then
            (i32.store8 (i32.const 16) (i32.const 0)) ;; ok
            (i32.store (i32.const 20) (local.get $index))
            (return (i32.const 16))))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $index) (local.get $count))))

      (i32.store8 (i32.const 16) (i32.const 1)) ;; error
      (i32.store8 (i32.const 20) (i32.const 0)) ;; fallback
      (i32.const 16))
  )
  (core instance $main (instantiate $code (with "mem" (instance $mem))
    (with "members" (instance (export "label" (func $label))))))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $main "pick")
      (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy))
)
