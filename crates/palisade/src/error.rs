//! [`Error`]: everything that can go wrong at this crate's surface, in one small type.
//!
//! An error has a kind, may carry the guest's backtrace, and collects lines of context on its way
//! up. It is no `std::error::Error` itself, so that `?` can turn any error of a host function into
//! it; the original comes back out with [`Error::downcast_ref`].

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use palisade_core::TrapCode;
use palisade_module::DecodeError;
use palisade_module::error::escape_name;
use palisade_vm::{Refusal, VmError};

use crate::exception::Exception;
use crate::store::vm_error;
use crate::trap::WasmBacktrace;

/// A result whose error is [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    context: Vec<String>,
    backtrace: Option<WasmBacktrace>,
    refusal: Option<Refusal>,
}

/// The kinds of [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Bytes that are no module, an invalid module, or one over a decoder limit.
    #[error(transparent)]
    Module(DecodeError),
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", escape_name(path.as_os_str().as_encoded_bytes()))]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A compiled artefact that is not run.
    #[error(transparent)]
    Artefact(crate::artefact::ArtefactError),
    /// Imports that cannot be satisfied.
    #[error(transparent)]
    Link(LinkError),
    /// The guest was ended.
    #[error("wasm trap: {0}")]
    Trap(TrapCode),
    /// A guest threw an exception that no guest caught.
    #[error("uncaught exception: {0}")]
    Exception(Exception),
    /// A limit of the store's ledger, or the system, refused memory, table elements or an
    /// instance.
    #[error("resource limit exceeded: {0}")]
    Limit(String),
    /// A host function returned this error.
    #[error("{0}")]
    Host(Box<dyn StdError + Send + Sync>),
    /// A host function panicked with this message. The store is poisoned.
    #[error("internal error: a host function panicked: {0}")]
    HostPanic(String),
    /// Palisade itself failed: a bug. The store, if one was concerned, is poisoned.
    #[error("internal error: {0}")]
    Internal(String),
    /// The store was poisoned by an earlier panic: no guest code runs in it any more.
    #[error(
        "the store is poisoned: an earlier call into it panicked, so its guests cannot run any \
         more; make a new store"
    )]
    Poisoned,
    /// A handle was used with a store that it does not belong to.
    #[error(
        "a {what} was used with a store that it does not belong to: it belongs to store {owner}, \
         and was used with store {used}"
    )]
    WrongStore {
        /// What kind of object it was.
        what: &'static str,
        /// The number of the store that it belongs to.
        owner: u64,
        /// The number of the store that it was used with.
        used: u64,
    },
    /// A handle to an object of the heap was used after the scope in which it was made.
    #[error(
        "a {what} was used after its scope had closed: the call of a host function, or a `RootScope`; \
         keep it with `to_owned_rooted` while the scope is open"
    )]
    Unrooted {
        /// What kind of object it was.
        what: &'static str,
    },
    /// An object of one engine was used with another.
    #[error("a {what} of one engine was used with another: both must come from the same `Engine`")]
    WrongEngine {
        /// What kind of object it was.
        what: &'static str,
    },
    /// Something has another type than it must have.
    #[error("type mismatch: {0}")]
    Type(String),
    /// Something asked for by name is not there.
    #[error("{0}")]
    NotFound(String),
    /// Anything else, in words.
    #[error("{0}")]
    Message(String),
}

/// Why imports cannot be satisfied. Names of the guest are shown escaped.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nothing was defined under the import's names.
    #[error(
        "unknown import: `{}::{}` of type {expected} has not been defined",
        escape_name(module),
        escape_name(name)
    )]
    Missing {
        /// The first name of the import.
        module: String,
        /// The second name of the import.
        name: String,
        /// What the module asks for.
        expected: String,
    },
    /// What was defined has another type.
    #[error(
        "incompatible import type for `{}::{}`: expected {expected}, found {found}",
        escape_name(module),
        escape_name(name)
    )]
    Mismatch {
        /// The first name of the import.
        module: String,
        /// The second name of the import.
        name: String,
        /// What the module asks for.
        expected: String,
        /// What was given.
        found: String,
    },
    /// What was given belongs to another store.
    #[error(
        "the {what} given for import `{}::{}` belongs to another store",
        escape_name(module),
        escape_name(name)
    )]
    WrongStore {
        /// The first name of the import.
        module: String,
        /// The second name of the import.
        name: String,
        /// What kind of object was given.
        what: &'static str,
    },
    /// Not as many values were given as there are imports.
    #[error("the module has {expected} imports, but {found} values were given for them")]
    Count {
        /// How many imports there are.
        expected: usize,
        /// How many values were given.
        found: usize,
    },
    /// A name was defined twice.
    #[error(
        "`{}::{}` is defined already; `Linker::allow_shadowing` permits replacing it",
        escape_name(module),
        escape_name(name)
    )]
    Duplicate {
        /// The first name.
        module: String,
        /// The second name.
        name: String,
    },
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, context: Vec::new(), backtrace: None, refusal: None }))
    }

    /// An error that is only a message.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Message(message.to_string()))
    }

    /// What kind of error this is.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Puts a line before the message, such as the name of the file concerned.
    #[must_use]
    pub fn context(mut self, line: impl fmt::Display) -> Self {
        self.0.context.push(line.to_string());
        self
    }

    /// The guest's calls at the moment when it was ended, innermost first, if a guest was running.
    pub fn backtrace(&self) -> Option<&WasmBacktrace> {
        self.0.backtrace.as_ref()
    }

    /// Why the guest was ended, if it was ended by a trap or a limit. An error that a host function
    /// returned is no trap. An exception that no guest caught is [`TrapCode::UncaughtException`].
    pub fn trap_code(&self) -> Option<TrapCode> {
        match &self.0.kind {
            ErrorKind::Trap(code) => Some(*code),
            ErrorKind::Exception(_) => Some(TrapCode::UncaughtException),
            ErrorKind::Limit(_) => Some(TrapCode::LimitExceeded),
            ErrorKind::HostPanic(_) | ErrorKind::Internal(_) => Some(TrapCode::Internal),
            _ => None,
        }
    }

    /// Looks for a value of type `E`: the error of a host function, a [`DecodeError`], a
    /// [`LinkError`], a [`TrapCode`] or a [`WasmBacktrace`].
    pub fn downcast_ref<E: fmt::Debug + Send + Sync + 'static>(&self) -> Option<&E> {
        fn same<E: 'static>(value: &dyn Any) -> Option<&E> {
            value.downcast_ref()
        }
        if let Some(found) = self.0.backtrace.as_ref().and_then(|b| same(b)) {
            return Some(found);
        }
        match &self.0.kind {
            ErrorKind::Trap(code) => same(code),
            ErrorKind::Module(error) => same(error),
            ErrorKind::Link(error) => same(error),
            ErrorKind::File { source, .. } => same(source),
            ErrorKind::Host(error) => {
                let error: &(dyn StdError + 'static) = &**error;
                downcast_std::<E>(error)
            }
            _ => None,
        }
    }

    /// Whether [`Error::downcast_ref`] finds an `E`.
    pub fn is<E: fmt::Debug + Send + Sync + 'static>(&self) -> bool {
        self.downcast_ref::<E>().is_some()
    }

    /// What ran out, if a limit ended the guest or kept something from being made: how much was asked for, what the
    /// limit was, and how to raise it. The same for every limit, those of fuel, time, stack and nested calls included.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// An error for what a limit of the ledger refused.
    pub fn refused(refusal: Refusal) -> Self {
        let mut error = Self::new(ErrorKind::Limit(refusal.to_string()));
        error.0.refusal = Some(refusal);
        error
    }

    /// Says what ran out, where that is not known yet.
    pub(crate) fn add_refusal(&mut self, refusal: Option<Refusal>) {
        if self.0.refusal.is_none() {
            self.0.refusal = refusal;
        }
    }

    pub(crate) fn trap(code: TrapCode) -> Self {
        Self::new(ErrorKind::Trap(code))
    }

    pub(crate) fn type_mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Type(message.into()))
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound(message.into()))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal(message.into()))
    }

    pub(crate) fn wrong_engine(what: &'static str) -> Self {
        Self::new(ErrorKind::WrongEngine { what })
    }

    /// The bare trap code, if there is nothing else in this error that would be lost.
    pub(crate) fn bare_trap(&self) -> Option<TrapCode> {
        match self.0.kind {
            // What ran out is found again further out.
            ErrorKind::Trap(code)
                if code != TrapCode::Internal
                    && self.0.context.is_empty()
                    && self.0.backtrace.is_none() =>
            {
                Some(code)
            }
            _ => None,
        }
    }

    /// Adds the frames of an activation further out.
    pub(crate) fn extend_backtrace(&mut self, outer: WasmBacktrace) {
        match &mut self.0.backtrace {
            Some(inner) => inner.extend(outer),
            none => *none = Some(outer),
        }
    }

    /// Puts the error into the form in which the virtual machine carries it past guest frames.
    pub(crate) fn into_pending(self) -> Box<dyn StdError + Send + Sync> {
        Box::new(Pending(self))
    }

    /// The inverse of [`Error::into_pending`]; what the virtual machine says is put into this crate's words, and an error
    /// of other origin becomes a host error.
    pub(crate) fn from_pending(error: Box<dyn StdError + Send + Sync>) -> Self {
        let other = match error.downcast::<Pending>() {
            Ok(pending) => return pending.0,
            Err(other) => other,
        };
        match other.downcast::<VmError>() {
            Ok(error) => vm_error(*error),
            Err(other) => Self::new(ErrorKind::Host(other)),
        }
    }
}

/// `downcast_ref` of `std::error::Error` wants a bound that [`Error::downcast_ref`] does not have:
/// compare the types through a probe instead.
fn downcast_std<'a, E: 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    // `Holder` is implemented for every error type by the blanket `From`, which keeps the value in
    // a box that knows its `Any`.
    error.downcast_ref::<HostError>().and_then(|held| held.value.as_any().downcast_ref())
}

/// An error of a host function, kept so that it can be taken out again as what it was.
struct HostError {
    value: Box<dyn AnyError>,
}

trait AnyError: StdError + Send + Sync {
    fn as_any(&self) -> &dyn Any;
}

impl<E: StdError + Send + Sync + 'static> AnyError for E {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value, f)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value, f)
    }
}

impl StdError for HostError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.value.source()
    }
}

/// An [`Error`] on its way past guest frames.
struct Pending(Error);

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Pending {}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    /// Keeps the error as it is; the library's own error types get their own kinds.
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        if let Some(&code) = any.downcast_ref::<TrapCode>() {
            return Self::trap(code);
        }
        if let Some(link) = any.downcast_ref::<LinkError>() {
            return Self::new(ErrorKind::Link(link.clone()));
        }
        Self::new(ErrorKind::Host(Box::new(HostError { value: Box::new(error) })))
    }
}

/// What `{:#}` leaves out is how the library raises a limit: a program that has other ways says so itself.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.context.iter().rev() {
            write!(f, "{line}: ")?;
        }
        fmt::Display::fmt(&self.0.kind, f)?;
        if let Some(refusal) = &self.0.refusal {
            if !matches!(self.0.kind, ErrorKind::Limit(_)) {
                write!(f, ": {refusal}")?;
            }
            if !f.alternate() {
                write!(f, "; `ResourceLimits::{}` raises it", refusal.what.setter())?;
            }
        }
        match &self.0.backtrace {
            Some(backtrace) if !backtrace.frames().is_empty() => write!(f, "\n{backtrace}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `unwrap` and a `main` that returns an error show: the same words as `Display`.
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("exit {0}")]
    struct Exit(i32);

    #[test]
    fn a_host_error_comes_back_as_what_it_was() {
        let error = Error::from(Exit(7));
        assert_eq!(error.downcast_ref::<Exit>(), Some(&Exit(7)));
        assert_eq!(error.to_string(), "exit 7");
        assert!(error.trap_code().is_none());
        let back = Error::from_pending(error.context("there").into_pending());
        assert!(back.is::<Exit>());
        assert_eq!(back.to_string(), "there: exit 7");
    }

    #[test]
    fn a_trap_code_becomes_a_trap() {
        let error = Error::from(TrapCode::Unreachable);
        assert_eq!(error.trap_code(), Some(TrapCode::Unreachable));
        assert_eq!(error.downcast_ref::<TrapCode>(), Some(&TrapCode::Unreachable));
        assert_eq!(error.bare_trap(), Some(TrapCode::Unreachable));
        assert_eq!(error.to_string(), "wasm trap: unreachable");
    }

    #[test]
    fn names_of_the_guest_are_shown_escaped() {
        let error = Error::from(LinkError::Missing {
            module: "a\u{1b}[31m".into(),
            name: "b\u{202e}".into(),
            expected: "func [] -> []".into(),
        });
        let text = error.to_string();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
}
