//! Hostile rows R1 to R5: rights of descriptors, and the table that holds them, against a reference model that is
//! written down here and not taken from the code.

mod common;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use common::*;
use palisade_wasi::{Caps, Errno, FUNCTIONS, Preopen, Rights, Stdio};

const NOTCAPABLE: i32 = 76;
const BADF: i32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    In,
    Out,
    Sock,
}

/// What the model says of an operation on a descriptor of a kind.
enum Gate {
    /// This error, whatever the rights.
    Never(Errno),
    /// These rights; without one of them `NOTCAPABLE`.
    Needs(Rights),
}
use Gate::{Needs, Never};

type Operation = (&'static str, fn(&mut Guest, u64) -> i32, fn(Kind) -> Gate);

/// The reference: each operation, how to call it harmlessly, and its gate.
const OPERATIONS: &[Operation] = &[
    ("fd_read", |g, fd| g.read_fd(fd, 0).err().unwrap_or(0), |k| data(k, Rights::FD_READ)),
    ("fd_write", |g, fd| g.write_fd(fd, b"").err().unwrap_or(0), |k| data(k, Rights::FD_WRITE)),
    (
        "fd_pread",
        |g, fd| g.pread_fd(fd, 0, 0).err().unwrap_or(0),
        |k| positioned(k, Rights::FD_READ | Rights::FD_SEEK),
    ),
    (
        "fd_pwrite",
        |g, fd| g.pwrite_fd(fd, b"", 0).err().unwrap_or(0),
        |k| positioned(k, Rights::FD_WRITE | Rights::FD_SEEK),
    ),
    ("fd_seek", |g, fd| g.seek(fd, 0, 0).err().unwrap_or(0), |k| positioned(k, Rights::FD_SEEK)),
    ("fd_tell", |g, fd| g.call("fd_tell", &[fd, OUT]), |k| positioned(k, Rights::FD_TELL)),
    (
        "fd_advise",
        |g, fd| g.call("fd_advise", &[fd, 0, 0, 0]),
        |k| positioned(k, Rights::FD_ADVISE),
    ),
    ("fd_allocate", |g, fd| g.call("fd_allocate", &[fd, 0, 1]), |k| sized(k, Rights::FD_ALLOCATE)),
    (
        "fd_filestat_set_size",
        |g, fd| g.call("fd_filestat_set_size", &[fd, 5]),
        |k| sized(k, Rights::FD_FILESTAT_SET_SIZE),
    ),
    (
        "fd_filestat_set_times",
        |g, fd| g.call("fd_filestat_set_times", &[fd, 0, 0, 0]),
        |_| Needs(Rights::FD_FILESTAT_SET_TIMES),
    ),
    ("fd_sync", |g, fd| g.call("fd_sync", &[fd]), |_| Needs(Rights::FD_SYNC)),
    ("fd_datasync", |g, fd| g.call("fd_datasync", &[fd]), |_| Needs(Rights::FD_DATASYNC)),
    (
        "fd_fdstat_set_flags",
        |g, fd| g.call("fd_fdstat_set_flags", &[fd, 4]),
        |_| Needs(Rights::FD_FDSTAT_SET_FLAGS),
    ),
    (
        "fd_filestat_get",
        |g, fd| g.call("fd_filestat_get", &[fd, OUT]),
        |_| Needs(Rights::FD_FILESTAT_GET),
    ),
    (
        "fd_readdir",
        |g, fd| g.call("fd_readdir", &[fd, DATA, 100, 0, OUT]),
        |k| dir(k, Rights::FD_READDIR),
    ),
    ("path_open", |g, fd| opens(g, fd, 0), |k| dir(k, Rights::PATH_OPEN)),
    (
        "path_open creating",
        |g, fd| opens(g, fd, CREAT),
        |k| dir(k, Rights::PATH_OPEN | Rights::PATH_CREATE_FILE),
    ),
    (
        "path_open truncating",
        |g, fd| opens(g, fd, TRUNC),
        |k| dir(k, Rights::PATH_OPEN | Rights::PATH_FILESTAT_SET_SIZE),
    ),
    (
        "path_filestat_get",
        |g, fd| g.stat(fd, 0, "file").err().unwrap_or(0),
        |k| dir(k, Rights::PATH_FILESTAT_GET),
    ),
    (
        "path_readlink",
        |g, fd| g.on_path("path_readlink", fd, b"link", &[DATA, 10, OUT]),
        |k| dir(k, Rights::PATH_READLINK),
    ),
    (
        "path_filestat_set_times",
        |g, fd| set_times(g, fd),
        |k| dir(k, Rights::PATH_FILESTAT_SET_TIMES),
    ),
    // All on a name that is not there: once allowed, they fail with something else.
    (
        "path_create_directory",
        |g, fd| g.on_path("path_create_directory", fd, b"no/x", &[]),
        |k| dir(k, Rights::PATH_CREATE_DIRECTORY),
    ),
    (
        "path_remove_directory",
        |g, fd| g.on_path("path_remove_directory", fd, b"no", &[]),
        |k| dir(k, Rights::PATH_REMOVE_DIRECTORY),
    ),
    (
        "path_unlink_file",
        |g, fd| g.on_path("path_unlink_file", fd, b"no", &[]),
        |k| dir(k, Rights::PATH_UNLINK_FILE),
    ),
    ("path_symlink", |g, fd| g.symlink("x", fd, "no/x"), |k| dir(k, Rights::PATH_SYMLINK)),
    (
        "path_rename",
        |g, fd| g.two_paths("path_rename", fd, "no", fd, "no2"),
        |k| dir(k, Rights::PATH_RENAME_SOURCE | Rights::PATH_RENAME_TARGET),
    ),
    (
        "path_link",
        |g, fd| g.two_paths("path_link", fd, "no", fd, "no2"),
        |k| dir(k, Rights::PATH_LINK_SOURCE | Rights::PATH_LINK_TARGET),
    ),
    (
        "poll read",
        |g, fd| polls(g, fd, 1),
        |k| data(k, Rights::POLL_FD_READWRITE | Rights::FD_READ),
    ),
    (
        "poll write",
        |g, fd| polls(g, fd, 2),
        |k| data(k, Rights::POLL_FD_READWRITE | Rights::FD_WRITE),
    ),
    ("sock_send", |g, fd| sends(g, fd), |k| sock(k, Rights::FD_WRITE)),
    (
        "sock_accept",
        |g, fd| g.call("sock_accept", &[fd, 0, OUT]),
        |k| match k {
            Kind::Sock => Never(Errno::INVAL),
            _ => Never(Errno::NOTSOCK),
        },
    ),
    (
        "sock_recv",
        |g, fd| g.call("sock_recv", &[fd, IOVS, 0, 0, OUT, OUT2]),
        |k| sock(k, Rights::FD_READ),
    ),
    (
        "sock_shutdown",
        |g, fd| g.call("sock_shutdown", &[fd, 2]),
        |k| sock(k, Rights::SOCK_SHUTDOWN),
    ),
    ("fd_fdstat_get", |g, fd| g.call("fd_fdstat_get", &[fd, OUT]), |_| Needs(Rights::empty())),
];

fn data(k: Kind, r: Rights) -> Gate {
    if k == Kind::Dir { Never(Errno::BADF) } else { Needs(r) }
}

fn positioned(k: Kind, r: Rights) -> Gate {
    match k {
        Kind::Dir => Never(Errno::BADF),
        Kind::File => Needs(r),
        _ => Never(Errno::SPIPE),
    }
}

fn sized(k: Kind, r: Rights) -> Gate {
    match k {
        Kind::Dir => Never(Errno::BADF),
        Kind::File => Needs(r),
        _ => Never(Errno::INVAL),
    }
}

fn dir(k: Kind, r: Rights) -> Gate {
    if k == Kind::Dir { Needs(r) } else { Never(Errno::NOTDIR) }
}

fn sock(k: Kind, r: Rights) -> Gate {
    if k == Kind::Sock { Needs(r) } else { Never(Errno::NOTSOCK) }
}

fn opens(g: &mut Guest, fd: u64, oflags: u64) -> i32 {
    match g.open_raw(fd, 1, b"file", oflags, Rights::empty(), Rights::empty(), 0) {
        Ok(new) => g.call("fd_close", &[new]),
        Err(e) => e,
    }
}

fn set_times(g: &mut Guest, fd: u64) -> i32 {
    let (p, l) = g.put(PATH1, b"file");
    g.call("path_filestat_set_times", &[fd, 0, p, l, 0, 0, 0])
}

fn polls(g: &mut Guest, fd: u64, kind: u8) -> i32 {
    g.sub_fd(0, 7, kind, fd as u32);
    g.sub_clock(1, 8, 1, 0, 0);
    let events = g.poll(2).unwrap();
    events.iter().find(|e| e.0 == 7).map_or(0, |e| i32::from(e.1))
}

fn sends(g: &mut Guest, fd: u64) -> i32 {
    g.call("sock_send", &[fd, IOVS, 0, 0, OUT])
}

/// A guest with one descriptor of each kind: 0 in, 1 out, 3 directory, 4 socket, 5 file.
fn with_all(t: &TempDir) -> (Guest, OwnedFd) {
    t.file("file", "contents");
    if !t.join("link").is_symlink() {
        t.link("file", "link");
    }
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let builder = quiet().caps(Caps::ALL).preopen(Preopen::new(&t.0, "/")).socket(theirs.into());
    let mut g = Guest::new(builder.stdin(Stdio::Bytes(b"input".to_vec())));
    assert_eq!(g.open("file", 0, Rights::all()), Ok(5));
    (g, ours.into())
}

const KINDS: [(u64, Kind); 5] =
    [(0, Kind::In), (1, Kind::Out), (3, Kind::Dir), (4, Kind::Sock), (5, Kind::File)];

fn rights_of(g: &mut Guest, fd: u64) -> (Rights, Rights) {
    assert_eq!(g.call("fd_fdstat_get", &[fd, OUT]), OK);
    let (b, i) = (g.u64_at(OUT + 8), g.u64_at(OUT + 16));
    (Rights::from_bits(b).unwrap(), Rights::from_bits(i).unwrap())
}

fn check(name: &str, got: i32, kind: Kind, base: Rights, gate: &Gate) {
    match gate {
        Never(errno) => assert_eq!(got, errno.code(), "{name} on {kind:?}"),
        Needs(r) if base.contains(*r) => {
            assert!(got != NOTCAPABLE && got != BADF, "{name} on {kind:?} with {base:?}: {got}");
        }
        Needs(_) => assert_eq!(got, NOTCAPABLE, "{name} on {kind:?} with {base:?}"),
    }
}

#[test]
fn r1_each_right_removed_stops_exactly_what_needs_it() {
    let t = TempDir::new();
    for (fd, kind) in KINDS {
        let (mut g, _peer) = with_all(&t);
        let (all, inheriting) = rights_of(&mut g, fd);
        for removed in std::iter::once(Rights::empty()).chain(Rights::all().iter()) {
            let (mut g, _peer) = with_all(&t);
            let base = all & !removed;
            assert_eq!(g.call("fd_fdstat_set_rights", &[fd, base.bits(), inheriting.bits()]), OK);
            for (name, run, gate) in OPERATIONS {
                check(name, run(&mut g, fd), kind, base, &gate(kind));
            }
        }
    }
}

#[test]
fn r1_the_reference_knows_every_function_that_takes_a_descriptor() {
    let with_fd = FUNCTIONS.iter().filter(|f| f.param_names.iter().any(|p| p.ends_with("fd")));
    let others = ["fd_close", "fd_fdstat_set_rights", "fd_prestat_get", "fd_prestat_dir_name"];
    for f in with_fd {
        let known = OPERATIONS.iter().any(|(name, ..)| name.split(' ').next() == Some(f.name));
        assert!(known || others.contains(&f.name), "{}", f.name);
    }
}

/// What the model knows of an open descriptor.
#[derive(Clone, Debug)]
struct Model {
    kind: Kind,
    base: Rights,
    inheriting: Rights,
    position: u64,
    append: bool,
}

struct Machine {
    g: Guest,
    open: BTreeMap<u64, Model>,
    contents: Vec<u8>,
    rng: Rng,
}

impl Machine {
    fn lowest_free(&self) -> u64 {
        (0..).find(|n| !self.open.contains_key(n)).unwrap()
    }

    /// A number that is probably open.
    fn number(&mut self) -> u64 {
        self.rng.below(self.open.len() as u64 + 3)
    }

    fn random_rights(&mut self) -> Rights {
        match self.rng.below(3) {
            0 => Rights::all(),
            1 => Rights::from_bits_truncate(self.rng.next() | self.rng.next()),
            _ => Rights::from_bits_truncate(self.rng.next()),
        }
    }

    fn step(&mut self) {
        match self.rng.below(12) {
            0 | 1 => self.open(),
            2 => self.close(),
            3 => self.renumber(),
            4 => self.set_rights(),
            5 => self.write(),
            6 => self.read(),
            7 => self.seek(),
            8 => self.resize(),
            9 => self.set_flags(),
            _ => self.any(),
        }
        let fd = self.number();
        self.compare(fd);
    }

    /// Whatever was done, a descriptor is what the model says it is.
    fn compare(&mut self, fd: u64) {
        let got = self.g.call("fd_fdstat_get", &[fd, OUT]);
        let Some(m) = self.open.get(&fd).cloned() else {
            assert_eq!(got, BADF, "{fd}");
            return;
        };
        assert_eq!(got, OK);
        assert_eq!(rights_of(&mut self.g, fd), (m.base, m.inheriting), "{fd}: {m:?}");
        assert_eq!(self.g.u16_at(OUT + 2) & 1 != 0, m.append);
        if m.kind == Kind::File && m.base.contains(Rights::FD_FILESTAT_GET) {
            assert_eq!(self.g.call("fd_filestat_get", &[fd, OUT]), OK);
            assert_eq!(self.g.u64_at(OUT + 32), self.contents.len() as u64);
        }
    }

    fn open(&mut self) {
        let from = self.number();
        let base = self.random_rights();
        let inheriting = self.random_rights();
        let append = self.rng.below(4) == 0;
        let directory = self.rng.below(2) == 0;
        let path: &[u8] = if directory { b"." } else { b"file" };
        let oflags = if directory { DIRECTORY } else { 0 };
        let got = self.g.open_raw(from, 1, path, oflags, base, inheriting, u64::from(append));
        let access = Rights::FD_READ | Rights::FD_WRITE | Rights::FD_READDIR | Rights::FD_ALLOCATE;
        let expected = match self.open.get(&from) {
            None => Err(BADF),
            Some(m) if m.kind != Kind::Dir => Err(Errno::NOTDIR.code()),
            Some(m) if !m.base.contains(Rights::PATH_OPEN) => Err(NOTCAPABLE),
            Some(m) if !m.inheriting.contains(base & access) => Err(NOTCAPABLE),
            Some(m) if append && !m.inheriting.contains(Rights::FD_WRITE) => Err(NOTCAPABLE),
            Some(m) => {
                let mask = if directory { DIRECTORY_RIGHTS } else { FILE_RIGHTS };
                Ok(Model {
                    kind: if directory { Kind::Dir } else { Kind::File },
                    base: base & m.inheriting & mask,
                    inheriting: if directory { inheriting & m.inheriting } else { Rights::empty() },
                    position: 0,
                    append,
                })
            }
        };
        let number = self.lowest_free();
        match expected {
            Ok(model) => {
                assert_eq!(got, Ok(number), "the lowest free number");
                self.open.insert(number, model);
            }
            Err(errno) => assert_eq!(got, Err(errno)),
        }
    }

    fn close(&mut self) {
        let fd = self.number();
        if fd == 3 && self.rng.below(8) != 0 {
            return;
        }
        let expected = if self.open.remove(&fd).is_some() { OK } else { BADF };
        assert_eq!(self.g.call("fd_close", &[fd]), expected);
    }

    fn renumber(&mut self) {
        let (from, to) = (self.number(), self.number());
        if to == 3 {
            return;
        }
        let both = self.open.contains_key(&from) && self.open.contains_key(&to);
        assert_eq!(self.g.call("fd_renumber", &[from, to]), if both { OK } else { BADF });
        if both && from != to {
            let moved = self.open.remove(&from).unwrap();
            self.open.insert(to, moved);
        }
    }

    fn set_rights(&mut self) {
        let fd = self.number();
        let (mut base, mut inheriting) = (self.random_rights(), self.random_rights());
        if let Some(m) = self.open.get(&fd) {
            // Mostly shrink by little, so that something remains to be tested.
            if self.rng.below(4) != 0 {
                base = m.base & (base | Rights::from_bits_truncate(self.rng.next()));
                inheriting =
                    m.inheriting & (inheriting | Rights::from_bits_truncate(self.rng.next()));
            }
        }
        let got = self.g.call("fd_fdstat_set_rights", &[fd, base.bits(), inheriting.bits()]);
        match self.open.get_mut(&fd) {
            None => assert_eq!(got, BADF),
            Some(m) if m.base.contains(base) && m.inheriting.contains(inheriting) => {
                assert_eq!(got, OK);
                (m.base, m.inheriting) = (base, inheriting);
            }
            Some(_) => assert_eq!(got, NOTCAPABLE),
        }
    }

    fn set_flags(&mut self) {
        let fd = self.number();
        let append = self.rng.below(2) == 1;
        let got = self.g.call("fd_fdstat_set_flags", &[fd, u64::from(append)]);
        match self.open.get_mut(&fd) {
            None => assert_eq!(got, BADF),
            Some(m) if !m.base.contains(Rights::FD_FDSTAT_SET_FLAGS) => assert_eq!(got, NOTCAPABLE),
            Some(m) if append && !matches!(m.kind, Kind::File | Kind::Dir) => {
                assert_eq!(got, Errno::INVAL.code())
            }
            Some(m) => {
                assert_eq!(got, OK);
                m.append = append;
            }
        }
    }

    fn write(&mut self) {
        let fd = self.number();
        let data: Vec<u8> = (0..self.rng.below(40)).map(|i| (i * 7) as u8).collect();
        let at = self.rng.below(100);
        let Some(m) = self.open.get_mut(&fd) else {
            assert_eq!(self.g.write_fd(fd, &data), Err(BADF));
            return;
        };
        if m.kind != Kind::File {
            return;
        }
        let positioned = self.rng.below(2) == 0;
        let needs = if positioned { Rights::FD_WRITE | Rights::FD_SEEK } else { Rights::FD_WRITE };
        let got =
            if positioned { self.g.pwrite_fd(fd, &data, at) } else { self.g.write_fd(fd, &data) };
        if !m.base.contains(needs) {
            assert_eq!(got, Err(NOTCAPABLE));
            return;
        }
        assert_eq!(got, Ok(data.len() as u32));
        let start = match (positioned, m.append) {
            (true, _) => at,
            (false, true) => self.contents.len() as u64,
            (false, false) => m.position,
        } as usize;
        if !data.is_empty() {
            let end = start + data.len();
            if self.contents.len() < end {
                self.contents.resize(end, 0);
            }
            self.contents[start..end].copy_from_slice(&data);
        }
        if !positioned && !data.is_empty() {
            m.position = (start + data.len()) as u64;
        }
    }

    fn read(&mut self) {
        let fd = self.number();
        let Some(m) = self.open.get_mut(&fd) else {
            assert_eq!(self.g.read_fd(fd, 1), Err(BADF));
            return;
        };
        if m.kind != Kind::File {
            return;
        }
        let (len, at) = (self.rng.below(60), self.rng.below(100));
        let positioned = self.rng.below(2) == 0;
        let needs = if positioned { Rights::FD_READ | Rights::FD_SEEK } else { Rights::FD_READ };
        let got = if positioned { self.g.pread_fd(fd, len, at) } else { self.g.read_fd(fd, len) };
        if !m.base.contains(needs) {
            assert_eq!(got, Err(NOTCAPABLE));
            return;
        }
        let start = (if positioned { at } else { m.position } as usize).min(self.contents.len());
        let end = (start + len as usize).min(self.contents.len());
        assert_eq!(got.as_deref(), Ok(&self.contents[start..end]));
        if !positioned && end > start {
            m.position = end as u64;
        }
    }

    fn seek(&mut self) {
        let fd = self.number();
        let (whence, delta) = (self.rng.below(3), self.rng.below(80) as i64 - 40);
        let delta = if self.rng.below(3) == 0 { 0 } else { delta };
        let got = self.g.seek(fd, delta, whence);
        let Some(m) = self.open.get_mut(&fd) else {
            assert_eq!(got, Err(BADF));
            return;
        };
        let errno = match m.kind {
            Kind::Dir => Some(BADF),
            Kind::File => None,
            _ => Some(Errno::SPIPE.code()),
        };
        let still = whence == 1 && delta == 0 && m.base.contains(Rights::FD_TELL);
        let from = [0, m.position as i64, self.contents.len() as i64][whence as usize];
        let expected = match errno {
            Some(errno) => Err(errno),
            None if !still && !m.base.contains(Rights::FD_SEEK) => Err(NOTCAPABLE),
            None if from + delta < 0 => Err(Errno::INVAL.code()),
            None => Ok((from + delta) as u64),
        };
        assert_eq!(got, expected, "{m:?}");
        if let Ok(position) = expected {
            m.position = position;
        }
    }

    fn resize(&mut self) {
        let fd = self.number();
        let size = self.rng.below(120);
        let got = self.g.call("fd_filestat_set_size", &[fd, size]);
        match self.open.get(&fd) {
            None => assert_eq!(got, BADF),
            Some(m) if m.kind == Kind::Dir => assert_eq!(got, BADF),
            Some(m) if m.kind != Kind::File => assert_eq!(got, Errno::INVAL.code()),
            Some(m) if !m.base.contains(Rights::FD_FILESTAT_SET_SIZE) => {
                assert_eq!(got, NOTCAPABLE)
            }
            Some(_) => {
                assert_eq!(got, OK);
                self.contents.resize(size as usize, 0);
            }
        }
    }

    /// Any operation that changes no state of the model.
    fn any(&mut self) {
        let harmless = |name: &str| {
            ![
                "fd_seek",
                "fd_allocate",
                "fd_filestat_set_size",
                "fd_fdstat_set_flags",
                "sock_shutdown",
            ]
            .contains(&name)
                && !name.contains("truncating")
        };
        let list: Vec<_> = OPERATIONS.iter().filter(|(name, ..)| harmless(name)).collect();
        let (name, run, gate) = *self.rng.pick(&list);
        let fd = self.number();
        let got = run(&mut self.g, fd);
        match self.open.get(&fd) {
            None => assert_eq!(got, BADF, "{name}"),
            Some(m) => check(name, got, m.kind, m.base, &gate(m.kind)),
        }
    }
}

/// What means anything on a file and on a directory, written down a second time.
const FILE_RIGHTS: Rights = Rights::from_bits_truncate(0x08e0_01ff);
const DIRECTORY_RIGHTS: Rights = Rights::from_bits_truncate(0x07bf_fe19);

/// Six hundred random calls, each compared with the model.
fn random_sequence(seed: u64) {
    let t = TempDir::new();
    let (mut g, _peer) = with_all(&t);
    let kinds = [Kind::In, Kind::Out, Kind::Out, Kind::Dir, Kind::Sock, Kind::File];
    let mut open = BTreeMap::new();
    for (fd, kind) in kinds.into_iter().enumerate() {
        let (base, inheriting) = rights_of(&mut g, fd as u64);
        open.insert(fd as u64, Model { kind, base, inheriting, position: 0, append: false });
    }
    let rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut m = Machine { g, open, contents: b"contents".to_vec(), rng };
    for _ in 0..600 {
        if m.open.len() > 40 {
            let last = *m.open.keys().next_back().unwrap();
            m.open.remove(&last);
            assert_eq!(m.g.call("fd_close", &[last]), OK);
        }
        m.step();
    }
    assert_eq!(t.read("file"), m.contents, "seed {seed}");
    assert_eq!(m.g.ctx.open_descriptors(), m.open.len());
    assert_eq!(m.g.used(palisade_wasi::Resource::Descriptors), m.open.len() as u64);
}

/// With `PALISADE_SECONDS=N` in the environment it goes on for so long, from `PALISADE_SEED=S` or a seed made of the
/// time, and says which seed it was when something differs.
#[test]
fn r1_random_sequences_behave_as_the_model_does() {
    for seed in 1..=24u64 {
        random_sequence(seed);
    }
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
    };
    let Some(seconds) = number("PALISADE_SECONDS") else { return };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let first = number("PALISADE_SEED").unwrap_or(now);
    let began = std::time::Instant::now();
    let mut seed = first;
    while began.elapsed().as_secs() < seconds {
        if let Err(panic) = std::panic::catch_unwind(|| random_sequence(seed)) {
            eprintln!("PALISADE_SEED={seed} repeats it");
            std::panic::resume_unwind(panic);
        }
        seed = seed.wrapping_add(1);
    }
    println!("{} sequences of 600 calls from PALISADE_SEED={first}", seed.wrapping_sub(first));
}

#[test]
fn r2_rights_only_shrink() {
    let t = TempDir::new();
    t.file("file", "x");
    let mut g = full(&t);
    let fd = g.open("file", 0, Rights::FD_READ | Rights::FD_SEEK).unwrap();
    assert_eq!(rights_of(&mut g, fd), (Rights::FD_READ | Rights::FD_SEEK, Rights::empty()));
    let set = |g: &mut Guest, fd, b: Rights, i: Rights| {
        g.call("fd_fdstat_set_rights", &[fd, b.bits(), i.bits()])
    };
    assert_eq!(set(&mut g, fd, Rights::FD_READ | Rights::FD_WRITE, Rights::empty()), NOTCAPABLE);
    assert_eq!(set(&mut g, fd, Rights::FD_READ, Rights::FD_READ), NOTCAPABLE);
    assert_eq!(set(&mut g, fd, Rights::FD_SEEK, Rights::empty()), OK);
    assert_eq!(g.read_fd(fd, 1), Err(NOTCAPABLE));
    assert_eq!(set(&mut g, fd, Rights::FD_READ, Rights::empty()), NOTCAPABLE);
    assert_eq!(g.call("fd_fdstat_set_rights", &[fd, 1 << 30, 0]), e(Errno::INVAL));
    // What is opened has no more than the directory passes on, two levels down as well.
    let (base, inheriting) = rights_of(&mut g, 3);
    assert_eq!(set(&mut g, 3, base, inheriting & !Rights::FD_WRITE & !Rights::FD_ALLOCATE), OK);
    for r in [Rights::FD_WRITE, Rights::FD_ALLOCATE, RW] {
        assert_eq!(g.open("file", 0, r), Err(NOTCAPABLE));
    }
    let dir =
        g.open(".", DIRECTORY, Rights::all() & !Rights::FD_WRITE & !Rights::FD_ALLOCATE).unwrap();
    assert_eq!(
        g.open_raw(dir, 1, b"file", 0, Rights::FD_WRITE, Rights::empty(), 0),
        Err(NOTCAPABLE)
    );
    assert_eq!(
        g.open_raw(dir, 1, b"file", 0, Rights::FD_READ, Rights::empty(), 1),
        Err(NOTCAPABLE),
        "append"
    );
    let again = g.open_raw(dir, 1, b".", DIRECTORY, Rights::PATH_OPEN, Rights::all(), 0).unwrap();
    assert!(!rights_of(&mut g, again).1.contains(Rights::FD_WRITE));
}

#[test]
fn r3_renumbering_never_fails_badly_or_leaks() {
    let t = TempDir::new();
    t.file("file", "x");
    let mut g = full(&t);
    let fd = g.open("file", 0, RW).unwrap();
    assert_eq!(g.call("fd_renumber", &[fd, fd]), OK);
    for (from, to) in
        [(fd, 1 << 31), (fd, 0xffff_ffff), (fd, 99), (99, fd), (1 << 31, fd), (99, 99)]
    {
        assert_eq!(g.call("fd_renumber", &[from, to]), BADF, "{from} {to}");
    }
    for _ in 0..100_000 {
        let other = g.open("file", 0, Rights::FD_READ).unwrap();
        assert_eq!(g.call("fd_renumber", &[other, fd]), OK);
    }
    assert_eq!(g.ctx.open_descriptors(), 5);
    assert_eq!(host_fds(&t), 3, "the grant, the preopen, the file");
    // Over a standard stream and over a preopen: both are closed, and the number is what was moved there.
    let other = g.open("file", 0, Rights::FD_READ).unwrap();
    assert_eq!(g.call("fd_renumber", &[other, 1]), OK);
    assert_eq!(g.read_fd(1, 1), Ok(b"x".to_vec()));
    assert_eq!(g.call("fd_renumber", &[1, 3]), OK);
    assert_eq!(g.call("fd_prestat_get", &[3, OUT]), BADF);
    assert_eq!(g.open("file", 0, RW), Err(e(Errno::NOTDIR)));
    assert_eq!(g.call("fd_fdstat_get", &[1, OUT]), BADF);
    // A preopen that was moved is still one.
    drop(g);
    let mut g = full(&t);
    let fd = g.open("file", 0, RW).unwrap();
    assert_eq!(g.call("fd_renumber", &[3, fd]), OK);
    assert_eq!(g.call("fd_prestat_get", &[fd, OUT]), OK);
    drop(g);
    assert_eq!(host_fds(&t), 0);
}

#[test]
fn r4_closing_closes_and_numbers_are_reused_lowest_first() {
    let t = TempDir::new();
    t.file("file", "x");
    let mut g = full(&t);
    for fd in 0..4 {
        assert_eq!(g.call("fd_close", &[fd]), OK);
        assert_eq!(g.call("fd_close", &[fd]), BADF);
        for (name, run, _) in OPERATIONS {
            assert_eq!(run(&mut g, fd), BADF, "{name} after close");
        }
    }
    assert_eq!(g.ctx.open_descriptors(), 0);
    assert_eq!(host_fds(&t), 1, "only the grant remembers its root");
    let mut g = full(&t);
    for expected in 4..20 {
        assert_eq!(g.open("file", 0, RW), Ok(expected));
    }
    for fd in [17, 5, 9] {
        assert_eq!(g.call("fd_close", &[fd]), OK);
    }
    for expected in [5, 9, 17, 20] {
        assert_eq!(g.open("file", 0, RW), Ok(expected));
    }
}

#[test]
fn r5_descriptors_of_the_process_are_not_the_guests() {
    let t = TempDir::new();
    t.file("file", "x");
    let secret = std::fs::File::open(t.join("file")).unwrap();
    let mut g = full(&t);
    for fd in (4..1100).chain([(secret.as_raw_fd() as u64).max(4), 1 << 31, 0xffff_ffff]) {
        assert_eq!(g.call("fd_fdstat_get", &[fd, OUT]), BADF, "{fd}");
    }
    g.open("file", 0, RW).unwrap();
    g.open(".", DIRECTORY, Rights::all()).unwrap();
    // Everything that is opened for the guest is closed on exec.
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        // Other tests open and close meanwhile; what leads into our directory stays.
        let link = || std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        if !link().starts_with(&t.0) {
            continue;
        }
        let info = std::fs::read_to_string(entry.path()).unwrap();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap().trim();
        let flags = u64::from_str_radix(flags, 8).unwrap();
        assert_ne!(flags & 0o2000000, 0, "{:?}", link());
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn r5_only_a_terminal_looks_like_one() {
    let t = TempDir::new();
    let looks = |g: &mut Guest, fd| {
        g.call("fd_fdstat_get", &[fd, OUT]);
        let kind = g.get(OUT, 1)[0];
        let (base, _) = rights_of(g, fd);
        kind == 2 && !base.intersects(Rights::FD_SEEK | Rights::FD_TELL)
    };
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let file: OwnedFd = std::fs::File::create(t.join("out")).unwrap().into();
    let builder = quiet().stdin(Stdio::Fd(read)).stdout(Stdio::Fd(write)).stderr(Stdio::Fd(file));
    let mut g = Guest::new(builder);
    for fd in 0..3 {
        assert!(!looks(&mut g, fd), "{fd}");
    }
    assert_eq!(g.call("fd_fdstat_get", &[2, OUT]), OK);
    assert_eq!(g.get(OUT, 1), [4], "a file says that it is one");
    let null = || -> OwnedFd {
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into()
    };
    let mut g = Guest::new(quiet().stdin(Stdio::Fd(null())).stdout(Stdio::Fd(null())));
    assert!(!looks(&mut g, 0) && !looks(&mut g, 1) && !looks(&mut g, 2));
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY);
    let opened = master.and_then(|m| {
        rustix::pty::grantpt(&m)?;
        rustix::pty::unlockpt(&m)?;
        let name = rustix::pty::ptsname(&m, Vec::new())?;
        let flags =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
        Ok((m, slave))
    });
    match opened {
        Ok((_master, slave)) => {
            let mut g = Guest::new(quiet().stdout(Stdio::Fd(slave)));
            assert!(looks(&mut g, 1));
            assert_eq!(g.write_fd(1, b"hello\n"), Ok(6));
        }
        Err(e) => println!("r5: terminal NOT RUN, no pseudo-terminal here: {e}"),
    }
}
