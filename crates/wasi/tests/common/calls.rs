//! A guest in which every function of preview 1 can be called with success, and the arguments for that.

use palisade_wasi::{Caps, FunctionInfo, Preopen, Rights};

use super::*;

/// A guest in which every call of [`valid`] succeeds: 3 directory, 4 listener, 5 connection, 6 file.
pub fn stage(t: &TempDir) -> (Guest, Vec<std::os::unix::net::UnixStream>) {
    use std::os::unix::net::{UnixListener, UnixStream};
    for left in ["made", "renamed", "linked", "symlinked"] {
        let _ = std::fs::remove_file(t.join(left)).or_else(|_| std::fs::remove_dir(t.join(left)));
    }
    t.file("file", "contents");
    t.file("old", "old");
    t.file("victim", "victim");
    t.dir("empty");
    if !t.join("link").is_symlink() {
        t.link("file", "link");
    }
    let _ = std::fs::remove_file(t.join("sock"));
    let listener = UnixListener::bind(t.join("sock")).unwrap();
    let waiting = UnixStream::connect(t.join("sock")).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &ours, b"hello").unwrap();
    let builder = quiet().caps(Caps::ALL).arg("program").arg("argument").env("KEY", "value");
    let mut g = Guest::new(
        builder
            .preopen(Preopen::new(&t.0, "/"))
            .socket(listener.into())
            .socket(theirs.into())
            .max_output(1 << 30),
    );
    assert_eq!(g.open("file", 0, Rights::all()), Ok(6));
    g.put(PATH1, b"file");
    g.put(PATH2, b"made");
    g.put(IOVS, &[DATA as u32, 5u32, DATA as u32 + 100, 3].map(u32::to_le_bytes).concat());
    g.sub_clock(2048, 1, 1, 0, 0);
    (g, vec![ours, waiting])
}

/// Where the subscription of [`stage`] is.
pub const SUBS: u64 = DATA + 2048 * 48;

/// Arguments with which a call succeeds, and of each pointer how many bytes it must be good for.
pub fn valid(f: &FunctionInfo) -> (Vec<u64>, Vec<(usize, u64)>) {
    let path = |t: &str| -> u64 { t.len() as u64 };
    match f.name {
        "args_get" => (vec![OUT, DATA], vec![(0, 8), (1, 17)]),
        "environ_get" => (vec![OUT, DATA], vec![(0, 4), (1, 10)]),
        "args_sizes_get" | "environ_sizes_get" => (vec![OUT, OUT2], vec![(0, 4), (1, 4)]),
        "clock_res_get" => (vec![0, OUT], vec![(1, 8)]),
        "clock_time_get" => (vec![0, 0, OUT], vec![(2, 8)]),
        "fd_advise" => (vec![6, 0, 0, 0], vec![]),
        "fd_allocate" => (vec![6, 0, 1], vec![]),
        "fd_close" | "fd_datasync" | "fd_sync" => (vec![6], vec![]),
        "fd_fdstat_get" => (vec![6, OUT], vec![(1, 24)]),
        "fd_fdstat_set_flags" => (vec![6, 1], vec![]),
        "fd_fdstat_set_rights" => (vec![6, 0, 0], vec![]),
        "fd_filestat_get" => (vec![6, OUT], vec![(1, 64)]),
        "fd_filestat_set_size" => (vec![6, 8], vec![]),
        "fd_filestat_set_times" => (vec![6, 0, 0, 0], vec![]),
        "fd_pread" | "fd_pwrite" => (vec![6, IOVS, 2, 0, OUT], vec![(1, 16), (4, 4)]),
        "fd_prestat_get" => (vec![3, OUT], vec![(1, 8)]),
        "fd_prestat_dir_name" => (vec![3, OUT, 1], vec![(1, 1)]),
        "fd_read" | "fd_write" => (vec![6, IOVS, 2, OUT], vec![(1, 16), (3, 4)]),
        "fd_readdir" => (vec![3, DATA, 200, 0, OUT], vec![(1, 200), (4, 4)]),
        "fd_renumber" => (vec![6, 6], vec![]),
        "fd_seek" => (vec![6, 0, 0, OUT], vec![(3, 8)]),
        "fd_tell" => (vec![6, OUT], vec![(1, 8)]),
        "path_create_directory" => (vec![3, PATH2, path("made")], vec![(1, 4)]),
        "path_filestat_get" => (vec![3, 1, PATH1, path("file"), OUT], vec![(2, 4), (4, 64)]),
        "path_filestat_set_times" => (vec![3, 1, PATH1, path("file"), 0, 0, 0], vec![(2, 4)]),
        "path_link" => {
            (vec![3, 0, PATH1, path("file"), 3, PATH2, path("made")], vec![(2, 4), (5, 4)])
        }
        "path_open" => (vec![3, 1, PATH1, path("file"), 0, 2, 0, 0, OUT], vec![(2, 4), (8, 4)]),
        "path_readlink" => (vec![3, PATH1, 4, DATA, 10, OUT], vec![(1, 4), (3, 10), (5, 4)]),
        "path_remove_directory" => (vec![3, PATH1, 4], vec![(1, 4)]),
        "path_unlink_file" => (vec![3, PATH1, 3], vec![(1, 3)]),
        "path_rename" => (vec![3, PATH1, 4, 3, PATH2, 4], vec![(1, 4), (4, 4)]),
        "path_symlink" => (vec![PATH1, 4, 3, PATH2, 4], vec![(0, 4), (3, 4)]),
        "poll_oneoff" => (vec![SUBS, EVENTS, 1, OUT], vec![(0, 48), (1, 32), (3, 4)]),
        "proc_exit" | "proc_raise" => (vec![0], vec![]),
        "sched_yield" => (vec![], vec![]),
        "random_get" => (vec![DATA, 16], vec![(0, 16)]),
        "sock_accept" => (vec![4, 0, OUT], vec![(2, 4)]),
        "sock_recv" => (vec![5, IOVS, 2, 0, OUT, OUT2], vec![(1, 16), (4, 4), (5, 2)]),
        "sock_send" => (vec![5, IOVS, 2, 0, OUT], vec![(1, 16), (4, 4)]),
        "sock_shutdown" => (vec![5, 1], vec![]),
        other => panic!("no arguments for {other}"),
    }
}

/// Names in the way of a call, and the right ones in its place.
pub fn prepare(g: &mut Guest, f: &FunctionInfo) {
    let name: &[u8] = match f.name {
        "path_readlink" => b"link",
        "path_remove_directory" => b"empt",
        "path_unlink_file" => b"old\0",
        _ => b"file",
    };
    g.put(PATH1, name);
}
