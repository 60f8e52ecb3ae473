//! Small functions whose bodies stand in their callers' machine code do what calls of them do: results, traps and
//! where they are said to be, backtraces, and fuel at every amount of it. The interpreter is the judge.

use palisade::{Config, Engine, Instance, Module, Store, Strategy, Tuning, Val};

/// A configuration with a name, where machine code checks itself.
fn config(
    strategy: Strategy,
    fuel: bool,
    change: impl FnOnce(&mut Config) -> &mut Config,
) -> Engine {
    let mut config = Config::new();
    config.strategy(strategy).consume_fuel(fuel).paranoid(true);
    change(&mut config);
    Engine::new(&config).expect("an engine")
}

fn judge(fuel: bool) -> Engine {
    config(Strategy::Interpreter, fuel, |c| c)
}

/// Machine code in all its forms.
fn machines(fuel: bool) -> Vec<(&'static str, Engine)> {
    let early = Tuning { threshold: 1, wait: true, ..Tuning::default() };
    vec![
        ("guarded", config(Strategy::Compiled, fuel, |c| c)),
        ("explicit", config(Strategy::Compiled, fuel, |c| c.memory_guard_size(0))),
        (
            "unmasked",
            config(Strategy::Compiled, fuel, |c| c.memory_guard_size(0).index_masking(false)),
        ),
        ("without", config(Strategy::Compiled, fuel, |c| c.inlining(false))),
        ("tiered", config(Strategy::Auto, fuel, |c| c.tuning(early))),
        ("old", config(Strategy::Compiled, fuel, |c| c.baseline_cpu(true))),
    ]
}

/// What a call gives, or its trap with the functions and offsets of its backtrace; then what is left of the fuel, and
/// the results of `state`, if there is such an export.
fn outcome(engine: &Engine, module: &Module, name: &str, args: &[Val], fuel: u64) -> (String, u64) {
    let metered = engine.config().metered();
    let mut store = Store::new(engine, ());
    if metered {
        store.set_fuel(1 << 40).expect("metered");
    }
    let instance = Instance::new(&mut store, module, &[]).expect("an instance");
    let mut call = |name: &str, args: &[Val], fuel: u64| {
        if metered {
            store.set_fuel(fuel).expect("metered");
        }
        let func = instance.get_func(&store, name)?;
        let count = func.ty(&store).expect("its type").results().len();
        let mut results = vec![Val::I32(0); count];
        let said = match func.call(&mut store, args, &mut results) {
            Ok(()) => format!("{results:?}"),
            Err(error) => {
                let frames = error.backtrace().expect("a trap has a backtrace").frames();
                let frame = |f: &palisade::FrameInfo| (f.func_index(), f.module_offset());
                let frames: Vec<_> = frames.iter().map(frame).collect();
                format!("{:?} {frames:x?}", error.trap_code().expect("a trap"))
            }
        };
        let left = if metered { store.get_fuel().expect("metered") } else { 0 };
        Some((said, left))
    };
    let (said, left) = call(name, args, fuel).expect("the export");
    let state = call("state", &[], 1 << 40).map(|(state, _)| state);
    (format!("{said} state {state:?}"), left)
}

/// Compares all forms of machine code with the interpreter: without fuel, and with every amount of it up to what is
/// needed.
fn same(text: &str, name: &str, args: &[Val]) {
    let engine = judge(false);
    let module = Module::new(&engine, text).expect("a module");
    let (expected, _) = outcome(&engine, &module, name, args, 0);
    for (machine, engine) in machines(false) {
        let module = Module::new(&engine, text).expect("a module");
        let (found, _) = outcome(&engine, &module, name, args, 0);
        assert_eq!(found, expected, "{machine}: {name} {args:?}");
    }
    let engine = judge(true);
    let module = Module::new(&engine, text).expect("a module");
    let much = 100_000;
    let (_, left) = outcome(&engine, &module, name, args, much);
    let total = much - left;
    let amounts = || (0..=total + 1).step_by((total as usize / 300).max(1));
    let expected: Vec<_> =
        amounts().map(|fuel| outcome(&engine, &module, name, args, fuel)).collect();
    assert!(expected.iter().any(|(said, _)| said.starts_with("OutOfFuel")), "{name} is free");
    for (machine, engine) in machines(true) {
        let module = Module::new(&engine, text).expect("a module");
        for (fuel, expected) in amounts().zip(&expected) {
            let found = outcome(&engine, &module, name, args, fuel);
            assert_eq!(found, *expected, "{machine} with {fuel}: {name} {args:?}");
        }
    }
}

/// Compares for each of these arguments.
fn for_each(text: &str, name: &str, args: &[i32]) {
    for &arg in args {
        same(text, name, &[Val::I32(arg)]);
    }
}

#[test]
fn traps_are_in_the_body_and_its_caller_is_where_it_calls() {
    let text = r#"(module
      (memory (export "memory") 1 1)
      (table $t 3 funcref)
      (global $seen (mut i32) (i32.const 0))
      (func $stop unreachable)
      (func $note (param i32) (global.set $seen (local.get 0)))
      (func $div (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
      (func $load (param i32) (result i32) (i32.load offset=4 (local.get 0)))
      (func $sum (param i32 i32) (result i32) (i32.add (i32.load (local.get 0)) (local.get 1)))
      (func $both (param i32 i32) (result i32)
        (i32.add (i32.load (local.get 0)) (i32.load offset=65528 (local.get 1))))
      (func $store (param i32 i32) (i32.store16 offset=2 (local.get 0) (local.get 1)))
      (func $far (param i32) (result i64) (i64.load offset=0xfffffff0 (local.get 0)))
      (func $trunc (param f32) (result i32) (i32.trunc_f32_s (local.get 0)))
      (func $elem (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
      (func $fill (param i32) (memory.fill (local.get 0) (i32.const 1) (local.get 0)))
      (func $fixed (param i32) (memory.fill (local.get 0) (i32.const 1) (i32.const 32)))
      (func $null (param funcref) (result i32) (ref.is_null (ref.as_non_null (local.get 0))))
      (func $grow (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "state") (result i32) (global.get $seen))
      (func $one (param $which i32) (result i32)
        (block $b9 (block $b8 (block $b7 (block $b6 (block $b5 (block $b4 (block $b3 (block $b2 (block $b1 (block $b0
          (br_table $b0 $b1 $b2 $b3 $b4 $b5 $b6 $b7 $b8 $b9 (local.get $which)))
          (call $note (i32.const 10))
          (call $stop)
          (call $note (i32.const 11))
          (return (i32.const 5)))
          (return (call $div (i32.const 1) (i32.sub (local.get $which) (i32.const 1)))))
          (return (call $div (i32.const 0x80000000) (i32.sub (local.get $which) (i32.const 3)))))
          (return (i32.add (call $load (i32.const 0)) (call $load (i32.const 65529)))))
          (return (call $sum (i32.const 65533) (local.get $which))))
          (return (call $both (i32.const 8) (i32.mul (local.get $which) (i32.const 1)))))
          (call $store (i32.const 65531) (i32.const 3))
          (call $note (i32.const 6))
          (call $store (i32.const 65533) (i32.const 3)))
          (drop (call $far (local.get $which))))
          (return (call $trunc (f32.const nan))))
        (i32.add (call $elem (i32.const 2)) (call $elem (local.get $which))))
      (func (export "one") (param i32) (result i32) (call $one (local.get 0)))
      (func (export "two") (param $which i32) (result i32)
        (block $b4 (block $b3 (block $b2 (block $b1 (block $b0
          (br_table $b0 $b1 $b2 $b3 $b4 (local.get $which)))
          (call $fill (i32.const 100))
          (call $fill (i32.const 32769))
          (return (i32.const 1)))
          (call $fixed (i32.const 100))
          (call $fixed (i32.const 65505))
          (return (i32.const 1)))
          (return (call $null (ref.null func))))
          (return (i32.add (call $grow (i32.const 0)) (call $grow (i32.const 1)))))
        ;; A load before the call is where it is.
        (call $div (i32.load (i32.const 65532)) (i32.load (i32.const 65534))))
      (func (export "around") (param i32) (result i32)
        (i32.add (i32.load (i32.sub (i32.const 65536) (local.get 0)))
          (call $sum (i32.sub (i32.const 65540) (local.get 0)) (local.get 0))))
      (func (export "before") (param i32) (result i32)
        (call $sum (i32.const 0) (i32.load (i32.sub (i32.const 65536) (local.get 0)))))
      (func (export "behind") (param i32) (result i32)
        (i32.mul (call $load (i32.sub (i32.const 65536) (local.get 0))) (local.get 0))))"#;
    for_each(text, "one", &(0..10).collect::<Vec<_>>());
    for_each(text, "two", &[0, 1, 2, 3, 4]);
    for name in ["around", "before", "behind"] {
        for_each(text, name, &[0, 3, 4, 5, 7, 8, 12]);
    }
}

#[test]
fn values_of_every_kind_go_in_and_come_out() {
    let text = r#"(module
      (type $f (func (result i32)))
      (func $seven (result i32) (i32.const 7))
      (func $eight (result i32) (i32.const 8))
      (elem declare func $seven $eight)
      (table $t 2 funcref)
      (func $swap (param i32 i64 f32 f64) (result f64 f32 i64 i32)
        (local.get 3) (local.get 2) (local.get 1) (local.get 0))
      (func $vector (param v128 i32) (result v128 v128)
        (local $x v128)
        (i32x4.add (local.get 0) (local.get $x))
        (i32x4.splat (local.get 1)))
      (func $pick (param i32) (result (ref null $f))
        (if (result (ref null $f)) (local.get 0) (then (ref.func $seven)) (else (ref.func $eight))))
      (func $set (param i32 funcref) (result funcref) (local $old funcref)
        (local.set $old (table.get $t (local.get 0)))
        (table.set $t (local.get 0) (local.get 1))
        (local.get $old))
      (func $zeros (result i32 i64 f32 f64 v128 i32)
        (local i32 i64 f32 f64 v128 funcref)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
        (ref.is_null (local.get 5)))
      (func (export "numbers") (param i32) (result f64 f32 i64 i32 f64 f32 i64 i32)
        (call $swap (local.get 0) (i64.const 2) (f32.const 3.5) (f64.const 4.5))
        (call $swap (i32.const 9) (i64.extend_i32_s (local.get 0)) (f32.const -0) (f64.const inf)))
      (func (export "vectors") (param i32) (result i32 i32 i32)
        (local $a v128) (local $b v128)
        (call $vector (v128.const i32x4 1 2 3 4) (local.get 0))
        (local.set $b) (local.set $a)
        (call $vector (i32x4.add (local.get $a) (local.get $b)) (i32.const 1))
        (local.set $b) (local.set $a)
        (i32x4.extract_lane 3 (local.get $a))
        (i32x4.extract_lane 0 (local.get $a))
        (i32x4.extract_lane 2 (local.get $b)))
      (func (export "functions") (param i32) (result i32 i32 i32)
        (drop (call $set (i32.const 1) (call $pick (local.get 0))))
        (drop (call $set (i32.const 0) (call $set (i32.const 1) (call $pick (i32.eqz (local.get 0))))))
        (call_indirect (type $f) (i32.const 0))
        (call_indirect (type $f) (i32.const 1))
        (call_ref $f (call $pick (local.get 0))))
      (func (export "nothing") (param i32) (result i32)
        (local $n i32)
        ;; Locals begin at zero each time.
        (loop $l
          (call $zeros)
          (drop) (drop) (drop) (drop) (drop)
          (local.set $n (i32.add (local.get $n)))
          (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
          (br_if $l (i32.gt_s (local.get 0) (i32.const 0))))
        (local.get $n)))"#;
    for name in ["numbers", "vectors", "functions", "nothing"] {
        for_each(text, name, &[0, 1, 3]);
    }
}

#[test]
fn every_way_out_of_a_body_leads_behind_the_call() {
    let text = r#"(module
      (memory 1)
      (global $seen (mut i32) (i32.const 0))
      (func $note (param i32)
        (global.set $seen (i32.add (i32.mul (global.get $seen) (i32.const 10)) (local.get 0))))
      (func (export "state") (result i32) (global.get $seen))
      (func $abs (param i32) (result i32)
        (if (i32.lt_s (local.get 0) (i32.const 0))
          (then (return (i32.sub (i32.const 0) (local.get 0)))))
        (local.get 0))
      (func $label (param i32) (result i32)
        (i32.const 100)
        (br_if 0 (local.get 0))
        (drop)
        (block (result i32)
          (i32.const 200)
          (br_if 1 (i32.eqz (local.get 0)))
          (br 1)))
      (func $table (param i32) (result i32)
        (block $a (result i32)
          (block $b (result i32)
            (br_table $b $a 2 $b 2 (i32.const 55) (local.get 0)))
          (return (i32.add (i32.const 1))))
        (i32.add (i32.const 2)))
      (func $early (param i32)
        (global.set $seen (i32.const 1))
        (br_if 0 (i32.eq (local.get 0) (i32.const 1)))
        (global.set $seen (i32.const 2))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (return)) (else (nop)))
        (global.set $seen (i32.const 3))
        (return)
        (unreachable))
      (func $spare (param i32) (result i32 i32)
        ;; Values below the results go.
        (i64.const 1) (f32.const 2) (local.get 0) (i32.const 6)
        (br_if 0 (local.get 0))
        (return))
      (func $params (param i32 i32) (result i32)
        (local.get 0) (local.get 1)
        (if (param i32 i32) (result i32) (local.get 0)
          (then (i32.sub)) (else (drop) (drop) (i32.const 77))))
      (func $never (param i32) (result i32) (unreachable))
      (func $dead (param i32) (result i32)
        (return (i32.const 4))
        (block (drop (i32.add (unreachable) (i32.const 1))))
        (if (i32.const 1) (then (br 1 (i32.const 5))) (else (unreachable)))
        (i32.const 6))
      (func $empty)
      (func (export "run") (param i32) (result i32 i32 i32 i32 i32 i32 i32)
        (call $empty)
        (call $abs (i32.sub (local.get 0) (i32.const 2)))
        (call $note (call $label (local.get 0)))
        (call $table (local.get 0))
        (call $early (local.get 0))
        (call $spare (local.get 0))
        (call $params (local.get 0) (call $abs (i32.const -12)))
        (call $params (call $dead (i32.const 1)) (local.get 0))
        (block $b (result i32)
          (if (i32.eq (local.get 0) (i32.const 3)) (then (br $b (call $never (i32.const 1)))))
          (br_if $b (i32.const 1) (call $table (local.get 0)))
          (call $empty)))
      (func (export "dead") (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then
            (call $never (local.get 0))
            (call $note (i32.const 1))
            (block (param i32) (result i32) (call $abs))
            (call $empty))
          (else
            (call $note (i32.const 2))
            (call $table (i32.const 2)))))
      (func (export "looped") (param i32) (result i32)
        (local $i i32) (local $sum i32)
        (block $out
          (loop $again
            (call $note (local.get $i))
            (br_if $out (i32.gt_u (local.get $i) (i32.mul (local.get 0) (i32.const 9))))
            (local.set $sum (i32.add (local.get $sum)
              (i32.add (call $table (local.get $i)) (call $label (i32.and (local.get $i) (i32.const 1))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (call $early (local.get $i))
            (br $again)))
        (local.get $sum)))"#;
    for_each(text, "run", &[0, 1, 2, 3, 4, 9]);
    for_each(text, "dead", &[0, 1]);
    for_each(text, "looped", &[0, 1, 4]);
}

#[test]
fn what_is_around_a_body_catches_no_trap_of_it() {
    let text = r#"(module
      (tag $e (param i32))
      (global $seen (mut i32) (i32.const 0))
      (func (export "state") (result i32) (global.get $seen))
      (func $boom (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
      (func $note (param i32) (global.set $seen (i32.add (global.get $seen) (local.get 0))))
      (func $throws (param i32)
        (call $note (i32.const 1000))
        (if (i32.gt_s (call $boom (i32.const 3)) (i32.const 0)) (then (throw $e (local.get 0)))))
      (func $deep (param i32) (result i32)
        (if (i32.lt_s (local.get 0) (i32.const 3))
          (then (return (i32.add (call $boom (i32.const 7)) (call $deep (i32.add (local.get 0) (i32.const 1)))))))
        (call $throws (local.get 0))
        (call $boom (i32.const 1)))
      (func (export "run") (param i32) (result i32)
        (block $all
          (block $h (result i32)
            (try_table (result i32) (catch $e $h) (catch_all $all)
              (call $note (i32.const 1))
              (if (i32.eq (local.get 0) (i32.const 1)) (then (call $throws (i32.const 44))))
              (if (i32.eq (local.get 0) (i32.const 2)) (then (drop (call $deep (i32.const 0)))))
              (call $note (i32.const 10))
              (i32.add (call $boom (local.get 0)) (call $boom (i32.const 50)))))
          (call $note (i32.const 100))
          (return (i32.add (call $boom (i32.const 9)))))
        (i32.const -1)))"#;
    for_each(text, "run", &[0, 1, 2, 3]);
}

#[test]
fn references_of_the_caller_live_while_a_body_allocates() {
    let text = r#"(module
      (type $s (struct (field (mut i32))))
      (type $v (array (mut i32)))
      (global $g (mut (ref null $s)) (ref.null $s))
      (func $make (param i32) (result i32)
        (struct.get $s 0 (struct.new $s (local.get 0))))
      (func $keep (param i32) (global.set $g (struct.new $s (local.get 0))))
      (func $kept (result i32) (struct.get $s 0 (global.get $g)))
      (func $array (param i32) (result i32)
        (array.get $v (array.new $v (i32.const 6) (local.get 0)) (i32.const 2)))
      (func (export "run") (param i32) (result i32 i32 i32 i32 i32)
        (local $r (ref null $s)) (local $sum i32) (local $i i32)
        (local.set $r (struct.new $s (i32.const 5)))
        (struct.new $s (i32.const 6))
        (loop $l
          (local.set $sum (i32.add (local.get $sum) (call $make (local.get $i))))
          (call $keep (local.get $sum))
          (struct.set $s 0 (local.get $r) (i32.add (struct.get $s 0 (local.get $r)) (call $kept)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.lt_s (local.get $i) (local.get 0))))
        (struct.get $s 0)
        (struct.get $s 0 (local.get $r))
        (local.get $sum)
        (call $kept)
        (call $array (i32.mul (local.get 0) (i32.const 2)))))"#;
    for_each(text, "run", &[0, 1, 2, 9]);
    let (judge, text) = (judge(true), text.as_bytes());
    let stressed = config(Strategy::Compiled, true, |c| c.gc_stress(true));
    for arg in [1, 9] {
        let args = [Val::I32(arg)];
        let at = |engine: &Engine| {
            let module = Module::new(engine, text).expect("a module");
            outcome(engine, &module, "run", &args, 10_000)
        };
        assert_eq!(at(&stressed), at(&judge));
    }
}

#[test]
fn counted_calls_stay_calls() {
    let text = r#"(module
      (func $leaf (param i32) (result i32) (i32.div_u (i32.const 8) (local.get 0)))
      (func $down (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (call $down (i32.sub (local.get 0) (i32.const 1))))
          (else (i32.add (call $leaf (i32.const 1)) (call $leaf (i32.const 2))))))
      (func (export "run") (param i32) (result i32) (call $down (local.get 0))))"#;
    let counted = |strategy| config(strategy, false, |c| c.call_depth(Some(10)));
    let (judge, compiled) = (counted(Strategy::Interpreter), counted(Strategy::Compiled));
    for depth in 0..12 {
        let at = |engine: &Engine| {
            let module = Module::new(engine, text).expect("a module");
            outcome(engine, &module, "run", &[Val::I32(depth)], 0)
        };
        assert_eq!(at(&compiled), at(&judge), "{depth}");
    }
}

/// What the code generator makes of a load and what is done with its value, where nothing else is left of the block.
#[test]
fn a_load_that_is_all_of_a_body_faults_in_it() {
    let loads = [
        "(i64.extend_i32_u (i32.load8_u (local.get 0)))",
        "(i64.extend_i32_s (i32.load8_s (local.get 0)))",
        "(i64.extend_i32_u (i32.load16_u offset=3 (local.get 0)))",
        "(i64.extend_i32_s (i32.load (local.get 0)))",
        "(i64.extend_i32_u (i32.sub (i32.load (local.get 0)) (i32.const -5)))",
        "(i64.add (i64.load (local.get 0)) (i64.load (local.get 0)))",
        "(i64.and (i64.load (local.get 0)) (i64.const 255))",
        "(i64.sub (i64.load (local.get 0)) (i64.const 5))",
        "(i64.mul (i64.load (local.get 0)) (i64.const 8))",
        "(i64.extend_i32_u (i64.eqz (i64.load (local.get 0))))",
        "(i64.extend_i32_u (i32.wrap_i64 (i64.load (local.get 0))))",
        "(i64.extend_i32_u (i32.and (i32.wrap_i64 (i64.load (local.get 0))) (i32.const 0xffff)))",
        "(i64.xor (i64.load (local.get 0)) (i64.const -1))",
        "(i64.shl (i64.load (local.get 0)) (i64.const 1))",
        "(i64.extend8_s (i64.load8_u (local.get 0)))",
        "(i64.reinterpret_f64 (f64.load (local.get 0)))",
        "(i64.reinterpret_f64 (f64.promote_f32 (f32.load (local.get 0))))",
        "(i64x2.extract_lane 0 (v128.load (local.get 0)))",
        "(i64x2.extract_lane 1 (i64x2.splat (i64.load (local.get 0))))",
    ];
    for load in loads {
        let text = format!(
            r#"(module
              (memory 1)
              (func $load (param i32) (result i64) {load})
              (func (export "known") (param i32) (result i64)
                (i64.xor
                  (i64.load (i32.and (local.get 0) (i32.const 7)))
                  (call $load (i32.add (local.get 0) (i32.const 65529)))))
              (func (export "arm") (param i32) (result i64)
                (local $at i32)
                (local.set $at (i32.add (local.get 0) (i32.const 65529)))
                (i64.store (i32.and (local.get 0) (i32.const 7)) (i64.const 5))
                (if (result i64) (i32.and (local.get 0) (i32.const 1))
                  (then (call $load (local.get $at)))
                  (else (i64.add (i64.const 1) (call $load (local.get $at)))))))"#
        );
        for name in ["known", "arm"] {
            for_each(&text, name, &[-5, 0, 7, 8]);
        }
    }
}
