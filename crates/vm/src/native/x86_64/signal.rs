//! The registers of a thread, as a signal handler finds them.

use libc::{REG_RBP, REG_RDI, REG_RIP, REG_RSI, REG_RSP, c_void, ucontext_t};

use crate::layout::VmStoreCtx;

/// The registers of the code that a signal stopped. What is written to them holds when the handler returns.
#[derive(Copy, Clone)]
pub(crate) struct Registers(*mut ucontext_t);

impl Registers {
    /// # Safety
    ///
    /// `context` is the third argument of a signal handler that has not returned.
    pub(crate) unsafe fn new(context: *mut c_void) -> Self {
        Self(context.cast())
    }

    fn get(self, register: libc::c_int) -> usize {
        // SAFETY: the context is that of a running handler, whose thread is here.
        unsafe { (*self.0).uc_mcontext.gregs[register as usize] as usize }
    }

    fn set(self, register: libc::c_int, value: usize) {
        // SAFETY: as above.
        unsafe { (*self.0).uc_mcontext.gregs[register as usize] = value as i64 };
    }

    /// The instruction that was to be executed, or failed.
    pub(crate) fn pc(self) -> usize {
        self.get(REG_RIP)
    }

    /// The stack pointer.
    pub(crate) fn sp(self) -> usize {
        self.get(REG_RSP)
    }

    /// The frame pointer.
    pub(crate) fn fp(self) -> usize {
        self.get(REG_RBP)
    }

    /// Lets the thread go on in [`super::leave`], on the host's stack: the next signal may come before the first
    /// instruction, when there is no room on the guest's.
    pub(crate) fn leave(self, ctx: *mut VmStoreCtx, host_sp: usize, status: u64) {
        self.set(REG_RSP, host_sp);
        self.set(REG_RDI, ctx as usize);
        self.set(REG_RSI, status as usize);
        self.set(REG_RIP, super::leave_address());
    }
}
