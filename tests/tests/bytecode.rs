//! Bytecode as people see it: that the notes on instructions are those of the code that runs.

use std::collections::BTreeSet;
use std::path::Path;

use palisade::{Config, Engine, Module, Strategy};

fn engine(fuel: bool) -> Engine {
    let mut config = Config::new();
    config.strategy(Strategy::Interpreter).consume_fuel(fuel);
    Engine::new(&config).expect("an engine")
}

/// Looks at every function of a module; how many instructions there are, and their operations.
fn look_at(name: &str, engine: &Engine, bytes: &[u8], operations: &mut BTreeSet<String>) -> usize {
    let module = Module::new(engine, bytes).expect(name);
    let info = module.info();
    let mut count = 0;
    for (func, body) in (info.imported_funcs..).zip(&info.bodies) {
        // A function whose frame is too large has none.
        let Ok(code) = module.bytecode(func) else { continue };
        let starts: BTreeSet<i64> = code.instructions.iter().map(|i| i64::from(i.at)).collect();
        assert_eq!(starts.len(), code.instructions.len(), "{name}: {func}");
        assert_eq!(starts.first(), Some(&0), "{name}: {func}");
        assert!(starts.last().is_some_and(|&last| last < code.bytes as i64), "{name}: {func}");
        for instruction in &code.instructions {
            let place = format!("{name}: {func}: {instruction}");
            assert!(body.range.contains(&(instruction.source as usize)), "{place}");
            assert!(instruction.targets.iter().all(|target| starts.contains(target)), "{place}");
            let plain = |name: &str| !name.contains("ops::") && !name.contains("palisade");
            assert!(plain(&instruction.name) && instruction.name.contains("::"), "{place}");
            operations.insert(instruction.name.split('<').next().unwrap_or_default().to_owned());
        }
        let again = module.bytecode(func).expect("the same");
        let text = |code: &palisade::Bytecode| -> Vec<String> {
            code.instructions.iter().map(ToString::to_string).collect()
        };
        assert_eq!(text(&again), text(&code), "{name}: {func}");
        count += code.instructions.len();
    }
    count
}

#[test]
fn every_instruction_of_real_programs_begins_where_its_note_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let (mut programs, mut operations) = (0, BTreeSet::new());
    for entry in std::fs::read_dir(folder).expect("the programs") {
        let path = entry.expect("a program").path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let bytes = std::fs::read(&path).expect("a program");
            for fuel in [false, true] {
                let count = look_at(&format!("{path:?}"), &engine(fuel), &bytes, &mut operations);
                assert!(count > 100, "{path:?}: {count}");
            }
            programs += 1;
        }
    }
    assert!(programs > 10 && operations.len() > 20, "{programs}: {operations:?}");
}

#[test]
fn every_instruction_of_generated_modules_begins_where_its_note_says() {
    let (mut valid, mut operations, engine) = (0, BTreeSet::new(), engine(false));
    let mut state = 0x1234_5678_9abc_def1u64;
    for seed in 0..150 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(20_000)
        .collect();
        let config = wasm_smith::Config {
            min_funcs: 6,
            max_instructions: 300,
            max_memories: 3,
            max_tables: 3,
            gc_enabled: true,
            exceptions_enabled: true,
            simd_enabled: true,
            relaxed_simd_enabled: true,
            threads_enabled: true,
            memory64_enabled: true,
            tail_call_enabled: true,
            reference_types_enabled: true,
            multi_value_enabled: true,
            wide_arithmetic_enabled: true,
            shared_everything_threads_enabled: false,
            compact_imports_enabled: false,
            ..wasm_smith::Config::default()
        };
        let mut source = arbitrary::Unstructured::new(&bytes);
        let Ok(module) = wasm_smith::Module::new(config, &mut source) else { continue };
        let seen = look_at(&format!("seed {seed}"), &engine, &module.to_bytes(), &mut operations);
        valid += usize::from(seen > 0);
    }
    assert!(valid > 50, "{valid} modules");
    // Of each family some.
    for family in ["simd::", "memory::", "call::", "control::", "cast::", "gc::", "exceptions::"] {
        assert!(operations.iter().any(|name| name.starts_with(family)), "{family}: {operations:?}");
    }
}

/// Fused instructions are shown as what they are, with the operands that they look at.
#[test]
fn a_function_is_shown_as_it_is_translated() {
    let text = r#"(module (memory 1)
        (func (param $n i32) (result i32) (local $sum i32)
          (block $out
            (loop $again
              (br_if $out (i32.eqz (local.get $n)))
              (local.set $sum (i32.add (local.get $sum)
                (i32.load offset=8 (i32.shl (local.get $n) (i32.const 2)))))
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br $again)))
          (local.get $sum)))"#;
    let module = Module::new(&engine(false), text).expect("a module");
    let code = module.bytecode(0).expect("bytecode");
    let lines: Vec<String> =
        code.instructions.iter().map(|one| format!("{:x} {one}", one.at)).collect();
    assert_eq!(
        lines,
        [
            "0 control::ZeroFixed<1> d=3",
            "10 arith::BranchOp<I32Eq, SI> a=0 imm=0 →88",
            "28 memory::LoadOp<U32, Scaled, R> offset=8 b=0 shift=2 imm=0",
            "40 arith::BinOp<I32Add, SA, D> d=3 a=3",
            "50 arith::BinOp<I32Sub, SI, D> d=0 a=0 imm=1",
            "60 arith::BranchOp<I32Ne, AI, back> imm=0 →28",
            "78 control::Br<back> →10",
            "88 call::Return1<u64> header=1 a=3",
        ]
    );
    assert_eq!((code.header, code.bytes), (1, 0x98));
}
