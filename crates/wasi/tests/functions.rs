//! What each function does when all is well, and the errors that ordinary programs meet.

mod common;

use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use common::*;
use palisade_wasi::{Caps, Errno, Halt, OutputBuffer, Preopen, Rights, Stdio};

fn text(g: &mut Guest, at: u64) -> String {
    let mut out = Vec::new();
    for i in 0.. {
        match g.get(at + i, 1)[0] {
            0 => break,
            b => out.push(b),
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn arguments_and_environment_arrive_in_order() {
    let builder = quiet().args(["prog", "", "zwei"]).env("A", "1").env("B", "x=y");
    let mut g = Guest::new(builder);
    assert_eq!(g.call("args_sizes_get", &[OUT, OUT2]), OK);
    assert_eq!((g.u32_at(OUT), g.u32_at(OUT2)), (3, 11));
    assert_eq!(g.call("args_get", &[OUT, DATA]), OK);
    let all: Vec<String> = (0..3)
        .map(|i| {
            let p = u64::from(g.u32_at(OUT + 4 * i));
            text(&mut g, p)
        })
        .collect();
    assert_eq!(all, ["prog", "", "zwei"]);
    assert_eq!(g.call("environ_sizes_get", &[OUT, OUT2]), OK);
    assert_eq!((g.u32_at(OUT), g.u32_at(OUT2)), (2, 10));
    assert_eq!(g.call("environ_get", &[OUT, DATA]), OK);
    assert_eq!(g.get(DATA, 10), b"A=1\0B=x=y\0");
    assert!(quiet().arg("a\0b").build().is_err());
    assert!(quiet().env("", "x").build().is_err());
    assert!(quiet().env("a=b", "x").build().is_err());
}

#[test]
fn clocks_run_or_stand_still() {
    let mut g = Guest::new(quiet());
    let time = |g: &mut Guest, id| {
        assert_eq!(g.call("clock_time_get", &[id, 1, OUT]), OK);
        g.u64_at(OUT)
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
        as u64;
    assert!(time(&mut g, 0) >= now);
    let (a, b) = (time(&mut g, 1), time(&mut g, 1));
    assert!(b >= a && a >= 1_000_000_000);
    assert_eq!(g.call("clock_res_get", &[1, OUT]), OK);
    assert!((1..1_000_000_000).contains(&g.u64_at(OUT)));
    // Denied: no error, no time.
    let (mut g, log) = audited(quiet().caps(Caps::empty()));
    for id in 0..4 {
        assert_eq!(time(&mut g, id), time(&mut g, id));
        assert_ne!(time(&mut g, id), 0);
        assert_eq!(g.call("clock_res_get", &[id, OUT]), OK);
        assert_eq!(g.u64_at(OUT), 1_000_000_000);
    }
    assert_eq!(log.lock().unwrap()[0].switch, Some("--allow-clock"));
    let still = time(&mut g, 0);
    g.sub_clock(0, 5, 0, still, 1);
    assert_eq!(g.poll(1), Ok(vec![(5, 0, 0, 0, 0)]), "a moment of the clock that stands has come");
    // Coarse clocks show nothing finer.
    let coarse = std::time::Duration::from_millis(100);
    let mut g = Guest::new(quiet().clock_granularity(coarse));
    assert_eq!(time(&mut g, 0) % 100_000_000, 0);
    assert_eq!(time(&mut g, 1) % 100_000_000, 0);
    assert_eq!(g.call("clock_res_get", &[0, OUT]), OK);
    assert_eq!(g.u64_at(OUT), 100_000_000);
}

/// Processor time passes when the guest's thread works, does not when it sleeps or another thread works, and never goes
/// back, whatever threads the guest is moved to.
#[test]
fn processor_time_is_that_of_the_guests_thread() {
    fn time(g: &mut Guest, id: u64) -> u64 {
        assert_eq!(g.call("clock_time_get", &[id, 0, OUT]), OK);
        g.u64_at(OUT)
    }
    /// Spends at least so much of this thread's processor time, by its own clock.
    fn work(nanos: i64) {
        use rustix::time::{ClockId::ThreadCPUTime, clock_gettime};
        let now = || {
            let time = clock_gettime(ThreadCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let start = now();
        while now() - start < nanos {
            std::hint::spin_loop();
        }
    }
    const WORK: i64 = 50_000_000;
    // What was spent before the context was made does not count.
    work(WORK);
    let mut g = Guest::new(quiet());
    for id in [2, 3] {
        let before = time(&mut g, id);
        work(WORK);
        let after = time(&mut g, id);
        assert!(after - before >= WORK as u64);
        // Nor what others spend meanwhile: theirs is told from the guest's by asking both clocks.
        let busy = std::thread::spawn(|| work(10 * WORK));
        busy.join().expect("it works");
        assert!(time(&mut g, id) - after < 10 * WORK as u64);
        assert_eq!(g.call("clock_res_get", &[id, OUT]), OK);
        assert!((1..1_000_000_000).contains(&g.u64_at(OUT)));
    }
    // On another thread, it goes on from where it was.
    let here = time(&mut g, 2);
    let (there, g) = std::thread::spawn(move || {
        work(WORK);
        let mut g = g;
        let first = time(&mut g, 2);
        work(WORK);
        ((first, time(&mut g, 2)), g)
    })
    .join()
    .expect("it works");
    assert_eq!(there.0, here, "the thread's own past is not the guest's");
    assert!(there.1 - there.0 >= WORK as u64);
    let mut g = g;
    assert!(time(&mut g, 2) >= there.1);
}

#[test]
fn exit_signals_and_yield() {
    let mut g = Guest::new(quiet().allow(Caps::PROC));
    for status in [0, 1, 255, 256, 0xffff_ffff] {
        assert_eq!(g.try_call("proc_exit", &[status]), Err(Halt::Exit(status as u32)));
    }
    assert_eq!(g.call("sched_yield", &[]), OK);
    for signal in [0, 16, 17, 22, 27] {
        assert_eq!(g.call("proc_raise", &[signal]), OK);
    }
    for signal in 18..=21 {
        assert_eq!(g.call("proc_raise", &[signal]), e(Errno::NOTSUP));
    }
    for signal in [1, 2, 6, 9, 11, 15, 30] {
        assert_eq!(g.try_call("proc_raise", &[signal]), Err(Halt::Exit(128 + signal as u32)));
    }
    let mut g = Guest::new(quiet());
    assert_eq!(g.call("proc_raise", &[6]), e(Errno::NOTCAPABLE));
}

#[test]
fn the_default_grants_streams_clocks_and_random_bytes_alone() {
    let t = TempDir::new();
    t.file("file", "x");
    let (mut g, log) = audited(quiet().preopen(Preopen::new(&t.0, "/")));
    assert_eq!(g.call("random_get", &[DATA, 8]), OK);
    assert_eq!(g.write_fd(1, b"x"), Ok(1));
    assert_eq!(g.read_fd(0, 1), Ok(vec![]));
    let denied = e(Errno::NOTCAPABLE);
    assert_eq!(g.open("file", 0, Rights::FD_READ), Err(denied));
    assert_eq!(g.open(".", DIRECTORY, Rights::empty()), Err(denied));
    assert_eq!(g.stat(3, 0, "file"), Err(denied));
    assert_eq!(g.call("fd_readdir", &[3, DATA, 100, 0, OUT]), denied);
    assert_eq!(g.on_path("path_unlink_file", 3, b"file", &[]), denied);
    let switches: Vec<_> =
        log.lock().unwrap().iter().filter(|a| a.denied.is_some()).map(|a| a.switch).collect();
    assert_eq!(switches[0], Some("--allow-read"));
    assert_eq!(switches.last().copied().flatten(), Some("--allow-path"));
    assert!(t.join("file").exists());
}

#[test]
fn files_are_written_read_and_positioned() {
    let t = TempDir::new();
    let mut g = full(&t);
    let fd = g.open("file", CREAT, Rights::all()).unwrap();
    assert_eq!(g.write_fd(fd, b"hello world"), Ok(11));
    assert_eq!(g.call("fd_tell", &[fd, OUT]), OK);
    assert_eq!(g.u64_at(OUT), 11);
    assert_eq!(g.seek(fd, -5, 2), Ok(6));
    assert_eq!(g.read_fd(fd, 100), Ok(b"world".to_vec()));
    assert_eq!(g.pread_fd(fd, 5, 0), Ok(b"hello".to_vec()));
    assert_eq!(g.pwrite_fd(fd, b"J", 0), Ok(1));
    assert_eq!(g.seek(fd, 0, 0), Ok(0));
    // Scattered over several buffers.
    let (i, n) = g.iov(&[(DATA, 3), (DATA + 10, 3), (DATA + 20, 100)]);
    assert_eq!(g.call("fd_read", &[fd, i, n, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 11);
    assert_eq!(
        (g.get(DATA, 3), g.get(DATA + 10, 3), g.get(DATA + 20, 5)),
        (b"Jel".into(), b"lo ".into(), b"world".into())
    );
    assert_eq!(g.call("fd_filestat_set_size", &[fd, 4]), OK);
    assert_eq!(g.call("fd_sync", &[fd]), OK);
    assert_eq!(g.call("fd_datasync", &[fd]), OK);
    assert_eq!(g.call("fd_filestat_get", &[fd, OUT]), OK);
    assert_eq!((g.get(OUT + 16, 1)[0], g.u64_at(OUT + 32)), (4, 4));
    assert_eq!(t.read("file"), b"Jell");
    let again = g.open("file", TRUNC, Rights::empty()).unwrap();
    assert_eq!(t.read("file"), b"");
    assert_eq!(g.call("fd_close", &[again]), OK);
}

#[test]
fn a_shared_memory_is_copied_and_gives_the_same_answers() {
    let t = TempDir::new();
    let data: Vec<u8> = (0..300_000u32).map(|i| (i * 31) as u8).collect();
    let buffer = OutputBuffer::new(1 << 20);
    let builder =
        quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")).stdin(Stdio::Bytes(data.clone()));
    let mut g = Guest::new(builder.stdout(Stdio::Buffer(buffer.clone())));
    g.host.shared = true;
    let fd = g.open("file", CREAT, Rights::all()).unwrap();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let n = g.write_fd(fd, rest).unwrap() as usize;
        rest = &rest[n..];
    }
    assert_eq!(t.read("file"), data);
    assert_eq!(g.pread_fd(fd, 300_000, 0).as_deref(), Ok(&data[..]));
    assert_eq!(g.read_fd(0, 300_000).as_deref(), Ok(&data[..]));
    assert_eq!(g.write_fd(1, &data), Ok(300_000));
    assert_eq!(buffer.contents(), data);
    assert_eq!(g.call("random_get", &[DATA, 200_000]), OK);
}

#[test]
fn directories_links_and_times_by_path() {
    use std::os::unix::fs::MetadataExt;
    let t = TempDir::new();
    let mut g = full(&t);
    assert_eq!(g.on_path("path_create_directory", 3, b"d", &[]), OK);
    assert_eq!(g.symlink("d/../f", 3, "link"), OK);
    g.open("f", CREAT, RW).unwrap();
    assert_eq!(g.two_paths("path_link", 3, "f", 3, "d/hard"), OK);
    assert_eq!(g.two_paths("path_rename", 3, "d/hard", 3, "d/renamed"), OK);
    assert_eq!(g.on_path("path_readlink", 3, b"link", &[DATA, 100, OUT]), OK);
    let n = g.u32_at(OUT) as usize;
    assert_eq!(g.get(DATA, n), b"d/../f");
    g.put(DATA, &[0xAA; 8]);
    assert_eq!(g.on_path("path_readlink", 3, b"link", &[DATA, 3, OUT]), OK);
    assert_eq!((g.u32_at(OUT), g.get(DATA, 4)), (3, b"d/.\xAA".to_vec()));
    assert_eq!(g.on_path("path_readlink", 3, b"f", &[DATA, 3, OUT]), e(Errno::INVAL));
    let (p, l) = g.put(PATH1, b"link");
    assert_eq!(
        g.call("path_filestat_set_times", &[3, 1, p, l, 7_000_000_000, 9_000_000_000, 5]),
        OK
    );
    assert_eq!(std::fs::metadata(t.join("f")).unwrap().mtime(), 9);
    assert_ne!(t.join("link").symlink_metadata().unwrap().mtime(), 9);
    assert_eq!(g.call("path_filestat_set_times", &[3, 0, p, l, 0, 5_000_000_000, 4]), OK);
    assert_eq!(t.join("link").symlink_metadata().unwrap().mtime(), 5);
    assert_eq!(std::fs::metadata(t.join("f")).unwrap().mtime(), 9);
    assert_eq!(g.call("path_link", &[3, 1, p, l, 3, p, l]), e(Errno::INVAL));
    assert_eq!(g.stat(3, 1, "link").map(|s| s[16]), Ok(4));
    assert_eq!(g.stat(3, 0, "link").map(|s| s[16]), Ok(7));
    assert_eq!(g.on_path("path_unlink_file", 3, b"d/renamed", &[]), OK);
    assert_eq!(g.on_path("path_remove_directory", 3, b"d", &[]), OK);
    assert_eq!(g.stat(3, 0, "d"), Err(e(Errno::NOENT)));
}

#[test]
fn preopens_are_found_by_their_names() {
    let t = TempDir::new();
    t.dir("a");
    let builder = quiet()
        .caps(Caps::READ)
        .preopen(Preopen::new(&t.0, "/data"))
        .preopen(Preopen::new(t.join("a"), "."));
    let mut g = Guest::new(builder);
    let mut names = Vec::new();
    for fd in 3.. {
        if g.call("fd_prestat_get", &[fd, OUT]) != OK {
            assert_eq!(g.call("fd_prestat_get", &[fd, OUT]), e(Errno::BADF));
            break;
        }
        let n = u64::from(g.u32_at(OUT + 4));
        assert_eq!(g.call("fd_prestat_dir_name", &[fd, DATA, n - 1]), e(Errno::NAMETOOLONG));
        assert_eq!(g.call("fd_prestat_dir_name", &[fd, DATA, n + 5]), OK);
        names.push(g.get(DATA, n as usize));
    }
    assert_eq!(names, [b"/data".to_vec(), b".".to_vec()]);
    for fd in 0..3 {
        assert_eq!(g.call("fd_prestat_get", &[fd, OUT]), e(Errno::BADF));
    }
    assert!(quiet().preopen(Preopen::new(t.join("missing"), "x")).build().is_err());
    assert!(quiet().preopen(Preopen::new(t.file("f", ""), "x")).build().is_err());
    assert!(quiet().preopen(Preopen::new(&t.0, "")).build().is_err());
}

#[test]
fn output_redirected_to_a_file_goes_on_where_it_stands() {
    let t = TempDir::new();
    let mut file = std::fs::File::create(t.join("log")).unwrap();
    file.write_all(b"before ").unwrap();
    let handed: OwnedFd = file.try_clone().unwrap().into();
    let mut g = Guest::new(quiet().stdout(Stdio::Fd(handed)));
    assert_eq!(g.write_fd(1, b"guest "), Ok(6));
    file.write_all(b"after").unwrap();
    assert_eq!(g.write_fd(1, b"!"), Ok(1));
    assert_eq!(t.read("log"), b"before guest after!");
    // It cannot be wound back to overwrite what was there.
    assert_eq!(g.seek(1, 0, 0), Err(e(Errno::SPIPE)));
    assert_eq!(g.pwrite_fd(1, b"x", 0), Err(e(Errno::SPIPE)));
    assert_eq!(g.call("fd_filestat_set_size", &[1, 0]), e(Errno::INVAL));
    assert_eq!(g.call("fd_fdstat_set_flags", &[1, 1]), e(Errno::INVAL));
    assert_eq!(g.call("fd_sync", &[1]), OK);
    assert_eq!(file.stream_position().unwrap(), 19);
}

#[test]
fn standard_streams_carry_data_both_ways() {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (from_guest, to_host) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut g =
        Guest::new(quiet().caps(Caps::empty()).stdin(Stdio::Fd(read)).stdout(Stdio::Fd(to_host)));
    rustix::io::write(&write, b"input").unwrap();
    g.sub_fd(0, 9, 1, 0);
    g.sub_fd(1, 8, 2, 1);
    assert_eq!(g.poll(2), Ok(vec![(9, 0, 1, 5, 0), (8, 0, 2, 0, 0)]));
    assert_eq!(g.read_fd(0, 3), Ok(b"inp".to_vec()));
    assert_eq!(g.read_fd(0, 100), Ok(b"ut".to_vec()));
    drop(write);
    g.sub_fd(0, 9, 1, 0);
    assert_eq!(g.poll(1), Ok(vec![(9, 0, 1, 0, 1)]), "hung up");
    assert_eq!(g.read_fd(0, 100), Ok(vec![]));
    assert_eq!(g.seek(0, 0, 1), Err(e(Errno::SPIPE)));
    // More than the pipe holds, taken by a reader on the other side: all of it arrives.
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::fs::File::from(from_guest).read_to_end(&mut all).unwrap();
        all
    });
    let data: Vec<u8> = (0..500_000u32).map(|i| i as u8).collect();
    assert_eq!(g.write_fd(1, &data), Ok(500_000));
    assert_eq!(g.call("fd_close", &[1]), OK);
    assert_eq!(reader.join().unwrap(), data);
    assert_eq!(g.write_fd(1, b"x"), Err(e(Errno::BADF)));
    let mut g = Guest::new(quiet().stdin(Stdio::Closed).stdout(Stdio::Closed));
    assert_eq!(g.read_fd(0, 1), Err(e(Errno::BADF)));
    assert_eq!(g.write_fd(1, b"x"), Err(e(Errno::BADF)));
    assert_eq!(g.write_fd(2, b"x"), Ok(1));
}

#[test]
fn a_closed_pipe_is_an_error_and_no_signal() {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    drop(read);
    let mut g = Guest::new(quiet().stdout(Stdio::Fd(write)));
    assert_eq!(g.write_fd(1, b"x"), Err(e(Errno::PIPE)));
    let (a, b) = UnixStream::pair().unwrap();
    drop(a);
    let mut g = Guest::new(quiet().socket(b.into()));
    assert_eq!(g.write_fd(3, b"x"), Err(e(Errno::PIPE)));
}

#[test]
fn sockets_that_were_handed_over() {
    let t = TempDir::new();
    let listener = UnixListener::bind(t.join("s")).unwrap();
    let mut client = UnixStream::connect(t.join("s")).unwrap();
    let mut g = Guest::new(quiet().caps(Caps::empty()).socket(listener.into()));
    assert_eq!(g.call("fd_fdstat_get", &[3, OUT]), OK);
    assert_eq!(g.get(OUT, 1), [6]);
    assert_eq!(g.call("sock_accept", &[3, 0, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 4);
    client.write_all(b"request").unwrap();
    let (i, n) = g.iov(&[(DATA, 100)]);
    assert_eq!(g.call("sock_recv", &[4, i, n, 1, OUT, OUT2]), OK, "peek");
    assert_eq!(g.u32_at(OUT), 7);
    assert_eq!(g.call("sock_recv", &[4, i, n, 0, OUT, OUT2]), OK);
    assert_eq!(g.get(DATA, 7), b"request");
    let (i, n) = g.iov(&[(DATA, 2), (DATA + 2, 5)]);
    assert_eq!(g.call("sock_send", &[4, i, n, 0, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 7);
    let mut got = [0; 7];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"request");
    assert_eq!(g.call("sock_shutdown", &[4, 2]), OK);
    assert_eq!(client.read(&mut got).unwrap(), 0);
    assert_eq!(g.call("sock_send", &[4, i, n, 0, OUT]), e(Errno::PIPE));
    assert_eq!(g.call("sock_recv", &[3, i, n, 0, OUT, OUT2]), e(Errno::NOTCONN));
    assert_eq!(g.call("sock_shutdown", &[0, 1]), e(Errno::NOTSOCK));
    assert_eq!(g.call("sock_accept", &[77, 0, OUT]), e(Errno::BADF));
    assert_eq!(g.call("fd_fdstat_set_flags", &[3, 4]), OK);
    assert_eq!(g.call("sock_accept", &[3, 0, OUT]), e(Errno::AGAIN));
    let file: OwnedFd = std::fs::File::open(&t.0).unwrap().into();
    assert!(quiet().socket(file).build().is_err());
}

#[test]
fn polling_reports_errors_as_events_and_keeps_userdata() {
    let t = TempDir::new();
    t.file("file", "0123456789");
    let mut g = full(&t);
    let fd = g.open("file", 0, Rights::all()).unwrap();
    g.seek(fd, 4, 0).unwrap();
    g.sub_fd(0, u64::MAX, 1, 99);
    g.sub_fd(1, 1, 1, fd as u32);
    g.sub_fd(2, 2, 2, fd as u32);
    g.sub_fd(3, 3, 1, 3);
    g.sub_clock(4, 4, 1, u64::MAX, 0);
    g.sub_fd(5, 5, 2, 0);
    let events = g.poll(6).unwrap();
    let (badf, denied) = (e(Errno::BADF) as u16, e(Errno::NOTCAPABLE) as u16);
    assert_eq!(
        events,
        [
            (u64::MAX, badf, 1, 0, 0),
            (1, 0, 1, 6, 0),
            (2, 0, 2, 0, 0),
            (3, badf, 1, 0, 0),
            (5, denied, 2, 0, 0)
        ]
    );
    // Without the right to know its size, how much is left does not show.
    let base = (Rights::FD_READ | Rights::POLL_FD_READWRITE).bits();
    assert_eq!(g.call("fd_fdstat_set_rights", &[fd, base, 0]), OK);
    g.sub_fd(0, 1, 1, fd as u32);
    assert_eq!(g.poll(1), Ok(vec![(1, 0, 1, 0, 0)]));
}

#[test]
fn fuel_is_charged_for_the_call_and_for_what_it_moves() {
    let t = TempDir::new();
    t.file("file", vec![1; 6400]);
    let mut g = full(&t);
    let cost = |g: &mut Guest, f: &dyn Fn(&mut Guest)| {
        g.host.spent = 0;
        f(g);
        g.host.spent
    };
    assert_eq!(cost(&mut g, &|g| assert_eq!(g.call("sched_yield", &[]), OK)), 50);
    let fd = g.open("file", 0, RW).unwrap();
    // One unit for the list of buffers.
    assert_eq!(
        cost(&mut g, &|g| assert_eq!(g.read_fd(fd, 100_000).map(|d| d.len()), Ok(6400))),
        50 + 1 + 100
    );
    assert_eq!(cost(&mut g, &|g| assert_eq!(g.write_fd(fd, &[0; 640]), Ok(640))), 50 + 1 + 10);
    // Charged before anything is written.
    g.host.fuel = 55;
    let (i, n) = g.iov(&[(DATA, 6400)]);
    assert_eq!(g.try_call("fd_write", &[fd, i, n, OUT]), Err(Halt::OutOfFuel));
    assert_eq!(t.read("file").len(), 7040);
    g.host.fuel = 49;
    assert_eq!(g.try_call("fd_close", &[fd]), Err(Halt::OutOfFuel));
}

#[test]
fn truncating_needs_the_right_on_the_directory_alone() {
    let t = TempDir::new();
    t.file("file", "x");
    let mut g = full(&t);
    assert_eq!(g.call("fd_fdstat_get", &[3, OUT]), OK);
    let (base, inheriting) =
        (g.u64_at(OUT + 8), g.u64_at(OUT + 16) & !Rights::FD_FILESTAT_SET_SIZE.bits());
    assert_eq!(g.call("fd_fdstat_set_rights", &[3, base, inheriting]), OK);
    assert!(g.open_raw(3, 0, b"file", TRUNC, Rights::empty(), Rights::empty(), 0).is_ok());
    assert_eq!(t.read("file"), b"");
    let base = base & !Rights::PATH_FILESTAT_SET_SIZE.bits();
    assert_eq!(g.call("fd_fdstat_set_rights", &[3, base, inheriting]), OK);
    assert_eq!(
        g.open_raw(3, 0, b"file", TRUNC, Rights::empty(), Rights::empty(), 0),
        Err(e(Errno::NOTCAPABLE))
    );
}

#[test]
fn a_context_can_move_to_another_thread() {
    let ctx = quiet().build().unwrap();
    std::thread::spawn(move || drop(ctx)).join().unwrap();
}
