;; Picks the first backend, except when the header `x-fault` of the request asks for a
;; fault by its first letter: (t)rap, (l)oop, (i)ndex out of range, (m)emory,
;; (r)ecursion, (d)iscriminant, (s)tatus that refuses nothing. It passes its rehearsal.
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
  (import "anubis:lb/inbound@0.1.0" (instance $inbound
    (export "header" (func (param "name" string) (result (option string))))
    (export "path" (func (result string)))
    (export "tag" (func (param "value" u64)))))
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
  (core func $header (canon lower (func $inbound "header")
    (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (core func $tag (canon lower (func $inbound "tag")))
  (core module $code
    (import "mem" "memory" (memory 16))
    (import "inbound" "header" (func $header (param i32 i32 i32)))
    (import "inbound" "tag" (func $tag (param i64)))
    (data (i32.const 64) "x-fault")
    (func $deeper (param $depth i64) (result i64)
      (i64.add (call $deeper (i64.add (local.get $depth) (i64.const 1))) (local.get $depth)))
    (func (export "pick")
      (param $key i64) (param $random i64) (param $sequence i64) (param $now i64)
      (param $generation i32) (param $attempt i32) (param $rows i32) (param $count i32)
      (result i32)
      (local $letter i32)
      (call $header (i32.const 64) (i32.const 7) (i32.const 32))
      (if (i32.load8_u (i32.const 32))
        (then (local.set $letter (i32.load8_u (i32.load (i32.const 36))))))
      (if (i32.eq (local.get $letter) (i32.const 0x74)) ;; t
        (then unreachable))
      (if (i32.eq (local.get $letter) (i32.const 0x6c)) ;; l
        (then (loop $forever (br $forever))))
      (if (i32.eq (local.get $letter) (i32.const 0x6d)) ;; m
        (then
          (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
          unreachable))
      (if (i32.eq (local.get $letter) (i32.const 0x72)) ;; r
        (then (drop (call $deeper (i64.const 1)))))
      (if (i32.eq (local.get $letter) (i32.const 0x73)) ;; s
        (then
          (i32.store8 (i32.const 16) (i32.const 1)) ;; error
          (i32.store8 (i32.const 20) (i32.const 2)) ;; reject
          (i32.store16 (i32.const 22) (i32.const 200))
          (return (i32.const 16))))
      (if (i32.eq (local.get $letter) (i32.const 0x64)) ;; d
        (then
          (i32.store8 (i32.const 16) (i32.const 9)) ;; no such case
          (return (i32.const 16))))
      (i32.store8 (i32.const 16) (i32.const 0)) ;; ok
      (i32.store (i32.const 20)
        (select (local.get $count) (i32.const 0) (i32.eq (local.get $letter) (i32.const 0x69)))) ;; i
      (i32.const 16))
  )
  (core instance $main (instantiate $code (with "mem" (instance $mem))
    (with "inbound" (instance (export "header" (func $header)) (export "tag" (func $tag))))))
  (func $pick
    (param "request" $request) (param "backends" (list $backend))
    (result (result u32 (error $refusal)))
    (canon lift (core func $main "pick")
      (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
  (instance $strategy (export "pick" (func $pick)))
  (export "anubis:lb/strategy@0.1.0" (instance $strategy))
)
