;; A list of shapes of three types, told apart by casts.
(module
  (rec
    (type $shape (sub (struct (field $next (ref null $shape)))))
    (type $square (sub $shape (struct (field $next (ref null $shape)) (field $side i32))))
    (type $box (sub final $shape (struct (field $next (ref null $shape)) (field $a i32) (field $b i32)))))
  (func $make (param $count i32) (result (ref null $shape)) (local $head (ref null $shape))
    (loop $next
      (local.set $head
        (if (result (ref $shape)) (i32.and (local.get $count) (i32.const 1))
          (then (struct.new $square (local.get $head) (local.get $count)))
          (else
            (if (result (ref $shape)) (i32.and (local.get $count) (i32.const 2))
              (then (struct.new $box (local.get $head) (local.get $count) (i32.const 3)))
              (else (struct.new $shape (local.get $head)))))))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
    (local.get $head))
  (func $area (param $shape (ref $shape)) (result i32) (local $square (ref $square))
    (block $box (result (ref $box))
      (block $square (result (ref $square))
        (br_on_cast $square (ref $shape) (ref $square) (local.get $shape))
        (br_on_cast $box (ref $shape) (ref $box))
        (drop)
        (return (i32.const 1)))
      (local.tee $square)
      (struct.get $square $side)
      (struct.get $square $side (local.get $square))
      (return (i32.mul)))
    (return (struct.get $box $b)))
  (func (export "run") (param $rounds i32) (result i64)
    (local $head (ref null $shape)) (local $at (ref null $shape)) (local $sum i64)
    (local.set $head (call $make (i32.const 1000)))
    (loop $round
      (local.set $at (local.get $head))
      (loop $next
        (local.set $sum
          (i64.add (local.get $sum)
            (i64.extend_i32_u (call $area (ref.as_non_null (local.get $at))))))
        (br_if $next
          (i32.eqz (ref.is_null
            (local.tee $at (struct.get $shape $next (local.get $at)))))))
      (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
    (local.get $sum)))
