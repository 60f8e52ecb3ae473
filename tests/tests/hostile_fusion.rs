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
#[path = "hostile_support/steps.rs"]
mod steps;

use ast::{LOCALS, PARAMS, TYPES, Ty, local_ty, shown};
use generate::Generator;
use hostile_support::{Rng, bits, engines, invoke, store};
use judge::Machine;
use palisade::{Instance, Module, TrapCode, Val};

/// Programs in one module.
const BATCH: u64 = 16;
/// Each program is run with so many sets of parameters.
const INPUTS: usize = 4;

fn val(ty: Ty, bits: u64) -> Val {
    match ty {
        Ty::I32 => Val::I32(bits as i32),
        Ty::I64 => Val::I64(bits as i64),
        Ty::F32 => Val::F32(bits as u32),
        Ty::F64 => Val::F64(bits),
        Ty::V128 | Ty::Ref => panic!("no parameter is a {ty:?}"),
    }
}

/// NaNs are all the same; which one an operator gives is not laid down.
fn alike(ty: Ty, a: u64, b: u64) -> bool {
    match ty {
        Ty::F32 => {
            a == b || (f32::from_bits(a as u32).is_nan() && f32::from_bits(b as u32).is_nan())
        }
        Ty::F64 => a == b || (f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan()),
        _ => a == b,
    }
}

struct Case {
    text: String,
    result: Ty,
    params: Vec<u64>,
    outcome: Result<Vec<u64>, TrapCode>,
    globals: [u64; 4],
    memory: Vec<u8>,
}

fn cases(seed: u64) -> (String, Vec<Case>) {
    let mut rng = Rng::new(seed);
    let mut module = ast::prelude();
    let mut cases = Vec::new();
    for number in 0..BATCH {
        let (stmts, last) = Generator::new(&mut rng).program();
        let text = ast::function(&format!("f{number}"), &stmts, &last);
        for _ in 0..INPUTS {
            let params = generate::params(&mut rng);
            let mut machine = Machine::new(&params, pattern());
            let outcome = machine.run(&stmts, &last);
            cases.push(Case {
                text: text.clone(),
                result: last.ty(),
                params,
                outcome,
                globals: machine.globals,
                memory: machine.memory,
            });
        }
        module.push_str(&text);
    }
    (module, cases)
}

/// What the memory holds at the start: floats in it are no NaNs.
fn pattern() -> Vec<u8> {
    (0..65_536u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 25) as u8).collect()
}

fn check(seed: u64) -> usize {
    let (text, cases) = cases(seed);
    for engine in engines() {
        let module = match Module::new(&engine, &text) {
            Ok(module) => module,
            Err(error) => panic!("seed {seed}: {error}\n{text}"),
        };
        let mut store = store(&engine);
        let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
        let memory = instance.get_memory(&store, "memory").expect("a memory");
        let globals = TYPES.map(|ty| instance.get_global(&store, ty.name()).expect("a global"));
        let start = [Val::I32(7), Val::I64(7), Val::F32(7f32.to_bits()), Val::F64(7f64.to_bits())];
        for (number, case) in cases.iter().enumerate() {
            memory.write(&mut store, 0, &pattern()).expect("room");
            for (global, value) in globals.iter().zip(start) {
                global.set(&mut store, value).expect("mutable");
            }
            let args: Vec<_> =
                (0..PARAMS).map(|local| val(local_ty(local), case.params[local])).collect();
            let name = format!("f{}", number / INPUTS);
            let outcome = invoke(&mut store, instance, &name, &args);
            let what = || {
                format!("seed {seed} {:?} case {number}: {args:?}\n{}", engine.config(), case.text)
            };
            match (&outcome, &case.outcome) {
                (Ok(found), Ok(expected)) => {
                    let types =
                        std::iter::once(case.result).chain((0..LOCALS).map(|i| shown(local_ty(i))));
                    for (position, ty) in types.enumerate() {
                        let (found, expected) = (found[position], expected[position]);
                        assert!(
                            alike(ty, found, expected),
                            "result {position} is {found:#x}, not {expected:#x}; {}",
                            what()
                        );
                    }
                }
                (found, expected) => assert_eq!(found, expected, "{}", what()),
            }
            for (ty, global) in TYPES.iter().zip(&globals) {
                let found = bits(&global.get(&mut store).expect("a global"));
                let expected = case.globals[*ty as usize];
                assert!(found == expected, "{ty:?} is {found:#x}, not {expected:#x}; {}", what());
            }
            let found = memory.data(&store);
            if let Some(at) = (0..found.len()).find(|&at| found[at] != case.memory[at]) {
                panic!("byte {at} is {}, not {}; {}", found[at], case.memory[at], what());
            }
        }
    }
    cases.iter().filter(|case| case.outcome.is_ok()).count()
}

/// Batches, each with its own range of seeds, so that they run side by side.
fn range(from: u64, to: u64) {
    let (mut total, mut complete) = (0, 0);
    for seed in from..to {
        complete += check(seed);
        total += BATCH as usize * INPUTS;
    }
    // Programs that all trap at once would prove nothing.
    assert!(complete * 2 > total, "only {complete} of {total} ran to their end");
}

/// The seeds that the environment asks for.
fn seeds() -> Option<(u64, u64)> {
    let asked = std::env::var("PALISADE_SEEDS").ok()?;
    let bounds = asked.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    Some(bounds.unwrap_or_else(|| panic!("PALISADE_SEEDS is FROM..TO, not {asked}")))
}

#[test]
fn c8_random_programs_mean_what_their_trees_mean_1() {
    let (from, to) = seeds().unwrap_or((0, 100));
    range(from, to);
}

#[test]
fn c8_random_programs_mean_what_their_trees_mean_2() {
    range(100_000, 100_100);
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
