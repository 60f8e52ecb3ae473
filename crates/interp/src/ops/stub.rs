//! Functions that are not translated yet: a stub stands where their code will be, entered like code, whose
//! one instruction looks for machine code that was stored, or translates the function, and goes on in it.

use palisade_core::TrapCode;
use palisade_vm::Resource;
use palisade_vm::layout::VmCtx;

use crate::code::InterpModule;
use crate::ops::call::{
    LAST_CODE, STACK_ENDS, fits, fits_but_for_sampling, frame_bytes, trap_code,
};
use crate::state::{Handler, Next, Op, State, handler};

/// Operands of a function that is not translated yet.
#[derive(Copy, Clone)]
#[repr(C)]
pub(crate) struct StubOps {
    pub(crate) handler: u64,
    pub(crate) defined: u64,
}

/// Translates a function, charges the store for its code, and lets the context point to it: its
/// address, or the number of a trap code.
///
/// In a frame of its own, so that handlers let no address escape.
#[inline(never)]
unsafe fn translate(vm: *mut VmCtx, defined: u32) -> usize {
    // SAFETY: the context is that of a live instance of the module, which has a place for the code.
    // It points to its store, and nothing else refers into that while the ledger is written to.
    unsafe {
        let Some(module) = InterpModule::of(vm) else { return TrapCode::Internal as usize };
        if let Some(native) = module.config().native
            && (native.first)(vm, defined)
        {
            let place = module.offsets().code(defined);
            let code = vm.byte_add(place as usize).cast::<*const u8>().read();
            // Where it did not come to that, the function is interpreted.
            if code != module.code_entry(defined) {
                return code as usize;
            }
        }
        let store = (*(*vm).store).store;
        let charge = |bytes: u64| {
            let ledger = (*store).ledger();
            ledger.charge(Resource::HostBytes, bytes).map_err(|_| TrapCode::LimitExceeded)?;
            // While it was made it took up to twice as much.
            ledger.note_peak(Resource::HostBytes, bytes);
            Ok(())
        };
        let reason = &(*(*vm).interrupts).reason;
        let before = (*store).ledger().refusals();
        let most = (*store).ledger().room(Resource::HostBytes);
        let made = module.translate(defined, reason, most, charge);
        let ledger = (*store).ledger();
        if matches!(made, Err(TrapCode::LimitExceeded)) && ledger.refusals() == before {
            // Whoever reports it finds what was refused.
            let _ = ledger.check(Resource::HostBytes, most.saturating_add(1));
        }
        match made {
            Ok(code) => {
                let place = module.offsets().code(defined);
                vm.byte_add(place as usize).cast::<*const u8>().write(code);
                code as usize
            }
            Err(code) => code as usize,
        }
    }
}

/// Translates a function when it is called for the first time, and goes on in its code.
struct Translate;
impl Op for Translate {
    #[inline(always)]
    unsafe fn exec(mut s: State) -> Next {
        // SAFETY: a stub is entered like code: frame, header and arguments stand as they should.
        unsafe {
            let code = translate(s.vm, s.operands::<StubOps>().defined as u32);
            if code <= LAST_CODE {
                return Next::Trap(s, trap_code(code as u32));
            }
            let code = code as *const u8;
            let bytes = frame_bytes(code);
            // What was translated is paid for, so that this is not done again to take a sample.
            if !fits(s.vm, s.fp, bytes) && !fits_but_for_sampling(s.vm, s.fp, bytes) {
                return Next::Jump(s, STACK_ENDS);
            }
            s.ip = code;
        }
        Next::Go(s)
    }
}
pub(crate) static TRANSLATE: Handler = handler::<Translate>();
