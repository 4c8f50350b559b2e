;; Leaves its mark all over its memory and its table, and then traps.
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
  (core module $code
    (memory (export "memory") 8)
    (table 64 funcref)
    (elem declare func $mark)
    (func $mark)
    ;; Whatever is passed in lies at 64 KiB; there is one list per call.
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      (if (i32.gt_u (i32.add (local.get $size) (i32.const 65536)) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.shr_u (local.get $size) (i32.const 16))))))
      (i32.const 65536))
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (local $at i32)
      (local.set $at (i32.const 131072))
      (loop $more
        (i64.store (local.get $at) (i64.const 0xca4a47ca4a47))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $more (i32.lt_u (local.get $at) (i32.const 524288))))
      (table.fill (i32.const 0) (ref.func $mark) (i32.const 64))
      unreachable
      (i32.const 16))
  )
  (core instance $main (instantiate $code))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $main "pick")
      (memory (core memory $main "memory")) (realloc (core func $main "realloc"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy))
)
