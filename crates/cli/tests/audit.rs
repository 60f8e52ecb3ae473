//! `--audit`, and what is said of a guest that failed after it was denied something.

mod common;

use std::process::Stdio;

use common::{Ended, Place};
use serde_json::Value;

/// A command that opens a file for reading (`rights` more beside it) beneath the first directory, and exits with the
/// errno of that.
fn opens(path: &str, rights: u64, times: u32) -> String {
    let escaped: String = path.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "{escaped}")
          (func (export "_start") (local $n i32) (local $errno i32)
            (loop $again
              (local.set $errno (call $open (i32.const 3) (i32.const 1) (i32.const 64)
                (i32.const {len}) (i32.const 0) (i64.const {base}) (i64.const 0) (i32.const 0) (i32.const 0)))
              (local.set $n (i32.add (local.get $n) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))
            (call $exit (local.get $errno))))"#,
        len = path.len(),
        base = 2 | rights,
    )
}

const NOTCAPABLE: i32 = 76;
const FD_WRITE: u64 = 64;

/// The lines of a log; each must be one line of ASCII, and JSON.
fn lines(log: &str) -> Vec<Value> {
    assert!(log.is_ascii(), "{log}");
    assert!(log.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{log:?}");
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path().join("data")).expect("mkdir");
    std::fs::write(place.path().join("data/file"), "x").expect("write");
    place
}

#[test]
fn each_decision_is_a_line_and_the_flags_that_would_allow_it_are_printed() {
    let place = place();
    place.file("reads.wat", opens("file", 0, 1));
    let ended = place.line("reads.wat --dir data --audit=log").code(NOTCAPABLE);
    let log = lines(&place.read("log"));
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(log[0]["event"], "decision");
    assert_eq!(log[0]["function"], "path_open");
    assert_eq!((&log[0]["path"], &log[0]["directory"]), (&"file".into(), &"data".into()));
    assert_eq!((&log[0]["allowed"], &log[0]["why"]), (&false.into(), &"capability".into()));
    assert_eq!(log[0]["needs"], serde_json::json!(["read"]));
    assert_eq!((&log[1]["event"], &log[1]["status"]), (&"end".into(), &NOTCAPABLE.into()));
    assert!(ended.stderr.contains("would be allowed by: --allow-read\n"), "{ended:#?}");
    // What it says is what it takes.
    let ended = place.line("reads.wat --dir data --allow-read --audit=log").code(0);
    let log = lines(&place.read("log"));
    assert_eq!(
        (&log[0]["allowed"], &log[0]["by"]),
        (&true.into(), &serde_json::json!(["--allow-read"]))
    );
    assert!(ended.stderr.contains("1 allowed, 0 denied"), "{ended:#?}");
    let all = place.line("reads.wat --dir data --allow-all --audit").code(0);
    assert!(all.stderr.contains("\"by\":[\"--allow-all\"]"), "{all:#?}");
    // To standard error, and nothing of it to standard output.
    let ended = place.line("--audit reads.wat --dir data").code(NOTCAPABLE).prints("");
    assert!(ended.stderr.contains("\"event\":\"decision\""), "{ended:#?}");
}

#[test]
fn the_flags_that_are_suggested_are_enough_and_no_more() {
    let place = place();
    std::fs::create_dir(place.path().join("other")).expect("mkdir");
    std::fs::create_dir(place.path().join("my data")).expect("mkdir");
    std::fs::write(place.path().join("other/file"), "x").expect("write");
    place.file("reads.wat", opens("file", 0, 1));
    place.file("writes.wat", opens("file", FD_WRITE, 1));
    place.file("outside.wat", opens("../other/file", 0, 1));
    place.file("changes.wat", opens("../other/file", FD_WRITE, 1));
    place.file("absolute.wat", opens("/somewhere/else/file", 0, 1));
    for (line, flags) in [
        ("reads.wat --dir data", "--allow-read"),
        ("reads.wat --sandbox --dir data:ro", "--allow-read"),
        ("writes.wat --dir data", "--allow-read --allow-write"),
        ("writes.wat --dir data:ro", "--allow-read --allow-write --dir data:rw"),
        ("writes.wat --allow-all --dir data:ro", "--dir data:rw"),
        ("writes.wat --allow-read --dir data", "--allow-write"),
        ("outside.wat --dir data --allow-read", "--dir other:ro"),
        ("outside.wat --dir data", "--allow-read --dir other:ro"),
        ("outside.wat --dir data::/guest --allow-read", "--dir other::/other:ro"),
        ("changes.wat --dir data --allow-read", "--allow-write --dir other:rw"),
        ("absolute.wat --dir data --allow-read", "--dir /somewhere/else:ro"),
    ] {
        let ended = place.line(&format!("{line} --audit=log")).code(NOTCAPABLE);
        let said = format!("would be allowed by: {flags}\n");
        assert!(ended.stderr.contains(&said), "{line}: no {said:?} in {ended:#?}");
        // The same without --audit, in the words of a hint.
        let ended = place.line(line).code(NOTCAPABLE);
        let said = format!("; {flags} would allow it\n");
        assert!(ended.stderr.contains(&said), "{line}: no {said:?} in {ended:#?}");
    }
    // With all of them it gets what it asked for, and with all but one it does not.
    for (file, given, directory, flags) in [
        ("reads.wat", "", "data", "--allow-read"),
        ("writes.wat", "", "data", "--allow-read --allow-write"),
        ("writes.wat", "--allow-read --allow-write", "data:ro", "--dir data:rw"),
    ] {
        let flags: Vec<&str> = flags.split(" --").collect();
        for left_out in 0..=flags.len() {
            let mut line = format!("{file} {given}");
            let mut dir = directory;
            for (_, flag) in flags.iter().enumerate().filter(|(i, _)| *i != left_out) {
                match flag.trim_start_matches("--").strip_prefix("dir ") {
                    Some(better) => dir = better,
                    None => line.push_str(&format!(" --{}", flag.trim_start_matches("--"))),
                }
            }
            let wanted = if left_out == flags.len() { 0 } else { NOTCAPABLE };
            place.line(&format!("{line} --dir {dir}")).code(wanted);
        }
    }
    let ended = place.run(["writes.wat", "--allow-all", "--dir", "my data:ro"]).code(NOTCAPABLE);
    assert!(ended.stderr.contains("--dir 'my data:rw' would allow it"), "{ended:#?}");
}

#[test]
fn a_trap_after_a_denial_names_what_was_missing() {
    let place = place();
    let wat = opens("file", 0, 1).replace("(call $exit (local.get $errno))", "(unreachable)");
    place.file("traps.wat", wat);
    place.line("traps.wat --dir data --allow-path").code(134).says(&[
        "unreachable",
        "hint: it was denied path_open \"file\" in `data`; --allow-read would allow it",
    ]);
    let ended = place.line("traps.wat --dir data --allow-read").code(134);
    assert!(!ended.stderr.contains("denied"), "{ended:#?}");
}

#[test]
fn random_numbers_clocks_and_the_environment() {
    let place = place();
    let module = |name: &str, params: &str, args: &str, end: &str| {
        format!(
            r#"(module
              (import "wasi_snapshot_preview1" "{name}" (func $f (param {params}) (result i32)))
              (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1)
              (func (export "_start") (call $exit (i32.add (call $f {args}) (i32.const {end})))))"#
        )
    };
    place.file("random.wat", module("random_get", "i32 i32", "(i32.const 0) (i32.const 8)", "0"));
    let ended = place.line("random.wat --sandbox").code(76);
    assert!(
        ended.stderr.contains("it was denied random_get; --allow-random would allow it"),
        "{ended:#?}"
    );
    place.line("random.wat").code(0).quietly();
    // What looks empty is no failure, and not said of every program that exits with 1; the audit says it.
    let clock =
        module("clock_time_get", "i32 i64 i32", "(i32.const 0) (i64.const 0) (i32.const 0)", "1");
    place.file("clock.wat", clock);
    place.line("clock.wat --sandbox").code(1).quietly();
    let ended = place.line("clock.wat --sandbox --audit").code(1);
    assert!(ended.stderr.contains("with something by: --allow-clock\n"), "{ended:#?}");
    assert!(ended.stderr.contains("\"answered\":\"with nothing\""), "{ended:#?}");
    let env = module("environ_sizes_get", "i32 i32", "(i32.const 0) (i32.const 4)", "0");
    place.file("env.wat", env);
    let ended = place.line("env.wat --sandbox --audit").code(0);
    assert!(ended.stderr.contains("with something by: --allow-env\n"), "{ended:#?}");
}

#[test]
fn refusals_of_limits_are_lines_too() {
    let place = place();
    place.file(
        "grows.wat",
        r#"(module (memory 1) (func (export "_start")
            (drop (memory.grow (i32.const 100))) (drop (memory.grow (i32.const 200)))))"#,
    );
    let ended = place.line("grows.wat --max-memory 1MiB --audit=log").code(0);
    let log = lines(&place.read("log"));
    let refusals: Vec<&Value> = log.iter().filter(|line| line["event"] == "refusal").collect();
    assert_eq!(refusals.len(), 2, "{log:?}");
    assert_eq!(refusals[1]["resource"], "memory");
    assert_eq!(refusals[1]["asked"], 200 << 16);
    assert_eq!(refusals[1]["limit"], 1 << 20);
    assert!(
        ended.stderr.contains("2 refused by limits") && ended.stderr.contains("--max-memory"),
        "{ended:#?}"
    );
}

#[test]
fn l3_d7_a_log_holds_no_path_of_the_host_and_nothing_that_a_terminal_obeys() {
    let place = place();
    let name = "\u{1b}]0;x\u{7}\u{202e}\n\"\u{9b}/gr\u{fc}n";
    place.file("names.wat", opens(name, 0, 1));
    let host = place.path().to_str().expect("UTF-8").to_owned();
    for (grants, stays) in [("", "--audit=log"), ("--allow-read", "--audit=log"), ("", "--audit")] {
        let dir = format!("{host}/data::/guest");
        let args = ["names.wat", "--dir", &dir, stays].into_iter().chain(grants.split_whitespace());
        let ended = place.run(args);
        let log = if stays == "--audit" {
            let json = ended.stderr.lines().filter(|line| line.starts_with('{'));
            json.map(|line| format!("{line}\n")).collect()
        } else {
            place.read("log")
        };
        let lines = lines(&log);
        assert_eq!(lines[0]["path"], name, "{lines:?}");
        assert_eq!(lines[0]["directory"], "/guest");
        assert!(!log.contains(&host), "{log}");
        let clean = ended.stderr.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}'));
        assert!(clean, "{ended:#?}");
    }
    // The same goes for the note on a guest that failed.
    let ended = place.line("names.wat --dir data --allow-path").code(NOTCAPABLE);
    let clean = ended.stderr.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}'));
    assert!(clean && ended.stderr.contains("\\u{1b}"), "{ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 2, "{ended:#?}");
}

#[test]
fn x7_a_flood_is_bounded_and_hides_no_denial() {
    let place = place();
    // A quarter of a million decisions that are allowed, then one that is not.
    let flood = opens("../file", 0, 1)
        .replace(
            "(import \"wasi_snapshot_preview1\" \"proc_exit\"",
            "(import \"wasi_snapshot_preview1\" \"clock_time_get\"
               (func $clock (param i32 i64 i32) (result i32)))
             (import \"wasi_snapshot_preview1\" \"proc_exit\"",
        )
        .replace(
            "(loop $again",
            "(loop $flood
               (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 8)))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $flood (i32.lt_u (local.get $n) (i32.const 250000))))
             (loop $again",
        );
    place.file("flood.wat", flood);
    let ended = place.line("flood.wat --dir data --allow-read --audit=log").code(NOTCAPABLE);
    let log = place.read("log");
    assert!(log.len() < (16 << 20) + 1000, "{} bytes", log.len());
    let lines = lines(&log);
    let last: Vec<&str> =
        lines.iter().rev().take(2).filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(last, ["end", "decision"], "{ended:#?}");
    let denied = &lines[lines.len() - 2];
    assert_eq!((&denied["allowed"], &denied["why"]), (&false.into(), &"outside".into()));
    assert!(lines.iter().any(|line| line["event"] == "full"), "{} lines", lines.len());
    assert!(lines.last().expect("a last line")["left_out"].as_u64() > Some(1000));
    assert!(ended.stderr.contains("are not in the log: it was full, or"), "{ended:#?}");
}

#[test]
fn denials_alone_are_bounded_too() {
    let place = place();
    place.file("flood.wat", opens("../file", 0, 150_000));
    let ended = place.line("flood.wat --dir data --allow-read --audit=log").code(NOTCAPABLE);
    let log = place.read("log");
    assert!(log.len() < (16 << 20) + 1000 && log.len() > 12 << 20, "{} bytes", log.len());
    let lines = lines(&log);
    assert_eq!(lines.last().expect("a last line")["denied"], 150_000);
    assert_eq!(lines.iter().filter(|line| line["event"] == "full").count(), 1);
    assert!(ended.stderr.contains("would be allowed by: --dir .:ro\n"), "{ended:#?}");
}

#[test]
fn a_pipe_that_does_not_wait_gets_every_line_all_the_same() {
    use std::io::Read as _;
    let place = place();
    place.file("flood.wat", opens("../file", 0, 20_000));
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    // What a parent that reads asynchronously hands over.
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).expect("it is a pipe");
    let mut command = place.command();
    command.args("flood.wat --dir data --allow-read --audit".split(' '));
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().expect("it starts");
    // The other end for writing is closed with it.
    drop(command);
    let mut said = String::new();
    std::fs::File::from(reader).read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(NOTCAPABLE));
    let log: String =
        said.lines().filter(|line| line.starts_with('{')).map(|line| format!("{line}\n")).collect();
    let lines = lines(&log);
    let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((count("decision"), count("end")), (20_000, 1));
    assert_eq!(lines.last().expect("a last line")["left_out"], 0);
}

#[test]
fn the_log_is_made_before_the_guest_and_a_place_in_its_reach_is_warned_of() {
    let place = place();
    place.file("reads.wat", opens("log", 0, 1));
    place
        .line("reads.wat --dir data --audit=nowhere/log")
        .code(2)
        .says(&["--audit=nowhere/log", "standard error"]);
    let warns = |line: &str| place.line(line).stderr.contains("can change the log, too");
    assert!(warns("reads.wat --dir data --allow-all --audit=data/log"));
    assert!(!warns("reads.wat --dir data:ro --allow-all --audit=data/log"));
    assert!(!warns("reads.wat --dir data --allow-read --audit=data/log"));
    assert!(!warns("reads.wat --dir data --allow-all --audit=log"));
    // It was there when the guest opened it.
    place.line("reads.wat --dir . --allow-read --audit=log").code(0);
    // The word behind it is the file to run, not the log.
    place.line("--audit reads.wat --dir . --allow-read").code(0);
    // Nor does a slip of the hand cost the module.
    for line in ["--audit=reads.wat reads.wat", "--audit=reads.wat reads.wat --link a=reads.wat"] {
        place.line(line).code(2).says(&["--audit=reads.wat", "module of the run"]);
    }
    place.line("other.wat --audit=reads.wat --link a=reads.wat").code(2);
    assert!(place.read("reads.wat").contains("module"));
}

#[test]
fn a_log_on_a_full_disk_is_said() {
    let place = place();
    place.file("reads.wat", opens("file", 0, 1));
    if !std::path::Path::new("/dev/full").exists() {
        println!("not run: there is no /dev/full");
        return;
    }
    place.line("reads.wat --dir data --allow-read --audit=/dev/full").code(125);
    let ended = place.line("reads.wat --dir data --allow-read --audit=/dev/full");
    assert!(ended.stderr.contains("the audit log cannot be written"), "{ended:#?}");
}

#[test]
fn files_named_on_the_command_line_without_a_directory() {
    let place = Place::new();
    place.file("input.txt", "hello");
    let wc = place.program("wc");
    let run = |line: &str| -> Ended { place.line(&format!("{wc} {line}")) };
    let ended = run("input.txt --audit");
    assert!(ended.stderr.contains("--allow-read --dir .:ro"), "{ended:#?}");
    let ended = run("input.txt");
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("--allow-read --dir .:ro gives it the files"), "{ended:#?}");
    run("input.txt --allow-read --dir .:ro").code(0).quietly();
    let ended = run("nowhere.txt");
    assert!(!ended.stderr.contains("--dir"), "{ended:#?}");
}

/// A program made with an ordinary C library: what is suggested is what it takes.
#[test]
fn a_real_program_gets_on_with_the_flags_that_were_suggested() {
    let place = place();
    std::fs::create_dir(place.path().join("other")).expect("mkdir");
    std::fs::write(place.path().join("other/file"), "a b c\n").expect("write");
    let wc = place.program("wc");
    for (given, file) in [
        ("--dir data::.", "../other/file"),
        ("--dir other", "other/file"),
        ("", "other/file"),
        ("--sandbox --dir data --allow-read", "data/file"),
    ] {
        let ended = place.line(&format!("{wc} {given} -- {file}"));
        if ended.code == Some(0) {
            assert!(given.contains("--allow-read"), "{given}: {ended:#?}");
            continue;
        }
        let hints = ended.stderr.lines().filter(|line| line.contains("hint: "));
        let words: Vec<&str> = hints.flat_map(str::split_whitespace).collect();
        let from = words.iter().position(|word| word.starts_with("--"));
        let from = from.unwrap_or_else(|| panic!("no flag is suggested: {ended:#?}"));
        let flags = words[from..].iter().take_while(|word| !matches!(**word, "would" | "gives"));
        let flags: Vec<&str> = flags.copied().collect();
        let line = format!("{wc} {given} {} -- {file}", flags.join(" "));
        let ended = place.line(&line).code(0);
        assert!(ended.stdout.contains('6'), "{line}: {ended:#?}");
    }
}
