//! The audit log: what a guest asked for, whether it got it, and what would allow it.
//!
//! The hook sees every decision about a capability, allowed or denied, with the path that the guest named (never
//! the host's). It only observes: nothing that it does changes a decision.

use crate::Caps;

/// Why a request was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Denial {
    /// The context lacks the capability.
    Capability,
    /// The directory is granted without it, or read-only.
    Grant,
    /// The descriptor was opened without the right, or the guest gave it up.
    Descriptor,
    /// The path leaves the directory that it was named through.
    Outside,
    /// The object is neither a regular file nor a directory, or a file of `/proc`.
    Special,
    /// The object would move to where the guest may do more with it.
    Stronger,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The function called.
    pub function: &'static str,
    /// The descriptor it was called on, if it takes one.
    pub descriptor: Option<u32>,
    /// The path that the guest named, if it takes one.
    pub path: Option<String>,
    /// The guest's name of the preopened directory that this went through.
    pub preopen: Option<String>,
    /// The capabilities of which the request needs one.
    pub capability: Caps,
    /// `None` if it was allowed.
    pub denied: Option<Denial>,
    /// The switch that would allow it, if one would.
    pub switch: Option<&'static str>,
    /// Which of the builder's directories this went through, counted from 0.
    pub preopen_index: Option<usize>,
    /// Whether that directory is granted read-only.
    pub read_only: bool,
    /// For a denial: the capabilities without which it could not have been allowed, all of them, whether the context
    /// has them or not. Empty where no capability would help.
    pub required: Caps,
}

impl AuditEvent {
    /// Whether it was denied without an error: the environment looked empty, or the clock stood still.
    #[must_use]
    pub fn is_gentle(&self) -> bool {
        self.denied.is_some() && self.capability.intersects(Caps::ENV | Caps::CLOCK)
    }
}

impl std::fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.denied.is_some() { "denied" } else { "allowed" };
        write!(f, "{verdict} {}", self.function)?;
        if let Some(path) = &self.path {
            write!(f, " \"{}\"", path.escape_debug())?;
        }
        if let Some(preopen) = &self.preopen {
            write!(f, " in \"{}\"", preopen.escape_debug())?;
        }
        match self.denied {
            None => Ok(()),
            Some(Denial::Capability) => match self.switch {
                Some(switch) => write!(f, ": allow it with {switch}"),
                None => write!(f, ": needs {}", self.capability.names()),
            },
            Some(Denial::Grant) => {
                write!(f, ": the directory is granted without it; grant it with :rw")
            }
            Some(Denial::Descriptor) => write!(f, ": the descriptor was opened without that right"),
            Some(Denial::Outside) => write!(f, ": leaves the granted directory"),
            Some(Denial::Special) => write!(f, ": only regular files and directories open"),
            Some(Denial::Stronger) => {
                write!(f, ": the target directory is granted more than the source")
            }
        }
    }
}

/// What observes decisions.
pub type AuditHook = Box<dyn FnMut(AuditEvent) + Send>;
