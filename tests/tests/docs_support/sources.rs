//! What the sources say: which tests there are, by what name the documentation calls them, and which
//! names a page uses.
//!
//! A test is called `crate/file::name`: the crate's folder (`tests` for the tests of several
//! crates), the file without its extension, and the function. In place of the function a module
//! may stand, for tests that a macro makes; it means all tests in it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// A name of a test, or of a module of tests.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TestName {
    /// The crate's folder.
    pub package: String,
    /// The file, without folder and extension.
    pub file: String,
    /// The function or module.
    pub name: String,
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}::{}", self.package, self.file, self.name)
    }
}

impl TestName {
    /// Reads `crate/file::name`; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |s: &str| {
            !s.is_empty() && s.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        let (package, rest) = text.split_once('/')?;
        let (file, name) = rest.split_once("::")?;
        // How pages write that tests are called like this.
        if package == "crate" {
            return None;
        }
        [package, file, name].into_iter().all(word).then(|| Self {
            package: package.to_owned(),
            file: file.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The ids of hostile rows that the function's name begins with: `x1_x3_sleeps` has two.
    pub fn rows(&self) -> Vec<String> {
        let is_row = |word: &&str| {
            // `i32` and `f64` are no rows.
            let (letter, number) = word.split_at(1);
            let number: Option<u32> = number.parse().ok();
            "dvcmtshfrxalpk".contains(letter) && number.is_some_and(|n| (1..=20).contains(&n))
        };
        let words = self.name.split('_').filter(|word| !word.is_empty());
        words.take_while(is_row).map(str::to_uppercase).collect()
    }
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}

/// A file of the workspace.
pub fn read(path: &str) -> String {
    let full = root().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// All files below a folder of the workspace with one of these extensions, sorted; build output is left
/// out. Empty if there is no such folder.
pub fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(folder) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The folders of the packages, by the names that the documentation uses.
pub fn packages() -> Vec<(String, PathBuf)> {
    let crates = std::fs::read_dir(root().join("crates")).expect("crates");
    let mut packages: Vec<(String, PathBuf)> = crates
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    packages.push(("tests".to_owned(), root().join("tests")));
    packages.sort();
    packages
}

/// What there is to name: functions that are tests, and modules of test files.
#[derive(Default)]
pub struct Tests {
    pub functions: BTreeSet<TestName>,
    pub modules: BTreeSet<TestName>,
}

impl Tests {
    /// Reads all sources of the workspace.
    pub fn scan() -> Self {
        let mut tests = Self::default();
        for (package, folder) in packages() {
            for part in ["src", "tests", "hostile"] {
                let folder = folder.join(part);
                let folder = folder.strip_prefix(root()).expect("in the workspace");
                for path in files(&folder.to_string_lossy(), &["rs"]) {
                    tests.scan_file(&package, &path);
                }
            }
        }
        tests
    }

    /// Whether there is a test or a module of this name.
    pub fn contains(&self, name: &TestName) -> bool {
        self.functions.contains(name) || self.modules.contains(name)
    }

    fn scan_file(&mut self, package: &str, path: &Path) {
        let text = std::fs::read_to_string(path).expect("a source");
        let file = file_name(path);
        let name = |name: &str| TestName {
            package: package.to_owned(),
            file: file.clone(),
            name: name.to_owned(),
        };
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("mod ") {
                self.modules.insert(name(identifier(rest)));
            }
            // Macros that make tests write both on one line.
            is_test |= line.starts_with("#[test]");
            let rest = line.strip_prefix("#[test]").map_or(line, str::trim);
            let Some(rest) = ["fn ", "pub fn "].iter().find_map(|p| rest.strip_prefix(p)) else {
                continue;
            };
            let function = identifier(rest);
            if std::mem::take(&mut is_test) && !function.is_empty() {
                self.functions.insert(name(function));
            }
        }
    }
}

/// How the documentation calls a file: its folder's name, if its own says nothing.
fn file_name(path: &Path) -> String {
    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
    if !matches!(&*stem, "mod" | "main") {
        return stem;
    }
    let folder = path.parent().and_then(Path::file_name).expect("a folder");
    folder.to_string_lossy().into_owned()
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Everything that a page puts between single backticks, outside of code blocks.
pub fn code_spans(page: &str) -> Vec<&str> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

/// The tests that a page names.
pub fn named_tests(page: &str) -> BTreeSet<TestName> {
    code_spans(page).into_iter().filter_map(TestName::parse).collect()
}
