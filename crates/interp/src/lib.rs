//! The interpreter: from the validated bytes of a function to register bytecode in one pass, when the
//! function is first called, and two dispatchers that run it.
//!
//! The operand stack of WebAssembly disappears: every value has a slot in the frame that is known at
//! translation. Constants and comparisons fold into their users, the last integer and
//! floating-point results travel in accumulators, and an instruction that turns out to be needed
//! in a slot is patched to store its result there as well.
//!
//! Bounds are checked in software, so that neither signals nor executable memory are needed.
//! Calls between functions of Wasm do not recurse on the host's stack.

mod activation;
mod code;
mod explain;
mod gc_type;
mod handlers;
mod operands;
mod ops;
mod state;
mod trace;
mod translate;
mod unwind;
mod val;

use palisade_core::TrapCode;
use palisade_vm::StoreInner;
use palisade_vm::layout::{Cell, VmCtx};

pub use activation::{call, tail_calls_work};
pub use code::InterpModule;
pub use explain::{Bytecode, Instruction};
pub use trace::activation_frames;

/// How instructions are dispatched.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Dispatch {
    /// Tail calls where [`tail_calls_work`] says so, the loop elsewhere.
    #[default]
    Auto,
    /// A loop that calls one operation after the other: right on every compiler.
    Loop,
    /// Each operation ends in a sibling call of the next one. Here, the loop is used where the
    /// self-test finds that the compiler did not make such calls.
    TailCall,
}

impl Dispatch {
    fn tail_calls(self) -> bool {
        match self {
            Self::Loop => false,
            Self::Auto | Self::TailCall => tail_calls_work(),
        }
    }
}

/// How the interpreter runs modules.
#[derive(Clone, Debug, Default)]
pub struct InterpConfig {
    /// Whether fuel is consumed.
    pub fuel: bool,
    /// Whether NaNs that operators make are the canonical one.
    pub canonical_nans: bool,
    /// How instructions are dispatched.
    pub dispatch: Dispatch,
    /// How machine code is called; nothing has any without it.
    pub native: Option<NativeConfig>,
    /// What happens with functions that are called often; nothing is counted without it.
    pub tier: Option<TierConfig>,
}

/// How machine code is called.
#[derive(Copy, Clone, Debug)]
pub struct NativeConfig {
    /// Whether it counts its calls against the limit itself.
    pub counts_depth: bool,
    /// Goes on with what the store's continuation asks for, and puts its results into cells.
    ///
    /// # Safety
    ///
    /// There is one, and the cells have room for its results.
    pub finish: unsafe fn(*mut StoreInner, *mut Cell) -> Result<(), TrapCode>,
    /// Told of a function (the context, its index among the defined ones) that an instance enters for the first time, before
    /// it is translated: whether the context leads to machine code of it now.
    ///
    /// # Safety
    ///
    /// The context is live, and nobody holds its store.
    pub first: unsafe fn(*mut VmCtx, u32) -> bool,
}

/// Who is told of functions that are called often, and when.
#[derive(Copy, Clone, Debug)]
pub struct TierConfig {
    /// How many entries and turns of loops, together, make a function hot.
    pub threshold: u32,
    /// After how many more it is asked about again.
    pub again: u32,
    /// Told of a hot function (the context, its index among the defined ones), which may get machine code.
    ///
    /// # Safety
    ///
    /// The context is live, and nobody holds its store.
    pub entered: unsafe fn(*mut VmCtx, u32),
    /// Told of a hot function at the head of a loop (the offset of its `loop` in the module); says how
    /// machine code is entered there, or nothing if there is none yet.
    ///
    /// # Safety
    ///
    /// As above.
    pub looped: unsafe fn(*mut VmCtx, u32, u32) -> Option<LoopEntry>,
}

/// How machine code is entered at the head of a loop.
#[derive(Copy, Clone, Debug)]
pub struct LoopEntry {
    /// What takes the values from a buffer (locals, then the operand stack) and puts the results there.
    pub trampoline: *const u8,
    /// The code.
    pub code: *const u8,
}
