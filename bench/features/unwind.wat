;; Exceptions that pass through many calls, with handlers on the way that do not match.
(module
  (tag $deep (param i64))
  (tag $other)
  (func $down (param $depth i32) (param $x i64)
    (if (i32.eqz (local.get $depth)) (then (throw $deep (local.get $x))))
    (if (i32.and (local.get $depth) (i32.const 15))
      (then (call $down (i32.sub (local.get $depth) (i32.const 1)) (i64.add (local.get $x) (i64.const 1))))
      (else
        (block $not_this
          (try_table (catch $other $not_this)
            (call $down (i32.sub (local.get $depth) (i32.const 1)) (local.get $x)))))))
  (func (export "run") (param $times i32) (result i64) (local $sum i64)
    (loop $next
      (block $caught (result i64)
        (try_table (catch $deep $caught)
          (call $down (i32.const 200) (i64.extend_i32_u (local.get $times))))
        (i64.const 0))
      (local.set $sum (i64.add (local.get $sum)))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum)))
