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
mod gc_type;
mod handlers;
mod ops;
mod state;
mod trace;
mod translate;
mod unwind;
mod val;

pub use activation::{call, tail_calls_work};
pub use code::InterpModule;

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
    /// How instructions are dispatched.
    pub dispatch: Dispatch,
}
