//! How a run ends when it does not end well: the exit status, one line that says what is wrong and
//! lines that say what to do.

use std::fmt;
use std::io::Write;

/// What the process exits with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// All went well.
    Success,
    /// Specification scripts failed, or another check answered no.
    CheckFailed,
    /// The command line is wrong.
    Usage,
    /// The deadline passed.
    Deadline,
    /// Palisade itself failed.
    Internal,
    /// Not a module that can be run.
    Module,
    /// A file cannot be read.
    Unreadable,
    /// The guest trapped or reached a limit.
    Trap,
    /// A signal ended the run.
    Signal(i32),
    /// The guest's own status, its low 8 bits.
    Guest(u8),
}

impl Status {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CheckFailed => 1,
            Self::Usage => 2,
            Self::Deadline => 124,
            Self::Internal => 125,
            Self::Module => 126,
            Self::Unreadable => 127,
            Self::Trap => 134,
            Self::Signal(n) => 128u8.wrapping_add((n & 0x7f) as u8),
            Self::Guest(code) => code,
        }
    }
}

/// An error that ends the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) status: Status,
    /// What is wrong. Further lines (a backtrace) may follow the first.
    pub(crate) message: String,
    /// What to do about it, a line each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// A failure without hints. The message must be fit for a terminal already.
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hints: Vec::new() }
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    /// Adds a line that says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Writes it to standard error.
    pub(crate) fn report(&self) {
        tell(&self.to_string());
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "palisade: error: {}", self.message)?;
        for hint in &self.hints {
            writeln!(f, "  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Something that deserves a line on standard error and does not end the run.
pub(crate) fn warn(message: &str) {
    tell(&format!("palisade: warning: {message}\n"));
}

/// Writes to standard error. If that fails there is nobody to tell.
pub(crate) fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes to standard output; a full disk is a failure of ours to do what was asked. (A closed pipe
/// does not come here: SIGPIPE has ended the process.)
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        Failure::new(Status::Internal, format!("standard output cannot be written: {error}"))
    })
}
