;; A list that is kept: `build` makes it, `sum` walks over it, `run` does both.
(module
  (type $node (struct (field $value i32) (field $next (ref null $node))))
  (global $head (mut (ref null $node)) (ref.null $node))
  (func $build (export "build") (param $nodes i32)
    (global.set $head (ref.null $node))
    (loop $next
      (global.set $head (struct.new $node (local.get $nodes) (global.get $head)))
      (br_if $next (local.tee $nodes (i32.sub (local.get $nodes) (i32.const 1))))))
  (func $sum (export "sum") (result i64) (local $sum i64) (local $at (ref null $node))
    (local.set $at (global.get $head))
    (block $end
      (loop $next
        (br_if $end (ref.is_null (local.get $at)))
        (local.set $sum
          (i64.add (local.get $sum) (i64.extend_i32_u (struct.get $node $value (local.get $at)))))
        (local.set $at (struct.get $node $next (local.get $at)))
        (br $next)))
    (local.get $sum))
  (func (export "run") (param $nodes i32) (result i64)
    (call $build (local.get $nodes))
    (call $sum)))
