//! The programs of this repository: the cases of `tests/programs/manifest.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade_tests::{ENGINES, Kind, engine};
use palisade_wasi::Caps;
use serde_json::Value;

use super::{End, Guest, Means, difference, json, text, texts};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

fn cases() -> Vec<Value> {
    match json(&folder().join("manifest.json"))["cases"].take() {
        Value::Array(cases) => cases,
        other => panic!("cases: {other}"),
    }
}

/// Runs all cases of one program in every engine.
pub fn run_cases_of(file: &str) {
    let mut complaints = Vec::new();
    let mut ran = 0;
    for case in cases().iter().filter(|case| text(case, "file") == file) {
        for kind in ENGINES {
            let mut complain = |what: String| {
                complaints.push(format!("{} ({kind:?}): {what}", text(case, "name")));
            };
            Trial::new(case).run(kind, &mut complain);
            ran += 1;
        }
    }
    assert!(ran > 0, "no case runs {file}");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    println!("{file}: {ran} runs");
}

/// Every case belongs to one of these programs, every program has a case, and every module that
/// lies in the folder is one of them.
pub fn assert_complete(files: &[&str]) {
    let cases = cases();
    for case in &cases {
        let file = text(case, "file");
        assert!(files.contains(&file), "{}: no test runs {file}", text(case, "name"));
    }
    for file in files {
        assert!(cases.iter().any(|case| text(case, "file") == *file), "no case runs {file}");
    }
    for entry in std::fs::read_dir(folder()).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(!name.ends_with(".wasm") || files.contains(&&*name), "no test runs {name}");
    }
}

/// What is in a directory, as the manifest writes it.
type Contents = BTreeMap<String, Value>;

/// One case in its own temporary directory.
struct Trial<'a> {
    case: &'a Value,
    outer: tempfile::TempDir,
    place: PathBuf,
}

const SECRET: &str = "not for the guest\n";

impl<'a> Trial<'a> {
    /// Makes the directory that the guest will see, with something beside it that it must not.
    fn new(case: &'a Value) -> Self {
        let outer = tempfile::tempdir().expect("a temporary directory");
        let place = outer.path().join("dir");
        std::fs::create_dir(&place).expect("mkdir");
        std::fs::write(outer.path().join("secret"), SECRET).expect("write");
        for (path, what) in case["files"].as_object().into_iter().flatten() {
            let full = place.join(path);
            std::fs::create_dir_all(full.parent().expect("a parent")).expect("mkdir");
            match what {
                Value::Null => std::fs::create_dir_all(&full).expect("mkdir"),
                Value::String(text) => std::fs::write(&full, text).expect("write"),
                link => std::os::unix::fs::symlink(text(link, "symlink"), &full).expect("symlink"),
            }
        }
        Self { case, outer, place }
    }

    fn means(&self) -> Means<'_> {
        let case = self.case;
        let env = case["env"].as_object().into_iter().flatten();
        let env = env.map(|(k, v)| (k.clone(), v.as_str().expect("a text").to_owned())).collect();
        let caps = texts(case, "capabilities");
        let caps = caps.iter().map(|name| {
            let known = Caps::SWITCHES.iter().find(|(_, known, _)| known == name);
            known.unwrap_or_else(|| panic!("capability {name}")).0
        });
        Means {
            file: folder().join(text(case, "file")),
            args: texts(case, "args"),
            env,
            stdin: text(case, "stdin").as_bytes().to_vec(),
            caps: caps.fold(Caps::empty(), Caps::union),
            dir: (case["dir"] == true).then_some(&*self.place),
        }
    }

    fn run(&self, kind: Kind, complain: &mut dyn FnMut(String)) {
        let before = contents(&self.place);
        let means = self.means();
        let reads_only = !means.caps.intersects(Caps::WRITE | Caps::PATH);
        let mut guest = match Guest::new(&engine(kind), means) {
            Ok(guest) => guest,
            Err(error) => return complain(format!("cannot be loaded: {error}")),
        };
        let (end, stdout) = match self.case["invoke"].as_array() {
            Some(calls) => (End::of(Ok(())), invoke(&mut guest, calls).into_bytes()),
            None => (guest.run(), guest.stdout()),
        };
        self.compare_output(&stdout, &guest.stderr(), complain);
        self.compare_end(&end, complain);
        let left = contents(&self.place);
        let expected = match self.case["after"].as_object() {
            Some(after) => Some(after.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            None => reads_only.then_some(before),
        };
        if expected.as_ref().is_some_and(|expected| *expected != left) {
            complain(format!("left {left:?}, expected {expected:?}"));
        }
        if names(self.outer.path()) != ["dir", "secret"]
            || std::fs::read_to_string(self.outer.path().join("secret")).ok().as_deref()
                != Some(SECRET)
        {
            complain("the guest got out of its directory".to_owned());
        }
    }

    fn compare_output(&self, stdout: &[u8], stderr: &str, complain: &mut dyn FnMut(String)) {
        let Ok(found) = std::str::from_utf8(stdout) else {
            return complain("the output is not UTF-8".to_owned());
        };
        let (mut expected, mut found) = (text(self.case, "stdout").to_owned(), found.to_owned());
        if self.case["refusals_only"] == true {
            (expected, found) = (without_errno(&expected), without_errno(&found));
        }
        if expected != found {
            let difference = difference(&expected, &found);
            complain(format!("output differs, {difference}\nstderr: {stderr}"));
        }
    }

    fn compare_end(&self, end: &End, complain: &mut dyn FnMut(String)) {
        let exit = self.case["exit"].as_u64().expect("a number");
        if u64::from(end.exit) != exit {
            complain(format!("exit {}, expected {exit}: {}", end.exit, end.error));
        }
        let expected = &self.case["trap"];
        match (&end.trap, expected.is_null()) {
            (None, true) => {}
            (Some((code, functions)), false) => {
                if code.message() != text(expected, "kind") {
                    complain(format!("trapped with {code}, expected {expected}"));
                }
                let names = texts(expected, "functions");
                if !functions.starts_with(&names) {
                    complain(format!("backtrace {functions:?}, expected {names:?} first"));
                }
            }
            (found, _) => complain(format!("trap {found:?}, expected {expected}")),
        }
    }
}

/// `_initialize`, then the calls of the manifest, in one instance.
fn invoke(guest: &mut Guest, calls: &[Value]) -> String {
    let mut lines = String::new();
    if let Err(error) = guest.call("_initialize", &[]) {
        return format!("_initialize: {error}");
    }
    for call in calls {
        let args: Vec<&str> = call["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|arg| arg[1].as_str())
            .collect();
        match guest.call(text(call, "export"), &args) {
            Ok(results) if results.is_empty() => lines.push_str("none\n"),
            Ok(results) => lines.push_str(&format!("{}\n", results.join(" "))),
            Err(error) if error.trap_code().is_some() => lines.push_str("trap\n"),
            Err(error) => lines.push_str(&format!("{error}\n")),
        }
    }
    lines
}

/// Which errno a refusal has may differ; that it is one may not.
fn without_errno(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("errno ") {
        let (before, after) = rest.split_at(at + "errno ".len());
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let refused = !matches!(&after[..digits], "" | "0");
        out.push_str(before);
        out.push_str(if refused { "not 0" } else { &after[..digits] });
        rest = &after[digits..];
    }
    out + rest
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn contents(dir: &Path) -> Contents {
    let mut found = Contents::new();
    let mut todo = vec![(dir.to_owned(), String::new())];
    while let Some((dir, prefix)) = todo.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().expect("a type");
            let value = if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).expect("readlink");
                serde_json::json!({ "symlink": target.to_string_lossy() })
            } else if kind.is_dir() {
                todo.push((entry.path(), format!("{name}/")));
                Value::Null
            } else {
                Value::String(escaped(&std::fs::read(entry.path()).expect("read")))
            };
            found.insert(name, value);
        }
    }
    found
}

/// Text, with bytes that are no UTF-8 as `\xHH`.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}
