//! Machine code: Palisade's beside wasmtime's, what each of its promises costs, and how well it is mixed with
//! the interpreter.
//!
//! All runs of a program happen in one process, in rotation; results are compared before anything is measured.

use crate::engines::{self, Other, Own, Program, Run};
use crate::measure::{Mean, rotate, time, work};
use crate::suite;

/// What a comparison is asked for.
pub struct Options {
    pub pairs: usize,
    pub names: Vec<String>,
    /// Real programs, if there are any.
    pub folder: Option<std::path::PathBuf>,
}

impl Options {
    fn programs(&self) -> Vec<Program> {
        let all = match &self.folder {
            Some(folder) => suite::real(folder),
            None => suite::own(),
        };
        suite::chosen(all, &self.names)
    }
}

/// Runs each once, for warmth and to compare what comes out.
fn agree(program: &Program, runs: &mut [Run]) {
    let results: Vec<i64> = runs.iter_mut().map(|run| run()).collect();
    let expected = program.result.unwrap_or(results[0]);
    assert!(results.iter().all(|&result| result == expected), "{}: {results:?}", program.name);
}

/// Medians of the seconds of work that each took, and of the ratios to the first in the same round.
fn measured(program: &Program, rounds: usize, mut runs: Vec<Run>) -> (Vec<f64>, Vec<f64>) {
    agree(program, &mut runs);
    rotate(rounds, |run| work(run), &mut runs)
}

/// Machine code of both, and wasmtime with epochs, for a guest that can be interrupted.
pub fn run(options: &Options) {
    println!(
        "wasmtime: its defaults, epochs off and on; Palisade: its defaults, which can be interrupted"
    );
    println!(
        "{:<18} {:>10} {:>10} {:>7} {:>12} {:>7}",
        "program", "palisade", "wasmtime", "ratio", "with epochs", "ratio"
    );
    let (mut plain, mut epochs, mut worst) = (Mean::default(), Mean::default(), f64::MAX);
    for program in options.programs() {
        let runs = vec![
            engines::palisade(&program, Own::COMPILED),
            engines::wasmtime(&program, Other::default()),
            engines::wasmtime(&program, Other { epochs: true, fuel: false }),
        ];
        let (seconds, ratios) = measured(&program, options.pairs, runs);
        println!(
            "{:<18} {:>8.2}ms {:>8.2}ms {:>7.3} {:>10.2}ms {:>7.3}",
            program.name,
            seconds[0] * 1e3,
            seconds[1] * 1e3,
            ratios[1],
            seconds[2] * 1e3,
            ratios[2]
        );
        plain.add(ratios[1]);
        epochs.add(ratios[2]);
        worst = worst.min(ratios[1]);
    }
    print!("wasmtime: ");
    plain.print();
    println!("worst: {worst:.3}");
    print!("wasmtime with epochs: ");
    epochs.print();
}

/// What polls, fuel and masks cost, in per cent; what epochs and fuel cost wasmtime.
pub fn overhead(options: &Options) {
    println!(
        "{:<18} {:>9} {:>9} {:>9} {:>9} | {:>9} {:>9}",
        "program", "palisade", "polls", "fuel", "masking", "epochs", "fuel"
    );
    let mut means: [Mean; 5] = Default::default();
    for program in options.programs() {
        let own = [
            Own { polls: false, ..Own::COMPILED },
            Own::COMPILED,
            Own { fuel: true, ..Own::COMPILED },
            Own { masking: false, ..Own::COMPILED },
        ];
        let others = [
            Other::default(),
            Other { epochs: true, fuel: false },
            Other { epochs: false, fuel: true },
        ];
        let mut runs: Vec<Run> = own.map(|how| engines::palisade(&program, how)).into();
        runs.extend(others.map(|how| engines::wasmtime(&program, how)));
        let (seconds, ratios) = measured(&program, options.pairs, runs);
        let costs = [
            ratios[1],
            ratios[2] / ratios[1],
            ratios[1] / ratios[3],
            ratios[5] / ratios[4],
            ratios[6] / ratios[4],
        ];
        print!("{:<18} {:>7.2}ms", program.name, seconds[1] * 1e3);
        for (index, (cost, mean)) in costs.iter().zip(&mut means).enumerate() {
            print!("{}{:>8.1}%", if index == 3 { " | " } else { " " }, (cost - 1.0) * 100.0);
            mean.add(*cost);
        }
        println!();
    }
    print!("{:<28}", "mean");
    for (index, mean) in means.iter().enumerate() {
        print!("{}{:>8.1}%", if index == 3 { " | " } else { " " }, (mean.value() - 1.0) * 100.0);
    }
    println!();
}

/// From the module's bytes to the result, in each strategy; how long the mixture takes, over the better of the others.
pub fn tiering(options: &Options) {
    use palisade::Strategy::{Auto, Compiled, Interpreter};
    println!(
        "{:<18} {:>11} {:>11} {:>11} {:>7}",
        "program", "interpreter", "compiled", "auto", "to best"
    );
    let (mut mean, mut worst) = (Mean::default(), 0f64);
    let mut programs = options.programs();
    if options.folder.is_none() {
        let small = suite::kernels(true).into_iter();
        let small = small.map(|p| Program { name: format!("{}_small", p.name), ..p });
        programs.extend(suite::chosen(small.collect(), &options.names));
    }
    for program in programs {
        let runs = [Auto, Interpreter, Compiled].map(|strategy| {
            let program = program.clone();
            Box::new(move || engines::palisade(&program, Own::with(strategy))()) as Run
        });
        let mut runs: Vec<Run> = runs.into();
        agree(&program, &mut runs);
        // Other threads compile: what counts is how long it takes.
        let (seconds, _) = rotate(options.pairs, |run| time(run), &mut runs);
        let ratio = seconds[0] / seconds[1].min(seconds[2]);
        println!(
            "{:<18} {:>9.2}ms {:>9.2}ms {:>9.2}ms {:>7.3}",
            program.name,
            seconds[1] * 1e3,
            seconds[2] * 1e3,
            seconds[0] * 1e3,
            ratio
        );
        mean.add(ratio);
        worst = worst.max(ratio);
    }
    mean.print();
    println!("worst: {worst:.3}");
}
