//! Ctrl-C, SIGTERM and closed pipes, without any waiting by the clock: each test acts when the guest,
//! or the command, has shown that it is where the test wants it.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use common::{ENDLESS, Ended, Place, ready_then};
use rustix::process::{Pid, Signal};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("the process is there");
}

#[test]
fn a_signal_ends_a_guest_in_a_loop_a_sleep_or_a_read() {
    let place = Place::new();
    for (name, body) in ENDLESS {
        for (signal, code, word) in [(Signal::INT, 130, "Ctrl-C"), (Signal::TERM, 143, "SIGTERM")] {
            place.file("endless.wat", ready_then(body));
            let mut command = place.command();
            // Should all else fail, the test ends by itself.
            command.args(["endless.wat", "--timeout", "60s"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the command starts");
            let _keep_open = child.stdin.take();
            let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
            let mut line = String::new();
            out.read_line(&mut line).expect("the guest speaks");
            assert_eq!(line, "ready\n", "{name}");
            send(&child, signal);
            let ended: Ended = child.wait_with_output().expect("the command ends").into();
            ended.code(code).says(&["endless.wat", word]);
        }
    }
}

#[test]
fn a_signal_ends_the_command_while_it_loads() {
    let place = Place::new();
    let fifo = place.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for name in ["run", "validate", "inspect"] {
            let mut command = place.command();
            command.args([name, "fifo", "--timeout", "60s"]);
            let mut child = command.spawn().expect("the command starts");
            // This returns when the command has opened its end, and it never gets a byte.
            let _writer =
                std::fs::OpenOptions::new().write(true).open(&fifo).expect("a reader comes");
            send(&child, signal);
            let status = child.wait().expect("the command ends");
            assert_eq!(status.code(), Some(code), "{name}: {status:?}");
        }
    }
}

#[test]
fn a_closed_pipe_ends_the_guest_quietly() {
    let place = Place::new();
    let hog = place.program("hog");
    let mut command = place.command();
    command.args([&hog, "write", "1000000000", "--timeout", "60s"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 64]).expect("the guest writes");
    drop(out);
    let ended: Ended = child.wait_with_output().expect("the command ends").into();
    assert_eq!(ended.signal, Some(Signal::PIPE.as_raw()), "{ended:#?}");
    ended.quietly();
}

#[test]
fn a_closed_pipe_ends_our_own_output_quietly() {
    let place = Place::new();
    for line in ["wasi", "--help", "features --json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = place.command();
        command.args(line.split_whitespace()).stdout(writer).stderr(Stdio::piped());
        let output = command.output().expect("the command starts");
        assert_eq!(output.status.signal(), Some(Signal::PIPE.as_raw()), "{line}");
        assert!(output.stderr.is_empty(), "{line}");
    }
}

#[test]
fn closed_standard_streams_are_no_disaster() {
    let place = Place::new();
    place.file("ready.wat", ready_then(""));
    let script = format!("exec {} ready.wat <&- >&- 2>&-", env!("CARGO_BIN_EXE_palisade"));
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path())
        .status()
        .expect("sh");
    assert_eq!(status.code(), Some(0));
}
