//! What would identify the host, or tell of what lies beside what was granted. Row L4.

mod common;

use std::os::unix::fs::MetadataExt;

use common::*;
use palisade_wasi::{Caps, Errno, Preopen, Rights, Stdio, WasiCtx};

const NOTCAPABLE: i32 = Errno::NOTCAPABLE.code();

/// Device, inode and number of links of a file.
fn identity(stat: &[u8]) -> (u64, u64, u64) {
    let field = |at: usize| u64::from_le_bytes(stat[at..at + 8].try_into().unwrap());
    (field(0), field(8), field(24))
}

fn guest(t: &TempDir, caps: Caps) -> Guest {
    Guest::new(quiet().caps(caps).preopen(Preopen::new(&t.0, "/")))
}

#[test]
fn l4_inodes_and_devices_are_keyed_hashes() {
    let t = TempDir::new();
    t.file("file", "x");
    std::fs::hard_link(t.join("file"), t.join("again")).unwrap();
    t.file("other", "x");
    let host = std::fs::metadata(t.join("file")).unwrap();
    let mut g = guest(&t, Caps::READ);
    let (dev, ino, links) = identity(&g.stat(3, 0, "file").unwrap());
    assert!(dev != host.dev() && ino != host.ino());
    // Without `path` nobody is told of links, which may lie outside.
    assert_eq!(links, 1);
    // One object is one object, however it is looked at; two are two.
    assert_eq!(identity(&g.stat(3, 0, "again").unwrap()), (dev, ino, 1));
    let other = identity(&g.stat(3, 0, "other").unwrap());
    assert!(other.0 == dev && other.1 != ino);
    let fd = g.open("file", 0, RW & Rights::FD_READ | Rights::FD_FILESTAT_GET).unwrap();
    assert_eq!(g.call("fd_filestat_get", &[fd, OUT]), OK);
    assert_eq!(identity(&g.get(OUT, 64)), (dev, ino, 1));
    let entries = g.list(3, 4096);
    let entry = |name: &[u8]| entries.iter().find(|e| e.name == name).unwrap().ino;
    assert_eq!((entry(b"file"), entry(b"again"), entry(b"other")), (ino, ino, other.1));
    // What lies above the grant is not told of.
    assert_eq!(entry(b".."), entry(b"."));
    // Another guest's key is another one, so that they cannot compare.
    let (dev2, ino2, _) = identity(&guest(&t, Caps::READ).stat(3, 0, "file").unwrap());
    assert!(dev2 != dev && ino2 != ino);
    // Who may make links may count them.
    assert_eq!(identity(&guest(&t, Caps::ALL).stat(3, 0, "file").unwrap()).2, 2);
    assert_eq!(guest(&t, Caps::empty()).stat(3, 0, "file"), Err(NOTCAPABLE));
}

#[test]
fn l4_streams_environment_and_links_tell_nothing_that_was_not_granted() {
    let t = TempDir::new();
    t.file("input", "x");
    t.link("/etc/hostname", "link");
    let host = std::fs::metadata(t.join("input")).unwrap();
    let file = std::fs::File::open(t.join("input")).unwrap();
    let builder = WasiCtx::builder().stdin(Stdio::Fd(file.into())).stdout(Stdio::Null);
    let mut g = Guest::new(
        builder
            .stderr(Stdio::Null)
            .inherit_env()
            .caps(Caps::WRITE)
            .preopen(Preopen::new(&t.0, "/")),
    );
    assert_eq!(g.call("fd_filestat_get", &[0, OUT]), OK);
    let (dev, ino, links) = identity(&g.get(OUT, 64));
    assert!(dev != host.dev() && ino != host.ino() && links == 1);
    assert_eq!(g.call("environ_sizes_get", &[OUT, OUT2]), OK);
    assert_eq!((g.u32_at(OUT), g.u32_at(OUT2)), (0, 0));
    assert_eq!(g.on_path("path_readlink", 3, b"link", &[DATA, 100, OUT]), NOTCAPABLE);
}
