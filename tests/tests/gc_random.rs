//! Seeded random programs that let references wait on the operand stack, in locals and in objects while others
//! are made: through blocks, branches of every kind, loops, calls, tail calls and the host. Judged by an
//! evaluator of their trees, which collects nothing; run by both dispatchers, with and without fuel, and with
//! a collection at every allocation.

mod gc_support;
#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;

use gc_support::programs;
use hostile_support::engine_with;
use palisade::{Engine, Strategy};
use palisade_tests::DISPATCHERS;

/// Both dispatchers, with and without fuel, and with a collection at every allocation.
fn engines() -> Vec<(String, Engine)> {
    let all = DISPATCHERS.into_iter().flat_map(|dispatch| {
        [(false, false), (false, true), (true, true)].map(|(fuel, stress)| {
            let engine = engine_with(dispatch, |config| {
                config.strategy(Strategy::Interpreter).consume_fuel(fuel).gc_stress(stress);
            });
            (format!("{dispatch:?}, fuel {fuel}, stress {stress}"), engine)
        })
    });
    all.collect()
}

/// So that the programs are worth running: most end by themselves.
fn check(seeds: std::ops::Range<u64>) {
    let count = (seeds.end - seeds.start) as usize;
    let (run, trapped) = programs::run(&engines(), seeds);
    println!("{run} programs of {count}, {trapped} runs trapped");
    assert!(run * 10 > count * 9, "{run} of {count} were short enough");
    assert!(trapped * 5 < run * programs::INPUTS.len(), "{trapped} runs trapped");
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
