//! What an embedder can decide about growth: [`ResourceLimiter`], as users of other runtimes know it.
//!
//! It is asked before every growth and for minimum sizes, after the module's own maximum and the
//! store's [`crate::Ledger`] have agreed, and before anything is changed. A limiter that panics
//! ends the guest and poisons the store, and not the process.

use crate::error::{BoxError, VmError};
use crate::panics;
use crate::store::StoreInner;

/// Decides whether memories and tables may grow, and how many objects a store may hold.
pub trait ResourceLimiter {
    /// Whether a linear memory may go from `current` to `desired` bytes (from 0 when it is being
    /// made). `maximum` is what its type allows. An error ends the guest.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, BoxError>;

    /// Called when a growth that was allowed failed all the same. An error ends the guest; the
    /// default lets it see the failure.
    fn memory_grow_failed(&mut self, _error: &VmError) -> Result<(), BoxError> {
        Ok(())
    }

    /// Whether a table may go from `current` to `desired` elements (from 0 when it is being made).
    /// `maximum` is what its type allows. An error ends the guest.
    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, BoxError>;

    /// Called when a growth that was allowed failed all the same. An error ends the guest; the
    /// default lets it see the failure.
    fn table_grow_failed(&mut self, _error: &VmError) -> Result<(), BoxError> {
        Ok(())
    }

    /// How many instances the store may hold.
    fn instances(&self) -> usize {
        10_000
    }

    /// How many tables the store may hold.
    fn tables(&self) -> usize {
        10_000
    }

    /// How many linear memories the store may hold.
    fn memories(&self) -> usize {
        10_000
    }
}

/// A panic of the embedder's code, as an error.
#[derive(Debug, thiserror::Error)]
#[error("the resource limiter panicked: {0}")]
struct LimiterPanicked(String);

impl StoreInner {
    /// Asks the limiter, if there is one; `otherwise` is the answer where there is none.
    pub(crate) fn ask_limiter<R>(
        &mut self,
        otherwise: R,
        question: impl FnOnce(&mut dyn ResourceLimiter) -> Result<R, BoxError>,
    ) -> Result<R, VmError> {
        // Out of the store while it runs: it is the embedder's code.
        let Some(mut limiter) = self.limiter.take() else { return Ok(otherwise) };
        let answer = panics::catch(|| question(&mut *limiter));
        self.limiter = Some(limiter);
        match answer {
            Ok(answer) => answer.map_err(VmError::Limiter),
            Err(text) => {
                self.poisoned = true;
                Err(VmError::Limiter(Box::new(LimiterPanicked(text))))
            }
        }
    }

    /// Whether the limiter allows `count` objects in all.
    pub(crate) fn ask_count(
        &mut self,
        what: &'static str,
        count: u64,
        in_use: u64,
        allowed: impl FnOnce(&mut dyn ResourceLimiter) -> usize,
    ) -> Result<(), VmError> {
        if count == in_use {
            return Ok(());
        }
        let allowed = self.ask_limiter(usize::MAX, |l| Ok(allowed(l)))?;
        if count <= allowed as u64 {
            return Ok(());
        }
        Err(VmError::LimiterRefused { what, asked: count, in_use })
    }
}
