//! Where attempts are made, and how: the one door to the kernel.
//!
//! Every attempt goes through [`sys`], so that this is the only unsafe code of the attempts but for the two instructions
//! of other doors in `system`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use palisade_lockdown::{Error, Lockdown, Profile, Report, Rights};

/// One way out.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) want: Want,
    pub(crate) run: fn(&Place) -> Tried,
}

/// What came of an attempt: the errno, if it failed.
pub(crate) type Tried = Result<(), i32>;

/// What should come of it.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// The kernel ends the process.
    Ends,
    /// The call fails, whatever was granted.
    Refused,
    /// It fails, unless some directory is granted.
    IfDirectory,
    /// It fails, unless some directory is granted for writing.
    IfWritable,
    /// It fails, unless a compiler runs.
    IfCompiler,
}

impl Want {
    pub(crate) fn expected(self, profile: Profile, grant: Grant) -> &'static str {
        let possible = match self {
            Want::Ends => return "ends",
            Want::Refused => false,
            Want::IfDirectory => grant != Grant::None,
            Want::IfWritable => grant == Grant::Writable,
            Want::IfCompiler => profile == Profile::Compiler,
        };
        if possible { "possible" } else { "refused" }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Want::Ends => "ends the process",
            Want::Refused => "refused",
            Want::IfDirectory => "**possible** if any directory is granted, else refused",
            Want::IfWritable => "**possible** if a directory is granted for writing, else refused",
            Want::IfCompiler => "**possible** while a compiler may run, else refused",
        }
    }
}

/// What was granted.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    None,
    ReadOnly,
    Writable,
}

impl Grant {
    pub(crate) const ALL: [Grant; 3] = [Grant::None, Grant::ReadOnly, Grant::Writable];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Grant::None => "none",
            Grant::ReadOnly => "ro",
            Grant::Writable => "rw",
        }
    }
}

/// The directories, as a process has them that has been broken into: one that may be granted, open, and the
/// names of everything.
pub(crate) struct Place {
    directory: File,
    base: Vec<u8>,
    /// An open directory that is granted, if any is.
    pub(crate) inside_fd: usize,
    /// Who started this process.
    pub(crate) parent: usize,
    /// This process.
    pub(crate) own: usize,
}

impl Place {
    pub(crate) fn open(base: &OsStr) -> io::Result<Place> {
        let mut inside = base.as_bytes().to_vec();
        inside.extend_from_slice(b"/inside");
        let directory = File::open(OsStr::from_bytes(&inside))?;
        Ok(Place {
            inside_fd: directory.as_raw_fd() as usize,
            directory,
            base: base.as_bytes().to_vec(),
            parent: std::os::unix::process::parent_id() as usize,
            own: std::process::id() as usize,
        })
    }

    /// Locks as the command does.
    pub(crate) fn lock(&self, profile: Profile, grant: Grant) -> Result<Report, Error> {
        let builder = Lockdown::builder().profile(profile).close_inherited(true);
        let builder = match grant {
            Grant::None => builder,
            Grant::ReadOnly => builder.directory(&self.directory, Rights::READ),
            Grant::Writable => {
                let all = Rights::READ | Rights::WRITE | Rights::NAMES;
                builder.directory(&self.directory, all)
            }
        };
        builder.enforce()
    }

    /// A path beneath the base.
    pub(crate) fn path(&self, name: &str) -> CString {
        let mut path = self.base.clone();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        CString::new(path).unwrap_or_default()
    }
}

/// The address of something, for the kernel.
pub(crate) fn at<T: ?Sized>(what: &T) -> usize {
    std::ptr::from_ref(what).cast::<u8>() as usize
}

/// The address of a text.
pub(crate) fn text(what: &std::ffi::CStr) -> usize {
    what.as_ptr() as usize
}

/// Makes a system call.
pub(crate) fn call(number: libc::c_long, args: &[usize]) -> Result<usize, i32> {
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    // SAFETY: attempts pass addresses of buffers that outlive the call and are as large as they say, null, or
    // addresses of pages of their own; what else the call may do to this process is the point of it, and each process
    // makes one attempt and ends.
    let answer = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if answer == -1 {
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Ok(answer as usize)
    }
}

/// An attempt that is one call.
pub(crate) fn sys(number: libc::c_long, args: &[usize]) -> Tried {
    call(number, args).map(drop)
}

/// Ends a child that an attempt has made.
pub(crate) fn end_of_child() -> ! {
    // SAFETY: it ends this process without running anything else of it.
    unsafe { libc::_exit(0) }
}
