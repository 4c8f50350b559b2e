;; Plans that everything goes to the last backend, and takes a page of memory each time.
(component
  (type $types-interface (instance
    (type $backend (record
      (field "id" u32) (field "weight" u32) (field "capacity" u32) (field "priority" u32)
      (field "zone" u32) (field "in-flight" u32) (field "latency-us" u32)
      (field "failures" u32) (field "utilization" u32) (field "state" u32)))
    (export "backend" (type (eq $backend)))
    (type $routing (variant
      (case "weights" (list u32)) (case "two-choices" (list u32))
      (case "table" (list u32)) (case "order" (list u32))))
    (export "routing" (type (eq $routing)))))
  (import "anubis:lb/types@0.1.0" (instance $types (type $types-interface)))
  (alias export $types "backend" (type $backend))
  (alias export $types "routing" (type $routing))
  (core module $code
    (memory (export "memory") 2)
    ;; Whatever is passed in lies at 64 KiB; there is one list per call.
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      (if (i32.gt_u (i32.add (local.get $size) (i32.const 65536)) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.shr_u (local.get $size) (i32.const 16))))))
      (i32.const 65536))
    (func (export "plan") (param $rows i32) (param $count i32) (result i32)
      (drop (memory.grow (i32.const 1)))
      (i32.store (i32.const 64) (i32.sub (local.get $count) (i32.const 1)))
      (i32.store8 (i32.const 32) (i32.const 3)) ;; order
      (i32.store (i32.const 36) (i32.const 64))
      (i32.store (i32.const 40) (i32.const 1))
      (i32.const 32))
  )
  (core instance $main (instantiate $code))
  (func $plan (param "backends" (list $backend)) (result $routing)
    (canon lift (core func $main "plan")
      (memory (core memory $main "memory")) (realloc (core func $main "realloc"))))
  (instance $planner (export "plan" (func $plan)))
  (export "anubis:lb/planner@0.1.0" (instance $planner))
)
