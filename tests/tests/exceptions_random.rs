//! Random programs that throw and catch, against an evaluator of their trees: values below a `try_table`,
//! locals that change in it, values of several types that clauses deliver, to labels near and far.
//!
//! The evaluator knows nothing of stacks, slots and frames; where both disagree, a value was lost or
//! mixed up on the way.

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;
#[path = "exceptions_support/programs.rs"]
mod programs;

use hostile_support::interpreters_and_stressed;
use palisade::Engine;

fn agree(seed: u64, programs: u32) {
    programs::agree(&interpreters_and_stressed().collect::<Vec<Engine>>(), seed, programs);
}

#[test]
fn c8_programs_that_throw_mean_what_their_trees_mean_1() {
    agree(1, 150);
}

#[test]
fn c8_programs_that_throw_mean_what_their_trees_mean_2() {
    agree(2, 150);
}
