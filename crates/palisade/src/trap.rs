//! Where a guest was when it was ended: [`WasmBacktrace`] and its frames.
//!
//! Frames hold their module and look names up when asked, so that taking a backtrace costs nothing
//! but a copy. Names come from the guest: every `Display` shows them escaped.

use std::fmt;
use std::sync::Arc;

use palisade_core::TrapCode;
use palisade_module::error::escape_name;
use palisade_module::{FuncIdx, ModuleInfo};

/// Why a guest was ended. Another name of [`TrapCode`].
pub type Trap = TrapCode;

/// How many frames a `Display` shows at each end of a long backtrace.
const SHOWN: usize = 24;

/// The most frames that a backtrace keeps when activations nest.
const KEPT: usize = 4096;

/// The guest's calls at the moment when it was ended, innermost first.
///
/// Very long backtraces are shortened in the middle.
#[derive(Clone, Default)]
pub struct WasmBacktrace {
    frames: Vec<FrameInfo>,
    omitted: u64,
}

/// One function in a backtrace.
#[derive(Clone)]
pub struct FrameInfo {
    module: Arc<ModuleInfo>,
    func: FuncIdx,
    offset: u32,
}

impl WasmBacktrace {
    pub(crate) fn new(frames: Vec<FrameInfo>, omitted: u64) -> Self {
        Self { frames, omitted }
    }

    pub(crate) fn extend(&mut self, outer: Self) {
        let room = KEPT.saturating_sub(self.frames.len());
        let cut = outer.frames.len().saturating_sub(room) as u64;
        self.omitted = self.omitted.saturating_add(outer.omitted).saturating_add(cut);
        self.frames.extend(outer.frames.into_iter().take(room));
    }

    /// The frames, innermost first.
    pub fn frames(&self) -> &[FrameInfo] {
        &self.frames
    }

    /// How many more frames there were, which were left out somewhere in the middle.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }
}

impl FrameInfo {
    pub(crate) fn new(module: Arc<ModuleInfo>, func: FuncIdx, offset: u32) -> Self {
        Self { module, func, offset }
    }

    /// The index of the function in its module, imported functions counted.
    pub fn func_index(&self) -> u32 {
        self.func.0
    }

    /// The name of the function, as its module gives it: not escaped.
    pub fn func_name(&self) -> Option<&str> {
        self.module.func_name(self.func)
    }

    /// The name of the module, as it gives it: not escaped.
    pub fn module_name(&self) -> Option<&str> {
        self.module.module_name()
    }

    /// Where in the binary module the operator stands, in bytes.
    pub fn module_offset(&self) -> usize {
        self.offset as usize
    }
}

impl fmt::Display for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#6x} - ", self.offset)?;
        match self.module_name() {
            Some(name) => write!(f, "{}!", escape_name(name))?,
            None => f.write_str("<unnamed module>!")?,
        }
        match self.func_name() {
            Some(name) => write!(f, "{}", escape_name(name)),
            None => write!(f, "<wasm function {}>", self.func.0),
        }
    }
}

impl fmt::Debug for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameInfo({self})")
    }
}

impl fmt::Display for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wasm backtrace:")?;
        let hidden = self.frames.len().saturating_sub(2 * SHOWN);
        let left_out = self.omitted.saturating_add(hidden as u64);
        for (i, frame) in self.frames.iter().enumerate() {
            if left_out > 0 && i == SHOWN.min(self.frames.len() / 2) {
                write!(f, "\n       ... {left_out} more ...")?;
            }
            if i < SHOWN || i >= SHOWN + hidden {
                write!(f, "\n{i:5}: {frame}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
