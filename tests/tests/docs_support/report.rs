//! What a test run reported, read from its output: that of `cargo test` or that of `cargo nextest run`.
//!
//! `cargo test` does not say which package an integration test belongs to; there the file's name
//! has to do.

use super::sources::TestName;

/// One test that ran.
#[derive(PartialEq, Eq, Debug)]
struct Run {
    /// The package by its folder's name, where the output says it.
    package: Option<String>,
    /// The integration test's file; `None` for a unit test.
    file: Option<String>,
    /// Modules and function.
    path: String,
    passed: bool,
}

impl Run {
    /// Whether it is of a file beside an integration test's own, which is a module of it.
    fn is_in(&self, file: &str) -> bool {
        self.path.split_once("::").is_some_and(|(module, _)| module == file)
    }
}

/// All tests that ran.
#[derive(Default, Debug)]
pub struct Report {
    runs: Vec<Run>,
}

/// What is wrong with a name.
#[derive(PartialEq, Eq, Debug)]
pub enum Verdict {
    Passed,
    /// No test of that name was reported.
    NotRun,
    /// At least one did not pass.
    Failed,
}

impl Report {
    /// Reads the output of a run.
    pub fn parse(output: &str) -> Self {
        let mut report = Self::default();
        let mut place = None;
        for line in output.lines() {
            let line = without_colours(line);
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("Running ") {
                place = cargo_place(rest);
            } else if line.starts_with("Doc-tests ") {
                place = None;
            } else if let Some(rest) = line.strip_prefix("test ") {
                let Some((package, file)) = &place else { continue };
                let Some((name, verdict)) = rest.rsplit_once(" ... ") else { continue };
                report.runs.push(Run {
                    package: package.clone(),
                    file: file.clone(),
                    path: name.split(' ').next().unwrap_or(name).to_owned(),
                    passed: verdict == "ok",
                });
            } else if let Some(run) = nextest_run(line) {
                report.runs.push(run);
            }
        }
        report
    }

    /// How many tests ran.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// What became of a test, or of the tests of a module.
    pub fn verdict(&self, test: &TestName) -> Verdict {
        let matches = |run: &&Run| {
            run.package.as_ref().is_none_or(|package| *package == test.package)
                && run.file.as_ref().is_none_or(|file| *file == test.file || run.is_in(&test.file))
                && run.path.split("::").any(|part| part == test.name)
        };
        let found: Vec<&Run> = self.runs.iter().filter(matches).collect();
        match found.iter().all(|run| run.passed) {
            _ if found.is_empty() => Verdict::NotRun,
            true => Verdict::Passed,
            false => Verdict::Failed,
        }
    }
}

/// `unittests src/lib.rs (target/debug/deps/palisade_vm-0123)`, `tests/growth.rs (…)`: the package,
/// if that can be told, and the file, if it is an integration test.
fn cargo_place(rest: &str) -> Option<(Option<String>, Option<String>)> {
    let (what, binary) = rest.split_once(" (")?;
    if let Some(source) = what.strip_prefix("unittests ") {
        // The command's binary has the name of the library.
        if source == "src/main.rs" {
            return Some((Some("cli".to_owned()), None));
        }
        let binary = binary.rsplit('/').next()?;
        let (name, _) = binary.rsplit_once('-')?;
        return Some((Some(folder_of(name)), None));
    }
    let file = what.strip_prefix("tests/").or_else(|| what.strip_prefix("hostile/"))?;
    let file = file.strip_suffix("/main.rs").or_else(|| file.strip_suffix(".rs"))?;
    Some((None, Some(file.to_owned())))
}

/// `PASS [   0.731s] (11/64) palisade-tests::programs own_program::bf`
fn nextest_run(line: &str) -> Option<Run> {
    let (verdict, rest) = line.split_once('[')?;
    let passed = match verdict.trim() {
        "PASS" | "FLAKY 2/2" => true,
        "FAIL" | "ABORT" | "TIMEOUT" | "SIGSEGV" | "SIGABRT" | "SIGKILL" | "LEAK-FAIL" => false,
        _ => return None,
    };
    let (_, rest) = rest.split_once(']')?;
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('(') {
        Some(counted) => counted.split_once(')')?.1.trim_start(),
        None => rest,
    };
    let (binary, path) = rest.split_once(' ')?;
    let (package, target) = match binary.split_once("::") {
        Some((package, target)) => (package, Some(target)),
        None => (binary, None),
    };
    let file = target.filter(|target| !target.contains('/')).map(str::to_owned);
    let package = folder_of(&package.replace('-', "_"));
    Some(Run { package: Some(package), file, path: path.trim().to_owned(), passed })
}

/// `palisade_vm` lies in `vm`.
fn folder_of(package: &str) -> String {
    package.strip_prefix("palisade_").unwrap_or(package).to_owned()
}

/// A line without the escape sequences that colour it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut text, part| {
        text.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
        text
    })
}
