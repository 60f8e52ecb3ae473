;; Atomic operators on a shared memory, by one thread.
(module
  (memory 1 1 shared)
  (func (export "run") (param $times i32) (result i64) (local $old i64)
    (loop $next
      (drop (i32.atomic.rmw.add (i32.const 0) (local.get $times)))
      (drop (i64.atomic.rmw.xor (i32.const 8) (i64.extend_i32_u (local.get $times))))
      (local.set $old (i64.atomic.load (i32.const 16)))
      (drop
        (i64.atomic.rmw.cmpxchg (i32.const 16) (local.get $old)
          (i64.add (local.get $old) (i64.const 3))))
      (i32.atomic.store8 (i32.const 24) (local.get $times))
      (drop (i32.atomic.rmw16.xchg_u (i32.const 26) (local.get $times)))
      (atomic.fence)
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (i64.add (i64.atomic.load (i32.const 16))
      (i64.xor (i64.atomic.load (i32.const 8)) (i64.atomic.load (i32.const 0))))))
