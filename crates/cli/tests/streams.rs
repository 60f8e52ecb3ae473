//! Standard streams and the environment in states that nobody planned for: limits of the process itself, readers that
//! never read, variables without a name.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use common::{Ended, Place};
use rustix::process::{Pid, Signal};

/// Writes a byte to standard output and exits with the errno of that.
const WRITES: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\01\00\00\00")
    (func (export "_start")
      (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn x7_the_largest_file_of_the_process_is_an_error_of_the_guest() {
    const FBIG: i32 = 22;
    let place = Place::new();
    place.file("writes.wat", WRITES);
    for redirection in [">>", "1<>"] {
        place.file("full", [b'x'; 8192]);
        let mut shell = std::process::Command::new("sh");
        // Units of 512 bytes or of 1024, by shell; the file is larger than either makes of it.
        let script = format!("ulimit -f 4; exec \"$0\" writes.wat {redirection} full");
        shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_palisade"));
        let run = shell.current_dir(place.path()).output().expect("a shell");
        // `1<>` writes at the start of the file, where there is room.
        let wanted = if redirection == ">>" { FBIG } else { 0 };
        Ended::from(run).code(wanted).quietly();
        assert_eq!(place.read("full").len(), 8192);
    }
}

#[test]
fn l4_a_variable_that_has_no_name_is_left_out() {
    let place = Place::new();
    let env = place.program("env");
    let mut command = place.command();
    command.env_clear().env("NAMED", "1").args(["--allow-env", &env]);
    command.env("=nameless", "2");
    let ended: Ended = command.output().expect("the command starts").into();
    let ended = ended.code(0).quietly();
    assert!(ended.stdout.contains("NAMED"), "{ended:#?}");
}

#[test]
fn one_signal_is_enough_when_nobody_reads_the_results() {
    let place = Place::new();
    place.file(
        "answer.wat",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
              (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\06\00\00\00")
            (data (i32.const 16) "ready\n")
            (func (export "answer") (result i32)
              (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))))"#,
    );
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&writer).expect("flags");
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).expect("settable");
    while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).expect("settable");
    let mut command = place.command();
    command.args(["answer.wat", "--invoke", "answer"]).stdout(writer).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    err.read_line(&mut line).expect("the guest speaks");
    assert_eq!(line, "ready\n");
    // Whether it comes while the guest still runs or while its result waits for a reader.
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
    // Should all else fail, the test ends by itself: the command has a reader no more.
    let (ended, has_ended) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let _ = has_ended.recv_timeout(Duration::from_secs(20));
        drop(reader);
    });
    let status = child.wait().expect("the command ends");
    drop(ended);
    guard.join().expect("nothing fails there");
    assert_eq!(status.code(), Some(130), "{status:?}");
}
