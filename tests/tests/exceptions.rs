//! Throwing and catching: `throw`, `throw_ref`, `try_table` with its four kinds of clauses, within and
//! across instances and calls of every kind.

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;

use std::fmt::Write;

use hostile_support::{Outcome, engine_with, engines_and_stressed as engines, invoke, store};
use palisade::{Config, Engine, Instance, Linker, Store, TrapCode, Val};
use palisade_tests::{ENGINES, link};

fn instantiate(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let mut store = store(engine);
    let instance = link(&Linker::new(engine), &mut store, text);
    (store, instance)
}

/// What `f` gives for each of some numbers, on every engine.
fn each(text: &str, cases: &[(i32, Outcome)]) {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        for (argument, expected) in cases {
            let found = invoke(&mut store, instance, "f", &[Val::I32(*argument)]);
            assert_eq!(found, *expected, "{argument}: {text}");
        }
    }
}

/// What `f` gives without arguments, on every engine, twice.
fn gives(text: &str, expected: Outcome) {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        for _ in 0..2 {
            assert_eq!(invoke(&mut store, instance, "f", &[]), expected, "{text}");
        }
    }
}

const UNCAUGHT: Outcome = Err(TrapCode::UncaughtException);

#[test]
fn clauses_are_tried_in_order_from_the_inside_out() {
    // Argument: bit 0 throws $a, else $b; bits 1 and 2 choose where from.
    let text = "(module (tag $a (param i32)) (tag $b (param i32)) (tag $c)
        (func $throw (param i32 i32)
          local.get 1
          local.get 0 i32.const 1 i32.and
          if (param i32) throw $a else throw $b end)
        (func (export \"f\") (param i32) (result i32)
          (block $outer (result i32)
            (block $inner (result i32)
              (block $never
                (block $all
                  (try_table (catch $a $outer) (catch $c $never) (catch_all $all)
                    (drop (try_table (result i32) (catch $c $never) (catch $b $inner) (catch $b $outer)
                      (if (i32.and (local.get 0) (i32.const 2))
                        (then (call $throw (local.get 0) (i32.const 10))))
                      (i32.const 0)))
                    (call $throw (local.get 0) (i32.const 20)))
                  (return (i32.const 1)))
                (return (i32.const 2)))
              (return (i32.const 3)))
            (return (i32.add (i32.const 100))))
          (i32.add (i32.const 200))))";
    each(text, &[(3, Ok(vec![210])), (2, Ok(vec![110])), (1, Ok(vec![220])), (0, Ok(vec![2]))]);
}

#[test]
fn an_exception_that_is_caught_again_is_the_same() {
    let text = "(module (tag $a (param i32)) (tag $none)
        (global $kept (mut exnref) (ref.null exn))
        (func $again (param exnref) (local.get 0) (throw_ref))
        (func (export \"f\") (param i32) (result i32) (local exnref)
          ;; Catches with catch_ref, throws again by throw_ref, catches with catch_all_ref, and again.
          (block $h (result i32 exnref)
            (try_table (catch_ref $a $h) (throw $a (local.get 0)))
            unreachable)
          (local.set 1) (drop)
          (block $never
          (block $h (result exnref)
            (try_table (catch $none $never) (catch_all_ref $h) (call $again (local.get 1)))
            unreachable)
          (global.set $kept)
          (block $h (result i32)
            (try_table (catch $a $h) (throw_ref (global.get $kept)))
            unreachable)
          (return))
          unreachable))";
    each(text, &[(7, Ok(vec![7])), (-1, Ok(vec![u32::MAX.into()]))]);
}

#[test]
fn values_of_every_type_arrive_in_order() {
    // Twenty-two values of all types, mixed, one of them an exception.
    let text = "(module
        (tag $x)
        (type $f (func (result i32)))
        (tag $t (param i32 externref i64 v128 f32 funcref f64 exnref i32 (ref $f) v128 i64
                       i31ref f32 f64 i32 externref v128 i64 f32 f64 i32))
        (elem declare func $five)
        (func $five (type $f) (i32.const 5))
        (func $exn (result exnref)
          (block $h (result exnref) (try_table (catch_all_ref $h) (throw $x)) unreachable))
        (func $throw (param externref)
          (throw $t (i32.const 1) (local.get 0) (i64.const -2) (v128.const i64x2 3 4) (f32.const 5)
            (ref.func $five) (f64.const 6) (call $exn) (i32.const -7) (ref.func $five)
            (v128.const i64x2 8 -9) (i64.const 10) (ref.null i31) (f32.const 11) (f64.const 12)
            (i32.const 13) (ref.null extern) (v128.const i64x2 14 15) (i64.const 16) (f32.const 17)
            (f64.const 18) (i32.const 19)))
        (func (export \"f\") (param externref)
          (result i32 externref i64 v128 f32 funcref f64 exnref i32 (ref $f) v128 i64
                  i31ref f32 f64 i32 externref v128 i64 f32 f64 i32)
          (try_table (catch $t 0) (call $throw (local.get 0)))
          unreachable)
        ;; The same to a label in mid-function, above other values, with the exception behind them.
        (func (export \"g\") (param externref) (result i32 i64 externref i32 i64 externref i32)
          (local $i i32) (local $l i64) (local $e externref) (local $n i32)
          (i32.const 77) (i64.const 78) (local.get 0)
          (block $h (result i32 externref i64 v128 f32 funcref f64 exnref i32 (ref $f) v128 i64
                            i31ref f32 f64 i32 externref v128 i64 f32 f64 i32 exnref)
            (i32.const 1) (i64.const 2) (local.get 0)
            (try_table (param i32 i64 externref) (catch_ref $t $h)
              (drop) (drop) (drop)
              (call $throw (local.get 0)))
            unreachable)
          (ref.is_null) (local.set $n)
          (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop)
          (drop) (drop) (drop) (drop) (drop) (drop)
          (local.set $l) (local.set $e) (local.set $i)
          (local.get $i) (local.get $l) (local.get $e) (local.get $n)))";
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        let host = palisade::ExternRef::new(&mut store, 99u32).expect("room");
        let mut results = vec![Val::I32(0); 22];
        let f = instance.get_func(&store, "f").expect("an export");
        f.call(&mut store, &[host.into()], &mut results).expect("it is caught");
        let number = |i: usize| hostile_support::bits(&results[i]);
        let vector = |i: usize| results[i].v128().expect("a vector").as_u128();
        assert_eq!((number(0), number(2) as i64, number(8) as i32), (1, -2, -7));
        assert_eq!(vector(3), 3 | 4 << 64);
        assert_eq!(vector(10), 8 | u128::from(-9i64 as u64) << 64);
        assert_eq!(vector(17), 14 | 15 << 64);
        assert_eq!((results[4].f32(), results[6].f64()), (Some(5.0), Some(6.0)));
        assert_eq!((results[13].f32(), results[14].f64()), (Some(11.0), Some(12.0)));
        assert_eq!((results[19].f32(), results[20].f64()), (Some(17.0), Some(18.0)));
        assert_eq!((number(11), number(15), number(18), number(21)), (10, 13, 16, 19));
        assert!(matches!(results[1], Val::ExternRef(Some(value))
            if value.data(&store).unwrap().and_then(|data| data.downcast_ref()) == Some(&99u32)));
        assert!(matches!(results[7], Val::ExnRef(Some(_))));
        assert!(matches!(results[12], Val::AnyRef(None)));
        assert!(matches!(results[16], Val::ExternRef(None)));
        for i in [5, 9] {
            let Val::FuncRef(Some(five)) = results[i] else { panic!("no function") };
            let five = five.typed::<(), i32>(&store).expect("its type");
            assert_eq!(five.call(&mut store, ()).expect("it returns"), 5);
        }
        let g = instance.get_func(&store, "g").expect("an export");
        let mut results = vec![Val::I32(0); 7];
        g.call(&mut store, &[host.into()], &mut results).expect("it is caught");
        let found: Vec<u64> = results.iter().map(hostile_support::bits).collect();
        assert_eq!(found, [77, 78, 1, 1, -2i64 as u64, 1, 0]);
        assert!(matches!(results[2], Val::ExternRef(Some(value))
            if value.data(&store).unwrap().and_then(|data| data.downcast_ref()) == Some(&99u32)));
    }
}

#[test]
fn a_tag_with_a_thousand_parameters() {
    let types = ["i32", "i64", "f32", "f64"];
    let list = |f: &dyn Fn(usize) -> String| (0..1000).map(f).collect::<Vec<_>>().join(" ");
    let params = list(&|i| types[i % 4].to_owned());
    let consts = list(&|i| format!("({}.const {i})", types[i % 4]));
    // From the last one to the first: all are added up as f64.
    let sum = (0..1000).rev().fold(String::new(), |mut text, i| {
        let convert = ["f64.convert_i32_s", "f64.convert_i64_s", "f64.promote_f32", ""][i % 4];
        let _ = write!(
            text,
            "{convert} (f64.mul (f64.const {i})) (f64.add (local.get 0)) (local.set 0) "
        );
        text
    });
    let text = format!(
        "(module (tag $t (param {params})) (tag $r (param {refs}))
           (func $throw (throw $t {consts}))
           (func $throw_refs (throw $r {nulls}))
           (func (export \"f\") (result f64) (local f64)
             (block $h (result {params}) (try_table (catch $t $h) (call $throw)) unreachable)
             {sum} (local.get 0))
           (func (export \"g\") (result i32) (local exnref)
             (block $h (result {refs} exnref) (try_table (catch_ref $r $h) (call $throw_refs)) unreachable)
             (local.set 0)
             {drops}
             (ref.is_null (local.get 0))))",
        refs = "externref ".repeat(999),
        nulls = "(ref.null extern) ".repeat(999),
        drops = "drop ".repeat(999),
    );
    let sum: f64 = (0..1000).map(|i| f64::from(i * i)).sum();
    gives(&text, Ok(vec![sum.to_bits()]));
    gives(&text.replace("\"f\"", "\"h\"").replace("\"g\"", "\"f\""), Ok(vec![0]));
}

#[test]
fn a_thousand_clauses() {
    const COUNT: i32 = 1000;
    let mut tags = String::new();
    let mut throws = String::new();
    let mut clauses = String::new();
    for i in 0..COUNT {
        let _ = write!(tags, "(tag $t{i} (param i32))");
        let _ = write!(
            throws,
            "(if (i32.eq (local.get 0) (i32.const {i})) (then (throw $t{i} (i32.const {i}))))"
        );
        // Two thirds go to one label, every third to a label of its own.
        let label = if i % 3 == 0 { format!("$l{i}") } else { "$common".to_owned() };
        let _ = write!(clauses, "(catch $t{i} {label})");
    }
    let mut ends = String::new();
    for i in 0..COUNT {
        if i % 3 == 0 {
            // What came is multiplied with one more than the label's number, and that is the result.
            let _ = write!(ends, ") (return (i32.mul (i32.const {})))", i + 1);
        }
    }
    // The innermost block is that of the highest number.
    let mut opens = String::new();
    for i in (0..COUNT).rev().filter(|i| i % 3 == 0) {
        let _ = write!(opens, "(block $l{i} (result i32) ");
    }
    let text = format!(
        "(module {tags}
           (func $throw (param i32) {throws})
           (func (export \"f\") (param i32) (result i32)
             (block $common (result i32)
               {opens}
               (try_table {clauses} (call $throw (local.get 0)))
               (return (i32.const -1))
               {ends})))"
    );
    let mut cases = vec![(COUNT, Ok(vec![u32::MAX.into()]))];
    for i in [0, 1, 2, 3, 7, 8, 9, 10, 299, 300, 301, 996, 997, 998, 999] {
        let result = if i % 3 == 0 { i * (i + 1) } else { i };
        cases.push((i, Ok(vec![result as u64])));
    }
    each(&text, &cases);
}

#[test]
fn labels_of_every_kind() {
    // To a loop, whose parameters the values become: counts down by throwing.
    let text = "(module (tag $t (param i32 i32))
        (func $throw (param i32 i32)
          (throw $t (i32.sub (local.get 0) (i32.const 1)) (i32.add (local.get 1) (local.get 0))))
        (func (export \"f\") (param i32) (result i32) (local $n i32) (local $sum i32)
          (i32.const 1000)
          (local.get 0) (i32.const 0)
          (loop $l (param i32 i32) (result i32)
            (local.set $sum) (local.set $n)
            (if (i32.eqz (local.get $n)) (then (return (local.get $sum))))
            (try_table (catch $t $l) (call $throw (local.get $n) (local.get $sum)))
            unreachable)
          (i32.add)))";
    each(text, &[(0, Ok(vec![0])), (1, Ok(vec![1])), (100, Ok(vec![5050]))]);
    // To the function itself, from inside of blocks with values below, with none, one and several values.
    let text = "(module (tag $two (param i64 i32)) (tag $none)
        (func $pair (param i32) (result i64 i32)
          (i32.const 1) (i32.const 2) (i32.const 3)
          (loop (param i32 i32 i32) (result i32 i32 i32)
            (try_table (catch $two 1)
              (if (local.get 0) (then (throw $two (i64.const 40) (i32.const 2)))))
            )
          (drop) (drop) (drop) (i64.const 7) (i32.const 7))
        (func $nothing (try_table (catch_all 0) (throw $none)) unreachable)
        (func (export \"f\") (param i32) (result i32) (local i32)
          (call $nothing)
          (call $pair (local.get 0))
          (local.set 1) (i32.wrap_i64) (i32.add (local.get 1))))";
    each(text, &[(0, Ok(vec![14])), (1, Ok(vec![42]))]);
    // A clause that names the block around the try_table, one that names nothing beyond it, and the normal end.
    let text = "(module (tag $t (param i32)) (tag $u (param i32))
        (func (export \"f\") (param i32) (result i32)
          (i32.const 1000)
          (block $b (result i32)
            (i32.const 5)
            (try_table (param i32) (result i32) (catch $t $b) (catch $u $b)
              (i32.add (i32.const 1))
              (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $t (i32.const 10))))
              (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $u (i32.const 20))))
              (br_if 0 (i32.eq (local.get 0) (i32.const 3)))
              (i32.add (i32.const 1)))
            (i32.mul (i32.const 100)))
          (i32.add)))";
    each(
        text,
        &[(0, Ok(vec![1700])), (1, Ok(vec![1010])), (2, Ok(vec![1020])), (3, Ok(vec![1600]))],
    );
}

#[test]
fn locals_and_values_below_are_those_of_the_moment_of_the_throw() {
    // The accumulators of all three kinds hold other things when the exception comes.
    let text = "(module (tag $t (param i32)) (global $g (mut i32) (i32.const 0))
        (func $noise (param i32) (result i32 i64 f32 f64)
          (if (local.get 0) (then (throw $t (i32.const 7))))
          (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4))
        (func (export \"f\") (param i32) (result i32)
          (local $a i32) (local $b i64) (local $c f32) (local $d f64) (local $v v128)
          (local.set $a (i32.add (local.get 0) (i32.const 10)))
          (local.set $b (i64.const 20)) (local.set $c (f32.const 30)) (local.set $d (f64.const 40))
          (local.set $v (i32x4.splat (i32.const 50)))
          ;; Below: a local that changes inside, a constant, a sum, values of all accumulators.
          (local.get $a) (i32.const 100) (i32.mul (local.get $a) (i32.const 2))
          (i32.trunc_f32_s (f32.add (local.get $c) (f32.const 1)))
          (i32.trunc_f64_s (f64.add (local.get $d) (f64.const 1)))
          (block $h (result i32)
            (i32.add (local.get $a) (i32.const 3))
            (try_table (param i32) (result i32) (catch $t $h)
              (drop)
              (local.set $a (i32.add (local.get $a) (i32.const 1000)))
              (local.set $v (i32x4.add (local.get $v) (local.get $v)))
              (local.set $b (i64.mul (local.get $b) (i64.const 2)))
              (global.set $g (local.get $a))
              (local.get $a)
              (call $noise (local.get 0))
              (drop) (drop) (drop) (drop)
              (local.set $a (i32.const 1))))
          ;; [a before, 100, 2 * a before, 31, 41, 7 or a]
          (i32.add) (i32.add) (i32.add) (i32.add) (i32.add)
          (i32.add (local.get $a)) (i32.add (i32.wrap_i64 (local.get $b)))
          (i32.add (i32x4.extract_lane 3 (local.get $v)))
          (i32.add (global.get $g))))";
    let expected = |x: i32| {
        let before = x + 10;
        let after = if x == 0 { 1 } else { before + 1000 };
        let middle = if x == 0 { before + 1000 } else { 7 };
        before + 100 + 2 * before + 31 + 41 + middle + after + 40 + 100 + before + 1000
    };
    each(text, &[0, 1, 2, 500].map(|x| (x, Ok(vec![expected(x) as u64]))));
}

#[test]
fn nothing_is_left_in_the_accumulators() {
    // What a call leaves behind in each accumulator stands for the slot that the clause's value goes to.
    for (ty, one, two) in [("i32", 1, 2), ("i64", 3, 4), ("f32", 5, 6), ("f64", 7, 8)] {
        let convert = if ty.starts_with('i') { "" } else { "(i64.trunc_f64_s) " };
        let widen = match ty {
            "i32" => "(i64.extend_i32_u)",
            "f32" => "(f64.promote_f32)",
            _ => "",
        };
        let text = format!(
            "(module (tag $t (param {ty}))
               (func $maybe (param i32) (result {ty})
                 (if (local.get 0) (then (throw $t ({ty}.const {two}))))
                 ({ty}.const {one}))
               (func $g (param i32) (result {ty})
                 (try_table (catch $t 0)
                   (drop (call $maybe (i32.const 0)))
                   (drop (call $maybe (local.get 0)))
                   (drop (call $maybe (i32.const 0))))
                 ({ty}.const 9))
               (func $h (param i32) (result {ty})
                 (block $l (result {ty})
                   (try_table (result {ty}) (catch $t $l)
                     (drop (call $maybe (i32.const 0)))
                     (drop (call $maybe (local.get 0)))
                     (call $maybe (i32.const 0)))))
               (func (export \"f\") (param i32) (result i64 i64)
                 (call $g (local.get 0)) {widen} {convert}
                 (call $h (local.get 0)) {widen} {convert}))"
        );
        each(&text, &[(0, Ok(vec![9, one])), (1, Ok(vec![two, two]))]);
    }
}

#[test]
fn traps_are_never_caught() {
    let cases = [
        ("unreachable", TrapCode::Unreachable),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", TrapCode::IntegerDivideByZero),
        ("(drop (i32.load (i32.const 65536)))", TrapCode::MemoryOutOfBounds),
        ("(drop (table.get $t (i32.const 9)))", TrapCode::TableOutOfBounds),
        ("(throw_ref (ref.null exn))", TrapCode::NullExceptionReference),
        ("(call_indirect (i32.const 0))", TrapCode::UninitializedElement),
        ("(call $deep)", TrapCode::StackOverflow),
        ("(drop (call $trap))", TrapCode::Unreachable),
        ("(return_call $trap)", TrapCode::Unreachable),
        ("(throw $x)", TrapCode::UncaughtException),
    ];
    for (body, code) in cases {
        let catch = if body == "(throw $x)" { "" } else { "(catch_all $h) (catch_all_ref $r)" };
        let text = format!(
            "(module (memory 1) (table $t 1 funcref) (tag $x)
               (func $deep (call $deep) (drop (call $trap)))
               (func $trap (result i32) unreachable)
               (func (export \"f\") (result i32)
                 (block $r (result exnref) (block $h
                   (try_table {catch} {body}) (return (i32.const 1)))
                   (return (i32.const 2)))
                 (drop) (i32.const 3)))"
        );
        gives(&text, Err(code));
    }
    // The depth of calls, and fuel.
    let text = "(module (func $deep (call $deep) (call $deep))
        (func (export \"f\") (try_table (catch_all 0) (call $deep)))
        (func (export \"g\") (try_table (catch_all 0) (loop (br 0)))))";
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.call_depth(Some(100)).consume_fuel(true);
        });
        let (mut store, instance) = instantiate(&engine, text);
        let f = invoke(&mut store, instance, "f", &[]);
        assert_eq!(f, Err(TrapCode::CallDepthExceeded));
        store.set_fuel(1000).expect("metered");
        assert_eq!(invoke(&mut store, instance, "g", &[]), Err(TrapCode::OutOfFuel));
    }
}

#[test]
fn an_exception_in_a_start_function_is_an_error_of_the_instantiation() {
    let text = "(module (tag (export \"boom\") (param i32))
        (func $s (throw 0 (i32.const 5))) (start $s))";
    for engine in engines() {
        let mut store = store(&engine);
        let module = palisade_tests::module(&engine, text);
        let error = Linker::new(&engine).instantiate(&mut store, &module).expect_err("it throws");
        assert_eq!(error.trap_code(), Some(TrapCode::UncaughtException));
        assert!(error.exception(&mut store).is_some());
        assert!(error.to_string().contains("tag `boom` (i32 5)"), "{error}");
        assert_eq!(error.backtrace().map(|trace| trace.frames().len()), Some(1));
    }
}

#[test]
fn deep_recursion_is_unwound_to_the_last_frame() {
    // Frames of several sizes, with and without references, then everything once more: had depth, stack or
    // window of references not come back, the second round would not fit.
    let text = "(module (tag $t (param i64)) (type $e (func (param externref) (result externref)))
        (func $down (param i32) (result i32) (local i64 i64 i64)
          (if (i32.eqz (local.get 0)) (then (throw $t (i64.const 99))))
          (i32.add (call $refs (i32.sub (local.get 0) (i32.const 1)) (ref.null extern)) (i32.const 1)))
        (func $refs (param i32) (param externref) (result i32) (local exnref externref)
          (if (i32.eqz (local.get 0)) (then (throw $t (i64.const 99))))
          (ref.null extern) (ref.null extern) (ref.null exn)
          (call $down (i32.sub (local.get 0) (i32.const 1)))
          (local.set 0) (drop) (drop) (drop) (local.get 0))
        (func (export \"f\") (param i32) (result i32) (local $rounds i32) (local $sum i64)
          (loop $again
            (block $h (result i64)
              (try_table (catch $t $h) (drop (call $down (local.get 0))))
              unreachable)
            (local.set $sum (i64.add (local.get $sum)))
            (br_if $again (i32.lt_u
              (local.tee $rounds (i32.add (local.get $rounds) (i32.const 1))) (i32.const 50))))
          (i32.wrap_i64 (local.get $sum))))";
    for kind in ENGINES {
        for depth in [0, 1, 2, 101, 5_000] {
            let engine = engine_with(kind, |config| {
                // The function itself, and one more for each step down: exactly enough.
                config.call_depth(Some(depth + 2));
            });
            let (mut store, instance) = instantiate(&engine, text);
            for _ in 0..3 {
                let found = invoke(&mut store, instance, "f", &[Val::I32(depth as i32)]);
                assert_eq!(found, Ok(vec![50 * 99]), "{depth}");
            }
            let more = invoke(&mut store, instance, "f", &[Val::I32(depth as i32 + 1)]);
            assert_eq!(more, Err(TrapCode::CallDepthExceeded));
        }
    }
}

#[test]
fn windows_of_references_are_exactly_where_they_were() {
    // $f holds references before, in and behind the try_table; callees have windows of many sizes, and the
    // exception itself carries references over them.
    let mut callees = String::new();
    for i in 0..8 {
        let _ = write!(
            callees,
            "(func $c{i} (param externref i32) (local{locals})
               {above}
               (if (i32.eq (local.get 1) (i32.const {i})) (then (throw $t (local.get 0) (i32.const {i}))))
               (call $c{next} (local.get 0) (local.get 1))
               {drops})",
            locals = " externref".repeat(i),
            above = "(local.get 0)".repeat(i % 3),
            drops = "drop ".repeat(i % 3),
            next = i + 1,
        );
    }
    let text = format!(
        "(module (tag $t (param externref i32)) (tag $other)
           (func $same (import \"host\" \"same\") (param externref externref) (result i32))
           {callees}
           (func $c8 (param externref i32) (throw $other))
           (func $plain (param i32) (call $refs (local.get 0)))
           (func $refs (param i32) (local externref externref)
             (call $c0 (ref.null extern) (local.get 0)))
           (func (export \"f\") (param externref externref i32) (result i32)
             (local $x externref) (local $y exnref) (local $n i32)
             (local.get 0) (local.get 1)
             (block $h (result externref i32 exnref)
               (block $other
                 (try_table (catch_ref $t $h) (catch $other $other)
                   (local.get 1) (local.get 0)
                   (call $c0 (local.get 0) (local.get 2))
                   (drop) (drop))
                 unreachable)
               (ref.null extern) (i32.const -1) (ref.null exn))
             (local.set $y) (local.set $n) (local.set $x)
             ;; On the stack: both parameters.
             (local.set 1)
             (call $same (local.get 0))
             (i32.add (local.get $n))
             ;; Again, through a function that knows no references.
             (block $gone
               (block $h (result externref i32)
                 (try_table (catch $t $h) (catch $other $gone) (call $plain (local.get 2)))
                 unreachable)
               (drop) (drop))
             (if (i32.ge_s (local.get $n) (i32.const 0)) (then
               (if (i32.eqz (call $same (local.get $x) (local.get 0))) (then unreachable))
               (if (ref.is_null (local.get $y)) (then unreachable))))
             ))"
    );
    for engine in engines() {
        let mut store = store(&engine);
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap(
                "host",
                "same",
                |caller: palisade::Caller<'_, ()>,
                 a: Option<palisade::ExternRef>,
                 b: Option<palisade::ExternRef>| {
                    let number = |value: Option<palisade::ExternRef>| {
                        value?.data(&caller).ok()??.downcast_ref::<u32>().copied()
                    };
                    i32::from(number(a) == number(b))
                },
            )
            .expect("a function");
        let instance = link(&linker, &mut store, &text);
        let a = palisade::ExternRef::new(&mut store, 1u32).expect("room");
        let b = palisade::ExternRef::new(&mut store, 2u32).expect("room");
        for n in 0..9 {
            for (first, second) in [(a, b), (b, a), (a, a)] {
                let arguments = [first.into(), second.into(), Val::I32(n)];
                let found = invoke(&mut store, instance, "f", &arguments);
                // The first parameter is on the stack still when both are compared: same.
                let expected = if n == 8 { 0 } else { n as u64 + 1 };
                assert_eq!(found, Ok(vec![expected]), "{n}");
            }
        }
    }
}

#[test]
fn what_throws_costs_the_same_everywhere_and_what_does_not_costs_nothing_more() {
    let text = "(module (tag $t) (tag $u)
        (func $down (param i32)
          (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1)))) (else (throw $t))))
        (func $quiet (param i32))
        (func (export \"f\") (param i32) (try_table (catch $u 0) (catch $u 0) (catch $t 0) (call $down (local.get 0))))
        (func (export \"g\") (param i32) (try_table (catch $u 0) (catch $u 0) (catch $t 0) (call $quiet (local.get 0))))
        (func (export \"h\") (param i32) (call $quiet (local.get 0))))";
    let mut seen = Vec::new();
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        let (mut store, instance) = instantiate(&engine, text);
        let mut cost = |name: &str, n: i32| {
            store.set_fuel(1_000_000).expect("metered");
            assert_eq!(invoke(&mut store, instance, name, &[Val::I32(n)]), Ok(vec![]));
            1_000_000 - store.get_fuel().expect("metered")
        };
        let _ = cost("f", 3);
        assert_eq!(cost("g", 0), cost("h", 0) + 1, "the try_table itself is one operator");
        seen.push([0, 1, 10].map(|n| cost("f", n)));
        let step = cost("f", 5) - cost("f", 4);
        // Entry, six operators for the step and the frame that is unwound.
        assert_eq!(step, 1 + 6 + 1);
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn config_switches_exceptions_off() {
    let mut config = Config::new();
    config.wasm_exceptions(false);
    let engine = Engine::new(&config).expect("possible");
    for text in ["(module (tag))", "(module (func (throw_ref (ref.null exn))))"] {
        assert!(palisade::Module::new(&engine, text).is_err(), "{text}");
    }
    // The proposal of old is no part of WebAssembly 3.0.
    let legacy =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x08\x01\x06\0\x06\x40\x19\x0b\x0b";
    let error = palisade::Module::new(&Engine::default(), legacy).expect_err("a legacy try");
    assert!(error.to_string().contains("legacy"), "{error}");
}

#[test]
fn uncaught_exceptions_leave_the_store_usable() {
    let text = "(module (tag $t (param i32)) (tag $u)
        (func $g (param i32) (throw $t (local.get 0)))
        (func (export \"f\") (param i32) (result i32)
          (block $h (try_table (catch $u $h) (call $g (local.get 0)))) (i32.const 1))
        (func (export \"fine\") (result i32) (i32.const 5)))";
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        for n in 0..100 {
            assert_eq!(invoke(&mut store, instance, "f", &[Val::I32(n)]), UNCAUGHT);
            assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![5]));
        }
    }
}

/// What a clause gives is compared with what its label takes: three bytes may ask for a thousand comparisons.
#[test]
fn v4_values_that_clauses_give_are_counted() {
    let numbers = "i32 ".repeat(1000);
    let table = format!("(try_table {} (call $g) (return_call $f))", "(catch $t 0)".repeat(100));
    let text = format!(
        "(module (tag $t (param {numbers})) (func $g)
           (func $f (export \"f\") (result {numbers}) {} unreachable))",
        table.repeat(8)
    );
    for (limit, fits) in [(1_000_000, true), (700_000, false), (100_000, false)] {
        let mut limits = palisade::Limits::default();
        limits.operand_checks = limit;
        let engine = Engine::new(Config::new().limits(limits)).expect("possible");
        match palisade::Module::new(&engine, &text) {
            Ok(_) => assert!(fits, "{limit}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!fits && error.contains("--limit operand-checks="), "{limit}: {error}");
            }
        }
    }
}
