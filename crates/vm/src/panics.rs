//! Panics of the embedder's code: they end no guest's frames and no process, and are told in words.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use palisade_core::TrapCode;

use crate::error::BoxError;
use crate::store::StoreInner;

/// Runs code of the embedder. A panic is an error, in words.
pub(crate) fn catch<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// Runs the body of a host function, as [`crate::HostCode`] has to: a panic poisons the store, leaves the error that
/// `told` makes of its message pending, and becomes the trap [`TrapCode::Internal`].
///
/// # Safety
///
/// The store is live and, whenever `body` has ended, used by nobody else.
#[inline(always)]
pub unsafe fn contain_panics(
    store: *mut StoreInner,
    told: fn(String) -> BoxError,
    body: impl FnOnce() -> u32,
) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(status) => status,
        // SAFETY: passed on to the caller.
        Err(payload) => unsafe { panicked(store, told, payload) },
    }
}

/// # Safety
///
/// As [`contain_panics`].
#[cold]
#[inline(never)]
unsafe fn panicked(
    store: *mut StoreInner,
    told: fn(String) -> BoxError,
    payload: Box<dyn Any + Send>,
) -> u32 {
    // SAFETY: passed on to the caller.
    let store = unsafe { &mut *store };
    store.poisoned = true;
    let previous = store.pending_error.replace(told(message(payload)));
    // An error of the embedder's may panic in its turn when it goes.
    let _ = catch(|| drop(previous));
    TrapCode::Internal as u32
}

/// The message of a panic. A payload that panics when it is dropped does no harm, nor does what that throws.
fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_owned(),
    };
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(thrown);
    }
    text
}
