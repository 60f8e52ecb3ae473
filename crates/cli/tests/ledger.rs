//! The ledger as whoever uses the command sees it: every limit has its option, what runs out is named in one
//! form, and `--stats` lists all of it.

mod common;

use common::{Ended, Place};
use palisade::Resource;

/// A command that does what `body` says, with the functions of WASI that need a directory or time.
fn module(parts: &str, body: &str) -> String {
    format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_create_directory"
            (func $mkdir (param i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_filestat_set_size"
            (func $size (param i32 i64) (result i32)))
          (import "wasi_snapshot_preview1" "fd_readdir"
            (func $list (param i32 i32 i32 i64 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\06\00\00\00")
          (data (i32.const 16) "ready\n")
          (data (i32.const 32) "made")
          ;; A subscription at 64: a clock, monotonic, in an hour.
          (data (i32.const 80) "\01\00\00\00")
          (data (i32.const 88) "\00\a0\b8\30\46\03\00\00")
          {parts}
          (func $must (param i32) (if (local.get 0) (then unreachable)))
          (func (export "_start") {body}))"#
    )
}

/// What makes one resource run out: parts of the module, body, options but the resource's own, a limit that is too low
/// and one that is enough (if the body ends by itself).
struct Case(Resource, &'static str, &'static str, &'static str, &'static str, Option<&'static str>);

const WRITE: &str =
    "(call $must (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
const MKDIR: &str = "(call $must (call $mkdir (i32.const 3) (i32.const 32) (i32.const 4)))";
const OPEN: &str = "(call $must (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) \
     (i32.const 1) (i64.const 4194304) (i64.const 0) (i32.const 0) (i32.const 40)))";
const OPEN_AND_SIZE: &str =
    "(call $must (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) \
     (i32.const 1) (i64.const 4194304) (i64.const 0) (i32.const 0) (i32.const 40)))
     (call $must (call $size (i32.load (i32.const 40)) (i64.const 5000)))";
const LIST: &str = "(call $must (call $list (i32.const 3) (i32.const 1024) (i32.const 1024) (i64.const 0) \
     (i32.const 40)))";
const SLEEP: &str =
    "(call $must (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 40)))";
const FILES: &str = "--dir . --allow-all";

const CASES: &[Case] = &[
    Case(Resource::Fuel, "", "(loop (br 0))", "", "10000", None),
    Case(Resource::Time, "", "(loop (br 0))", "", "100ms", None),
    Case(Resource::WaitTime, "", SLEEP, "", "50ms", None),
    Case(Resource::MemoryBytes, "", "", "", "65535", Some("64KiB")),
    Case(Resource::TableElements, "(table 10 funcref)", "", "", "9", Some("10")),
    Case(Resource::Instances, "", "", "", "0", Some("1")),
    Case(Resource::Memories, "(memory 0)", "", "", "1", Some("2")),
    Case(Resource::Tables, "(table 0 funcref) (table 0 funcref)", "", "", "1", Some("2")),
    Case(Resource::StackBytes, "(func $f (call $f) (call $f))", "(call $f)", "", "64KiB", None),
    Case(Resource::CallDepth, "(func $f (call $f) (call $f))", "(call $f)", "", "100", None),
    Case(Resource::HostBytes, "", "", "", "100", Some("1MiB")),
    Case(Resource::Descriptors, "", OPEN, FILES, "4", Some("5")),
    Case(Resource::OutputBytes, "", WRITE, "", "5", Some("6")),
    Case(Resource::FilesCreated, "", MKDIR, FILES, "0", Some("1")),
    Case(Resource::FileBytes, "", OPEN_AND_SIZE, FILES, "4999", Some("5000")),
    Case(Resource::CopiedBytes, "", WRITE, "", "13", Some("14")),
    Case(Resource::EntriesRead, "", LIST, FILES, "2", Some("3")),
];

fn run(place: &Place, case: &Case, limit: &str) -> Ended {
    let Case(what, parts, body, options, ..) = case;
    let _ = std::fs::remove_dir(place.path().join("made"));
    let _ = std::fs::remove_file(place.path().join("made"));
    place.file("case.wat", module(parts, body));
    place.line(&format!("case.wat {options} {} {limit} --stats", what.flag()))
}

#[test]
fn every_limit_says_what_ran_out_in_one_form_and_which_option_raises_it() {
    assert_eq!(CASES.len(), Resource::ALL.len());
    for case in CASES {
        let Case(what, _, _, _, low, enough) = case;
        let place = Place::new();
        let ended = run(&place, case, low).code(if *what == Resource::Time { 124 } else { 134 });
        for part in [&format!("the limit on {} is ", what.name()), what.flag()] {
            assert!(ended.stderr.contains(part), "{what:?}: no {part:?} in {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("ResourceLimits"), "{}", ended.stderr);
        if let Some(enough) = enough {
            let place = Place::new();
            run(&place, case, enough).code(0);
        }
    }
}

#[test]
fn x10_the_timeout_holds_while_everything_is_compiled() {
    let place = Place::new();
    let add = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(250);
    let functions = format!("(func (param i32) {add})").repeat(2_000);
    place.file("large.wat", format!("(module {functions} (func (export \"_start\")))"));
    place.line("large.wat --engine jit --timeout 300ms").code(124).says(&["deadline", "--timeout"]);
}

#[test]
fn x10_what_the_compiler_takes_is_host_memory() {
    let place = Place::new();
    let body = "(nop)".repeat(100_000);
    place.file("large.wat", format!("(module (func (export \"_start\") {body}))"));
    for (limit, refused) in [("unlimited", "refused 0"), ("64MiB", "refused 1")] {
        let line = format!("large.wat --engine jit --max-host-memory {limit} --stats");
        let ended = place.line(&line).code(0);
        assert!(ended.stderr.contains(refused), "{limit}: {}", ended.stderr);
    }
}

#[test]
fn stats_list_the_whole_ledger() {
    let place = Place::new();
    place.file("case.wat", module("(table 7 funcref)", &format!("{WRITE} {MKDIR} {LIST}")));
    for (options, unlimited) in [("", true), ("--sandbox", false)] {
        let _ = std::fs::remove_dir(place.path().join("made"));
        let ended = place.line(&format!("case.wat --stats {FILES} {options}")).code(0);
        let line = |what: Resource| {
            let begins = format!("  {:18}", what.name());
            let line = ended.stderr.lines().find(|line| line.starts_with(&begins));
            line.unwrap_or_else(|| panic!("no {what:?} in {}", ended.stderr)).to_owned()
        };
        for what in Resource::ALL {
            let line = line(*what);
            let fixed = matches!(what, Resource::StackBytes | Resource::Descriptors);
            assert_eq!(line.ends_with("unlimited"), unlimited && !fixed, "{line}");
        }
        for (what, number) in [
            (Resource::TableElements, "7"),
            (Resource::FilesCreated, "1"),
            (Resource::EntriesRead, "4"),
            (Resource::OutputBytes, "6 bytes"),
            (Resource::MemoryBytes, "64 KiB"),
        ] {
            assert_eq!(line(what).matches(&format!(" {number} ")).count(), 2, "{}", line(what));
        }
    }
}
