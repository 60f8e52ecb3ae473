use std::sync::Arc;

use palisade_core::limits::Limits;
use palisade_module::default_features;
use palisade_vm::native::code::{FuncKind, Tables};

use super::*;
use crate::link::{Linked, link, link_loop};

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

    fn part(&self) -> CompileModule<'_> {
        CompileModule { info: &self.info, offsets: &self.offsets, types: &self.types, stop: None }
    }

    fn link(&self, funcs: Vec<(u32, CompiledFunc)>) -> Linked {
        link(Arc::clone(&self.info), Arc::clone(&self.offsets), funcs).unwrap()
    }
}

fn compiler() -> Compiler {
    Compiler::new(Options { paranoid: true, ..Options::default() }).unwrap()
}

fn all(module: &Module) -> Vec<(u32, CompiledFunc)> {
    let funcs = compiler().compile_all(&module.part(), 1);
    (0..).zip(funcs.into_iter().map(Result::unwrap)).collect()
}

/// Where the calls of a linked function lead to.
fn targets(linked: &Linked, start: u32, func: &CompiledFunc) -> Vec<u32> {
    let target = |call: &Relocation| {
        let at = (start + call.at) as usize;
        let distance = i32::from_le_bytes(linked.code[at..at + 4].try_into().unwrap());
        (at as i64 + 4 + i64::from(distance)) as u32
    };
    func.relocations.iter().map(target).collect()
}

fn sorted(tables: &Tables) -> bool {
    tables.funcs.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start)
        && tables.traps.windows(2).all(|pair| pair[0].0 < pair[1].0)
        && tables.srclocs.windows(2).all(|pair| pair[0].0 < pair[1].0)
        && tables.calls.windows(2).all(|pair| pair[0].ret < pair[1].ret)
        && tables.maps.windows(2).all(|pair| pair[0].ret < pair[1].ret)
}

const CALLS: &str = r#"(module
    (import "" "host" (func $host (param i32)))
    (func $even (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
        (call $odd (i32.sub (local.get 0) (i32.const 1))))
    (func $odd (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
        (return_call $even (i32.sub (local.get 0) (i32.const 1))))
    (func $div (param i32 i32) (result i32)
        (call $host (local.get 0))
        (i32.div_s (local.get 0) (local.get 1)))
    (func $stop unreachable))"#;

#[test]
fn calls_inside_a_batch_are_direct() {
    let module = Module::new(CALLS);
    let funcs = all(&module);
    let called = |defined: usize| {
        funcs[defined].1.relocations.iter().map(|call| call.target).collect::<Vec<_>>()
    };
    assert_eq!((called(0), called(1)), (vec![1], vec![0]));
    assert!(called(2).is_empty() && called(3).is_empty());
    let linked = module.link(funcs.clone());
    assert_eq!(linked.entries.len(), 4);
    let entry = |defined: usize| linked.entries[defined].1;
    assert_eq!(targets(&linked, entry(0), &funcs[0].1), [entry(1)]);
    assert_eq!(targets(&linked, entry(1), &funcs[1].1), [entry(0)]);
    assert!(linked.tables.funcs.iter().all(|func| matches!(func.kind, FuncKind::Defined(_))));
    for ((_, start), (_, func)) in linked.entries.iter().zip(&funcs) {
        assert_eq!(start % func.alignment, 0);
    }
    assert!(sorted(&linked.tables));
    // Between functions there is nothing but breakpoints.
    for pair in linked.tables.funcs.windows(2) {
        let gap = &linked.code[pair[0].range.end as usize..pair[1].range.start as usize];
        assert!(gap.len() < 64 && gap.iter().all(|&byte| byte == 0xCC));
    }
}

#[test]
fn calls_out_of_a_batch_name_nobody() {
    let module = Module::new(CALLS);
    for defined in 0..4 {
        let func = compiler().compile(&module.part(), defined, &|_| false).unwrap();
        assert!(func.relocations.is_empty());
    }
}

#[test]
fn a_function_that_is_missing_is_reached_through_a_thunk() {
    let module = Module::new(CALLS);
    let mut funcs = all(&module);
    funcs.remove(1);
    let linked = module.link(funcs.clone());
    let thunk = linked.tables.funcs.last().unwrap();
    assert_eq!((thunk.kind, thunk.range.len()), (FuncKind::Stub, 16));
    assert_eq!(targets(&linked, linked.entries[0].1, &funcs[0].1), [thunk.range.start]);
    let offset = module.offsets.native(1).to_le_bytes();
    let code = &linked.code[thunk.range.start as usize..thunk.range.end as usize];
    assert_eq!(code[3..7], offset);
    assert!(linked.entries.iter().all(|&(defined, _)| defined != 1));
    assert!(sorted(&linked.tables));
}

#[test]
fn the_order_of_functions_does_not_matter() {
    let module = Module::new(CALLS);
    let mut funcs = all(&module);
    let one = module.link(funcs.clone());
    funcs.reverse();
    let other = module.link(funcs);
    assert_eq!(one.code, other.code);
    assert_eq!(one.entries, other.entries);
}

#[test]
fn many_results_need_an_area() {
    let many = |ints: usize, floats: usize| {
        let results = format!("{}{}", "i32 ".repeat(ints), "f64 ".repeat(floats));
        let values = format!("{}{}", "(i32.const 1)".repeat(ints), "(f64.const 1)".repeat(floats));
        let module = Module::new(&format!(
            "(module (func (result {results}) (call 1)) (func (result {results}) {values}))"
        ));
        let funcs = all(&module);
        funcs[0].1.relocations[0].return_area
    };
    assert!(!many(8, 8));
    assert!(many(9, 0));
    assert!(many(0, 9));
}

#[test]
fn threads_do_not_matter() {
    let mut wat = String::from("(module");
    for i in 0..40 {
        wat.push_str(&format!(
            "(func (param i32 i64) (result i64) (call {} (i32.const {i}) (local.get 1)))",
            (i * 7 + 3) % 40
        ));
    }
    wat.push(')');
    let module = Module::new(&wat);
    let compiler = compiler();
    let with = |threads| {
        let funcs = compiler.compile_all(&module.part(), threads);
        let funcs: Vec<_> = (0..).zip(funcs.into_iter().map(Result::unwrap)).collect();
        let text = format!("{funcs:?}");
        (text, module.link(funcs).code)
    };
    let one = with(1);
    assert_eq!(one.0, with(2).0);
    assert_eq!(one, with(7));
    assert_eq!(one, with(1000));
    assert_eq!(one, with(0));
}

#[test]
fn traps_have_our_numbers_and_places() {
    let module = Module::new(CALLS);
    let funcs = all(&module);
    let codes = |defined: usize| {
        let traps = funcs[defined].1.traps.iter();
        traps.filter_map(|&(_, code)| TrapCode::from_u8(code)).collect::<Vec<_>>()
    };
    assert!(codes(2).contains(&TrapCode::IntegerDivideByZero));
    assert!(codes(2).contains(&TrapCode::IntegerOverflow));
    assert_eq!(codes(3), [TrapCode::Unreachable]);
    let stop = &funcs[3].1;
    let (at, _) = stop.traps[0];
    let source = stop.srclocs.iter().rev().find(|&&(start, _)| start <= at).unwrap().1;
    // One byte that declares no locals, then the operator.
    assert_eq!(source as usize, module.info.bodies[3].range.start + 1);
    assert_eq!(stop.srclocs[0].0, 0);
}

#[test]
fn all_codes_of_the_generator_are_known() {
    for &code in ClifTrap::non_user_traps() {
        assert!(TrapCode::from_u8(trap_number(code).unwrap()).is_some());
    }
    assert_eq!(trap_number(ClifTrap::unwrap_user(POLL)), Ok(POLL));
    assert!(trap_number(ClifTrap::unwrap_user(201)).is_err());
}

#[test]
fn a_large_body_is_refused_and_its_callers_are_not() {
    let nops = "nop ".repeat(limits::BODY_BYTES as usize);
    let module = Module::new(&format!("(module (func (call 1)) (func {nops}))"));
    let funcs = compiler().compile_all(&module.part(), 2);
    assert!(matches!(
        funcs[1],
        Err(CompileError::Limit { what: "bytes of a body", limit: limits::BODY_BYTES, .. })
    ));
    let linked = module.link(vec![(0, funcs[0].clone().unwrap())]);
    assert_eq!(linked.entries.len(), 1);
    assert_eq!(linked.tables.funcs.len(), 2);
}

#[test]
fn locals_are_counted_with_parameters() {
    let wat = |locals: u64| {
        let locals = "i32 ".repeat(locals as usize);
        format!("(module (func (param i64) (local {locals})))")
    };
    let compile = |locals| compiler().compile(&Module::new(&wat(locals)).part(), 0, &|_| true);
    assert!(compile(limits::LOCALS - 1).is_ok());
    let error = compile(limits::LOCALS).unwrap_err();
    assert!(matches!(error, CompileError::Limit { what: "locals", .. }), "{error}");
}

#[test]
fn what_joins_make_is_counted_while_they_make_it() {
    // Each local is a parameter of each of the loops.
    let (locals, loops) = (9_000, 2_000);
    let mut wat = format!("(module (func (param i32) (local {})", "i32 ".repeat(locals));
    wat.push_str(&"loop ".repeat(loops));
    for local in 0..locals {
        wat.push_str(&format!(
            "(local.set {} (i32.add (local.get {}) (local.get 0)))",
            local + 1,
            local + 1
        ));
    }
    wat.push_str(&"(br_if 0 (local.get 0)) end ".repeat(loops));
    wat.push_str("))");
    let module = Module::new(&wat);
    let compiler = Compiler::new(Options { paranoid: false, ..Options::default() }).unwrap();
    let error = compiler.compile(&module.part(), 0, &|_| true).unwrap_err();
    assert!(matches!(error, CompileError::Limit { what: "values", .. }), "{error}");
}

/// What refuses a function, whose body this is.
fn refused(body: &str) -> &'static str {
    let module = Module::new(&format!("(module {body})"));
    let compiler = Compiler::new(Options { paranoid: false, ..Options::default() }).unwrap();
    match compiler.compile(&module.part(), 0, &|_| true) {
        Err(CompileError::Limit { what, .. }) => what,
        other => panic!("{:?}", other.map(|func| func.code.len())),
    }
}

#[test]
fn what_takes_the_square_of_its_size_is_limited() {
    let ifs = "local.get 0 if end ".repeat(limits::BLOCKS as usize / 2);
    assert_eq!(refused(&format!("(func (param i32) {ifs})")), "basic blocks");
    let height = limits::OPERANDS as usize + 1;
    let (up, down) = ("local.get 0 ".repeat(height), "drop ".repeat(height));
    assert_eq!(refused(&format!("(func (param i32) {up} {down})")), "operands");
    let ops = "i32.eqz ".repeat(limits::INSTRUCTIONS as usize / 2 + 1);
    assert_eq!(
        refused(&format!("(func (param i32) (result i32) local.get 0 {ops})")),
        "instructions"
    );
    let (locals, loops) = (300, 300);
    let sums: String = (1..=locals)
        .map(|at| format!("(local.set {at} (i32.add (local.get {at}) (local.get 0)))"))
        .collect();
    let body = format!(
        "(func (param i32) (local {}) {} {sums} {})",
        "i32 ".repeat(locals),
        "loop ".repeat(loops),
        "(br_if 0 (local.get 0)) end ".repeat(loops)
    );
    assert_eq!(refused(&body), "parameters of blocks");
}

#[test]
fn branches_with_many_values_are_limited() {
    let types = "i32 ".repeat(1000);
    let (values, drops) = ("(i32.const 1)".repeat(1000), "drop ".repeat(1000));
    let table = |operators: &str| {
        let block = format!("(block (result {types}) {values} {operators})");
        refused(&format!("(func (param i32) {block} {drops})"))
    };
    let targets = "0 ".repeat(60_000);
    assert_eq!(table(&format!("(br_table {targets} (local.get 0))")), "arguments of a `br_table`");
    assert_eq!(table(&"(br_if 0 (local.get 0))".repeat(6000)), "arguments");
}

#[test]
fn deep_nesting_needs_no_deep_stack() {
    let depth = 20_000;
    let wat = format!(
        "(module (func (param i32) (result i32) {} local.get 0 {} {}))",
        "block (result i32) ".repeat(depth),
        "(i32.add (local.get 0))".repeat(depth),
        "end ".repeat(depth),
    );
    let module = Module::new(&wat);
    let compiler = Compiler::new(Options { paranoid: false, ..Options::default() }).unwrap();
    compiler.compile(&module.part(), 0, &|_| true).unwrap();
}

#[test]
fn a_panic_of_the_generator_is_an_error_of_one_function() {
    let module = Module::new(CALLS);
    let compiler = Compiler { panic_at: Some(1), ..compiler() };
    let funcs = compiler.compile_all(&module.part(), 2);
    assert!(matches!(&funcs[1], Err(CompileError::Panic(text)) if text.contains("as the test")));
    assert_eq!(funcs.iter().filter(|func| func.is_ok()).count(), 3);
}

#[test]
fn compilation_stops_when_asked() {
    let module = Module::new(CALLS);
    let stop = || true;
    let part = CompileModule { stop: Some(&stop), ..module.part() };
    let funcs = compiler().compile_all(&part, 2);
    assert!(funcs.into_iter().all(|func| matches!(func, Err(CompileError::Stopped))));
}

#[test]
fn unknown_functions_are_errors() {
    let module = Module::new(CALLS);
    for defined in [4, u32::MAX] {
        assert!(compiler().compile(&module.part(), defined, &|_| true).is_err());
    }
}

#[test]
fn the_innermost_loop_begins_with_a_line() {
    let module = Module::new(
        r#"(module
            (func (param i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
            (func (param i32) (result i32) (local i32)
                (loop
                    (local.set 1 (i32.const 100))
                    (loop (br_if 0 (local.tee 1 (i32.sub (local.get 1) (local.get 0)))))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (local.get 1))
            (func (param f32) (result f32) (local v128)
                (loop
                    (local.set 1 (i8x16.add (local.get 1) (v128.const i64x2 0x1234567 0x89abcde)))
                    (br_if 0 (f32.lt (local.get 0) (f32x4.extract_lane 0 (local.get 1)))))
                (local.get 0))
            (func (result i32) (i32.const 3)))"#,
    );
    let funcs = all(&module);
    let linked = module.link(funcs.clone());
    for ((defined, start), (_, func)) in linked.entries.iter().zip(&funcs) {
        assert_eq!(func.hot.is_some(), *defined != 3);
        let from_line = (start + func.hot.unwrap_or(64 - start % 64)) % 64;
        assert!(from_line < func.alignment, "{defined}: {from_line}");
    }
    // Whoever enters a loop's own code does so where it begins.
    let part = module.part();
    let offset = module.info.bodies[0].range.start as u32 + 1;
    let at_loop = compiler().compile_loop(&part, 0, offset).unwrap();
    let linked =
        link_loop(Arc::clone(&module.info), Arc::clone(&module.offsets), 0, &at_loop).unwrap();
    let start = linked.entries[0].1;
    assert!(start > 0 && (start + at_loop.hot.unwrap()) % 64 < at_loop.alignment);
    assert!(linked.code[..start as usize].iter().all(|&byte| byte == 0x90));
    assert_eq!(linked.tables.funcs[0].range.start, start);
    // From the beginning of a block to that of another: two loops in one, the second with a loop of its own.
    let starts = [0, 10, 20, 30, 40, 44, 45, 50, 60, 70, 80];
    let edges = [(0, 10), (10, 20), (20, 20), (30, 40), (50, 40), (45, 44), (60, 10), (70, 80)];
    assert_eq!(innermost_loop(&starts, &edges, &[]), Some(44));
    assert_eq!(innermost_loop(&starts, &edges[..3], &[]), Some(20));
    assert_eq!(innermost_loop(&starts, &[(0, 10), (10, 20)], &[]), None);
    // What is called in a loop is called in those around it.
    assert_eq!(innermost_loop(&starts, &edges, &[48]), Some(20));
    assert_eq!(innermost_loop(&starts, &edges, &[48, 27, 75]), None);
    let many: Vec<_> = (0..=MOST_LOOPS as u32).map(|at| (at, at)).collect();
    assert_eq!(innermost_loop(&[], &many, &[]), None);
}
