//! What the tests share: a host with a memory of its own, a guest that calls by name, and fresh directories.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod calls;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use palisade_wasi::{
    AuditEvent, Caps, Errno, GuestMemory, Halt, Ledger, Preopen, Resource, Rights, WasiCtx,
    WasiCtxBuilder, WasiFunc, WasiHost, call,
};

pub const OK: i32 = 0;
pub const MEMORY: usize = 1 << 20;
/// Where the harness puts paths, results and data.
pub const PATH1: u64 = 0x1000;
pub const PATH2: u64 = 0x3000;
pub const OUT: u64 = 0x5000;
pub const OUT2: u64 = 0x5100;
pub const IOVS: u64 = 0x6000;
pub const DATA: u64 = 0x10000;
pub const EVENTS: u64 = 0x80000;

pub fn e(errno: Errno) -> i32 {
    errno.code()
}

/// A directory of its own, removed at the end.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path =
                std::env::temp_dir().join(format!("palisade-wasi-{}-{n}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return TempDir(path),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => panic!("no temporary directory: {e}"),
            }
        }
    }

    pub fn join(&self, p: impl AsRef<Path>) -> PathBuf {
        self.0.join(p)
    }

    pub fn dir(&self, p: &str) -> PathBuf {
        std::fs::create_dir_all(self.join(p)).unwrap();
        self.join(p)
    }

    pub fn file(&self, p: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.join(p), contents).unwrap();
        self.join(p)
    }

    pub fn link(&self, target: &str, p: &str) {
        std::os::unix::fs::symlink(target, self.join(p)).unwrap();
    }

    pub fn read(&self, p: &str) -> Vec<u8> {
        std::fs::read(self.join(p)).unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Something that can stop the guest from another thread.
#[derive(Clone)]
pub struct Stopper {
    pub flag: Arc<AtomicBool>,
    pub fd: Arc<OwnedFd>,
}

impl Stopper {
    pub fn new() -> Stopper {
        let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        Stopper { flag: Arc::default(), fd: Arc::new(fd) }
    }

    pub fn stop(&self) {
        self.flag.store(true, Ordering::SeqCst);
        rustix::io::write(&*self.fd, &1u64.to_ne_bytes()).unwrap();
    }
}

/// The embedder's side.
pub struct Host {
    pub memory: Option<Vec<u8>>,
    pub fuel: u64,
    pub spent: u64,
    pub ledger: Ledger,
    pub deadline: Option<Instant>,
    pub stopper: Option<Stopper>,
    /// How often somebody may still look whether to stop, before the answer is yes.
    pub looks: std::cell::Cell<Option<u32>>,
    /// Treat the memory as shared: nothing in place.
    pub shared: bool,
    shared_view: Option<Shared>,
}

pub struct Shared(pub Vec<u8>);

impl GuestMemory for Shared {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        GuestMemory::read(&self.0, addr, buf)
    }
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        GuestMemory::write(&mut self.0, addr, data)
    }
    fn slice(&self, _: u64, _: u64) -> Option<Result<&[u8], Errno>> {
        None
    }
    fn slice_mut(&mut self, _: u64, _: u64) -> Option<Result<&mut [u8], Errno>> {
        None
    }
}

impl WasiHost for Host {
    fn memory(&mut self) -> Option<&mut dyn GuestMemory> {
        if self.shared {
            let taken = self.memory.take();
            if let Some(bytes) = taken {
                self.shared_view = Some(Shared(bytes));
            }
            return self.shared_view.as_mut().map(|m| m as &mut dyn GuestMemory);
        }
        self.memory.as_mut().map(|m| m as &mut dyn GuestMemory)
    }
    fn charge_fuel(&mut self, units: u64) -> Result<(), Halt> {
        if self.fuel < units {
            self.fuel = 0;
            return Err(Halt::OutOfFuel);
        }
        self.fuel -= units;
        self.spent += units;
        Ok(())
    }
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
    fn interrupt_fd(&self) -> Option<BorrowedFd<'_>> {
        self.stopper.as_ref().map(|s| s.fd.as_fd())
    }
    fn interrupted(&self) -> Option<Halt> {
        if let Some(left) = self.looks.get() {
            self.looks.set(Some(left.saturating_sub(1)));
            if left == 0 {
                return Some(Halt::Interrupted);
            }
        }
        self.stopper.as_ref().filter(|s| s.flag.load(Ordering::SeqCst)).map(|_| Halt::Interrupted)
    }
}

impl Host {
    /// The bytes of the memory.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        match (&mut self.memory, &mut self.shared_view) {
            (Some(bytes), _) => bytes,
            (None, Some(Shared(bytes))) => bytes,
            _ => panic!("no memory"),
        }
    }

    pub fn new() -> Host {
        Host {
            memory: Some(vec![0; MEMORY]),
            fuel: u64::MAX,
            spent: 0,
            ledger: Ledger::default(),
            deadline: None,
            stopper: None,
            looks: std::cell::Cell::new(None),
            shared: false,
            shared_view: None,
        }
    }
}

/// A guest that calls by name.
pub struct Guest {
    pub ctx: WasiCtx,
    pub host: Host,
}

pub fn quiet() -> WasiCtxBuilder {
    use palisade_wasi::Stdio;
    WasiCtx::builder().stdin(Stdio::Null).stdout(Stdio::Null).stderr(Stdio::Null)
}

/// A guest with all capabilities and `dir` as descriptor 3.
pub fn full(dir: &TempDir) -> Guest {
    Guest::new(quiet().caps(Caps::ALL).preopen(Preopen::new(&dir.0, "/")))
}

/// As [`full`], with the log of denials and grants.
pub fn audited(builder: WasiCtxBuilder) -> (Guest, Arc<Mutex<Vec<AuditEvent>>>) {
    let log: Arc<Mutex<Vec<AuditEvent>>> = Arc::default();
    let copy = log.clone();
    (Guest::new(builder.audit(move |event| copy.lock().unwrap().push(event))), log)
}

impl Guest {
    pub fn new(builder: WasiCtxBuilder) -> Guest {
        Guest { ctx: builder.build().unwrap(), host: Host::new() }
    }

    pub fn mem(&mut self) -> &mut dyn GuestMemory {
        self.host.memory().unwrap()
    }

    pub fn try_call(&mut self, name: &str, args: &[u64]) -> Result<i32, Halt> {
        let func = WasiFunc::by_name(name).unwrap_or_else(|| panic!("no function {name}"));
        call(&mut self.ctx, &mut self.host, func, args)
    }

    /// Calls, and expects that a limit of the ledger ends the guest.
    pub fn runs_out(&mut self, name: &str, args: &[u64], what: Resource) {
        match self.try_call(name, args) {
            Err(Halt::Limit(refusal)) => assert_eq!(refusal.what, what),
            other => panic!("{name} did not run out of {what:?}: {other:?}"),
        }
    }

    /// What the ledger counts.
    pub fn used(&self, what: Resource) -> u64 {
        self.host.ledger.in_use(what)
    }

    pub fn call(&mut self, name: &str, args: &[u64]) -> i32 {
        self.try_call(name, args).unwrap_or_else(|h| panic!("{name} halted: {h}"))
    }

    pub fn put(&mut self, at: u64, bytes: &[u8]) -> (u64, u64) {
        self.mem().write(at, bytes).unwrap();
        (at, bytes.len() as u64)
    }

    pub fn get(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.mem().read(at, &mut out).unwrap();
        out
    }

    pub fn u16_at(&mut self, at: u64) -> u16 {
        u16::from_le_bytes(self.get(at, 2).try_into().unwrap())
    }

    pub fn u32_at(&mut self, at: u64) -> u32 {
        u32::from_le_bytes(self.get(at, 4).try_into().unwrap())
    }

    pub fn u64_at(&mut self, at: u64) -> u64 {
        u64::from_le_bytes(self.get(at, 8).try_into().unwrap())
    }

    /// Any call whose arguments end with or contain one path after a descriptor: `(fd, path, len, rest…)`.
    pub fn on_path(&mut self, name: &str, fd: u64, path: &[u8], rest: &[u64]) -> i32 {
        let (p, l) = self.put(PATH1, path);
        let mut args = vec![fd, p, l];
        args.extend_from_slice(rest);
        self.call(name, &args)
    }

    #[allow(clippy::too_many_arguments)]
    pub fn open_raw(
        &mut self,
        fd: u64,
        dirflags: u64,
        path: &[u8],
        oflags: u64,
        base: Rights,
        inheriting: Rights,
        fdflags: u64,
    ) -> Result<u64, i32> {
        let (p, l) = self.put(PATH1, path);
        let args = [fd, dirflags, p, l, oflags, base.bits(), inheriting.bits(), fdflags, OUT];
        match self.call("path_open", &args) {
            OK => Ok(u64::from(self.u32_at(OUT))),
            errno => Err(errno),
        }
    }

    /// Opens as ordinary programs do: following links, asking for what the directory can give.
    pub fn open(&mut self, path: &str, oflags: u64, base: Rights) -> Result<u64, i32> {
        self.open_raw(3, 1, path.as_bytes(), oflags, base, Rights::all(), 0)
    }

    pub fn iov(&mut self, list: &[(u64, u64)]) -> (u64, u64) {
        let mut bytes = Vec::new();
        for (a, l) in list {
            bytes.extend_from_slice(&(*a as u32).to_le_bytes());
            bytes.extend_from_slice(&(*l as u32).to_le_bytes());
        }
        self.put(IOVS, &bytes);
        (IOVS, list.len() as u64)
    }

    pub fn write_fd(&mut self, fd: u64, data: &[u8]) -> Result<u32, i32> {
        self.put(DATA, data);
        let (i, n) = self.iov(&[(DATA, data.len() as u64)]);
        match self.call("fd_write", &[fd, i, n, OUT]) {
            OK => Ok(self.u32_at(OUT)),
            errno => Err(errno),
        }
    }

    pub fn pwrite_fd(&mut self, fd: u64, data: &[u8], offset: u64) -> Result<u32, i32> {
        self.put(DATA, data);
        let (i, n) = self.iov(&[(DATA, data.len() as u64)]);
        match self.call("fd_pwrite", &[fd, i, n, offset, OUT]) {
            OK => Ok(self.u32_at(OUT)),
            errno => Err(errno),
        }
    }

    pub fn read_fd(&mut self, fd: u64, len: u64) -> Result<Vec<u8>, i32> {
        let (i, n) = self.iov(&[(DATA, len)]);
        match self.call("fd_read", &[fd, i, n, OUT]) {
            OK => {
                let got = self.u32_at(OUT) as usize;
                Ok(self.get(DATA, got))
            }
            errno => Err(errno),
        }
    }

    pub fn pread_fd(&mut self, fd: u64, len: u64, offset: u64) -> Result<Vec<u8>, i32> {
        let (i, n) = self.iov(&[(DATA, len)]);
        match self.call("fd_pread", &[fd, i, n, offset, OUT]) {
            OK => {
                let got = self.u32_at(OUT) as usize;
                Ok(self.get(DATA, got))
            }
            errno => Err(errno),
        }
    }

    pub fn seek(&mut self, fd: u64, offset: i64, whence: u64) -> Result<u64, i32> {
        match self.call("fd_seek", &[fd, offset as u64, whence, OUT]) {
            OK => Ok(self.u64_at(OUT)),
            errno => Err(errno),
        }
    }

    pub fn stat(&mut self, fd: u64, flags: u64, path: &str) -> Result<Vec<u8>, i32> {
        let (p, l) = self.put(PATH1, path.as_bytes());
        match self.call("path_filestat_get", &[fd, flags, p, l, OUT]) {
            OK => Ok(self.get(OUT, 64)),
            errno => Err(errno),
        }
    }

    pub fn two_paths(&mut self, name: &str, fd1: u64, path1: &str, fd2: u64, path2: &str) -> i32 {
        let (p1, l1) = self.put(PATH1, path1.as_bytes());
        let (p2, l2) = self.put(PATH2, path2.as_bytes());
        match name {
            "path_link" => self.call(name, &[fd1, 0, p1, l1, fd2, p2, l2]),
            _ => self.call(name, &[fd1, p1, l1, fd2, p2, l2]),
        }
    }

    pub fn symlink(&mut self, target: &str, fd: u64, path: &str) -> i32 {
        let (p1, l1) = self.put(PATH1, target.as_bytes());
        let (p2, l2) = self.put(PATH2, path.as_bytes());
        self.call("path_symlink", &[p1, l1, fd, p2, l2])
    }

    /// One call of `fd_readdir`: the entries in full that it gave, and how many bytes were used.
    pub fn readdir(&mut self, fd: u64, len: u64, cookie: u64) -> (Vec<Entry>, u64) {
        assert_eq!(self.call("fd_readdir", &[fd, DATA, len, cookie, OUT]), OK);
        let used = u64::from(self.u32_at(OUT));
        let bytes = self.get(DATA, used as usize);
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 24) {
            let n = u32::from_le_bytes(head[16..20].try_into().unwrap()) as usize;
            let Some(name) = bytes.get(at + 24..at + 24 + n) else { break };
            assert_eq!(&head[21..24], &[0; 3], "padding");
            out.push(Entry {
                next: u64::from_le_bytes(head[..8].try_into().unwrap()),
                ino: u64::from_le_bytes(head[8..16].try_into().unwrap()),
                kind: head[20],
                name: name.to_vec(),
            });
            at += 24 + n;
        }
        (out, used)
    }

    /// The whole directory, in pieces of `len` bytes.
    pub fn list(&mut self, fd: u64, len: u64) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        let mut cookie = 0;
        loop {
            let (entries, used) = self.readdir(fd, len, cookie);
            let Some(last) = entries.last() else {
                assert!(used < len, "an entry does not fit into {len} bytes");
                return all;
            };
            cookie = last.next;
            all.extend(entries);
            if used < len {
                return all;
            }
        }
    }

    /// A clock subscription at `index` of the list at `DATA`.
    pub fn sub_clock(&mut self, index: u64, userdata: u64, id: u32, timeout: u64, flags: u16) {
        let mut s = [0u8; 48];
        s[..8].copy_from_slice(&userdata.to_le_bytes());
        s[16..20].copy_from_slice(&id.to_le_bytes());
        s[24..32].copy_from_slice(&timeout.to_le_bytes());
        s[40..42].copy_from_slice(&flags.to_le_bytes());
        self.put(DATA + index * 48, &s);
    }

    pub fn sub_fd(&mut self, index: u64, userdata: u64, kind: u8, fd: u32) {
        let mut s = [0u8; 48];
        s[..8].copy_from_slice(&userdata.to_le_bytes());
        s[8] = kind;
        s[16..20].copy_from_slice(&fd.to_le_bytes());
        self.put(DATA + index * 48, &s);
    }

    /// Polls the first `n` subscriptions: (userdata, error, type, nbytes, flags) of each event.
    pub fn poll(&mut self, n: u64) -> Result<Vec<Event>, i32> {
        match self.call("poll_oneoff", &[DATA, EVENTS, n, OUT]) {
            OK => {}
            errno => return Err(errno),
        }
        let count = u64::from(self.u32_at(OUT));
        Ok((0..count)
            .map(|i| {
                let at = EVENTS + i * 32;
                let kind = self.get(at + 10, 1)[0];
                (
                    self.u64_at(at),
                    self.u16_at(at + 8),
                    kind,
                    self.u64_at(at + 16),
                    self.u16_at(at + 24),
                )
            })
            .collect())
    }
}

/// (userdata, error, type, nbytes, flags)
pub type Event = (u64, u16, u8, u64, u16);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub next: u64,
    pub ino: u64,
    pub kind: u8,
    pub name: Vec<u8>,
}

pub const RW: Rights = Rights::FD_READ
    .union(Rights::FD_WRITE)
    .union(Rights::FD_SEEK)
    .union(Rights::FD_TELL)
    .union(Rights::FD_FILESTAT_GET);

pub const CREAT: u64 = 1;
pub const DIRECTORY: u64 = 2;
pub const EXCL: u64 = 4;
pub const TRUNC: u64 = 8;

/// How many descriptors of this process lead into a directory. Other tests run meanwhile, but have their own.
pub fn host_fds(t: &TempDir) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|e| std::fs::read_link(e.ok()?.path()).ok());
    links.filter(|l| l.starts_with(&t.0)).count()
}

/// A small generator of numbers, the same for the same seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}
