//! Ways around that somebody tried, each of which once led somewhere. Rows F5, F7, L4, X4.

mod common;

use std::time::{Duration, Instant};

use common::*;
use palisade_wasi::{Caps, Errno, Halt, Preopen, Rights, Stdio};

const NOTCAPABLE: i32 = Errno::NOTCAPABLE.code();
const DIRECTORY: u64 = 2;
const RW: Rights = Rights::FD_READ.union(Rights::FD_WRITE);

/// What is weak: names may be changed and files read, but not written.
const WEAK: Caps = Caps::READ.union(Caps::PATH);

#[test]
fn f7_a_directory_that_moved_lends_its_rights_to_nothing() {
    let t = TempDir::new();
    t.dir("strong/d/e");
    t.dir("weak/own");
    t.file("weak/secret", "secret");
    let mut g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(t.join("strong"), "strong"))
            .preopen(Preopen::new(t.join("weak"), "weak").caps(WEAK)),
    );
    assert_eq!(g.open_raw(4, 1, b"secret", 0, RW, RW, 0), Err(NOTCAPABLE));
    let d = g.open("d", DIRECTORY, Rights::all()).unwrap();
    assert_eq!(g.two_paths("path_rename", 3, "d", 4, "d"), OK);
    for path in ["d/secret", "d/e/secret"] {
        assert_eq!(g.two_paths("path_rename", 4, "secret", 4, path), NOTCAPABLE, "{path}");
        assert_eq!(g.two_paths("path_link", 4, "secret", 4, path), NOTCAPABLE, "{path}");
    }
    assert!(g.open_raw(d, 1, b"secret", 0, RW, RW, 0).is_err());
    // Elsewhere nothing has changed, and with its descriptor the directory loses what it had.
    assert_eq!(g.two_paths("path_rename", 4, "secret", 4, "own/secret"), OK);
    assert_eq!(g.call("fd_close", &[d]), OK);
    assert_eq!(g.two_paths("path_rename", 4, "own/secret", 4, "d/secret"), OK);
    assert_eq!(t.read("weak/d/secret"), b"secret");
}

#[test]
fn f7_a_directory_that_left_a_strong_grant_within_a_weak_one() {
    let t = TempDir::new();
    t.dir("weak/strong/d");
    t.file("weak/secret", "secret");
    let mut g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(t.join("weak/strong"), "strong"))
            .preopen(Preopen::new(t.join("weak"), "weak").caps(WEAK)),
    );
    let d = g.open("d", DIRECTORY, Rights::all()).unwrap();
    // Both ends are named through the weak grant.
    assert_eq!(g.two_paths("path_rename", 4, "strong/d", 4, "d"), OK);
    assert_eq!(g.two_paths("path_rename", 4, "secret", 4, "d/secret"), NOTCAPABLE);
    assert!(g.open_raw(d, 1, b"secret", 0, RW, RW, 0).is_err());
}

#[test]
fn f5_memory_and_environment_of_processes_are_no_files() {
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new("/proc", "/proc")));
    let pid = std::process::id();
    let pids = ["self".to_owned(), "thread-self".to_owned(), pid.to_string()];
    for pid in pids.into_iter().chain([format!("{pid}/task/{pid}")]) {
        for name in ["mem", "environ", "maps", "oom_score_adj"] {
            for rights in [Rights::FD_READ, RW] {
                let path = format!("{pid}/{name}");
                assert_eq!(g.open(&path, 0, rights), Err(NOTCAPABLE), "{path}");
            }
        }
    }
    assert!(g.open(&pid.to_string(), DIRECTORY, Rights::FD_READDIR).is_ok());
}

#[test]
fn x4_a_terminal_that_nobody_reads_ends_at_the_deadline() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
    let mut g = Guest::new(quiet().stdout(Stdio::Fd(terminal.try_clone().unwrap())));
    g.put(DATA, &[b'\n'; 1000]);
    let (i, n) = g.iov(&[(DATA, 1000)]);
    g.host.deadline = Some(Instant::now() + Duration::from_millis(200));
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let end = loop {
            match g.try_call("fd_write", &[1, i, n, OUT]) {
                Ok(errno) => assert_eq!(errno, OK),
                Err(halt) => break halt,
            }
        };
        done.send(end).unwrap();
    });
    let end = ended.recv_timeout(Duration::from_secs(20));
    assert_eq!(end, Ok(Halt::Deadline), "the write blocks");
    thread.join().unwrap();
    // Those who share the terminal did not get it non-blocking.
    let flags = rustix::fs::fcntl_getfl(&terminal).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}
