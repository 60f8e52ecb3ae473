//! Hostile rows H1 to H6, L2 and L4: whatever numbers the guest passes, what it gets to see, and what it pays.

mod common;

use common::calls::*;
use common::*;
use palisade_wasi::{
    Caps, Errno, FUNCTIONS, FunctionInfo, GuestMemory, Halt, Ledger, Preopen, Resource, Rights,
    Stdio, WasiHost,
};

const END: u64 = MEMORY as u64;

#[test]
fn h1_every_pointer_of_every_call_may_be_anything() {
    let t = TempDir::new();
    t.dir("empt");
    let mut tried = 0;
    for f in FUNCTIONS {
        let (args, pointers) = valid(f);
        assert_eq!(args.len(), f.params.len(), "{}", f.name);
        let named = |p: &&&str| {
            ["out", "buf", "argv", "environ", "iovs", "path", "subscriptions", "events"]
                .iter()
                .any(|n| p.ends_with(n))
        };
        assert_eq!(f.param_names.iter().filter(named).count(), pointers.len(), "{}", f.name);
        for (index, len) in &pointers {
            let wraps = (0x1_0000_0000 - len + 1).min(0xffff_ffff);
            for bad in [END, END - len + 1, END + 1, 0xffff_ffff, wraps, 0x8000_0000] {
                let (mut g, _peers) = stage(&t);
                prepare(&mut g, f);
                let mut args = args.clone();
                args[*index] = bad;
                let before = g.get(0, MEMORY);
                assert_eq!(
                    g.call(f.name, &args),
                    e(Errno::FAULT),
                    "{} argument {index} = {bad:#x}",
                    f.name
                );
                assert!(
                    g.get(0, MEMORY) == before,
                    "{}: nothing is written before a fault",
                    f.name
                );
                tried += 1;
            }
            // Good for exactly what is needed, at the very end, at no aligned address, at 0, and on top of every
            // other pointer: an answer, whatever it is.
            let mut others: Vec<u64> = pointers.iter().map(|(i, _)| args[*i]).collect();
            others.extend([END - len, 0, 1, 3, OUT + 1, IOVS, IOVS + 4, DATA]);
            for any in others {
                let (mut g, _peers) = stage(&t);
                prepare(&mut g, f);
                let mut args = args.clone();
                args[*index] = any;
                match g.try_call(f.name, &args) {
                    Ok(errno) => assert!(
                        Errno::from_code(errno).is_some() && errno != e(Errno::FAULT),
                        "{}",
                        f.name
                    ),
                    Err(halt) => assert!(matches!(halt, Halt::Exit(_)), "{}: {halt}", f.name),
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn h1_a_buffer_may_be_the_list_of_buffers_itself() {
    let t = TempDir::new();
    let (mut g, _peers) = stage(&t);
    // The list was copied in before the first byte was read over it.
    let (i, n) = g.iov(&[(IOVS, 8), (IOVS + 8, 8)]);
    assert_eq!(g.call("fd_read", &[6, i, n, OUT]), OK);
    assert_eq!(g.u32_at(OUT), 8);
    assert_eq!(g.get(IOVS, 8), b"contents");
    // The count on top of the data: data first, count last.
    let (i, n) = g.iov(&[(DATA, 8)]);
    assert_eq!(g.call("fd_pread", &[6, i, n, 0, DATA]), OK);
    assert_eq!(g.get(DATA, 8), b"\x08\0\0\0ents");
    // Twice the same buffer.
    let (i, n) = g.iov(&[(DATA, 4), (DATA, 4)]);
    assert_eq!(g.call("fd_pread", &[6, i, n, 0, OUT]), OK);
    assert_eq!(g.get(DATA, 4), b"ents");
}

#[test]
fn h2_lists_of_buffers_are_bounded() {
    let t = TempDir::new();
    for shared in [false, true] {
        let (mut g, _peers) = stage(&t);
        g.host.shared = shared;
        for name in ["fd_read", "fd_write"] {
            for count in [1025, 1 << 16, 1 << 27, 0xffff_ffff] {
                assert_eq!(g.call(name, &[6, IOVS, count, OUT]), e(Errno::INVAL), "{name} {count}");
            }
            assert_eq!(g.call(name, &[6, IOVS, 0, OUT]), OK);
            // Nothing at a wild place is nothing.
            let (i, n) = g.iov(&[(0xffff_ffff, 0), (END, 0), (DATA, 0)]);
            assert_eq!(g.call(name, &[6, i, n, OUT]), OK);
            assert_eq!(g.u32_at(OUT), 0);
            let (i, n) = g.iov(&[(DATA, 1), (END - 1, 2)]);
            assert_eq!(g.call(name, &[6, i, n, OUT]), e(Errno::FAULT));
            let (i, n) = g.iov(&[(0, 0xffff_ffff)]);
            assert_eq!(g.call(name, &[6, i, n, OUT]), e(Errno::FAULT));
            // Each fits, all together overflow.
            let list = vec![(0, END); 1024];
            let many: Vec<(u64, u64)> = list.iter().chain(&list).copied().take(1024).collect();
            let total: u64 = many.iter().map(|b| b.1).sum();
            assert!(total <= u64::from(u32::MAX));
            let (i, n) = g.iov(&[(0, 0x8000_0000), (0, 0x8000_0000)]);
            assert!([e(Errno::INVAL), e(Errno::FAULT)].contains(&g.call(name, &[6, i, n, OUT])));
        }
        // The largest number of buffers works, one byte each.
        let list: Vec<(u64, u64)> = (0..1024).map(|i| (DATA + i, 1)).collect();
        let pattern: Vec<u8> = (0..1024u32).map(|i| i as u8).collect();
        g.put(DATA, &pattern);
        let (i, n) = g.iov(&list);
        assert_eq!(g.call("fd_pwrite", &[6, i, n, 0, OUT]), OK);
        assert_eq!(g.u32_at(OUT), 1024);
        g.put(DATA, &[0; 1024]);
        assert_eq!(g.call("fd_pread", &[6, i, n, 0, OUT]), OK);
        assert_eq!(g.get(DATA, 1024), pattern);
        assert_eq!(t.read("file")[..1024], pattern);
    }
}

#[test]
fn h3_without_a_memory_every_address_faults() {
    let t = TempDir::new();
    for f in FUNCTIONS {
        let (mut g, _peers) = stage(&t);
        g.host.memory = None;
        let (args, pointers) = valid(f);
        match g.try_call(f.name, &args) {
            Ok(errno) if pointers.is_empty() => assert_eq!(errno, OK, "{}", f.name),
            Ok(errno) => assert_eq!(errno, e(Errno::FAULT), "{}", f.name),
            Err(halt) => assert_eq!((f.name, halt), ("proc_exit", Halt::Exit(0))),
        }
    }
}

#[test]
fn h3_a_wrong_number_of_arguments_is_the_embedders_mistake() {
    let t = TempDir::new();
    let (mut g, _peers) = stage(&t);
    for f in FUNCTIONS {
        for args in [vec![0; f.params.len() + 1], vec![0; f.params.len().saturating_sub(1)]] {
            if args.len() != f.params.len() {
                assert!(matches!(g.try_call(f.name, &args), Err(Halt::Internal(_))), "{}", f.name);
            }
        }
    }
}

/// A memory that is shared with a thread that changes every byte as soon as it was read: whoever reads a byte a second
/// time gets something else, and is noticed.
struct Changing {
    bytes: Vec<u8>,
    read: std::cell::RefCell<Vec<std::ops::Range<u64>>>,
}

impl GuestMemory for Changing {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let range = addr..addr + buf.iter().len() as u64;
        let mut seen = self.read.borrow_mut();
        assert!(
            !seen.iter().any(|r| r.start < range.end && range.start < r.end),
            "{range:?} was read twice"
        );
        seen.push(range);
        GuestMemory::read(&self.bytes, addr, buf)
    }
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        GuestMemory::write(&mut self.bytes, addr, data)
    }
    fn slice(&self, _: u64, _: u64) -> Option<Result<&[u8], Errno>> {
        None
    }
    fn slice_mut(&mut self, _: u64, _: u64) -> Option<Result<&mut [u8], Errno>> {
        None
    }
}

struct ChangingHost(Changing, Ledger);

impl WasiHost for ChangingHost {
    fn memory(&mut self) -> Option<&mut dyn GuestMemory> {
        Some(&mut self.0)
    }
    fn charge_fuel(&mut self, _: u64) -> Result<(), Halt> {
        Ok(())
    }
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.1
    }
}

#[test]
fn h5_what_is_passed_by_address_is_read_once() {
    let t = TempDir::new();
    t.dir("empt");
    for f in FUNCTIONS {
        let (mut g, _peers) = stage(&t);
        prepare(&mut g, f);
        let (args, _) = valid(f);
        let changing = Changing { bytes: g.get(0, MEMORY), read: Default::default() };
        let mut host = ChangingHost(changing, g.host.ledger.clone());
        match palisade_wasi::call(&mut g.ctx, &mut host, f.func, &args) {
            Ok(errno) => assert_eq!(errno, OK, "{}", f.name),
            Err(halt) => assert_eq!(halt, Halt::Exit(0)),
        }
    }
}

#[test]
fn h6_every_flag_and_number_that_means_nothing_is_an_error() {
    // Function, argument, values that are invalid.
    let bits = |valid: u64, width: u32| -> Vec<u64> {
        (0..width).map(|b| 1u64 << b).filter(|b| b & valid == 0).chain([0xffff_ffff]).collect()
    };
    let rows: Vec<(&str, usize, Vec<u64>)> = vec![
        ("clock_res_get", 0, vec![4, 5, 0x8000_0000, 0xffff_ffff]),
        ("clock_time_get", 0, vec![4, 5, 0x8000_0000, 0xffff_ffff]),
        ("fd_advise", 3, vec![6, 7, 256, 0xffff_ffff]),
        ("fd_seek", 2, vec![3, 4, 256, 0xffff_ffff]),
        ("fd_fdstat_set_flags", 1, bits(0b11111, 32)),
        ("fd_fdstat_set_rights", 1, vec![1 << 30, 1 << 63, u64::MAX]),
        ("fd_fdstat_set_rights", 2, vec![1 << 30, 1 << 63, u64::MAX]),
        ("fd_filestat_set_times", 3, bits(0b1111, 32).into_iter().chain([3, 12, 15]).collect()),
        ("path_filestat_get", 1, bits(1, 32)),
        ("path_filestat_set_times", 1, bits(1, 32)),
        ("path_filestat_set_times", 6, bits(0b1111, 32).into_iter().chain([3, 12, 15]).collect()),
        ("path_link", 1, bits(0, 32)),
        ("path_open", 1, bits(1, 32)),
        (
            "path_open",
            4,
            bits(0b1111, 32).into_iter().chain([DIRECTORY | CREAT, DIRECTORY | TRUNC]).collect(),
        ),
        ("path_open", 5, vec![1 << 30, 1 << 63, u64::MAX]),
        ("path_open", 6, vec![1 << 30, 1 << 63, u64::MAX]),
        ("path_open", 7, bits(0b11111, 32)),
        ("poll_oneoff", 2, vec![0, 4097, 1_000_000, 0xffff_ffff]),
        ("proc_raise", 0, vec![31, 32, 64, 0xffff_ffff]),
        ("sock_accept", 1, bits(4, 32)),
        ("sock_recv", 3, bits(3, 32)),
        ("sock_send", 3, bits(0, 32)),
        ("sock_shutdown", 1, bits(3, 32).into_iter().chain([0]).collect()),
    ];
    let t = TempDir::new();
    let (mut g, _peers) = stage(&t);
    for (name, index, values) in rows {
        let f = FUNCTIONS.iter().find(|f| f.name == name).unwrap();
        for value in values {
            let (mut args, _) = valid(f);
            args[index] = value;
            assert_eq!(
                g.call(name, &args),
                e(Errno::INVAL),
                "{name} argument {index} = {value:#x}"
            );
        }
    }
    // Within a subscription: its kind is an error of the call, the rest is an error of its event.
    for kind in [3u8, 4, 255] {
        g.sub_fd(0, 9, kind, 6);
        assert_eq!(g.poll(1), Err(e(Errno::INVAL)));
    }
    for (id, flags, errno) in
        [(2, 0, Errno::NOTSUP), (3, 0, Errno::NOTSUP), (4, 0, Errno::INVAL), (0, 2, Errno::INVAL)]
    {
        g.sub_clock(0, 9, id, 0, flags);
        assert_eq!(g.poll(1), Ok(vec![(9, e(errno) as u16, 0, 0, 0)]));
    }
    // The upper half of a cell that holds an i32 means nothing.
    assert_eq!(g.call("fd_tell", &[6 | 0xdead_0000_0000, OUT | 0xbeef_0000_0000]), OK);
}

#[test]
fn l2_padding_is_zero_and_nothing_else_is_touched() {
    let t = TempDir::new();
    let (mut g, _peers) = stage(&t);
    // Call, place of its pointer, size, bytes that are padding.
    let rows: [(&str, Vec<u64>, usize, Vec<usize>); 5] = [
        ("fd_fdstat_get", vec![6, DATA], 24, vec![1, 4, 5, 6, 7]),
        ("fd_filestat_get", vec![6, DATA], 64, (17..24).collect()),
        ("path_filestat_get", vec![3, 1, PATH1, 4, DATA], 64, (17..24).collect()),
        ("fd_prestat_get", vec![3, DATA], 8, vec![1, 2, 3]),
        (
            "poll_oneoff",
            vec![SUBS, DATA, 1, OUT],
            32,
            vec![11, 12, 13, 14, 15, 26, 27, 28, 29, 30, 31],
        ),
    ];
    for (name, args, size, padding) in rows {
        g.put(DATA, &[0xAA; 256]);
        assert_eq!(g.call(name, &args), OK, "{name}");
        let bytes = g.get(DATA, 256);
        for p in padding {
            assert_eq!(bytes[p], 0, "{name} byte {p}");
        }
        assert!(bytes[size..].iter().all(|b| *b == 0xAA), "{name} wrote too much");
    }
    g.put(DATA, &[0xAA; 4096]);
    let (entries, used) = g.readdir(3, 4096, 0);
    assert!(entries.len() >= 6, "padding is looked at in there");
    assert!(g.get(DATA + used, 4096 - used as usize).iter().all(|b| *b == 0xAA));
    // Two results of the same call are the same to the last byte.
    let twice: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            g.put(DATA, &[0x55; 64]);
            g.call("fd_filestat_get", &[6, DATA]);
            g.get(DATA, 64)
        })
        .collect();
    assert_eq!(twice[0], twice[1]);
}

#[test]
fn l4_the_hosts_identities_are_hidden_but_consistent() {
    use std::os::unix::fs::MetadataExt;
    let t = TempDir::new();
    t.file("file", "x");
    std::fs::hard_link(t.join("file"), t.join("same")).unwrap();
    t.file("other", "x");
    let real = std::fs::metadata(t.join("file")).unwrap();
    let ids = |g: &mut Guest, p: &str| {
        let s = g.stat(3, 1, p).unwrap();
        (
            u64::from_le_bytes(s[..8].try_into().unwrap()),
            u64::from_le_bytes(s[8..16].try_into().unwrap()),
        )
    };
    let mut a = full(&t);
    let mut b = full(&t);
    assert_eq!(ids(&mut a, "file"), ids(&mut a, "same"));
    assert_ne!(ids(&mut a, "file").1, ids(&mut a, "other").1);
    assert_eq!(ids(&mut a, "file").0, ids(&mut a, "other").0, "the same device");
    assert_ne!(ids(&mut a, "file").0, real.dev());
    assert_ne!(ids(&mut a, "file").1, real.ino());
    assert_ne!(ids(&mut a, "file"), ids(&mut b, "file"), "each context has its own key");
    // Listing and looking agree, and what is above the grant does not show.
    let list = a.list(3, 4096);
    let ino = |n: &[u8]| list.iter().find(|x| x.name == n).unwrap().ino;
    for name in ["file", "same", "other", "."] {
        assert_eq!(ino(name.as_bytes()), ids(&mut a, name).1, "{name}");
    }
    assert_eq!(ino(b".."), ino(b"."));
    // How many links there are is for those who can make some.
    assert_eq!(a.stat(3, 1, "file").unwrap()[24], 2);
    let mut c = Guest::new(quiet().caps(Caps::READ).preopen(Preopen::new(&t.0, "/")));
    assert_eq!(c.stat(3, 1, "file").unwrap()[24], 1);
    let mut raw =
        Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")).raw_identities());
    assert_eq!(ids(&mut raw, "file"), (real.dev(), real.ino()));
}

#[test]
fn l4_the_environment_is_withheld_without_an_error() {
    let env = |g: &mut Guest| {
        assert_eq!(g.call("environ_sizes_get", &[OUT, OUT2]), OK);
        let (count, size) = (g.u32_at(OUT), g.u32_at(OUT2));
        assert_eq!(g.call("environ_get", &[OUT2, DATA]), OK);
        (count, String::from_utf8_lossy(&g.get(DATA, size as usize)).into_owned())
    };
    let builder = || quiet().inherit_env().env("GIVEN", "yes");
    let (mut g, log) = audited(builder());
    assert_eq!(env(&mut g), (1, "GIVEN=yes\0".to_owned()));
    assert_eq!(log.lock().unwrap()[0].switch, Some("--allow-env"));
    let mut g = Guest::new(builder().allow(Caps::ENV));
    let (count, text) = env(&mut g);
    assert_eq!(count as usize, std::env::vars_os().filter(|(k, _)| k != "GIVEN").count() + 1);
    assert!(text.contains("GIVEN=yes\0"));
}

#[test]
fn l3_what_is_said_names_no_path_of_the_host() {
    let t = TempDir::new();
    t.file("file", "x");
    let (mut g, log) =
        audited(quiet().caps(Caps::READ).stdin(Stdio::Null).preopen(Preopen::new(&t.0, "data")));
    g.open("../escape", 0, Rights::FD_READ).unwrap_err();
    g.open("file\x1b[31m", CREAT, RW).unwrap_err();
    g.open("file", 0, Rights::FD_READ).unwrap();
    let host = t.0.to_str().unwrap();
    for event in log.lock().unwrap().iter() {
        let said = event.to_string();
        assert!(!said.contains(host) && !said.contains('\x1b'), "{said}");
    }
    assert!(!format!("{:?}", g.ctx).contains(host));
    let said: Vec<String> = log.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(said[0], "denied path_open \"../escape\" in \"data\": leaves the granted directory");
    assert!(said[1].ends_with("allow it with --allow-write"), "{}", said[1]);
    assert_eq!(said[2], "allowed path_open \"file\" in \"data\"");
}

/// What a call of [`valid`] costs beside the call itself: bytes that are copied or produced, piece by piece, and
/// entries or subscriptions.
fn moved(f: &FunctionInfo) -> (&'static [u64], u64) {
    match f.name {
        "args_get" => (&[8 + 17], 0),
        "environ_get" => (&[4 + 10], 0),
        "fd_allocate" => (&[1], 0),
        // The list of buffers, then what is in them.
        "fd_pread" | "fd_pwrite" | "fd_read" | "fd_write" | "sock_send" => (&[16, 8], 0),
        // A stream gives one buffer at a time.
        "sock_recv" => (&[16, 5], 0),
        "fd_prestat_dir_name" => (&[1], 0),
        "path_create_directory"
        | "path_filestat_get"
        | "path_filestat_set_times"
        | "path_open"
        | "path_remove_directory" => (&[4], 0),
        "path_unlink_file" => (&[3], 0),
        "path_link" | "path_rename" | "path_symlink" | "path_readlink" => (&[4, 4], 0),
        "poll_oneoff" => (&[48, 32], 1),
        "random_get" => (&[16], 0),
        _ => (&[], 0),
    }
}

#[test]
fn every_call_costs_50_and_what_it_copies_produces_and_lists() {
    let t = TempDir::new();
    t.dir("empt");
    for f in FUNCTIONS {
        let fresh = || {
            let (mut g, peers) = stage(&t);
            prepare(&mut g, f);
            (g.host.spent, g.host.fuel) = (0, 1 << 40);
            (g, peers)
        };
        let (mut args, _) = valid(f);
        let (pieces, things) = moved(f);
        let (mut g, _peers) = fresh();
        let mut cost = 50 + things + pieces.iter().map(|bytes| bytes.div_ceil(64)).sum::<u64>();
        let mut copied: u64 = pieces.iter().sum();
        let mut entries = 0;
        if f.name == "fd_readdir" {
            args[2] = 4096;
            let names =
                std::fs::read_dir(&t.0).unwrap().map(|e| e.unwrap().file_name().len() as u64);
            let sizes: Vec<u64> = names.chain([1, 2]).map(|name| 24 + name).collect();
            (entries, copied) = (sizes.len() as u64, sizes.iter().sum());
            cost += 2 * entries;
        }
        copied += g.used(Resource::CopiedBytes);
        match g.try_call(f.name, &args) {
            Ok(errno) => assert_eq!(errno, OK, "{}", f.name),
            Err(halt) => assert_eq!(halt, Halt::Exit(0)),
        }
        assert_eq!(g.host.spent, cost, "{}", f.name);
        assert_eq!(g.used(Resource::CopiedBytes), copied, "{}", f.name);
        assert_eq!(g.used(Resource::EntriesRead), entries, "{}", f.name);
        // With less than that, the guest ends, wherever it is by then, and has spent all that there was.
        let _ = std::fs::remove_dir(t.join("made"));
        for fuel in [0, 49, 50, cost - 1].into_iter().filter(|fuel| *fuel < cost) {
            let (mut g, _peers) = fresh();
            t.dir("empt");
            g.host.fuel = fuel;
            assert_eq!(g.try_call(f.name, &args), Err(Halt::OutOfFuel), "{} with {fuel}", f.name);
            assert_eq!(g.host.fuel, 0);
            let _ = std::fs::remove_dir(t.join("made"));
        }
        t.dir("empt");
    }
}

#[test]
fn calls_that_fail_cost_what_they_had_done_by_then() {
    let t = TempDir::new();
    t.dir("empt");
    let (mut g, _peers) = stage(&t);
    let bad_buffers = DATA + 4096;
    g.put(bad_buffers, &[DATA as u32, 8, 0xffff_fff0, 64].map(u32::to_le_bytes).concat());
    let long = g.put(PATH1, "n/".repeat(100).as_bytes()).1;
    let unknown = SUBS + 4800;
    g.put(unknown + 8, &[9]);
    let cases: &[(&str, &[u64], Errno, u64)] = &[
        ("fd_read", &[99, IOVS, 2, OUT], Errno::BADF, 0),
        ("fd_read", &[6, bad_buffers, 2, OUT], Errno::FAULT, 1),
        ("fd_write", &[6, bad_buffers, 2, OUT], Errno::FAULT, 1),
        ("fd_write", &[6, IOVS, 1025, OUT], Errno::INVAL, 0),
        ("path_open", &[3, 1, PATH1, long, 0, 2, 0, 0, OUT], Errno::NOENT, long.div_ceil(64)),
        ("path_open", &[3, 1, PATH1, 5000, 0, 2, 0, 0, OUT], Errno::NAMETOOLONG, 0),
        ("path_rename", &[3, PATH1, long, 3, PATH2, 4], Errno::NOENT, long.div_ceil(64) + 1),
        ("poll_oneoff", &[unknown, EVENTS, 1, OUT], Errno::INVAL, 2),
        ("poll_oneoff", &[SUBS, EVENTS, 5000, OUT], Errno::INVAL, 0),
        ("random_get", &[END - 8, 16], Errno::FAULT, 0),
        ("fd_readdir", &[6, DATA, 200, 0, OUT], Errno::NOTDIR, 0),
        ("fd_prestat_dir_name", &[3, OUT, 0], Errno::NAMETOOLONG, 0),
    ];
    for (name, args, errno, units) in cases {
        g.host.spent = 0;
        assert_eq!(g.call(name, args), e(*errno), "{name}");
        assert_eq!(g.host.spent, 50 + units, "{name} with {errno:?}");
    }
}
