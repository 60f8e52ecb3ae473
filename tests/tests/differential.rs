//! Generated modules: both dispatchers, with and without fuel, with and without a collection at every
//! allocation, must do the same.
//!
//! `wasm-smith` makes valid modules from seeded bytes, with all proposals in turns and with what it leaves off by
//! itself: custom page sizes, several memories and tables. Every export is called with the same arguments
//! on each configuration; results, traps, memories, globals and the fuel that is left are compared.
//! Fuel ends what would not end by itself; where it did, the configurations without fuel are not run.
//! (Machine code is compared in `engines.rs`; other engines judge such modules in `fuzz/`.)

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;
#[path = "engines_support/observe.rs"]
mod observe;

use observe::{generate, run};
use palisade::{Config, Dispatch, Engine, Strategy};
use palisade_tests::DISPATCHERS;

fn engine(dispatch: Dispatch, fuel: bool) -> Engine {
    engine_with(dispatch, fuel, false)
}

fn engine_with(dispatch: Dispatch, fuel: bool, stress: bool) -> Engine {
    let mut config = Config::new();
    config
        .strategy(Strategy::Interpreter)
        .dispatch(dispatch)
        .consume_fuel(fuel)
        .max_wasm_stack(256 << 10)
        .call_depth(Some(100))
        .gc_stress(stress)
        .wasm_custom_page_sizes(true)
        .wasm_wide_arithmetic(true);
    Engine::new(&config).expect("both dispatchers work")
}

/// Runs modules from a range of seeds; tells how many calls there were, and how many ended well.
fn range(from: u64, to: u64) {
    let metered = DISPATCHERS.map(|dispatch| engine(dispatch, true));
    let plain = DISPATCHERS.map(|dispatch| engine(dispatch, false));
    let stressed = engine_with(Dispatch::TailCall, true, true);
    let (mut modules, mut calls, mut complete, mut compared, mut collected) = (0, 0, 0, 0, 0);
    for seed in from..to {
        let Some(bytes) = generate(seed) else { continue };
        let Some(first) = run(&metered[0], &bytes, seed) else { continue };
        let second = run(&metered[1], &bytes, seed).expect("as the first");
        first.is_that_of(&second, true, &format!("seed {seed}: the dispatchers differ"));
        let third = run(&stressed, &bytes, seed).expect("as the first");
        // A heap may be full at another moment.
        if !first.exhausted() && !third.exhausted() {
            first.is_that_of(&third, true, &format!("seed {seed}: collections make a difference"));
            collected += 1;
        }
        modules += 1;
        calls += first.calls.len();
        complete += first.calls.iter().filter(|call| call.0.is_ok()).count();
        if first.starved {
            continue;
        }
        compared += 1;
        for engine in &plain {
            let plain = run(engine, &bytes, seed).expect("as the first");
            first.is_that_of(&plain, false, &format!("seed {seed}: metering makes a difference"));
        }
    }
    // The generator must not degenerate.
    let seeds = (to - from) as usize;
    assert!(modules * 2 > seeds, "only {modules} modules of {seeds} seeds");
    assert!(complete * 5 > calls, "only {complete} of {calls} calls came to an end");
    assert!(compared * 4 > modules, "only {compared} of {modules} ran without fuel");
    assert!(collected * 10 > modules * 9, "only {collected} of {modules} were collected at will");
    println!(
        "{modules} modules, {calls} calls, {complete} without a trap, {compared} without fuel"
    );
}

#[test]
fn generated_modules_do_the_same_everywhere_1() {
    range(0, 1_500);
}

#[test]
fn generated_modules_do_the_same_everywhere_2() {
    range(1_000_000, 1_001_500);
}

#[test]
fn generated_modules_do_the_same_everywhere_3() {
    range(2_000_000, 2_001_500);
}
