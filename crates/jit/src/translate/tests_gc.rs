//! Objects and exceptions: every operator of these families through the code generator, with its checks on.
//! What the code does is the business of the tests that run it.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{ExceptionTableItem, Function, InstructionData, Opcode, UserFuncName};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, Flags};
use cranelift_codegen::{Context, FinalizedMachExceptionHandler, ir};
use cranelift_frontend::FunctionBuilderContext;
use palisade_core::Limits;
use palisade_module::{ModuleInfo, TypeRegistry, default_features};
use palisade_vm::VmOffsets;

use super::{Env, function};
use crate::error::CompileError;
use crate::options::Options;

fn isa() -> OwnedTargetIsa {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "true"),
        ("preserve_frame_pointers", "true"),
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        ("enable_multi_ret_implicit_sret", "true"),
        ("enable_verifier", "true"),
        ("regalloc_checker", "true"),
    ] {
        flags.set(name, value).unwrap();
    }
    cranelift_native::builder().unwrap().finish(Flags::new(flags)).unwrap()
}

/// What became of a function.
struct Made {
    /// Before and after the optimiser; the first is still without spills.
    func: Function,
    /// How many places of machine code have stack maps, and how many entries those have.
    maps: usize,
    entries: usize,
    /// How many calls have handlers in machine code, and how many those are.
    sites: usize,
    handlers: usize,
    bytes: usize,
}

/// Translates and compiles all functions of a module.
fn try_compile(wat: &str, options: &Options) -> Result<Vec<Made>, CompileError> {
    let types = TypeRegistry::new();
    let limits = Limits::default();
    let features = default_features();
    let info = ModuleInfo::decode(wat.as_bytes().to_vec(), &limits, features, &types, None);
    let info = info.unwrap_or_else(|error| panic!("{error}\n{wat}"));
    let offsets = VmOffsets::new(&info).unwrap();
    let isa = isa();
    let in_batch = |_: u32| true;
    let env = Env { info: &info, offsets: &offsets, types: &types, options, in_batch: &in_batch };
    let mut context = FunctionBuilderContext::new();
    let mut made = Vec::new();
    for defined in 0..info.bodies.len() as u32 {
        let mut func = Function::new();
        func.name = UserFuncName::user(0, defined);
        function(env, &*isa, &mut context, &mut func, defined, None)?;
        cranelift_codegen::verify_function(&func, &*isa)
            .unwrap_or_else(|error| panic!("{error}\n{}", func.display()));
        let mut unit = Context::for_function(func.clone());
        let code = unit
            .compile(&*isa, &mut ControlPlane::default())
            .unwrap_or_else(|error| panic!("{:?}\n{}", error.inner, func.display()));
        let maps: Vec<_> = code.buffer.user_stack_maps().iter().collect();
        let clauses = |handlers: &[FinalizedMachExceptionHandler]| {
            let context = |item: &&_| matches!(item, FinalizedMachExceptionHandler::Context(_));
            handlers.len() - handlers.iter().filter(context).count()
        };
        let sites: Vec<_> =
            code.buffer.call_sites().map(|site| clauses(site.exception_handlers)).collect();
        made.push(Made {
            maps: maps.len(),
            entries: maps.iter().map(|(_, _, map)| map.entries().count()).sum(),
            sites: sites.iter().filter(|&&handlers| handlers > 0).count(),
            handlers: sites.iter().sum(),
            bytes: code.buffer.data().len(),
            func,
        });
    }
    Ok(made)
}

/// Compiles with and without fuel and call depths; gives what has neither.
fn compile(wat: &str) -> Vec<Made> {
    let counted = Options { fuel: true, depth: true, ..Options::default() };
    try_compile(wat, &counted).unwrap();
    try_compile(wat, &Options::default()).unwrap()
}

fn count(func: &Function, wanted: impl Fn(&InstructionData) -> bool) -> usize {
    let insts = func.layout.blocks().flat_map(|block| func.layout.block_insts(block));
    insts.filter(|&inst| wanted(&func.dfg.insts[inst])).count()
}

fn calls(func: &Function) -> usize {
    count(func, |inst| matches!(inst.opcode(), Opcode::Call | Opcode::CallIndirect))
}

fn tried(func: &Function) -> usize {
    count(func, |inst| matches!(inst.opcode(), Opcode::TryCall | Opcode::TryCallIndirect))
}

/// How often a trap code stands in a function.
fn traps(func: &Function, code: palisade_core::TrapCode) -> usize {
    let wanted = ir::TrapCode::unwrap_user(code as u8);
    count(func, |inst| {
        matches!(*inst, InstructionData::CondTrap { code, .. } | InstructionData::Trap { code, .. }
            if code == wanted)
    })
}

const TYPES: &str = r"
  (type $f (func (param i32) (result i32)))
  (rec (type $open (sub (struct (field (mut i32)) (field (mut (ref null $open))))))
       (type $sub (sub $open (struct (field (mut i32)) (field (mut (ref null $open))) (field (mut i64))))))
  (type $all (struct (field (mut i8)) (field (mut i16)) (field (mut i32)) (field (mut i64))
    (field (mut f32)) (field (mut f64)) (field (mut v128)) (field (mut anyref)) (field (mut funcref))
    (field (mut externref))))
  (type $i8 (array (mut i8))) (type $i16 (array (mut i16))) (type $i32 (array (mut i32)))
  (type $i64 (array (mut i64))) (type $f32 (array (mut f32))) (type $f64 (array (mut f64)))
  (type $v128 (array (mut v128))) (type $any (array (mut anyref))) (type $func (array (mut funcref)))
";

fn with_types(body: &str) -> Vec<Made> {
    compile(&format!("(module {TYPES} {body})"))
}

#[test]
fn structures_of_all_kinds_of_fields() {
    let made = with_types(
        r"(func (param i32 i64 f32 f64 v128 anyref funcref externref) (result (ref $all))
             (struct.new $all (local.get 0) (local.get 0) (local.get 0) (local.get 1) (local.get 2)
               (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7)))
          (func (result (ref $all)) (struct.new_default $all))
          (func (param (ref null $all)) (result i32 i32 i32 i32 i32 i64 f32 f64 v128 anyref funcref externref)
             (struct.get_s $all 0 (local.get 0)) (struct.get_u $all 0 (local.get 0))
             (struct.get_s $all 1 (local.get 0)) (struct.get_u $all 1 (local.get 0))
             (struct.get $all 2 (local.get 0)) (struct.get $all 3 (local.get 0))
             (struct.get $all 4 (local.get 0)) (struct.get $all 5 (local.get 0))
             (struct.get $all 6 (local.get 0)) (struct.get $all 7 (local.get 0))
             (struct.get $all 8 (local.get 0)) (struct.get $all 9 (local.get 0)))
          (func (param (ref null $all) i32 i64 f32 f64 v128 anyref funcref externref)
             (struct.set $all 0 (local.get 0) (local.get 1)) (struct.set $all 1 (local.get 0) (local.get 1))
             (struct.set $all 2 (local.get 0) (local.get 1)) (struct.set $all 3 (local.get 0) (local.get 2))
             (struct.set $all 4 (local.get 0) (local.get 3)) (struct.set $all 5 (local.get 0) (local.get 4))
             (struct.set $all 6 (local.get 0) (local.get 5)) (struct.set $all 7 (local.get 0) (local.get 6))
             (struct.set $all 8 (local.get 0) (local.get 7)) (struct.set $all 9 (local.get 0) (local.get 8)))",
    );
    let null = palisade_core::TrapCode::NullStructReference;
    // Over the allocation live both references; while the function's number is asked for, the object and what is
    // stored behind that.
    assert_eq!((calls(&made[0].func), made[0].maps, made[0].entries), (2, 2, 4));
    assert_eq!((calls(&made[1].func), made[1].maps), (1, 0));
    assert_eq!((calls(&made[2].func), traps(&made[2].func, null)), (1, 12));
    assert_eq!((calls(&made[3].func), traps(&made[3].func, null)), (1, 10));
}

#[test]
fn references_on_the_stack_and_in_locals_are_mapped() {
    let made = with_types(
        r"(func (param (ref null $open)) (result (ref $open) (ref null $open))
             (struct.new $open (i32.const 1) (struct.new $open (i32.const 2) (local.get 0))) (local.get 0))
          (func (param i32) (result (ref null $open)) (local (ref null $open))
             (loop
               (local.set 1 (struct.new $open (local.get 0) (local.get 1)))
               (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
             (local.get 1))",
    );
    // Over the second allocation lives the first object, and over both the parameter.
    assert_eq!((made[0].maps, made[0].entries), (2, 3));
    assert_eq!((made[1].maps, made[1].entries), (1, 1));
}

#[test]
fn arrays_of_all_kinds_of_elements() {
    for (ty, value) in [
        ("i8", "i32"),
        ("i16", "i32"),
        ("i32", "i32"),
        ("i64", "i64"),
        ("f32", "f32"),
        ("f64", "f64"),
        ("v128", "v128"),
        ("any", "anyref"),
        ("func", "funcref"),
    ] {
        let suffixes: &[&str] = if ty == "i8" || ty == "i16" { &["_s", "_u"] } else { &[""] };
        let mut body = format!(
            "(func (param i32 {value}) (result (ref ${ty})) (array.new ${ty} (local.get 1) (local.get 0)))
             (func (param i32) (result (ref ${ty})) (array.new_default ${ty} (local.get 0)))
             (func (result (ref ${ty})) (array.new_default ${ty} (i32.const 100)))
             (func (param {value}) (result (ref ${ty}))
                (array.new_fixed ${ty} 3 (local.get 0) (local.get 0) (local.get 0)))
             (func (param (ref null ${ty}) i32 {value}) (array.set ${ty} (local.get 0) (local.get 1) (local.get 2)))
             (func (param (ref null ${ty})) (result i32) (array.len (local.get 0)))
             (func (param (ref null ${ty}) i32 {value} i32)
                (array.fill ${ty} (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
             (func (param (ref null ${ty}) i32 (ref null ${ty}) i32 i32)
                (array.copy ${ty} ${ty} (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))"
        );
        for suffix in suffixes {
            body += &format!(
                "(func (param (ref null ${ty}) i32) (result {value}) (array.get{suffix} ${ty} (local.get 0) (local.get 1)))"
            );
        }
        if !["any", "func"].contains(&ty) {
            body += &format!(
                "(func (param i32 i32) (result (ref ${ty})) (array.new_data ${ty} $d (local.get 0) (local.get 1)))
                 (func (param (ref null ${ty}) i32 i32 i32)
                    (array.init_data ${ty} $d (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
                 (data $d \"0123456789\")"
            );
        } else {
            let kind = if ty == "any" {
                "i31ref (ref.i31 (i32.const 1))"
            } else {
                "funcref (ref.null func)"
            };
            body += &format!(
                "(func (param i32 i32) (result (ref ${ty})) (array.new_elem ${ty} $e (local.get 0) (local.get 1)))
                 (func (param (ref null ${ty}) i32 i32 i32)
                    (array.init_elem ${ty} $e (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
                 (elem $e {kind})"
            );
        }
        let made = with_types(&body);
        let (null, outside) = (
            palisade_core::TrapCode::NullArrayReference,
            palisade_core::TrapCode::ArrayOutOfBounds,
        );
        let funcs = usize::from(ty == "func");
        // Making, and filling what is long.
        assert_eq!(calls(&made[0].func), 2 + funcs, "{ty}");
        assert_eq!([calls(&made[1].func), calls(&made[2].func)], [1, 1], "{ty}");
        assert_eq!(calls(&made[3].func), 1 + 3 * funcs, "{ty}");
        for access in [&made[4].func, &made[8].func] {
            assert_eq!(
                (calls(access), traps(access, null), traps(access, outside)),
                (funcs, 1, 1),
                "{ty}"
            );
        }
        assert_eq!((calls(&made[5].func), traps(&made[5].func, null)), (0, 1));
        assert_eq!([calls(&made[6].func), calls(&made[7].func)], [1, 1], "{ty}");
    }
}

#[test]
fn small_integers_equality_and_conversions() {
    let made = with_types(
        r"(func (param i32) (result i31ref) (ref.i31 (local.get 0)))
          (func (param i31ref) (result i32 i32) (i31.get_s (local.get 0)) (i31.get_u (local.get 0)))
          (func (param eqref eqref) (result i32) (ref.eq (local.get 0) (local.get 1)))
          (func (param externref) (result externref)
             (extern.convert_any (any.convert_extern (local.get 0))))",
    );
    assert!(made.iter().all(|made| calls(&made.func) == 0 && made.maps == 0));
    assert_eq!(traps(&made[1].func, palisade_core::TrapCode::NullI31Reference), 2);
}

#[test]
fn tests_and_casts_to_all_targets() {
    // The operand, the target, and how often the runtime is asked.
    for (operand, target, asked) in [
        ("anyref", "any", 0),
        ("anyref", "eq", 0),
        ("anyref", "i31", 0),
        ("anyref", "struct", 1),
        ("anyref", "array", 1),
        ("anyref", "none", 0),
        ("anyref", "$open", 1),
        ("anyref", "$all", 0),
        ("anyref", "$i8", 0),
        ("externref", "extern", 0),
        ("externref", "noextern", 0),
        ("exnref", "exn", 0),
        ("exnref", "noexn", 0),
        ("funcref", "func", 0),
        ("funcref", "nofunc", 0),
        ("funcref", "$f", 0),
        ("funcref", "$ftop", 1),
    ] {
        for null in ["", "null "] {
            let made = with_types(&format!(
                "(type $ftop (sub (func (param i32))))
                 (func (param {operand}) (result i32) (ref.test (ref {null}{target}) (local.get 0)))
                 (func (param {operand}) (result (ref {null}{target}))
                    (ref.cast (ref {null}{target}) (local.get 0)))
                 (func (param {operand} i32) (result i32)
                    (block $l (result (ref {null}{target}))
                      (br_on_cast $l {operand} (ref {null}{target}) (local.get 0))
                      (drop) (return (i32.const 0)))
                    (drop) (local.get 1))
                 (func (param {operand}) (result (ref {null}{target}))
                    (br_on_cast 0 {operand} (ref {null}{target}) (local.get 0)) (unreachable))
                 (func (param {operand} i32) (result i32)
                    (block $l (result {operand})
                      (br_on_cast_fail $l {operand} (ref {null}{target}) (local.get 0))
                      (drop) (return (i32.const 0)))
                    (drop) (local.get 1))
                 (func (param {operand}) (result {operand})
                    (br_on_cast_fail 0 {operand} (ref {null}{target}) (local.get 0)) (unreachable))"
            ));
            for made in &made {
                assert_eq!(calls(&made.func), asked, "{operand} {null}{target}");
            }
            let fails = traps(&made[1].func, palisade_core::TrapCode::CastFailure);
            assert_eq!(fails, 1, "{operand} {null}{target}");
        }
    }
}

const TAGS: &str = r#"
  (type $s (struct (field i32)))
  (tag $none) (tag $one (param i32)) (tag $many (param i32 i64 f32 f64 v128 anyref funcref externref))
  (import "" "f" (func $f (param i32) (result i32)))
"#;

/// The tags (or none) that an exception meets, call by call.
fn tables(func: &Function) -> Vec<Vec<Option<u32>>> {
    let insts = func.layout.blocks().flat_map(|block| func.layout.block_insts(block));
    let tables = insts.filter_map(|inst| func.dfg.insts[inst].exception_table());
    let items = |table| {
        let items: Vec<_> = func.dfg.exception_tables[table].items().collect();
        assert!(matches!(items.first(), Some(ExceptionTableItem::Context(_))));
        let tags = items.iter().skip(1).map(|item| match item {
            ExceptionTableItem::Tag(tag, _) => Some(tag.as_u32()),
            ExceptionTableItem::Default(_) => None,
            ExceptionTableItem::Context(_) => panic!("a second context"),
        });
        tags.collect()
    };
    tables.map(items).collect()
}

/// The imports have to come first.
fn with_tags(body: &str) -> Vec<Made> {
    let (tags, import) = TAGS.trim_end().rsplit_once("(import").unwrap();
    compile(&format!("(module (import {import} {tags} {body})"))
}

#[test]
fn a_throw_makes_an_exception_and_leaves() {
    let made = with_tags(
        r"(func (throw $none))
          (func (param i32) (throw $one (local.get 0)))
          (func (param i32 i64 f32 f64 v128 anyref funcref externref)
             (throw $many (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
               (local.get 5) (local.get 6) (local.get 7)))
          (func (param exnref) (throw_ref (local.get 0)))",
    );
    assert_eq!(made.iter().map(|made| calls(&made.func)).collect::<Vec<_>>(), [2, 2, 3, 1]);
    assert!(made.iter().all(|made| tried(&made.func) == 0 && made.sites == 0));
    let null = palisade_core::TrapCode::NullExceptionReference;
    assert_eq!(traps(&made[3].func, null), 1);
    // The function's number is asked for while exception and host value live.
    assert_eq!((made[2].maps, made[2].entries), (2, 4));
}

#[test]
fn clauses_stand_in_the_order_in_which_they_are_looked_at() {
    let made = with_tags(
        r"(func (param i32) (result i32)
             (block $all
               (block $outer (result i32)
                 (try_table (result i32) (catch $one $outer) (catch_all $all)
                   (drop (call $f (local.get 0)))
                   (block $inner (result i32)
                     (try_table (result i32) (catch $one $inner) (catch $none $all)
                       (call $f (i32.const 2))))
                   (drop)
                   (drop (call $f (i32.const 3)))
                   (try_table (catch_all $all))
                   (try_table)
                   (call $f (i32.const 4))))
               (return (call $f)))
             (i32.const 0))",
    );
    let func = &made[0].func;
    let mut found = tables(func);
    found.sort_by_key(Vec::len);
    let outside = vec![Some(1), None];
    let inside = vec![Some(1), Some(0), Some(1), None];
    assert_eq!(found, [outside.clone(), outside.clone(), outside, inside]);
    // One call is outside of all.
    assert_eq!((tried(func), calls(func)), (4, 1));
    assert_eq!((made[0].sites, made[0].handlers), (4, 10));
}

#[test]
fn clauses_behind_one_that_catches_all_are_not_there() {
    let made = with_tags(
        r"(func (result i32)
             (block (block (result i32)
               (try_table (catch $none 1)
                 (try_table (catch_all 2) (catch $none 2) (catch $one 1) (drop (call $f (i32.const 1)))))
               (i32.const 1)) (return)) (i32.const 3))",
    );
    assert_eq!(tables(&made[0].func), [[None]]);
}

#[test]
fn landings_take_all_kinds_of_values_to_all_kinds_of_labels() {
    let values = "i32 i64 f32 f64 v128 anyref funcref externref";
    let made = with_tags(&format!(
        r"(func (result {values} exnref)
             (try_table (catch_ref $many 0) (drop (call $f (i32.const 1)))) (unreachable))
          (func (result {values})
             (block (result {values})
               (try_table (catch $many 0) (drop (call $f (i32.const 1)))) (unreachable)))
          (func (param i32) (result i32)
             (local.get 0)
             (loop (param i32) (result i32)
               (local.set 0)
               (try_table (result i32) (catch $one 0) (call $f (local.get 0)))))
          (func (result exnref)
             (block (result exnref) (try_table (catch_all_ref 0) (drop (call $f (i32.const 1)))) (unreachable)))
          (func (try_table (catch_all 0) (throw $none)))
          (func (param exnref) (try_table (catch_all 0) (throw_ref (local.get 0))))"
    ));
    for made in &made {
        assert_eq!((tried(&made.func), made.sites, made.handlers), (1, 1, 1));
    }
    // The landings ask for the function while the exception and what was read before it live.
    assert_eq!((made[0].maps, made[0].entries), (1, 2));
    assert_eq!((made[1].maps, made[1].entries), (1, 2));
}

#[test]
fn references_live_over_calls_that_are_tried() {
    let made = with_tags(
        r"(func (param anyref i32) (result anyref i32)
             (block
               (try_table (catch_all 0)
                 (local.set 1 (call $f (local.get 1)))
                 (local.set 0 (struct.new $s (local.get 1)))
                 (local.set 1 (call $f (local.get 1)))))
             (local.get 0) (local.get 1))
          (func (param anyref) (result anyref i32)
             (local.get 0)
             (block (result i32)
               (try_table (result i32) (catch $one 0) (call $f (i32.const 1)))))",
    );
    // Both calls, after which the landing wants the one or the other object; the allocation itself keeps none.
    assert_eq!((tried(&made[0].func), made[0].sites), (2, 2));
    assert_eq!((made[0].maps, made[0].entries), (2, 2));
    assert_eq!((made[1].sites, made[1].maps, made[1].entries), (1, 1, 1));
}

#[test]
fn what_cannot_be_reached_has_no_landing() {
    let made = with_tags(
        r"(func (unreachable) (try_table (catch_all 0) (drop (call $f (i32.const 1)))))
          (func (try_table (catch_all 0) (unreachable) (drop (call $f (i32.const 1)))))
          (func (try_table (catch_all 0) (return_call $g)))
          (func $g)",
    );
    assert!(made.iter().all(|made| tried(&made.func) == 0 && made.sites == 0));
}

#[test]
fn thousands_of_elements_and_fields() {
    let repeat = |text: &str, count: usize| text.repeat(count);
    let wat = format!(
        "(module (type $a (array (mut i32))) (type $s (struct {}))
           (func (param i32) (result (ref $a)) {} (array.new_fixed $a 5000))
           (func (param i32) (result (ref $s)) {} (struct.new $s)))",
        repeat("(field (mut i32))", 2000),
        repeat("(local.get 0)", 5000),
        repeat("(local.get 0)", 2000),
    );
    let made = compile(&wat);
    assert!(made.iter().all(|made| made.bytes > 2000 && calls(&made.func) == 1));
}

#[test]
fn too_many_references_at_too_many_places_are_refused() {
    let wat = format!(
        "(module (type $a (array (mut anyref))) (type $s (struct))
           (func (result (ref $a)) {} (array.new_fixed $a 5000)))",
        "(struct.new $s)".repeat(5000),
    );
    let found = try_compile(&wat, &Options::default());
    assert!(matches!(found, Err(CompileError::Limit { .. })));
}

#[test]
fn too_many_clauses_around_too_many_calls_are_refused() {
    let wat = format!(
        "(module (tag $t) (func $f (block {} {} {})))",
        "(try_table (catch $t 0)".repeat(200),
        "(call $f)".repeat(200),
        ")".repeat(200),
    );
    let found = try_compile(&wat, &Options::default());
    assert!(matches!(found, Err(CompileError::Limit { .. })));
}
