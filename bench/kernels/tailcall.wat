;; Even or odd, told by two functions that end in a call of each other (return_call), n steps down, and a third
;; reached through a table (return_call_indirect). The stack must not grow.
(module
  (type $step (func (param i32 i64) (result i64)))
  (table 2 funcref)
  (elem (i32.const 0) $even $odd)
  (func $even (type $step)
    (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
    (return_call $odd
      (i32.sub (local.get 0) (i32.const 1))
      (i64.add (i64.mul (local.get 1) (i64.const 31)) (i64.const 1))))
  (func $odd (type $step)
    (if (i32.eqz (local.get 0)) (then (return (i64.xor (local.get 1) (i64.const -1)))))
    (return_call_indirect (type $step)
      (i32.sub (local.get 0) (i32.const 1))
      (i64.xor (local.get 1) (i64.extend_i32_u (local.get 0)))
      (i32.and (i32.wrap_i64 (i64.shr_u (local.get 1) (i64.const 17))) (i32.const 1))))
  (func (export "run") (param i32) (result i64)
    (return_call $even (local.get 0) (i64.const 1))))
