//! What can go wrong outside of running a guest: making, growing and linking the objects of a store.

use std::io;

use palisade_core::TrapCode;

use crate::import::ImportMismatch;
use crate::ledger::Refusal;

/// An error of the embedder.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an object of a store could not be made or grown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// The store's ledger has no room for it.
    #[error(transparent)]
    Limit(#[from] Refusal),
    /// The store's resource limiter said no.
    #[error("the store's resource limiter refused {what}: {asked} asked for, {in_use} in use")]
    LimiterRefused {
        /// What was asked for.
        what: &'static str,
        /// How much there would have been (bytes, elements or objects).
        asked: u64,
        /// How much there was.
        in_use: u64,
    },
    /// The store's resource limiter failed.
    #[error("the store's resource limiter failed: {0}")]
    Limiter(#[source] BoxError),
    /// The operating system has no room for it.
    #[error("the system gave no room for {what} ({bytes} bytes): {source}")]
    System {
        /// What was to be made.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than anything on this machine can be.
    #[error("{what} of {asked} {unit} is larger than this machine can address")]
    TooLarge {
        /// What was to be made.
        what: &'static str,
        /// Its size.
        asked: u64,
        /// The unit of the size.
        unit: &'static str,
    },
    /// A type that no valid module could have, given by the host.
    #[error("{0}")]
    InvalidType(&'static str),
    /// An id, or a function reference, that this store does not know.
    #[error("{what} does not belong to this store")]
    Foreign {
        /// What was given.
        what: &'static str,
    },
    /// The guest was to be stopped while this was being done.
    #[error("stopped: {0}")]
    Stopped(TrapCode),
}

impl VmError {
    /// The error of a system call that was to make `what`.
    pub(crate) fn system(what: &'static str, bytes: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, bytes, source }
    }
}

impl From<TrapCode> for InstantiateError {
    fn from(code: TrapCode) -> Self {
        Self::Trap(code)
    }
}

/// Why a module could not be instantiated. Nothing of it is left in the store, and what it had
/// been counted for is given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstantiateError {
    /// The number of imports is wrong.
    #[error("the module has {expected} imports, but {found} were given")]
    ImportCount {
        /// How many the module has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// An import has the wrong type, or belongs to another store.
    #[error("import {index}: {mismatch}")]
    Import {
        /// Its position among the module's imports.
        index: usize,
        /// What was expected, and what was found.
        mismatch: ImportMismatch,
    },
    /// An object that it declares could not be made.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A constant expression makes an object for which the heap has no room, or the guest was to be stopped
    /// meanwhile.
    #[error("a constant expression: {0}")]
    Trap(TrapCode),
    /// The description of the module contradicts itself. Always a bug of Palisade.
    #[error("internal error: {0}; please report this")]
    Internal(&'static str),
}
