//! Hostile rows F1 to F16: whatever a guest does with paths, it stays beneath its grant and does no more there than
//! it was granted.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use palisade_wasi::{Caps, Denial, Errno, Preopen, Rights};

const NOTCAPABLE: i32 = 76;

/// Every call that takes a path, on one path; for those with two, the other one is `other`.
fn all_path_calls(g: &mut Guest, fd: u64, path: &[u8]) -> Vec<(&'static str, i32)> {
    let mut out = Vec::new();
    for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
        out.push((name, g.on_path(name, fd, path, &[])));
    }
    for follow in [0, 1] {
        let (p, l) = g.put(PATH1, path);
        out.push(("path_filestat_get", g.call("path_filestat_get", &[fd, follow, p, l, OUT])));
        out.push((
            "path_filestat_set_times",
            g.call("path_filestat_set_times", &[fd, follow, p, l, 1, 1, 5]),
        ));
        for oflags in [0, CREAT, DIRECTORY] {
            let opened = g.open_raw(fd, follow, path, oflags, Rights::empty(), Rights::empty(), 0);
            if let Ok(new) = opened {
                g.call("fd_close", &[new]);
            }
            out.push(("path_open", opened.err().unwrap_or(0)));
        }
    }
    out.push(("path_readlink", g.on_path("path_readlink", fd, path, &[DATA, 100, OUT])));
    let (p, l) = g.put(PATH1, path);
    let (q, m) = g.put(PATH2, b"other");
    out.push(("path_rename", g.call("path_rename", &[fd, p, l, fd, q, m])));
    out.push(("path_rename", g.call("path_rename", &[fd, q, m, fd, p, l])));
    out.push(("path_link", g.call("path_link", &[fd, 0, p, l, fd, q, m])));
    out.push(("path_link", g.call("path_link", &[fd, 0, q, m, fd, p, l])));
    out.push(("path_symlink", g.call("path_symlink", &[q, m, fd, p, l])));
    out
}

#[test]
fn f1_lexical_paths_are_refused_or_stay_within() {
    let t = TempDir::new();
    t.dir("root/a/b");
    t.file("outside", "secret");
    t.file("root/other", "x");
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("root"), "/")));
    let escapes: [&[u8]; 8] = [
        b"/outside",
        b"/",
        b"//",
        b"../outside",
        b"a/../../outside",
        b"..",
        b"a/b/../../../outside",
        b"./../outside",
    ];
    for path in escapes {
        for (name, errno) in all_path_calls(&mut g, 3, path) {
            assert_eq!(errno, NOTCAPABLE, "{name} {}", String::from_utf8_lossy(path));
        }
    }
    let long = vec![b'a'; 4097];
    let component = vec![b'a'; 256];
    let bad: [(&[u8], Errno); 5] = [
        (b"", Errno::NOENT),
        (b"a\0b", Errno::INVAL),
        (b"\xff\xfe", Errno::ILSEQ),
        (&long, Errno::NAMETOOLONG),
        (&component, Errno::NAMETOOLONG),
    ];
    for (path, errno) in bad {
        for (name, got) in all_path_calls(&mut g, 3, path) {
            assert_eq!(got, e(errno), "{name} {} bytes", path.len());
        }
    }
    for within in ["a/..", "a/../a/b", "a//b", "./a/./b", ".", "a/b/../../a/b/.."] {
        assert!(g.stat(3, 0, within).is_ok(), "{within}");
    }
    assert_eq!(t.read("outside"), b"secret");
}

#[test]
fn f1_a_directory_handle_is_a_root_of_its_own() {
    let t = TempDir::new();
    t.dir("a/b");
    t.file("f", "x");
    let mut g = full(&t);
    let a = g.open("a", DIRECTORY, Rights::all()).unwrap();
    assert!(g.stat(a, 0, "b/..").is_ok());
    assert_eq!(g.stat(a, 0, "../f"), Err(NOTCAPABLE));
    assert_eq!(g.stat(a, 0, "b/../../f"), Err(NOTCAPABLE));
}

#[test]
fn f2_links_that_lead_out_are_never_followed() {
    let t = TempDir::new();
    t.dir("outside");
    t.file("outside/secret", "secret");
    t.dir("root/in");
    t.file("root/in/file", "inside");
    t.file("root/other", "x");
    let outside = t.join("outside");
    t.link("../outside/secret", "root/rel");
    t.link(outside.join("secret").to_str().unwrap(), "root/abs");
    t.link("rel", "root/chain");
    t.link("loop", "root/loop");
    t.link("../outside", "root/dir");
    t.link(outside.to_str().unwrap(), "root/absdir");
    t.link("../root/in", "root/outandin");
    t.link("in/file", "root/fine");
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("root"), "/")));

    for through in ["dir/secret", "absdir/secret", "outandin/file", "dir/new"] {
        for (name, errno) in all_path_calls(&mut g, 3, through.as_bytes()) {
            assert_eq!(errno, NOTCAPABLE, "{name} {through}");
        }
    }
    for last in ["rel", "abs", "chain", "dir", "absdir", "outandin"] {
        for oflags in [0, CREAT, TRUNC, DIRECTORY] {
            assert_eq!(g.open(last, oflags, RW), Err(NOTCAPABLE), "open {last} {oflags}");
        }
        assert_eq!(g.stat(3, 1, last), Err(NOTCAPABLE), "stat {last}");
        let (p, l) = g.put(PATH1, last.as_bytes());
        assert_eq!(g.call("path_filestat_set_times", &[3, 1, p, l, 1, 1, 5]), NOTCAPABLE);
        // Not followed, a link is an object like any other.
        assert_eq!(g.stat(3, 0, last).map(|s| s[16]), Ok(7), "{last}");
        assert_eq!(g.open_raw(3, 0, last.as_bytes(), 0, RW, RW, 0), Err(e(Errno::LOOP)));
        assert_eq!(
            g.open_raw(3, 1, last.as_bytes(), CREAT | EXCL, RW, RW, 0),
            Err(e(Errno::EXIST))
        );
    }
    assert_eq!(g.open("loop", 0, RW), Err(e(Errno::LOOP)));
    assert_eq!(g.stat(3, 1, "loop"), Err(e(Errno::LOOP)));
    let fd = g.open("fine", 0, RW).unwrap();
    assert_eq!(g.read_fd(fd, 10), Ok(b"inside".to_vec()));
    // Changing the link itself leaves the target alone.
    assert_eq!(g.two_paths("path_rename", 3, "rel", 3, "rel2"), OK);
    assert_eq!(g.two_paths("path_link", 3, "rel2", 3, "rel3"), OK);
    assert_eq!(g.on_path("path_unlink_file", 3, b"rel2", &[]), OK);
    assert_eq!(g.on_path("path_remove_directory", 3, b"dir", &[]), e(Errno::NOTDIR));
    assert_eq!(t.read("outside/secret"), b"secret");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn f3_links_made_by_the_guest_lead_nowhere_either() {
    let t = TempDir::new();
    t.file("secret", "secret");
    t.dir("root/sub/deep");
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("root"), "/")));
    assert_eq!(g.symlink("/etc/passwd", 3, "abs"), NOTCAPABLE);
    assert_eq!(g.symlink("", 3, "empty"), e(Errno::NOENT));
    assert_eq!(g.symlink(&"a".repeat(4096), 3, "long"), e(Errno::NAMETOOLONG));
    let (p, _) = g.put(PATH1, b"x");
    let (q, m) = g.put(PATH2, b"huge");
    assert_eq!(g.call("path_symlink", &[p, 65_536, 3, q, m]), e(Errno::NAMETOOLONG));
    // Within where it is made, but not where it is moved to.
    assert_eq!(g.symlink("../secret", 3, "sub/link"), OK);
    assert_eq!(g.open("sub/link", 0, RW), Err(e(Errno::NOENT)));
    assert_eq!(g.two_paths("path_rename", 3, "sub/link", 3, "link"), OK);
    assert_eq!(g.open("link", 0, RW), Err(NOTCAPABLE));
    assert_eq!(g.open("link", CREAT | TRUNC, RW), Err(NOTCAPABLE));
    assert_eq!(g.symlink("../../..", 3, "sub/up"), OK);
    assert_eq!(g.open("sub/up/secret", 0, RW), Err(NOTCAPABLE));
    assert_eq!(g.symlink("missing", 3, "dangling"), OK);
    assert_eq!(g.open("dangling", 0, RW), Err(e(Errno::NOENT)));
    assert_eq!(g.symlink("sub/", 3, "slash"), OK);
    assert!(g.open("slash", DIRECTORY, Rights::FD_READDIR).is_ok());
    assert_eq!(t.read("secret"), b"secret");
}

#[test]
fn f4_a_trailing_slash_never_follows_a_link() {
    let t = TempDir::new();
    t.dir("root/dir");
    t.dir("outside");
    t.file("root/file", "x");
    t.link("dir", "root/todir");
    t.link("file", "root/tofile");
    t.link("../outside", "root/out");
    t.link("nowhere", "root/dangling");
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("root"), "/")));
    let notdir = e(Errno::NOTDIR);
    for link in ["todir/", "tofile/", "out/", "dangling/", "todir//"] {
        let before =
            t.join("root").join(link.trim_end_matches('/')).symlink_metadata().unwrap().ino();
        assert_eq!(g.stat(3, 0, link), Err(notdir), "stat {link}");
        assert_eq!(g.open_raw(3, 0, link.as_bytes(), 0, RW, RW, 0), Err(notdir), "open {link}");
        assert_eq!(g.on_path("path_readlink", 3, link.as_bytes(), &[DATA, 100, OUT]), notdir);
        assert_eq!(g.on_path("path_unlink_file", 3, link.as_bytes(), &[]), notdir);
        assert_eq!(g.on_path("path_remove_directory", 3, link.as_bytes(), &[]), notdir);
        assert_eq!(g.on_path("path_create_directory", 3, link.as_bytes(), &[]), e(Errno::EXIST));
        let (p, l) = g.put(PATH1, link.as_bytes());
        assert_eq!(g.call("path_filestat_set_times", &[3, 0, p, l, 1, 1, 5]), notdir);
        assert_eq!(g.two_paths("path_rename", 3, link, 3, "new"), notdir);
        assert_eq!(g.two_paths("path_rename", 3, "dir", 3, link), notdir);
        assert_eq!(g.two_paths("path_rename", 3, "file", 3, link), notdir);
        assert_eq!(g.two_paths("path_link", 3, link, 3, "new"), notdir);
        assert_eq!(g.two_paths("path_link", 3, "file", 3, link), notdir);
        assert_eq!(g.symlink("x", 3, link), notdir);
        assert_eq!(
            t.join("root").join(link.trim_end_matches('/')).symlink_metadata().unwrap().ino(),
            before
        );
    }
    assert_eq!(g.open("out/", 0, RW), Err(NOTCAPABLE));
    // Files, directories and missing names.
    assert_eq!(g.open("file/", 0, RW), Err(notdir));
    assert_eq!(g.open("missing/", CREAT, RW), Err(e(Errno::ISDIR)));
    assert_eq!(g.open("missing/", 0, RW), Err(e(Errno::NOENT)));
    assert_eq!(g.on_path("path_unlink_file", 3, b"file/", &[]), notdir);
    assert_eq!(g.on_path("path_unlink_file", 3, b"dir/", &[]), e(Errno::ISDIR));
    assert_eq!(g.symlink("x", 3, "missing/"), e(Errno::NOENT));
    assert_eq!(g.symlink("x", 3, "dir/"), e(Errno::EXIST));
    assert_eq!(g.symlink("x", 3, "file/"), notdir);
    assert_eq!(g.two_paths("path_link", 3, "file", 3, "missing/"), e(Errno::NOENT));
    assert_eq!(g.two_paths("path_rename", 3, "file", 3, "missing/"), notdir);
    assert_eq!(g.two_paths("path_rename", 3, "dir/", 3, "dir2/"), OK);
    assert_eq!(g.on_path("path_create_directory", 3, b"dir3/", &[]), OK);
    assert_eq!(g.on_path("path_remove_directory", 3, b"dir3/", &[]), OK);
    assert_eq!(t.read("root/file"), b"x");
}

#[test]
fn f5_magic_links_are_refused() {
    let t = TempDir::new();
    t.file("secret", "secret");
    t.dir("root");
    t.link("/proc/self/root/etc/passwd", "root/magic");
    t.link("/dev/fd/0", "root/devfd");
    let mut g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(t.join("root"), "/"))
            .preopen(Preopen::new("/proc", "/proc")),
    );
    for path in ["magic", "devfd"] {
        assert_eq!(g.open(path, 0, Rights::FD_READ), Err(NOTCAPABLE), "{path}");
    }
    let pid = std::process::id();
    for path in [
        format!("{pid}/root/etc/passwd"),
        format!("{pid}/fd/0"),
        format!("{pid}/cwd/x"),
        "self/exe".into(),
    ] {
        let got = g.open_raw(4, 1, path.as_bytes(), 0, Rights::FD_READ, Rights::empty(), 0);
        assert!(matches!(got, Err(NOTCAPABLE) | Err(32)), "{path}: {got:?}");
        assert!(g.stat(4, 1, &path).is_err(), "{path}");
    }
}

#[test]
fn f6_a_read_only_grant_changes_nothing() {
    let t = TempDir::new();
    t.dir("sub");
    t.file("file", "contents");
    t.link("file", "link");
    let before = std::fs::metadata(t.join("file")).unwrap();
    let builders = [
        quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/").read_only()),
        quiet().caps(Caps::READ).preopen(Preopen::new(&t.0, "/")),
        quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/").caps(Caps::READ)),
    ];
    for builder in builders {
        let (mut g, log) = audited(builder);
        for oflags in [CREAT, TRUNC, CREAT | TRUNC, CREAT | EXCL] {
            assert_eq!(g.open("file", oflags, Rights::FD_READ), Err(NOTCAPABLE));
            assert_eq!(g.open("new", oflags, Rights::empty()), Err(NOTCAPABLE));
        }
        assert_eq!(g.open("file", 0, Rights::FD_WRITE), Err(NOTCAPABLE));
        assert_eq!(g.open("file", 0, Rights::FD_ALLOCATE), Err(NOTCAPABLE));
        assert_eq!(
            g.open_raw(3, 1, b"file", 0, Rights::FD_READ, Rights::empty(), 1),
            Err(NOTCAPABLE)
        );
        // Whatever else is asked for is left out.
        let fd =
            g.open("file", 0, Rights::all() & !Rights::FD_WRITE & !Rights::FD_ALLOCATE).unwrap();
        assert_eq!(g.read_fd(fd, 20), Ok(b"contents".to_vec()));
        assert_eq!(g.write_fd(fd, b"x"), Err(NOTCAPABLE));
        assert_eq!(g.pwrite_fd(fd, b"x", 0), Err(NOTCAPABLE));
        assert_eq!(g.call("fd_filestat_set_size", &[fd, 0]), NOTCAPABLE);
        assert_eq!(g.call("fd_allocate", &[fd, 0, 100]), NOTCAPABLE);
        assert_eq!(g.call("fd_filestat_set_times", &[fd, 1, 1, 5]), NOTCAPABLE);
        assert_eq!(g.call("fd_fdstat_set_flags", &[fd, 1]), NOTCAPABLE);
        assert_eq!(g.call("fd_sync", &[fd]), NOTCAPABLE);
        assert_eq!(g.call("fd_datasync", &[fd]), NOTCAPABLE);
        assert_eq!(g.call("fd_filestat_set_times", &[3, 1, 1, 5]), NOTCAPABLE);
        for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
            for path in [&b"file"[..], b"sub", b"new"] {
                assert_eq!(g.on_path(name, 3, path, &[]), NOTCAPABLE, "{name}");
            }
        }
        assert_eq!(g.two_paths("path_rename", 3, "file", 3, "new"), NOTCAPABLE);
        assert_eq!(g.two_paths("path_link", 3, "file", 3, "new"), NOTCAPABLE);
        assert_eq!(g.symlink("file", 3, "new"), NOTCAPABLE);
        let (p, l) = g.put(PATH1, b"file");
        assert_eq!(g.call("path_filestat_set_times", &[3, 1, p, l, 1, 1, 5]), NOTCAPABLE);
        assert!(log.lock().unwrap().iter().filter(|a| a.denied.is_some()).count() >= 30);
    }
    let after = std::fs::metadata(t.join("file")).unwrap();
    assert_eq!(t.read("file"), b"contents");
    assert_eq!(
        (before.mtime(), before.mtime_nsec(), before.ino()),
        (after.mtime(), after.mtime_nsec(), after.ino())
    );
    assert_eq!(std::fs::read_dir(&t.0).unwrap().count(), 3);
}

#[test]
fn f6_allow_read_and_a_directory_are_enough_to_read() {
    let t = TempDir::new();
    t.file("file", "contents");
    let mut g = Guest::new(quiet().caps(Caps::READ).preopen(Preopen::new(&t.0, "data")));
    let fd =
        g.open("file", 0, Rights::FD_READ | Rights::FD_SEEK | Rights::FD_FILESTAT_GET).unwrap();
    assert_eq!(g.read_fd(fd, 20), Ok(b"contents".to_vec()));
    assert_eq!(g.list(3, 4096).len(), 3);
    assert_eq!(g.call("random_get", &[DATA, 8]), NOTCAPABLE);
}

#[test]
fn f7_nothing_moves_to_where_more_is_allowed() {
    let t = TempDir::new();
    t.dir("weak/nested");
    t.dir("strong");
    t.file("weak/file", "x");
    t.file("strong/file", "x");
    t.dir("weak/dir");
    let weak = Preopen::new(t.join("weak"), "weak").caps(Caps::PATH);
    let strong = Preopen::new(t.join("strong"), "strong");
    let nested = Preopen::new(t.join("weak/nested"), "nested");
    let (mut g, log) =
        audited(quiet().caps(Caps::ALL).preopen(weak).preopen(strong).preopen(nested));
    for to in [4, 5] {
        assert_eq!(g.two_paths("path_link", 3, "file", to, "linked"), NOTCAPABLE);
        assert_eq!(g.two_paths("path_rename", 3, "file", to, "moved"), NOTCAPABLE);
        assert_eq!(g.two_paths("path_rename", 3, "dir", to, "moved"), NOTCAPABLE);
    }
    // Named through the weak grant, but landing inside the nested, stronger one.
    assert_eq!(g.two_paths("path_link", 3, "file", 3, "nested/linked"), NOTCAPABLE);
    assert_eq!(g.two_paths("path_rename", 3, "file", 3, "nested/moved"), NOTCAPABLE);
    assert_eq!(g.two_paths("path_rename", 3, "dir", 3, "nested/moved"), NOTCAPABLE);
    assert!(log.lock().unwrap().iter().any(|a| a.denied == Some(Denial::Stronger)));
    // From strong to weak, and within the same grant, all is well.
    assert_eq!(g.two_paths("path_link", 4, "file", 3, "down"), OK);
    assert_eq!(g.two_paths("path_link", 3, "file", 3, "dir/linked"), OK);
    assert_eq!(g.two_paths("path_rename", 3, "file", 3, "renamed"), OK);
    assert_eq!(std::fs::read_dir(t.join("weak/nested")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(t.join("strong")).unwrap().count(), 1);
}

#[test]
fn f7_a_weak_grant_within_a_strong_one_is_no_way_round() {
    let t = TempDir::new();
    t.dir("strong/weak");
    t.dir("elsewhere");
    t.file("elsewhere/file", "x");
    let mut g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(t.join("elsewhere"), "elsewhere").caps(Caps::PATH))
            .preopen(Preopen::new(t.join("strong/weak"), "weak").caps(Caps::PATH))
            .preopen(Preopen::new(t.join("strong"), "strong")),
    );
    assert_eq!(g.two_paths("path_rename", 3, "file", 4, "file"), NOTCAPABLE);
    assert_eq!(g.two_paths("path_link", 3, "file", 4, "file"), NOTCAPABLE);
}

#[test]
fn f8_each_path_is_judged_by_the_preopen_it_is_named_through() {
    let t = TempDir::new();
    t.dir("a/b");
    t.file("a/b/file", "x");
    let g = Guest::new(
        quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(t.join("a"), "a").read_only())
            .preopen(Preopen::new(t.join("a/b"), "b"))
            .preopen(Preopen::new(t.join("a/b"), "b2").read_only()),
    );
    let overlaps = g.ctx.overlapping_preopens().to_vec();
    let pairs: Vec<(&str, &str)> =
        overlaps.iter().map(|o| (o.outer.as_str(), o.inner.as_str())).collect();
    assert_eq!(pairs, [("a", "b"), ("b", "b2")]);
    assert!(overlaps[0].inner_allows_more && !overlaps[0].outer_allows_more);
    assert!(overlaps[1].outer_allows_more && !overlaps[1].inner_allows_more);
    let mut g = g;
    assert_eq!(g.open_raw(3, 1, b"b/file", 0, RW, RW, 0), Err(NOTCAPABLE));
    assert!(g.open_raw(4, 1, b"file", 0, RW, RW, 0).is_ok());
    assert_eq!(g.open_raw(5, 1, b"file", 0, RW, RW, 0), Err(NOTCAPABLE));
    let g = full(&t);
    assert!(g.ctx.overlapping_preopens().is_empty());
}

#[test]
fn f9_racing_links_and_directories_never_lead_out() {
    let t = TempDir::new();
    t.dir("outside");
    t.file("outside/file", "secret");
    t.dir("root/real");
    t.file("root/real/file", "inside");
    t.link("../outside", "root/link");
    let root = std::fs::File::open(t.join("root")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let mut swaps = 0u64;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(&root, "real", &root, "link", exchange).unwrap();
                swaps += 1;
            }
            swaps
        })
    };
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("root"), "/")));
    let (mut opened, mut refused) = (0, 0);
    for i in 0..20_000 {
        let oflags = if i % 7 == 0 { CREAT } else { 0 };
        match g.open("real/file", oflags, Rights::FD_READ) {
            Ok(fd) => {
                assert_eq!(g.read_fd(fd, 10), Ok(b"inside".to_vec()));
                assert_eq!(g.call("fd_close", &[fd]), OK);
                opened += 1;
            }
            Err(errno) => {
                assert!([NOTCAPABLE, e(Errno::AGAIN), e(Errno::NOENT)].contains(&errno), "{errno}");
                refused += 1;
            }
        }
        match i % 5 {
            0 => assert!(
                g.stat(3, 1, "real/file").is_ok_and(|s| s[32] == 6) || g.stat(3, 0, "real").is_ok()
            ),
            1 => drop(g.symlink("x", 3, "real/planted")),
            2 => drop(g.on_path("path_create_directory", 3, b"real/made", &[])),
            3 => drop(g.two_paths("path_rename", 3, "real/planted", 3, "real/moved")),
            _ => drop(g.on_path("path_unlink_file", 3, b"real/moved", &[])),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapper.join().unwrap();
    println!("{opened} opened, {refused} refused, {swaps} swaps");
    assert_eq!(
        std::fs::read_dir(t.join("outside")).unwrap().count(),
        1,
        "nothing was made outside"
    );
    assert_eq!(t.read("outside/file"), b"secret");
}

#[test]
fn f10_a_directory_moved_out_of_the_grant_leads_nowhere() {
    let t = TempDir::new();
    t.dir("root/dir/sub");
    t.file("secret", "secret");
    t.dir("elsewhere");
    let mut g = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(t.join("root"), "/")));
    let dir = g.open("dir", DIRECTORY, Rights::all()).unwrap();
    std::fs::rename(t.join("root/dir"), t.join("elsewhere/dir")).unwrap();
    for path in ["..", "../..", "../../secret", "sub/../../x", "../dir"] {
        for (name, errno) in all_path_calls(&mut g, dir, path.as_bytes()) {
            assert_eq!(errno, NOTCAPABLE, "{name} {path}");
        }
    }
    assert!(g.stat(dir, 0, "sub").is_ok());
}

#[test]
fn f11_mounts_are_crossed_unless_told_not_to() {
    // /proc is mounted within / everywhere, which needs no privilege to see.
    let mut g = Guest::new(
        quiet()
            .caps(Caps::READ)
            .preopen(Preopen::new("/", "any"))
            .preopen(Preopen::new("/", "same").same_device()),
    );
    let (path, list) = (b"proc/sys", Rights::FD_READDIR);
    assert!(g.open_raw(3, 1, path, DIRECTORY, list, Rights::empty(), 0).is_ok());
    assert_eq!(g.open_raw(4, 1, path, DIRECTORY, list, Rights::empty(), 0), Err(NOTCAPABLE));
    assert_eq!(g.stat(4, 0, "proc"), Err(NOTCAPABLE));
    assert_eq!(g.stat(4, 0, "proc/version"), Err(NOTCAPABLE));
}

#[test]
fn f12_special_files_do_not_open_and_nothing_waits() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let t = TempDir::new();
    mknodat(CWD, t.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(t.join("socket")).unwrap();
    let mut names = vec!["fifo", "socket", "tofifo"];
    t.link("fifo", "tofifo");
    // Device 1:5 is /dev/zero.
    let made = mknodat(
        CWD,
        t.join("zero"),
        FileType::CharacterDevice,
        Mode::RWXU,
        rustix::fs::makedev(1, 5),
    );
    match made {
        Ok(()) => names.push("zero"),
        Err(e) => println!("f12: device nodes NOT RUN, mknod is not permitted here: {e}"),
    }
    let (mut g, log) = audited(quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")));
    for name in &names {
        for rights in [Rights::FD_READ, Rights::FD_WRITE, RW, Rights::empty()] {
            for oflags in [0, CREAT, TRUNC, CREAT | TRUNC] {
                assert_eq!(g.open(name, oflags, rights), Err(NOTCAPABLE), "{name}");
            }
        }
    }
    assert!(log.lock().unwrap().iter().any(|a| a.denied == Some(Denial::Special)));
    assert_eq!(g.stat(3, 0, "fifo").map(|s| s[16]), Ok(0));
    assert!(t.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
    let mut dev = Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new("/dev", "/dev")));
    for name in ["zero", "null", "tty", "full"] {
        if std::path::Path::new("/dev").join(name).exists() {
            assert_eq!(dev.open(name, 0, Rights::FD_READ), Err(NOTCAPABLE), "/dev/{name}");
        }
    }
}

#[test]
fn f12_a_fifo_in_place_of_a_file_is_never_opened() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let t = TempDir::new();
    t.file("file", "inside");
    mknodat(CWD, t.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let root = std::fs::File::open(&t.0).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(
                    &root,
                    "file",
                    &root,
                    "fifo",
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .unwrap();
            }
        })
    };
    let mut g = full(&t);
    let mut opened = 0;
    for i in 0..3_000 {
        let rights = if i % 2 == 0 { Rights::FD_READ } else { RW };
        match g.open("file", 0, rights) {
            Ok(fd) => {
                assert_eq!(g.read_fd(fd, 10), Ok(b"inside".to_vec()));
                assert_eq!(g.call("fd_close", &[fd]), OK);
                opened += 1;
            }
            Err(errno) => assert!([NOTCAPABLE, e(Errno::AGAIN)].contains(&errno), "{errno}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    println!("{opened} opened");
}

#[test]
fn f13_times_at_their_extremes() {
    let t = TempDir::new();
    t.file("file", "x");
    t.link("file", "link");
    let mut g = full(&t);
    let fd = g.open("file", 0, Rights::all()).unwrap();
    let mtime = |t: &TempDir| std::fs::metadata(t.join("file")).unwrap().mtime();
    for nanos in [0u64, 1, 999_999_999, 1_000_000_000, 1 << 62, u64::MAX] {
        let errno = g.call("fd_filestat_set_times", &[fd, nanos, nanos, 5]);
        assert!([OK, e(Errno::INVAL), e(Errno::OVERFLOW)].contains(&errno), "{nanos}: {errno}");
        let (p, l) = g.put(PATH1, b"link");
        assert_eq!(g.call("path_filestat_set_times", &[3, 0, p, l, nanos, nanos, 5]), errno);
    }
    assert_eq!(g.call("fd_filestat_set_times", &[fd, 0, 1_500_000_000, 4]), OK);
    assert_eq!(mtime(&t), 1);
    // Set and now exclude each other; neither leaves the time alone.
    for both in [3, 12, 15] {
        assert_eq!(g.call("fd_filestat_set_times", &[fd, 1, 1, both]), e(Errno::INVAL));
    }
    assert_eq!(g.call("fd_filestat_set_times", &[fd, 0, 0, 0]), OK);
    assert_eq!(mtime(&t), 1);
    assert_eq!(g.call("fd_filestat_set_times", &[fd, 0, 0, 8]), OK);
    assert!(mtime(&t) > 1_000_000_000);
    // Before 1970 is 0 to the guest.
    let file = std::fs::File::options().write(true).open(t.join("file")).unwrap();
    let early = rustix::fs::Timespec { tv_sec: -5, tv_nsec: 7 };
    let times = rustix::fs::Timestamps { last_access: early, last_modification: early };
    rustix::fs::futimens(&file, &times).unwrap();
    let stat = g.stat(3, 1, "file").unwrap();
    assert_eq!(stat[48..56], [0; 8]);
}

#[test]
fn f14_directories_are_listed_in_any_pieces() {
    use std::os::unix::ffi::OsStrExt;
    let t = TempDir::new();
    t.dir("d");
    let strange: [&[u8]; 4] = [b"new\nline", b"\x1b[31m", b"\xff\xfe", b"plain"];
    for name in strange {
        std::fs::write(t.join("d").join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    std::fs::create_dir(t.join("d/sub")).unwrap();
    let mut g = full(&t);
    let fd = g.open("d", DIRECTORY, Rights::all()).unwrap();
    let whole = g.list(fd, 4096);
    let mut names: Vec<Vec<u8>> = whole.iter().map(|x| x.name.clone()).collect();
    names.sort();
    let mut expected: Vec<Vec<u8>> = strange.iter().map(|n| n.to_vec()).collect();
    expected.extend([b".".to_vec(), b"..".to_vec(), b"sub".to_vec()]);
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(whole.iter().find(|x| x.name == b"sub").unwrap().kind, 3);
    assert_eq!(whole.iter().find(|x| x.name == b"plain").unwrap().kind, 4);
    for len in [32, 33, 47, 64, 100, 1000] {
        assert_eq!(g.list(fd, len), whole, "pieces of {len}");
    }
    // From every cookie, in any order.
    for (i, entry) in whole.iter().enumerate().rev() {
        let (rest, _) = g.readdir(fd, 4096, entry.next);
        assert_eq!(rest, whole[i + 1..]);
    }
    // A buffer that is too small is filled exactly, and nothing behind it is touched.
    for len in [0u64, 1, 23, 24, 25] {
        let poison = vec![0xAA; 64];
        g.put(DATA, &poison);
        assert_eq!(g.call("fd_readdir", &[fd, DATA, len, 0, OUT]), OK);
        assert_eq!(u64::from(g.u32_at(OUT)), len);
        assert_eq!(g.get(DATA + len, 64 - len as usize), poison[len as usize..]);
    }
    for cookie in [u64::MAX, 1 << 63, (1 << 63) - 1] {
        assert_eq!(g.call("fd_readdir", &[fd, DATA, 4096, cookie, OUT]), OK);
        assert!(g.u32_at(OUT) < 4096);
    }
    assert_eq!(g.list(fd, 4096), whole);
}

#[test]
fn f14_a_large_directory_is_read_in_linear_time_while_it_changes() {
    let t = TempDir::new();
    t.dir("d");
    let count = 20_000;
    for i in 0..count {
        std::fs::write(t.join(format!("d/file-{i}")), "").unwrap();
    }
    let mut g = full(&t);
    let fd = g.open("d", DIRECTORY, Rights::all()).unwrap();
    g.host.spent = 0;
    let all = g.list(fd, 300);
    assert_eq!(all.len(), count + 2);
    let distinct: std::collections::HashSet<_> = all.iter().map(|x| x.name.clone()).collect();
    assert_eq!(distinct.len(), count + 2);
    // Work is proportional to what was listed: a fixed number of units per entry and call.
    assert!(g.host.spent < 40 * count as u64, "{} units", g.host.spent);
    // What is there from beginning to end is seen exactly once, whatever else comes and goes.
    let (mut cookie, mut seen) = (0, Vec::new());
    let mut n = 0;
    loop {
        let (entries, used) = g.readdir(fd, 1000, cookie);
        let Some(last) = entries.last() else { break };
        cookie = last.next;
        seen.extend(entries.iter().map(|x| x.name.clone()));
        std::fs::write(t.join(format!("d/new-{n}")), "").unwrap();
        n += 1;
        if used < 1000 {
            break;
        }
    }
    let old = seen.iter().filter(|n| n.starts_with(b"file-")).count();
    assert_eq!(old, count);
    g.call("fd_close", &[fd]);
}

#[test]
fn f15_creation_and_removal_are_as_posix_has_them() {
    let t = TempDir::new();
    t.dir("dir/inner");
    t.link("target", "dangling");
    let mut g = full(&t);
    assert_eq!(g.open("dangling", CREAT | EXCL, RW), Err(e(Errno::EXIST)));
    assert_eq!(g.open_raw(3, 0, b"dangling", CREAT, RW, RW, 0), Err(e(Errno::LOOP)));
    let fd = g.open("dangling", CREAT, RW).unwrap();
    assert_eq!(g.write_fd(fd, b"through"), Ok(7));
    assert_eq!(t.read("target"), b"through");
    assert_eq!(g.open("target", CREAT | EXCL, RW), Err(e(Errno::EXIST)));
    // Unlinked while open, it goes on.
    assert_eq!(g.on_path("path_unlink_file", 3, b"target", &[]), OK);
    assert_eq!(g.pread_fd(fd, 10, 0), Ok(b"through".to_vec()));
    assert_eq!(g.on_path("path_unlink_file", 3, b"target", &[]), e(Errno::NOENT));
    assert_eq!(g.on_path("path_remove_directory", 3, b"dir", &[]), e(Errno::NOTEMPTY));
    assert_eq!(g.on_path("path_unlink_file", 3, b"dir", &[]), e(Errno::ISDIR));
    assert_eq!(g.on_path("path_remove_directory", 3, b"dangling", &[]), e(Errno::NOTDIR));
    assert_eq!(g.on_path("path_create_directory", 3, b"dir", &[]), e(Errno::EXIST));
    for (path, errno) in [("dir/.", Errno::INVAL), ("dir/inner/..", Errno::NOTEMPTY)] {
        assert_eq!(g.on_path("path_remove_directory", 3, path.as_bytes(), &[]), e(errno));
    }
    assert_eq!(g.on_path("path_unlink_file", 3, b".", &[]), e(Errno::ISDIR));
    assert_eq!(g.two_paths("path_rename", 3, "dir/.", 3, "x"), e(Errno::BUSY));
    assert_eq!(g.two_paths("path_rename", 3, "dir", 3, "dir/inner/below"), e(Errno::INVAL));
    assert_eq!(g.open("dir", CREAT, RW), Err(e(Errno::ISDIR)));
    assert_eq!(g.open("dir", TRUNC, RW), Err(e(Errno::ISDIR)));
    assert_eq!(g.open("dir", 0, RW), Err(e(Errno::ISDIR)));
    assert_eq!(g.open("dir", DIRECTORY | CREAT, Rights::empty()), Err(e(Errno::INVAL)));
    assert_eq!(g.open("missing/file", CREAT, RW), Err(e(Errno::NOENT)));
    // A directory that was removed while open lists as empty.
    let inner = g.open("dir/inner", DIRECTORY, Rights::all()).unwrap();
    assert_eq!(g.on_path("path_remove_directory", 3, b"dir/inner", &[]), OK);
    assert!(g.list(inner, 4096).is_empty());
    assert!(g.open_raw(inner, 1, b"x", CREAT, RW, RW, 0).is_err());
}

#[test]
fn f16_offsets_and_sizes_at_their_extremes() {
    let t = TempDir::new();
    t.file("file", "0123456789");
    let builder = quiet()
        .caps(Caps::ALL)
        .preopen(Preopen::new(&t.0, "/"))
        .max_file_size(1 << 40)
        .max_output(1 << 20);
    let mut g = Guest::new(builder);
    let fd = g.open("file", 0, Rights::all()).unwrap();
    let fbig = e(Errno::FBIG);
    assert_eq!(g.call("fd_filestat_set_size", &[fd, 1 << 63]), fbig);
    assert_eq!(g.call("fd_filestat_set_size", &[fd, u64::MAX]), fbig);
    assert_eq!(g.call("fd_filestat_set_size", &[fd, (1 << 40) + 1]), fbig);
    assert_eq!(g.call("fd_allocate", &[fd, u64::MAX, 1]), fbig);
    assert_eq!(g.call("fd_allocate", &[fd, 0, 1 << 41]), fbig);
    assert_eq!(g.call("fd_allocate", &[fd, 0, 1 << 39]), e(Errno::NOSPC), "quota");
    assert_eq!(g.call("fd_allocate", &[fd, 0, 0]), e(Errno::INVAL));
    assert_eq!(g.used(palisade_wasi::Resource::OutputBytes), 0, "what is refused counts nothing");
    // Sparse: a large size takes no space.
    assert_eq!(g.call("fd_filestat_set_size", &[fd, 1 << 38]), OK);
    assert!(std::fs::metadata(t.join("file")).unwrap().blocks() < 1024);
    assert_eq!(g.call("fd_filestat_set_size", &[fd, 10]), OK);
    for (offset, whence) in [(i64::MIN, 0), (i64::MIN, 1), (i64::MIN, 2), (-1, 0), (-11, 2)] {
        assert_eq!(g.seek(fd, offset, whence), Err(e(Errno::INVAL)), "{offset} {whence}");
    }
    for whence in [1, 2] {
        g.seek(fd, 5, 0).unwrap();
        let got = g.seek(fd, i64::MAX, whence);
        assert!(matches!(got, Err(28) | Err(61)), "{got:?}");
    }
    assert_eq!(g.seek(fd, 3, 0), Ok(3));
    assert_eq!(g.seek(fd, 0, 3), Err(e(Errno::INVAL)));
    for offset in [1 << 63, u64::MAX] {
        assert_eq!(g.pread_fd(fd, 1, offset), Err(e(Errno::INVAL)));
        assert_eq!(g.pwrite_fd(fd, b"x", offset), Err(e(Errno::INVAL)));
    }
    assert_eq!(g.pwrite_fd(fd, b"x", i64::MAX as u64), Err(fbig));
    assert_eq!(g.pwrite_fd(fd, b"xy", (1 << 40) - 1), Ok(1), "cut off at the largest size");
    assert_eq!(g.call("fd_filestat_set_size", &[fd, 10]), OK);
    assert_eq!(g.pread_fd(fd, 4, 100), Ok(vec![]));
    assert_eq!(g.call("fd_advise", &[fd, u64::MAX, 1, 0]), e(Errno::INVAL));
    assert_eq!(g.call("fd_advise", &[fd, 0, 0, 3]), OK);
    // Appending: fd_write goes to the end, fd_pwrite where it says.
    let a = g.open_raw(3, 1, b"file", 0, RW, RW, 1).unwrap();
    assert_eq!(g.pwrite_fd(a, b"ab", 0), Ok(2));
    assert_eq!(g.write_fd(a, b"cd"), Ok(2));
    assert_eq!(g.seek(a, 0, 1), Ok(12));
    assert_eq!(t.read("file"), b"ab23456789cd");
    assert_eq!(g.call("fd_allocate", &[fd, 0, 4096]), OK);
    assert_eq!(std::fs::metadata(t.join("file")).unwrap().len(), 4096);
}

#[test]
fn f16_a_file_that_cannot_be_written_opens_for_reading_whatever_else_is_asked() {
    let t = TempDir::new();
    t.file("file", "x");
    std::fs::set_permissions(t.join("file"), std::fs::Permissions::from_mode(0o444)).unwrap();
    let mut g = full(&t);
    let asked = Rights::FD_READ | Rights::FD_FILESTAT_SET_SIZE | Rights::FD_DATASYNC;
    assert!(g.open("file", 0, asked).is_ok());
}
