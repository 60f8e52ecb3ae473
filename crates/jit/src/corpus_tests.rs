//! The machine code of whole modules: real programs, and loops of every shape.
//!
//! - Every way round in the code of a function goes by a poll, and every function that calls polls before it does.
//! - The verifier of the intermediate form and the checker of register allocation find nothing.
//! - Code does not depend on the engine that it is made in: it holds no address, and no number of a type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use cranelift_codegen::CompiledCode;
use cranelift_codegen::control::ControlPlane;
use palisade_core::TypeId;
use palisade_core::limits::Limits;
use palisade_module::{ModuleInfo, TypeRegistry, default_features};
use palisade_vm::VmOffsets;
use palisade_vm::native::{POLL, POLL_BYTES};

use crate::compiler::{CompileModule, Compiler, Workspace};
use crate::options::{Bounds, Options};
use crate::translate::{self, Env};
use crate::{CompileError, limits};

/// A module in an engine of its own.
struct Loaded {
    info: ModuleInfo,
    offsets: Arc<VmOffsets>,
    types: Arc<TypeRegistry>,
}

impl Loaded {
    /// `others` is how many types the engine knows already.
    fn new(bytes: &[u8], others: usize) -> Self {
        let types = TypeRegistry::new();
        let (limits, features) = (Limits::default(), default_features());
        let mut text = String::from("(module");
        for i in 0..others {
            text.push_str(&format!("(type (func (param{})))", " f64 i32".repeat(i + 30)));
        }
        text.push(')');
        let decode = |bytes: &[u8]| {
            ModuleInfo::decode(bytes.to_vec(), &limits, features, &types, None).unwrap()
        };
        let first = decode(text.as_bytes());
        let info = decode(bytes);
        let numbers = |info: &ModuleInfo| info.types.iter().copied().collect::<BTreeSet<TypeId>>();
        assert!(numbers(&first).is_disjoint(&numbers(&info)));
        // The numbers of the first stay taken as long as it lives.
        std::mem::forget(first);
        let offsets = Arc::new(VmOffsets::new(&info).unwrap());
        Self { info, offsets, types }
    }

    fn part(&self) -> CompileModule<'_> {
        CompileModule { info: &self.info, offsets: &self.offsets, types: &self.types, stop: None }
    }
}

/// Every program of this repository, by name.
fn programs() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read(path).unwrap()));
        }
    }
    assert!(found.len() >= 15, "only {} programs", found.len());
    found.sort();
    found
}

/// Loops of every shape that the optimiser might think something of.
const LOOPS: &str = r#"(module
    (import "h" "f" (func $host (param i32) (result i32)))
    (type $t (func (param i32) (result i32)))
    (type $list (struct (field (ref null $list)) (field (mut i32))))
    (memory 1) (table $table 4 funcref) (tag $e (param i32))
    (global $g (mut i32) (i32.const 0))
    (elem declare func $fib)
    (func $empty (loop br 0))
    (func $two_empty (param i32)
        (if (local.get 0) (then (loop br 0)) (else (loop br 0))))
    (func $nested_empty (loop (loop (br_if 1 (i32.const 1)) (br 0)) (br 0)))
    (func $count (param i32)
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func $invariant (param i32) (result i32)
        (loop (br_if 0 (i32.eqz (i32.load (local.get 0))))) (i32.load (local.get 0)))
    (func $sum (param i32) (result i32) (local i32)
        (loop $l
            (local.set 1 (i32.add (local.get 1) (i32.load (local.get 0))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 4)))))
        (local.get 1))
    (func $matrix (param i32 i32 i32) (local i32 i32 i32)
        (loop $i
            (local.set 4 (i32.const 0))
            (loop $j
                (local.set 5 (i32.const 0))
                (loop $k
                    (i32.store (local.get 5)
                        (i32.mul (i32.load (local.get 3)) (i32.load offset=64 (local.get 4))))
                    (br_if $k (i32.lt_u (local.tee 5 (i32.add (local.get 5) (i32.const 1)))
                        (local.get 2))))
                (br_if $j (i32.lt_u (local.tee 4 (i32.add (local.get 4) (i32.const 1)))
                    (local.get 1))))
            (br_if $i (i32.lt_u (local.tee 3 (i32.add (local.get 3) (i32.const 1)))
                (local.get 0)))))
    (func $machine (param i32) (result i32)
        (loop $again
            (block $a (block $b (block $c
                (br_table $a $b $again $c $again (local.get 0)))
                (local.set 0 (i32.add (local.get 0) (i32.const 3))) (br $again))
                (br_if $again (i32.eqz (local.tee 0 (i32.shr_u (local.get 0) (i32.const 1)))))
                (br $again)))
        (local.get 0))
    (func $params (param i32) (result i32)
        (local.get 0)
        (loop (param i32) (result i32) (i32.sub (i32.const 1)) (local.tee 0)
            (br_if 0 (local.get 0))))
    (func $retry (result i32)
        (loop $l (result i32)
            (block $h (result i32)
                (try_table (catch $e $h) (throw $e (i32.const 1))) (unreachable))
            (br_if $l (i32.eqz))
            (i32.const 5)))
    (func $retry_at_once
        (loop $l (try_table (catch_all $l) (throw $e (i32.const 1)))))
    (func $calls (param i32) (result i32)
        (loop $l (local.set 0 (call $host (local.get 0))) (br_if $l (local.get 0)))
        (local.get 0))
    (func $allocates (result (ref null $list)) (local (ref null $list))
        (loop $l
            (local.set 0 (struct.new $list (local.get 0) (i32.const 1)))
            (br_if $l (struct.get $list 1 (local.get 0))))
        (local.get 0))
    (func $grows (loop (br_if 0 (memory.grow (i32.const 0)))))
    (func $fills (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 100)) (br 0)))
    (func $vectors (param i32) (result v128) (local v128)
        (loop $l
            (local.set 1 (i32x4.add (local.get 1) (v128.load (local.get 0))))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 16)))))
        (local.get 1))
    (func $globals (loop (br_if 0 (global.get $g))))
    (func $waits (loop (br_if 0 (i32.atomic.load (i32.const 0)))))
    (func $fib (type $t)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
            (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func $tail (type $t) (return_call $tail (local.get 0)))
    (func $tail_table (type $t)
        (return_call_indirect $table (type $t) (local.get 0) (i32.const 1)))
    (func $tail_ref (type $t) (return_call_ref $t (local.get 0) (ref.func $fib)))
    (func $late (param i32) (result i32)
        (if (local.get 0) (then (return (call_ref $t (local.get 0) (ref.func $fib)))))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (i32.const 3))
    (func $table (loop (br_if 0 (ref.is_null (table.get $table (i32.const 1)))))))"#;

/// Versions of the code that differ in what stands at loops.
fn variants() -> [Options; 4] {
    let options = Options { paranoid: true, ..Options::default() };
    [
        options.clone(),
        Options { fuel: true, ..options.clone() },
        Options { bounds: Bounds::Explicit, baseline: true, depth: true, ..options.clone() },
        Options { fuel: true, depth: true, spectre: false, canonical_nans: true, ..options },
    ]
}

/// The code of a function, with its blocks.
fn code(
    compiler: &Compiler,
    workspace: &mut Workspace,
    module: &CompileModule<'_>,
    defined: u32,
) -> CompiledCode {
    workspace.context.clear();
    let env = Env {
        info: module.info,
        offsets: module.offsets,
        types: module.types,
        options: compiler.options(),
        in_batch: &|_| true,
    };
    let func = &mut workspace.context.func;
    translate::function(env, &**compiler.isa(), &mut workspace.builder, func, defined, None)
        .unwrap();
    limits::intermediate(func).unwrap();
    let compiled = workspace.context.compile(&**compiler.isa(), &mut ControlPlane::default());
    compiled.map_err(|error| format!("{:?}", error.inner)).unwrap();
    workspace.context.take_compiled_code().unwrap()
}

/// What is wrong with the polls of a function; how many ways back there are in it.
fn complaint(code: &CompiledCode) -> (Option<String>, usize) {
    let traps = code.buffer.traps().iter();
    let number = |code: cranelift_codegen::ir::TrapCode| code.as_raw().get();
    let polls: Vec<u32> =
        traps.filter(|trap| number(trap.code) == POLL).map(|trap| trap.offset).collect();
    let starts: BTreeSet<u32> = code.bb_starts.iter().copied().chain([0]).collect();
    let block = |at: u32| *starts.range(..=at).next_back().unwrap();
    let polled: BTreeSet<u32> = polls.iter().map(|&at| block(at)).collect();
    let mut next: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut back = 0;
    for &(from, to) in &code.bb_edges {
        assert!(starts.contains(&from), "an edge out of nowhere");
        let to = block(to);
        back += usize::from(to <= from);
        if !polled.contains(&from) && !polled.contains(&to) {
            next.entry(from).or_default().push(to);
        }
    }
    if let Some(at) = cycle(&starts, &next) {
        return (Some(format!("a way round through {at:#x} without a poll")), back);
    }
    // A function that calls by name polls first of all; so recursion, which may come by a jump, passes a poll.
    let named = code.buffer.relocs().iter().map(|reloc| reloc.offset).min();
    let any = code.buffer.call_sites().map(|site| site.ret_addr).min();
    if let Some(first) = named.min(any).filter(|_| named.is_some())
        && !(polled.contains(&0) && polls.iter().any(|&at| at < first))
    {
        return (Some(format!("a call at {first:#x} before a poll")), back);
    }
    (None, back)
}

/// A block on a way round, if there is one.
fn cycle(starts: &BTreeSet<u32>, next: &BTreeMap<u32, Vec<u32>>) -> Option<u32> {
    // What has no way in from the rest is taken away until nothing is left.
    let mut into: BTreeMap<u32, usize> = starts.iter().map(|&start| (start, 0)).collect();
    for &to in next.values().flatten() {
        *into.get_mut(&to).unwrap() += 1;
    }
    let mut free: Vec<u32> = into.iter().filter(|(_, n)| **n == 0).map(|(at, _)| *at).collect();
    while let Some(at) = free.pop() {
        into.remove(&at);
        for to in next.get(&at).into_iter().flatten() {
            let ways = into.get_mut(to).unwrap();
            *ways -= 1;
            if *ways == 0 {
                free.push(*to);
            }
        }
    }
    into.keys().next().copied()
}

/// Looks at all functions of a module. How many there are, and how many ways back.
fn check(name: &str, bytes: &[u8], options: &Options) -> (usize, usize) {
    let compiler = Compiler::new(options.clone()).unwrap();
    let loaded = Loaded::new(bytes, 0);
    let module = loaded.part();
    let mut workspace = Workspace::new();
    let count = module.info.bodies.len();
    let mut ways = 0;
    for defined in 0..count as u32 {
        let code = code(&compiler, &mut workspace, &module, defined);
        let (wrong, back) = complaint(&code);
        if let Some(wrong) = wrong {
            panic!("{name}: function {defined}: {wrong} ({options:?})");
        }
        ways += back;
    }
    (count, ways)
}

#[test]
fn x1_every_way_round_in_machine_code_goes_by_a_poll() {
    for options in variants() {
        let (functions, ways) = check("loops", LOOPS.as_bytes(), &options);
        assert!(functions > 20 && ways > 20, "{functions} functions, {ways} ways back");
    }
}

/// The kinds of code take turns.
#[test]
fn x1_c11_programs_are_compiled_without_a_complaint_and_with_all_their_polls() {
    let (mut functions, mut ways) = (0, 0);
    for (i, (name, bytes)) in programs().into_iter().enumerate() {
        let options = &variants()[i % 4];
        assert!(options.paranoid);
        let (f, w) = check(&name, &bytes, options);
        functions += f;
        ways += w;
    }
    assert!(functions > 500 && ways > 500, "{functions} functions, {ways} ways back");
}

/// What tells a good function from a bad one is worth nothing unless it finds a bad one.
#[test]
fn ways_round_without_a_poll_are_found() {
    let options = Options { polls: false, ..Options::default() };
    let compiler = Compiler::new(options).unwrap();
    let loaded = Loaded::new(LOOPS.as_bytes(), 0);
    let mut workspace = Workspace::new();
    let mut found = 0;
    for defined in 0..loaded.info.bodies.len() as u32 {
        let code = code(&compiler, &mut workspace, &loaded.part(), defined);
        found += usize::from(complaint(&code).0.is_some());
    }
    // All but those that call through references alone.
    assert!(found + 2 >= loaded.info.bodies.len(), "{found} of {}", loaded.info.bodies.len());
}

/// Each poll has an address of its own, for the optimiser merges equal loads: a function with more loops than
/// there are addresses is not compiled.
#[test]
fn x1_a_function_has_no_more_polls_than_there_are_addresses() {
    let compile = |loops: usize| {
        let text = format!(
            "(module (func (param i32) {} (loop br 0)))",
            "(loop (br_if 0 (local.get 0)))".repeat(loops - 1)
        );
        let loaded = Loaded::new(text.as_bytes(), 0);
        let compiler = Compiler::new(Options { paranoid: false, ..Options::default() }).unwrap();
        if loops < 2_000 {
            let code = code(&compiler, &mut Workspace::new(), &loaded.part(), 0);
            assert_eq!(complaint(&code).0, None, "{loops} loops");
        }
        let env = Env {
            info: &loaded.info,
            offsets: &loaded.offsets,
            types: &loaded.types,
            options: compiler.options(),
            in_batch: &|_| true,
        };
        let Workspace { mut context, mut builder } = Workspace::new();
        translate::function(env, &**compiler.isa(), &mut builder, &mut context.func, 0, None)
    };
    assert_eq!(compile(1_000), Ok(()));
    let most = u64::from(POLL_BYTES) / 4;
    assert_eq!(compile(most as usize), Ok(()));
    let refused = CompileError::Limit { what: "loops", limit: most, found: most + 1 };
    assert_eq!(compile(most as usize + 1), Err(refused));
}

#[test]
fn code_names_no_address_and_no_number_of_an_engine() {
    let options = Options { paranoid: false, ..Options::default() };
    let loops = ("loops".to_owned(), LOOPS.as_bytes().to_vec());
    let few = ["hello.wasm", "tree.wasm", "calc.wasm", "reactor.wasm"];
    let chosen = programs().into_iter().filter(|(name, _)| few.contains(&&**name));
    for (name, bytes) in chosen.chain([loops]) {
        let both = [0, 40].map(|others| {
            let compiler = Compiler::new(options.clone()).unwrap();
            let loaded = Loaded::new(&bytes, others);
            let funcs = compiler.compile_all(&loaded.part(), 1);
            funcs.into_iter().map(Result::unwrap).collect::<Vec<_>>()
        });
        let [one, other] = both;
        for (defined, (a, b)) in one.iter().zip(&other).enumerate() {
            assert_eq!(a.code, b.code, "{name}: function {defined}");
            assert_eq!(a.relocations, b.relocations, "{name}: function {defined}");
            // Whatever else would need filling in was refused; these are distances within the batch.
            for relocation in &a.relocations {
                assert!((relocation.target as usize) < one.len());
            }
        }
    }
}
