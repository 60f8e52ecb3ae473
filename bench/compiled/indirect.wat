;; Calls through a table: one callee after the other, foreseeable, so that what a call costs shows.
(module
  (type $op (func (param i64) (result i64)))
  (table 4 4 funcref)
  (elem (i32.const 0) $a $b $c $d)
  (func $a (type $op) (i64.add (local.get 0) (i64.const 3)))
  (func $b (type $op) (i64.mul (local.get 0) (i64.const 5)))
  (func $c (type $op) (i64.xor (local.get 0) (i64.const 0x55)))
  (func $d (type $op) (i64.rotl (local.get 0) (i64.const 7)))
  (func (export "run") (param $n i32) (result i64) (local $x i64)
    (loop $next
      (local.set $x
        (call_indirect (type $op) (local.get $x) (i32.and (local.get $n) (i32.const 3))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
