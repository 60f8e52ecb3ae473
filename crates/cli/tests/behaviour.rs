//! `--deterministic`, `--clock-resolution` and terminals, through the real command.

mod common;

use std::os::fd::OwnedFd;

use common::{Ended, Place};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Prints 8 bytes each of the clock, of random numbers, of the clock again, and of a NaN made in three ways.
const ALL_KINDS: &str = r#"(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\40\00\00\00")
  (func (export "_start") (local $nan f64)
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))
    (drop (call $random (i32.const 72) (i32.const 8)))
    (i32.store (i32.const 272) (i32.const 1))
    (i64.store (i32.const 280) (i64.const 3600000000000))
    (drop (call $poll (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 400)))
    (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 80)))
    (local.set $nan (f64.reinterpret_i64 (i64.const 0xfff4000000001234)))
    (f64.store (i32.const 88) (f64.add (local.get $nan) (f64.const 1)))
    (f64.store (i32.const 96) (f64.div (f64.const -0) (f64.const 0)))
    (f64.store (i32.const 104) (f64.neg (f64.sqrt (f64.const -1))))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

fn bytes(place: &Place, line: &str) -> Vec<u8> {
    let output =
        place.command().args(line.split_whitespace()).output().expect("the command starts");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_deterministic_run_is_the_same_in_every_engine_and_follows_from_its_seed() {
    let place = Place::new();
    place.file("all.wat", ALL_KINDS);
    let first = bytes(&place, "all.wat --deterministic");
    let word = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(word(0), 946_684_800_001_000_000);
    // An hour was waited for, in no time.
    assert_eq!(word(16), 1_000_000_000 + 3_600_000_000_000 + 2_000_000);
    assert_eq!([word(24), word(32), word(40)], [0x7ff8 << 48, 0x7ff8 << 48, 0xfff8 << 48]);
    for engine in ["interp", "jit", "auto"] {
        let line = format!("all.wat --engine {engine} --deterministic --seed 0");
        assert_eq!(bytes(&place, &line), first, "{engine}");
    }
    let seeded = bytes(&place, "all.wat --deterministic --seed 1");
    assert_ne!(seeded[8..16], first[8..16]);
    assert_eq!((&seeded[..8], &seeded[16..]), (&first[..8], &first[16..]));
    // In the sandbox as well, where the clock and random numbers are granted.
    let line = "all.wat --deterministic --sandbox --allow-clock --allow-random";
    assert_eq!(bytes(&place, line), first);
    // Fuel, too.
    let fuel = |engine: &str| {
        let ended =
            place.line(&format!("all.wat --deterministic --stats --engine {engine}")).stderr;
        ended.lines().find(|line| line.trim().starts_with("fuel")).map(str::to_owned)
    };
    assert!(fuel("interp").is_some());
    assert_eq!(fuel("interp"), fuel("jit"));
}

#[test]
fn shared_memories_are_refused_with_the_name_of_the_flag() {
    let place = Place::new();
    place.file("shared.wat", r#"(module (memory 1 2 shared) (func (export "_start")))"#);
    place.line("shared.wat --deterministic").code(126).says(&["shared", "--deterministic"]);
    place.line("shared.wat").code(0).quietly();
    place.line("shared.wat --seed 7").code(2).says(&["--seed", "--deterministic"]);
}

#[test]
fn endless_recursion_ends_by_counting() {
    let place = Place::new();
    place.file("deep.wat", r#"(module (func $f (export "_start") (call $f)))"#);
    for engine in ["interp", "jit"] {
        let line = format!("deep.wat --deterministic --engine {engine}");
        place.line(&line).code(134).says(&["--max-call-depth"]);
    }
}

#[test]
fn l5_clock_resolution_holds_for_clocks_and_waiting() {
    let place = Place::new();
    // Exits with 1 if two readings differ by less than 5 ms and are not equal, or are no multiples.
    place.file(
        "fine.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "clock_res_get" (func $res (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func $now (param $id i32) (result i64)
            (drop (call $clock (local.get $id) (i64.const 0) (i32.const 0)))
            (i64.load (i32.const 0)))
          (func $check (param $id i32) (local $last i64) (local $now i64) (local $moved i32)
            (drop (call $res (local.get $id) (i32.const 8)))
            (if (i64.lt_u (i64.load (i32.const 8)) (i64.const 5000000)) (then (call $exit (i32.const 2))))
            (local.set $last (call $now (local.get $id)))
            (loop $again
              (local.set $now (call $now (local.get $id)))
              (if (i64.ne (i64.rem_u (local.get $now) (i64.const 5000000)) (i64.const 0))
                (then (call $exit (i32.const 3))))
              (if (i64.ne (local.get $now) (local.get $last)) (then
                (if (i64.lt_u (i64.sub (local.get $now) (local.get $last)) (i64.const 5000000))
                  (then (call $exit (i32.const 1))))
                (local.set $last (local.get $now))
                (local.set $moved (i32.add (local.get $moved) (i32.const 1)))))
              (br_if $again (i32.lt_u (local.get $moved) (i32.const 3)))))
          (func (export "_start")
            (call $check (i32.const 0)) (call $check (i32.const 1))
            (call $check (i32.const 2)) (call $check (i32.const 3))))"#,
    );
    for engine in ["interp", "jit"] {
        place.line(&format!("fine.wat --clock-resolution 5ms --engine {engine}")).code(0).quietly();
    }
    place.line("fine.wat").code(2);
    place.line("fine.wat --clock-resolution 0s").code(2).says(&["--clock-resolution"]);
    place.line("fine.wat --clock-resolution 5").code(2).says(&["--clock-resolution"]);
}

/// Both ends of a terminal that passes bytes on as they are.
fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a terminal");
    grantpt(&master).expect("ours");
    unlockpt(&master).expect("ours");
    let terminal = ioctl_tiocgptpeer(&master, flags).expect("its other end");
    let mut modes = tcgetattr(&terminal).expect("a terminal");
    modes.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &modes).expect("ours");
    (master, terminal)
}

#[test]
fn a_terminal_gets_text_and_files_and_pipes_get_bytes() {
    let place = Place::new();
    place.file(
        "escapes.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\0c\00\00\00")
          (data (i32.const 16) "\1b]0;x\07\c2\9b2J!\n")
          (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.load (i32.const 8)))))"#,
    );
    let raw = "\x1b]0;x\x07\u{9b}2J!\n";
    for (flag, shown) in [("", "\\x1b]0;x\\x07\\u{9b}2J!\n"), ("--raw-terminal", raw)] {
        let (master, slave) = terminal();
        let mut command = place.command();
        command.args(["escapes.wat"]).args(flag.split_whitespace()).stdout(slave);
        // Its exit status is the count that it was told.
        assert_eq!(command.status().expect("the command starts").code(), Some(12), "{flag}");
        drop(command);
        let mut got = Vec::new();
        let mut part = [0; 256];
        while let Ok(n @ 1..) = rustix::io::read(&master, &mut part) {
            got.extend_from_slice(&part[..n]);
        }
        assert_eq!(String::from_utf8(got).expect("UTF-8"), shown, "{flag}");
    }
    let ended: Ended = place.command().args(["escapes.wat"]).output().expect("it starts").into();
    ended.code(12).prints(raw);
}
