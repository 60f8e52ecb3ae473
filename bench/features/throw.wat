;; Exceptions that are caught where they are thrown, and one call further out.
(module
  (tag $value (param i32))
  (func $odd (param $n i32)
    (if (i32.and (local.get $n) (i32.const 1)) (then (throw $value (local.get $n)))))
  (func (export "run") (param $times i32) (result i64) (local $sum i64)
    (loop $next
      (block $done
        (block $caught (result i32)
          (try_table (catch $value $caught)
            (call $odd (local.get $times))
            (throw $value (i32.const 7)))
          (br $done))
        (i64.extend_i32_u)
        (local.set $sum (i64.add (local.get $sum))))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum)))
