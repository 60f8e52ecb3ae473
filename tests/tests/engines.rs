//! The interpreter and machine code do the same, and so does a guest that changes between them: results,
//! traps and their places, memories, globals, tables, fuel, and all that the host sees when it is called.
//!
//! The interpreter is the judge: other tests hold it to the specification. Machine code runs in several forms
//! (bounds by pages or by comparing, counting fuel and calls or not, checked by the compiler itself, with a
//! heap that collects at every allocation), and in turns with the interpreter, so that every function and every
//! loop changes engine as early as it can. `c10_…` break machine code deliberately and see whether the
//! tests of this file notice.

#[path = "../hostile/hostile_support/ast.rs"]
mod ast;
mod engines_support;
#[path = "exceptions_support/programs.rs"]
mod exceptions_programs;
#[path = "../hostile/hostile_support/programs.rs"]
mod fusion_programs;
mod gc_support;
#[path = "../hostile/hostile_support/generate.rs"]
mod generate;
#[path = "../hostile/hostile_support/generate_steps.rs"]
mod generate_steps;
#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;
#[path = "../hostile/hostile_support/judge.rs"]
mod judge;
#[path = "../hostile/hostile_support/steps.rs"]
mod steps;

use engines_support::machines::{self, Machine};
use engines_support::mutants::{self, Fate};
use engines_support::{by_hand, ledgers, observe, shapes};
use palisade::{Engine, Mutation, TrapCode};

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
    println!(
        "{modules} modules, {calls} calls, {complete} complete, {free} free, {host} of the host"
    );
    assert!(complete * 5 > calls, "only {complete} of {calls} calls came to an end");
    assert!(free * 4 > modules, "only {free} of {modules} ran without fuel");
    assert!(host > 0, "the host was never called");
}

#[test]
fn c9_generated_modules_do_the_same_in_every_engine_1() {
    generated(0, 220);
}

#[test]
fn c9_generated_modules_do_the_same_in_every_engine_2() {
    generated(5_000_000, 5_000_220);
}

/// Where calls are not counted, the bodies of small functions stand in their callers' code. They cost what they cost.
#[test]
fn c9_generated_modules_cost_the_same_where_calls_are_not_counted() {
    let judge = machines::metered_judge();
    let others = [machines::metered(), machines::metered_tiered()];
    let mut compared = 0;
    for seed in 9_000_000..9_000_200 {
        let Some(bytes) = observe::generate(seed) else { continue };
        let Some(first) = observe::run(&judge.engine, &bytes, seed) else { continue };
        for machine in &others {
            let found = observe::run(&machine.engine, &bytes, seed).expect("as the first");
            // Nobody says how deep a stack is.
            let overflow = TrapCode::StackOverflow;
            if first.ended_by(overflow) || found.ended_by(overflow) {
                continue;
            }
            first.is_that_of(&found, true, &format!("seed {seed}: {} differs", machine.name));
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} runs were compared");
}

// ---- shapes ----

fn all() -> Vec<Machine> {
    vec![machines::judge(), machines::guarded(), machines::explicit(), machines::tiered()]
}

/// Whether there was anything to compare.
fn compiled(machines: &[Machine]) {
    machines.iter().for_each(Machine::has_compiled);
}

#[test]
fn c1_addresses_of_every_shape_reach_the_last_byte_and_not_the_next_1() {
    let machines = all();
    (0..200).for_each(|seed| shapes::addresses(seed, &machines));
    compiled(&machines);
}

#[test]
fn c1_addresses_of_every_shape_reach_the_last_byte_and_not_the_next_2() {
    let machines = all();
    (1_000..1_200).for_each(|seed| shapes::addresses(seed, &machines));
    compiled(&machines);
}

#[test]
fn c2_narrow_loads_under_wide_operators_read_nothing_past_the_end() {
    let [judge, guarded] = [machines::judge(), machines::guarded()];
    let machines = [judge, guarded, machines::paranoid(), machines::tiered()];
    for kind in shapes::MEMORIES.iter().filter(|kind| kind.is_small()) {
        shapes::narrow_loads(&machines, kind);
    }
}

#[test]
fn c3_addresses_beyond_2_31_survive_spills_and_calls() {
    let machines = all();
    (0..60).for_each(|seed| shapes::pressure(seed, &machines));
    compiled(&machines);
}

#[test]
fn c4_constant_operands_mean_what_variable_ones_mean() {
    let machines = all();
    (0..250).for_each(|seed| shapes::constants(seed, &machines));
    compiled(&machines);
}

#[test]
fn c5_sizes_and_tests_are_addresses_without_dirt_above() {
    by_hand::sizes_as_addresses(&all());
}

#[test]
fn c9_every_call_of_the_host_sees_the_same() {
    let machines =
        [machines::judge(), machines::explicit(), machines::tiered(), machines::stressed_tiered()];
    let calls: usize = (0..250).map(|seed| ledgers::check(seed, &machines)).sum();
    compiled(&machines);
    println!("{calls} calls of the host");
    assert!(calls > 5_000, "the host was called {calls} times");
}

// ---- by hand ----

#[test]
fn t4_traps_lanes_and_odds_and_ends_are_alike() {
    by_hand::odds_and_ends(&all());
}

#[test]
fn m4_functions_in_tables_and_references_are_checked_by_every_engine() {
    by_hand::calls(&all());
    by_hand::two_instances(&all());
}

#[test]
fn objects_are_alike() {
    by_hand::objects(&all());
    by_hand::objects(&[machines::judge(), machines::stressed(), machines::stressed_tiered()]);
}

#[test]
fn exceptions_are_alike() {
    by_hand::exceptions(&all());
    by_hand::exceptions(&[machines::judge(), machines::stressed(), machines::stressed_tiered()]);
}

#[test]
fn s1_the_depth_of_calls_is_counted_by_every_engine() {
    by_hand::depth(&[machines::judge(), machines::explicit(), machines::tiered()]);
}

#[test]
fn x1_what_goes_round_for_ever_is_stopped_in_every_engine() {
    by_hand::stopped(|| vec![machines::guarded(), machines::explicit(), machines::free_tiered()]);
}

// ---- programs with evaluators of their own ----

fn for_programs(stress: bool) -> Vec<Engine> {
    machines::for_programs(stress).into_iter().map(|machine| machine.engine).collect()
}

#[test]
fn random_programs_mean_what_their_trees_mean_in_every_engine() {
    fusion_programs::range(&for_programs(false), 200_000, 200_016);
}

#[test]
fn exceptions_of_random_programs_mean_what_their_trees_mean_in_every_engine() {
    exceptions_programs::agree(&for_programs(false), 1, 150);
    exceptions_programs::agree(&for_programs(true), 2, 150);
}

#[test]
fn objects_of_random_programs_survive_wherever_they_wait_in_every_engine() {
    for stress in [false, true] {
        let machines = machines::for_programs(stress);
        let named = machines.into_iter().map(|m| (format!("{}, {stress}", m.name), m.engine));
        let named: Vec<_> = named.collect();
        let (run, trapped) = gc_support::programs::run(&named, 50_000..50_060);
        assert!(run > 50 && trapped < run, "{run} programs, {trapped} runs trapped");
    }
}

// ---- the tests of the tests ----

/// A few of many, each of another family.
const A_FEW: [Mutation; 9] = [
    Mutation::BoundsCheckDropped,
    Mutation::BoundsOffByOne,
    Mutation::CallTypeUnchecked,
    Mutation::TableOffByOne,
    Mutation::LoopPollDropped,
    Mutation::FuelStale,
    Mutation::ComparisonUnsigned,
    Mutation::ClausesReversed,
    Mutation::RootForgotten,
];

/// Whether this process is one that is broken.
fn broken() -> bool {
    machines::mutation().is_some()
}

/// `PALISADE_MUTATIONS` says which: names with commas between them, or `all`, which takes minutes. Without it a few.
#[test]
fn c10_deliberate_miscompiles_are_noticed() {
    if broken() {
        return;
    }
    let asked = std::env::var("PALISADE_MUTATIONS").ok();
    let chosen: Vec<_> = match asked.as_deref() {
        None => A_FEW.to_vec(),
        Some("all") => Mutation::ALL.to_vec(),
        Some(names) => {
            let named = |name| Mutation::ALL.iter().find(|m| format!("{m:?}") == name).copied();
            let known =
                |name| named(name).unwrap_or_else(|| panic!("no miscompile is called {name}"));
            names.split(',').map(known).collect()
        }
    };
    // Of a few each has to be noticed by the tests that are meant for it; else all tests may, and one in twenty
    // may survive.
    let thorough = asked.is_some();
    mutants::sound(&chosen);
    let mut survivors = Vec::new();
    for &mutation in &chosen {
        match mutants::fate(mutation, thorough) {
            Fate::Noticed(how) => println!("{mutation:?}: noticed: {how}"),
            Fate::Survived => {
                println!("{mutation:?}: SURVIVED");
                survivors.push(mutation);
            }
        }
    }
    println!("{} of {} were noticed", chosen.len() - survivors.len(), chosen.len());
    assert!(survivors.len() * 20 <= chosen.len(), "survivors: {survivors:?}");
}
