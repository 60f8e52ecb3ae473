//! The builder: the only place where anything is granted.
//!
//! Directories are opened here, once, while the program that embeds the guest still has its own rights; afterwards
//! no path of the host is ever opened by name. The order of the calls does not matter: what they say is put
//! together at the end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::fs::{CWD, FileType as HostType, Mode, OFlags, fstat, openat};
use rustix::net::sockopt;

use crate::audit::{AuditEvent, AuditHook};
use crate::calls::clock::ProcessorTime;
use crate::ctx::{Clocks, Grant, Identities, Limits};
use crate::descriptor::{Descriptor, Dir, Object, Socket, Table};
use crate::deterministic::Deterministic;
use crate::path::{ancestors, identity};
use crate::stream::{HostFd, HostKind, Input, Output, TerminalOutput};
use crate::{Caps, Errno, FdFlags, Overlap, Rights, Stdio, WasiCtx};

/// Why a context cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A directory cannot be opened.
    #[error("cannot open the directory \"{}\" to be granted: {source}", path.display())]
    Preopen {
        /// The directory.
        path: PathBuf,
        /// What the host says.
        source: Errno,
    },
    /// A guest name is empty or contains NUL.
    #[error("\"{}\" cannot be the guest's name of a directory: it must not be empty or contain NUL", .0.escape_debug())]
    GuestName(String),
    /// An argument or a pair of the environment contains NUL, or a key is empty or contains `=`.
    #[error("\"{}\" cannot be passed to the guest: NUL, an empty key and `=` in a key are not allowed", .0.escape_debug())]
    Text(String),
    /// Arguments or environment exceed what a 32-bit guest can take.
    #[error("arguments and environment together must stay below 2 GiB")]
    TooMuchText,
    /// A descriptor handed over is not what it should be.
    #[error("the descriptor given for {role} cannot be used: {source}")]
    Descriptor {
        /// What it was given for.
        role: &'static str,
        /// What the host says.
        source: Errno,
    },
    /// More descriptors than the limit.
    #[error("the streams, directories and sockets given exceed the limit of {0} descriptors")]
    TooManyDescriptors(u32),
}

enum Source {
    Path(PathBuf),
    Fd(OwnedFd),
}

/// A directory to be granted.
pub struct Preopen {
    source: Source,
    guest: String,
    writable: bool,
    caps: Caps,
    same_device: bool,
}

impl Preopen {
    /// Grants the host's directory `host` under the guest's name `guest`, for reading and writing as far as the
    /// context's capabilities go.
    pub fn new(host: impl AsRef<Path>, guest: impl Into<String>) -> Preopen {
        Preopen::from_source(Source::Path(host.as_ref().to_owned()), guest.into())
    }

    /// Grants a directory that is open already.
    pub fn from_fd(fd: OwnedFd, guest: impl Into<String>) -> Preopen {
        Preopen::from_source(Source::Fd(fd), guest.into())
    }

    fn from_source(source: Source, guest: String) -> Preopen {
        Preopen { source, guest, writable: true, caps: Caps::ALL, same_device: false }
    }

    /// Nothing can be changed through it.
    #[must_use]
    pub fn read_only(mut self) -> Preopen {
        self.writable = false;
        self
    }

    /// Narrows what the context's capabilities allow in it.
    #[must_use]
    pub fn caps(mut self, caps: Caps) -> Preopen {
        self.caps = caps;
        self
    }

    /// Does not cross into other file systems mounted within it.
    #[must_use]
    pub fn same_device(mut self) -> Preopen {
        self.same_device = true;
        self
    }
}

/// Puts a [`WasiCtx`] together.
pub struct WasiCtxBuilder {
    args: Vec<Vec<u8>>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    inherit_env: bool,
    stdio: [Stdio; 3],
    caps: Caps,
    preopens: Vec<Preopen>,
    sockets: Vec<OwnedFd>,
    limits: Limits,
    host_descriptors: u32,
    raw_identities: bool,
    granularity: Duration,
    deterministic: Option<u64>,
    raw_terminal: bool,
    audit: Option<AuditHook>,
    audit_allowed: bool,
}

impl Default for WasiCtxBuilder {
    fn default() -> WasiCtxBuilder {
        WasiCtxBuilder::new()
    }
}

impl WasiCtxBuilder {
    /// The library's default: the process's standard streams, clocks, random bytes, `proc_exit`.
    #[must_use]
    pub fn new() -> WasiCtxBuilder {
        WasiCtxBuilder {
            args: Vec::new(),
            env: Vec::new(),
            inherit_env: false,
            stdio: [Stdio::Inherit, Stdio::Inherit, Stdio::Inherit],
            caps: Caps::DEFAULT,
            preopens: Vec::new(),
            sockets: Vec::new(),
            limits: Limits::default(),
            host_descriptors: 16,
            raw_identities: false,
            granularity: Duration::ZERO,
            deterministic: None,
            raw_terminal: false,
            audit: None,
            audit_allowed: false,
        }
    }

    /// Adds an argument; the first is the program's name.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_vec()));
        self
    }

    /// Adds a variable that the guest always sees. It wins over one of the host's of the same name.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.env.push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds the host's environment, which the guest sees only with [`Caps::ENV`].
    #[must_use]
    pub fn inherit_env(mut self) -> Self {
        self.inherit_env = true;
        self
    }

    /// Where standard input comes from.
    #[must_use]
    pub fn stdin(mut self, from: Stdio) -> Self {
        self.stdio[0] = from;
        self
    }

    /// Where standard output goes.
    #[must_use]
    pub fn stdout(mut self, to: Stdio) -> Self {
        self.stdio[1] = to;
        self
    }

    /// Where standard error goes.
    #[must_use]
    pub fn stderr(mut self, to: Stdio) -> Self {
        self.stdio[2] = to;
        self
    }

    /// Sets the capabilities, instead of the default ones.
    #[must_use]
    pub fn caps(mut self, caps: Caps) -> Self {
        self.caps = caps;
        self
    }

    /// Adds capabilities.
    #[must_use]
    pub fn allow(mut self, caps: Caps) -> Self {
        self.caps |= caps;
        self
    }

    /// Grants a directory; descriptors from 3 on, in the order given.
    #[must_use]
    pub fn preopen(mut self, preopen: Preopen) -> Self {
        self.preopens.push(preopen);
        self
    }

    /// Hands a socket over, listening or connected. It is made non-blocking, and follows the directories.
    #[must_use]
    pub fn socket(mut self, socket: OwnedFd) -> Self {
        self.sockets.push(socket);
        self
    }

    /// The most descriptors that may be open at once. This limit and the next three are narrowed further by what the
    /// store's ledger has, where all of them are counted (`ResourceLimits`); with neither, it is 1,024 descriptors and
    /// no limit on the others.
    #[must_use]
    pub fn max_descriptors(mut self, descriptors: u32) -> Self {
        self.limits.descriptors = Some(descriptors);
        self
    }

    /// How many descriptors of the process the guest leaves free, however many its own limit would allow: opening
    /// fails when fewer are left. Default 16.
    #[must_use]
    pub fn host_descriptors(mut self, free: u32) -> Self {
        self.host_descriptors = free;
        self
    }

    /// The most bytes that may be written to streams and files.
    #[must_use]
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.limits.output = Some(bytes);
        self
    }

    /// The most files, directories and links that may be created; what is deleted counts all the same.
    #[must_use]
    pub fn max_inodes(mut self, inodes: u64) -> Self {
        self.limits.inodes = Some(inodes);
        self
    }

    /// The largest size that a file may be given.
    #[must_use]
    pub fn max_file_size(mut self, bytes: u64) -> Self {
        self.limits.file_size = Some(bytes);
        self
    }

    /// Shows the host's own device and inode numbers, instead of hashes with a key of this context.
    #[must_use]
    pub fn raw_identities(mut self) -> Self {
        self.raw_identities = true;
        self
    }

    /// Makes the clocks coarse: what they say, the times of files, and the moments at which waiting for a clock ends are
    /// multiples of `granularity`. Default as fine as the host's.
    #[must_use]
    pub fn clock_granularity(mut self, granularity: Duration) -> Self {
        self.granularity = granularity;
        self
    }

    /// Lets two runs of a guest get the same answers: clocks begin at a fixed moment and move by a millisecond with
    /// each reading, waiting for a clock takes no time, random bytes follow from `seed`, directories are sorted, files
    /// are numbered in the order in which the guest meets them and tell no times, and reading from a pipe fills the buffer.
    ///
    /// What the guest is given remains what it is: arguments, environment, the contents of files and of streams, what kind
    /// of stream they are. The other half is [`palisade::Config::deterministic`].
    #[must_use]
    pub fn deterministic(mut self, seed: u64) -> Self {
        self.deterministic = Some(seed);
        self
    }

    /// Gives terminals the guest's bytes as they are. Without it, of control characters only tab, line feed and carriage
    /// return reach a terminal; all others are shown as text. Files, pipes and buffers always get the bytes as they are.
    #[must_use]
    pub fn raw_terminal(mut self) -> Self {
        self.raw_terminal = true;
        self
    }

    /// Reports every decision about a capability.
    #[must_use]
    pub fn audit(mut self, hook: impl FnMut(AuditEvent) + Send + 'static) -> Self {
        self.audit = Some(Box::new(hook));
        self.audit_allowed = true;
        self
    }

    /// Reports what is denied, and nothing else, in place of [`WasiCtxBuilder::audit`].
    #[must_use]
    pub fn audit_denials(mut self, hook: impl FnMut(AuditEvent) + Send + 'static) -> Self {
        self.audit = Some(Box::new(hook));
        self.audit_allowed = false;
        self
    }

    /// Opens what was granted and makes the context.
    ///
    /// # Errors
    ///
    /// If something given cannot be opened or passed to a guest.
    pub fn build(self) -> Result<WasiCtx, BuildError> {
        let mut grants = Vec::with_capacity(self.preopens.len());
        for preopen in self.preopens {
            grants.push(grant(preopen, self.caps)?);
        }
        let overlaps = overlaps(&grants)?;
        let (env, env_withheld) = environment(self.env, self.inherit_env, self.caps)?;
        check_text(&self.args)?;
        let total = |list: &[Vec<u8>]| list.iter().map(|t| t.len() as u64 + 5).sum::<u64>();
        if total(&self.args) + total(&env) >= 1 << 31 {
            return Err(BuildError::TooMuchText);
        }
        let table = table(&self.limits, self.stdio, self.raw_terminal, &grants, self.sockets)?;
        let process = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        let ceiling = [process, Some(i64::MAX as u64)];
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Ok(WasiCtx {
            args: self.args,
            env,
            env_withheld,
            caps: self.caps,
            grants,
            table,
            limits: self.limits,
            entered: false,
            fd_ceiling: descriptors
                .map_or(u64::MAX, |max| max.saturating_sub(self.host_descriptors.into())),
            identities: if self.raw_identities {
                Identities::Raw
            } else {
                Identities::Hashed(Default::default())
            },
            clocks: Clocks {
                start: Instant::now(),
                processor: ProcessorTime::start(),
                granularity: u64::try_from(self.granularity.as_nanos()).unwrap_or(u64::MAX),
            },
            overlaps,
            deterministic: self.deterministic.map(Deterministic::new),
            audit: self.audit,
            audit_allowed: self.audit_allowed,
            missed_directories: false,
            file_ceiling: ceiling.into_iter().flatten().min().unwrap_or(0),
        })
    }
}

fn grant(preopen: Preopen, caps: Caps) -> Result<Grant, BuildError> {
    if preopen.guest.is_empty() || preopen.guest.contains('\0') {
        return Err(BuildError::GuestName(preopen.guest));
    }
    let (root, path) = match preopen.source {
        Source::Fd(fd) => (fd, PathBuf::from(&preopen.guest)),
        Source::Path(path) => match open_directory(&path) {
            Ok(fd) => (fd, path),
            Err(source) => return Err(BuildError::Preopen { path, source }),
        },
    };
    let stat =
        fstat(&root).map_err(|e| BuildError::Preopen { path: path.clone(), source: e.into() })?;
    if HostType::from_raw_mode(stat.st_mode) != HostType::Directory {
        return Err(BuildError::Preopen { path, source: Errno::NOTDIR });
    }
    let mut caps = caps & preopen.caps & Caps::FILES;
    if !preopen.writable {
        caps.remove(Caps::WRITE);
    }
    Ok(Grant {
        name: preopen.guest,
        caps,
        writable: preopen.writable,
        same_device: preopen.same_device,
        root,
        identity: identity(&stat),
    })
}

/// A directory that cannot be listed can still be started from.
fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, path, flags | OFlags::RDONLY, Mode::empty()) {
        Err(crate::sys::io::Errno::ACCESS) => {
            Ok(openat(CWD, path, flags | OFlags::PATH, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

/// Which grants lie within which, where that makes a difference.
fn overlaps(grants: &[Grant]) -> Result<Vec<Overlap>, BuildError> {
    let mut found = Vec::new();
    for (i, inner) in grants.iter().enumerate() {
        let mut above = Vec::new();
        let walked = ancestors(inner.root.as_fd(), |id| {
            above.push(id);
            false
        });
        if let Err(source) = walked {
            return Err(BuildError::Preopen { path: PathBuf::from(&inner.name), source });
        }
        for (j, outer) in grants.iter().enumerate() {
            let same = outer.identity == inner.identity;
            if i == j || (same && j > i) || !above.contains(&outer.identity) {
                continue;
            }
            let (o, n) = (outer.strength(), inner.strength());
            if o != n {
                found.push(Overlap {
                    outer: outer.name.clone(),
                    inner: inner.name.clone(),
                    outer_allows_more: !n.contains(o),
                    inner_allows_more: !o.contains(n),
                });
            }
        }
    }
    Ok(found)
}

fn check_text(texts: &[Vec<u8>]) -> Result<(), BuildError> {
    match texts.iter().find(|t| t.contains(&0)) {
        Some(t) => Err(BuildError::Text(String::from_utf8_lossy(t).into_owned())),
        None => Ok(()),
    }
}

/// The environment as the guest sees it, and whether some of it is withheld.
fn environment(
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    inherit: bool,
    caps: Caps,
) -> Result<(Vec<Vec<u8>>, bool), BuildError> {
    use std::os::unix::ffi::OsStringExt;
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    if inherit && caps.contains(Caps::ENV) {
        all.extend(std::env::vars_os().map(|(k, v)| (k.into_vec(), v.into_vec())));
        // Anything can stand in a host's environment; what has no name that a guest could ask for is left out.
        all.retain(|(k, _)| !k.is_empty() && !k.contains(&b'='));
    }
    let given: std::collections::HashSet<Vec<u8>> = pairs.iter().map(|(k, _)| k.clone()).collect();
    all.retain(|(k, _)| !given.contains(k));
    all.extend(pairs);
    let mut env = Vec::with_capacity(all.len());
    for (key, value) in all {
        if key.is_empty() || key.contains(&b'=') {
            return Err(BuildError::Text(String::from_utf8_lossy(&key).into_owned()));
        }
        let mut pair = key;
        pair.push(b'=');
        pair.extend_from_slice(&value);
        env.push(pair);
    }
    check_text(&env)?;
    Ok((env, inherit && !caps.contains(Caps::ENV)))
}

fn table(
    limits: &Limits,
    stdio: [Stdio; 3],
    raw_terminal: bool,
    grants: &[Grant],
    sockets: Vec<OwnedFd>,
) -> Result<Table, BuildError> {
    let mut table = Table::default();
    let [stdin, stdout, stderr] = stdio;
    let input = input(stdin)?;
    let output = |to, n| output(to, n, raw_terminal);
    let mut outputs = [output(stdout, 1)?, output(stderr, 2)?];
    if let [Some(Output::Terminal(first)), Some(Output::Terminal(second))] = &mut outputs {
        let device = |output: &TerminalOutput| fstat(&output.terminal.fd).map(|s| s.st_rdev).ok();
        if device(first) == device(second) {
            second.share(first);
        }
    }
    let input = input.map(|i| (i.rights(), Object::Input(i)));
    let outputs = outputs.map(|o| o.map(|o| (o.rights(), Object::Output(o))));
    for stream in std::iter::once(input).chain(outputs) {
        match stream {
            Some((base, object)) => {
                let d = Descriptor {
                    object,
                    base,
                    inheriting: Rights::empty(),
                    flags: FdFlags::empty(),
                    grant: None,
                };
                table.insert_at_end(d);
            }
            None => table.skip(),
        }
    }
    for (i, grant) in grants.iter().enumerate() {
        let fd = duplicate(grant.root.as_fd(), "a directory")?;
        let d = Descriptor {
            object: Object::Dir(Dir { fd, grant: i, preopen: true, reader: None }),
            base: grant.directory_rights(),
            inheriting: grant.strength(),
            flags: FdFlags::empty(),
            grant: Some(i),
        };
        table.insert_at_end(d);
    }
    for fd in sockets {
        table.insert_at_end(socket(fd)?);
    }
    match limits.descriptors {
        Some(most) if table.open_count() > most as usize => {
            Err(BuildError::TooManyDescriptors(most))
        }
        _ => Ok(table),
    }
}

fn socket(fd: OwnedFd) -> Result<Descriptor, BuildError> {
    let bad =
        |e: crate::sys::io::Errno| BuildError::Descriptor { role: "a socket", source: e.into() };
    let listening = sockopt::socket_acceptconn(&fd).map_err(bad)?;
    let flags = crate::sys::fs::fcntl_getfl(&fd).map_err(bad)?;
    crate::sys::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(bad)?;
    let base = if listening { Rights::LISTENER } else { Rights::CONNECTION };
    Ok(Descriptor {
        object: Object::Socket(Socket { fd, listening }),
        base,
        inheriting: if listening { Rights::CONNECTION } else { Rights::empty() },
        flags: FdFlags::empty(),
        grant: None,
    })
}

/// The duplicate shares position and flags with the original; closing it closes nothing of the process's own.
fn duplicate(fd: std::os::fd::BorrowedFd<'_>, role: &'static str) -> Result<OwnedFd, BuildError> {
    crate::sys::io::fcntl_dupfd_cloexec(fd, 3)
        .map_err(|e| BuildError::Descriptor { role, source: e.into() })
}

fn stream_fd(fd: OwnedFd, role: &'static str) -> Result<HostFd, BuildError> {
    HostFd::new(fd).map_err(|source| BuildError::Descriptor { role, source })
}

fn inherited(n: u8) -> Result<Option<HostFd>, BuildError> {
    let role = "a standard stream";
    let fd = match n {
        0 => duplicate(std::io::stdin().as_fd(), role),
        1 => duplicate(std::io::stdout().as_fd(), role),
        _ => duplicate(std::io::stderr().as_fd(), role),
    };
    match fd {
        Ok(fd) => stream_fd(fd, role).map(Some),
        // The process itself was started without this stream.
        Err(BuildError::Descriptor { source: Errno::BADF, .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

fn input(from: Stdio) -> Result<Option<Input>, BuildError> {
    Ok(match from {
        Stdio::Inherit => Some(inherited(0)?.map_or(Input::Null, Input::Host)),
        Stdio::Null | Stdio::Buffer(_) => Some(Input::Null),
        Stdio::Closed => None,
        Stdio::Bytes(data) => Some(Input::Bytes { data, at: 0 }),
        Stdio::Fd(fd) => Some(Input::Host(stream_fd(fd, "standard input")?)),
    })
}

fn output(to: Stdio, n: u8, raw_terminal: bool) -> Result<Option<Output>, BuildError> {
    let host = |fd: HostFd| match fd.kind {
        HostKind::Terminal if !raw_terminal => Output::Terminal(Box::new(TerminalOutput::new(fd))),
        _ => Output::Host(fd),
    };
    Ok(match to {
        Stdio::Inherit => Some(inherited(n)?.map_or(Output::Null, host)),
        Stdio::Null | Stdio::Bytes(_) => Some(Output::Null),
        Stdio::Closed => None,
        Stdio::Buffer(buffer) => Some(Output::Buffer(buffer)),
        Stdio::Fd(fd) => Some(host(stream_fd(fd, "an output stream")?)),
    })
}
