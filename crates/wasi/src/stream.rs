//! Standard streams: where they come from and what they are told to be.
//!
//! A stream of the host is a duplicate that shares its position and its flags with everybody who inherited it, so
//! nothing here ever changes those flags or moves that position but by reading and writing. A write to a file that
//! standard output was redirected to lands where the next write belongs, never at its start. A terminal is opened once
//! more where the host allows it, since only its own flags can keep it from blocking.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::fs::{
    CWD, FileType as HostType, Mode, OFlags, fcntl_getfl, fstat, major, minor, openat,
};

use crate::path::identity;
use crate::terminal::Filter;
use crate::{Errno, FileType, Rights};

/// Where a standard stream comes from or goes to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// The process's own.
    #[default]
    Inherit,
    /// At its end when read; accepts and forgets what is written.
    Null,
    /// Not open at all.
    Closed,
    /// Input from these bytes.
    Bytes(Vec<u8>),
    /// Output into a buffer.
    Buffer(OutputBuffer),
    /// A descriptor of the embedder's.
    Fd(OwnedFd),
}

/// Output kept in memory, with a cap. Clones share their contents.
#[derive(Clone, Debug)]
pub struct OutputBuffer {
    bytes: Arc<Mutex<Vec<u8>>>,
    cap: usize,
}

impl OutputBuffer {
    /// An empty buffer that holds `cap` bytes at most; what does not fit is refused with `NOSPC`.
    #[must_use]
    pub fn new(cap: usize) -> OutputBuffer {
        OutputBuffer { bytes: Arc::default(), cap }
    }

    /// What was written so far.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many bytes still fit.
    pub(crate) fn room(&self) -> usize {
        self.cap.saturating_sub(self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// Appends as much as fits and says how much that was.
    pub(crate) fn push(&self, data: &[u8]) -> usize {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let n = data.len().min(self.cap.saturating_sub(bytes.len()));
        bytes.extend_from_slice(data.get(..n).unwrap_or_default());
        n
    }
}

/// What a descriptor of the host is, which decides how it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostKind {
    Regular,
    Pipe,
    Socket,
    Terminal,
    /// A device that is no terminal, or anything else.
    Device,
}

impl HostKind {
    /// Whether reading or writing may have to wait.
    pub(crate) fn waits(self) -> bool {
        self != HostKind::Regular
    }

    pub(crate) fn file_type(self) -> FileType {
        match self {
            HostKind::Regular => FileType::RegularFile,
            HostKind::Pipe => FileType::Unknown,
            HostKind::Socket => FileType::SocketStream,
            HostKind::Terminal | HostKind::Device => FileType::CharacterDevice,
        }
    }
}

/// A descriptor of the host behind a stream.
#[derive(Debug)]
pub(crate) struct HostFd {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: HostKind,
}

impl HostFd {
    pub(crate) fn new(fd: OwnedFd) -> Result<HostFd, Errno> {
        let kind = match HostType::from_raw_mode(fstat(&fd)?.st_mode) {
            HostType::RegularFile => HostKind::Regular,
            HostType::Fifo => HostKind::Pipe,
            HostType::Socket => HostKind::Socket,
            HostType::CharacterDevice if rustix::termios::isatty(fd.as_fd()) => HostKind::Terminal,
            _ => HostKind::Device,
        };
        let fd = match kind {
            HostKind::Terminal => own_terminal(&fd).unwrap_or(fd),
            _ => fd,
        };
        Ok(HostFd { fd, kind })
    }
}

/// The major and minor number of the device that makes a new terminal whenever it is opened.
const TERMINAL_MAKER: (u32, u32) = (5, 2);

/// The same terminal, opened once more, so that it can be made non-blocking without anybody else's noticing. One that
/// blocks says that it is ready as soon as one byte fits, and then keeps whoever writes two: no deadline would hold.
/// `None` where the host does not allow it; then a terminal that nobody reads can keep a guest beyond its deadline.
fn own_terminal(fd: &OwnedFd) -> Option<OwnedFd> {
    let stat = fstat(fd).ok()?;
    if (major(stat.st_rdev), minor(stat.st_rdev)) == TERMINAL_MAKER {
        return None;
    }
    let access = fcntl_getfl(fd).ok()? & (OFlags::RDWR | OFlags::WRONLY);
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let own = openat(CWD, path.as_str(), flags, Mode::empty()).ok()?;
    let same = fstat(&own).ok()?;
    (identity(&same) == identity(&stat) && same.st_rdev == stat.st_rdev).then_some(own)
}

/// The readable end.
#[derive(Debug)]
pub(crate) enum Input {
    Null,
    Bytes { data: Vec<u8>, at: usize },
    Host(HostFd),
}

/// The writable end.
#[derive(Debug)]
pub(crate) enum Output {
    Null,
    Buffer(OutputBuffer),
    Host(HostFd),
    /// A terminal, whose controls are made visible.
    Terminal(Box<TerminalOutput>),
}

/// How long to leave a stream alone that said that it is ready and was not.
pub(crate) const UNREADY: std::time::Duration = std::time::Duration::from_millis(1);

/// A terminal behind a filter.
#[derive(Debug)]
pub(crate) struct TerminalOutput {
    pub(crate) terminal: HostFd,
    filter: Filter,
    /// What is still to be shown, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    /// The rest of a character of which the terminal has taken the beginning, shared by all streams that lead to the
    /// terminal: it comes before anything else, so that two streams cannot make a character of their halves.
    unfinished: Unfinished,
}

/// See [`TerminalOutput`].
pub(crate) type Unfinished = Arc<Mutex<Vec<u8>>>;

impl TerminalOutput {
    pub(crate) fn new(terminal: HostFd) -> TerminalOutput {
        let (filter, pending) = (Filter::default(), Vec::new());
        TerminalOutput { terminal, filter, pending, sent: 0, unfinished: Unfinished::default() }
    }

    /// Where two streams may lead to one terminal, they share what is unfinished there.
    pub(crate) fn share(&mut self, other: &TerminalOutput) {
        self.unfinished = other.unfinished.clone();
    }

    /// Whether the terminal has been given everything.
    pub(crate) fn is_done(&self) -> bool {
        self.pending().is_empty() && self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what the guest wrote.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.filter.push(bytes, &mut self.pending);
    }

    /// What is still to be shown.
    pub(crate) fn pending(&self) -> &[u8] {
        self.pending.get(self.sent..).unwrap_or_default()
    }

    /// Shows `most` bytes of it, at the most. What cannot be shown is forgotten, unless it only has to wait.
    pub(crate) fn write_some(&mut self, most: usize) -> Result<(), rustix::io::Errno> {
        let unfinished = self.unfinished.clone();
        let mut unfinished = unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if !unfinished.is_empty() {
            match crate::sys::io::write(&self.terminal.fd, &unfinished) {
                Ok(n) => drop(unfinished.drain(..n)),
                Err(e @ (rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)) => return Err(e),
                Err(e) => {
                    unfinished.clear();
                    return Err(e);
                }
            }
            return Ok(());
        }
        let pending = self.pending();
        let part = pending.get(..pending.len().min(most)).unwrap_or_default();
        match crate::sys::io::write(&self.terminal.fd, part) {
            Ok(n) => {
                self.sent += n;
                // What is shown is made of whole characters: what goes on with another byte has begun.
                let rest = self.pending().iter().take_while(|&&byte| byte & 0xC0 == 0x80).count();
                unfinished.extend(self.pending().iter().take(rest));
                self.sent += rest;
            }
            Err(e @ (rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)) => return Err(e),
            Err(e) => {
                self.sent = self.pending.len();
                return Err(e);
            }
        }
        if self.sent >= self.pending.len() {
            self.pending.clear();
            self.sent = 0;
        }
        Ok(())
    }
}

impl Drop for TerminalOutput {
    /// The bytes of a character that never became whole, if the terminal takes them without waiting.
    fn drop(&mut self) {
        self.filter.finish(&mut self.pending);
        let flags = fcntl_getfl(&self.terminal.fd);
        if !self.pending().is_empty() && flags.is_ok_and(|f| f.contains(OFlags::NONBLOCK)) {
            let _ = self.write_some(usize::MAX);
        }
    }
}

/// Rights that every standard stream has.
const COMMON: Rights =
    Rights::FD_FILESTAT_GET.union(Rights::POLL_FD_READWRITE).union(Rights::FD_FDSTAT_SET_FLAGS);

/// Programs take a character device for a terminal if it can be neither positioned nor asked for its position. A
/// device that is none therefore gets these rights, though using them says that a stream has no position.
const NO_TERMINAL: Rights = Rights::FD_SEEK.union(Rights::FD_TELL);

impl Input {
    pub(crate) fn file_type(&self) -> FileType {
        match self {
            Input::Null => FileType::CharacterDevice,
            Input::Bytes { .. } => FileType::Unknown,
            Input::Host(h) => h.kind.file_type(),
        }
    }

    pub(crate) fn rights(&self) -> Rights {
        let read = COMMON | Rights::FD_READ;
        match self {
            Input::Null => read | NO_TERMINAL,
            Input::Host(HostFd { kind: HostKind::Regular | HostKind::Device, .. }) => {
                read | NO_TERMINAL
            }
            _ => read,
        }
    }
}

impl Output {
    pub(crate) fn file_type(&self) -> FileType {
        match self {
            Output::Null => FileType::CharacterDevice,
            Output::Buffer(_) => FileType::Unknown,
            Output::Host(h) => h.kind.file_type(),
            Output::Terminal(t) => t.terminal.kind.file_type(),
        }
    }

    pub(crate) fn rights(&self) -> Rights {
        let write = COMMON | Rights::FD_WRITE | Rights::FD_SYNC | Rights::FD_DATASYNC;
        match self {
            Output::Null | Output::Host(HostFd { kind: HostKind::Device, .. }) => {
                write | NO_TERMINAL
            }
            _ => write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_of_two_streams_are_not_put_together() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let host = |fd: &OwnedFd| HostFd::new(fd.try_clone().expect("a copy")).expect("a stream");
        let (mut first, mut second) =
            (TerminalOutput::new(host(&writer)), TerminalOutput::new(host(&writer)));
        second.share(&first);
        // One takes the first byte of a character and no more; the other begins with a byte that would go on with it.
        first.push("©".as_bytes());
        first.write_some(1).expect("room");
        assert!(first.pending().is_empty() && !first.is_done() && !second.is_done());
        second.push("Û2J".as_bytes());
        second.write_some(1).expect("room");
        while !second.is_done() {
            second.write_some(usize::MAX).expect("room");
        }
        assert!(first.is_done());
        drop((first, second, writer));
        let mut found = [0; 64];
        let count = rustix::io::read(&reader, &mut found).expect("bytes");
        assert_eq!(std::str::from_utf8(&found[..count]), Ok("©Û2J"));
    }
}
