//! The corpus of other people's programs, where it lies beside the workspace.

use std::path::{Path, PathBuf};

use palisade::Engine;
use palisade_tests::{ENGINES, engine};
use palisade_wasi::Caps;
use serde_json::Value;

use super::{Guest, Means, difference, json, root, text, texts};

/// The corpus; `None` where it does not lie beside the project, which is said.
fn folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("PALISADE_PROGRAMS") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("../shared/programs"),
    };
    if folder.join("programs.json").is_file() {
        return Some(folder);
    }
    println!("not run: there is no corpus of programs at {}", folder.display());
    None
}

fn entries(folder: &Path) -> Vec<Value> {
    match json(&folder.join("programs.json")) {
        Value::Array(entries) => entries,
        other => panic!("programs.json: {other}"),
    }
}

fn entry(folder: &Path, name: &str) -> Value {
    let entries = entries(folder).into_iter();
    let found = entries.into_iter().find(|entry| text(entry, "name") == name);
    found.unwrap_or_else(|| panic!("the corpus has no program {name}"))
}

/// Every program of the corpus is in the list, once, and nothing else is.
pub fn assert_complete(covered: &[&str]) {
    let Some(folder) = folder() else { return };
    let mut listed = covered.to_vec();
    listed.sort_unstable();
    let entries = entries(&folder);
    let mut found: Vec<&str> = entries.iter().map(|entry| text(entry, "name")).collect();
    found.sort_unstable();
    assert_eq!(found, listed);
    println!("{} programs", found.len());
}

/// Programs that print how long they took: compared without numbers.
const TIMED: &[&str] = &["hashset", "sqlite-speedtest1"];

/// Runs a program and compares its output, byte for byte, and its exit status: the short ones in every
/// engine, the long ones in the one that is used by default.
pub fn run(name: &str) {
    let Some(folder) = folder() else { return };
    let entry = entry(&folder, name);
    let short = ["wasi/", "kernels/"].iter().any(|set| text(&entry, "file").starts_with(set));
    if !short {
        return run_on(&Engine::default(), "as it is by default", name, &folder, &entry);
    }
    for kind in ENGINES {
        run_on(&engine(kind), &format!("{kind:?}"), name, &folder, &entry);
    }
}

fn run_on(engine: &Engine, kind: &str, name: &str, folder: &Path, entry: &Value) {
    let (found, exit, words) = match attempt(engine, folder, entry) {
        Ok(end) => end,
        Err(error) => panic!("{name} ({kind}): {error}"),
    };
    assert_eq!(
        Some(u64::from(exit)),
        entry["exit"].as_u64(),
        "{name} ({kind}): exit status\n{words}"
    );
    let expected = std::fs::read(folder.join(text(entry, "stdout"))).expect("expected output");
    let (expected, found) = if TIMED.contains(&name) {
        (without_numbers(&expected), without_numbers(&found))
    } else {
        (expected, found)
    };
    if expected != found {
        let (e, f) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(&found));
        panic!("{name} ({kind}): output differs, {}\n{words}", difference(&e, &f));
    }
    println!("{name}: {} bytes of output compared", found.len());
}

/// Output, exit status, and everything else in words.
fn attempt(
    engine: &Engine,
    folder: &Path,
    entry: &Value,
) -> Result<(Vec<u8>, u8, String), palisade::Error> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    if let Some(dir) = entry["dir"].as_str() {
        copy(&folder.join(dir), temporary.path());
    }
    let args = texts(entry, "args");
    let invoke = entry["invoke"].as_str();
    let means = Means {
        file: folder.join(text(entry, "file")),
        args: if invoke.is_some() { Vec::new() } else { args.clone() },
        env: Vec::new(),
        stdin: Vec::new(),
        caps: Caps::ALL,
        dir: entry["dir"].is_string().then_some(temporary.path()),
    };
    let mut guest = Guest::new(engine, means)?;
    if let Some(export) = invoke {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let results = guest.call(export, &words)?;
        let lines: String = results.iter().map(|line| format!("{line}\n")).collect();
        return Ok((lines.into_bytes(), 0, String::new()));
    }
    let end = guest.run();
    Ok((guest.stdout(), end.exit, format!("{}\n{}", end.error, guest.stderr())))
}

/// Everything but the modules themselves, which no program reads.
fn copy(from: &Path, to: &Path) {
    let mut todo = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = todo.pop() {
        std::fs::create_dir_all(&to).expect("mkdir");
        for entry in std::fs::read_dir(&from).expect("a directory") {
            let path = entry.expect("an entry").path();
            let target = to.join(path.file_name().expect("a name"));
            if path.is_dir() {
                todo.push((path, target));
            } else if path.extension().is_none_or(|extension| extension != "wasm") {
                std::fs::copy(&path, &target).expect("copy");
            }
        }
    }
}

/// What remains when each number, with its point and its padding, is taken out.
fn without_numbers(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|b| !b.is_ascii_digit() && !matches!(b, b'.' | b' ')).collect()
}
