//! Contexts that answer alike, and clocks that are coarse.

mod common;

use std::time::Duration;

use common::*;
use palisade_wasi::{Caps, Errno, Halt, Preopen, Resource, Rights, Stdio};

const STEP: u64 = 1_000_000;
const EPOCH: u64 = 946_684_800_000_000_000;

fn time(g: &mut Guest, id: u64) -> u64 {
    assert_eq!(g.call("clock_time_get", &[id, 1, OUT]), OK);
    g.u64_at(OUT)
}

fn random(g: &mut Guest, len: u64) -> Vec<u8> {
    assert_eq!(g.call("random_get", &[DATA, len]), OK);
    g.get(DATA, len as usize)
}

#[test]
fn clocks_move_with_their_readings() {
    let mut g = Guest::new(quiet().deterministic(0));
    assert_eq!(time(&mut g, 0), EPOCH + STEP);
    assert_eq!(time(&mut g, 1), 1_000_000_000 + 2 * STEP);
    assert_eq!(time(&mut g, 2), 3 * STEP);
    for id in 0..4 {
        assert_eq!(g.call("clock_res_get", &[id, OUT]), OK);
        assert_eq!(g.u64_at(OUT), STEP);
    }
    // Coarse on top of it.
    let mut g = Guest::new(quiet().deterministic(0).clock_granularity(Duration::from_millis(10)));
    let times: Vec<u64> = (0..20).map(|_| time(&mut g, 1)).collect();
    assert!(times.iter().all(|t| t % (10 * STEP) == 0), "{times:?}");
    assert_eq!(times.last(), Some(&(1_000_000_000 + 20 * STEP)));
}

#[test]
fn waiting_takes_no_time_and_moves_the_clock() {
    let hour = 3_600_000_000_000;
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let mut g = Guest::new(quiet().deterministic(0).stdin(Stdio::Fd(reader)));
    g.sub_clock(0, 5, 1, hour, 0);
    g.sub_clock(1, 6, 1, 2 * hour, 0);
    // A test that waited for an hour would be noticed.
    assert_eq!(g.poll(2), Ok(vec![(5, 0, 0, 0, 0)]));
    assert_eq!(time(&mut g, 1), 1_000_000_000 + hour + STEP);
    g.sub_clock(0, 5, 0, EPOCH + 10 * hour, 1);
    assert_eq!(g.poll(1), Ok(vec![(5, 0, 0, 0, 0)]));
    assert!(time(&mut g, 0) >= EPOCH + 10 * hour);
    // A pipe is ready, whether it has something at this moment or not.
    g.sub_fd(0, 9, 1, 0);
    g.sub_clock(1, 6, 1, hour, 0);
    assert_eq!(g.poll(2), Ok(vec![(9, 0, 1, 1, 0)]));
    // The end of time comes, too.
    g.sub_clock(0, 5, 1, u64::MAX, 0);
    assert_eq!(g.poll(1), Ok(vec![(5, 0, 0, 0, 0)]));
}

#[test]
fn random_bytes_follow_from_the_seed() {
    let run = |seed| {
        let mut g = Guest::new(quiet().deterministic(seed));
        (random(&mut g, 100), random(&mut g, 7), random(&mut g, 100))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert_ne!(run(1).0, run(1).2);
    let mut shared = Guest::new(quiet().deterministic(1));
    shared.host.shared = true;
    assert_eq!(random(&mut shared, 100), run(1).0);
    // The capability is needed all the same.
    let mut g = Guest::new(quiet().deterministic(1).caps(Caps::CLOCK));
    assert_eq!(g.call("random_get", &[DATA, 8]), e(Errno::NOTCAPABLE));
}

#[test]
fn directories_are_sorted_and_files_tell_nothing_of_the_host() {
    let names = ["zebra", "a", "M", "b\u{fc}cher", "a.b", "aa"];
    let listing = |names: &mut dyn Iterator<Item = &str>| {
        let t = TempDir::new();
        t.dir("d");
        for name in names {
            t.file(&format!("d/{name}"), name);
        }
        t.dir("d/sub");
        let caps = Caps::ALL;
        let mut g =
            Guest::new(quiet().deterministic(0).caps(caps).preopen(Preopen::new(&t.0, "/")));
        let fd = g.open("d", DIRECTORY, Rights::all()).unwrap();
        let whole = g.list(fd, 4096);
        // In pieces, from any cookie, and again from the start: the same.
        assert_eq!(g.list(fd, 40), whole);
        let (from_two, _) = g.readdir(fd, 4096, 2);
        assert_eq!(from_two, whole[2..]);
        assert_eq!(g.readdir(fd, 4096, whole.len() as u64), (vec![], 0));
        assert_eq!(g.readdir(fd, 4096, u64::MAX), (vec![], 0));
        // A new entry is seen when reading starts again, and not before.
        t.file("d/0", "");
        assert_eq!(g.readdir(fd, 4096, 2).0, whole[2..]);
        assert_eq!(g.list(fd, 4096).len(), whole.len() + 1);
        let stats: Vec<Vec<u8>> = ["d", "d/a", "d/zebra", "d/sub", "."]
            .iter()
            .map(|p| g.stat(3, 0, p).unwrap())
            .collect();
        // A file made now is like a file made before.
        let new = g.open("d/new", CREAT, RW).unwrap();
        assert_eq!(g.call("fd_filestat_get", &[new, OUT]), OK);
        (whole, stats, g.get(OUT, 64))
    };
    let forwards = listing(&mut names.iter().copied());
    let backwards = listing(&mut names.iter().rev().copied());
    assert_eq!(forwards, backwards);
    let listed: Vec<&[u8]> = forwards.0.iter().map(|entry| entry.name.as_slice()).collect();
    assert!(listed.is_sorted() && listed.len() == names.len() + 3, "{listed:?}");
    for stat in &forwards.1 {
        let field = |at: usize| u64::from_le_bytes(stat[at..at + 8].try_into().unwrap());
        assert_eq!((field(40), field(48), field(56)), (EPOCH, EPOCH, EPOCH));
        assert!((1..100).contains(&field(8)), "a number of its own: {}", field(8));
    }
}

#[test]
fn sorting_is_charged_for_what_is_read() {
    let t = TempDir::new();
    for i in 0..100 {
        t.file(&format!("{i}"), "");
    }
    let mut g =
        Guest::new(quiet().deterministic(0).caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")));
    let before = g.host.spent;
    g.readdir(3, 1, 0);
    assert!(g.host.spent - before >= 152, "{}", g.host.spent - before);
}

#[test]
fn sorted_listings_are_in_the_ledger_for_as_long_as_they_are_kept() {
    let t = TempDir::new();
    t.dir("d");
    for i in 0..2000 {
        t.file(&format!("d/{i}"), "");
    }
    let guest =
        || Guest::new(quiet().deterministic(0).caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")));
    let mut g = guest();
    let used = |g: &Guest| g.used(Resource::HostBytes);
    let fds: Vec<u64> =
        (0..3).map(|_| g.open("d", DIRECTORY, Rights::all()).expect("it is there")).collect();
    let mut before = used(&g);
    for fd in &fds {
        g.readdir(*fd, 64, 0);
        // 2,002 entries with their names.
        let now = used(&g);
        assert!((150_000..400_000).contains(&(now - before)), "{}", now - before);
        before = now;
    }
    // Read anew: the same once more, not twice.
    g.readdir(fds[0], 64, 0);
    assert_eq!(used(&g), before);
    for fd in &fds {
        assert_eq!(g.call("fd_close", &[*fd]), OK);
    }
    // Numbers of files stay.
    assert!(used(&g) < 1000, "{}", used(&g));
    // Over the limit the guest ends, and nothing is kept.
    let mut g = guest();
    let fd = g.open("d", DIRECTORY, Rights::all()).expect("it is there");
    g.host.ledger.set_limit(Resource::HostBytes, Some(100_000));
    let ended = g.try_call("fd_readdir", &[fd, DATA, 64, 0, OUT]);
    assert!(matches!(ended, Err(Halt::Limit(r)) if r.what == Resource::HostBytes), "{ended:?}");
    assert!(used(&g) < 1000, "{}", used(&g));
    // Somebody may stop it between two blocks.
    let mut g = guest();
    let fd = g.open("d", DIRECTORY, Rights::all()).expect("it is there");
    g.host.looks.set(Some(3));
    let ended = g.try_call("fd_readdir", &[fd, DATA, 64, 0, OUT]);
    assert_eq!(ended, Err(Halt::Interrupted));
    assert!(g.used(Resource::EntriesRead) < 2002, "{}", g.used(Resource::EntriesRead));
}

#[test]
fn a_pipe_is_read_until_the_buffer_is_full_or_it_ends() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut g = Guest::new(quiet().deterministic(0).stdin(Stdio::Fd(reader)));
    const NONBLOCK: u64 = 4;
    assert_eq!(g.call("fd_fdstat_set_flags", &[0, NONBLOCK]), OK);
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        rustix::io::write(&writer, b"abc").unwrap();
        while rustix::io::ioctl_fionread(&writer).unwrap() > 0 {
            std::thread::yield_now();
        }
        rustix::io::write(&writer, b"defgh").unwrap();
        may_go_on.recv().unwrap();
        rustix::io::write(&writer, b"!").unwrap();
    });
    assert_eq!(g.read_fd(0, 6), Ok(b"abcdef".to_vec()));
    go_on.send(()).unwrap();
    assert_eq!(g.read_fd(0, 6), Ok(b"gh!".to_vec()));
    assert_eq!(g.read_fd(0, 6), Ok(vec![]));
    thread.join().unwrap();
}

#[test]
fn l5_no_clock_shows_less_than_its_resolution() {
    let grain = 2_000_000u64;
    let t = TempDir::new();
    let mut g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(&t.0, "/"))
            .clock_granularity(Duration::from_nanos(grain)),
    );
    for id in 0..4 {
        assert_eq!(g.call("clock_res_get", &[id, OUT]), OK);
        assert!(g.u64_at(OUT) >= grain);
        let first = time(&mut g, id);
        let mut seen = vec![first];
        // Until it has moved a few times; the clocks of processor time move since this loop works.
        while seen.len() < 5 {
            let now = time(&mut g, id);
            if Some(&now) != seen.last() {
                seen.push(now);
            }
        }
        assert!(seen.windows(2).all(|w| w[1] - w[0] >= grain), "clock {id}: {seen:?}");
        assert!(seen.iter().all(|t| t % grain == 0), "clock {id}: {seen:?}");
    }
    // Files: none of three times is finer.
    let fd = g.open("file", CREAT, RW).unwrap();
    for _ in 0..3 {
        assert_eq!(g.write_fd(fd, b"x"), Ok(1));
        assert_eq!(g.call("fd_filestat_get", &[fd, OUT]), OK);
        for at in [40, 48, 56] {
            assert_eq!(g.u64_at(OUT + at) % grain, 0);
        }
    }
}

#[test]
fn l5_waiting_is_no_finer_clock() {
    let grain = Duration::from_millis(5);
    let mut g = Guest::new(quiet().clock_granularity(grain));
    // However short the wait, it ends where the coarse clock changes; so between the ends of two lies a whole grain.
    let mut ends = Vec::new();
    for timeout in [1, 1, 1_000, 500_000, 1] {
        g.sub_clock(0, 5, 1, timeout, 0);
        let before = time(&mut g, 1);
        assert_eq!(g.poll(1), Ok(vec![(5, 0, 0, 0, 0)]));
        let after = time(&mut g, 1);
        assert!(after > before, "a wait of {timeout} ns was not seen: {before} {after}");
        ends.push(std::time::Instant::now());
    }
    // The first wait may be short: it ends with the grain that it began in. Ends of others are late, never early.
    let all = *ends.last().unwrap() - ends[0];
    assert!(all >= grain * 4 - grain, "{all:?}");
    // Moments of both clocks are rounded up as well.
    for id in [0, 1] {
        let moment = time(&mut g, id) + 1;
        g.sub_clock(0, 5, id as u32, moment, 1);
        assert_eq!(g.poll(1), Ok(vec![(5, 0, 0, 0, 0)]));
        assert!(time(&mut g, id) > moment - 1);
    }
    // What does not wait does not wait.
    g.sub_clock(0, 5, 1, 0, 0);
    assert_eq!(g.poll(1), Ok(vec![(5, 0, 0, 0, 0)]));
}

#[test]
fn fuel_does_not_tell_how_deep_a_directory_lies_on_the_host() {
    let spent = |path: &str| {
        let t = TempDir::new();
        t.dir(&format!("{path}weak"));
        t.dir("strong");
        t.file(&format!("{path}weak/file"), "x");
        let weak =
            Preopen::new(t.join(format!("{path}weak")), "weak").caps(Caps::READ | Caps::PATH);
        let strong = Preopen::new(t.join("strong"), "strong");
        let mut g =
            Guest::new(quiet().deterministic(0).caps(Caps::ALL).preopen(weak).preopen(strong));
        assert_eq!(g.two_paths("path_rename", 3, "file", 3, "new"), OK);
        g.host.spent
    };
    assert_eq!(spent(""), spent("a/b/c/d/e/f/"));
}
