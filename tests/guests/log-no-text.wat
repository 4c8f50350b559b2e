;; Writes a log line that is not UTF-8, and picks the first backend.
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
  (type $log-interface (instance
    (type $level (enum "trace" "debug" "info" "warn" "error"))
    (export "level" (type $l (eq $level)))
    (export "write" (func (param "level" $l) (param "message" string)))))
  (import "anubis:lb/log@0.1.0" (instance $log (type $log-interface)))
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
  (core func $write (canon lower (func $log "write") (memory (core memory $mem "memory"))))
  (core module $code
    (import "mem" "memory" (memory 16))
    (import "log" "write" (func $write (param i32 i32 i32)))
    (data (i32.const 64) "ab\ff\fec")
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (call $write (i32.const 2) (i32.const 64) (i32.const 5))

      (i32.store8 (i32.const 16) (i32.const 0)) ;; ok
      (i32.store (i32.const 20) (i32.const 0))
      (i32.const 16))
  )
  (core instance $main (instantiate $code (with "mem" (instance $mem))
    (with "log" (instance (export "write" (func $write))))))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $main "pick")
      (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy))
)
