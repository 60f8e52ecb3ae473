//! Compares the tests that `docs/security.md` names with those that a test run reported.
//!
//!     cargo test --workspace 2>&1 | tee output.txt
//!     cargo run -p palisade-tests --example reconcile -- output.txt
//!
//! Reads what `cargo test` or `cargo nextest run` printed, from a file or from standard input. Ends with status 1
//! and says what is missing if a test that the page names was not reported as passed.

#[path = "../tests/docs_support/report.rs"]
mod report;
#[allow(dead_code, reason = "the tests of the documentation use more of it")]
#[path = "../tests/docs_support/sources.rs"]
mod sources;

use std::io::Read;
use std::process::ExitCode;

use report::{Report, Verdict};

const PAGE: &str = "docs/security.md";

fn main() -> ExitCode {
    let mut output = Vec::new();
    let read = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read(&path).map(|bytes| output = bytes),
        None => std::io::stdin().read_to_end(&mut output).map(drop),
    };
    if let Err(error) = read {
        eprintln!("reconcile: cannot read the output of the test run: {error}");
        return ExitCode::from(2);
    }
    let report = Report::parse(&String::from_utf8_lossy(&output));
    let named = sources::named_tests(&sources::read(PAGE));
    let mut missing = 0;
    for test in &named {
        let what = match report.verdict(test) {
            Verdict::Passed => continue,
            Verdict::NotRun => "was not reported",
            Verdict::Failed => "did not pass",
        };
        missing += 1;
        println!("{PAGE} names {test}, which {what}");
    }
    println!("{} tests named, {} reported, {missing} missing", named.len(), report.len());
    if missing > 0 || named.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
