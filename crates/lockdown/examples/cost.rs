//! What the lock costs: whole processes with and without it, in turns.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p palisade-lockdown --example cost -- target/release/palisade [ROUNDS]
//! ```
//!
//! Start-up is the time of a process whose guest does nothing. A call's cost is the time of a process that makes
//! 300,000 of them, less that of one that makes none, over their number; medians over the rounds (31). Times are
//! processor time, user's and system's together, so that other work on the machine disturbs little.

use std::process::{Command, Stdio};
use std::time::Duration;

/// How many calls a guest makes.
const CALLS: u32 = 300_000;

/// What is called: its import, and the call with its arguments.
const BODIES: [(&str, &str, &str); 3] = [
    (
        "clock_time_get (no system call)",
        r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $f (param i32 i64 i32) (result i32)))"#,
        "(call $f (i32.const 1) (i64.const 0) (i32.const 64))",
    ),
    (
        "fd_write of one byte to /dev/null",
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $f (param i32 i32 i32 i32) (result i32)))"#,
        "(call $f (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))",
    ),
    (
        "path_filestat_get (openat2, close)",
        r#"(import "wasi_snapshot_preview1" "path_filestat_get" (func $f (param i32 i32 i32 i32 i32) (result i32)))"#,
        "(call $f (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 64))",
    ),
];

fn module(import: &str, call: &str, calls: u32) -> String {
    format!(
        r#"(module {import} (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) ".")
            (func (export "_start") (local $n i32)
              (local.set $n (i32.const {calls}))
              (block $end (loop $more
                (br_if $end (i32.eqz (local.get $n)))
                (if {call} (then unreachable))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br $more)))))"#
    )
}

fn once(program: &str, file: &std::path::Path, flags: &[&str]) -> Duration {
    let mut command = Command::new(program);
    command.arg("run").arg(file).args(["--allow-read", "--dir", "/tmp::d"]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let before = of_children();
    let status = command.status().expect("the command starts");
    assert!(status.success(), "{status:?}");
    of_children() - before
}

/// The processor time of all processes that were started and have ended.
fn of_children() -> Duration {
    // SAFETY: all zeros is a value of this type of plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local of the type that is written.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) } != 0;
    assert!(!failed, "the system tells");
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The medians with each of two sets of flags, in turns.
fn both(program: &str, text: &str, rounds: usize, engine: &str) -> [f64; 2] {
    let file = std::env::temp_dir().join(format!("palisade-cost-{}.wat", std::process::id()));
    std::fs::write(&file, text).expect("a temporary file");
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (which, flag) in ["--no-lockdown", "--lockdown"].into_iter().enumerate() {
            times[which].push(once(program, &file, &[flag, "--engine", engine]));
        }
    }
    std::fs::remove_file(&file).expect("the temporary file");
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    })
}

fn main() {
    let mut words = std::env::args().skip(1);
    let program = words.next().unwrap_or_else(|| "target/release/palisade".into());
    let rounds: usize = words.next().map_or(31, |n| n.parse().expect("a number of rounds"));
    println!("{:<44} {:>12} {:>12} {:>12}", "", "without", "locked", "difference");
    for engine in ["interp", "auto"] {
        let [open, locked] = both(&program, &module("", "(i32.const 0)", 0), rounds, engine);
        println!(
            "{:<44} {:>9.3} ms {:>9.3} ms {:>9.3} ms",
            format!("start-up ({engine})"),
            open * 1e3,
            locked * 1e3,
            (locked - open) * 1e3
        );
    }
    for (name, import, call) in BODIES {
        let few = both(&program, &module(import, call, 0), rounds, "auto");
        let many = both(&program, &module(import, call, CALLS), rounds, "auto");
        let each = |i: usize| (many[i] - few[i]) * 1e9 / f64::from(CALLS);
        let (open, locked) = (each(0), each(1));
        println!("{name:<44} {open:>9.1} ns {locked:>9.1} ns {:>9.1} ns", locked - open);
    }
}
