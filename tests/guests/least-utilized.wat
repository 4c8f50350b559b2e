;; Picks the backend that reports the smallest load; who reports none has a load of 0.
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
    (memory (export "memory") 2)
    ;; Whatever is passed in lies at 64 KiB; there is one list per call.
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      (if (i32.gt_u (i32.add (local.get $size) (i32.const 65536)) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.shr_u (local.get $size) (i32.const 16))))))
      (i32.const 65536))
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (local $index i32) (local $load i32) (local $least i32)
      (local.set $least (i32.const -1))
      (i32.store8 (i32.const 16) (i32.const 0)) ;; ok
      (loop $next
        ;; `utilization`, 32 bytes into a row of 40.
        (local.set $load (i32.load offset=32
          (i32.add (local.get $rows) (i32.mul (local.get $index) (i32.const 40)))))
        (if (i32.lt_u (local.get $load) (local.get $least))
          (then
            (local.set $least (local.get $load))
            (i32.store (i32.const 20) (local.get $index))))
        (br_if $next (i32.lt_u
          (local.tee $index (i32.add (local.get $index) (i32.const 1)))
          (local.get $count))))
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
