//! Row X6, the host's side of it. A process of its own, since it counts all descriptors of the process.

mod common;

use common::*;
use palisade_wasi::{Caps, Errno, Preopen};

#[test]
fn x6_the_host_keeps_descriptors_for_itself() {
    let t = TempDir::new();
    t.file("file", "x");
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let Some(limit) = limit else {
        println!("not run: the process may open as many descriptors as it likes");
        return;
    };
    // All but so many are to be left: the guest gets a few beyond what is open now.
    let free = limit - open() - 40;
    let builder = quiet()
        .caps(Caps::ALL)
        .preopen(Preopen::new(&t.0, "/"))
        .max_descriptors(u32::MAX)
        .host_descriptors(u32::try_from(free).unwrap());
    let mut g = Guest::new(builder);
    let mut opened = 0;
    let errno = loop {
        match g.open("file", 0, RW) {
            Ok(_) => opened += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!(errno, e(Errno::MFILE));
    assert!((30..=41).contains(&opened), "{opened}");
    assert!(limit - open() >= free - 1, "{} of {limit} are open", open());
    assert_eq!(g.open("new", CREAT, RW), Err(e(Errno::MFILE)));
    assert!(!t.join("new").exists());
}
