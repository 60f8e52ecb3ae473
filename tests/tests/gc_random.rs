//! Seeded random programs that let references wait on the operand stack, in locals and in objects while others
//! are made: through blocks, branches of every kind, loops, calls, tail calls and the host. Judged by an
//! evaluator of their trees, which collects nothing; run in every engine, with and without fuel, and with
//! a collection at every allocation.

#[path = "gc_support/ast.rs"]
mod ast;
#[path = "gc_support/generate.rs"]
mod generate;
mod hostile_support;
#[path = "gc_support/judge.rs"]
mod judge;

use hostile_support::{Rng, engine_with};
use judge::{Leave, Machine};
use palisade::{
    Caller, Engine, FuncType, HeapType, Instance, Linker, Module, RefType, Store, TrapCode, Val,
    ValType,
};
use palisade_tests::{ENGINES, Kind};

/// Each program is run with so many inputs, one after the other.
const INPUTS: [i32; 3] = [0, 1, 6];

struct Case {
    seed: u64,
    text: String,
    expected: Vec<Result<i64, TrapCode>>,
}

/// A program and what it gives; `None` if that takes too long.
fn case(seed: u64) -> Option<Case> {
    let mut rng = Rng::new(seed);
    let funcs = generate::program(&mut rng);
    let text = ast::module(&funcs);
    let mut machine = Machine::new(&funcs);
    let mut expected = Vec::new();
    for input in INPUTS {
        match machine.run(input) {
            Ok(sum) => expected.push(Ok(sum)),
            Err(Leave::Trap(code)) => expected.push(Err(code)),
            Err(Leave::TooLong) => return None,
            Err(Leave::Branch(..) | Leave::Return(_)) => panic!("{seed}: a branch to nowhere"),
        }
    }
    Some(Case { seed, text, expected })
}

/// Lets the guest make objects, while the host has references in its hands.
fn make(caller: &mut Caller<'_, ()>) -> Result<(), palisade::Error> {
    let make = caller.get_export("make").and_then(|e| e.into_func()).expect("an export");
    make.call(caller, &[Val::I32(5)], &mut [Val::I32(0)])
}

fn linker(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    let any = ValType::Ref(RefType::new(true, HeapType::Any));
    let pass = FuncType::new([any.clone(), ValType::I32, any.clone()], [any.clone()]);
    let give_one = |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
        let Val::I32(which) = args[1] else { panic!("no number") };
        make(&mut caller)?;
        results[0] = args[if which & 1 == 0 { 0 } else { 2 }];
        Ok(())
    };
    linker.func_new("h", "pass", pass, give_one).unwrap();
    let busy = FuncType::new([any, ValType::I32], [ValType::I32]);
    let be_busy = |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
        make(&mut caller)?;
        let Val::I32(number) = args[1] else { panic!("no number") };
        results[0] = Val::I32(number.wrapping_add(3));
        Ok(())
    };
    linker.func_new("h", "busy", busy, be_busy).unwrap();
    linker
}

fn outcomes(engine: &Engine, case: &Case) -> Vec<Result<i64, TrapCode>> {
    let module = match Module::new(engine, &case.text) {
        Ok(module) => module,
        Err(error) => panic!("{}: {error}\n{}", case.seed, case.text),
    };
    let mut store = Store::new(engine, ());
    let _ = store.set_fuel(i64::MAX as u64);
    let instance: Instance = linker(engine).instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<i32, i64>(&mut store, "run").unwrap();
    let mut once = |input| {
        run.call(&mut store, input).map_err(|e| e.trap_code().unwrap_or_else(|| panic!("{e}")))
    };
    INPUTS.into_iter().map(&mut once).collect()
}

/// Runs programs. How many there were, and how many of their runs trapped.
fn programs(seeds: std::ops::Range<u64>) -> (usize, usize) {
    let engines: Vec<(Kind, bool, bool, Engine)> = ENGINES
        .into_iter()
        .flat_map(|kind| [(false, false), (false, true), (true, true)].map(|(f, s)| (kind, f, s)))
        .map(|(kind, fuel, stress)| {
            let engine = engine_with(kind, |config| {
                config.consume_fuel(fuel).gc_stress(stress);
            });
            (kind, fuel, stress, engine)
        })
        .collect();
    let (mut run, mut trapped) = (0, 0);
    for case in seeds.filter_map(case) {
        run += 1;
        trapped += case.expected.iter().filter(|outcome| outcome.is_err()).count();
        for (kind, fuel, stress, engine) in &engines {
            let found = outcomes(engine, &case);
            assert_eq!(
                found, case.expected,
                "seed {}, {kind:?}, fuel {fuel}, stress {stress}\n{}",
                case.seed, case.text
            );
        }
    }
    (run, trapped)
}

/// So that the programs are worth running: most end by themselves.
fn check(seeds: std::ops::Range<u64>) {
    let count = (seeds.end - seeds.start) as usize;
    let (run, trapped) = programs(seeds);
    println!("{run} programs of {count}, {trapped} runs trapped");
    assert!(run * 10 > count * 9, "{run} of {count} were short enough");
    assert!(trapped * 5 < run * INPUTS.len(), "{trapped} runs trapped");
}

#[test]
fn references_survive_wherever_they_wait_1() {
    check(0..400);
}

#[test]
fn references_survive_wherever_they_wait_2() {
    check(400..800);
}

/// As many programs as a variable says, from the seed that another one says.
#[test]
fn references_survive_in_as_many_programs_as_are_asked_for() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let start = number("PALISADE_GC_SEED").unwrap_or(10_000);
    check(start..start + number("PALISADE_GC_PROGRAMS").unwrap_or(20));
}
