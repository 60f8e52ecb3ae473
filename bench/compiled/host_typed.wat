;; Calls of a host function that is a closure of known types.
(module
  (import "host" "typed" (func $host (param i64 i64) (result i64)))
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (loop $next
      (local.set $x (call $host (local.get $x) (i64.extend_i32_u (local.get $n))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
