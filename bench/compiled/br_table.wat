;; A switch of sixteen arms in an order that is hard to foresee.
(module
  (func (export "run") (param $n i32) (result i64) (local $x i64) (local $r i32)
    (local.set $r (i32.const 12345))
    (loop $next
      (local.set $r (i32.add (i32.mul (local.get $r) (i32.const 1664525)) (i32.const 1013904223)))
      (block $done
        (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
          (br_table $0 $1 $2 $3 $4 $5 $6 $7 $1 $3 $5 $7 $0 $2 $4 $6
            (i32.shr_u (local.get $r) (i32.const 28))))
          (local.set $x (i64.add (local.get $x) (i64.const 1)))
          (br $done))
          (local.set $x (i64.mul (local.get $x) (i64.const 3)))
          (br $done))
          (local.set $x (i64.xor (local.get $x) (i64.extend_i32_u (local.get $r))))
          (br $done))
          (local.set $x (i64.rotl (local.get $x) (i64.const 11)))
          (br $done))
          (local.set $x (i64.sub (local.get $x) (i64.const 77)))
          (br $done))
          (local.set $x (i64.or (local.get $x) (i64.const 1)))
          (br $done))
          (local.set $x (i64.shr_u (local.get $x) (i64.const 1)))
          (br $done))
        (local.set $x (i64.add (local.get $x) (local.get $x))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
