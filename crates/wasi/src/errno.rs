//! The error numbers of preview 1, and what each number of the host becomes.
//!
//! One table gives the number, the name, the host's counterpart and a sentence for people. Nothing but the
//! number reaches the guest, so no message of the host (paths, pointers) can leak through an error.

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal $(, $host:ident)*;)*) => {
        /// An error number of preview 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[allow(clippy::upper_case_acronyms)]
        #[non_exhaustive]
        pub enum Errno {
            $(#[doc = $text] $name = $number,)*
        }

        impl Errno {
            /// Every error number, in order.
            pub const ALL: &'static [Errno] = &[$(Errno::$name,)*];

            /// The name in the specification, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Errno::$name => stringify!($name),)* }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }
        }

        impl From<crate::sys::io::Errno> for Errno {
            fn from(host: crate::sys::io::Errno) -> Errno {
                use crate::sys::io::Errno as Host;
                match host {
                    $($(Host::$host => Errno::$name,)*)*
                    _ => Errno::IO,
                }
            }
        }
    };
}

errnos! {
    SUCCESS = 0, "no error";
    TOOBIG = 1, "argument list too long", TOOBIG;
    ACCES = 2, "permission denied by the host", ACCESS;
    ADDRINUSE = 3, "address in use", ADDRINUSE;
    ADDRNOTAVAIL = 4, "address not available", ADDRNOTAVAIL;
    AFNOSUPPORT = 5, "address family not supported", AFNOSUPPORT;
    AGAIN = 6, "not ready, try again", AGAIN;
    ALREADY = 7, "already in progress", ALREADY;
    BADF = 8, "no such descriptor, or not of this kind", BADF;
    BADMSG = 9, "bad message", BADMSG;
    BUSY = 10, "busy", BUSY;
    CANCELED = 11, "cancelled", CANCELED;
    CHILD = 12, "no child process", CHILD;
    CONNABORTED = 13, "connection aborted", CONNABORTED;
    CONNREFUSED = 14, "connection refused", CONNREFUSED;
    CONNRESET = 15, "connection reset", CONNRESET;
    DEADLK = 16, "deadlock avoided", DEADLK;
    DESTADDRREQ = 17, "destination address required", DESTADDRREQ;
    DOM = 18, "argument out of domain", DOM;
    DQUOT = 19, "quota exceeded", DQUOT;
    EXIST = 20, "exists already", EXIST;
    FAULT = 21, "address outside of the guest's memory", FAULT;
    FBIG = 22, "file too large", FBIG;
    HOSTUNREACH = 23, "host unreachable", HOSTUNREACH;
    IDRM = 24, "identifier removed", IDRM;
    ILSEQ = 25, "not valid UTF-8", ILSEQ;
    INPROGRESS = 26, "in progress", INPROGRESS;
    INTR = 27, "interrupted", INTR;
    INVAL = 28, "invalid argument", INVAL;
    IO = 29, "input or output error", IO;
    ISCONN = 30, "connected already", ISCONN;
    ISDIR = 31, "is a directory", ISDIR;
    LOOP = 32, "symbolic link where none is followed, or too many", LOOP;
    MFILE = 33, "too many open descriptors", MFILE;
    MLINK = 34, "too many links", MLINK;
    MSGSIZE = 35, "message too large", MSGSIZE;
    MULTIHOP = 36, "multihop attempted", MULTIHOP;
    NAMETOOLONG = 37, "name too long", NAMETOOLONG;
    NETDOWN = 38, "network down", NETDOWN;
    NETRESET = 39, "connection aborted by the network", NETRESET;
    NETUNREACH = 40, "network unreachable", NETUNREACH;
    NFILE = 41, "too many open files on the host", NFILE;
    NOBUFS = 42, "no buffer space", NOBUFS;
    NODEV = 43, "no such device", NODEV;
    NOENT = 44, "no such file or directory", NOENT;
    NOEXEC = 45, "not executable", NOEXEC;
    NOLCK = 46, "no locks available", NOLCK;
    NOLINK = 47, "link severed", NOLINK;
    NOMEM = 48, "out of memory", NOMEM;
    NOMSG = 49, "no message", NOMSG;
    NOPROTOOPT = 50, "protocol option not available", NOPROTOOPT;
    NOSPC = 51, "no space left", NOSPC;
    NOSYS = 52, "no such function", NOSYS;
    NOTCONN = 53, "not connected", NOTCONN;
    NOTDIR = 54, "not a directory", NOTDIR;
    NOTEMPTY = 55, "directory not empty", NOTEMPTY;
    NOTRECOVERABLE = 56, "not recoverable", NOTRECOVERABLE;
    NOTSOCK = 57, "not a socket", NOTSOCK;
    NOTSUP = 58, "not supported", OPNOTSUPP;
    NOTTY = 59, "not a terminal", NOTTY;
    NXIO = 60, "no such device or address", NXIO;
    OVERFLOW = 61, "value too large", OVERFLOW;
    OWNERDEAD = 62, "previous owner died", OWNERDEAD;
    PERM = 63, "operation not permitted by the host", PERM;
    PIPE = 64, "nobody reads the other end", PIPE;
    PROTO = 65, "protocol error", PROTO;
    PROTONOSUPPORT = 66, "protocol not supported", PROTONOSUPPORT;
    PROTOTYPE = 67, "wrong protocol type", PROTOTYPE;
    RANGE = 68, "result does not fit", RANGE;
    ROFS = 69, "read-only file system", ROFS;
    SPIPE = 70, "a stream has no position", SPIPE;
    SRCH = 71, "no such process", SRCH;
    STALE = 72, "stale file handle", STALE;
    TIMEDOUT = 73, "timed out", TIMEDOUT;
    TXTBSY = 74, "file is being executed", TXTBSY;
    XDEV = 75, "on another file system", XDEV;
    NOTCAPABLE = 76, "not granted";
}

impl Errno {
    /// The number as a call returns it.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as u16 as i32
    }

    /// The error of a number, if there is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Errno> {
        Errno::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message(), self.name())
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn numbers_are_dense_and_in_order() {
        for (i, e) in Errno::ALL.iter().enumerate() {
            assert_eq!(e.code(), i as i32);
            assert_eq!(Errno::from_code(i as i32), Some(*e));
        }
        assert_eq!(Errno::ALL.len(), 77);
        assert_eq!(Errno::from_code(77), None);
        assert_eq!(Errno::from_code(-1), None);
    }

    #[test]
    fn host_errors_map_to_their_namesakes() {
        assert_eq!(Errno::from(crate::sys::io::Errno::NOENT), Errno::NOENT);
        assert_eq!(Errno::from(crate::sys::io::Errno::OPNOTSUPP), Errno::NOTSUP);
        assert_eq!(Errno::from(crate::sys::io::Errno::LIBACC), Errno::IO);
    }
}
