;; Calls of typed references (call_ref) that lie in globals.
(module
  (type $op (func (param i64) (result i64)))
  (elem declare func $a $b)
  (global $one (mut (ref $op)) (ref.func $a))
  (global $two (mut (ref $op)) (ref.func $b))
  (func $a (type $op) (i64.add (local.get 0) (i64.const 3)))
  (func $b (type $op) (i64.mul (local.get 0) (i64.const 5)))
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (loop $next
      (local.set $x (call_ref $op (local.get $x) (global.get $one)))
      (local.set $x (call_ref $op (local.get $x) (global.get $two)))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
