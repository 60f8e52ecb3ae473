;; Sizes of memories and tables, and tables as arrays.
(module
  (memory 3)
  (table $t 64 funcref)
  (func $f)
  (elem declare func $f)
  (func (export "run") (param $n i32) (result i64) (local $x i64) (local $i i32)
    (loop $next
      (local.set $i (i32.and (local.get $n) (i32.const 63)))
      (table.set $t (local.get $i) (select (result funcref) (ref.func $f) (ref.null func) (i32.and (local.get $n) (i32.const 64))))
      (local.set $x (i64.add (local.get $x) (i64.extend_i32_u
        (i32.add (memory.size)
          (i32.add (table.size $t)
            (ref.is_null (table.get $t (i32.xor (local.get $i) (i32.const 5)))))))))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x)))
