//! What reaches a terminal, through a real one. The property over arbitrary bytes is beside the filter.

mod common;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::*;
use palisade_wasi::{Caps, Halt, Resource, Stdio, WasiCtxBuilder};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// Both ends of a terminal that passes bytes on as they are.
fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
    let mut modes = tcgetattr(&terminal).unwrap();
    modes.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &modes).unwrap();
    (master, terminal)
}

fn guest(builder: WasiCtxBuilder) -> (Guest, OwnedFd) {
    let (master, terminal) = terminal();
    (Guest::new(builder.caps(Caps::empty()).stdout(Stdio::Fd(terminal))), master)
}

/// Exactly `len` bytes of what the terminal got, and that there are no more.
fn got(master: &OwnedFd, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        let mut part = [0; 4096];
        let n = rustix::io::read(master, &mut part).unwrap();
        all.extend_from_slice(&part[..n]);
    }
    assert_eq!(rustix::io::ioctl_fionread(master).unwrap_or(0), 0, "more than {all:x?}");
    assert_eq!(all.len(), len, "{:?}", String::from_utf8_lossy(&all));
    all
}

#[test]
fn controls_are_shown_and_the_count_is_the_guests() {
    let (mut g, master) = guest(quiet());
    let wrote = b"\x1b]0;owned\x07\x1b[2Jtext\r\n\tgr\xc3\xbcn \xff \xc2\x9b1m";
    assert_eq!(g.write_fd(1, wrote), Ok(wrote.len() as u32));
    let shown = "\\x1b]0;owned\\x07\\x1b[2Jtext\r\n\tgrün \\xff \\u{9b}1m";
    assert_eq!(String::from_utf8(got(&master, shown.len())).unwrap(), shown);
    assert_eq!(g.used(Resource::OutputBytes), wrote.len() as u64);
}

#[test]
fn a_sequence_in_pieces_does_not_get_through() {
    let (mut g, master) = guest(quiet());
    for byte in b"\xc2\x9b\x1b[\xe2\x82\xac" {
        assert_eq!(g.write_fd(1, &[*byte]), Ok(1));
    }
    let shown = "\\u{9b}\\x1b[€";
    assert_eq!(got(&master, shown.len()), shown.as_bytes());
    // Several buffers of one call are pieces, too.
    g.put(DATA, b"\xc2");
    g.put(DATA + 100, b"\x9b!");
    let (i, n) = g.iov(&[(DATA, 1), (DATA + 100, 2)]);
    assert_eq!(g.call("fd_write", &[1, i, n, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 3);
    let shown = "\\u{9b}!";
    assert_eq!(got(&master, shown.len()), shown.as_bytes());
    // What never became a character is shown when the stream closes.
    assert_eq!(g.write_fd(1, b"\xf0\x9f"), Ok(2));
    assert_eq!(g.call("fd_close", &[1]), OK);
    assert_eq!(got(&master, 8), b"\\xf0\\x9f");
}

#[test]
fn raw_terminals_files_pipes_and_buffers_get_the_bytes() {
    let bytes = b"\x1b[2J\x07\xc2\x9b\xff\x00";
    let (mut g, master) = guest(quiet().raw_terminal());
    assert_eq!(g.write_fd(1, bytes), Ok(bytes.len() as u32));
    assert_eq!(got(&master, bytes.len()), bytes);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut g = Guest::new(quiet().stdout(Stdio::Fd(writer)));
    assert_eq!(g.write_fd(1, bytes), Ok(bytes.len() as u32));
    assert_eq!(got(&reader, bytes.len()), bytes);
    let t = TempDir::new();
    let file = std::fs::File::create(t.join("out")).unwrap();
    let mut g = Guest::new(quiet().stdout(Stdio::Fd(file.into())));
    assert_eq!(g.write_fd(1, bytes), Ok(bytes.len() as u32));
    assert_eq!(t.read("out"), bytes);
    let buffer = palisade_wasi::OutputBuffer::new(100);
    let mut g = Guest::new(quiet().stdout(Stdio::Buffer(buffer.clone())));
    assert_eq!(g.write_fd(1, bytes), Ok(bytes.len() as u32));
    assert_eq!(buffer.contents(), bytes);
}

#[test]
fn x5_the_limit_counts_what_the_guest_writes() {
    let (mut g, master) = guest(quiet().max_output(10));
    assert_eq!(g.write_fd(1, &[0x1b; 10]), Ok(10));
    assert_eq!(got(&master, 40), "\\x1b".repeat(10).as_bytes());
    g.put(DATA, b"x");
    let (i, n) = g.iov(&[(DATA, 1)]);
    g.runs_out("fd_write", &[1, i, n, OUT], Resource::OutputBytes);
}

#[test]
fn x4_a_terminal_that_is_full_is_waited_for_or_not_as_the_guest_says() {
    const NONBLOCK: u64 = 4;
    let (mut g, master) = guest(quiet());
    assert_eq!(g.call("fd_fdstat_set_flags", &[1, NONBLOCK]), OK);
    // Nobody reads: at last it takes no more, and what it took counts in bytes of the guest.
    let piece = [0x07u8; 3000];
    let mut wrote = 0u64;
    loop {
        match g.write_fd(1, &piece) {
            Ok(n) => wrote += u64::from(n),
            Err(errno) => {
                assert_eq!(errno, e(palisade_wasi::Errno::AGAIN));
                break;
            }
        }
    }
    assert!(wrote > 0);
    // A guest that waits is ended by its deadline, not kept.
    assert_eq!(g.call("fd_fdstat_set_flags", &[1, 0]), OK);
    g.host.deadline = Some(Instant::now() + Duration::from_millis(50));
    let (i, n) = g.iov(&[(DATA, 1000)]);
    assert_eq!(g.try_call("fd_write", &[1, i, n, OUT]), Err(Halt::Deadline));
    // With a reader all of it comes, in order, each byte once.
    g.host.deadline = None;
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        while !all.ends_with(b"end") {
            let mut part = [0; 4096];
            let n = rustix::io::read(&master, &mut part).unwrap();
            all.extend_from_slice(&part[..n]);
        }
        all
    });
    assert_eq!(g.write_fd(1, b"end"), Ok(3));
    let all = String::from_utf8(reader.join().unwrap()).unwrap();
    let shown = all.strip_suffix("end").unwrap().len() / 4;
    assert!(all == format!("{}end", "\\x07".repeat(shown)), "something else among it");
    // A piece of the call that the deadline ended may have been taken.
    assert!((wrote..=wrote + 1000).contains(&(shown as u64)), "{wrote} written, {shown} shown");
}

#[test]
fn it_is_still_a_terminal_to_the_guest() {
    let (mut g, _master) = guest(quiet());
    assert_eq!(g.call("fd_fdstat_get", &[1, OUT]), OK);
    assert_eq!(g.get(OUT, 1), [2], "a character device");
    g.sub_fd(0, 7, 2, 1);
    assert_eq!(g.poll(1).map(|events| events.len()), Ok(1));
    assert_eq!(g.write_fd(1, b""), Ok(0));
}
