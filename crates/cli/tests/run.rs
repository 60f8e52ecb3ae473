//! Running programs: what they are given, what they are not, commands, reactors and linked modules.

mod common;

use common::Place;

#[test]
fn a_command_with_its_streams() {
    let place = Place::new();
    let hello = place.program("hello");
    let ended = place.line(&hello).code(0).prints("hello from the guest\n");
    assert_eq!(ended.stderr, "and a line on standard error\n");
    place.line(&format!("{hello} --no-stdio")).code(0).prints("").quietly();
    let ended = place.line(&format!("--sandbox {hello}")).code(0);
    ended.prints("hello from the guest\n");
    let wc = place.program("wc");
    let ended = place.run_with_input(&wc, "one two\nthree\n").code(0);
    assert!(ended.stdout.contains('3') && ended.stdout.contains("14"), "{ended:#?}");
}

#[test]
fn the_text_format_works_wherever_a_module_does() {
    let place = Place::new();
    place.file("lib.wat", r#"(module (func (export "seven") (result i32) (i32.const 7)))"#);
    place.file(
        "main.wat",
        r#"(module (import "lib" "seven" (func $seven (result i32)))
             (func (export "run") (result i32) (call $seven)))"#,
    );
    place.line("main.wat --invoke run --link lib=lib.wat").code(0).prints("7\n");
    place.line("validate main.wat lib.wat").code(0);
    place.line("inspect main.wat").code(0);
}

#[test]
fn linked_modules_see_those_before_them() {
    let place = Place::new();
    place.file("a.wat", r#"(module (func (export "one") (result i32) (i32.const 1)))"#);
    place.file(
        "b.wat",
        r#"(module (import "a" "one" (func $one (result i32))) (global $n (mut i32) (i32.const 0))
             (func (export "_initialize") (global.set $n (i32.const 40)))
             (func (export "all") (result i32)
               (i32.add (global.get $n) (i32.add (call $one) (call $one)))))"#,
    );
    place.file(
        "main.wat",
        r#"(module (import "b" "all" (func $all (result i32)))
             (func (export "run") (result i32) (call $all)))"#,
    );
    place.line("--link a=a.wat --link b=b.wat main.wat --invoke run").code(0).prints("42\n");
    // The order of repeatable options counts among themselves.
    place.line("--link b=b.wat --link a=a.wat main.wat --invoke run").code(126).says(&[
        "b.wat",
        "`a::one`",
        "--link a=FILE",
    ]);
    let twice = "main.wat --invoke run --link a=a.wat --link a=a.wat --link b=b.wat";
    place.line(twice).code(126).says(&["`a::one`", "two modules of --link"]);
    place.file("trap.wat", r#"(module (func $boom (unreachable)) (start $boom))"#);
    place
        .line("--link t=trap.wat main.wat --link a=a.wat --link b=b.wat --invoke run")
        .code(134)
        .says(&["trap.wat", "unreachable"]);
}

#[test]
fn limits_count_linked_modules_too() {
    let place = Place::new();
    place.file("lib.wat", r#"(module (memory (export "m") 16))"#);
    place.file("main.wat", r#"(module (memory 16) (func (export "_start")))"#);
    let line = "main.wat --link lib=lib.wat --max-memory";
    place.line(&format!("{line} 2MiB")).code(0);
    place.line(&format!("{line} 2097151")).code(134).says(&["memory", "--max-memory"]);
    let many: String = (0..16).map(|i| format!("--link l{i}=main.wat ")).collect();
    place.line(&format!("{many} main.wat")).code(0);
    place.line(&format!("{many} main.wat --sandbox")).code(134).says(&["instances", "16"]);
}

#[test]
fn a_reactor_is_initialised_once() {
    let place = Place::new();
    let reactor = place.program("reactor");
    place.line(&format!("{reactor} --invoke initialized")).code(0).prints("1\n");
    place.line(&format!("{reactor} --invoke _initialize")).code(0).prints("");
    place.line(&format!("{reactor} --invoke add 40 2")).code(0).prints("42\n");
    place.line(&format!("{reactor} --invoke mean 1 2")).code(0).prints("1.5\n");
    place.line(&format!("{reactor} --invoke pop")).code(134);
    place.line(&reactor).code(2).says(&["_start", "--invoke", "mean [f64 f64] -> [f64]"]);
}

#[test]
fn files_need_a_directory_and_permission() {
    let place = Place::new();
    let wc = place.program("wc");
    std::fs::create_dir(place.path().join("data")).expect("a directory");
    place.file("data/text", "one two\nthree\n");
    place.file("outside", "secret\n");
    let works = |line: &str| {
        let ended = place.line(&format!("{wc} data/text {line}"));
        ended.code == Some(0) && ended.stdout.contains(" 14 data/text\n")
    };
    assert!(!works(""));
    assert!(!works("--allow-all"));
    assert!(!works("--dir data --sandbox"));
    assert!(works("--sandbox --allow-read --dir data"));
    assert!(works("--sandbox --allow-read --dir ./data::data"));
    assert!(works("--allow-read --dir data:ro --sandbox"));
    assert!(works("--allow-all --dir ."));
    assert!(!works("--allow-write --dir data"));
    let line = format!("{wc} data/../outside --sandbox --allow-read --dir data");
    let ended = place.line(&line);
    assert_ne!(ended.code, Some(0), "{ended:#?}");
    assert!(!ended.stdout.contains(" outside\n"), "{ended:#?}");
}

#[test]
fn what_may_be_changed() {
    let place = Place::new();
    let copy = place.program("copy");
    place.file("from", "some text that is copied\n".repeat(1000));
    let line = |grants: &str| place.line(&format!("{copy} from to {grants}"));
    for denied in ["--dir . --allow-read", "--dir .:ro --allow-all"] {
        assert_ne!(line(denied).code, Some(0), "{denied}");
        assert!(!place.path().join("to").exists(), "{denied}");
    }
    line("--dir . --allow-read --allow-write --allow-path").code(0);
    assert!(place.path().join("to").exists());
}

#[test]
fn useless_and_overlapping_directories_are_told() {
    let place = Place::new();
    let hello = place.program("hello");
    std::fs::create_dir(place.path().join("sub")).expect("a directory");
    let told = |line: &str| place.line(&format!("{hello} {line}")).code(0).stderr;
    assert!(told("--dir .").contains("warning: --dir . gives nothing without --allow-read"));
    assert!(told("--dir .:ro --allow-write").contains("gives nothing without"));
    assert!(!told("--dir . --allow-read").contains("warning"));
    assert!(!told("--dir .:ro --allow-path").contains("warning"));
    let overlap = told("--dir .:ro --dir sub --allow-read --allow-write");
    assert!(overlap.contains("warning") && overlap.contains("`sub`"), "{overlap}");
    assert!(!told("--dir . --dir sub --allow-read").contains("warning"));
}

#[test]
fn the_environment() {
    let place = Place::new();
    let env = place.program("env");
    let run = |line: &str| {
        let mut command = place.command();
        command.env_clear().env("SECRET", "hidden").arg(&env).args(line.split_whitespace());
        let ended: common::Ended = command.output().expect("the command starts").into();
        ended.code(0).stdout
    };
    assert_eq!(run(""), "0 variables\n");
    assert_eq!(run("--env B=2 --env A=1=x --env C="), "3 variables\nA=1=x\nB=2\nC=\n");
    assert_eq!(run("--allow-env"), "1 variables\nSECRET=hidden\n");
    assert_eq!(run("--allow-all"), "1 variables\nSECRET=hidden\n");
    assert_eq!(run("--sandbox --allow-all"), "1 variables\nSECRET=hidden\n");
    assert_eq!(run("--env SECRET=mine --allow-env"), "1 variables\nSECRET=mine\n");
    assert_eq!(run("--sandbox --env A=1"), "1 variables\nA=1\n");
}

#[test]
fn the_guests_own_name() {
    let place = Place::new();
    // Prints argv[0], whatever its length up to 100.
    place.file(
        "name.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "args_sizes_get"
            (func $sizes (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (drop (call $get (i32.const 16) (i32.const 100)))
            (i32.store (i32.const 8) (i32.const 100))
            (i32.store (i32.const 12) (i32.sub (i32.load (i32.const 4)) (i32.const 1)))
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#,
    );
    place.line("name.wat").code(0).prints("name.wat");
    let path = place.path().join("name.wat");
    place.run([&path]).code(0).prints("name.wat");
    place.line("name.wat --argv0 other").code(0).prints("other");
}

#[test]
fn clocks_and_randomness_are_there_unless_sandboxed() {
    let place = Place::new();
    let sanity = place.program("sanity");
    let open = place.line(&sanity).code(0);
    let says = |ended: &common::Ended, what: &str, answer: &str| {
        let line = ended.stdout.lines().find(|line| line.starts_with(what));
        assert!(line.is_some_and(|line| line.ends_with(answer)), "{what}: {ended:#?}");
    };
    says(&open, "the monotonic clock moves", "yes");
    says(&open, "getentropy works", "yes");
    // Clocks stand still, so it waits for one to move until its fuel is used up.
    let closed = place.line(&format!("{sanity} --sandbox --fuel 1_000_000")).code(134);
    says(&closed, "the date is after 2024", "no");
    // Ends with the errno that random_get gives.
    place.file(
        "random.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "random_get" (func $get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func (export "_start") (call $exit (call $get (i32.const 0) (i32.const 8)))))"#,
    );
    place.line("random.wat --sandbox").code(76);
    place.line("random.wat").code(0);
    place
        .line(&format!("{sanity} --sandbox --allow-clock --allow-random"))
        .code(0)
        .prints(&open.stdout);
}

#[test]
fn stats_go_to_standard_error() {
    let place = Place::new();
    place.file(
        "work.wat",
        r#"(module (memory 2)
             (func (export "work") (result i32) (drop (memory.grow (i32.const 1))) (i32.const 5)))"#,
    );
    for line in ["work.wat --invoke work --stats", "--stats --fuel 1000 work.wat --invoke work"] {
        let ended = place.line(line).code(0).prints("5\n");
        for part in ["stats:", "fuel", "192 KiB", "loading", "running"] {
            assert!(ended.stderr.contains(part), "no {part} in {ended:#?}");
        }
    }
    // The same guest uses the same fuel each time, metered or not.
    let fuel = |line: &str| {
        let stderr = place.line(line).stderr;
        let line = stderr.lines().find(|line| line.contains("fuel")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no fuel in {stderr}"))
    };
    assert_eq!(
        fuel("work.wat --invoke work --stats"),
        fuel("work.wat --invoke work --stats --sandbox")
    );
    // At the end of a guest that fails, too.
    let ended = place.line("work.wat --invoke work --stats --fuel 1").code(134);
    assert!(ended.stderr.contains("stats:"), "{ended:#?}");
}

#[test]
fn fuel_is_exact() {
    let place = Place::new();
    place.file(
        "count.wat",
        r#"(module (func (export "_start") (local i32)
             (loop $again
               (local.set 0 (i32.add (local.get 0) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get 0) (i32.const 100))))))"#,
    );
    let stderr = place.line("count.wat --stats").code(0).stderr;
    let used: u64 = stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("fuel"))
        .and_then(|rest| rest.trim().parse().ok())
        .expect("a number");
    place.line(&format!("count.wat --fuel {used}")).code(0);
    place.line(&format!("count.wat --fuel {}", used - 1)).code(134).says(&["fuel"]);
}

#[test]
fn start_functions_run_once_and_only_when_run() {
    let place = Place::new();
    place.file(
        "start.wat",
        r#"(module (func $boom (unreachable)) (start $boom) (func (export "_start")))"#,
    );
    place.line("start.wat").code(134).says(&["unreachable"]);
    place.line("validate start.wat").code(0).prints("start.wat: valid\n");
    place.line("inspect start.wat").code(0).quietly();
}
