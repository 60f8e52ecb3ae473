//! The frames of machine code, from where it was left outwards to where it was entered.
//!
//! Every function keeps a frame pointer: at it stands the caller's, above that the address that it returns to. The
//! outermost frame of a segment, its trampoline's, has zero for the caller's. Nothing is read outside of the stack, and
//! frames only ever lie further out.

use crate::layout::{NativeState, VmRef, VmStoreCtx};
use crate::native::code::FuncKind;
use crate::native::trace::{FrameValues, TraceFrame};
use crate::native::{CodeObject, CodeRegistry, Segment};
use palisade_core::TrapCode;
use palisade_module::FuncIdx;

/// The bytes of the instructions that make a frame, at the start of each function: `push rbp; mov rbp, rsp`.
const PUSHED: u32 = 1;
const FRAMED: u32 = 4;

/// A frame.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Frame {
    /// Where its function goes on, or the instruction that faulted.
    pub(crate) pc: usize,
    /// Whether `pc` is the instruction itself, and not the one behind a call.
    pub(crate) exact: bool,
    /// Its frame pointer. That of the caller if the frame is not made yet: then `exact` is true.
    pub(crate) fp: usize,
}

/// The frames of a segment, innermost first.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    next: Option<Frame>,
    /// The caller's return address, where the first frame is not made yet.
    unmade: Option<usize>,
    low: usize,
    high: usize,
}

impl NativeState {
    /// The lowest address that a frame can be at: the reserve may be in use.
    pub(crate) fn lowest_frame(&self) -> usize {
        if self.reserve_open != 0 { self.stack_reserve } else { self.stack_low }
    }
}

impl Frames {
    /// The frames of the innermost segment.
    ///
    /// # Safety
    ///
    /// The state is that of a store on its own thread, whose machine code was left and is still there.
    pub(crate) unsafe fn innermost(state: *const NativeState) -> Self {
        // SAFETY: the caller's word.
        let state = unsafe { &*state };
        let mut frames =
            Self { next: None, unmade: None, low: state.lowest_frame(), high: state.stack_high };
        if state.exit_pc == 0 {
            frames.next = frames.caller(state.exit_fp as usize);
            return frames;
        }
        frames.next = Some(Frame { pc: state.exit_pc, exact: true, fp: state.exit_fp as usize });
        // SAFETY: code that has been left just now is alive.
        let object = unsafe { (*state.registry).lookup(state.exit_pc) };
        let into = object.and_then(|object| {
            let at = object.offset_of(state.exit_pc)?;
            Some(at - object.func_at(at)?.range.start)
        });
        if let Some(into) = into.filter(|&into| into < FRAMED) {
            let words = usize::from(into >= PUSHED);
            frames.unmade = frames.word(state.exit_sp as usize + words * size_of::<usize>());
        }
        frames
    }

    /// The frames of a segment that was left through a wrapper with this frame pointer.
    fn left_at(state: &NativeState, exit_fp: usize) -> Self {
        let mut frames =
            Self { next: None, unmade: None, low: state.lowest_frame(), high: state.stack_high };
        frames.next = frames.caller(exit_fp);
        frames
    }

    fn word(&self, at: usize) -> Option<usize> {
        // Without a stack both ends are 0: nothing lies in it.
        let inside =
            at != 0 && at >= self.low && at <= self.high.saturating_sub(size_of::<usize>());
        // SAFETY: an aligned word of the store's stack, on its own thread.
        (inside && at.is_multiple_of(size_of::<usize>()))
            .then(|| unsafe { std::ptr::with_exposed_provenance::<usize>(at).read() })
    }

    /// The frame that called the one with this frame pointer.
    fn caller(&self, fp: usize) -> Option<Frame> {
        let outer = self.word(fp)?;
        let pc = self.word(fp.checked_add(size_of::<usize>())?)?;
        (outer > fp).then_some(Frame { pc, exact: false, fp: outer })
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let frame = self.next?;
        self.next = match self.unmade.take() {
            Some(pc) => Some(Frame { pc, exact: false, fp: frame.fp }),
            None => self.caller(frame.fp),
        };
        Some(frame)
    }
}

impl Frame {
    /// The code of a frame, and the offset in it that calls return to.
    ///
    /// # Safety
    ///
    /// The frame is one of a segment that has not ended, whose code is alive.
    pub(crate) unsafe fn code<'a>(&self, registry: &CodeRegistry) -> Option<(&'a CodeObject, u32)> {
        // A call may be the last instruction.
        let inside = self.pc.wrapping_sub(usize::from(!self.exact));
        // SAFETY: the caller's word.
        let object = unsafe { registry.lookup(inside) }?;
        Some((object, object.offset_of(self.pc)?))
    }

    /// Whether a trap says that its function was not called: one call too many, or one that was not begun when
    /// its function was stopped. It is the caller's then, at the call.
    ///
    /// # Safety
    ///
    /// As [`Frame::code`].
    unsafe fn is_refused(&self, code: TrapCode, registry: &CodeRegistry) -> bool {
        // SAFETY: the caller's word.
        let Some((object, offset)) = (unsafe { self.code(registry) }) else { return false };
        let Some(func) = object.func_at(offset) else { return false };
        match code {
            TrapCode::CallDepthExceeded => true,
            TrapCode::StackOverflow | TrapCode::Interrupted | TrapCode::DeadlineExceeded => {
                matches!(func.kind, FuncKind::Defined(_))
                    && object.source_at(offset, func) == func.body
            }
            _ => false,
        }
    }

    /// What a backtrace says of a frame, from the inside out: nothing of stubs and trampolines, two frames of an
    /// inlined body.
    ///
    /// # Safety
    ///
    /// As [`Frame::code`].
    pub(crate) unsafe fn describe(
        &self,
        registry: &CodeRegistry,
    ) -> impl Iterator<Item = TraceFrame> + use<> {
        // SAFETY: the caller's word.
        let code = unsafe { self.code(registry) };
        let frames = code.and_then(|(object, offset)| self.describe_in(object, offset));
        frames.into_iter().flatten().flatten()
    }

    fn describe_in(&self, object: &CodeObject, offset: u32) -> Option<[Option<TraceFrame>; 2]> {
        let inside = offset - u32::from(!self.exact);
        let func = object.func_at(inside)?;
        let (module, _) = object.tables().module.as_ref()?;
        let defined = match func.kind {
            FuncKind::Defined(defined) | FuncKind::Osr(defined) => defined,
            FuncKind::Stub => return None,
        };
        let frame = |defined, offset| {
            let func = FuncIdx(module.imported_funcs + defined);
            Some(TraceFrame {
                module: module.clone(),
                func,
                offset,
                values: FrameValues::default(),
            })
        };
        let source = object.source_at(inside, func);
        Some(match object.inlined(source) {
            None => [frame(defined, source), None],
            Some(place) => [frame(place.func, place.offset), frame(defined, place.call)],
        })
    }
}

/// Adds the frames of the innermost segment, which has failed for this reason, to the backtrace.
///
/// # Safety
///
/// As [`Frames::innermost`].
pub(crate) unsafe fn describe_segment(ctx: *mut VmStoreCtx, code: TrapCode) {
    // SAFETY: the caller's word; the frames are not changed meanwhile.
    unsafe {
        let state = &raw const (*ctx).native;
        let trace = &raw mut (*(*ctx).store).trace;
        for frame in Frames::innermost(state) {
            if frame.exact && frame.is_refused(code, &*(*state).registry) {
                continue;
            }
            for described in frame.describe(&*(*state).registry) {
                (*trace).push(described);
            }
        }
    }
}

/// A place among the segments of a store, the innermost at first.
pub(crate) struct Segments {
    state: *const NativeState,
    segment: *const Segment,
    frames: Frames,
}

/// All segments of a store.
///
/// # Safety
///
/// As [`Frames::innermost`], until the last use of what this returns.
pub(crate) unsafe fn each_segment(ctx: *mut VmStoreCtx) -> Segments {
    // SAFETY: the caller's word.
    unsafe {
        let state = &raw const (*ctx).native;
        Segments { state, segment: (*state).segment, frames: Frames::innermost(state) }
    }
}

impl Segments {
    /// The segment; null outside of the last.
    pub(crate) fn here(&self) -> *const Segment {
        self.segment
    }

    /// Gives `visit` the frames of this segment, innermost first, as long as it wants more.
    ///
    /// # Safety
    ///
    /// The segments stand as they did when they were asked for, and this is not outside of the last.
    pub(crate) unsafe fn frames(&self, visit: &mut dyn FnMut(TraceFrame) -> bool) {
        for frame in self.frames.clone() {
            // SAFETY: the caller's word; the registry lives as long as the store.
            for described in unsafe { frame.describe(&*(*self.state).registry) } {
                if !visit(described) {
                    return;
                }
            }
        }
    }

    /// Goes to the segment outside of this one.
    ///
    /// # Safety
    ///
    /// As [`Segments::frames`].
    pub(crate) unsafe fn outwards(&mut self) {
        // SAFETY: the caller's word; a segment keeps where the one outside of it was left.
        unsafe {
            let exit_fp = (*self.segment).left.exit_fp as usize;
            self.frames = Frames::left_at(&*self.state, exit_fp);
            self.segment = (*self.segment).previous;
        }
    }
}

/// Calls `visit` with each place in a frame of machine code that holds a reference, in all segments of a store.
/// Returns how many there were.
///
/// # Safety
///
/// `ctx` is the context of a live store, on its own thread, which runs host code: all machine code was left through
/// wrappers.
pub(crate) unsafe fn each_root(ctx: *mut VmStoreCtx, mut visit: impl FnMut(*mut VmRef)) -> usize {
    let mut count = 0;
    // SAFETY: the caller's word; segments live as long as their entries, and each keeps where the one outside of it
    // was left. A map says where references stand in the frame.
    unsafe {
        let state = &(*ctx).native;
        let mut exit_fp = state.exit_fp as usize;
        let mut segment: *mut Segment = state.segment;
        while !segment.is_null() {
            for frame in Frames::left_at(state, exit_fp) {
                let Some((object, ret)) = frame.code(&*state.registry) else { continue };
                let Some(map) = object.map_at(ret) else { continue };
                let sp = frame.fp.wrapping_sub(map.frame as usize);
                let slots = map.slots.start as usize..map.slots.end as usize;
                for &slot in object.tables().slots.get(slots).unwrap_or_default() {
                    let at = sp.wrapping_add(slot as usize);
                    if at >= state.lowest_frame() && at < state.stack_high {
                        visit(std::ptr::with_exposed_provenance_mut(at));
                        count += 1;
                    }
                }
            }
            exit_fp = (*segment).left.exit_fp as usize;
            segment = (*segment).previous;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_where_there_is_no_stack() {
        let frames = Frames { next: None, unmade: None, low: 0, high: 0 };
        assert!(frames.word(0).is_none() && frames.caller(0).is_none());
    }
}
