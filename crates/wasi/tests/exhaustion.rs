//! Hostile rows X3 to X9: nothing waits for ever, nothing grows without bound.

mod common;

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use common::*;
use palisade_wasi::{Caps, Errno, Halt, OutputBuffer, Preopen, Resource, Rights, Stdio};

/// Runs a call that would wait for ever: it ends at the deadline, and when another thread stops it.
fn never_ends(make: &dyn Fn() -> Guest, run: &dyn Fn(&mut Guest) -> Result<i32, Halt>) {
    for with_descriptor in [true, false] {
        let mut g = make();
        g.host.deadline = Some(Instant::now() + Duration::from_millis(30));
        if with_descriptor {
            g.host.stopper = Some(Stopper::new());
        }
        assert_eq!(run(&mut g), Err(Halt::Deadline));
    }
    // A deadline that has passed already.
    let mut g = make();
    g.host.deadline = Some(Instant::now());
    assert_eq!(run(&mut g), Err(Halt::Deadline));
    // Stopped from elsewhere, at any moment.
    let mut g = make();
    let stopper = Stopper::new();
    g.host.stopper = Some(stopper.clone());
    let thread = std::thread::spawn(move || stopper.stop());
    assert_eq!(run(&mut g), Err(Halt::Interrupted));
    thread.join().unwrap();
    // The descriptor alone is enough to wake a wait.
    let mut g = make();
    let stopper = Stopper::new();
    rustix::io::write(&*stopper.fd, &1u64.to_ne_bytes()).unwrap();
    g.host.stopper = Some(stopper);
    assert_eq!(run(&mut g), Err(Halt::Interrupted));
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn fill_pipe(write: &OwnedFd) {
    let flags = rustix::fs::fcntl_getfl(write).unwrap();
    rustix::fs::fcntl_setfl(write, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(write, &[0; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(write, flags).unwrap();
}

#[test]
fn x3_sleeping_for_ever_ends_at_the_deadline() {
    for (id, timeout, flags) in
        [(1, u64::MAX, 0), (0, u64::MAX, 0), (0, u64::MAX, 1), (1, u64::MAX, 1), (1, 1 << 62, 1)]
    {
        never_ends(&|| Guest::new(quiet()), &|g| {
            g.sub_clock(0, 1, id, timeout, flags);
            g.try_call("poll_oneoff", &[DATA, EVENTS, 1, OUT])
        });
    }
}

#[test]
fn x3_times_past_are_ready_and_counts_are_bounded() {
    let mut g = Guest::new(quiet());
    for (id, timeout, flags) in [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 0, 0), (1, 1, 0)] {
        g.sub_clock(0, 0xfeed, id, timeout, flags);
        assert_eq!(g.poll(1), Ok(vec![(0xfeed, 0, 0, 0, 0)]));
    }
    // The earlier of two, and only that one.
    g.sub_clock(0, 1, 1, u64::MAX, 0);
    g.sub_clock(1, 2, 1, 1000, 0);
    assert_eq!(g.poll(2), Ok(vec![(2, 0, 0, 0, 0)]));
    for i in 0..4096 {
        g.sub_clock(i, i, 1, 0, 0);
    }
    g.host.spent = 0;
    g.put(EVENTS, &[]);
    // Events behind the subscriptions, so that all of them fit.
    assert_eq!(g.call("poll_oneoff", &[DATA, DATA + 4096 * 48, 4096, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 4096);
    assert!(g.host.spent >= 50 + 4096 + 2 * 4096 * 32 / 64, "{}", g.host.spent);
    for count in [0, 4097, 1_000_000, 1 << 27, 0xffff_ffff] {
        assert_eq!(g.call("poll_oneoff", &[DATA, EVENTS, count, OUT]), e(Errno::INVAL));
    }
    // Polling without waiting in a loop runs out of fuel.
    g.sub_clock(0, 1, 1, 0, 0);
    g.host.fuel = 100_000;
    let mut calls = 0;
    while g.try_call("poll_oneoff", &[DATA, EVENTS, 1, OUT]).is_ok() {
        calls += 1;
    }
    assert!(calls < 2000);
    assert_eq!(g.try_call("poll_oneoff", &[DATA, EVENTS, 1, OUT]), Err(Halt::OutOfFuel));
}

#[test]
fn x3_many_subscriptions_to_one_descriptor() {
    let (read, _write) = pipe();
    let mut g = Guest::new(quiet().stdin(Stdio::Fd(read)));
    for i in 0..4095 {
        g.sub_fd(i, i, 1, 0);
    }
    g.sub_clock(4095, 4095, 1, 0, 0);
    assert_eq!(g.call("poll_oneoff", &[DATA, DATA + 4096 * 48, 4096, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 1);
}

#[test]
fn x4_reading_what_never_comes_ends_at_the_deadline() {
    let keep = std::cell::RefCell::new(Vec::<OwnedFd>::new());
    let from_pipe = || {
        let (read, write) = pipe();
        keep.borrow_mut().push(write);
        Guest::new(quiet().stdin(Stdio::Fd(read)))
    };
    let from_socket = || {
        let (a, b) = UnixStream::pair().unwrap();
        keep.borrow_mut().push(a.into());
        Guest::new(quiet().stdin(Stdio::Fd(b.into())))
    };
    let connection = || {
        let (a, b) = UnixStream::pair().unwrap();
        keep.borrow_mut().push(a.into());
        Guest::new(quiet().socket(b.into()))
    };
    let t = TempDir::new();
    let listening = || {
        let _ = std::fs::remove_file(t.join("s"));
        Guest::new(quiet().socket(UnixListener::bind(t.join("s")).unwrap().into()))
    };
    let read = |fd: u64| {
        move |g: &mut Guest| {
            let (i, n) = g.iov(&[(DATA, 10)]);
            g.try_call("fd_read", &[fd, i, n, OUT])
        }
    };
    never_ends(&from_pipe, &read(0));
    never_ends(&from_socket, &read(0));
    never_ends(&connection, &read(3));
    never_ends(&connection, &|g| {
        let (i, n) = g.iov(&[(DATA, 10)]);
        g.try_call("sock_recv", &[3, i, n, 2, OUT, OUT2])
    });
    never_ends(&listening, &|g| g.try_call("sock_accept", &[3, 0, OUT]));
    never_ends(&from_pipe, &|g| {
        g.sub_fd(0, 1, 1, 0);
        g.try_call("poll_oneoff", &[DATA, EVENTS, 1, OUT])
    });
}

#[test]
fn x4_writing_what_nobody_takes_ends_at_the_deadline() {
    let keep = std::cell::RefCell::new(Vec::<OwnedFd>::new());
    let full_pipe = || {
        let (read, write) = pipe();
        keep.borrow_mut().push(read);
        fill_pipe(&write);
        Guest::new(quiet().stdout(Stdio::Fd(write)))
    };
    let connection = || {
        let (a, b) = UnixStream::pair().unwrap();
        keep.borrow_mut().push(a.into());
        Guest::new(quiet().socket(b.into()))
    };
    // More than any buffer of the host holds.
    let write = |name: &'static str, fd: u64| {
        move |g: &mut Guest| {
            let (i, n) = g.iov(&[(0, MEMORY as u64); 16]);
            let mut args = vec![fd, i, n];
            if name == "sock_send" {
                args.push(0);
            }
            args.push(OUT);
            g.try_call(name, &args)
        }
    };
    never_ends(&full_pipe, &write("fd_write", 1));
    never_ends(&connection, &write("fd_write", 3));
    never_ends(&connection, &write("sock_send", 3));
    never_ends(&full_pipe, &|g| {
        g.sub_fd(0, 1, 2, 1);
        g.try_call("poll_oneoff", &[DATA, EVENTS, 1, OUT])
    });
}

#[test]
fn x4_what_does_not_block_says_so() {
    let (read, write) = pipe();
    let (read2, write2) = pipe();
    fill_pipe(&write2);
    let (_peer, socket) = UnixStream::pair().unwrap();
    let mut g =
        Guest::new(quiet().stdin(Stdio::Fd(read)).stdout(Stdio::Fd(write2)).socket(socket.into()));
    for fd in [0, 1, 3] {
        assert_eq!(g.call("fd_fdstat_set_flags", &[fd, 4]), OK);
    }
    assert_eq!(g.read_fd(0, 10), Err(e(Errno::AGAIN)));
    assert_eq!(g.write_fd(1, b"x"), Err(e(Errno::AGAIN)));
    assert_eq!(g.read_fd(3, 10), Err(e(Errno::AGAIN)));
    // The host's own flags are not changed: others share them.
    let flags = rustix::fs::fcntl_getfl(&write).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    drop(read2);
    assert_eq!(g.write_fd(1, b"x"), Err(e(Errno::PIPE)));
}

#[test]
fn x5_output_is_counted_and_ends_the_guest_at_its_limit() {
    let t = TempDir::new();
    for own in [true, false] {
        let builder = quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/"));
        let mut g = Guest::new(if own { builder.max_output(1000) } else { builder });
        g.host.ledger.set_limit(Resource::OutputBytes, if own { None } else { Some(1000) });
        let fd = g.open("file", CREAT, Rights::all()).unwrap();
        for _ in 0..100 {
            assert_eq!(g.write_fd(1, b"x"), Ok(1));
            assert_eq!(g.write_fd(2, b"yy"), Ok(2));
            assert_eq!(g.write_fd(fd, b"zzz"), Ok(3));
            assert_eq!(g.pwrite_fd(fd, b"zzz", 0), Ok(3));
        }
        assert_eq!(g.used(Resource::OutputBytes), 900);
        let (i, n) = g.iov(&[(DATA, 101)]);
        for _ in 0..3 {
            g.runs_out("fd_write", &[1, i, n, OUT], Resource::OutputBytes);
            g.runs_out("fd_pwrite", &[fd, i, n, 0, OUT], Resource::OutputBytes);
        }
        assert_eq!(g.call("fd_allocate", &[fd, 0, 101]), e(Errno::NOSPC));
        assert_eq!(g.write_fd(1, &[0; 100]), Ok(100));
        assert_eq!(g.used(Resource::OutputBytes), 1000);
        assert_eq!(t.read("file").len(), 300);
    }
}

#[test]
fn x5_captured_output_is_bounded() {
    let buffer = OutputBuffer::new(1000);
    let mut g = Guest::new(quiet().stdout(Stdio::Buffer(buffer.clone())));
    for _ in 0..250 {
        assert_eq!(g.write_fd(1, b"abc"), Ok(3));
    }
    assert_eq!(g.write_fd(1, &[b'x'; 1000]), Ok(250));
    assert_eq!(g.write_fd(1, b"x"), Err(e(Errno::NOSPC)));
    assert_eq!(g.write_fd(1, b""), Ok(0));
    assert_eq!(buffer.contents().len(), 1000);
    // Byte by byte costs fuel by the call.
    g.host.fuel = 10_000;
    let (i, n) = g.iov(&[(DATA, 1)]);
    let mut calls = 0;
    while g.try_call("fd_write", &[2, i, n, OUT]).is_ok() {
        calls += 1;
    }
    assert!(calls <= 200);
}

#[test]
fn x6_descriptors_are_bounded() {
    let t = TempDir::new();
    t.file("file", "x");
    for limit in [5, 64, 1024] {
        let builder =
            quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")).max_descriptors(limit);
        let mut g = Guest::new(builder);
        let mut n = 4;
        while g.open("file", 0, RW).is_ok() {
            n += 1;
        }
        assert_eq!(n, limit);
        for oflags in [0, CREAT, TRUNC, DIRECTORY] {
            assert_eq!(
                g.open(if oflags == DIRECTORY { "." } else { "new" }, oflags, RW),
                Err(e(Errno::MFILE))
            );
        }
        assert!(
            !t.join("new").exists(),
            "nothing was created for a descriptor that there is no room for"
        );
        assert_eq!(t.read("file"), b"x", "nor truncated");
        assert_eq!(g.call("fd_close", &[4]), OK);
        assert_eq!(g.open("file", 0, RW), Ok(4));
    }
    assert!(quiet().max_descriptors(2).build().is_err());
    assert!(quiet().max_descriptors(3).build().is_ok());
}

#[test]
fn x6_entries_created_are_bounded() {
    let t = TempDir::new();
    t.file("file", "x");
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")).max_inodes(4));
    assert_eq!(g.on_path("path_create_directory", 3, b"dir", &[]), OK);
    assert_eq!(g.symlink("x", 3, "link"), OK);
    assert_eq!(g.two_paths("path_link", 3, "file", 3, "hard"), OK);
    assert!(g.open("new", CREAT, RW).is_ok());
    // What exists already, or fails, does not count.
    assert!(g.open("new", CREAT, RW).is_ok());
    let nospc = e(Errno::NOSPC);
    assert_eq!(g.on_path("path_create_directory", 3, b"dir2", &[]), nospc);
    assert_eq!(g.symlink("x", 3, "link2"), nospc);
    assert_eq!(g.two_paths("path_link", 3, "file", 3, "hard2"), nospc);
    assert_eq!(g.open("new2", CREAT, RW), Err(nospc));
    assert_eq!(g.used(Resource::FilesCreated), 4);
    assert!(g.open("new", CREAT, RW).is_ok());
    assert_eq!(std::fs::read_dir(&t.0).unwrap().count(), 5);
}

#[test]
fn x7_quotas_stay_exact_whatever_is_deleted() {
    let t = TempDir::new();
    let mut g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(&t.0, "/"))
            .max_output(10_000)
            .max_inodes(100)
            .max_file_size(4096),
    );
    for round in 1..=100u64 {
        let fd = g.open("a", CREAT | EXCL, Rights::all()).unwrap();
        assert_eq!(g.write_fd(fd, &[1; 50]), Ok(50));
        assert_eq!(g.call("fd_filestat_set_size", &[fd, 4096]), OK);
        assert_eq!(g.call("fd_filestat_set_size", &[fd, 4097]), e(Errno::FBIG));
        assert_eq!(g.call("fd_allocate", &[fd, 4000, 50]), OK);
        assert_eq!(g.call("fd_close", &[fd]), OK);
        assert_eq!(g.two_paths("path_rename", 3, "a", 3, "b"), OK);
        assert_eq!(g.on_path("path_unlink_file", 3, b"b", &[]), OK);
        assert_eq!(
            (g.used(Resource::OutputBytes), g.used(Resource::FilesCreated)),
            (round * 100, round)
        );
    }
    assert_eq!(g.open("a", CREAT, RW), Err(e(Errno::NOSPC)));
    let (i, n) = g.iov(&[(DATA, 1)]);
    g.runs_out("fd_write", &[1, i, n, OUT], Resource::OutputBytes);
    assert_eq!(std::fs::read_dir(&t.0).unwrap().count(), 0);
}

#[test]
fn x7_allocation_is_charged_by_its_length_before_it_is_made() {
    let t = TempDir::new();
    let mut g = full(&t);
    let fd = g.open("a", CREAT, Rights::all()).unwrap();
    g.host.fuel = 1000;
    assert_eq!(g.try_call("fd_allocate", &[fd, 0, 1 << 40]), Err(Halt::OutOfFuel));
    assert_eq!(std::fs::metadata(t.join("a")).unwrap().len(), 0);
}

#[test]
fn x9_random_bytes_are_bounded_charged_and_interruptible() {
    let mut g = Guest::new(quiet());
    for len in [(64 << 20) + 1, 1 << 31, 0xffff_ffff] {
        assert_eq!(g.call("random_get", &[0, len]), e(Errno::INVAL), "{len}");
    }
    g.host.spent = 0;
    assert_eq!(g.call("random_get", &[0, MEMORY as u64]), OK);
    assert_eq!(g.host.spent, 50 + MEMORY as u64 / 64);
    assert!(g.get(0, MEMORY).chunks(64).all(|c| c.iter().any(|b| *b != 0)));
    g.host.fuel = 100;
    assert_eq!(g.try_call("random_get", &[0, MEMORY as u64]), Err(Halt::OutOfFuel));
    g.host.fuel = u64::MAX;
    g.host.deadline = Some(Instant::now());
    assert_eq!(g.try_call("random_get", &[0, 1]), Err(Halt::Deadline));
    g.host.deadline = None;
    assert_eq!(g.call("random_get", &[0xffff_ffff, 0]), OK);
}

#[test]
fn x9_a_million_arguments_and_variables() {
    let count = 1_000_000u32;
    let args: Vec<String> = (0..count).map(|i| format!("{i:07}")).collect();
    let mut g = Guest::new(quiet().args(&args));
    g.host.memory = Some(vec![0; 64 << 20]);
    assert_eq!(g.call("args_sizes_get", &[OUT, OUT2]), OK);
    assert_eq!((g.u32_at(OUT), g.u32_at(OUT2)), (count, count * 8));
    g.host.spent = 0;
    assert_eq!(g.call("args_get", &[0, 32 << 20]), OK);
    assert_eq!(g.host.spent, 50 + u64::from(count) * 12 / 64);
    assert_eq!(g.u32_at(4 * 999_999), (32 << 20) + 8 * 999_999);
    assert_eq!(g.get((32 << 20) + 8 * 999_999, 8), b"0999999\0");
    g.host.fuel = 1000;
    assert_eq!(g.try_call("args_get", &[0, 32 << 20]), Err(Halt::OutOfFuel));
}

#[test]
fn x9_endless_paths_are_refused_unread() {
    let t = TempDir::new();
    let mut g = full(&t);
    g.host.memory = Some(b"a/".repeat(8 << 20));
    g.host.spent = 0;
    for len in [4097, 1 << 20, 256 << 20, 0xffff_ffff] {
        for name in ["path_create_directory", "path_unlink_file", "path_remove_directory"] {
            assert_eq!(g.call(name, &[3, 0, len]), e(Errno::NAMETOOLONG));
        }
        assert_eq!(g.call("path_open", &[3, 0, 0, len, 0, 0, 0, 0, 0]), e(Errno::NAMETOOLONG));
        assert_eq!(g.call("path_symlink", &[0, len, 3, 0, 1]), e(Errno::NAMETOOLONG));
    }
    assert_eq!(g.host.spent, 20 * 50, "not a byte was copied");
    // As long as a path may be: thousands of components, of which the first is missing.
    for len in [4000, 4095, 4096] {
        assert_eq!(g.call("path_create_directory", &[3, 0, len]), e(Errno::NOENT));
    }
}

/// Whatever takes long in a single call looks up in between: stopped after some looks, it has done a part.
#[test]
fn x4_long_work_in_one_call_is_stopped_in_its_middle() {
    let t = TempDir::new();
    let large = 64 << 20;
    let stopped = |g: &mut Guest, name: &str, args: &[u64]| {
        g.host.looks.set(Some(4));
        assert_eq!(g.try_call(name, args), Err(Halt::Interrupted), "{name}");
        g.host.looks.set(None);
    };
    for shared in [false, true] {
        let mut g = full(&t);
        g.host.memory = Some(vec![0; large + (1 << 20)]);
        g.host.shared = shared;
        let fd = g.open("file", CREAT, Rights::all()).unwrap();
        let (i, n) = g.iov(&[(1 << 20, large as u64)]);
        stopped(&mut g, "fd_write", &[fd, i, n, OUT]);
        let written = std::fs::metadata(t.join("file")).unwrap().len();
        assert!(0 < written && written < large as u64, "{written}");
        stopped(&mut g, "fd_pwrite", &[fd, i, n, 0, OUT]);
        assert_eq!(g.call("fd_filestat_set_size", &[fd, large as u64]), OK);
        g.host.memory_mut()[1 << 20..].fill(1);
        stopped(&mut g, "fd_pread", &[fd, i, n, 0, OUT]);
        assert_eq!(g.host.memory_mut()[large + (1 << 20) - 1], 1, "the end was not reached");
        stopped(&mut g, "random_get", &[1 << 20, large as u64]);
        assert_eq!(g.host.memory_mut()[large + (1 << 20) - 1], 1, "the end was not reached");
        stopped(&mut g, "fd_allocate", &[fd, 0, 1 << 30]);
        assert!(std::fs::metadata(t.join("file")).unwrap().len() < 1 << 30);
        for name in 0..10 {
            t.file(&format!("entry{name}"), "");
        }
        stopped(&mut g, "fd_readdir", &[3, DATA, 4096, 0, OUT]);
        std::fs::remove_file(t.join("file")).unwrap();
    }
}

#[test]
fn x3_waiting_is_counted_and_has_a_limit() {
    let (read, write) = pipe();
    let mut g = Guest::new(quiet().stdin(Stdio::Fd(read)));
    g.sub_clock(0, 1, 1, 2_000_000, 0);
    assert_eq!(g.poll(1), Ok(vec![(1, 0, 0, 0, 0)]));
    let waited = g.used(Resource::WaitTime);
    assert!(waited >= 2_000_000, "{waited}");
    g.host.ledger.set_limit(Resource::WaitTime, Some(waited + 3_000_000));
    // More than is left: the guest ends, however it waits.
    g.sub_clock(0, 1, 1, 3_600_000_000_000, 0);
    g.runs_out("poll_oneoff", &[DATA, EVENTS, 1, OUT], Resource::WaitTime);
    let (i, n) = g.iov(&[(DATA, 10)]);
    g.runs_out("fd_read", &[0, i, n, OUT], Resource::WaitTime);
    assert!(g.used(Resource::WaitTime) > waited + 3_000_000);
    // What is there without waiting is had all the same.
    rustix::io::write(&write, b"12").unwrap();
    assert_eq!(g.read_fd(0, 10).map(|data| data.len()), Ok(2));
}
