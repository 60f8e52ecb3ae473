;; A stack in memory whose pointer is a global, as compilers keep it: calls, globals, memory.
(module
  (memory 1)
  (global $sp (mut i32) (i32.const 65536))
  (func $sum (param $n i32) (result i64) (local $frame i32) (local $x i64)
    (global.set $sp (local.tee $frame (i32.sub (global.get $sp) (i32.const 16))))
    (i64.store (local.get $frame) (i64.extend_i32_u (local.get $n)))
    (if (local.get $n)
      (then (local.set $x (call $sum (i32.sub (local.get $n) (i32.const 1))))))
    (local.set $x (i64.add (local.get $x) (i64.load (local.get $frame))))
    (global.set $sp (i32.add (local.get $frame) (i32.const 16)))
    (local.get $x))
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (loop $next
      (local.set $x (i64.xor (local.get $x) (call $sum (i32.and (local.get $n) (i32.const 127)))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
