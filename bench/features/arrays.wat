;; Arrays: filled with numbers, sorted, copied; many short ones besides.
(module
  (type $ints (array (mut i32)))
  (type $bytes (array (mut i8)))
  (func $fill (param $a (ref $ints)) (local $i i32) (local $x i32)
    (local.set $x (i32.const 12345))
    (loop $next
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1103515245)) (i32.const 12345)))
      (array.set $ints (local.get $a) (local.get $i) (i32.shr_u (local.get $x) (i32.const 8)))
      (br_if $next
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
          (array.len (local.get $a))))))
  ;; Shell's sort.
  (func $sort (param $a (ref $ints)) (local $gap i32) (local $i i32) (local $j i32) (local $x i32)
    (local.set $gap (i32.shr_u (array.len (local.get $a)) (i32.const 1)))
    (loop $gaps
      (local.set $i (local.get $gap))
      (loop $next
        (local.set $x (array.get $ints (local.get $a) (local.get $i)))
        (local.set $j (local.get $i))
        (block $found
          (loop $down
            (br_if $found (i32.lt_u (local.get $j) (local.get $gap)))
            (br_if $found
              (i32.le_u
                (array.get $ints (local.get $a) (i32.sub (local.get $j) (local.get $gap)))
                (local.get $x)))
            (array.set $ints (local.get $a) (local.get $j)
              (array.get $ints (local.get $a) (i32.sub (local.get $j) (local.get $gap))))
            (local.set $j (i32.sub (local.get $j) (local.get $gap)))
            (br $down)))
        (array.set $ints (local.get $a) (local.get $j) (local.get $x))
        (br_if $next
          (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
            (array.len (local.get $a)))))
      (br_if $gaps (local.tee $gap (i32.shr_u (local.get $gap) (i32.const 1))))))
  ;; Short arrays that nobody keeps.
  (func $short (param $count i32) (result i64) (local $sum i64)
    (loop $next
      (local.set $sum
        (i64.add (local.get $sum)
          (i64.extend_i32_u
            (array.get_u $bytes
              (array.new $bytes (local.get $count) (i32.add (i32.const 1) (i32.and (local.get $count) (i32.const 63))))
              (i32.and (local.get $count) (i32.const 63))))))
      (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
    (local.get $sum))
  (func (export "run") (param $length i32) (result i64)
    (local $a (ref $ints)) (local $b (ref $ints)) (local $i i32) (local $hash i64)
    (local.set $a (array.new_default $ints (local.get $length)))
    (local.set $b (array.new_default $ints (local.get $length)))
    (call $fill (local.get $a))
    (array.copy $ints $ints (local.get $b) (i32.const 0) (local.get $a) (i32.const 0) (local.get $length))
    (call $sort (local.get $b))
    (loop $next
      (local.set $hash
        (i64.add (i64.mul (local.get $hash) (i64.const 31))
          (i64.extend_i32_u (array.get $ints (local.get $b) (local.get $i)))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $length))))
    (i64.add (local.get $hash) (call $short (i32.shl (local.get $length) (i32.const 1))))))
