//! What profilers are given: files that tools outside read, taken apart here.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{ENDLESS, Ended, Place, command, ready_then};
use rustix::process::{Pid, Signal};
use serde_json::Value;

const DWARF: &[u8] = include_bytes!("../../debug/tests/fixtures/dwarf5.wasm");

const HOT: &str = r#"(module $hot (func $twice (export "f") (param i32) (result i32)
    (local $sum i32)
    (loop $again
        (local.set $sum (i32.add (local.get $sum) (call $cold (local.get 0))))
        (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $sum))
    (func $cold (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))
    (func $never))"#;

// ---- jitdump ----

/// A record of a jitdump: its kind, the time, and what it holds.
struct Record {
    kind: u32,
    time: u64,
    content: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn text(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0).expect("a text ends");
    (std::str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 1..])
}

/// The records of a jitdump, its header checked.
fn records(dump: &[u8], pid: u32) -> Vec<Record> {
    assert_eq!((word(dump, 0), word(dump, 4), word(dump, 8)), (0x4A69_5444, 1, 40));
    assert_eq!((word(dump, 20), long(dump, 32)), (pid, 0));
    let (mut at, mut time, mut all) = (40, long(dump, 24), Vec::new());
    while at < dump.len() {
        let (kind, size) = (word(dump, at), word(dump, at + 4) as usize);
        let content = dump[at + 16..at + size].to_vec();
        let record = Record { kind, time: long(dump, at + 8), content };
        assert!(record.time >= time, "records in the order of their times");
        time = record.time;
        all.push(record);
        at += size;
    }
    assert_eq!(at, dump.len(), "the last record is whole");
    all
}

/// A function of a jitdump: its address, its code, its name.
fn loads(records: &[Record]) -> Vec<(u64, Vec<u8>, String)> {
    let mut all = Vec::new();
    for record in records.iter().filter(|record| record.kind == 0) {
        let (address, size) = (long(&record.content, 16), long(&record.content, 24) as usize);
        assert_eq!(long(&record.content, 8), address);
        assert_eq!(long(&record.content, 32), all.len() as u64, "numbered in order");
        let (name, code) = text(&record.content[40..]);
        assert_eq!(code.len(), size);
        all.push((address, code.to_vec(), name.to_owned()));
    }
    all
}

/// Runs the command with a jitdump in `dir`; how it ended, and the file.
fn dumped(dir: &Path, args: &[&str]) -> (Ended, u32, Vec<u8>) {
    let mut command = command(dir);
    command.args(["--profile", "jitdump"]).args(args).env_remove("JITDUMPDIR");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let ended: Ended = child.wait_with_output().unwrap().into();
    let path = dir.join(format!("jit-{pid}.dump"));
    let dump = std::fs::read(&path).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    (ended, pid, dump)
}

#[test]
fn a_jitdump_holds_every_function_with_its_code() {
    for options in [&["--engine", "jit"][..], &["--engine", "jit", "--sandbox"]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wat"), HOT).unwrap();
        let args = [options, &["a.wat", "--invoke", "f", "10"]].concat();
        let (ended, pid, dump) = dumped(dir.path(), &args);
        ended.code(0).prints("385\n").quietly();
        let loads = loads(&records(&dump, pid));
        for name in ["hot!twice", "hot!cold", "hot!never"] {
            let (address, code, _) = loads.iter().find(|(.., found)| found == name).unwrap();
            // What every function begins with: push rbp; mov rbp, rsp.
            assert!(*address > 0 && code.starts_with(&[0x55, 0x48, 0x89, 0xe5]), "{name}");
        }
        assert!(loads.iter().any(|(.., name)| name == "<palisade stub>"));
        let mut spans: Vec<_> =
            loads.iter().map(|(at, code, _)| (*at, code.len() as u64)).collect();
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    }
}

#[test]
fn a_jitdump_tells_lines_before_the_function_that_they_are_of() {
    for (options, told) in [(&[][..], true), (&["--no-debug-info"], false), (&["--sandbox"], false)]
    {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wasm"), DWARF).unwrap();
        let args = [&["--engine", "jit", "a.wasm"][..], options].concat();
        let (ended, pid, dump) = dumped(dir.path(), &args);
        ended.code(134);
        let records = records(&dump, pid);
        let mut lines: Option<(u64, Vec<(String, u32)>)> = None;
        let mut seen = 0;
        for record in &records {
            match record.kind {
                2 => {
                    assert!(lines.is_none(), "lines of a function that does not follow");
                    let (address, count) = (long(&record.content, 0), long(&record.content, 8));
                    let (mut rest, mut found, mut before) = (&record.content[16..], vec![], 0);
                    for _ in 0..count {
                        assert!(long(rest, 0) >= before.max(address));
                        before = long(rest, 0);
                        let line = word(rest, 8);
                        let (file, after) = text(&rest[16..]);
                        found.push((file.to_owned(), line));
                        rest = after;
                    }
                    assert!(rest.is_empty());
                    lines = Some((address, found));
                }
                0 => {
                    let name = text(&record.content[40..]).0;
                    if let Some((address, found)) = lines.take() {
                        assert_eq!(address, long(&record.content, 16), "{name}");
                        assert!(
                            found.iter().all(|(file, line)| file.ends_with("trap.c") && *line > 0)
                        );
                        if name.ends_with("!middle") {
                            // That of the division that it traps in, which was inlined, and its own.
                            assert!(
                                [6, 10].iter().all(|at| found.iter().any(|(_, l)| l == at)),
                                "{found:?}"
                            );
                            seen += 1;
                        }
                    }
                }
                other => panic!("a record of kind {other}"),
            }
        }
        assert_eq!(seen > 0, told, "{options:?}");
    }
}

#[test]
fn a_jitdump_is_never_a_file_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wat"), HOT).unwrap();
    let missing = dir.path().join("missing");
    let mut command = command(dir.path());
    command
        .args(["--profile", "jitdump", "a.wat", "--invoke", "f", "1"])
        .env("JITDUMPDIR", &missing);
    Ended::from(command.output().unwrap()).code(2).says(&["--profile", "missing", "JITDUMPDIR"]);
    for wrong in ["--profile perf", "--profile jitdump=a", "--profile jitdump --profile jitdump"] {
        let mut command = common::command(dir.path());
        command.args(wrong.split(' ')).args(["a.wat", "--invoke", "f", "1"]);
        Ended::from(command.output().unwrap()).code(2);
    }
}

// ---- perf ----

/// `perf`, if it can record anything here; else why not.
fn perf(dir: &Path) -> Result<PathBuf, String> {
    let perf = PathBuf::from("perf");
    let mut probe = std::process::Command::new(&perf);
    probe.args(["record", "-e", "cpu-clock", "-o", "probe.data", "true"]).current_dir(dir);
    match probe.output() {
        Err(error) => Err(format!("no perf: {error}")),
        Ok(output) if output.status.success() => Ok(perf),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn perf_finds_the_functions_of_a_jitdump() {
    let dir = tempfile::tempdir().unwrap();
    let perf = match perf(dir.path()) {
        Ok(perf) => perf,
        Err(why) => return println!("not run: {why}"),
    };
    std::fs::write(dir.path().join("a.wat"), HOT).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&perf);
        command.args(args).current_dir(dir.path()).env_remove("JITDUMPDIR");
        let output = command.env("HOME", dir.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let palisade = env!("CARGO_BIN_EXE_palisade");
    let guest = ["--engine", "jit", "--profile", "jitdump", "a.wat", "--invoke", "f", "300000000"];
    let record = ["record", "-k", "mono", "-e", "cpu-clock", "-o", "a.data", palisade];
    run(&[&record[..], &guest].concat());
    run(&["inject", "--jit", "-i", "a.data", "-o", "b.data"]);
    let report = run(&["report", "-i", "b.data", "--stdio", "--sort", "symbol"]);
    assert!(report.contains("hot!twice"), "{report}");
}

// ---- guest ----

/// Functions from the outermost inwards, and how many samples.
fn folded(text: &str) -> Vec<(Vec<&str>, u64)> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let (path, count) = line.rsplit_once(' ').unwrap();
        lines.push((path.split(';').collect(), count.parse().unwrap()));
    }
    lines
}

/// Checks that the columns of a profile belong together, and returns how many samples there are for each stack of names.
fn checked(profile: &Value) -> std::collections::BTreeMap<Vec<String>, u64> {
    assert_eq!(profile["meta"]["preprocessedProfileVersion"], 62);
    let shared = &profile["shared"];
    let numbers = |table: &Value, column: &str| -> Vec<Option<u64>> {
        let length = table["length"].as_u64().unwrap() as usize;
        let values = table[column].as_array().unwrap_or_else(|| panic!("no {column}"));
        assert_eq!(values.len(), length, "{column}");
        values.iter().map(Value::as_u64).collect()
    };
    let strings = shared["stringArray"].as_array().unwrap();
    let [stacks, frames, funcs] = ["stackTable", "frameTable", "funcTable"].map(|t| &shared[t]);
    for column in ["address", "inlineDepth", "subcategory", "nativeSymbol", "innerWindowID"] {
        numbers(frames, column);
    }
    for column in ["isJS", "relevantForJS", "resource", "source", "lineNumber", "columnNumber"] {
        numbers(funcs, column);
    }
    let resources = numbers(&shared["resourceTable"], "lib").len();
    assert_eq!(resources, profile["libs"].as_array().unwrap().len());
    let categories = profile["meta"]["categories"].as_array().unwrap().len() as u64;
    assert!(numbers(frames, "category").iter().all(|category| category.unwrap() < categories));
    let names = numbers(funcs, "name");
    let funcs_of = numbers(frames, "func");
    let mut paths: Vec<Vec<String>> = Vec::new();
    let prefixes = numbers(stacks, "prefix");
    for (prefix, frame) in prefixes.iter().zip(numbers(stacks, "frame")) {
        let mut path = prefix.map_or_else(Vec::new, |at| paths[at as usize].clone());
        let func = funcs_of[frame.unwrap() as usize].unwrap();
        let name = &strings[names[func as usize].unwrap() as usize];
        path.push(name.as_str().unwrap().to_owned());
        paths.push(path);
    }
    let threads = profile["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 1);
    let samples = &threads[0]["samples"];
    let deltas = samples["timeDeltas"].as_array().unwrap();
    assert_eq!(deltas.len() as u64, samples["length"].as_u64().unwrap());
    assert!(deltas.iter().all(|delta| delta.as_f64().unwrap() >= 0.0));
    numbers(samples, "threadCPUDelta");
    let mut all = std::collections::BTreeMap::new();
    for (stack, weight) in numbers(samples, "stack").iter().zip(numbers(samples, "weight")) {
        *all.entry(paths[stack.unwrap() as usize].clone()).or_default() += weight.unwrap();
    }
    all
}

const OFTEN: [&str; 5] = ["--profile", "guest", "--profile", "folded", "--profile-interval=100us"];

#[test]
fn a_link_that_stands_where_a_profile_would_go_is_not_followed() {
    let place = Place::new();
    place.file("hot.wat", HOT);
    place.file("precious", "kept");
    for (flag, name) in [("guest", "palisade-profile.json"), ("folded", "palisade-profile.folded")]
    {
        // What a guest may leave in a folder that it could write to.
        std::os::unix::fs::symlink("precious", place.path().join(name)).expect("a link");
        let line = format!("hot.wat --invoke f 10 --profile {flag}");
        place.line(&line).code(2).says(&[name, "link"]);
        assert_eq!(place.read("precious"), "kept");
        // Who names it means it.
        place.line(&format!("{line}={name}")).code(0);
        assert_ne!(place.read("precious"), "kept");
        place.file("precious", "kept");
    }
}

#[test]
fn a_profile_tells_the_functions_that_take_the_time_in_every_engine() {
    for options in [
        &["--engine", "interp"][..],
        &["--engine", "jit"],
        &["--engine", "auto"],
        &["--engine", "jit", "--sandbox"],
        &["--engine", "interp", "--sandbox"],
    ] {
        let place = Place::new();
        place.file("a.wat", HOT);
        // Long enough to be looked at some times, even where other work keeps the processors.
        let turns = if options[1] == "interp" { "20000000" } else { "200000000" };
        let args = [options, &OFTEN, &["--fuel", "unlimited", "a.wat", "--invoke", "f", turns]];
        let ended = place.run(args.concat());
        ended.code(0).quietly();
        let text = place.read("palisade-profile.folded");
        let lines = folded(&text);
        let known = |path: &[&str]| {
            let path: Vec<_> = path.iter().copied().filter(|name| !name.starts_with('[')).collect();
            matches!(path.as_slice(), ["twice"] | ["twice", "cold"])
        };
        assert!(!lines.is_empty() && lines.iter().all(|(path, _)| known(path)), "{text}");
        let profile = serde_json::from_str(&place.read("palisade-profile.json")).unwrap();
        let found = checked(&profile);
        let same: std::collections::BTreeMap<Vec<String>, u64> = lines
            .iter()
            .map(|(path, count)| (path.iter().map(|name| (*name).to_owned()).collect(), *count))
            .collect();
        assert_eq!(found, same, "both forms of one profile");
    }
}

#[test]
fn a_profile_is_written_however_the_guest_ends() {
    let program = |turns: u32, then: &str| {
        format!(
            r#"(module
              (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1)
              (func $work (param i32)
                (loop $turn (br_if $turn (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
              (func (export "_start") (call $work (i32.const {turns})) {then}))"#
        )
    };
    // Long enough to be looked at some times, even where other work keeps the processors.
    for (engine, turns) in [("interp", 10_000_000), ("jit", 200_000_000)] {
        let fuel = (u64::from(turns) * 8).to_string();
        for (then, options, code) in [
            ("(unreachable)", &[][..], 134),
            ("(call $exit (i32.const 7))", &[], 7),
            ("(loop (br 0))", &["--timeout", "1s"], 124),
            ("(loop (br 0))", &["--fuel", &fuel], 134),
        ] {
            let place = Place::new();
            place.file("a.wat", program(turns, then));
            let args = [&["--engine", engine][..], &OFTEN, options, &["a.wat"]].concat();
            place.run(args).code(code);
            let text = place.read("palisade-profile.folded");
            assert!(text.contains("_start;work") || text.contains("_start "), "{then}: {text}");
            checked(&serde_json::from_str(&place.read("palisade-profile.json")).unwrap());
        }
    }
}

#[test]
fn a_profile_is_written_after_ctrl_c() {
    use std::io::{BufRead, BufReader};
    let place = Place::new();
    let (_, endless) = ENDLESS[0];
    place.file("a.wat", ready_then(endless));
    let mut command = place.command();
    command.args(OFTEN).args(["a.wat", "--timeout", "60s"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    Ended::from(child.wait_with_output().unwrap()).code(130).says(&["Ctrl-C"]);
    checked(&serde_json::from_str(&place.read("palisade-profile.json")).unwrap());
}

#[test]
fn a_profile_changes_neither_output_nor_fuel() {
    let runs = |options: &[&str]| {
        let place = Place::new();
        let name = place.program("hog");
        let mut all = Vec::new();
        for engine in ["interp", "jit"] {
            let args = [&["--engine", engine, "--deterministic", "--stats"][..], options];
            let ended = place.run([&args.concat()[..], &[&name, "write", "50000"]].concat());
            let fuel =
                ended.stderr.lines().find(|line| line.starts_with("  fuel ")).map(str::to_owned);
            assert!(fuel.is_some(), "{ended:#?}");
            all.push((fuel, ended.code(0).stdout));
        }
        all
    };
    assert_eq!(runs(&OFTEN), runs(&[]));
}

#[test]
fn what_cannot_be_a_profile_is_said_before_anything_runs() {
    let place = Place::new();
    place.file("a.wat", HOT);
    for (options, word) in [
        ("--profile guest=missing/a", "directory does not exist"),
        ("--profile guest=a.wat", "a module of the run itself"),
        ("--profile guest --profile guest=b", "twice"),
        ("--profile guest --profile-interval 1us", "from 100us to 10s"),
        ("--profile-interval 1ms", "--profile guest"),
    ] {
        place.line(&format!("{options} a.wat --invoke f 1")).code(2).says(&["--profile", word]);
    }
}

// ---- native debuggers ----

/// A guest that calls the host three functions deep, and then traps two functions deep.
const CALLS: &str = r#"(module $guest
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\06\00\00\00")
    (data (i32.const 16) "ready\n")
    (func $say (param i32) (result i32)
        (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func $middle (param i32) (result i32)
        (i32.add (call $say (local.get 0)) (i32.const 1)))
    (func $fail (param i32) (drop (call $middle (local.get 0))) (unreachable))
    (func $_start (export "_start") (call $fail (i32.const 3))))"#;

/// The names of functions in the backtrace that follows a line that begins so, from the inside out.
fn frames<'a>(output: &'a str, after: &str) -> Vec<&'a str> {
    let at = output.find(after).unwrap_or_else(|| panic!("no {after:?} in {output}"));
    let lines = output[at..].lines().skip_while(|line| !line.starts_with("#0"));
    let frames = lines.take_while(|line| line.starts_with('#'));
    frames.map(|line| line.split_once(" in ").map_or(line, |(_, name)| name)).collect()
}

#[test]
fn gdb_sees_the_guests_functions_all_the_way_to_main() {
    let place = Place::new();
    place.file("a.wat", CALLS);
    place.file(
        "commands",
        "set pagination off\nset confirm off\nset debuginfod enabled off\n\
         handle SIGSEGV SIGILL SIGFPE nostop noprint pass\n\
         catch syscall pwritev2 writev write\nrun\necho at the call\\n\nbacktrace\n\
         delete\nhandle SIGILL stop print pass\ncontinue\necho at the trap\\n\nbacktrace\n\
         continue\ninfo inferiors\n",
    );
    let mut gdb = std::process::Command::new("gdb");
    gdb.args(["-nx", "-batch", "-x", "commands", "--args", env!("CARGO_BIN_EXE_palisade")]);
    gdb.args(["run", "--engine", "jit", "--native-debug", "a.wat"]);
    let output = match gdb.current_dir(place.path()).stdin(Stdio::null()).output() {
        Err(error) => return println!("not run: no gdb: {error}"),
        Ok(output) => output,
    };
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if err.contains("ptrace: Operation not permitted") || err.contains("Cannot execute") {
        return println!("not run: gdb may not trace here: {err}");
    }
    // A race of gdb's own with a thread that ends. What it said before that counts.
    if err.contains("No such process") && !out.contains("at the trap") {
        return println!("not run: gdb lost the process: {err}");
    }
    for (after, guest) in [
        ("at the call", &["guest!say", "guest!middle", "guest!fail", "guest!_start"][..]),
        ("at the trap", &["guest!fail", "guest!_start"]),
    ] {
        let frames = frames(&out, after);
        let first = frames.iter().position(|frame| frame.contains(guest[0]));
        let first = first.unwrap_or_else(|| panic!("no {} in {frames:?}\n{out}\n{err}", guest[0]));
        for (frame, name) in frames[first..].iter().zip(guest) {
            assert!(frame.contains(name), "{name}: {frames:?}");
        }
        let outside = &frames[first + guest.len()..];
        assert!(outside.iter().any(|frame| frame.contains("palisade::main")), "{frames:?}");
        assert!(frames.last().unwrap().starts_with("main "), "{frames:?}");
        assert_eq!(after == "at the call", frames[..first].iter().any(|f| f.contains("fd_write")));
    }
    assert!(err.contains("wasm trap: unreachable"), "{out}\n{err}");
}
