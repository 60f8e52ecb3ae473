//! Why a function stays without machine code.

use thiserror::Error;

/// Why a function could not be compiled. It stays interpreted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CompileError {
    /// A limit on what is compiled.
    #[error("{what}: at most {limit} are compiled, found {found}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
        /// How much there is.
        found: u64,
    },
    /// There is no compiled tier on this machine.
    #[error("no machine code can be made for this machine: {0}")]
    Host(String),
    /// The code generator refused, or a check of what it made failed.
    #[error("the code generator failed: {0}")]
    Codegen(String),
    /// The code generator panicked.
    #[error("the code generator panicked: {0}")]
    Panic(String),
    /// A bug of ours: what validation excludes was met.
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// Somebody asked to stop.
    #[error("compilation was stopped")]
    Stopped,
}

/// What [`CompileError::Limit`] says there is too much of where the compiler's memory is limited.
pub(crate) const MEMORY: &str = "bytes of memory";

impl CompileError {
    /// Whether a compiler that is given more memory may have no such error.
    pub fn is_of_memory(&self) -> bool {
        matches!(self, Self::Limit { what: MEMORY, .. })
    }
}
