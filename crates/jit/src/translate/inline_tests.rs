//! Which calls become bodies, and how code says where it comes from then. What such code does is tested from outside.

use std::sync::Arc;

use palisade_core::Limits;
use palisade_module::{ModuleInfo, TypeRegistry, default_features};
use palisade_vm::VmOffsets;
use palisade_vm::native::code::INLINED;

use super::INTO_FUNCTION;
use crate::compiler::{CompileModule, CompiledFunc, Compiler};
use crate::link::link;
use crate::options::Options;

struct Module {
    info: Arc<ModuleInfo>,
    offsets: Arc<VmOffsets>,
    types: Arc<TypeRegistry>,
}

impl Module {
    fn new(wat: &str) -> Self {
        let types = TypeRegistry::new();
        let (limits, features) = (Limits::default(), default_features());
        let info =
            ModuleInfo::decode(wat.as_bytes().to_vec(), &limits, features, &types, None).unwrap();
        let offsets = Arc::new(VmOffsets::new(&info).unwrap());
        Self { info: Arc::new(info), offsets, types }
    }

    fn compile(&self, options: &Options) -> Vec<CompiledFunc> {
        let compiler = Compiler::new(Options { paranoid: true, ..options.clone() }).unwrap();
        let module = CompileModule {
            info: &self.info,
            offsets: &self.offsets,
            types: &self.types,
            stop: None,
        };
        compiler.compile_all(&module, 1).into_iter().map(Result::unwrap).collect()
    }
}

/// How many calls of the first function are left, if the second is as given.
fn calls_left(callee: &str, options: &Options) -> usize {
    let text = format!(
        "(module (memory 1) (tag $t) (type $s (struct)) (func (call $f)) (func $f {callee}) (func $g))"
    );
    let funcs = Module::new(&text).compile(options);
    funcs[0].relocations.len()
}

#[test]
fn small_functions_are_inlined_and_others_are_not() {
    let plain = Options::default();
    let at_limit = "(drop (i32.const 0))".repeat(19);
    let inlined = [
        "",
        "unreachable",
        "(return)",
        "(local i32 i64 f32 f64 v128 funcref i32 i32)",
        "(block (br_if 1 (i32.const 1)))",
        "(i32.store (i32.const 0) (memory.grow (i32.const 1)))",
        at_limit.as_str(),
    ];
    for body in inlined {
        assert_eq!(calls_left(body, &plain), 0, "{body}");
        assert_eq!(calls_left(body, &Options { fuel: true, ..plain.clone() }), 0, "{body}");
        assert_eq!(calls_left(body, &Options { inline: false, ..plain.clone() }), 1, "{body}");
        assert_eq!(calls_left(body, &Options { depth: true, ..plain.clone() }), 1, "{body}");
    }
    let (large, wide) = ("(drop (i32.const 0))".repeat(20), "(nop)".repeat(600));
    let table = format!("(br_table {} (i32.const 0))", "0 ".repeat(41));
    let kept = [
        "(loop)",
        "(call $g)",
        "(return_call $g)",
        "(call $f)",
        "(block (br_if 0 (i32.const 1)) (throw $t))",
        "(try_table)",
        "(throw_ref (ref.null exn))",
        "(local i32 i32 i32 i32 i32 i32 i32 i32 i32)",
        "(local externref)",
        "(local (ref null $s))",
        large.as_str(),
        wide.as_str(),
        table.as_str(),
    ];
    for body in kept {
        assert_eq!(calls_left(body, &plain), 1, "{body}");
    }
}

#[test]
fn sources_of_inlined_code_name_the_function_its_place_and_the_call() {
    let text = r#"(module
        (func (param i32) (result i32)
            (i32.div_s (call $f (local.get 0)) (call $f (i32.ctz (local.get 0)))))
        (func $f (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
        (func (param i32) (result i32) (call $f (local.get 0))))"#;
    let module = Module::new(text);
    let funcs = module.compile(&Options::default());
    let [caller, callee, other] = &funcs[..] else { panic!("three functions") };
    assert!(callee.inlined.is_empty());
    let at = |offset: u32, code: u8| {
        module.info.bytes.get(offset as usize..offset as usize + 1).unwrap()[0] == code
    };
    for (func, calls) in [(caller, 2), (other, 1)] {
        let mut found: Vec<u32> = func.inlined.iter().map(|place| place.call).collect();
        for place in &func.inlined {
            assert_eq!(place.func, 1);
            // Where a call is, and a division or the beginning of the body.
            assert!(at(place.call, 0x10), "{place:?}");
            assert!(at(place.offset, 0x6D) || place.offset == callee.body, "{place:?}");
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), calls);
        assert!(func.inlined.iter().any(|place| at(place.offset, 0x6D)));
        // All are used.
        let used = |index| func.srclocs.iter().any(|&(_, source)| source == INLINED + index);
        assert!((0..func.inlined.len() as u32).all(used));
    }
    let expected: usize = funcs.iter().map(|func| func.inlined.len()).sum();
    let batch = (0..).zip(funcs.iter().cloned()).collect();
    let linked = link(Arc::clone(&module.info), Arc::clone(&module.offsets), batch).unwrap();
    let tables = &linked.tables;
    assert_eq!(tables.inlined.len(), expected);
    // What each source means is what it meant in its function.
    for (func, range) in funcs.iter().zip(&tables.funcs) {
        for &(at, source) in &func.srclocs {
            let entry = tables.srclocs.iter().find(|entry| entry.0 == range.range.start + at);
            let &(_, linked) = entry.unwrap();
            match source.checked_sub(INLINED) {
                None => assert_eq!(linked, source),
                Some(index) => {
                    let there = tables.inlined[(linked - INLINED) as usize];
                    assert_eq!(there, func.inlined[index as usize]);
                }
            }
        }
    }
}

#[test]
fn how_much_is_inlined_is_in_proportion() {
    // Twenty operators and an end.
    let callee = "(drop (i32.const 0))".repeat(10);
    let left = |calls: usize| {
        let calls = "(call $f)".repeat(calls);
        let text = format!("(module (func {calls}) (func $f {callee}))");
        Module::new(&text).compile(&Options::default())[0].relocations.len()
    };
    assert_eq!(left(2), 0);
    // Every call has two bytes, and allows for four operators.
    assert!((30..=36).contains(&left(40)), "{}", left(40));
    let many = 2_000;
    assert_eq!(left(many), many - INTO_FUNCTION as usize / 21);
}
