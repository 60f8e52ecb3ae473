//! The machine code that both engines make of a module's functions, as files for a disassembler: what explains a
//! difference in speed.

use std::path::Path;

use palisade_jit::{CompileModule, Compiler, Options};
use palisade_module::{ModuleInfo, TypeRegistry};

/// Writes the code of each defined function to `ours-N.bin` and `theirs-N.bin` in a folder:
/// `objdump -D -b binary -m i386:x86-64` reads them.
pub fn run(file: &str, folder: &str) {
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder).expect("a folder");
    let wasm = wat::parse_file(file).expect("a module");
    let types = TypeRegistry::new();
    let (limits, features) = (palisade::Limits::default(), palisade_module::default_features());
    let info = ModuleInfo::decode(wasm.clone(), &limits, features, &types, None).expect("valid");
    let offsets = palisade_vm::VmOffsets::new(&info).expect("offsets");
    let part = CompileModule { info: &info, offsets: &offsets, types: &types, stop: None };
    let compiler =
        Compiler::new(Options { paranoid: false, ..Options::default() }).expect("a compiler");
    for (index, func) in compiler.compile_all(&part, 1).into_iter().enumerate() {
        let code = func.expect("code").code;
        std::fs::write(folder.join(format!("ours-{index}.bin")), code).expect("a file");
    }
    let engine = wasmtime::Engine::default();
    let module = wasmtime::Module::new(&engine, &wasm).expect("a module");
    for func in module.functions() {
        let code = module.text().get(func.offset..func.offset + func.len).expect("code");
        let name = format!("theirs-{}.bin", func.index.as_u32());
        std::fs::write(folder.join(name), code).expect("a file");
    }
}
