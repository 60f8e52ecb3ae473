//! A model of directories, links, grants and what may be done through them, and random calls that are held
//! against it: every error number, every tree.
//!
//! The model is written down a second time, from what POSIX and the documentation say, and shares no code with what
//! it judges. Three directories are granted: one with every capability, one without writing, and one with every
//! capability inside of the weaker one. Beside them lies a tree that is granted to nobody and may never change.

#![allow(unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_wasi::{Caps, Errno, Preopen, Rights};

use super::common::*;

/// How many links the kernel follows in one path.
const MOST_LINKS: u32 = 40;

type Id = usize;

#[derive(Clone, Debug)]
enum Node {
    Dir { entries: BTreeMap<String, Id>, parent: Option<Id>, gone: bool },
    File { bytes: Vec<u8> },
    Link { target: String },
}

/// A descriptor that leads to a directory.
#[derive(Clone, Copy, Debug)]
struct Handle {
    dir: Id,
    grant: usize,
    rights: Rights,
}

/// What resolution found.
struct Found {
    node: Id,
}

type Outcome<T> = Result<T, Errno>;

/// The calls and the model side by side.
pub struct Tree {
    guest: Guest,
    rng: Rng,
    nodes: Vec<Node>,
    handles: BTreeMap<u64, Handle>,
    /// The directories granted, and all that can be done in each.
    grants: [(Id, Rights); 3],
    folder: TempDir,
    /// What was done last, for whoever has to find out what went wrong.
    log: Vec<String>,
    outside: BTreeSet<String>,
}

/// How many calls were made, and how many of them the model expected to succeed.
#[derive(Default, Debug)]
pub struct Counts {
    pub calls: u64,
    pub successes: u64,
}

impl Tree {
    fn new(seed: u64) -> Self {
        let folder = TempDir::new();
        folder.dir("outside/inner");
        folder.file("outside/secret", "nobody's");
        folder.dir("strong");
        folder.dir("weak/nest");
        let weak = Caps::READ | Caps::PATH;
        let builder = quiet()
            .caps(Caps::ALL)
            .preopen(Preopen::new(folder.join("strong"), "/strong"))
            .preopen(Preopen::new(folder.join("weak"), "/weak").caps(weak))
            .preopen(Preopen::new(folder.join("weak/nest"), "/nest"));
        let mut guest = Guest::new(builder);
        let dir = |parent| Node::Dir { entries: BTreeMap::new(), parent, gone: false };
        let mut nodes = vec![dir(None), dir(None), dir(Some(1))];
        if let Node::Dir { entries, .. } = &mut nodes[1] {
            entries.insert("nest".to_owned(), 2);
        }
        let mut grants = [(0, Rights::empty()), (1, Rights::empty()), (2, Rights::empty())];
        let mut handles = BTreeMap::new();
        for (grant, place) in grants.iter_mut().enumerate() {
            let fd = grant as u64 + 3;
            assert_eq!(guest.call("fd_fdstat_get", &[fd, OUT]), OK);
            let [base, inheriting] =
                [8, 16].map(|at| Rights::from_bits_truncate(guest.u64_at(OUT + at)));
            place.1 = base | inheriting;
            handles.insert(fd, Handle { dir: grant, grant, rights: base | inheriting });
        }
        let outside = listing(&folder.join("outside"));
        let rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Self { guest, rng, nodes, handles, grants, folder, log: Vec::new(), outside }
    }

    // ---- the model ----

    fn entries(&self, dir: Id) -> Option<&BTreeMap<String, Id>> {
        match &self.nodes[dir] {
            Node::Dir { entries, .. } => Some(entries),
            _ => None,
        }
    }

    fn entries_mut(&mut self, dir: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.nodes[dir] {
            Node::Dir { entries, .. } => entries,
            other => panic!("no directory: {other:?}"),
        }
    }

    fn is_dir(&self, node: Id) -> bool {
        matches!(self.nodes[node], Node::Dir { .. })
    }

    /// Walks from `root`, which is never left. A link at the end is followed if `follow`.
    fn walk(&self, root: Id, path: &str, follow: bool) -> Outcome<Found> {
        let mut links = 0;
        self.walk_from(root, root, path, follow, &mut links).map(|node| Found { node })
    }

    fn walk_from(
        &self,
        root: Id,
        from: Id,
        path: &str,
        follow: bool,
        links: &mut u32,
    ) -> Outcome<Id> {
        if path.starts_with('/') {
            return Err(Errno::NOTCAPABLE);
        }
        let mut here = from;
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for (at, &part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            let Some(entries) = self.entries(here) else { return Err(Errno::NOTDIR) };
            here = match part {
                "." => here,
                ".." if here == root => return Err(Errno::NOTCAPABLE),
                ".." => match &self.nodes[here] {
                    Node::Dir { parent: Some(parent), .. } => *parent,
                    _ => return Err(Errno::NOTCAPABLE),
                },
                name => {
                    let next = *entries.get(name).ok_or(Errno::NOENT)?;
                    match &self.nodes[next] {
                        Node::Link { target } if !last || follow || path.ends_with('/') => {
                            *links += 1;
                            if *links > MOST_LINKS {
                                return Err(Errno::LOOP);
                            }
                            let found = self.walk_from(root, here, target, true, links)?;
                            if target.ends_with('/') && !self.is_dir(found) {
                                return Err(Errno::NOTDIR);
                            }
                            found
                        }
                        _ => next,
                    }
                }
            };
        }
        if path.ends_with('/') && !self.is_dir(here) {
            return Err(Errno::NOTDIR);
        }
        Ok(here)
    }

    /// The directory that an entry is in, and its name; `dots` where a path names a directory without an entry.
    fn entry<'p>(&self, root: Id, path: &'p str, dots: Errno) -> Outcome<(Id, &'p str)> {
        let (trimmed, _) = trim(path);
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
        let dir = |path| {
            let found = self.walk(root, path, true)?.node;
            if self.is_dir(found) { Ok(found) } else { Err(Errno::NOTDIR) }
        };
        if name == "." || name == ".." {
            dir(trimmed)?;
            return Err(dots);
        }
        Ok((dir(parent)?, name))
    }

    fn lookup(&self, (dir, name): (Id, &str)) -> Outcome<Id> {
        self.entries(dir).and_then(|entries| entries.get(name)).copied().ok_or(Errno::NOENT)
    }

    /// Whether something new can be put there.
    fn vacant(&self, entry: (Id, &str)) -> Outcome<()> {
        match (self.lookup(entry), &self.nodes[entry.0]) {
            (Ok(_), _) => Err(Errno::EXIST),
            (Err(_), Node::Dir { gone: true, .. }) => Err(Errno::NOENT),
            _ => Ok(()),
        }
    }

    /// A slash behind the name of what is going to be no directory.
    fn new_entry_slash(&self, path: &str, entry: (Id, &str)) -> Outcome<()> {
        if !trim(path).1 {
            return Ok(());
        }
        let there = self.lookup(entry)?;
        Err(if self.is_dir(there) { Errno::EXIST } else { Errno::NOTDIR })
    }

    fn add(&mut self, (dir, name): (Id, &str), node: Node) -> Id {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.entries_mut(dir).insert(name.to_owned(), id);
        id
    }

    /// Whether `dir` is `other` or lies within it.
    fn within(&self, mut dir: Id, other: Id) -> bool {
        loop {
            if dir == other {
                return true;
            }
            match &self.nodes[dir] {
                Node::Dir { parent: Some(parent), .. } => dir = *parent,
                _ => return false,
            }
        }
    }

    /// What is moved or linked to a directory must not become more than it was.
    fn no_stronger(&self, from: Handle, to: Handle, target: Id) -> Outcome<()> {
        let source = self.grants[from.grant].1;
        let weaker = |rights: Rights| source.contains(rights);
        let granted = self.grants.iter().copied();
        let open = self.handles.values().map(|handle| (handle.dir, handle.rights));
        let mut around = granted.chain(open).filter(|&(_, rights)| !weaker(rights));
        let met = around.any(|(dir, _)| self.within(target, dir));
        if !weaker(self.grants[to.grant].1) || met { Err(Errno::NOTCAPABLE) } else { Ok(()) }
    }

    fn needs(&self, handle: Handle, right: Rights) -> Outcome<()> {
        if handle.rights.contains(right) { Ok(()) } else { Err(Errno::NOTCAPABLE) }
    }

    fn make_dir(&mut self, at: Handle, path: &str) -> Outcome<()> {
        check(path)?;
        self.needs(at, Rights::PATH_CREATE_DIRECTORY)?;
        let entry = self.entry(at.dir, path, Errno::EXIST)?;
        self.vacant(entry)?;
        self.add(entry, Node::Dir { entries: BTreeMap::new(), parent: Some(entry.0), gone: false });
        Ok(())
    }

    fn remove_dir(&mut self, at: Handle, path: &str) -> Outcome<()> {
        check(path)?;
        self.needs(at, Rights::PATH_REMOVE_DIRECTORY)?;
        let dots = if trim(path).0.ends_with("..") { Errno::NOTEMPTY } else { Errno::INVAL };
        let entry = self.entry(at.dir, path, dots)?;
        let node = self.lookup(entry)?;
        match &mut self.nodes[node] {
            Node::Dir { entries, .. } if !entries.is_empty() => return Err(Errno::NOTEMPTY),
            Node::Dir { gone, .. } => *gone = true,
            _ => return Err(Errno::NOTDIR),
        }
        self.entries_mut(entry.0).remove(entry.1);
        Ok(())
    }

    fn unlink(&mut self, at: Handle, path: &str) -> Outcome<()> {
        check(path)?;
        self.needs(at, Rights::PATH_UNLINK_FILE)?;
        let entry = self.entry(at.dir, path, Errno::ISDIR)?;
        let node = self.lookup(entry)?;
        if self.is_dir(node) {
            return Err(Errno::ISDIR);
        }
        if trim(path).1 {
            return Err(Errno::NOTDIR);
        }
        self.entries_mut(entry.0).remove(entry.1);
        Ok(())
    }

    fn symlink(&mut self, target: &str, at: Handle, path: &str) -> Outcome<()> {
        check(target)?;
        check(path)?;
        self.needs(at, Rights::PATH_SYMLINK)?;
        let entry = self.entry(at.dir, path, Errno::EXIST)?;
        self.new_entry_slash(path, entry)?;
        self.vacant(entry)?;
        self.add(entry, Node::Link { target: target.to_owned() });
        Ok(())
    }

    fn link(&mut self, from: Handle, old: &str, to: Handle, new: &str) -> Outcome<()> {
        check(old)?;
        check(new)?;
        self.needs(from, Rights::PATH_LINK_SOURCE)?;
        self.needs(to, Rights::PATH_LINK_TARGET)?;
        let source = self.entry(from.dir, old, Errno::PERM)?;
        let target = self.entry(to.dir, new, Errno::EXIST)?;
        self.no_stronger(from, to, target.0)?;
        let node = self.lookup(source)?;
        if self.is_dir(node) {
            return Err(Errno::PERM);
        }
        if trim(old).1 {
            return Err(Errno::NOTDIR);
        }
        self.new_entry_slash(new, target)?;
        self.vacant(target)?;
        self.entries_mut(target.0).insert(target.1.to_owned(), node);
        Ok(())
    }

    fn rename(&mut self, from: Handle, old: &str, to: Handle, new: &str) -> Outcome<()> {
        check(old)?;
        check(new)?;
        self.needs(from, Rights::PATH_RENAME_SOURCE)?;
        self.needs(to, Rights::PATH_RENAME_TARGET)?;
        let source = self.entry(from.dir, old, Errno::BUSY)?;
        let target = self.entry(to.dir, new, Errno::BUSY)?;
        self.no_stronger(from, to, target.0)?;
        let node = self.lookup(source)?;
        if (trim(old).1 || trim(new).1) && !self.is_dir(node) {
            return Err(Errno::NOTDIR);
        }
        // A directory cannot move into itself, nor take the place of what it is in.
        if self.is_dir(node) && self.within(target.0, node) {
            return Err(Errno::INVAL);
        }
        let there = self.lookup(target).ok();
        if there.is_some_and(|there| self.is_dir(there) && self.within(source.0, there)) {
            return Err(Errno::NOTEMPTY);
        }
        if there == Some(node) {
            return Ok(());
        }
        match there {
            Some(there) if self.is_dir(there) => {
                if !self.is_dir(node) {
                    return Err(Errno::ISDIR);
                }
                let Node::Dir { entries, gone, .. } = &mut self.nodes[there] else { return Ok(()) };
                if !entries.is_empty() {
                    return Err(Errno::NOTEMPTY);
                }
                *gone = true;
            }
            Some(_) if self.is_dir(node) => return Err(Errno::NOTDIR),
            Some(_) => {}
            None => self.vacant(target)?,
        }
        self.entries_mut(source.0).remove(source.1);
        self.entries_mut(target.0).insert(target.1.to_owned(), node);
        if let Node::Dir { parent, .. } = &mut self.nodes[node] {
            *parent = Some(target.0);
        }
        Ok(())
    }

    fn stat(&self, at: Handle, path: &str, follow: bool) -> Outcome<Id> {
        check(path)?;
        self.needs(at, Rights::PATH_FILESTAT_GET)?;
        let (trimmed, must_be_dir) = trim(path);
        let node = self.walk(at.dir, trimmed, follow)?.node;
        if must_be_dir && !self.is_dir(node) { Err(Errno::NOTDIR) } else { Ok(node) }
    }

    fn read_link(&self, at: Handle, path: &str) -> Outcome<String> {
        check(path)?;
        self.needs(at, Rights::PATH_READLINK)?;
        let (trimmed, must_be_dir) = trim(path);
        match &self.nodes[self.walk(at.dir, trimmed, false)?.node] {
            Node::Link { .. } | Node::File { .. } if must_be_dir => Err(Errno::NOTDIR),
            Node::Link { target } => Ok(target.clone()),
            _ => Err(Errno::INVAL),
        }
    }

    /// What opening leads to; a file that is asked for may be made.
    fn open(&mut self, at: Handle, path: &str, follow: bool, how: u64, write: bool) -> Outcome<Id> {
        check(path)?;
        let is = |flag| how & flag != 0;
        if is(DIRECTORY) && is(CREAT | EXCL | TRUNC) {
            return Err(Errno::INVAL);
        }
        self.needs(at, Rights::PATH_OPEN)?;
        if is(CREAT) {
            self.needs(at, Rights::PATH_CREATE_FILE)?;
        }
        if is(TRUNC) {
            self.needs(at, Rights::PATH_FILESTAT_SET_SIZE)?;
        }
        if write {
            self.needs(at, Rights::FD_WRITE)?;
        }
        let exclusive = is(CREAT) && is(EXCL);
        let (trimmed, must_be_dir) = trim(path);
        let found = match self.walk(at.dir, trimmed, follow && !exclusive) {
            Err(Errno::NOENT) if is(CREAT) && must_be_dir => return Err(Errno::ISDIR),
            Err(Errno::NOENT) if is(CREAT) => {
                let entry = self.place(at.dir, trimmed, follow && !exclusive)?;
                self.vacant((entry.0, &entry.1))?;
                return Ok(self.add((entry.0, &entry.1), Node::File { bytes: Vec::new() }));
            }
            other => other?.node,
        };
        if exclusive {
            return Err(Errno::EXIST);
        }
        let wants_dir = is(DIRECTORY) || must_be_dir;
        match &mut self.nodes[found] {
            Node::Dir { .. } if is(CREAT | TRUNC) => return Err(Errno::ISDIR),
            Node::Dir { .. } if write && !is(DIRECTORY) => return Err(Errno::ISDIR),
            Node::Dir { .. } => {}
            _ if wants_dir => return Err(Errno::NOTDIR),
            Node::Link { .. } => return Err(Errno::LOOP),
            Node::File { bytes } if is(TRUNC) => bytes.clear(),
            Node::File { .. } => {}
        }
        Ok(found)
    }

    /// Where a file would be made, behind links that lead nowhere.
    fn place(&self, root: Id, path: &str, follow: bool) -> Outcome<(Id, String)> {
        let mut links = 0;
        let (mut from, mut path) = (root, path.to_owned());
        loop {
            let (trimmed, must_be_dir) = trim(&path);
            let (parent, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
            let dir = self.walk_from(root, from, parent, true, &mut links)?;
            if must_be_dir {
                return Err(Errno::ISDIR);
            }
            if name == "." || name == ".." {
                return Err(Errno::NOENT);
            }
            match self.lookup((dir, name)).map(|node| &self.nodes[node]) {
                Ok(Node::Link { target }) if follow => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = target.clone();
                    (from, path) = (dir, target);
                }
                _ => return Ok((dir, name.to_owned())),
            }
        }
    }

    // ---- random calls ----

    fn name(&mut self) -> &'static str {
        self.rng.pick::<&str>(&["a", "b", "c", "d", "nest"])
    }

    /// A path that leads to something from a directory, or to a new name in it.
    fn likely_path(&mut self, from: Id) -> String {
        let (mut here, mut path) = (from, String::new());
        for _ in 0..1 + self.rng.below(3) {
            let chosen = self.rng.next() as usize;
            let count = self.entries(here).map_or(0, BTreeMap::len);
            if count == 0 || self.rng.below(4) == 0 {
                path.push_str(self.name());
                return path;
            }
            let Some((name, &node)) = self.entries(here).and_then(|e| e.iter().nth(chosen % count))
            else {
                break;
            };
            path.push_str(name);
            here = node;
            path.push('/');
        }
        path.pop();
        path
    }

    fn path(&mut self, from: Id) -> String {
        if self.rng.below(3) != 0 {
            return self.likely_path(from);
        }
        let mut path = String::new();
        for at in 0..1 + self.rng.below(4) {
            if at > 0 {
                path.push('/');
            }
            path.push_str(match self.rng.below(12) {
                0 => ".",
                1 => "..",
                2 => "",
                _ => self.name(),
            });
        }
        if self.rng.below(12) == 0 {
            path.push('/');
        }
        if self.rng.below(40) == 0 {
            path.insert(0, '/');
        }
        if self.rng.below(60) == 0 {
            path = "../outside/secret".to_owned();
        }
        path
    }

    fn handle(&mut self) -> (u64, Handle) {
        let at = self.rng.below(self.handles.len() as u64) as usize;
        let (&fd, &handle) = self.handles.iter().nth(at).expect("preopens stay open");
        (fd, handle)
    }

    fn expect<T>(&mut self, counts: &mut Counts, what: String, expected: &Outcome<T>, got: i32) {
        self.log.push(what);
        counts.calls += 1;
        counts.successes += u64::from(expected.is_ok());
        let expected = expected.as_ref().map_or_else(|errno| errno.code(), |_| OK);
        if got != expected {
            self.fail(&format!("the model expects {expected}, found {got}"));
        }
    }

    fn fail(&self, what: &str) -> ! {
        let from = self.log.len().saturating_sub(400);
        panic!("{what}; the last calls:\n{}", self.log[from..].join("\n"))
    }

    fn step(&mut self, counts: &mut Counts) {
        let (fd, at) = self.handle();
        let path = self.path(at.dir);
        match self.rng.below(14) {
            0 | 1 => {
                let expected = self.make_dir(at, &path);
                let got = self.guest.on_path("path_create_directory", fd, path.as_bytes(), &[]);
                self.expect(counts, format!("mkdir {fd} {path}"), &expected, got);
            }
            2 => {
                let expected = self.remove_dir(at, &path);
                let got = self.guest.on_path("path_remove_directory", fd, path.as_bytes(), &[]);
                self.expect(counts, format!("rmdir {fd} {path}"), &expected, got);
            }
            3 => {
                let expected = self.unlink(at, &path);
                let got = self.guest.on_path("path_unlink_file", fd, path.as_bytes(), &[]);
                self.expect(counts, format!("unlink {fd} {path}"), &expected, got);
            }
            4 | 5 => {
                let target = self.path(at.dir);
                let expected = self.symlink(&target, at, &path);
                let got = self.guest.symlink(&target, fd, &path);
                self.expect(counts, format!("symlink {target} {fd} {path}"), &expected, got);
            }
            kind @ (6 | 7) => {
                let (to_fd, to) = self.handle();
                let new = self.path(to.dir);
                let (name, expected) = if kind == 6 {
                    ("path_link", self.link(at, &path, to, &new))
                } else {
                    ("path_rename", self.rename(at, &path, to, &new))
                };
                let got = self.guest.two_paths(name, fd, &path, to_fd, &new);
                self.expect(counts, format!("{name} {fd} {path} {to_fd} {new}"), &expected, got);
            }
            8 => {
                let follow = self.rng.below(2) == 0;
                let expected = self.stat(at, &path, follow);
                let found = self.guest.stat(fd, u64::from(follow), &path);
                let got = found.as_ref().map_or_else(|&errno| errno, |_| OK);
                self.expect(counts, format!("stat {fd} {path} {follow}"), &expected, got);
                if let (Ok(node), Ok(stat)) = (expected, found) {
                    let (kind, size) = match &self.nodes[node] {
                        Node::Dir { .. } => (3, None),
                        Node::File { bytes } => (4, Some(bytes.len() as u64)),
                        Node::Link { .. } => (7, None),
                    };
                    let found = u64::from_le_bytes(stat[32..40].try_into().expect("eight bytes"));
                    if stat[16] != kind || size.is_some_and(|size| size != found) {
                        self.fail(&format!("another kind or size: {kind} {size:?}"));
                    }
                }
            }
            9 => {
                let expected = self.read_link(at, &path);
                let got =
                    self.guest.on_path("path_readlink", fd, path.as_bytes(), &[DATA, 999, OUT]);
                self.expect(counts, format!("readlink {fd} {path}"), &expected, got);
                if let Ok(target) = expected {
                    let len = self.guest.u32_at(OUT) as usize;
                    if self.guest.get(DATA, len) != target.as_bytes() {
                        self.fail("another target");
                    }
                }
            }
            _ => self.open_something(counts, fd, at, &path),
        }
    }

    /// Opens; writes into what is a file, and sometimes keeps what is a directory.
    fn open_something(&mut self, counts: &mut Counts, fd: u64, at: Handle, path: &str) {
        let follow = self.rng.below(3) != 0;
        let how =
            *self.rng.pick(&[0, 0, CREAT, CREAT, CREAT | EXCL, TRUNC, DIRECTORY, DIRECTORY, 3]);
        let write = self.rng.below(2) == 0;
        let asked = if write { Rights::FD_WRITE } else { Rights::empty() };
        // Whatever asks for these has to fail where what is opened cannot be written, or read.
        let data = Rights::FD_READ | Rights::FD_WRITE | Rights::FD_ALLOCATE;
        let base = asked | (at.rights & !data);
        let expected = self.open(at, path, follow, how, write);
        let opened =
            self.guest.open_raw(fd, u64::from(follow), path.as_bytes(), how, base, at.rights, 0);
        let got = opened.as_ref().map_or_else(|&errno| errno, |_| OK);
        let what = format!("open {fd} {path} follow {follow} how {how} write {write}");
        self.expect(counts, what, &expected, got);
        let (Ok(node), Ok(opened)) = (expected, opened) else { return };
        match &mut self.nodes[node] {
            Node::File { bytes } if write && at.rights.contains(Rights::FD_WRITE) => {
                let text = format!("{}", counts.calls);
                let len = bytes.len().max(text.len());
                bytes.resize(len, 0);
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                let wrote = self.guest.write_fd(opened, text.as_bytes());
                assert_eq!(wrote, Ok(text.len() as u32));
            }
            Node::Dir { .. } if self.handles.len() < 12 && self.rng.below(3) == 0 => {
                assert_eq!(self.guest.call("fd_fdstat_get", &[opened, OUT]), OK);
                let [base, inheriting] =
                    [8, 16].map(|at| Rights::from_bits_truncate(self.guest.u64_at(OUT + at)));
                let rights = base | inheriting;
                self.handles.insert(opened, Handle { dir: node, grant: at.grant, rights });
                self.log.push(format!("  kept as {opened}"));
                return;
            }
            _ => {}
        }
        assert_eq!(self.guest.call("fd_close", &[opened]), OK);
    }

    /// Closes a directory that was kept.
    fn close_one(&mut self) {
        let kept: Vec<u64> = self.handles.keys().copied().filter(|&fd| fd > 5).collect();
        if !kept.is_empty() {
            let fd = *self.rng.pick(&kept);
            self.handles.remove(&fd);
            self.log.push(format!("close {fd}"));
            assert_eq!(self.guest.call("fd_close", &[fd]), OK);
        }
    }

    /// The trees of the host against those of the model.
    fn compare(&self) {
        for (name, root) in [("strong", 0), ("weak", 1)] {
            let mut expected = BTreeSet::new();
            self.list("", root, &mut expected);
            let found = listing(&self.folder.join(name));
            if found != expected {
                self.fail(&format!("{name} is\n{found:#?}\nnot\n{expected:#?}"));
            }
        }
        assert_eq!(listing(&self.folder.join("outside")), self.outside, "outside of every grant");
    }

    fn list(&self, before: &str, dir: Id, into: &mut BTreeSet<String>) {
        for (name, &node) in self.entries(dir).into_iter().flatten() {
            let path = format!("{before}/{name}");
            match &self.nodes[node] {
                Node::Dir { .. } => {
                    self.list(&path, node, into);
                    into.insert(format!("{path} is a directory"));
                }
                Node::File { bytes } => {
                    into.insert(format!("{path} holds {:?}", String::from_utf8_lossy(bytes)));
                }
                Node::Link { target } => {
                    into.insert(format!("{path} leads to {target}"));
                }
            }
        }
    }
}

/// A path without its trailing slashes, and whether it had some.
fn trim(path: &str) -> (&str, bool) {
    let trimmed = path.trim_end_matches('/');
    (trimmed, trimmed.len() < path.len())
}

/// What is refused before anything is looked up.
fn check(path: &str) -> Outcome<()> {
    match path {
        "" => Err(Errno::NOENT),
        _ if path.starts_with('/') => Err(Errno::NOTCAPABLE),
        _ => Ok(()),
    }
}

/// All that lies in a directory of the host.
fn listing(folder: &Path) -> BTreeSet<String> {
    fn add(before: &str, folder: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = format!("{before}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                add(&path, &entry.path(), into);
                into.insert(format!("{path} is a directory"));
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).expect("a link");
                into.insert(format!("{path} leads to {}", target.display()));
            } else {
                let bytes = std::fs::read(entry.path()).expect("a file");
                into.insert(format!("{path} holds {:?}", String::from_utf8_lossy(&bytes)));
            }
        }
    }
    let mut found = BTreeSet::new();
    add("", folder, &mut found);
    found
}

/// So many calls from a seed, all of which do what the model says, or a panic that tells them.
pub fn run(seed: u64, calls: u64) -> Counts {
    let mut tree = Tree::new(seed);
    let mut counts = Counts::default();
    for at in 1..=calls {
        tree.step(&mut counts);
        if tree.rng.below(12) == 0 {
            tree.close_one();
        }
        if at % 50 == 0 || at == calls {
            tree.compare();
        }
    }
    counts
}
