//! Modules of random programs with what their trees mean, run on engines of any kind.

use palisade::{Engine, Instance, Module, TrapCode, Val};

use crate::ast::{self, LOCALS, PARAMS, TYPES, Ty, local_ty, shown};
use crate::generate::{self, Generator};
use crate::hostile_support::{Rng, bits, invoke, store};
use crate::judge::Machine;

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

/// Runs the programs of a seed on engines; how many of them ran to their end.
pub fn check(engines: &[Engine], seed: u64) -> usize {
    let (text, cases) = cases(seed);
    for engine in engines {
        let module = match Module::new(engine, &text) {
            Ok(module) => module,
            Err(error) => panic!("seed {seed}: {error}\n{text}"),
        };
        let mut store = store(engine);
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
pub fn range(engines: &[Engine], from: u64, to: u64) {
    let (mut total, mut complete) = (0, 0);
    for seed in from..to {
        complete += check(engines, seed);
        total += BATCH as usize * INPUTS;
    }
    // Programs that all trap at once would prove nothing.
    assert!(complete * 2 > total, "only {complete} of {total} ran to their end");
}
