//! The numbers, flags and structures of preview 1, as they cross the boundary.
//!
//! Flags arrive as whole 32- or 64-bit cells; a bit that the specification does not know is an error, never
//! ignored. Structures are built in zeroed arrays, so that their padding is always zero.

use crate::Errno;

bitflags::bitflags! {
    /// What may be done through a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Rights: u64 {
        /// Bring data to the disk.
        const FD_DATASYNC = 1;
        /// Read.
        const FD_READ = 1 << 1;
        /// Move the position, and read or write at an offset.
        const FD_SEEK = 1 << 2;
        /// Change flags.
        const FD_FDSTAT_SET_FLAGS = 1 << 3;
        /// Bring data and metadata to the disk.
        const FD_SYNC = 1 << 4;
        /// Ask for the position.
        const FD_TELL = 1 << 5;
        /// Write.
        const FD_WRITE = 1 << 6;
        /// Say how the file will be used.
        const FD_ADVISE = 1 << 7;
        /// Allocate space.
        const FD_ALLOCATE = 1 << 8;
        /// Create directories.
        const PATH_CREATE_DIRECTORY = 1 << 9;
        /// Create files by opening them.
        const PATH_CREATE_FILE = 1 << 10;
        /// Link entries of this directory.
        const PATH_LINK_SOURCE = 1 << 11;
        /// Link into this directory.
        const PATH_LINK_TARGET = 1 << 12;
        /// Open entries.
        const PATH_OPEN = 1 << 13;
        /// List the directory.
        const FD_READDIR = 1 << 14;
        /// Read symbolic links.
        const PATH_READLINK = 1 << 15;
        /// Rename entries of this directory.
        const PATH_RENAME_SOURCE = 1 << 16;
        /// Rename into this directory.
        const PATH_RENAME_TARGET = 1 << 17;
        /// Look at entries.
        const PATH_FILESTAT_GET = 1 << 18;
        /// Truncate files by opening them.
        const PATH_FILESTAT_SET_SIZE = 1 << 19;
        /// Set times of entries.
        const PATH_FILESTAT_SET_TIMES = 1 << 20;
        /// Look at the object itself.
        const FD_FILESTAT_GET = 1 << 21;
        /// Set the size.
        const FD_FILESTAT_SET_SIZE = 1 << 22;
        /// Set times.
        const FD_FILESTAT_SET_TIMES = 1 << 23;
        /// Create symbolic links.
        const PATH_SYMLINK = 1 << 24;
        /// Remove directories.
        const PATH_REMOVE_DIRECTORY = 1 << 25;
        /// Remove files and links.
        const PATH_UNLINK_FILE = 1 << 26;
        /// Wait for what may be read or written.
        const POLL_FD_READWRITE = 1 << 27;
        /// Shut a socket down.
        const SOCK_SHUTDOWN = 1 << 28;
        /// Accept connections.
        const SOCK_ACCEPT = 1 << 29;
    }

    /// Flags of a descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct FdFlags: u16 {
        /// Every write goes to the end.
        const APPEND = 1;
        /// Writes wait until the data is on the disk.
        const DSYNC = 2;
        /// Nothing waits; `AGAIN` instead.
        const NONBLOCK = 4;
        /// Reads wait for pending writes.
        const RSYNC = 8;
        /// Writes wait until data and metadata are on the disk.
        const SYNC = 16;
    }

    /// How `path_open` opens.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct OpenFlags: u16 {
        const CREAT = 1;
        const DIRECTORY = 2;
        const EXCL = 4;
        const TRUNC = 8;
    }

    /// How a path is resolved.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct LookupFlags: u32 {
        const SYMLINK_FOLLOW = 1;
    }

    /// Which times to set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct FstFlags: u16 {
        const ATIM = 1;
        const ATIM_NOW = 2;
        const MTIM = 4;
        const MTIM_NOW = 8;
    }

    /// How to receive from a socket.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct RiFlags: u16 {
        const PEEK = 1;
        const WAITALL = 2;
    }

    /// Which directions of a socket to shut down.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct SdFlags: u8 {
        const RD = 1;
        const WR = 2;
    }
}

impl Rights {
    /// Those that decide how an object is opened. `path_open` refuses a request for one of these that cannot be
    /// granted; all others are granted as far as they go, because common guests ask for everything there is.
    pub const ACCESS: Rights = Rights::FD_READ
        .union(Rights::FD_READDIR)
        .union(Rights::FD_WRITE)
        .union(Rights::FD_ALLOCATE);

    /// Those that mean anything on a regular file.
    pub const REGULAR: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_READ)
        .union(Rights::FD_SEEK)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_SYNC)
        .union(Rights::FD_TELL)
        .union(Rights::FD_WRITE)
        .union(Rights::FD_ADVISE)
        .union(Rights::FD_ALLOCATE)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_SIZE)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::POLL_FD_READWRITE);

    /// Those that mean anything on a directory.
    pub const DIRECTORY: Rights = Rights::FD_DATASYNC
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_SYNC)
        .union(Rights::PATH_CREATE_DIRECTORY)
        .union(Rights::PATH_CREATE_FILE)
        .union(Rights::PATH_LINK_SOURCE)
        .union(Rights::PATH_LINK_TARGET)
        .union(Rights::PATH_OPEN)
        .union(Rights::FD_READDIR)
        .union(Rights::PATH_READLINK)
        .union(Rights::PATH_RENAME_SOURCE)
        .union(Rights::PATH_RENAME_TARGET)
        .union(Rights::PATH_FILESTAT_GET)
        .union(Rights::PATH_FILESTAT_SET_SIZE)
        .union(Rights::PATH_FILESTAT_SET_TIMES)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::FD_FILESTAT_SET_TIMES)
        .union(Rights::PATH_SYMLINK)
        .union(Rights::PATH_REMOVE_DIRECTORY)
        .union(Rights::PATH_UNLINK_FILE);

    /// Those of a connected socket.
    pub const CONNECTION: Rights = Rights::FD_READ
        .union(Rights::FD_WRITE)
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::POLL_FD_READWRITE)
        .union(Rights::SOCK_SHUTDOWN);

    /// Those of a listening socket.
    pub const LISTENER: Rights = Rights::FD_READ
        .union(Rights::FD_FDSTAT_SET_FLAGS)
        .union(Rights::FD_FILESTAT_GET)
        .union(Rights::POLL_FD_READWRITE)
        .union(Rights::SOCK_SHUTDOWN)
        .union(Rights::SOCK_ACCEPT);
}

/// Flags that arrive in a cell; unknown bits are an error.
pub(crate) trait FromCell: Sized {
    fn from_cell(cell: u32) -> Result<Self, Errno>;
}

macro_rules! from_cell {
    ($($flags:ident: $bits:ty),*) => {$(
        impl FromCell for $flags {
            fn from_cell(cell: u32) -> Result<Self, Errno> {
                let bits = <$bits>::try_from(cell).map_err(|_| Errno::INVAL)?;
                $flags::from_bits(bits).ok_or(Errno::INVAL)
            }
        }
    )*};
}
from_cell!(FdFlags: u16, OpenFlags: u16, LookupFlags: u32, FstFlags: u16, RiFlags: u16, SdFlags: u8);

/// Rights that arrive in a cell; unknown bits are an error.
pub(crate) fn rights_from_cell(cell: u64) -> Result<Rights, Errno> {
    Rights::from_bits(cell).ok_or(Errno::INVAL)
}

/// What kind of thing a descriptor or a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// Unknown, or of no kind that preview 1 knows, as a pipe.
    Unknown = 0,
    /// Block device.
    BlockDevice = 1,
    /// Character device, as a terminal.
    CharacterDevice = 2,
    /// Directory.
    Directory = 3,
    /// Regular file.
    RegularFile = 4,
    /// Datagram socket.
    SocketDgram = 5,
    /// Stream socket.
    SocketStream = 6,
    /// Symbolic link.
    SymbolicLink = 7,
}

impl From<crate::sys::fs::FileType> for FileType {
    fn from(host: crate::sys::fs::FileType) -> FileType {
        use crate::sys::fs::FileType as Host;
        match host {
            Host::RegularFile => FileType::RegularFile,
            Host::Directory => FileType::Directory,
            Host::Symlink => FileType::SymbolicLink,
            Host::Socket => FileType::SocketStream,
            Host::CharacterDevice => FileType::CharacterDevice,
            Host::BlockDevice => FileType::BlockDevice,
            _ => FileType::Unknown,
        }
    }
}

/// Copies `bytes` to `at`; does nothing if they do not fit, which constant offsets rule out.
fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = out.get_mut(at..at + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}

/// What `fd_fdstat_get` writes: 24 bytes.
pub(crate) fn fdstat(
    file_type: FileType,
    flags: FdFlags,
    base: Rights,
    inheriting: Rights,
) -> [u8; 24] {
    let mut out = [0; 24];
    put(&mut out, 0, &[file_type as u8]);
    put(&mut out, 2, &flags.bits().to_le_bytes());
    put(&mut out, 8, &base.bits().to_le_bytes());
    put(&mut out, 16, &inheriting.bits().to_le_bytes());
    out
}

/// What is told of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filestat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) file_type: FileType,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

impl Filestat {
    /// Of something that is no file: its type and nothing else.
    pub(crate) fn bare(file_type: FileType) -> Filestat {
        Filestat { dev: 0, ino: 0, file_type, nlink: 0, size: 0, atim: 0, mtim: 0, ctim: 0 }
    }

    /// As `fd_filestat_get` writes it: 64 bytes.
    pub(crate) fn encode(&self) -> [u8; 64] {
        let mut out = [0; 64];
        put(&mut out, 0, &self.dev.to_le_bytes());
        put(&mut out, 8, &self.ino.to_le_bytes());
        put(&mut out, 16, &[self.file_type as u8]);
        put(&mut out, 24, &self.nlink.to_le_bytes());
        put(&mut out, 32, &self.size.to_le_bytes());
        put(&mut out, 40, &self.atim.to_le_bytes());
        put(&mut out, 48, &self.mtim.to_le_bytes());
        put(&mut out, 56, &self.ctim.to_le_bytes());
        out
    }
}

/// What precedes each name in a directory listing: 24 bytes.
pub(crate) fn dirent(next: u64, ino: u64, name_len: u32, file_type: FileType) -> [u8; 24] {
    let mut out = [0; 24];
    put(&mut out, 0, &next.to_le_bytes());
    put(&mut out, 8, &ino.to_le_bytes());
    put(&mut out, 16, &name_len.to_le_bytes());
    put(&mut out, 20, &[file_type as u8]);
    out
}

/// What `fd_prestat_get` writes of a directory: 8 bytes.
pub(crate) fn prestat_dir(name_len: u32) -> [u8; 8] {
    let mut out = [0; 8];
    put(&mut out, 4, &name_len.to_le_bytes());
    out
}

/// One event of `poll_oneoff`: 32 bytes.
pub(crate) fn event(userdata: u64, error: Errno, kind: u8, nbytes: u64, hangup: bool) -> [u8; 32] {
    let mut out = [0; 32];
    put(&mut out, 0, &userdata.to_le_bytes());
    put(&mut out, 8, &(error as u16).to_le_bytes());
    put(&mut out, 10, &[kind]);
    put(&mut out, 16, &nbytes.to_le_bytes());
    put(&mut out, 24, &u16::from(hangup).to_le_bytes());
    out
}

/// Seconds and nanoseconds since 1970 as preview 1 counts them: before 1970 is 0, past the end is the end.
pub(crate) fn timestamp(seconds: i64, nanos: u64) -> u64 {
    match u64::try_from(seconds) {
        Ok(s) => s.saturating_mul(1_000_000_000).saturating_add(nanos.min(999_999_999)),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_saturate_at_both_ends() {
        assert_eq!(timestamp(-1, 999_999_999), 0);
        assert_eq!(timestamp(i64::MIN, 0), 0);
        assert_eq!(timestamp(i64::MAX, u64::MAX), u64::MAX);
        assert_eq!(timestamp(1, 5), 1_000_000_005);
    }

    #[test]
    fn unknown_bits_are_refused() {
        assert!(FdFlags::from_cell(31).is_ok());
        assert_eq!(FdFlags::from_cell(32), Err(Errno::INVAL));
        assert_eq!(FdFlags::from_cell(0x1_0000), Err(Errno::INVAL));
        assert_eq!(OpenFlags::from_cell(16), Err(Errno::INVAL));
        assert_eq!(LookupFlags::from_cell(2), Err(Errno::INVAL));
        assert_eq!(rights_from_cell(1 << 30), Err(Errno::INVAL));
    }
}
