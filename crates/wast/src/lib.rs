//! Runs the scripts of the WebAssembly specification's test suite (`.wast`) on Palisade.
//!
//! A script is a list of directives: modules to instantiate, and assertions about them. Every
//! directive is counted and judged; nothing is left out without being counted as skipped. How many
//! directives there are is counted a second time, from the text alone ([`count_directives`]), and a
//! difference between the two is a failure by itself.
//!
//! ```
//! let script = r#"
//!     (module (func (export "add") (param i32 i32) (result i32)
//!         local.get 0 local.get 1 i32.add))
//!     (assert_return (invoke "add" (i32.const 1) (i32.const 2)) (i32.const 3))
//!     (assert_return (invoke "add" (i32.const 1) (i32.const 2)) (i32.const 4))
//! "#;
//! let report = palisade_wast::run_script("add.wast", script, &palisade::Config::new());
//! assert_eq!((report.found, report.passed, report.failed.len()), (3, 2, 1));
//! assert_eq!(report.failed[0].line, 5);
//! ```
#![forbid(unsafe_code)]

mod count;
mod runner;
mod spectest;
mod values;

use std::fmt;

pub use count::count_directives;

/// What became of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The name of the script.
    pub name: String,
    /// How many directives there are, counted from the text.
    pub found: usize,
    /// How many were as they should be.
    pub passed: usize,
    /// Those that were not.
    pub failed: Vec<Failure>,
    /// How many were not judged.
    pub skipped: usize,
}

/// A directive that did not go as it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The line of the directive, counted from 1.
    pub line: usize,
    /// What was expected, and what was found.
    pub message: String,
}

impl Report {
    /// Whether everything found was judged, and is as it should be.
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && self.skipped == 0 && self.found == self.passed
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failed {
            writeln!(f, "{}:{}: {}", self.name, failure.line, failure.message)?;
        }
        write!(
            f,
            "{}: {} passed, {} failed, {} skipped",
            self.name,
            self.passed,
            self.failed.len(),
            self.skipped
        )
    }
}

/// How a module is made of bytes.
pub type Load<'a> =
    &'a (dyn Fn(&palisade::Engine, &[u8]) -> palisade::Result<palisade::Module> + Sync);

/// Runs a script under a configuration. `name` stands in the report.
pub fn run_script(name: &str, text: &str, config: &palisade::Config) -> Report {
    run_script_with(name, text, config, &|engine, bytes| {
        palisade::Module::from_binary(engine, bytes)
    })
}

/// The same, with modules that are made in another way.
pub fn run_script_with(
    name: &str,
    text: &str,
    config: &palisade::Config,
    load: Load<'_>,
) -> Report {
    let mut report =
        Report { name: name.to_owned(), found: count_directives(text), ..Report::default() };
    if let Err(failure) = runner::run(text, config, load, &mut report) {
        report.failed.push(failure);
        // What was not reached was not judged.
        let judged = report.passed + report.failed.len();
        report.skipped = report.found.saturating_sub(judged);
        return report;
    }
    let judged = report.passed + report.failed.len() + report.skipped;
    if judged != report.found {
        let found = report.found;
        let message = format!("found {found} directives in the text, but judged {judged}");
        report.failed.push(Failure { line: 0, message });
    }
    report
}
