//! Machine code and its tables, as the translator leaves them: plain data.

use std::ops::Range;
use std::sync::Arc;

use palisade_module::ModuleInfo;

use crate::layout::VmOffsets;

/// What a stretch of machine code is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FuncKind {
    /// A function of the module, by its index among the defined ones.
    Defined(u32),
    /// The same, entered at a loop.
    Osr(u32),
    /// A stub or a trampoline, which is no frame of Wasm.
    Stub,
}

/// Where a function's code stands. Offsets here and below are bytes from the start of the object's code.
#[derive(Clone, Debug)]
pub struct FuncRange {
    /// From the first byte to one past the last.
    pub range: Range<u32>,
    /// What it is.
    pub kind: FuncKind,
    /// The offset in the module of the function's body: what a fault before its first operator is said to be at.
    pub body: u32,
}

/// A call, for those who walk frames.
#[derive(Clone, Debug)]
pub struct CallSite {
    /// The address that it returns to.
    pub ret: u32,
    /// The frame pointer less the stack pointer during the call.
    pub frame: u32,
    /// Among [`Tables::handlers`], what is tried in order when the call throws.
    pub handlers: Range<u32>,
}

/// Something that an exception is compared with.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Handler {
    /// From here on tags are those of the context that stands at so many bytes from the stack pointer.
    Context(u32),
    /// The exception's tag is this one of the module's: go on there.
    Tag(u32, u32),
    /// Go on there.
    Default(u32),
}

/// The references in a frame during a call.
#[derive(Clone, Debug)]
pub struct StackMap {
    /// The address that the call returns to.
    pub ret: u32,
    /// The frame pointer less the stack pointer during the call.
    pub frame: u32,
    /// Among [`Tables::slots`], where references stand, in bytes from the stack pointer.
    pub slots: Range<u32>,
}

/// What is added to an index of [`Tables::inlined`] where an offset in the module would stand. Modules are smaller.
pub const INLINED: u32 = 1 << 31;

/// A place in a function whose body stands in the middle of another's code: two frames of Wasm in one of the machine.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Inlined {
    /// The function whose body it is, by its index among the defined ones.
    pub func: u32,
    /// The place, as an offset in the module.
    pub offset: u32,
    /// The offset in the module of the call that the body stands for.
    pub call: u32,
}

/// The tables of a batch of machine code. Each is sorted by its first offset.
#[derive(Clone, Default, Debug)]
pub struct Tables {
    /// Whose code it is; `None` for stubs of an engine.
    pub module: Option<(Arc<ModuleInfo>, Arc<VmOffsets>)>,
    /// Whether functions count the depth of calls, each one unit while it runs.
    pub counts_depth: bool,
    /// The functions.
    pub funcs: Vec<FuncRange>,
    /// Instructions that may fault: offset, and the number of a trap code or [`super::POLL`].
    pub traps: Vec<(u32, u8)>,
    /// From which offset on code comes from which offset in the module, or, with [`INLINED`] added, from which of
    /// [`Tables::inlined`].
    pub srclocs: Vec<(u32, u32)>,
    /// Places in functions whose bodies stand in the middle of others' code, in no order.
    pub inlined: Vec<Inlined>,
    /// Calls.
    pub calls: Vec<CallSite>,
    /// See [`CallSite::handlers`].
    pub handlers: Vec<Handler>,
    /// Calls during which the frame holds references.
    pub maps: Vec<StackMap>,
    /// See [`StackMap::slots`].
    pub slots: Vec<u32>,
}
