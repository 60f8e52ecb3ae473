//! Functions that change their engine while they run: at calls and in the middle of loops. Each program is run by the
//! interpreter alone, compiled, and with every change made as early as it can be; the answers are those of the
//! first.

use palisade::{
    Config, Engine, Error, Linker, Module, Resource, Result, Store, Strategy, TrapCode, Tuning, Val,
};

/// A configuration in which everything begins in the interpreter, and goes on as machine code after so many entries
/// and turns.
fn tiering(threshold: u32) -> Config {
    let mut config = Config::new();
    let tuning = Tuning { threshold, wait: true, ..Tuning::default() };
    config.strategy(Strategy::Auto).tuning(tuning);
    config
}

fn with(strategy: Strategy) -> Config {
    let mut config = Config::new();
    config.strategy(strategy);
    config
}

/// Calls `name` and gives its results, as text, or its trap; and how much was compiled.
fn outcome(config: &Config, text: &str, name: &str, args: &[Val]) -> (String, u64) {
    let engine = Engine::new(config).expect("an engine");
    let module = Module::new(&engine, text).expect("a module");
    let mut store = Store::new(&engine, 0i64);
    let mut linker = Linker::new(&engine);
    let note = |mut caller: palisade::Caller<'_, i64>, x: i64| {
        *caller.data_mut() = caller.data().wrapping_mul(31) + x
    };
    linker.func_wrap("host", "note", note).expect("a function");
    linker
        .func_wrap("host", "fail", || -> Result<()> { Err(Error::msg("as wanted")) })
        .expect("a function");
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    let func = instance.get_func(&store, name).expect("the export");
    let count = func.ty(&store).expect("its type").results().len();
    let mut results = vec![Val::I32(0); count];
    let said = match func.call(&mut store, args, &mut results) {
        Ok(()) => format!("{results:?}"),
        Err(error) => {
            format!("{:?} {:#?}", error.trap_code(), error.backtrace().map(|b| b.to_string()))
        }
    };
    (format!("{said} host {}", store.data()), engine.compile_stats().compiled)
}

/// Compares all ways of running a program.
fn same(text: &str, name: &str, args: &[Val]) {
    let (expected, compiled) = outcome(&with(Strategy::Interpreter), text, name, args);
    assert_eq!(compiled, 0);
    assert_eq!(outcome(&with(Strategy::Compiled), text, name, args).0, expected, "compiled");
    for threshold in [1, 2, 3, 7, 20, 101] {
        let (found, compiled) = outcome(&tiering(threshold), text, name, args);
        assert_eq!(found, expected, "after {threshold}");
        assert!(threshold > 1 || compiled > 0, "nothing was compiled after {threshold}");
    }
}

/// Loops inside of blocks, with values of every kind below them and as their parameters.
const NESTED: &str = r#"(module
  (import "host" "note" (func $note (param i64)))
  (type $s (struct (field (mut i64))))
  (func (export "run") (param $n i32) (result i64 f64 i32)
    (local $i i32) (local $j i32) (local $k i32) (local $v v128) (local $r (ref null $s)) (local $sum i64)
    (local.set $r (struct.new $s (i64.const 5)))
    ;; What stands below all loops.
    (i64.const 1000000)
    (f64.const 0.5)
    (v128.const i32x4 1 2 3 4)
    (struct.new $s (i64.const 77))
    (block $out (param f64 v128 (ref $s)) (result f64 v128 (ref $s))
      (i32.const 3)
      (loop $a (param i32) (result)
        (local.set $k)
        (local.set $j (i32.const 0))
        (f32.const 1.5)
        (if (param f32) (result f32) (i32.lt_s (local.get $i) (local.get $n))
          (then
            (i64.const 7)
            (loop $b (param i64) (result i64)
              (i64.add (i64.extend_i32_s (i32.add (local.get $j) (local.get $k))))
              (call $note (i64.const 1))
              (local.set $v (i32x4.add (local.get $v) (v128.const i32x4 1 1 1 1)))
              (struct.set $s 0 (local.get $r)
                (i64.add (struct.get $s 0 (local.get $r)) (i64.extend_i32_s (local.get $j))))
              (local.set $j (i32.add (local.get $j) (i32.const 1)))
              (br_if $b (i32.lt_s (local.get $j) (i32.const 9))))
            (local.set $sum (i64.add (local.get $sum))))
          (else
            (f32.neg)))
        (drop)
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (i32.add (local.get $k) (local.get $j))
        (br_if $a (i32.lt_s (local.get $i) (i32.add (local.get $n) (i32.const 2))))
        (drop)))
    (local.set $r) (local.set $v (i32x4.add (local.get $v)))
    (local.set $sum (i64.add (local.get $sum) (struct.get $s 0 (local.get $r))))
    ;; f64 is on top of i64.
    (f64.add (f64.convert_i32_s (i32x4.extract_lane 2 (local.get $v))))
    (i32.wrap_i64 (local.get $sum))))"#;

#[test]
fn loops_with_values_of_every_kind_go_on_as_they_were() {
    for n in [0, 1, 2, 5, 30] {
        same(NESTED, "run", &[Val::I32(n)]);
    }
}

/// A loop inside of a `try_table` inside of a loop: what is thrown after the change is caught where it would have been.
const CATCHING: &str = r#"(module
  (import "host" "note" (func $note (param i64)))
  (tag $t (param i32 i64))
  (tag $u)
  (func $sometimes (param i32)
    (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 7)))
      (then (throw $t (local.get 0) (i64.const 3))))
    (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 11))) (then (throw $u))))
  (func (export "run") (param $n i32) (result i64)
    (local $i i32) (local $j i32) (local $sum i64) (local $e exnref)
    (loop $outer
      (i64.const 40)
      (block $h (result i32 i64)
        (block $all (result exnref)
          (i64.const 6)
          (try_table (param i64) (catch $t $h) (catch_all_ref $all)
            (local.set $j (i32.const 0))
            (loop $inner (param i64) (result i64)
              (i64.add (i64.const 1))
              (call $sometimes (i32.add (local.get $i) (local.get $j)))
              (call $note (i64.extend_i32_u (local.get $j)))
              (local.set $j (i32.add (local.get $j) (i32.const 1)))
              (br_if $inner (i32.lt_u (local.get $j) (i32.const 5))))
            (local.set $sum (i64.add (local.get $sum))))
          (i32.const 100) (i64.const 200) (br $h))
        (local.set $e)
        (i32.const 1000) (i64.const 2000))
      (local.set $sum (i64.add (local.get $sum)))
      (i64.extend_i32_u)
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 3))))
      (local.set $sum (i64.add (local.get $sum)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $outer (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $sum)))"#;

#[test]
fn what_is_thrown_in_a_loop_is_caught_around_it() {
    for n in [1, 7, 12, 40] {
        same(CATCHING, "run", &[Val::I32(n)]);
    }
}

/// Functions that call each other in every way, each of them hot at another time.
const CALLS: &str = r#"(module
  (import "host" "note" (func $note (param i64)))
  (import "host" "fail" (func $fail))
  (type $f (func (param i32 i64) (result i64)))
  (table funcref (elem $even $odd $leaf))
  (func $leaf (type $f) (i64.add (local.get 1) (i64.extend_i32_u (local.get 0))))
  (func $even (type $f)
    (if (result i64) (i32.eqz (local.get 0)) (then (local.get 1))
      (else (return_call $odd (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 1))))))
  (func $odd (type $f)
    (if (result i64) (i32.eqz (local.get 0)) (then (i64.mul (local.get 1) (i64.const -1)))
      (else (return_call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1))
        (i64.add (local.get 1) (i64.const 2)) (i32.const 0)))))
  (func $deep (param i32) (result i64)
    (call $note (i64.extend_i32_u (local.get 0)))
    (if (result i64) (i32.eqz (local.get 0)) (then (i64.const 1))
      (else (i64.add (call $deep (i32.sub (local.get 0) (i32.const 1)))
        (call_indirect (type $f) (local.get 0) (i64.const 4) (i32.and (local.get 0) (i32.const 1)))))))
  (elem declare func $leaf)
  (func (export "run") (param $n i32) (result i64)
    (local $i i32) (local $sum i64)
    (loop $l
      (local.set $sum (i64.add (local.get $sum) (call $deep (i32.and (local.get $i) (i32.const 15)))))
      (local.set $sum (i64.xor (local.get $sum)
        (call_ref $f (local.get $i) (local.get $sum) (ref.func $leaf))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $sum))
  (func (export "long") (param $n i32) (result i64) (call $even (local.get $n) (i64.const 0)))
  (func $stop (param i32) (if (i32.eqz (local.get 0)) (then (unreachable))) (call $stop (i32.sub (local.get 0) (i32.const 1))))
  (func (export "trap") (param $n i32) (local $i i32)
    (loop $l
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
    (call $stop (i32.const 5)))
  (func $host (param i32) (if (i32.eqz (local.get 0)) (then (call $fail))) (call $host (i32.sub (local.get 0) (i32.const 1))))
  (func (export "error") (param $n i32) (call $host (local.get $n))))"#;

#[test]
fn calls_of_every_kind_cross_between_engines() {
    for n in [2, 3, 17, 60] {
        same(CALLS, "run", &[Val::I32(n)]);
    }
}

#[test]
fn tail_calls_between_engines_take_no_stack() {
    same(CALLS, "long", &[Val::I32(1_000_001)]);
}

#[test]
fn t5_backtraces_of_mixed_stacks_are_those_of_the_interpreter() {
    same(CALLS, "trap", &[Val::I32(100)]);
    for n in [0, 1, 30] {
        same(CALLS, "error", &[Val::I32(n)]);
    }
}

#[test]
fn c9_fuel_is_the_same_wherever_the_engine_changes() {
    let run = |mut config: Config, text: &str, fuel: u64| {
        config.consume_fuel(true);
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::new(&engine, text).expect("a module");
        let mut store = Store::new(&engine, ());
        store.set_fuel(fuel).expect("metered");
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "note", |_: i64| ()).expect("a function");
        linker.func_wrap("host", "fail", || ()).expect("a function");
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let func = instance.get_func(&store, "run").expect("the export");
        let count = func.ty(&store).expect("its type").results().len();
        let mut results = vec![Val::I32(0); count];
        let error = func.call(&mut store, &[Val::I32(20)], &mut results).err();
        (
            error.and_then(|e| e.trap_code()),
            format!("{results:?}"),
            store.get_fuel().expect("metered"),
        )
    };
    for text in [NESTED, CATCHING, CALLS] {
        let (trap, _, left) = run(with(Strategy::Interpreter), text, 1_000_000);
        assert_eq!(trap, None);
        let used = 1_000_000 - left;
        for fuel in [1_000_000, used, used - 1, used / 2, used / 3, 10, 1] {
            let expected = run(with(Strategy::Interpreter), text, fuel);
            assert_eq!(run(with(Strategy::Compiled), text, fuel), expected, "compiled, {fuel}");
            for threshold in [1, 2, 5, 40] {
                assert_eq!(
                    run(tiering(threshold), text, fuel),
                    expected,
                    "after {threshold}, {fuel}"
                );
            }
            assert!(fuel >= used || expected.0 == Some(TrapCode::OutOfFuel));
        }
    }
}

/// With the threads that compile in the background: sooner or later the loop that runs goes on as machine code.
#[test]
fn a_running_loop_is_taken_over_in_the_background() {
    let mut config = Config::new();
    config.strategy(Strategy::Auto).tuning(Tuning { threshold: 50, ..Tuning::default() });
    let engine = Engine::new(&config).expect("an engine");
    let text = r#"(module
      (import "host" "done" (func $done (result i32)))
      (func (export "run") (result i64) (local $n i64)
        (loop $l
          (local.set $n (i64.add (local.get $n) (i64.const 1)))
          (br_if $l (i32.eqz (call $done))))
        (local.get $n)))"#;
    let module = Module::new(&engine, text).expect("a module");
    let mut store = Store::new(&engine, 0u64);
    let mut linker = Linker::new(&engine);
    let counting = engine.clone();
    // The function and its loop are compiled; some turns more let it be taken over.
    let done = move |mut caller: palisade::Caller<'_, u64>| {
        *caller.data_mut() += u64::from(counting.compile_stats().compiled >= 2);
        i32::from(*caller.data() > 10_000)
    };
    linker.func_wrap("host", "done", done).expect("a function");
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    let run = instance.get_typed_func::<(), i64>(&store, "run").expect("the export");
    assert!(run.call(&mut store, ()).expect("no trap") > 10_000);
    assert_eq!(engine.compile_stats().failed, 0);
}

#[test]
fn a_limit_on_calls_that_code_does_not_count_keeps_guests_interpreted() {
    let text = r#"(module (func $f (export "f") (param i32) (result i32)
      (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 7)))))"#;
    for config in [with(Strategy::Compiled), tiering(1)] {
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::new(&engine, text).expect("a module");
        let mut store = Store::new(&engine, ());
        store.set_call_depth_limit(Some(100));
        let instance = Linker::new(&engine).instantiate(&mut store, &module).expect("an instance");
        let f = instance.get_typed_func::<i32, i32>(&store, "f").expect("the export");
        assert_eq!(f.call(&mut store, 99).expect("deep enough"), 7);
        let error = f.call(&mut store, 100).expect_err("too deep");
        assert_eq!(error.trap_code(), Some(TrapCode::CallDepthExceeded));
        // Without a limit it is machine code, and with a new one interpreted again.
        store.set_call_depth_limit(None);
        assert_eq!(f.call(&mut store, 2_000).expect("deep enough"), 7);
        store.set_call_depth_limit(Some(50));
        assert_eq!(f.call(&mut store, 49).expect("deep enough"), 7);
        let error = f.call(&mut store, 50).expect_err("too deep");
        assert_eq!(error.trap_code(), Some(TrapCode::CallDepthExceeded));
    }
}

#[test]
fn x10_a_module_whose_functions_have_too_many_types_is_interpreted() {
    let mut text = String::from("(module\n");
    for bits in 0..4_100u32 {
        let kind = |at: u32| if bits >> at & 1 == 1 { "i64" } else { "f32" };
        let kinds: Vec<_> = (0..13).map(kind).collect();
        text.push_str(&format!("(func (param {}))\n", kinds.join(" ")));
    }
    let f = r#"(func (export "f") (param i32) (result i32) local.get 0 i32.const 1 i32.add))"#;
    text.push_str(f);
    for config in [with(Strategy::Compiled), tiering(1)] {
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::new(&engine, &text).expect("a module");
        let mut store = Store::new(&engine, ());
        let linker = Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let f = instance.get_typed_func::<i32, i32>(&store, "f").expect("the export");
        for n in 0..5 {
            assert_eq!(f.call(&mut store, n).expect("no trap"), n + 1);
        }
        // An instance beside it is none of machine code either, for the two may call each other.
        let other = r#"(module (func (export "g") (result i32) i32.const 3))"#;
        let other = Module::new(&engine, other).expect("a module");
        let other = linker.instantiate(&mut store, &other).expect("an instance");
        let g = other.get_typed_func::<(), i32>(&store, "g").expect("the export");
        for _ in 0..5 {
            assert_eq!(g.call(&mut store, ()).expect("no trap"), 3);
        }
    }
}

#[test]
fn x10_what_is_refused_is_refused_once() {
    let locals = "i64 ".repeat(20_000);
    let text = format!("(module (func (export \"f\") (result i32) (local {locals}) i32.const 7))");
    let engine = Engine::new(&with(Strategy::Compiled)).expect("an engine");
    let module = Module::new(&engine, &text).expect("a module");
    for _ in 0..3 {
        let mut store = Store::new(&engine, ());
        let linker = Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let f = instance.get_typed_func::<(), i32>(&store, "f").expect("the export");
        assert_eq!(f.call(&mut store, ()).expect("no trap"), 7);
    }
    let stats = engine.compile_stats();
    assert_eq!((stats.compiled, stats.refused, stats.failed), (0, 1, 0));
}

#[test]
fn x10_a_function_of_many_hot_loops_is_compiled_a_few_times() {
    let one = "(local.set $n (i32.const 0)) (loop $l
        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $n))))
        (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20))))";
    let text = format!(
        "(module (func (export \"run\") (result i64) (local $n i32) (local $sum i64) {} local.get $sum))",
        one.repeat(40)
    );
    let expected = outcome(&with(Strategy::Interpreter), &text, "run", &[]).0;
    // What goes on as machine code stays it: each call finds another loop first if the earlier ones are refused.
    let engine = Engine::new(&tiering(5)).expect("an engine");
    let module = Module::new(&engine, &text).expect("a module");
    for _ in 0..30 {
        let mut store = Store::new(&engine, ());
        let linker = Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let run = instance.get_typed_func::<(), i64>(&store, "run").expect("the export");
        let sum = run.call(&mut store, ()).expect("no trap");
        assert!(expected.contains(&format!("I64({sum})")), "{expected}");
    }
    let stats = engine.compile_stats();
    assert!(stats.compiled <= 9 && stats.failed == 0, "{stats:?}");
}

#[test]
fn code_of_a_loop_is_in_the_ledger() {
    let text = r#"(module (func (export "run") (param i32) (result i32) (local $n i32)
        (loop $l (br_if $l (i32.lt_u
            (local.tee $n (i32.add (local.get $n) (i32.const 1))) (local.get 0))))
        (local.get $n)))"#;
    let engine = Engine::new(&tiering(5)).expect("an engine");
    let module = Module::new(&engine, text).expect("a module");
    let run = |limit: Option<u64>| {
        let mut store = Store::new(&engine, ());
        let linker = Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &module).expect("an instance");
        let run = instance.get_typed_func::<i32, i32>(&store, "run").expect("the export");
        // Interpreted, so that its bytecode is paid for.
        assert_eq!(run.call(&mut store, 1).expect("no trap"), 1);
        let before = store.resource_use(Resource::HostBytes);
        store.set_resource_limit(Resource::HostBytes, limit.map(|more| before + more));
        assert_eq!(run.call(&mut store, 1_000).expect("no trap"), 1_000);
        store.resource_use(Resource::HostBytes) - before
    };
    let all = run(None);
    assert!(all > 0, "nothing was charged");
    // Who cannot pay for all of it pays for what there is room for, and is interpreted.
    assert!(run(Some(all - 1)) < all);
    assert_eq!(run(Some(0)), 0);
    assert_eq!(run(Some(all)), all);
}
