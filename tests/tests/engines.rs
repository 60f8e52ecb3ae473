//! The interpreter and machine code do the same, and so does a guest that changes between them: results,
//! traps and their places, memories, globals, tables, fuel, and all that the host sees when it is called.
//!
//! The interpreter is the judge: other tests hold it to the specification. Machine code runs in several forms
//! (bounds by pages or by comparing, counting fuel and calls or not, checked by the compiler itself, with a
//! heap that collects at every allocation), and in turns with the interpreter, so that every function and every
//! loop changes engine as early as it can. `c10_…` break machine code deliberately and see whether the
//! tests of this file notice.

#[path = "hostile_support/ast.rs"]
mod ast;
mod engines_support;
#[path = "exceptions_support/programs.rs"]
mod exceptions_programs;
#[path = "hostile_support/programs.rs"]
mod fusion_programs;
mod gc_support;
#[path = "hostile_support/generate.rs"]
mod generate;
#[path = "hostile_support/generate_steps.rs"]
mod generate_steps;
mod hostile_support;
#[path = "hostile_support/judge.rs"]
mod judge;
#[path = "hostile_support/steps.rs"]
mod steps;

use engines_support::machines::{self, Machine};
use engines_support::{by_hand, ledgers, mutants, observe, shapes};
use palisade::{Engine, TrapCode};

// ---- generated modules ----

/// Runs generated modules everywhere; tells how much that was.
fn generated(from: u64, to: u64) {
    let judge = machines::judge();
    let always = [machines::explicit(), machines::tiered()];
    let guarded = machines::guarded();
    let now_and_then = [
        machines::paranoid(),
        machines::stressed(),
        machines::stressed_tiered(),
        machines::free_tiered(),
    ];
    let (mut modules, mut calls, mut complete, mut free, mut host) = (0, 0, 0, 0, 0);
    for seed in from..to {
        let Some(bytes) = observe::generate(seed) else { continue };
        let Some(first) = observe::run(&judge.engine, &bytes, seed) else { continue };
        modules += 1;
        calls += first.calls.len();
        host += first.host.len();
        complete += first.calls.iter().filter(|call| call.0.is_ok()).count();
        // What a limit ended goes on where nothing is counted.
        let limited = first.starved
            || first.ended_by(TrapCode::CallDepthExceeded)
            || first.ended_by(TrapCode::StackOverflow);
        let chosen = &now_and_then[(seed % 4) as usize];
        let others = always.iter().chain([chosen]).chain([&guarded]);
        for machine in others.filter(|machine| machine.metered() || !limited) {
            let found = observe::run(&machine.engine, &bytes, seed).expect("as the first");
            // A heap may be full at another moment where it collects more often.
            if machine.stressed && (first.exhausted() || found.exhausted()) {
                continue;
            }
            let what = format!("seed {seed}: {} differs", machine.name);
            first.is_that_of(&found, machine.metered(), &what);
            free += usize::from(!machine.metered());
        }
    }
    println!("{modules} modules, {calls} calls, {complete} complete, {free} free, {host} of the host");
    assert!(complete * 5 > calls, "only {complete} of {calls} calls came to an end");
    assert!(free * 4 > modules, "only {free} of {modules} ran without fuel");
    assert!(host > modules, "the host was called {host} times");
}

#[test]
fn c9_generated_modules_do_the_same_in_every_engine_1() {
    generated(0, 260);
}

#[test]
fn c9_generated_modules_do_the_same_in_every_engine_2() {
    generated(5_000_000, 5_000_260);
}

// ---- shapes ----

fn all() -> Vec<Machine> {
    vec![machines::judge(), machines::guarded(), machines::explicit(), machines::tiered()]
}

#[test]
fn c1_addresses_of_every_shape_reach_the_last_byte_and_not_the_next_1() {
    (0..200).for_each(|seed| shapes::addresses(seed, &all()));
}

#[test]
fn c1_addresses_of_every_shape_reach_the_last_byte_and_not_the_next_2() {
    (1_000..1_200).for_each(|seed| shapes::addresses(seed, &all()));
}

#[test]
fn c2_narrow_loads_under_wide_operators_read_nothing_past_the_end() {
    for kind in shapes::MEMORIES.iter().filter(|kind| kind.is_small()) {
        let machines = [machines::judge(), machines::guarded(), machines::paranoid(), machines::tiered()];
        shapes::narrow_loads(&machines, kind);
    }
}

#[test]
fn c3_addresses_beyond_2_31_survive_spills_and_calls() {
    (0..60).for_each(|seed| shapes::pressure(seed, &all()));
}

#[test]
fn c4_constant_operands_mean_what_variable_ones_mean() {
    (0..150).for_each(|seed| shapes::constants(seed, &all()));
}
