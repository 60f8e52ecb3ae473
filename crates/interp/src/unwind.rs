//! From where an exception was thrown to the clause that catches it.
//!
//! The frames of one activation are walked outwards as for a backtrace; nothing of them is changed until a
//! clause is found. Then everything that calls count is put where it was when the frame that
//! catches made its call: depth, window of references, instance. Frames of the host are not
//! passed: an activation in which nobody catches ends, and whoever entered it decides.
//!
//! Invariants: an exception is under way if and only if `pending_exn` is not null while the status is
//! [`TrapCode::UncaughtException`]; no other trap is ever caught. The work is proportional to frames
//! and clauses looked at, is paid for in fuel, and can be interrupted.

use palisade_core::TrapCode;
use palisade_vm::builtins::gc;
use palisade_vm::gc::layout::FieldKind;
use palisade_vm::layout::{Interrupts, VmCtx, VmRef, VmStoreCtx};

use crate::code::InterpModule;
use crate::handlers::{Clause, NONE};
use crate::state::State;
use crate::trace::Frame;

/// Frames and clauses between two looks at whether the guest is to be stopped.
const POLL_INTERVAL: u64 = 1024;

/// A frame, and what calls inside of it have changed.
#[derive(Copy, Clone)]
struct Place {
    frame: Frame,
    /// Where its window of references begins.
    window: *mut VmRef,
    /// How many calls there are inside of it.
    depth: i64,
}

/// The state in which a guest goes on after an exception, where one of the activation's clauses catches it.
/// `None` if none does: then everything is as it was, the exception still pending.
///
/// # Errors
///
/// The guest is to be stopped, or cannot pay.
///
/// # Safety
///
/// `ctx` is live and its `exit` fields say where the activation was left, whose frames are in place;
/// `pending_exn` is an exception of the store.
pub(crate) unsafe fn unwind(ctx: *mut VmStoreCtx) -> Result<Option<State>, TrapCode> {
    let mut work = 0;
    // SAFETY: passed on from the caller.
    let found = unsafe { search(ctx, &mut work)? };
    // SAFETY: nothing refers into the store here.
    unsafe { (*(*ctx).store).pay(work)? };
    let Some((place, clause, pad)) = found else { return Ok(None) };
    // SAFETY: the frame is one of the activation, and the clause one of its function.
    unsafe {
        deliver(ctx, place, clause)?;
        (*ctx).depth_left += place.depth;
        (*ctx).ref_fp = place.window;
        (*ctx).pending_exn = VmRef::NULL;
        // What the host had to say about it.
        (*(*ctx).store).pending_error = None;
        (*(*ctx).store).trace.clear();
        let mut state = State::without_accumulators(pad, place.frame.fp, place.frame.vm);
        state.reload_memory();
        Ok(Some(state))
    }
}

/// Looks for the frame and the clause that catch, and where to go on.
unsafe fn search(
    ctx: *mut VmStoreCtx,
    work: &mut u64,
) -> Result<Option<(Place, Clause, *const u8)>, TrapCode> {
    // SAFETY: as for `unwind`. `vm` is the context of a live instance at every step.
    unsafe {
        let mut frame = Frame::left(ctx);
        let (mut window, mut depth) = ((*ctx).ref_fp, 0);
        let interrupts = &*(*frame.vm).interrupts;
        let tag = gc::exn_tag(frame.vm, (*ctx).pending_exn);
        loop {
            let module = InterpModule::of(frame.vm).ok_or(TrapCode::Internal)?;
            let Some((code, _, at)) = module.code_at(frame.ip as usize) else {
                // What leads to another engine is no frame of Wasm: it catches nothing, and costs nothing.
                let place = module.locate(frame.ip as usize).filter(|place| !place.is_frame);
                let header = place.ok_or(TrapCode::Internal)?.header;
                match frame.caller(module, header) {
                    Some(outer) => frame = outer,
                    None => return Ok(None),
                }
                // Its call was counted all the same.
                depth += 1;
                continue;
            };
            let handlers = code.handlers.as_deref();
            let site = handlers.and_then(|handlers| handlers.site(at));
            window = window.sub(site.map_or(0, |site| site.pushed as usize));
            // A frame that stands at a tail call, of the host, counts as gone: nothing of it is looked at.
            if !site.is_some_and(|site| site.tail) {
                step(work, interrupts)?;
                for clause in handlers.into_iter().flat_map(|handlers| handlers.clauses_at(at)) {
                    step(work, interrupts)?;
                    let identity = |tag| VmCtx::pointer::<()>(frame.vm, module.tag_offset(tag));
                    if clause.tag == NONE || identity(clause.tag).cast_const() == tag {
                        let pad = code.entry().add(clause.pad as usize);
                        return Ok(Some((Place { frame, window, depth }, *clause, pad)));
                    }
                }
            }
            match frame.caller(module, code.header) {
                Some(outer) => frame = outer,
                None => return Ok(None),
            }
            depth += 1;
        }
    }
}

/// Counts a step, and looks at whether the guest is to be stopped now and then.
fn step(work: &mut u64, interrupts: &Interrupts) -> Result<(), TrapCode> {
    if work.is_multiple_of(POLL_INTERVAL) {
        interrupts.poll()?;
    }
    *work += 1;
    Ok(())
}

/// Writes what a clause asks for to where its label expects it.
unsafe fn deliver(ctx: *mut VmStoreCtx, place: Place, clause: Clause) -> Result<(), TrapCode> {
    // SAFETY: the frame and its window were checked, when they were entered, to hold all slots that the function
    // uses, the label's among them. The exception has the clause's tag, so its fields are those of the
    // tag's layout.
    unsafe {
        let (exn, store) = ((*ctx).pending_exn, (*ctx).store);
        let mut cells = place.frame.fp.add(clause.cell as usize);
        let mut window = place.window.add(clause.reference as usize);
        if clause.tag != NONE {
            let module = InterpModule::of(place.frame.vm).ok_or(TrapCode::Internal)?;
            let layout = module.exception(clause.tag).ok_or(TrapCode::Internal)?;
            for &field in &layout.fields {
                let [low, high] = (*store).gc_read(exn, field.offset.into(), field.kind);
                if field.kind == FieldKind::Ref {
                    window.write(VmRef(low as u32));
                    window = window.add(1);
                    continue;
                }
                cells.write(low);
                cells = cells.add(1);
                if field.kind == FieldKind::B16 {
                    cells.write(high);
                    cells = cells.add(1);
                }
            }
        }
        if clause.wants_ref {
            window.write(exn);
        }
    }
    Ok(())
}
