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

/// What a core dump says, as another reader understands it.
#[derive(Debug, Default)]
struct Dump {
    name: String,
    modules: usize,
    instances: Vec<(u32, Vec<u32>, Vec<u32>)>,
    /// Instance, function, offset in the function, locals.
    frames: Vec<(u32, u32, u32, usize)>,
    /// The values of each frame's locals and operands, as text.
    values: Vec<[Vec<String>; 2]>,
    /// Memory, offset, bytes.
    data: Vec<(u32, i64, Vec<u8>)>,
    memories: Vec<u64>,
}

fn shown(value: &wasmparser::CoreDumpValue) -> String {
    use wasmparser::CoreDumpValue::{F32, F64, I32, I64, Missing};
    match value {
        Missing => "?".to_owned(),
        I32(n) => format!("i32 {n}"),
        I64(n) => format!("i64 {n}"),
        F32(n) => format!("f32 {}", f32::from_bits(n.bits())),
        F64(n) => format!("f64 {}", f64::from_bits(n.bits())),
    }
}

fn read_dump(bytes: &[u8]) -> Dump {
    use wasmparser::{
        CoreDumpValue, DataKind, KnownCustom, Operator, Parser, Payload, Validator, WasmFeatures,
    };
    Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).expect("a valid module");
    let mut dump = Dump::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.expect("a part") {
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::CoreDump(core) => dump.name = core.name.to_owned(),
                KnownCustom::CoreDumpModules(modules) => dump.modules = modules.modules.len(),
                KnownCustom::CoreDumpInstances(instances) => {
                    let all = instances.instances.into_iter();
                    dump.instances = all.map(|i| (i.module_index, i.memories, i.globals)).collect();
                }
                KnownCustom::CoreDumpStack(stack) => {
                    let all = stack.frames.iter();
                    dump.frames = all
                        .map(|f| (f.instanceidx, f.funcidx, f.codeoffset, f.locals.len()))
                        .collect();
                    let told = |values: &[CoreDumpValue]| values.iter().map(shown).collect();
                    let all = stack.frames.iter();
                    dump.values = all.map(|f| [told(&f.locals), told(&f.stack)]).collect();
                }
                _ => panic!("another section: {}", section.name()),
            },
            Payload::MemorySection(section) => {
                dump.memories = section.into_iter().map(|m| m.unwrap().initial).collect();
            }
            Payload::DataSection(section) => {
                for segment in section {
                    let segment = segment.unwrap();
                    let DataKind::Active { memory_index, offset_expr } = segment.kind else {
                        panic!("a passive segment")
                    };
                    let at = match offset_expr.get_operators_reader().read().unwrap() {
                        Operator::I32Const { value } => i64::from(value.cast_unsigned()),
                        Operator::I64Const { value } => value,
                        other => panic!("{other:?}"),
                    };
                    dump.data.push((memory_index, at, segment.data.to_vec()));
                }
            }
            _ => {}
        }
    }
    dump
}

const HOLDER: &str = r#"(module
    (memory 2) (memory i64 1)
    (global (mut i32) (i32.const -5)) (global f64 (f64.const nan:0x4000000000001)) (global externref (ref.null extern))
    (func (export "_start")
        (i32.store8 (i32.const 131071) (i32.const 7))
        (i64.store 1 (i64.const 0) (i64.const -1))
        (call $inner (i32.const 1)))
    (func $inner (param i32) (local i64 f32) unreachable))"#;

#[test]
fn core_dumps_are_read_by_others_whatever_the_engine() {
    for options in [&["--engine", "interp"][..], &["--engine", "jit"], &["--sandbox"]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wat"), HOLDER).unwrap();
        let mut command = command(dir.path());
        command.args(["run", "--coredump", "core", "a.wat"]).args(options);
        Ended::from(command.output().unwrap()).code(134);
        let dump = read_dump(&std::fs::read(dir.path().join("core")).unwrap());
        assert_eq!((&*dump.name, dump.modules), ("a.wat", 1), "{options:?}");
        assert_eq!(dump.instances, [(0, vec![0, 1], vec![0, 1, 2])]);
        let frames: Vec<_> = dump.frames.iter().map(|f| (f.0, f.1, f.3)).collect();
        assert_eq!(frames, [(0, 1, 3), (0, 0, 0)]);
        // Behind two groups of locals: a count, and two bytes for each.
        assert_eq!(dump.frames[0].2, 5);
        assert_eq!(dump.memories, [2, 1]);
        assert_eq!(dump.data.len(), 2);
        let (memory, at, bytes) = &dump.data[0];
        assert_eq!((*memory, *at, bytes.len(), bytes[65535]), (0, 65536, 65536, 7));
        assert_eq!(dump.data[1].2[..9], [255, 255, 255, 255, 255, 255, 255, 255, 0]);
    }
}

/// Frames with locals of all sorts, and with operands that wait: in slots, as locals, as constants.
const VALUES: &str = r#"(module
    (func (export "_start") (local i32 f64)
        (local.set 0 (i32.const -3)) (local.set 1 (f64.const 2.5))
        (i64.const 99) (local.get 0) (f32.neg (f32.const 4))
        (call $inner (i32.const 41) (f64.const -0.25)) drop drop drop drop)
    (func $inner (param i32 f64) (result i32) (local i64 f32 v128 externref)
        (local.set 2 (i64.const -5)) (local.set 3 (f32.const 1.5))
        (local.get 0) (i64.const 8)
        (i32.div_u (local.get 0) (i32.sub (local.get 0) (local.get 0)))
        drop drop))"#;

#[test]
fn core_dumps_tell_the_values_of_frames_as_far_as_they_are_known() {
    let inner = ["i32 41", "f64 -0.25", "i64 -5", "f32 1.5", "?", "?"];
    for (options, known) in [
        (&["--engine", "interp"][..], true),
        (&["--engine", "interp", "--fuel", "1000"], true),
        (&["--sandbox"], true),
        (&["--engine", "jit"], false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wat"), VALUES).unwrap();
        let mut command = command(dir.path());
        command.args(["run", "--coredump", "core", "a.wat"]).args(options);
        Ended::from(command.output().unwrap()).code(134);
        let dump = read_dump(&std::fs::read(dir.path().join("core")).unwrap());
        let expected: [[&[&str]; 2]; 2] = match known {
            true => [
                [&inner, &["i32 41", "i64 8"]],
                [&["i32 -3", "f64 2.5"], &["i64 99", "i32 -3", "f32 -4"]],
            ],
            false => [[&["?"; 6], &[]], [&["?"; 2], &[]]],
        };
        assert_eq!(dump.values, expected, "{options:?}");
    }
}

/// Of a deep recursion, frames are told from both ends, and values of the inner end alone.
#[test]
fn a_core_dump_of_a_deep_recursion_tells_the_innermost_frames() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"(module (func $r (export "_start") (local i32)
        (local.set 0 (i32.const 5)) (call $r) (call $r)))"#;
    std::fs::write(dir.path().join("a.wat"), text).unwrap();
    let mut command = command(dir.path());
    command.args(["run", "--engine", "interp", "--coredump", "core", "a.wat"]);
    Ended::from(command.output().unwrap()).code(134);
    let dump = read_dump(&std::fs::read(dir.path().join("core")).unwrap());
    let told: Vec<_> = dump.values.iter().map(|[locals, _]| locals.join(" ")).collect();
    assert_eq!(told.len(), 200);
    assert!(told[..100].iter().all(|locals| locals == "i32 5"), "{told:?}");
    assert!(told[100..].iter().all(|locals| locals == "?"), "{told:?}");
}

#[test]
fn a_core_dump_is_written_on_traps_alone_and_its_file_is_made_first() {
    let dir = tempfile::tempdir().unwrap();
    let hello = include_bytes!("../../../tests/programs/hello.wasm");
    std::fs::write(dir.path().join("a.wasm"), hello).unwrap();
    let run = |file: &str| -> Ended {
        let mut command = command(dir.path());
        command.args(["run", "--coredump", file, "a.wasm"]).output().unwrap().into()
    };
    run("core").code(0);
    assert_eq!(std::fs::read(dir.path().join("core")).unwrap(), b"");
    let ended = run("none/core").code(2).says(&["--coredump none/core", "does not exist"]);
    assert_eq!(ended.stdout, "");
    std::os::unix::fs::symlink("a.wasm", dir.path().join("link")).unwrap();
    for module in ["a.wasm", "./a.wasm", "link"] {
        run(module).code(2).says(&["--coredump", "a module of the run itself"]);
        assert_eq!(std::fs::read(dir.path().join("a.wasm")).unwrap(), hello);
    }
}

fn explore(args: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), DWARF).unwrap();
    command(dir.path()).args(["explore", "a.wasm"]).args(args).output().unwrap().into()
}

#[test]
fn a_function_is_shown_in_all_its_forms() {
    for name in ["0", "middle"] {
        let ended = explore(&[name]).code(0);
        for part in [
            "WebAssembly\n    (func $middle (;0;)",
            "\n      i32.div_s\n",
            "intermediate form (Cranelift)\n    function u0:0(i64, i32) -> i32 tail {",
            "bytecode (interpreter)\n    ; 6 cells, header at 1\n    ; @0x4e\n",
            " arith::BinOp<I32DivS, SA, R> a=0\n",
            "machine code (x86-64)\n",
            " push rbp\n",
            " idiv ",
            "\n    ; @0x5c\n",
        ] {
            assert!(ended.stdout.contains(part), "no {part:?} in {}", ended.stdout);
        }
        // Nothing of another function.
        assert!(!ended.stdout.contains("$run"), "{}", ended.stdout);
    }
}

#[test]
fn forms_stand_side_by_side_where_there_is_room() {
    let ended = explore(&["run", "--width", "170"]).code(0);
    let (beside, below) = ended.stdout.split_once("\n\n").expect("two parts");
    let rows: Vec<Vec<&str>> = beside.lines().map(|line| line.split('│').collect()).collect();
    assert!(beside.lines().all(|line| line.chars().count() <= 170), "{beside}");
    let titles: Vec<_> = rows[0].iter().map(|title| title.trim()).collect();
    let forms = ["WebAssembly", "bytecode (interpreter)", "machine code (x86-64)"];
    assert_eq!(titles, forms, "{beside}");
    // What was made of an operator stands beside it.
    let call = rows.iter().position(|row| row[0].trim() == "call $middle").expect("a call");
    let end = rows[call + 1..].iter().position(|row| !row[0].trim().is_empty()).expect("more");
    let group = &rows[call..=call + end];
    assert!(group.iter().any(|row| row[1].contains("call::Call base=3 params=1")), "{beside}");
    // The callee's body, which stands in its place in machine code.
    assert!(group.iter().any(|row| row.len() > 2 && row[2].contains("idiv")), "{beside}");
    assert!(below.starts_with("intermediate form (Cranelift)\n    function u0:1"), "{below}");
    let widest = explore(&["run", "--width", "240"]).code(0).stdout;
    assert_eq!(widest.lines().next().map(|line| line.split('│').count()), Some(4), "{widest}");
    assert!(explore(&["run", "--width", "159"]).code(0).stdout.starts_with("WebAssembly\n"));
    // No terminal, and nothing said.
    assert!(explore(&["run"]).code(0).stdout.starts_with("WebAssembly\n"));
}

#[test]
fn functions_are_listed_and_found_or_not() {
    let ended = explore(&[]).code(0);
    assert_eq!(ended.stdout.lines().count(), 3, "{}", ended.stdout);
    assert!(ended.stdout.lines().next().is_some_and(|line| line.ends_with(" 33 middle")));
    explore(&["_start"]).code(0);
    for wrong in ["3", "nothing", "4294967296", "-1", "\u{1b}[31m"] {
        explore(&["--", wrong]).code(2).says(&["there is no function", "lists the functions"]);
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wat"), "(module (import \"a\" \"b\" (func)))").unwrap();
    let mut command = command(dir.path());
    let ended: Ended = command.args(["explore", "a.wat", "b"]).output().unwrap().into();
    ended.code(2).says(&["function b is imported"]);
}

#[test]
fn d7_names_are_escaped_where_functions_are_shown() {
    let module = replaced(DWARF, b"middle", b"\x1b[31m\n");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), module).unwrap();
    for args in [&["0"][..], &[]] {
        let mut command = command(dir.path());
        let ended: Ended = command.args(["explore", "a.wasm"]).args(args).output().unwrap().into();
        let clean = |c: char| c == '\n' || !c.is_control();
        assert!(ended.code(0).stdout.chars().all(clean));
    }
}

const HOT: &str = r#"(module $hot (func $twice (export "f") (param i32) (result i32)
    (local $sum i32)
    (loop $again
        (local.set $sum (i32.add (local.get $sum) (call $cold (local.get 0))))
        (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $sum))
    (func $cold (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))
    (func $never))"#;

#[test]
fn a_map_for_perf_names_the_functions_that_have_machine_code() {
    for options in [&["--engine", "jit"][..], &["--engine", "jit", "--sandbox"]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wat"), HOT).unwrap();
        let mut command = command(dir.path());
        command.args(options).args(["--profile", "perfmap", "a.wat", "--invoke", "f", "10"]);
        let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let path = format!("/tmp/perf-{}.map", child.id());
        let ended: Ended = child.wait_with_output().unwrap().into();
        ended.code(0).prints("385\n");
        let map = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut lines: Vec<_> = map.lines().map(|line| line.splitn(3, ' ')).collect();
        let names: Vec<_> = lines.iter().map(|line| line.clone().nth(2).unwrap()).collect();
        assert_eq!(names, ["hot!twice", "hot!cold", "hot!never"]);
        let number = |text: Option<&str>| u64::from_str_radix(text.unwrap(), 16).unwrap();
        let places: Vec<_> =
            lines.iter_mut().map(|line| (number(line.next()), number(line.next()))).collect();
        for pair in places.windows(2) {
            assert!(pair[0].1 > 0 && pair[0].0 + pair[0].1 <= pair[1].0, "{map}");
        }
    }
}

#[test]
fn stats_tell_what_each_engine_ran_and_what_compiling_took() {
    let stats = |engine: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wat"), HOT).unwrap();
        let mut command = command(dir.path());
        command.args(["--stats", "--engine", engine, "a.wat", "--invoke", "f", "10"]);
        Ended::from(command.output().unwrap()).code(0).stderr
    };
    let interp = stats("interp");
    assert!(interp.contains("interpreted  2 of 3 functions, "), "{interp}");
    assert!(interp.contains("machine code 0 functions, 0 bytes; "), "{interp}");
    assert!(interp.contains("; 0.000000 s of compiling\n"), "{interp}");
    let jit = stats("jit");
    assert!(jit.contains("interpreted  0 of 3 functions, "), "{jit}");
    assert!(jit.contains("machine code 3 functions, "), "{jit}");
    assert!(!jit.contains("; 0.000000 s of compiling\n"), "{jit}");
}
