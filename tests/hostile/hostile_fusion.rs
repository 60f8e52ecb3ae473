//! C8: the interpreter fuses, folds and delays; a program must mean the same as if it did not.
//!
//! Seeded random programs are run by both dispatchers, with and without fuel, and judged by an
//! evaluator of the trees that they were made from. With `PALISADE_SEEDS=FROM..TO` in the environment the first
//! test takes those seeds instead of its own: for longer runs than a test may have.

#[path = "hostile_support/ast.rs"]
mod ast;
#[path = "hostile_support/generate.rs"]
mod generate;
#[path = "hostile_support/generate_steps.rs"]
mod generate_steps;
mod hostile_support;
#[path = "hostile_support/judge.rs"]
mod judge;
#[path = "hostile_support/programs.rs"]
mod programs;
#[path = "hostile_support/steps.rs"]
mod steps;

use ast::Ty;
use hostile_support::{engines, interpreters, invoke, store};
use palisade::{Engine, Instance, Module, TrapCode, Val};

/// The seeds that the environment asks for.
fn seeds() -> Option<(u64, u64)> {
    let asked = std::env::var("PALISADE_SEEDS").ok()?;
    let bounds = asked.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    Some(bounds.unwrap_or_else(|| panic!("PALISADE_SEEDS is FROM..TO, not {asked}")))
}

#[test]
fn c8_random_programs_mean_what_their_trees_mean_1() {
    let (from, to) = seeds().unwrap_or((0, 100));
    programs::range(&interpreters().collect::<Vec<Engine>>(), from, to);
}

#[test]
fn c8_random_programs_mean_what_their_trees_mean_2() {
    programs::range(&interpreters().collect::<Vec<Engine>>(), 100_000, 100_100);
}

/// Every comparison of floats in front of every consumer, with NaNs and zeros of both signs.
#[test]
fn c8_negated_comparisons_of_floats_keep_nans_apart() {
    let mut text = String::from("(module");
    let comparisons = ["eq", "ne", "lt", "gt", "le", "ge"];
    for ty in ["f32", "f64"] {
        for op in comparisons {
            let compare = format!("local.get 0 local.get 1 {ty}.{op}");
            let folded = format!("local.get 0 {ty}.const nan {ty}.{op}");
            let consumers = [
                compare.clone(),
                format!("{compare} i32.eqz i32.eqz"),
                format!("{compare} i32.eqz if (result i32) i32.const 0 else i32.const 1 end"),
                format!("{compare} if (result i32) i32.const 1 else i32.const 0 end"),
                format!("block {compare} br_if 0 i32.const 0 return end i32.const 1"),
                format!("block {compare} i32.eqz br_if 0 i32.const 1 return end i32.const 0"),
                format!("i32.const 1 i32.const 0 {compare} select"),
                format!("i32.const 0 i32.const 1 {compare} i32.eqz select"),
                format!(
                    "(block (result i32) i32.const 9 i32.const 1 {compare} br_if 0 drop drop i32.const 0)"
                ),
                format!("{compare} {folded} i32.eqz i32.and {folded} i32.or"),
            ];
            for (number, body) in consumers.iter().enumerate() {
                let name = format!("{ty}.{op}.{number}");
                text +=
                    &format!("(func (export \"{name}\") (param {ty} {ty}) (result i32) {body})\n");
            }
        }
    }
    text.push(')');
    let numbers = [0.0, -0.0, 1.0, -1.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for engine in engines() {
        let module = Module::new(&engine, &text).expect("a module");
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
        for (a, b) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (*a, *b))) {
            for op in comparisons {
                let holds = match op {
                    "eq" => a == b,
                    "ne" => a != b,
                    "lt" => a < b,
                    "gt" => a > b,
                    "le" => a <= b,
                    _ => a >= b,
                };
                for consumer in 0..10 {
                    for ty in [Ty::F32, Ty::F64] {
                        let args = [a, b].map(|x| match ty {
                            Ty::F32 => Val::F32((x as f32).to_bits()),
                            _ => Val::F64(x.to_bits()),
                        });
                        let name = format!("{}.{op}.{consumer}", ty.name());
                        // The last consumer compares with a constant NaN besides.
                        let expected = if consumer == 9 { holds || op == "ne" } else { holds };
                        let outcome = invoke(&mut store, instance, &name, &args);
                        let expected =
                            if consumer == 9 && op == "ne" { 1 } else { u64::from(expected) };
                        assert_eq!(outcome, Ok(vec![expected]), "{name} {a} {b}");
                    }
                }
            }
        }
    }
}

/// An index that is a sum wraps at 2^32 before the offset is added, and not after.
#[test]
fn c8_fused_addresses_wrap_before_the_offset_is_added() {
    let text = r#"(module (memory 1) (data (i32.const 0) "\2a") (data (i32.const 65535) "\2b")
        (func (export "sum") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.add i32.load8_u)
        (func (export "shifted") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.const 3 i32.shl i32.add i32.load8_u)
        (func (export "shifted_acc") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.const 1 i32.mul i32.const 35 i32.shl i32.add i32.load8_u)
        (func (export "far") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.add i32.load8_u offset=0xffffffff)
        (func (export "store") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.add i32.const 43 i32.store8
            local.get 0 local.get 1 i32.const 3 i32.shl i32.add local.get 1 i32.store8 offset=8
            local.get 0 local.get 1 i32.const 3 i32.shl i32.add i32.load8_u offset=8))"#;
    for engine in engines() {
        let module = Module::new(&engine, text).expect("a module");
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
        let mut run = |name, a: u32, b: u32| {
            invoke(&mut store, instance, name, &[Val::I32(a as i32), Val::I32(b as i32)])
        };
        let out = Err(TrapCode::MemoryOutOfBounds);
        assert_eq!(run("sum", u32::MAX, 1), Ok(vec![42]));
        assert_eq!(run("sum", 0x8000_0000, 0x8000_0000), Ok(vec![42]));
        assert_eq!(run("sum", 0x8000_0000, 0x8000_FFFF), Ok(vec![43]));
        assert_eq!(run("sum", 0x8000_0000, 0x8001_0000), out);
        assert_eq!(run("sum", u32::MAX, 0), out);
        for name in ["shifted", "shifted_acc"] {
            assert_eq!(run(name, (-80i32) as u32, 10), Ok(vec![42]));
            assert_eq!(run(name, 8, 0x1FFF_FFFF), Ok(vec![42]));
            assert_eq!(run(name, 7, 0x1FFF_FFFF), out);
            assert_eq!(run(name, 65_535, 0x2000_0000), Ok(vec![43]));
        }
        // Index 1 and offset 2^32 - 1 are 2^32, not 0.
        assert_eq!(run("far", 0, 1), out);
        assert_eq!(run("far", u32::MAX, 2), out);
        assert_eq!(run("far", u32::MAX, 1), out);
        assert_eq!(run("store", u32::MAX, 1), Ok(vec![1]));
        assert_eq!(run("store", 0xFFFF_FFF0, 0x1000_0002), out);
    }
}
