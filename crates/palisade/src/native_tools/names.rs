//! What a stretch of machine code is called.

use palisade_module::FuncIdx;
use palisade_module::error::escape_name;
use palisade_vm::native::CodeObject;
use palisade_vm::native::code::{FuncKind, FuncRange};

/// The most characters of a name.
const MOST: usize = 512;

/// `module!function`, escaped and cut to a length; a stub is called one.
pub(super) fn name(code: &CodeObject, func: &FuncRange) -> String {
    let (defined, at_loop) = match func.kind {
        FuncKind::Defined(defined) => (defined, ""),
        FuncKind::Osr(defined) => (defined, " (from a loop)"),
        FuncKind::Stub => return "<palisade stub>".to_owned(),
    };
    let Some((module, _)) = &code.tables().module else { return "<palisade code>".to_owned() };
    let index = FuncIdx(module.imported_funcs + defined);
    let cut = |name: &str| -> String { escape_name(name).chars().take(MOST).collect() };
    let own = module.module_name().map_or_else(|| "<unnamed module>".to_owned(), cut);
    let name = module.func_name(index).map(cut);
    let name = name.unwrap_or_else(|| format!("<wasm function {}>", index.0));
    format!("{own}!{name}{at_loop}")
}
