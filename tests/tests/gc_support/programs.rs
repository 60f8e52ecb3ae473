//! Random programs on references with what their trees mean, run on engines of any kind.

use palisade::{
    Caller, Engine, FuncType, HeapType, Instance, Linker, Module, RefType, Store, TrapCode, Val,
    ValType,
};

use super::ast;
use super::generate;
use super::judge::{Leave, Machine};
use crate::hostile_support::Rng;

/// Each program is run with so many inputs, one after the other.
pub const INPUTS: [i32; 3] = [0, 1, 6];

pub struct Case {
    pub seed: u64,
    pub text: String,
    pub expected: Vec<Result<i64, TrapCode>>,
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

/// What a program gives on an engine.
pub fn outcomes(engine: &Engine, case: &Case) -> Vec<Result<i64, TrapCode>> {
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

/// Runs programs on engines that have names. How many there were, and how many of their runs trapped.
pub fn run(engines: &[(String, Engine)], seeds: std::ops::Range<u64>) -> (usize, usize) {
    let (mut run, mut trapped) = (0, 0);
    for case in seeds.filter_map(case) {
        run += 1;
        trapped += case.expected.iter().filter(|outcome| outcome.is_err()).count();
        for (name, engine) in engines {
            let found = outcomes(engine, &case);
            assert_eq!(found, case.expected, "seed {}, {name}\n{}", case.seed, case.text);
        }
    }
    (run, trapped)
}
