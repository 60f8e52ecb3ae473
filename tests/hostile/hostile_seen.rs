//! What other runtimes got wrong, tried here: calls with just more arguments than registers, imported functions in
//! tables, operators whose result replaces an operand, lists of handlers that outgrow a fixed array.

mod hostile_support;

use std::fmt::Write;

use hostile_support::{Outcome, engines, invoke, store};
use palisade::{Engine, Instance, Linker, Module, Store, TrapCode, Val};

fn instantiate(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut store = store(engine);
    let mut linker = Linker::<()>::new(engine);
    linker.func_wrap("h", "add", |a: i32, b: i32| a.wrapping_add(b)).expect("a new name");
    let instance = linker.instantiate(&mut store, &module).expect("instantiation");
    (store, instance)
}

/// Tail calls with 0 to 40 parameters of all types, from functions with fewer and with more.
#[test]
fn s3_tail_calls_with_any_number_of_parameters_pass_each_of_them() {
    const TYPES: [&str; 5] = ["i32", "i64", "f32", "f64", "externref"];
    let mut text = String::from("(module (table $t 41 funcref)\n");
    for count in 0..=40usize {
        let types: Vec<_> = (0..count).map(|i| TYPES[i % 5]).collect();
        let params = types.join(" ");
        // The sum of all numbers, each with a weight of its own, and of the nulls.
        let mut sum = String::from("i64.const 0\n");
        let mut args = String::new();
        for (i, ty) in types.iter().enumerate() {
            let number = match *ty {
                "i32" => "i64.extend_i32_s",
                "i64" => "",
                "f32" => "i64.trunc_f32_s",
                "f64" => "i64.trunc_f64_s",
                _ => "ref.is_null i64.extend_i32_u",
            };
            let _ = writeln!(sum, "local.get {i} {number} i64.const {} i64.mul i64.add", i + 1);
            let _ = match *ty {
                "externref" => writeln!(args, "ref.null extern"),
                ty => writeln!(args, "{ty}.const {}", 1000 + i),
            };
        }
        let _ = write!(
            text,
            "(type $t{count} (func (param {params}) (result i64)))
             (func $f{count} (type $t{count}) {sum})
             (elem (table $t) (i32.const {count}) func $f{count})
             (func (export \"direct{count}\") (result i64) {args} return_call $f{count})
             (func (export \"indirect{count}\") (param i64 f64) (result i64)
               {args} i32.const {count} return_call_indirect $t (type $t{count}))
             (func $deep{count} (param {many}) (result i64)
               {args} ref.func $f{count} return_call_ref $t{count})
             (func (export \"ref{count}\") (result i64) {zeros} return_call $deep{count})\n",
            many = "i64 ".repeat(25),
            zeros = "i64.const -1 ".repeat(25),
        );
    }
    text.push(')');
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &text);
        for count in 0..=40u64 {
            let value = |i: u64| if i % 5 == 4 { 1 } else { 1000 + i };
            let expected: u64 = (0..count).map(|i| (i + 1) * value(i)).sum();
            for (kind, args) in
                [("direct", &[][..]), ("indirect", &[Val::I64(5), Val::F64(7)]), ("ref", &[])]
            {
                let outcome = invoke(&mut store, instance, &format!("{kind}{count}"), args);
                assert_eq!(outcome, Ok(vec![expected]), "{kind}{count}");
            }
        }
    }
}

/// An imported function in a table is a function like any other, wherever the table had it from.
#[test]
fn m4_imported_functions_in_tables_are_called() {
    let text = r#"(module
        (import "h" "add" (func $add (param i32 i32) (result i32)))
        (type $two (func (param i32 i32) (result i32)))
        (table $t 4 funcref) (table $u 2 (ref null $two)) (table $v 2 2 (ref $two) (ref.func $add))
        (elem (table $t) (i32.const 0) func $add)
        (elem $passive func $add)
        (elem declare func $add)
        (func (export "active") (result i32)
            (call_indirect $t (type $two) (i32.const 1) (i32.const 2) (i32.const 0)))
        (func (export "passive") (result i32)
            (table.init $t $passive (i32.const 1) (i32.const 0) (i32.const 1))
            (call_indirect $t (type $two) (i32.const 3) (i32.const 4) (i32.const 1)))
        (func (export "set") (result i32)
            (table.set $t (i32.const 2) (ref.func $add))
            (call_indirect $t (type $two) (i32.const 5) (i32.const 6) (i32.const 2)))
        (func (export "typed") (result i32)
            (table.set $u (i32.const 1) (ref.func $add))
            (call_ref $two (i32.const 7) (i32.const 8) (table.get $u (i32.const 1))))
        (func (export "initial") (result i32)
            (call_indirect $v (type $two) (i32.const 9) (i32.const 10) (i32.const 1)))
        (func (export "copied") (result i32)
            (table.copy $t $t (i32.const 3) (i32.const 0) (i32.const 1))
            (return_call_indirect $t (type $two) (i32.const 11) (i32.const 12) (i32.const 3)))
        (func (export "null") (result i32)
            (call_indirect $u (type $two) (i32.const 1) (i32.const 2) (i32.const 0)))
        (func (export "null_ref") (result i32)
            (call_ref $two (i32.const 1) (i32.const 2) (table.get $u (i32.const 0)))))"#;
    let cases: [(&str, Outcome); 8] = [
        ("active", Ok(vec![3])),
        ("passive", Ok(vec![7])),
        ("set", Ok(vec![11])),
        ("typed", Ok(vec![15])),
        ("initial", Ok(vec![19])),
        ("copied", Ok(vec![23])),
        ("null", Err(TrapCode::UninitializedElement)),
        ("null_ref", Err(TrapCode::NullFunctionReference)),
    ];
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        for (name, expected) in &cases {
            assert_eq!(invoke(&mut store, instance, name, &[]), *expected, "{name}");
        }
    }
}

/// Division and remainder whose result goes where an operand was, or whose operands are one.
#[test]
fn c8_divisions_into_their_own_operands() {
    let ops = ["div_s", "div_u", "rem_s", "rem_u"];
    let mut text = String::from("(module\n");
    for t in ["i32", "i64"] {
        for op in ops {
            let name = format!("{t}.{op}");
            let _ = write!(
                text,
                "(func (export \"{name} a\") (param {t} {t}) (result {t} {t})
                   local.get 0 local.get 1 {name} local.set 0 local.get 0 local.get 1)
                 (func (export \"{name} b\") (param {t} {t}) (result {t} {t})
                   local.get 0 local.get 1 {name} local.set 1 local.get 1 local.get 0)
                 (func (export \"{name} same\") (param {t} {t}) (result {t} {t})
                   local.get 0 local.tee 1 local.get 1 {name} local.tee 1 local.get 0)\n"
            );
        }
    }
    text.push(')');
    let values = [1i64, 2, 3, 7, -1, -2, -7, i64::MAX, i64::MIN, 1 << 31, -(1 << 31), 0xffff_ffff];
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &text);
        for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (*a, *b))) {
            for op in ops {
                let wide = match op {
                    "div_s" => a.checked_div(b).map(|x| x as u64),
                    "div_u" => Some(a as u64 / b as u64),
                    "rem_s" => Some(a.wrapping_rem(b) as u64),
                    _ => Some(a as u64 % b as u64),
                };
                let (x, y) = (a as i32, b as i32);
                let narrow = match op {
                    "div_s" => x.checked_div(y).map(|x| x as u32),
                    "div_u" => (x as u32).checked_div(y as u32),
                    "rem_s" => (y != 0).then(|| x.wrapping_rem(y) as u32),
                    _ => (x as u32).checked_rem(y as u32),
                };
                let mut check = |t: &str, args: [Val; 2], result: Option<u64>, a: u64, b: u64| {
                    for (kind, other) in [("a", b), ("b", a)] {
                        let outcome =
                            invoke(&mut store, instance, &format!("{t}.{op} {kind}"), &args);
                        match result {
                            Some(result) => assert_eq!(
                                outcome,
                                Ok(vec![result, other]),
                                "{t}.{op} {kind} {args:?}"
                            ),
                            None => assert!(outcome.is_err(), "{t}.{op} {kind} {args:?}"),
                        }
                    }
                    let outcome = invoke(&mut store, instance, &format!("{t}.{op} same"), &args);
                    let one = u64::from(op.starts_with("div"));
                    if a != 0 {
                        assert_eq!(outcome, Ok(vec![one, a]), "{t}.{op} same {args:?}");
                    }
                };
                check("i64", [Val::I64(a), Val::I64(b)], wide, a as u64, b as u64);
                let args = [Val::I32(x), Val::I32(y)];
                check("i32", args, narrow.map(u64::from), u64::from(x as u32), u64::from(y as u32));
            }
        }
    }
}

/// A tag with twenty values of every type, and more clauses than fit a small array, the right one last.
#[test]
fn t2_twenty_values_and_forty_clauses() {
    let types = ["i32", "i64", "f32", "f64", "v128"];
    let params: Vec<_> = (0..20).map(|i| types[i % 5]).collect();
    let mut values = String::new();
    for (i, ty) in params.iter().enumerate() {
        let _ = match *ty {
            "v128" => writeln!(values, "(v128.const i64x2 {i} {i})"),
            ty => writeln!(values, "({ty}.const {i})"),
        };
    }
    let mut text = format!("(module (tag $wide (param {}))\n", params.join(" "));
    let mut clauses = String::new();
    for i in 0..40 {
        let _ = writeln!(text, "(tag $no{i})");
        let _ = write!(clauses, "(catch $no{i} $missed)");
    }
    let results = params.join(" ");
    let _ = write!(
        text,
        "(func $throw {values} throw $wide)
         (func (export \"run\") (result {results})
           block $missed
             block $caught (result {results})
               (try_table {clauses} (catch $wide $caught) (catch_all $missed) call $throw)
               unreachable
             end
             return
           end
           unreachable))"
    );
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &text);
        let run = instance.get_func(&store, "run").expect("an export");
        let mut results = vec![Val::I32(0); 20];
        run.call(&mut store, &[], &mut results).expect("caught");
        for (i, value) in results.iter().enumerate() {
            let found = match value {
                Val::I32(x) => u128::from(*x as u32),
                Val::I64(x) => *x as u128,
                Val::F32(x) => f32::from_bits(*x) as u128,
                Val::F64(x) => f64::from_bits(*x) as u128,
                Val::V128(x) => x.as_u128(),
                other => panic!("{other:?}"),
            };
            let i = i as u128;
            let expected = if matches!(value, Val::V128(_)) { i << 64 | i } else { i };
            assert_eq!(found, expected, "value {i}");
        }
    }
}
