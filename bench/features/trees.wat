;; Binary trees: many small objects that die young, and one tree that stays.
(module
  (type $tree (struct (field $left (ref null $tree)) (field $right (ref null $tree))))
  (global $kept (mut (ref null $tree)) (ref.null $tree))
  (func $make (param $depth i32) (result (ref $tree))
    (if (result (ref $tree)) (local.get $depth)
      (then
        (struct.new $tree
          (call $make (i32.sub (local.get $depth) (i32.const 1)))
          (call $make (i32.sub (local.get $depth) (i32.const 1)))))
      (else (struct.new_default $tree))))
  (func $count (param $tree (ref null $tree)) (result i64)
    (if (result i64) (ref.is_null (local.get $tree))
      (then (i64.const 0))
      (else
        (i64.add (i64.const 1)
          (i64.add
            (call $count (struct.get $tree $left (local.get $tree)))
            (call $count (struct.get $tree $right (local.get $tree))))))))
  ;; As many trees of depth 12 as asked for, beside one of depth 14.
  (func (export "run") (param $trees i32) (result i64) (local $sum i64)
    (global.set $kept (call $make (i32.const 14)))
    (loop $next
      (local.set $sum (i64.add (local.get $sum) (call $count (call $make (i32.const 12)))))
      (br_if $next (local.tee $trees (i32.sub (local.get $trees) (i32.const 1)))))
    (i64.add (local.get $sum) (call $count (global.get $kept)))))
