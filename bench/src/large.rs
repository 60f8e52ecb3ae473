//! Large modules: how long a process takes from its start to the end of a guest that does little, and how much memory at
//! most, beside wasmtime.
//!
//! Each run is a process of its own: this very program, which loads the module from its file into one engine, runs the
//! guest, and says what it took. A module is measured as it is, then grown to 76 MB: all its functions are repeated, under
//! new indices, once with nothing but code and data and once with names for all of them and whatever custom sections it had.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::engines::{self, Other, Own, Program};
use crate::measure::median;
use crate::{compile_time, shim};

/// The command that is one run.
pub const ONE: &str = "large-one";

/// How large modules are made.
const SIZE: usize = 76_000_000;

/// Who is measured. The first is what others are compared with.
const ENGINES: [&str; 4] = ["palisade", "interpreter", "compiled", "wasmtime"];

/// After so many seconds of runs of one engine there are no more.
const LONG: f64 = 20.0;

/// One run: the engine, the file, what the guest is told. Prints what came out and the peak of memory in KiB.
pub fn one(args: &[String]) {
    let [engine, file, rest @ ..] = args else { panic!("an engine and a file are wanted") };
    let file = Path::new(file);
    let program = Program {
        name: String::new(),
        wasm: Vec::new(),
        arg: 7,
        result: None,
        command: (!rest.is_empty()).then(|| shim::Command {
            args: rest.to_vec(),
            folder: ".".into(),
            exit: 0,
        }),
    };
    let own = |strategy| engines::palisade_file(file, &program, Own::with(strategy));
    let mut run = match engine.as_str() {
        "palisade" => own(palisade::Strategy::Auto),
        "interpreter" => own(palisade::Strategy::Interpreter),
        "compiled" => own(palisade::Strategy::Compiled),
        "wasmtime" => engines::wasmtime_file(file, &program, Other::default()),
        other => panic!("no engine {other}"),
    };
    println!("{} {}", run(), peak());
}

/// What this process took at most so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What one engine took: seconds of each run, the result, the peak in KiB.
#[derive(Default)]
struct Taken {
    seconds: Vec<f64>,
    result: Option<String>,
    peak: u64,
}

fn measure(engine: &str, file: &Path, args: &[String], taken: &mut Taken) {
    let this = std::env::current_exe().expect("the name of this program");
    let began = Instant::now();
    let output = Command::new(this).arg(ONE).arg(engine).arg(file).args(args).output();
    let seconds = began.elapsed().as_secs_f64();
    let output = output.expect("a process");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{engine}: {}\n{said}", output.status);
    let said = String::from_utf8(output.stdout).expect("text");
    let (result, peak) = said.trim().split_once(' ').expect("a result and a peak");
    let known = taken.result.get_or_insert_with(|| result.to_owned());
    assert_eq!(known, result, "{engine}: another result");
    taken.peak = taken.peak.max(peak.parse().expect("a number"));
    taken.seconds.push(seconds);
}

fn compare(name: &str, pairs: usize, file: &Path, args: &[String]) {
    let size = std::fs::metadata(file).expect("the module").len();
    let mut all = ENGINES.map(|_| Taken::default());
    for _ in 0..pairs.max(1) {
        for (engine, taken) in ENGINES.iter().zip(&mut all) {
            if taken.seconds.iter().sum::<f64>() < LONG {
                measure(engine, file, args, taken);
            }
        }
    }
    let results: Vec<_> = all.iter().map(|taken| taken.result.clone()).collect();
    assert!(results.iter().all(|result| *result == results[0]), "{name}: {results:?}");
    let ours = median(all[0].seconds.clone());
    for (engine, taken) in ENGINES.iter().zip(&all) {
        let seconds = median(taken.seconds.clone());
        println!(
            "{name:<16} {:>7.1} {engine:<12} {:>9.0}ms {:>7.2} {:>8.1} {:>7.2} {:>5}",
            size as f64 / 1e6,
            seconds * 1e3,
            seconds / ours,
            taken.peak as f64 * 1024.0 / 1e6,
            taken.peak as f64 * 1024.0 / size as f64,
            taken.seconds.len(),
        );
    }
}

/// Measures a file, or a module that is made here, as it is and grown.
pub fn run(pairs: usize, names: &[String]) {
    let (bytes, args) = match names {
        [] => (compile_time::large(), &[][..]),
        [file, ..] => (std::fs::read(file).expect("a file"), names),
    };
    println!(
        "{:<16} {:>7} {:<12} {:>11} {:>7} {:>8} {:>7} {:>5}",
        "module", "MB", "engine", "median", "times", "peak MB", "to file", "runs"
    );
    let variants = [
        ("as it is", bytes.clone()),
        ("grown", grown(&bytes, false)),
        ("grown, names", grown(&bytes, true)),
    ];
    for (name, wasm) in variants {
        let file = format!("palisade-large-{}.wasm", std::process::id());
        let file: PathBuf = std::env::temp_dir().join(file);
        std::fs::write(&file, wasm).expect("a temporary file");
        compare(name, pairs, &file, args);
        std::fs::remove_file(&file).expect("the temporary file");
    }
}

fn leb(bytes: &[u8], at: &mut usize) -> usize {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn push_leb(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    push_leb(out, content.len());
    out.extend_from_slice(content);
}

/// The sections of a module: number and content.
fn sections(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut at, mut all) = (8, Vec::new());
    while at < bytes.len() {
        let id = bytes[at];
        at += 1;
        let len = leb(bytes, &mut at);
        all.push((id, &bytes[at..at + len]));
        at += len;
    }
    all
}

/// The module with all its functions repeated until it is large; with custom sections, or without any.
fn grown(bytes: &[u8], custom: bool) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    const FUNCS: u8 = 3;
    const CODE: u8 = 10;
    let sections = sections(bytes);
    let kept = |id: u8| custom || id != CUSTOM;
    let size = |wanted: &dyn Fn(u8) -> bool| -> usize {
        sections.iter().filter(|(id, _)| wanted(*id)).map(|(_, content)| content.len()).sum()
    };
    let fixed = size(&|id| kept(id) && id != FUNCS && id != CODE);
    let functions = sections.iter().find(|(id, _)| *id == FUNCS).expect("functions").1;
    let functions = leb(functions, &mut 0);
    let names = if custom { functions * 40 } else { 0 };
    let once = size(&|id| id == FUNCS || id == CODE) + names;
    let times = (SIZE.saturating_sub(fixed) / once).max(1);
    let mut out = bytes[..8].to_vec();
    for (id, content) in sections.iter().filter(|(id, _)| kept(*id)) {
        if !matches!(*id, FUNCS | CODE) {
            push_section(&mut out, *id, content);
            continue;
        }
        let mut at = 0;
        let count = leb(content, &mut at);
        let mut all = Vec::new();
        push_leb(&mut all, count * times);
        all.extend(content[at..].repeat(times));
        push_section(&mut out, *id, &all);
    }
    if custom {
        let mut map = Vec::new();
        push_leb(&mut map, functions * times);
        for func in 0..functions * times {
            let name = format!("module::of::many::functions::number{func:06}");
            push_leb(&mut map, func);
            push_leb(&mut map, name.len());
            map.extend_from_slice(name.as_bytes());
        }
        let mut names = b"\x04name\x01".to_vec();
        push_leb(&mut names, map.len());
        names.extend(map);
        push_section(&mut out, CUSTOM, &names);
    }
    out
}
