//! The machine code of whole modules: real programs, and loops of every shape.
//!
//! - Every way round in the code of a function goes by a poll, and every function that calls polls before it does.
//! - The verifier of the intermediate form and the checker of register allocation find nothing.
//! - Code does not depend on the engine that it is made in: it holds no address, and no number of a type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::{CompiledCode, FinalizedMachExceptionHandler};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
use palisade_core::TypeId;
use palisade_core::limits::Limits;
use palisade_module::wasmparser::{BinaryReader, FunctionBody, Operator};
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
    at_loop: Option<u32>,
) -> CompiledCode {
    workspace.context.clear();
    let env = Env {
        info: module.info,
        offsets: module.offsets,
        types: module.types,
        options: compiler.options(),
        in_batch: &|_| at_loop.is_none(),
    };
    let func = &mut workspace.context.func;
    let Workspace { builder, .. } = workspace;
    translate::function(env, &**compiler.isa().unwrap(), builder, func, defined, at_loop).unwrap();
    limits::translated(func).unwrap();
    let compiled =
        workspace.context.compile(&**compiler.isa().unwrap(), &mut ControlPlane::default());
    compiled.map_err(|error| format!("{:?}", error.inner)).unwrap();
    workspace.context.take_compiled_code().unwrap()
}

/// What the decoded instructions of a function are, and where each of them leads.
struct Decoded {
    next: BTreeMap<u32, Vec<u32>>,
    /// Calls, and jumps, of functions of the same batch.
    named: BTreeSet<u32>,
    /// How many ways lead back.
    back: usize,
}

/// Follows the code from its entry. The generator's own list of edges does not do: it is wrong where blocks are cold.
fn decode(code: &CompiledCode) -> Decoded {
    let bytes = code.buffer.data();
    let named: BTreeSet<u32> = code.buffer.relocs().iter().map(|reloc| reloc.offset).collect();
    let traps: BTreeSet<u32> = code.buffer.traps().iter().map(|trap| trap.offset).collect();
    let mut handlers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for site in code.buffer.call_sites() {
        for handler in site.exception_handlers {
            match handler {
                FinalizedMachExceptionHandler::Tag(_, at)
                | FinalizedMachExceptionHandler::Default(at) => {
                    handlers.entry(site.ret_addr).or_default().push(*at);
                }
                FinalizedMachExceptionHandler::Context(_) => {}
            }
        }
    }
    let mut found = Decoded { next: BTreeMap::new(), named: BTreeSet::new(), back: 0 };
    let mut todo = vec![0u32];
    while let Some(start) = todo.pop() {
        let mut at = start;
        // The table that the latest `lea` names.
        let mut table = None;
        while !found.next.contains_key(&at) {
            let mut decoder =
                Decoder::with_ip(64, &bytes[at as usize..], u64::from(at), DecoderOptions::NONE);
            let instruction = decoder.decode();
            assert!(!instruction.is_invalid(), "no instruction at {at:#x}");
            assert!(ordinary(&instruction), "{:?} at {at:#x}", instruction.mnemonic());
            let end = instruction.next_ip() as u32;
            let is_named = named.range(at..end).next().is_some();
            if is_named {
                found.named.insert(at);
            }
            if instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand() {
                table = Some(instruction.ip_rel_memory_address() as u32);
            }
            let target = instruction.near_branch_target() as u32;
            let next = match instruction.flow_control() {
                FlowControl::Next => vec![end],
                FlowControl::ConditionalBranch => vec![end, target],
                FlowControl::UnconditionalBranch if is_named => vec![],
                FlowControl::UnconditionalBranch => vec![target],
                FlowControl::Call | FlowControl::IndirectCall => {
                    let caught = handlers.get(&end).into_iter().flatten().copied();
                    [end].into_iter().chain(caught).collect()
                }
                // A jump through a table that stands behind it, up to the next block; else a tail call.
                FlowControl::IndirectBranch if table == Some(end) => {
                    let starts = code.bb_starts.iter().copied();
                    let after = starts.filter(|&s| s > end).min().expect("a block");
                    let entries = bytes[end as usize..after as usize].chunks_exact(4);
                    let distance = |e: &[u8]| i32::from_le_bytes(e.try_into().unwrap());
                    entries.map(|e| end.wrapping_add_signed(distance(e))).collect()
                }
                FlowControl::IndirectBranch | FlowControl::Return => vec![],
                FlowControl::Exception => {
                    assert!(traps.contains(&at), "an unknown ud2 at {at:#x}");
                    vec![]
                }
                other => panic!("{other:?} at {at:#x}"),
            };
            found.back += next.iter().filter(|&&to| to <= at).count();
            todo.extend(next.iter().filter(|&&to| to != end));
            let falls = next.contains(&end);
            found.next.insert(at, next);
            if !falls {
                break;
            }
            at = end;
        }
    }
    found
}

/// Whether an instruction is one that code for guests may have: nothing that asks the system or changes its state.
fn ordinary(instruction: &Instruction) -> bool {
    !instruction.is_privileged()
        && !matches!(
            instruction.mnemonic(),
            Mnemonic::Syscall
                | Mnemonic::Sysenter
                | Mnemonic::Int
                | Mnemonic::Int1
                | Mnemonic::Rdtsc
                | Mnemonic::Cpuid
                | Mnemonic::Xbegin
                | Mnemonic::Wrpkru
                | Mnemonic::Wrfsbase
                | Mnemonic::Wrgsbase
                | Mnemonic::Ldmxcsr
                | Mnemonic::Std
        )
        && !matches!(instruction.segment_prefix(), Register::FS | Register::GS)
}

/// What is wrong with the polls of a function; how many ways back there are in it.
fn complaint(code: &CompiledCode) -> (Option<String>, usize) {
    let decoded = decode(code);
    let traps = code.buffer.traps().iter();
    let polls: BTreeSet<u32> =
        traps.filter(|trap| trap.code.as_raw().get() == POLL).map(|trap| trap.offset).collect();
    if let Some(at) = polls.iter().find(|at| !decoded.next.contains_key(at)) {
        return (Some(format!("a poll at {at:#x}, which is no instruction")), decoded.back);
    }
    if let Some(at) = cycle(&decoded.next, &polls) {
        return (Some(format!("a way round through {at:#x} without a poll")), decoded.back);
    }
    // What calls by name polls before: so recursion, which may come by a jump, passes a poll.
    let (mut seen, mut todo) = (BTreeSet::new(), vec![0]);
    while let Some(at) = todo.pop() {
        if !polls.contains(&at) && seen.insert(at) {
            todo.extend(&decoded.next[&at]);
        }
    }
    if let Some(at) = decoded.named.iter().find(|at| seen.contains(at)) {
        return (Some(format!("a call at {at:#x} before a poll")), decoded.back);
    }
    (None, decoded.back)
}

/// An instruction on a way round that goes by none of the polls, if there is one.
fn cycle(next: &BTreeMap<u32, Vec<u32>>, polls: &BTreeSet<u32>) -> Option<u32> {
    // What nothing leads to is taken away until nothing is left.
    let kept = |at: &u32| !polls.contains(at);
    let mut into: BTreeMap<u32, usize> =
        next.keys().filter(|at| kept(at)).map(|&at| (at, 0)).collect();
    for to in next.iter().filter(|(at, _)| kept(at)).flat_map(|(_, to)| to).filter(|to| kept(to)) {
        *into.get_mut(to).expect("an instruction") += 1;
    }
    let mut free: Vec<u32> = into.iter().filter(|(_, n)| **n == 0).map(|(at, _)| *at).collect();
    while let Some(at) = free.pop() {
        into.remove(&at);
        for to in next[&at].iter().filter(|to| kept(to)) {
            let ways = into.get_mut(to).expect("an instruction");
            *ways -= 1;
            if *ways == 0 {
                free.push(*to);
            }
        }
    }
    into.keys().next().copied()
}

/// A register that a function reads although nobody gave it a value, and where: what the host left there would be
/// the guest's to see.
///
/// The stack's registers and those of arguments have values at the entry; what the host wants back is saved and
/// restored, which looks at nothing. A call gives values to all registers that it may return something in.
fn unknown_read(code: &CompiledCode, decoded: &Decoded) -> Option<(u32, Register)> {
    const ARGUMENTS: [Register; 8] = [
        Register::RSP,
        Register::RBP,
        Register::RDI,
        Register::RSI,
        Register::RDX,
        Register::RCX,
        Register::R8,
        Register::R9,
    ];
    const KEPT: [Register; 5] =
        [Register::RBX, Register::R12, Register::R13, Register::R14, Register::R15];
    let bit = |register: Register| -> u32 {
        if register.is_gpr() {
            1 << register.full_register().number()
        } else if register.is_vector_register() {
            0x1_0000 << (register.full_register().number() & 15)
        } else {
            0
        }
    };
    let floats = 0x00FF_0000;
    let entry = ARGUMENTS.iter().fold(floats, |set, &register| set | bit(register));
    let kept = KEPT.iter().fold(0, |set, &register| set | bit(register));
    let mut factory = InstructionInfoFactory::new();
    let mut known: BTreeMap<u32, u32> = BTreeMap::from([(0, entry)]);
    let mut todo = vec![0];
    while let Some(at) = todo.pop() {
        let before = known[&at];
        let bytes = &code.buffer.data()[at as usize..];
        let mut decoder = Decoder::with_ip(64, bytes, u64::from(at), DecoderOptions::NONE);
        let instruction = decoder.decode();
        let name = format!("{:?}", instruction.mnemonic());
        let info = factory.info(&instruction);
        let (mut read, mut written, mut first) = (0, 0, None);
        let registers = instruction.op_count() == 2
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register;
        let unknown = |at: u32| registers && bit(instruction.op_register(at)) & !before != 0;
        // What is copied is not looked at, and what is unknown stays so. A zero may be made of whatever there is and a
        // copy of it.
        let copy = registers && instruction.mnemonic() == Mnemonic::Mov;
        let zero = instruction.mnemonic() == Mnemonic::Xor && unknown(0) && unknown(1);
        for used in info.used_registers() {
            let register = used.register();
            let reads = !matches!(used.access(), OpAccess::Write | OpAccess::CondWrite);
            let target = instruction.op0_kind() == OpKind::Register
                && register.full_register() == instruction.op0_register().full_register();
            if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite) {
                written |= bit(register);
            }
            // Operators on one number leave the rest of a vector register as it was. No operator of Wasm looks
            // there: what makes a vector of a number sets all of it.
            let merges = register.is_vector_register()
                && (target || name.starts_with('V'))
                && ["Cvt", "Sqrts", "Rounds", "Movs", "Movlps", "Movlhps", "Pinsr", "Insertps"]
                    .iter()
                    .any(|merging| {
                        name.trim_start_matches('V')
                            .to_lowercase()
                            .starts_with(&merging.to_lowercase())
                    });
            // Equal operands give the same whatever they are.
            let same = instruction.op_count() >= 2
                && instruction.op1_kind() == OpKind::Register
                && instruction.op_register(instruction.op_count() - 1)
                    == instruction.op_register(instruction.op_count() - 2)
                && (name.contains("xor")
                    || name.contains("Xor")
                    || name == "Sbb"
                    || name.contains("cmpeq"));
            let saved = instruction.op0_kind() == OpKind::Memory
                && instruction.memory_base() == Register::RSP
                && instruction.mnemonic() == Mnemonic::Mov;
            if reads && !merges && !same && !saved && !copy && !zero {
                read |= bit(register);
                if bit(register) & !before != 0 {
                    first = first.or(Some(register));
                }
            }
        }
        if read & !before != 0 {
            return Some((at, first.unwrap_or(Register::None)));
        }
        let mut after = before | written;
        if copy && unknown(1) {
            after &= !bit(instruction.op0_register());
        }
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            after |= !kept;
        }
        for &next in &decoded.next[&at] {
            let merged = known.get(&next).map_or(after, |known| known & after);
            if known.insert(next, merged) != Some(merged) {
                todo.push(next);
            }
        }
    }
    None
}

/// Nothing clears the registers when a guest is entered. Nothing has to: code reads no register that it was not given,
/// whatever the host left there.
#[test]
fn l6_code_reads_no_register_that_it_was_not_given() {
    let mut functions = 0;
    let loops = ("loops".to_owned(), LOOPS.as_bytes().to_vec());
    let few = ["hello.wasm", "tree.wasm", "calc.wasm", "json.wasm"];
    let chosen = programs().into_iter().filter(|(name, _)| few.contains(&&**name));
    for (name, bytes) in chosen.chain([loops]) {
        for baseline in [false, true] {
            let options = Options { baseline, paranoid: false, ..Options::default() };
            let compiler = Compiler::new(options).unwrap();
            let loaded = Loaded::new(&bytes, 0);
            let mut workspace = Workspace::new();
            for defined in 0..loaded.info.bodies.len() as u32 {
                let code = code(&compiler, &mut workspace, &loaded.part(), defined, None);
                let found = unknown_read(&code, &decode(&code));
                assert_eq!(found, None, "{name}: function {defined}");
                functions += 1;
            }
        }
    }
    assert!(functions > 200, "only {functions} functions");
}

/// The offsets of a function's loops.
fn loops(module: &CompileModule<'_>, defined: u32) -> Vec<u32> {
    let range = module.info.bodies[defined as usize].range.clone();
    let bytes = module.info.bytes.get(range.clone()).unwrap();
    let body = FunctionBody::new(BinaryReader::new(bytes, range.start as u64));
    let operators = body.get_operators_reader().unwrap().into_iter_with_offsets();
    let found = operators.map(Result::unwrap).filter(|(op, _)| matches!(op, Operator::Loop { .. }));
    found.map(|(_, at)| at as u32).collect()
}

/// Looks at all functions of a module, and at each as it is entered at its first few loops. How many there are, and how many ways back.
fn check(name: &str, bytes: &[u8], options: &Options, at_loops: usize) -> (usize, usize) {
    let compiler = Compiler::new(options.clone()).unwrap();
    let loaded = Loaded::new(bytes, 0);
    let module = loaded.part();
    let mut workspace = Workspace::new();
    let count = module.info.bodies.len();
    let mut ways = 0;
    for defined in 0..count as u32 {
        let mut check = |at_loop| {
            let code = code(&compiler, &mut workspace, &module, defined, at_loop);
            let (wrong, back) = complaint(&code);
            if let Some(wrong) = wrong {
                panic!("{name}: function {defined} at {at_loop:?}: {wrong} ({options:?})");
            }
            ways += back;
        };
        check(None);
        // Entered at loops, it is other code.
        for at in loops(&module, defined).into_iter().take(at_loops) {
            check(Some(at));
        }
    }
    (count, ways)
}

#[test]
fn x1_every_way_round_in_machine_code_goes_by_a_poll() {
    for options in variants() {
        let (functions, ways) = check("loops", LOOPS.as_bytes(), &options, 10);
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
        let (f, w) = check(&name, &bytes, options, 1);
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
        let code = code(&compiler, &mut workspace, &loaded.part(), defined, None);
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
            let code = code(&compiler, &mut Workspace::new(), &loaded.part(), 0, None);
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
        translate::function(
            env,
            &**compiler.isa().unwrap(),
            &mut builder,
            &mut context.func,
            0,
            None,
        )
        .map(drop)
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
