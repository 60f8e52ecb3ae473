//! Exit statuses, one test for each row of the table, with what is said on the way out.

mod common;

use common::{ENDLESS, Place, programs, ready_then};
use std::os::unix::fs::PermissionsExt;

fn exits(status: &str) -> String {
    ready_then(&format!("(call $exit (i32.const {status}))"))
}

#[test]
fn the_guests_own_status_in_its_low_8_bits() {
    let place = Place::new();
    for (status, wanted) in [("0", 0), ("1", 1), ("42", 42), ("134", 134), ("255", 255)] {
        place.file("exit.wat", exits(status));
        place.line("exit.wat").code(wanted).prints("ready\n").quietly();
    }
    for (status, wanted) in [("256", 0), ("257", 1), ("-1", 255), ("0x12345678", 0x78)] {
        place.file("exit.wat", exits(status));
        place.line("exit.wat").code(wanted).quietly();
    }
    place.file("return.wat", ready_then(""));
    place.line("return.wat").code(0).prints("ready\n").quietly();
    let exit = place.program("exit");
    place.line(&format!("{exit} return 3")).code(3).quietly();
    place.line(&format!("{exit} nested 7")).code(7).quietly();
}

#[test]
fn exit_in_a_start_function_or_initialize() {
    let place = Place::new();
    let module = |part: &str| {
        format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
               (func $out (call $exit (i32.const 9))) {part})"#
        )
    };
    place.file("start.wat", module(r#"(start $out) (func (export "_start"))"#));
    place.line("start.wat").code(9);
    place.file("init.wat", module(r#"(export "_initialize" (func $out)) (func (export "f"))"#));
    place.line("init.wat --invoke f").code(9);
}

#[test]
fn x1_x3_x4_status_124_the_deadline_in_a_loop_a_sleep_and_a_read() {
    let place = Place::new();
    for (name, body) in ENDLESS {
        place.file("endless.wat", ready_then(body));
        let mut command = place.command();
        // A pipe that stays open and silent, so that the read waits.
        let (silent, _keep) = std::io::pipe().expect("a pipe");
        command.args(["endless.wat", "--timeout", "200ms"]).stdin(silent);
        let ended: common::Ended = command.output().expect("the command starts").into();
        assert_eq!(ended.stdout, "ready\n", "{name}");
        ended.code(124).says(&["endless.wat", "deadline", "--timeout"]);
    }
}

#[test]
fn status_124_while_loading() {
    let place = Place::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO");
    for command in ["run", "validate", "inspect"] {
        place.line(&format!("{command} fifo --timeout 100ms")).code(124).says(&["deadline"]);
    }
}

#[test]
fn status_125_results_cannot_be_written() {
    let place = Place::new();
    place.file("one.wat", r#"(module (func (export "one") (result i32) (i32.const 1)))"#);
    for args in [&["one.wat", "--invoke", "one"][..], &["wasi"], &["--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let mut command = place.command();
        command.args(args).stdout(full);
        let ended: common::Ended = command.output().expect("the command starts").into();
        ended.code(125).says(&["standard output", "No space left"]);
    }
}

#[test]
fn a_guest_learns_of_a_full_disk_and_goes_on() {
    let place = Place::new();
    // Ends with the errno of its second write.
    place.file(
        "full.wat",
        ready_then(
            "(call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))",
        ),
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = place.command();
    command.arg("full.wat").stdout(full);
    let ended: common::Ended = command.output().expect("the command starts").into();
    ended.code(51).quietly();
}

#[test]
fn status_126_what_is_no_module() {
    let place = Place::new();
    let hello = std::fs::read(programs().join("hello.wasm")).expect("hello.wasm");
    let half = &hello[..hello.len() / 2];
    let mut flipped = hello.clone();
    flipped[4] = 2;
    let cases: [(&str, &[u8], &[&str]); 13] = [
        ("empty", b"", &["empty", "0 bytes"]),
        ("text", b"this is no module\n", &["text file"]),
        ("script", b"#!/bin/sh\nexit 0\n", &["script"]),
        ("elf", b"\x7fELF\x02\x01\x01\0\0\0\0\0", &["ELF"]),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0", &["gzip"]),
        ("zeros", &[0; 4096], &["not a WebAssembly module"]),
        ("component", b"\0asm\x0d\0\x01\0", &["component", "module", "wasm32-wasip1"]),
        ("half", half, &["offset"]),
        ("version", &flipped, &["version"]),
        ("magic", b"\0asm", &["malformed", "end"]),
        ("syntax.wat", b"(module\n  (func (export \"_start\") oops))", &["line 2", "column"]),
        ("component.wat", b"(component)", &["component"]),
        ("invalid.wat", b"(module (func (result i32)))", &["invalid", "offset"]),
    ];
    for (name, content, parts) in cases {
        place.file(name, content);
        for command in ["run", "validate", "inspect"] {
            let ended = place.line(&format!("{command} {name}")).code(126).prints("");
            let ended = ended.says(parts);
            assert!(ended.stderr.contains(&format!("{name}: ")), "{ended:#?}");
        }
    }
}

#[test]
fn status_126_over_a_limit_and_the_flag_that_raises_it() {
    let place = Place::new();
    let nested = |depth: usize| {
        let (open, close) = ("(block ".repeat(depth), ")".repeat(depth));
        format!("(module (func (export \"_start\") {open}{close}))")
    };
    place.file("deep.wat", nested(600));
    place.line("deep.wat").code(0).quietly();
    place.line("deep.wat --sandbox").code(126).says(&["--limit nesting=", "500"]);
    place.line("deep.wat --sandbox --limit nesting=700").code(0).quietly();
    place.line("deep.wat --limit nesting=599").code(126).says(&["599"]);
    place.line("validate deep.wat --sandbox").code(126).says(&["nesting"]);

    let hello = place.program("hello");
    let size = std::fs::metadata(place.path().join(&hello)).expect("the file").len();
    let line = format!("{hello} --limit module-bytes={}", size - 1);
    place.line(&line).code(126).says(&["too large", "--limit module-bytes="]);
    place.line(&format!("{hello} --limit module-bytes={size}")).code(0);
}

#[test]
fn status_126_a_module_of_100_mb() {
    let place = Place::new();
    // Sparse, so it costs nothing; the strict limit says no before it is read, the wide one after.
    let file = std::fs::File::create(place.path().join("huge")).expect("a file");
    file.set_len(100_000_000).expect("a sparse file");
    place.line("huge --sandbox").code(126).says(&["too large", "67108864", "--limit module-bytes"]);
    place.line("huge").code(126).says(&["not a WebAssembly module"]);
    file.set_len(1 << 41).expect("a sparse file");
    place.line("huge").code(126).says(&["too large"]);
}

#[test]
fn h7_status_126_what_cannot_be_linked() {
    let place = Place::new();
    let import = |module: &str, name: &str, ty: &str| {
        format!(r#"(module (import "{module}" "{name}" {ty}) (func (export "_start")))"#)
    };
    let wasi = "wasi_snapshot_preview1";
    let cases = [
        (import("env", "f", "(func)"), &["env", "`env::f`", "--link env=FILE"][..]),
        (import(wasi, "fd_dup", "(func)"), &["fd_dup", "no function of that name"]),
        (import(wasi, "fd_close", "(func (param i64) (result i32))"), &["fd_close", "i64", "i32"]),
        (
            import("wasi_unstable", "fd_close", "(func (param i32) (result i32))"),
            &["another version"],
        ),
        (import("env", "\\1b[2J", "(func)"), &["\\u{1b}[2J"]),
        (import("env", "m", "(memory 1)"), &["env", "memory"]),
    ];
    for (module, parts) in cases {
        place.file("import.wat", module);
        place.line("import.wat").code(126).says(parts);
    }
    place.file("start.wat", r#"(module (func (export "_start") (param i32)))"#);
    place.line("start.wat").code(126).says(&["_start", "i32"]);
}

#[test]
fn status_127_what_cannot_be_read() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("folder")).expect("a directory");
    for command in ["run", "validate", "inspect", "wast"] {
        place.line(&format!("{command} none")).code(127).says(&["none", "no such file"]);
        place.line(&format!("{command} folder")).code(127).says(&["folder", "directory"]);
    }
    place.file("ok.wat", r#"(module (func (export "_start")))"#);
    place.line("ok.wat --link a=none").code(127).says(&["none"]);
    place.file("secret", "(module)");
    let path = place.path().join("secret");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    // Root can read everything.
    if std::fs::read(&path).is_err() {
        place.line("secret").code(127).says(&["permission denied"]);
    }
}

#[test]
fn status_134_traps_with_a_backtrace() {
    let place = Place::new();
    place.file(
        "trap.wat",
        r#"(module $castle
             (func $keep (unreachable))
             (func $gate (call $keep))
             (func (export "_start") (call $gate)))"#,
    );
    let ended = place.line("trap.wat").code(134).says(&[
        "trap.wat: wasm trap: unreachable",
        "wasm backtrace:",
        "castle!keep",
        "castle!gate",
    ]);
    let (keep, gate) = (ended.stderr.find("!keep"), ended.stderr.find("!gate"));
    assert!(keep < gate, "{ended:#?}");

    place.file(
        "div.wat",
        r#"(module (func (export "f") (param i32) (result i32)
        (i32.div_u (i32.const 1) (local.get 0))))"#,
    );
    place.line("div.wat --invoke f 0").code(134).prints("").says(&["integer divide by zero"]);
    place.file(
        "name.wat",
        "(module (func (export \"_start\") (call $x)) (func $x (@name \"\\1b[31mx\") unreachable))",
    );
    place.line("name.wat").code(134).says(&["\\u{1b}[31mx"]);
}

#[test]
fn status_134_an_exception_that_nobody_catches_with_its_tag_and_values() {
    let place = Place::new();
    place.file(
        "throw.wat",
        r#"(module $castle (tag $flood (param i32 f64 i64 v128 externref))
             (func $keep (throw $flood (i32.const -7) (f64.const 1.5) (i64.const 9)
               (v128.const i64x2 1 2) (ref.null extern)))
             (func (export "_start") (call $keep)))"#,
    );
    let ended = place.line("throw.wat").code(134).says(&[
        "throw.wat: uncaught exception: tag `flood` (i32 -7, f64 1.5, i64 9, v128 0x",
        "wasm backtrace:",
        "castle!keep",
        "castle!_start",
    ]);
    assert!(!ended.stderr.contains("internal"), "{ended:#?}");
    // By the name that it is exported by, made fit for a terminal; by its index; very many values.
    for (tag, throw, said) in [
        (r#"(tag (export "\1b[31mred"))"#, "(throw 0)", "tag `\\u{1b}[31mred` ()"),
        ("(tag) (tag)", "(throw 1)", "tag 1 ()"),
        (
            r#"(tag (@name "\0a\1b[2J") (param i32))"#,
            "(throw 0 (i32.const 1))",
            "\\u{1b}[2J` (i32 1)",
        ),
    ] {
        place.file("tag.wat", format!("(module {tag} (func (export \"_start\") {throw}))"));
        place.line("tag.wat").code(134).says(&[said]);
    }
    let (types, values) = ("i32 ".repeat(1000), "(i32.const 3)".repeat(1000));
    place.file(
        "many.wat",
        format!("(module (tag $t (param {types})) (func (export \"_start\") {values} throw $t))"),
    );
    let ended = place.line("many.wat").code(134).says(&["i32 3, i32 3", "and 984 more)"]);
    assert!(ended.stderr.len() < 1000, "{ended:#?}");
}

#[test]
fn status_134_every_limit_of_the_ledger_with_its_flag() {
    let place = Place::new();
    place.file("loop.wat", ready_then("(loop (br 0))"));
    let ended = place.line("loop.wat --fuel 10000").code(134).says(&["fuel", "--fuel"]);
    assert_eq!(ended.stdout, "ready\n");
    place.line("loop.wat --fuel 0").code(134).says(&["fuel"]).prints("");

    place.file("recurse.wat", r#"(module (func $f (export "_start") (call $f) (call $f)))"#);
    place.line("recurse.wat").code(134).says(&["call stack exhausted", "--max-stack"]);
    let line = "recurse.wat --max-call-depth 100";
    place.line(line).code(134).says(&["depth", "--max-call-depth"]);

    place.file("memory.wat", r#"(module (memory 32) (func (export "_start")))"#);
    place.line("memory.wat --max-memory 2MiB").code(0);
    let line = "memory.wat --max-memory 2097151";
    place.line(line).code(134).says(&["memory", "2097151", "--max-memory"]);
    place.file("table.wat", r#"(module (table 1000 funcref) (func (export "_start")))"#);
    place.line("table.wat --max-table-elements 1000").code(0);
    let line = "table.wat --max-table-elements 999";
    place.line(line).code(134).says(&["table", "999", "--max-table-elements"]);

    let hog = place.program("hog");
    let line = format!("{hog} write 1000 --max-output 6400");
    let ended = place.line(&line).code(134).says(&["output", "--max-output"]);
    assert!(ended.stdout.len() <= 6400, "{} bytes", ended.stdout.len());
}

#[test]
fn limits_that_a_guest_survives() {
    let place = Place::new();
    let hog = place.program("hog");
    let grown = place.line(&format!("{hog} grow 1000 --max-memory 1MiB")).code(1).quietly();
    assert!(grown.stdout.starts_with("grow: ") && !grown.stdout.starts_with("grow: 1000 "));
    let line = format!("{hog} open 100 --dir . --allow-read --max-open-files 10");
    let opened = place.line(&line).code(1).quietly();
    assert!(opened.stdout.starts_with("open: "), "{opened:#?}");
    let number: u32 = opened.stdout["open: ".len()..].split(' ').next().unwrap().parse().unwrap();
    assert!((1..10).contains(&number), "{opened:#?}");
}

#[test]
fn the_status_of_validate_is_that_of_the_first_bad_file() {
    let place = Place::new();
    place.file("good.wat", "(module)");
    place.file("bad.wat", "(module");
    let ended = place.line("validate good.wat bad.wat none good.wat").code(126);
    assert_eq!(ended.stdout, "good.wat: valid\ngood.wat: valid\n");
    assert!(ended.stderr.contains("bad.wat") && ended.stderr.contains("none"));
    place.line("validate none bad.wat").code(127);
}
