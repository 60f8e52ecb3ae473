//! Looking inside: what backtraces tell of the source, whose word is taken for it, and core dumps.

mod common;

use common::{Ended, command};

const DWARF: &[u8] = include_bytes!("../../debug/tests/fixtures/dwarf5.wasm");

const PLACES: [&str; 5] = [
    "!middle\n",
    "inlined divide at trap.c:6:20\n",
    "at trap.c:11:12\n",
    "inlined run at trap.c:15:12\n",
    "at trap.c:19:5\n",
];

/// The fixture, its sections of DWARF given other names, so that none is left.
fn stripped() -> Vec<u8> {
    replaced(DWARF, b".debug_", b".absent")
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    let mut found = 0;
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            out[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "nothing was replaced");
    out
}

/// Runs `a.wasm`, with `b.wasm` beside it.
fn run(a: &[u8], b: &[u8], options: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), a).unwrap();
    std::fs::write(dir.path().join("b.wasm"), b).unwrap();
    command(dir.path()).arg("run").args(options).arg("a.wasm").output().unwrap().into()
}

#[test]
fn backtraces_tell_files_and_lines_in_every_engine() {
    for engine in ["interp", "jit", "auto"] {
        run(DWARF, b"", &["--engine", engine]).code(134).says(&PLACES);
    }
}

#[test]
fn a_sandbox_reads_no_debug_information_unless_asked() {
    for (options, told) in [
        (&["--sandbox"][..], false),
        (&["--no-debug-info"], false),
        (&["--sandbox", "--debug-info"], true),
        (&["--debug-file", "b.wasm", "--sandbox"], true),
    ] {
        let ended = run(DWARF, DWARF, options).code(134).says(&["!middle"]);
        assert_eq!(ended.stderr.contains("trap.c"), told, "{options:?}: {ended:#?}");
    }
}

#[test]
fn a_stripped_module_takes_its_places_from_its_debug_file() {
    let ended = run(&stripped(), DWARF, &[]).code(134);
    assert!(!ended.stderr.contains("trap.c"), "{ended:#?}");
    run(&stripped(), DWARF, &["--debug-file", "b.wasm"]).code(134).says(&PLACES);
}

#[test]
fn a_debug_file_of_another_build_or_without_anything_is_refused() {
    let other = include_bytes!("../../../tests/programs/hello.wasm");
    for (file, word) in [(&other[..], "no sections of DWARF"), (b"text", "no binary")] {
        run(DWARF, file, &["--debug-file", "b.wasm"]).code(126).says(&["--debug-file", word]);
    }
    // A `return` more or less.
    let code = replaced(DWARF, &[0x00, 0x0b], &[0x0f, 0x0b]);
    run(&stripped(), &code, &["--debug-file", "b.wasm"]).code(126).says(&["different builds"]);
    run(DWARF, b"", &["--debug-file", "none"]).code(127).says(&["none: no such file"]);
}

#[test]
fn a_module_that_names_its_debug_file_does_not_get_it_opened() {
    let mut module = stripped();
    let name = b"\x13external_debug_info\x06b.wasm";
    module.extend([0, name.len() as u8]);
    module.extend(name);
    let ended = run(&module, DWARF, &[]).code(134).says(&["b.wasm: --debug-file FILE reads it"]);
    assert!(!ended.stderr.contains("trap.c"), "{ended:#?}");
}

#[test]
fn d7_names_in_debug_information_are_escaped() {
    let module = replaced(DWARF, b"trap.c", b"\x1b[31m\n");
    run(&module, b"", &[]).code(134).says(&["\\u{1b}[31m\\n:6:20"]);
    let module = replaced(DWARF, b"divide", b"\x1b]0;a\x07");
    run(&module, b"", &[]).code(134).says(&["inlined \\u{1b}]0;a\\u{7} at"]);
}
