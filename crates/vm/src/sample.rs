//! Where a running guest is, found out by its own thread: the calls of all engines, mixed as they are, innermost first.
//!
//! Whoever wants to know asks ([`crate::InterruptHandle::request_sample`]), from any thread; the next time that the guest looks
//! whether it is to stop, its own thread calls the store's [`Sampler`], and the guest goes on. Guests that nobody
//! asks about do nothing for this but look, as they do anyway.
//!
//! Machine code looks by a load that faults, so its sampler is called by the handler of that fault. The fault is that of a
//! known instruction of the guest's, and not one that came in the middle of something else: nothing of the
//! host is under way on this thread, so that a sampler may allocate and lock like any function that a guest calls.
//!
//! Invariants: each [`Activation`] stands on the host's stack as long as its entry lasts, inside of those that it is
//! chained to; together with the segments of machine code ([`crate::native`]) they are all that is entered.

use crate::layout::{Cell, VmCtx, VmStoreCtx};
use crate::native::{Segment, TraceFrame, each_segment};
use crate::panics;
use crate::store::StoreInner;

/// Where an engine that keeps frames of its own was left: instruction, frame, context.
pub type Exit = (*const u8, *mut Cell, *mut VmCtx);

/// One entry into such an engine, on the host's stack.
#[derive(Debug)]
pub struct Activation {
    /// The entry outside of this one.
    previous: *const Activation,
    /// The innermost segment of machine code outside of this one.
    segment: *const Segment,
    /// Where the entry outside of this one was left.
    exit: Exit,
}

impl Activation {
    /// What is entered now, before another activation begins.
    ///
    /// # Safety
    ///
    /// `ctx` is live, and of a store on its own thread.
    pub unsafe fn new(ctx: *const VmStoreCtx) -> Self {
        // SAFETY: the caller's word.
        unsafe {
            Self {
                previous: (*ctx).activation,
                segment: (*ctx).native.segment,
                exit: ((*ctx).exit_ip, (*ctx).exit_fp, (*ctx).exit_vmctx),
            }
        }
    }

    /// The activation begins: it is the innermost one until [`Activation::leave`].
    ///
    /// # Safety
    ///
    /// As [`Activation::new`]; this stays where it is until then.
    pub unsafe fn enter(&self, ctx: *mut VmStoreCtx) {
        // SAFETY: the caller's word.
        unsafe { (*ctx).activation = self }
    }

    /// The activation is over: everything is as it was when this was made.
    ///
    /// # Safety
    ///
    /// As [`Activation::new`].
    pub unsafe fn leave(&self, ctx: *mut VmStoreCtx) {
        // SAFETY: the caller's word.
        unsafe {
            (*ctx).activation = self.previous;
            ((*ctx).exit_ip, (*ctx).exit_fp, (*ctx).exit_vmctx) = self.exit;
        }
    }
}

/// Who is called when a guest was asked where it is.
pub trait Sampler: Send {
    /// Takes a sample. A panic ends the sampling, and nothing else.
    ///
    /// # Safety
    ///
    /// `store` is live, on its own thread, and its guest stands at a poll; its frames may be walked by
    /// [`each_frame`]. Nothing that a guest could notice may change.
    unsafe fn sample(&mut self, store: *mut StoreInner);
}

/// Which engine a frame is in.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum FrameKind {
    /// One that keeps frames of its own: the interpreter.
    Activation,
    /// Machine code.
    Machine,
}

/// Whether a walk goes on.
pub type Wanted = bool;

/// The frames of all entries of a store, innermost first, as long as `visit` wants more. `frames` gives those of one
/// activation, from where it was left.
///
/// # Safety
///
/// `ctx` is the context of a live store, on its own thread. Its guest has noted where it was left (a host function, a
/// built-in or a sampler runs); `frames` may be given what activations noted.
pub unsafe fn each_frame(
    ctx: *mut VmStoreCtx,
    frames: impl Fn(Exit, &mut dyn FnMut(TraceFrame) -> Wanted),
    visit: &mut dyn FnMut(FrameKind, TraceFrame) -> Wanted,
) {
    let mut wanted = true;
    // SAFETY: the caller's word; activations and segments stand on the host's stack as long as they are chained.
    unsafe {
        let mut activation = (*ctx).activation;
        let mut exit = ((*ctx).exit_ip, (*ctx).exit_fp, (*ctx).exit_vmctx);
        let boundary = |activation: *const Activation| match activation.is_null() {
            true => std::ptr::null(),
            false => (*activation).segment,
        };
        let mut segments = each_segment(ctx);
        loop {
            let outer = boundary(activation);
            while wanted && segments.here() != outer && !segments.here().is_null() {
                segments.frames(&mut |frame| {
                    wanted = visit(FrameKind::Machine, frame);
                    wanted
                });
                segments.outwards();
            }
            if activation.is_null() || !wanted {
                return;
            }
            frames(exit, &mut |frame| {
                wanted = visit(FrameKind::Activation, frame);
                wanted
            });
            exit = (*activation).exit;
            activation = (*activation).previous;
        }
    }
}

/// The guest, which stands at a poll and has noted where it is, goes on behind this: a sample is taken, if one
/// was asked for.
///
/// # Safety
///
/// `ctx` is the context of a live store, on its own thread; nobody holds a reference into it.
#[cold]
pub unsafe fn sample(ctx: *mut VmStoreCtx) {
    // SAFETY: the caller's word; the sampler is taken out for the time.
    unsafe {
        let store = (*ctx).store;
        // While machine code is on its stack's reserve, it is to end at its next poll.
        if !(*store).interrupt.take_sample((*ctx).native.reserve_open == 0) {
            return;
        }
        let Some(mut sampler) = (*store).sampler.take() else { return };
        if panics::catch(|| sampler.sample(store)).is_ok() {
            (*store).sampler = Some(sampler);
        }
    }
}
