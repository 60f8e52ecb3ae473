//! V4, V5, V6, T4, T5, H7: modules at the limits, constant expressions, references, and traps, as they
//! are executed.

mod hostile_support;

use std::fmt::Write;

use hostile_support::{call, engine_with, engines, interpreters, invoke, store};
use palisade::{
    Engine, ErrorKind, ExternRef, Func, FuncType, Instance, LimitKind, Limits, LinkError, Linker,
    Module, Ref, Store, TrapCode, Val, ValType,
};
use palisade_tests::{DISPATCHERS, ENGINES, Kind, link, module};

fn open(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let mut store = store(engine);
    let instance = link(&Linker::new(engine), &mut store, text);
    (store, instance)
}

fn run(engine: &Engine, bytes: &[u8], args: &[Val]) -> Result<Vec<u64>, TrapCode> {
    let module = Module::new(engine, bytes).expect("a module");
    let mut store = store(engine);
    let instance = Instance::new(&mut store, &module, &[]).expect("no imports");
    invoke(&mut store, instance, "f", args)
}

/// Each limit of a function at its highest: what may be loaded also runs.
#[test]
fn v4_functions_at_the_limits_run() {
    let nested = format!(
        "(module (func (export \"f\") (param i32) (result i32) {} local.get 0 br_table {} 0 {} i32.const 3))",
        "block ".repeat(5_000),
        (0..5_000).fold(String::new(), |mut out, i| {
            let _ = write!(out, "{i} ");
            out
        }),
        "end ".repeat(5_000)
    );
    let locals = format!(
        "(module (func (export \"f\") (param i32) (result i32) (local i64) (local{})
           local.get 0 local.set 49999 i64.const -1 local.set 1 local.get 49999))",
        " i32".repeat(49_998)
    );
    let wide = format!(
        "(module (func (export \"f\") (param i32) (result i32)
           block block block local.get 0 br_table {} 2 end i32.const 10 return end
           i32.const 11 return end i32.const 12))",
        "0 1 2 ".repeat(65_521 / 3)
    );
    let long = format!(
        "(module (func (export \"f\") (param i32) (result i32) {} local.get 0))",
        "local.get 0 i32.const 1 i32.add local.set 0 ".repeat(900_000)
    );
    let many_blocks = format!(
        "(module (func (export \"f\") (param i32) (result i32) {} local.get 0))",
        "local.get 0 i32.eqz if i32.const 5 local.set 0 else loop end end ".repeat(100_000)
    );
    let deep_operands = format!(
        "(module (func (export \"f\") (param i32) (result i32) {} {} ))",
        "local.get 0 ".repeat(30_000),
        "i32.add ".repeat(29_999)
    );
    let mut functions = String::from("(module (func $f0 (param i32) (result i32) local.get 0)");
    for i in 1..20_000 {
        let _ = write!(
            functions,
            "(func $f{i} (param i32) (result i32) local.get 0 return_call $f{})",
            i - 1
        );
    }
    functions += "(export \"f\" (func $f19999)))";
    let mut segments = String::from("(module (memory 2) ");
    for i in 0..100_000 {
        let _ =
            write!(segments, "(data (i32.const {i}) \"{}\")", char::from(b'a' + (i % 26) as u8));
    }
    segments += "(func (export \"f\") (param i32) (result i32) local.get 0 i32.load8_u))";
    let texts = [nested, locals, wide, long, many_blocks, deep_operands, functions, segments];
    let [nested, locals, wide, long, many_blocks, deep_operands, functions, segments] =
        texts.map(|text| wat_bytes(&text));
    // Compiled once more for each call, and not checked: these are the largest functions that there are.
    let compiled = engine_with(Kind::Compiled, |config| {
        config.paranoid(false);
    });
    for engine in interpreters().chain([compiled]) {
        assert_eq!(run(&engine, &nested, &[Val::I32(4_999)]), Ok(vec![3]));
        assert_eq!(run(&engine, &locals, &[Val::I32(-7)]), Ok(vec![(-7i32) as u32 as u64]));
        for (index, expected) in [(0, 10), (1, 11), (2, 12), (65_518, 11), (65_519, 12), (-1, 12)] {
            assert_eq!(run(&engine, &wide, &[Val::I32(index)]), Ok(vec![expected]), "{index}");
        }
        assert_eq!(run(&engine, &long, &[Val::I32(7)]), Ok(vec![900_007]));
        assert_eq!(run(&engine, &many_blocks, &[Val::I32(0)]), Ok(vec![5]));
        assert_eq!(run(&engine, &deep_operands, &[Val::I32(3)]), Ok(vec![90_000]));
        assert_eq!(run(&engine, &functions, &[Val::I32(9)]), Ok(vec![9]));
        assert_eq!(
            run(&engine, &segments, &[Val::I32(99_999)]),
            Ok(vec![u64::from(b'a') + 99_999 % 26])
        );
    }
}

/// More operands than a frame can hold exhaust the stack when they are called for, and nothing else.
#[test]
fn v4_frames_that_are_too_large_trap() {
    for count in [60_000, 64_990, 65_010, 65_536, 65_540, 70_000, 131_072, 200_000] {
        let text = format!(
            "(module (func $g (param i32) (result i32) {} {})
               (func (export \"f\") (param i32) (result i32) local.get 0 call $g)
               (func (export \"fine\") (result i32) i32.const 4))",
            "local.get 0 i32.const 1 i32.xor ".repeat(count),
            "i32.add ".repeat(count - 1)
        );
        for engine in engines() {
            let (mut store, instance) = open(&engine, &text);
            for _ in 0..2 {
                let outcome = invoke(&mut store, instance, "f", &[Val::I32(0)]);
                let full = outcome == Err(TrapCode::StackOverflow);
                assert!(outcome == Ok(vec![count as u64]) || full, "{count}: {outcome:?}");
                assert!(!full || count > 64_000);
                assert_eq!(invoke(&mut store, instance, "fine", &[]), Ok(vec![4]));
            }
        }
    }
}

#[test]
fn v4_the_strict_limits_name_themselves() {
    let nested = format!("(module (func {} {}))", "block ".repeat(501), "end ".repeat(501));
    let table = format!("(module (func i32.const 0 br_table {} 0))", "0 ".repeat(65_521));
    for (text, kind) in [(nested, LimitKind::Nesting), (table, LimitKind::BrTable)] {
        let engine = engine_with(DISPATCHERS[0], |config| {
            config.limits(Limits::strict());
        });
        let error = Module::new(&engine, &text).expect_err("over the limit").to_string();
        assert!(error.contains(kind.name()), "{error}");
        module(&engine_with(DISPATCHERS[0], |_| {}), &text);
    }
}

#[test]
fn v5_constant_expressions_wrap_and_read_what_came_before() {
    let text = r#"(module
        (import "m" "i" (global $i i32)) (import "m" "l" (global $l i64))
        (global $a i32 (i32.add (global.get $i) (i32.const 0x7fffffff)))
        (global $b i32 (i32.mul (global.get $a) (global.get $a)))
        (global $c i64 (i64.sub (i64.const 0x8000000000000000) (global.get $l)))
        (global $f (export "func") funcref (ref.func $seven))
        (global $g funcref (global.get $f))
        (global $n externref (ref.null extern))
        (memory 1) (table $t 10 funcref)
        (data (i32.add (global.get $i) (i32.const -1)) "ab")
        (elem (table $t) (i32.sub (i32.const 5) (global.get $i)) funcref (global.get $f) (ref.null func))
        (elem $dropped func $seven) (data $gone "xyz")
        (func $seven (result i32) i32.const 7)
        (func (export "f") (result i32 i32 i64 i32 i32 i32 i32)
            global.get $a global.get $b global.get $c
            i32.const 0 i32.load16_u
            i32.const 4 call_indirect $t (result i32)
            i32.const 5 table.get $t ref.is_null
            global.get $n ref.is_null)
        (func (export "drops") (param i32 i32) (result i32)
            elem.drop $dropped data.drop $gone elem.drop $dropped data.drop $gone
            local.get 0 i32.const 0 local.get 1 table.init $t $dropped
            local.get 0 i32.const 0 local.get 1 memory.init $gone
            i32.const 1)
        ;; Active segments are dropped once they are copied, declared ones at once.
        (data $active (i32.const 100) "q")
        (func (export "active") (param i32)
            i32.const 0 i32.const 0 local.get 0 memory.init $active))"#;
    for engine in engines() {
        let mut linker = Linker::<()>::new(&engine);
        let mut store = store(&engine);
        let source = "(module (global (export \"i\") i32 (i32.const 1))
            (global (export \"l\") i64 (i64.const 1)))";
        let source = link(&linker, &mut store, source);
        linker.instance(&mut store, "m", source).expect("definitions");
        let instance = link(&linker, &mut store, text);
        let found = invoke(&mut store, instance, "f", &[]).expect("no trap");
        let expected = [0x8000_0000, 0, i64::MAX as u64, 0x6261, 7, 1, 1];
        assert_eq!(found, expected);
        let mut drops = |at: i32, len: i32| {
            invoke(&mut store, instance, "drops", &[Val::I32(at), Val::I32(len)])
        };
        assert_eq!(drops(0, 0), Ok(vec![1]));
        assert_eq!(drops(10, 0), Ok(vec![1]));
        assert_eq!(drops(0, 1), Err(TrapCode::TableOutOfBounds));
        assert_eq!(drops(11, 0), Err(TrapCode::TableOutOfBounds));
        assert_eq!(invoke(&mut store, instance, "active", &[Val::I32(0)]), Ok(vec![]));
        let outcome = invoke(&mut store, instance, "active", &[Val::I32(1)]);
        assert_eq!(outcome, Err(TrapCode::MemoryOutOfBounds));
    }
    for wrong in [
        "(global i32 (global.get 1)) (global i32 (i32.const 1))",
        "(import \"m\" \"g\" (global (mut i32))) (global i32 (global.get 0))",
        "(global i32 (i32.div_s (i32.const 1) (i32.const 1)))",
        "(func $f (drop (ref.func $f)))",
        "(global i32 (i64.const 1))",
    ] {
        let engine = engine_with(DISPATCHERS[0], |_| {});
        assert!(Module::new(&engine, format!("(module {wrong})")).is_err(), "{wrong}");
    }
}

#[test]
fn v6_references_begin_as_null_and_selections_take_one_of_two() {
    let text = r#"(module (type $t (func (result i32)))
        (table (export "t") 3 funcref) (table $e 3 externref) (elem declare func $f)
        (func $f (result i32) i32.const 6)
        (func (export "unset") (result i32 i32 i32) (local funcref externref (ref null $t))
            local.get 0 ref.is_null local.get 1 ref.is_null local.get 2 ref.is_null)
        (func (export "unset_call") (local (ref null $t)) local.get 0 call_ref $t drop)
        (func (export "unset_table") (param i32) (result i32) local.get 0 call_indirect (type $t))
        (func (export "set") (result i32) (local (ref $t))
            ref.func $f local.set 0 local.get 0 call_ref $t)
        (func (export "select") (param i32 externref externref) (result externref)
            local.get 1 local.get 2 local.get 0 select (result externref))
        (func (export "select_acc") (param i32 externref externref) (result externref) (local externref)
            local.get 2 local.set 3 local.get 1 local.get 3
            local.get 0 i32.const 1 i32.and select (result externref)
            local.get 1 local.set 3)
        (func (export "select_func") (param i32) (result i32)
            (select (result (ref null $t)) (ref.func $f) (ref.null $t) (local.get 0)) call_ref $t)
        (func (export "again") (param externref) (result i32) (local externref)
            ;; A local of an earlier call must not be seen by a later one.
            local.get 1 ref.is_null local.get 0 local.set 1))"#;
    for engine in engines() {
        let (mut store, instance) = open(&engine, text);
        assert_eq!(invoke(&mut store, instance, "unset", &[]), Ok(vec![1, 1, 1]));
        let outcome = invoke(&mut store, instance, "unset_call", &[]);
        assert_eq!(outcome, Err(TrapCode::NullFunctionReference));
        let outcome = invoke(&mut store, instance, "unset_table", &[Val::I32(0)]);
        assert_eq!(outcome, Err(TrapCode::UninitializedElement));
        assert_eq!(invoke(&mut store, instance, "set", &[]), Ok(vec![6]));
        let [a, b] = [1, 2].map(|x: i32| ExternRef::new(&mut store, x).expect("a reference"));
        for name in ["select", "select_acc"] {
            let select = instance.get_func(&store, name).expect("an export");
            for (cond, expected) in [(1, a), (0, b), (-1, a), (i32::MIN + 1, a)] {
                let args = [Val::I32(cond), Ref::from(a).into(), Ref::from(b).into()];
                let mut results = [Val::I32(0)];
                select.call(&mut store, &args, &mut results).expect("no trap");
                let Val::ExternRef(Some(found)) = results[0] else { panic!("{:?}", results[0]) };
                assert!(ExternRef::ref_eq(&store, &found, &expected).expect("both"), "{name}");
            }
        }
        assert_eq!(invoke(&mut store, instance, "select_func", &[Val::I32(1)]), Ok(vec![6]));
        let outcome = invoke(&mut store, instance, "select_func", &[Val::I32(0)]);
        assert_eq!(outcome, Err(TrapCode::NullFunctionReference));
        for _ in 0..3 {
            let outcome = invoke(&mut store, instance, "again", &[Ref::from(a).into()]);
            assert_eq!(outcome, Ok(vec![1]));
        }
    }
    for wrong in [
        "(func (local (ref func)) (drop (local.get 0)))",
        "(func (param externref externref) (drop (select (local.get 0) (local.get 1) (i32.const 1))))",
        "(func (local (ref func)) (block (local.set 0 (unreachable))) (drop (local.get 0)) )
         (func (local (ref func)) (if (i32.const 1) (then (local.set 0 (ref.func 0)))) (drop (local.get 0)))",
        "(table 1 (ref func))",
        "(table 1 funcref) (type $s (struct)) (func (table.set (i32.const 0) (struct.new $s)))",
        "(table 1 funcref) (func (table.set (i32.const 0) (i32.const 4096)))",
        "(global funcref (i32.const 0))",
    ] {
        let engine = engine_with(DISPATCHERS[0], |_| {});
        assert!(Module::new(&engine, format!("(module {wrong})")).is_err(), "{wrong}");
    }
}

/// Every operator that can trap, on arguments on both sides of the border: argument, result or trap.
#[test]
fn t4_traps_come_at_their_borders_with_the_same_code_and_offset() {
    use TrapCode::{
        IntegerDivideByZero as Zero, IntegerOverflow as Over, InvalidConversionToInteger as Nan,
    };
    let i = |x: i32| Val::I32(x);
    let l = |x: i64| Val::I64(x);
    let f = |x: f32| Val::F32(x.to_bits());
    let d = |x: f64| Val::F64(x.to_bits());
    let two63 = 9_223_372_036_854_775_808.0f64;
    let two64 = two63 * 2.0;
    let cases: Vec<(&str, Vec<Val>, Result<u64, TrapCode>)> = vec![
        ("i32.div_s", vec![i(i32::MIN), i(-1)], Err(Over)),
        ("i32.div_s", vec![i(i32::MIN), i(1)], Ok(0x8000_0000)),
        ("i32.div_s", vec![i(1), i(0)], Err(Zero)),
        ("i32.div_u", vec![i(i32::MIN), i(-1)], Ok(0)),
        ("i32.div_u", vec![i(0), i(0)], Err(Zero)),
        ("i32.rem_s", vec![i(i32::MIN), i(-1)], Ok(0)),
        ("i32.rem_s", vec![i(-7), i(4)], Ok(0xFFFF_FFFD)),
        ("i32.rem_s", vec![i(1), i(0)], Err(Zero)),
        ("i32.rem_u", vec![i(1), i(0)], Err(Zero)),
        ("i64.div_s", vec![l(i64::MIN), l(-1)], Err(Over)),
        ("i64.div_s", vec![l(1), l(0)], Err(Zero)),
        ("i64.div_u", vec![l(i64::MIN), l(-1)], Ok(0)),
        ("i64.rem_s", vec![l(i64::MIN), l(-1)], Ok(0)),
        ("i64.rem_s", vec![l(1), l(0)], Err(Zero)),
        ("i64.rem_u", vec![l(1), l(0)], Err(Zero)),
        ("i32.trunc_f32_s", vec![f(f32::NAN)], Err(Nan)),
        ("i32.trunc_f32_s", vec![f(-f32::NAN)], Err(Nan)),
        ("i32.trunc_f32_s", vec![f(2_147_483_648.0)], Err(Over)),
        ("i32.trunc_f32_s", vec![f(2_147_483_520.0)], Ok(2_147_483_520)),
        ("i32.trunc_f32_s", vec![f(-2_147_483_648.0)], Ok(0x8000_0000)),
        ("i32.trunc_f32_s", vec![f(-2_147_483_904.0)], Err(Over)),
        ("i32.trunc_f32_u", vec![f(-0.99)], Ok(0)),
        ("i32.trunc_f32_u", vec![f(-1.0)], Err(Over)),
        ("i32.trunc_f32_u", vec![f(4_294_967_040.0)], Ok(4_294_967_040)),
        ("i32.trunc_f32_u", vec![f(4_294_967_296.0)], Err(Over)),
        ("i32.trunc_f64_s", vec![d(2_147_483_647.9)], Ok(2_147_483_647)),
        ("i32.trunc_f64_s", vec![d(2_147_483_648.0)], Err(Over)),
        ("i32.trunc_f64_s", vec![d(-2_147_483_648.9)], Ok(0x8000_0000)),
        ("i32.trunc_f64_s", vec![d(-2_147_483_649.0)], Err(Over)),
        ("i32.trunc_f64_u", vec![d(4_294_967_295.9)], Ok(u64::from(u32::MAX))),
        ("i32.trunc_f64_u", vec![d(4_294_967_296.0)], Err(Over)),
        ("i32.trunc_f64_u", vec![d(f64::INFINITY)], Err(Over)),
        ("i32.trunc_f64_u", vec![d(f64::NAN)], Err(Nan)),
        ("i64.trunc_f32_s", vec![f(two63 as f32)], Err(Over)),
        ("i64.trunc_f32_s", vec![f(-two63 as f32)], Ok(1 << 63)),
        ("i64.trunc_f32_u", vec![f(two64 as f32)], Err(Over)),
        ("i64.trunc_f32_u", vec![f(f32::NEG_INFINITY)], Err(Over)),
        ("i64.trunc_f64_s", vec![d(two63)], Err(Over)),
        ("i64.trunc_f64_s", vec![d(two63 - 1024.0)], Ok((1 << 63) - 1024)),
        ("i64.trunc_f64_s", vec![d(-two63)], Ok(1 << 63)),
        ("i64.trunc_f64_s", vec![d(-two63 - 2048.0)], Err(Over)),
        ("i64.trunc_f64_u", vec![d(two64)], Err(Over)),
        ("i64.trunc_f64_u", vec![d(two64 - 2048.0)], Ok(u64::MAX - 2047)),
        ("i64.trunc_f64_u", vec![d(-1.0)], Err(Over)),
        ("i64.trunc_f64_u", vec![d(-f64::NAN)], Err(Nan)),
    ];
    for (op, args, expected) in cases {
        let (to, from) = match op.split_once('.').expect("a name") {
            (to, name) if name.starts_with("trunc") => (to, &name[6..9]),
            (to, _) => (to, to),
        };
        let gets = (0..args.len()).fold(String::new(), |out, i| format!("{out} local.get {i}"));
        let params = format!(" {from}").repeat(args.len());
        // From slots, from the accumulator, and with a local in between.
        let text = format!(
            "(module (func (export \"slots\") (param{params}) (result {to}) {gets} {op})
               (func (export \"acc\") (param{params}) (result {to}) nop {gets}
                 call $same {op} local.get 0 drop)
               (func (export \"stored\") (param{params}) (result {to}) (local {to} {to})
                 {gets} {op} local.tee {0} local.set {1} local.get {1})
               (func $same (param {from}) (result {from}) local.get 0))",
            args.len(),
            args.len() + 1
        );
        let mut offsets = Vec::new();
        for engine in engines() {
            let (mut store, instance) = open(&engine, &text);
            for name in ["slots", "acc", "stored"] {
                let func = instance.get_func(&store, name).expect("an export");
                let mut results = [Val::I32(0)];
                match func.call(&mut store, &args, &mut results) {
                    Ok(()) => assert_eq!(
                        Ok(hostile_support::bits(&results[0])),
                        expected,
                        "{op} {args:?}"
                    ),
                    Err(error) => {
                        assert_eq!(error.trap_code(), expected.err(), "{op} {args:?}");
                        let frames = error.backtrace().expect("a backtrace").frames();
                        assert_eq!(frames.len(), 1);
                        offsets.push((name, frames[0].module_offset()));
                    }
                }
            }
        }
        // All configurations name the same places.
        let per_engine = offsets.len() / engines().count();
        assert!(
            offsets.chunks(per_engine.max(1)).all(|part| part == &offsets[..per_engine]),
            "{op}"
        );
    }
}

#[test]
fn t4_the_offset_of_a_trap_is_that_of_its_operator() {
    let bytes = wat_bytes(
        "(module (memory 1) (func (export \"f\") (param i32) (result i32)
           local.get 0 i32.const 1 i32.add local.tee 0 i32.const 2 i32.shl
           local.get 0 i32.add i32.load))",
    );
    // The only i32.load: opcode 0x28, align 2, offset 0.
    let at = bytes.windows(3).position(|w| w == [0x28, 2, 0]).expect("a load");
    for engine in engines() {
        let module = Module::new(&engine, &bytes).expect("a module");
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("no imports");
        let func = instance.get_func(&store, "f").expect("an export");
        let error =
            func.call(&mut store, &[Val::I32(-100)], &mut [Val::I32(0)]).expect_err("a trap");
        assert_eq!(error.backtrace().expect("one").frames()[0].module_offset(), at);
    }
}

fn wat_bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("text")
}

#[test]
fn t5_backtraces_of_nothing_of_tail_calls_and_of_very_many_frames() {
    let text = r#"(module (import "h" "fail" (func $fail))
        (func $c (export "c") unreachable)
        (func $b return_call $c) (func (export "a") return_call $b)
        (func (export "tail_host") return_call $fail)
        (func $deep (export "deep") (param i32)
            local.get 0 i32.eqz if unreachable end
            local.get 0 i32.const 1 i32.sub call $deep)
        (export "fail" (func $fail)))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.max_wasm_stack(64 << 20);
        });
        let mut linker = Linker::<()>::new(&engine);
        let fail = || -> palisade::Result<()> { Err(TrapCode::UnalignedAtomic.into()) };
        linker.func_wrap("h", "fail", fail).expect("a definition");
        let mut store = store(&engine);
        let instance = link(&linker, &mut store, text);
        let mut trace = |name: &str, args: &[Val]| {
            let func = instance.get_func(&store, name).expect("an export");
            let error = func.call(&mut store, args, &mut []).expect_err("a trap");
            let text = error.to_string();
            assert!(text.len() < 20_000 && format!("{error:?}").len() < 20_000);
            let frames = error.backtrace().map(|b| (b.frames().len(), b.omitted()));
            let names = error.backtrace().into_iter().flat_map(|b| b.frames().to_vec());
            let names: Vec<_> = names.map(|f| f.func_index()).collect();
            (frames.unwrap_or_default(), names)
        };
        // A host function called by the host: no frames of a guest.
        assert_eq!(trace("fail", &[]).0, (0, 0));
        // Of a chain of tail calls only the last is there.
        let ((count, omitted), names) = trace("a", &[]);
        assert_eq!((count, omitted, names), (1, 0, vec![1]));
        assert!(trace("tail_host", &[]).0.0 <= 1);
        for depth in [0, 1, 99, 198, 199, 200, 201, 100_000, 500_000] {
            let ((count, omitted), _) = trace("deep", &[Val::I32(depth)]);
            assert_eq!(count as u64 + omitted, depth as u64 + 1, "{depth}");
            assert!(count <= 200);
        }
    }
}

#[test]
fn h7_imports_that_are_unknown_or_of_another_type_do_not_link() {
    let engine = engine_with(DISPATCHERS[0], |_| {});
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("m", "f", |_: i32| 0i64).expect("a definition");
    let mut store = store(&engine);
    let source = r#"(module (memory (export "mem") 1 3) (table (export "tab") 2 5 funcref)
        (global (export "glob") i32 (i32.const 1)) (global (export "var") (mut i32) (i32.const 1)))"#;
    let source = link(&linker, &mut store, source);
    linker.instance(&mut store, "m", source).expect("definitions");
    let ok = [
        r#""m" "f" (func (param i32) (result i64))"#,
        r#""m" "mem" (memory 1)"#,
        r#""m" "mem" (memory 1 4)"#,
        r#""m" "tab" (table 1 funcref)"#,
        r#""m" "glob" (global i32)"#,
        r#""m" "var" (global (mut i32))"#,
    ];
    let missing = [
        r#""m" "F" (func)"#,
        r#""M" "f" (func)"#,
        r#""" "" (func)"#,
        r#""m" "f " (func)"#,
        r#""wasi_unstable" "fd_write" (func (param i32 i32 i32 i32) (result i32))"#,
        r#""wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))"#,
        r#""env" "memory" (memory 1)"#,
    ];
    let wrong = [
        r#""m" "f" (func)"#,
        r#""m" "f" (func (param i32) (result i32))"#,
        r#""m" "f" (func (param i32 i32) (result i64))"#,
        r#""m" "f" (memory 1)"#,
        r#""m" "f" (global i32)"#,
        r#""m" "mem" (memory 2)"#,
        r#""m" "mem" (memory 1 2)"#,
        r#""m" "mem" (memory i64 1)"#,
        r#""m" "mem" (func)"#,
        r#""m" "tab" (table 3 funcref)"#,
        r#""m" "tab" (table 1 4 funcref)"#,
        r#""m" "tab" (table 1 externref)"#,
        r#""m" "tab" (table i64 1 funcref)"#,
        r#""m" "glob" (global i64)"#,
        r#""m" "glob" (global (mut i32))"#,
        r#""m" "var" (global i32)"#,
    ];
    let mut attempt = |import: &str| {
        let module = module(&engine, &format!("(module (import {import}))"));
        linker.instantiate(&mut store, &module)
    };
    for import in ok {
        attempt(import).unwrap_or_else(|error| panic!("{import}: {error}"));
    }
    for import in missing {
        let error = attempt(import).expect_err(import);
        assert!(matches!(error.kind(), ErrorKind::Link(LinkError::Missing { .. })), "{error}");
    }
    for import in wrong {
        let error = attempt(import).expect_err(import);
        assert!(matches!(error.kind(), ErrorKind::Link(LinkError::Mismatch { .. })), "{error}");
    }
}

/// The preview 1 functions exist under their own name only, and only with their own types.
#[test]
fn h7_wasi_has_no_aliases() {
    let engine = engine_with(DISPATCHERS[0], |_| {});
    let mut linker = Linker::<palisade_wasi::Wasi>::new(&engine);
    palisade_wasi::add_to_linker(&mut linker, |ctx| ctx).expect("definitions");
    for module_name in
        ["wasi_unstable", "wasi", "env", "wasi_snapshot_preview0", "wasi_snapshot_preview1 "]
    {
        let text =
            format!("(module (import \"{module_name}\" \"sched_yield\" (func (result i32))))");
        let error = linker.instantiate_pre(&module(&engine, &text)).expect_err("no such module");
        assert!(matches!(error.kind(), ErrorKind::Link(LinkError::Missing { .. })), "{error}");
    }
    for (ty, fine) in [("(result i32)", true), ("", false), ("(param i32) (result i32)", false)] {
        let text =
            format!("(module (import \"wasi_snapshot_preview1\" \"sched_yield\" (func {ty})))");
        let ctx = palisade_wasi::WasiCtx::builder().build().expect("a context");
        let mut store = Store::new(&engine, palisade_wasi::Wasi::new(ctx));
        let outcome = linker.instantiate(&mut store, &module(&engine, &text));
        assert_eq!(outcome.is_ok(), fine, "{ty}");
    }
}

/// An imported function in a table, a null beside it, and a function of another type.
#[test]
fn seen_imported_functions_in_tables_are_called_and_nulls_are_not() {
    let text = r#"(module (import "h" "f" (func $h (param i32) (result i32)))
        (table (export "t") 4 funcref) (elem (i32.const 0) funcref (ref.func $h) (ref.null func) (ref.func $g))
        (type $t (func (param i32) (result i32)))
        (func $g (result i32) i32.const 1)
        (func (export "f") (param i32) (result i32) i32.const 20 local.get 0 call_indirect (type $t)))"#;
    for engine in engines() {
        let mut store = store(&engine);
        let ty = FuncType::new([ValType::I32], [ValType::I32]);
        let host = Func::new(&mut store, ty, |_, args, results| {
            results[0] = Val::I32(args[0].i32().unwrap_or(0) + 1);
            Ok(())
        })
        .expect("a function");
        let module = module(&engine, text);
        let instance = Instance::new(&mut store, &module, &[host.into()]).expect("instantiation");
        let f = instance.get_func(&store, "f").expect("an export");
        for (index, expected) in [
            (0, Ok(vec![21])),
            (1, Err(TrapCode::UninitializedElement)),
            (2, Err(TrapCode::IndirectCallTypeMismatch)),
            (3, Err(TrapCode::UninitializedElement)),
            (4, Err(TrapCode::UndefinedElement)),
            (-1, Err(TrapCode::UndefinedElement)),
        ] {
            assert_eq!(call(&mut store, f, &[Val::I32(index)]), expected, "{index}");
        }
    }
}
