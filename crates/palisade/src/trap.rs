//! Where a guest was when it was ended: [`WasmBacktrace`] and its frames.
//!
//! Frames hold their module and look names up when asked, so that taking a backtrace costs nothing
//! but a copy. Names come from the guest: every `Display` shows them escaped.

use std::fmt;
use std::sync::Arc;

use palisade_core::TrapCode;
use palisade_module::debug::Place;
use palisade_module::error::escape_name;
use palisade_module::{FuncIdx, ModuleInfo};
use palisade_vm::native::{FrameValue, FrameValues};

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
    values: Arc<FrameValues>,
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
    pub(crate) fn new(
        module: Arc<ModuleInfo>,
        func: FuncIdx,
        offset: u32,
        values: FrameValues,
    ) -> Self {
        Self { module, func, offset, values: Arc::new(values) }
    }

    /// The values of its locals, parameters first, as far as they are known. None, unless the store was told to keep
    /// them ([`Store::keep_values`](crate::Store::keep_values)); none in machine code, which keeps them wherever it likes.
    pub fn locals(&self) -> &[FrameValue] {
        &self.values.locals
    }

    /// What waited on its operand stack, the lowest first, as far as it is known: without what the operator took at which the
    /// frame stands. As for [`FrameInfo::locals`].
    pub fn operands(&self) -> &[FrameValue] {
        &self.values.operands
    }

    pub(crate) fn module_info(&self) -> &Arc<ModuleInfo> {
        &self.module
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

/// A place in the source that a frame stands at. Several of one frame are functions that were inlined there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameSymbol(Place);

impl FrameSymbol {
    /// The function whose source it is: not escaped.
    pub fn name(&self) -> Option<&str> {
        self.0.function.as_deref()
    }

    /// The file, with its directory where that is known: not escaped.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// The line, from 1.
    pub fn line(&self) -> Option<u32> {
        self.0.line
    }

    /// The column, from 1.
    pub fn column(&self) -> Option<u32> {
        self.0.column
    }
}

/// The file, the line and the column, as far as they are known.
impl fmt::Display for FrameSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file() {
            Some(file) => f.write_str(&escape_name(file))?,
            None => f.write_str("<unknown file>")?,
        }
        if let Some(line) = self.line() {
            write!(f, ":{line}")?;
            if let Some(column) = self.column() {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

impl FrameInfo {
    /// The places in the source that the frame stands at, from the module's DWARF or that of its debug file: the
    /// innermost function inlined there first, the function itself last. Empty if nothing is known, or
    /// [`Config::debug_info`](crate::Config::debug_info) is off. Reads the DWARF when it is called first.
    pub fn symbols(&self) -> Vec<FrameSymbol> {
        self.module.places(self.offset as usize).into_iter().map(FrameSymbol).collect()
    }

    /// The lines that a backtrace shows beneath a frame.
    fn show_symbols(&self, f: &mut fmt::Formatter<'_>, symbols: &[FrameSymbol]) -> fmt::Result {
        for (i, symbol) in symbols.iter().enumerate() {
            if symbol.file().is_none() && symbol.line().is_none() && i + 1 == symbols.len() {
                continue;
            }
            f.write_str("\n              ")?;
            if i + 1 < symbols.len() {
                match symbol.name() {
                    Some(name) => write!(f, "inlined {} ", escape_name(name))?,
                    None => f.write_str("inlined ")?,
                }
            }
            write!(f, "at {symbol}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = self.symbols();
        self.show(f, symbols.last().and_then(FrameSymbol::name))?;
        self.show_symbols(f, &symbols)
    }
}

impl FrameInfo {
    /// One line. Only a function that the module has no name for is called what the source calls it.
    fn show(&self, f: &mut fmt::Formatter<'_>, source_name: Option<&str>) -> fmt::Result {
        write!(f, "{:#6x} - ", self.offset)?;
        match self.module_name() {
            Some(name) => write!(f, "{}!", escape_name(name))?,
            None => f.write_str("<unnamed module>!")?,
        }
        match self.func_name().or(source_name) {
            Some(name) => write!(f, "{}", escape_name(name)),
            None => write!(f, "<wasm function {}>", self.func.0),
        }
    }
}

impl fmt::Debug for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameInfo(")?;
        self.show(f, None)?;
        f.write_str(")")
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
