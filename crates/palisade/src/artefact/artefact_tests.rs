//! Artefacts that are what they say, and those that are not.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::{Config, Instance, Module, Store, Strategy, Tuning};

const PROGRAM: &str = r#"(module
    (memory 1)
    (table 2 funcref)
    (elem (i32.const 0) $double $never)
    (tag $e (param i32))
    (func $double (export "double") (param i32) (result i32)
        (i32.add (local.get 0) (local.get 0)))
    (func $never (param i32) (result i32) unreachable)
    (func (export "sum") (param i32) (result i32) (local $s i32)
        (loop $l
            (local.set $s (i32.add (local.get $s)
                (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))
            (i32.store (i32.const 8) (local.get $s))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i32.load (i32.const 8)))
    (func (export "trap") (param i32) (result i32)
        (call_indirect (param i32) (result i32) (local.get 0) (i32.const 1)))
    (func (export "catch") (param i32) (result i32)
        (block $h (result i32)
            (try_table (result i32) (catch $e $h)
                (throw $e (i32.add (local.get 0) (i32.const 1)))))))"#;

fn engine(change: impl FnOnce(&mut Config)) -> Engine {
    let mut config = Config::new();
    config.strategy(Strategy::Compiled).paranoid(false);
    change(&mut config);
    Engine::new(&config).expect("an engine")
}

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn seal() -> Seal {
    Seal::Key(key())
}

fn trust() -> Trust {
    Trust::new().key(key())
}

fn artefact(engine: &Engine) -> Vec<u8> {
    Module::new(engine, PROGRAM).unwrap().serialize(&seal()).unwrap()
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, arg: i32) -> Result<i32> {
    instance.get_typed_func::<i32, i32>(&mut *store, name)?.call(store, arg)
}

/// Runs all of the program.
fn run(module: &Module) -> Store<()> {
    let mut store = Store::new(module.engine(), ());
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    for _ in 0..2 {
        assert_eq!(call(&mut store, instance, "double", 21).unwrap(), 42);
        assert_eq!(call(&mut store, instance, "sum", 100).unwrap(), 10_100);
        assert_eq!(call(&mut store, instance, "catch", 4).unwrap(), 5);
        let error = call(&mut store, instance, "trap", 1).unwrap_err();
        let trace = error.backtrace().expect("a backtrace");
        let frames: Vec<_> = trace.frames().iter().map(|frame| frame.func_index()).collect();
        assert_eq!(frames, [1, 3]);
    }
    store
}

fn refusal(result: Result<Module>) -> ArtefactError {
    let error = result.expect_err("it is refused");
    match error.kind() {
        ErrorKind::Artefact(refusal) => refusal.clone(),
        other => panic!("{other:?}"),
    }
}

/// Loads an artefact and reads all of it.
fn all_of(engine: &Engine, bytes: &[u8], trust: &Trust) -> Result<Module> {
    let module = Module::deserialize(engine, bytes, trust)?;
    module.read_all().map(|()| module)
}

#[test]
fn what_was_compiled_runs_elsewhere_and_nothing_is_compiled() {
    let bytes = artefact(&engine(|_| ()));
    for strategy in [Strategy::Compiled, Strategy::Auto, Strategy::Interpreter] {
        let engine = engine(|config| {
            config.strategy(strategy);
        });
        let module = Module::deserialize(&engine, &bytes, &trust()).unwrap();
        run(&module);
        assert_eq!(engine.compile_stats(), Default::default(), "{strategy:?}");
        assert_eq!(module.translated().0 > 0, strategy == Strategy::Interpreter, "{strategy:?}");
    }
    let again = engine(|_| ());
    let again = Module::deserialize(&again, &bytes, &trust()).unwrap().serialize(&seal());
    assert_eq!(again.unwrap(), bytes, "what was loaded is written as it was");
}

#[test]
fn what_tiering_made_is_kept_loops_as_well() {
    let tuning = Tuning { threshold: 2, wait: true, ..Tuning::default() };
    let hot = || {
        engine(|config| {
            config.strategy(Strategy::Auto).tuning(tuning.clone());
        })
    };
    let first = hot();
    let module = Module::new(&first, PROGRAM).unwrap();
    assert_eq!(module.code_batches(), 0);
    run(&module);
    let batches = module.code_batches();
    let compiled = first.compile_stats().compiled;
    assert!(compiled > 3, "{compiled}");
    let bytes = module.serialize_code(&seal()).unwrap();
    let wasm = module.info().bytes.whole().unwrap().to_vec();
    assert!(bytes.windows(wasm.len()).all(|window| window != wasm), "the module is not in it");

    let second = hot();
    let cancel = AtomicU32::new(0);
    let with = |wasm: Vec<u8>| {
        Module::with_code(&second, HashedModule::new(wasm), &bytes[..], &trust(), &cancel)
    };
    let module = with(wasm.clone()).unwrap();
    assert_eq!(module.code_batches(), batches);
    run(&module);
    let more = second.compile_stats().compiled;
    assert!(more < compiled, "{more} of {compiled} were compiled again");

    let mut other = wasm;
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(with(other)), ArtefactError::OtherModule);
    let alone = Module::deserialize(&second, &bytes, &trust());
    assert_eq!(refusal(alone), ArtefactError::OtherModule);
}

#[test]
fn a1_every_flipped_byte_is_refused() {
    let engine = engine(|_| ());
    let bytes = artefact(&engine);
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = bytes.clone();
            bytes[at] ^= bit;
            refusal(all_of(&engine, &bytes, &trust()));
        }
    }
}

/// Runs the program on what is left of it: each call does what it should, or the guest ends because its module is lost.
fn run_or_lose(module: &Module) -> bool {
    let mut store = Store::new(module.engine(), ());
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let mut lost = false;
    for (name, arg, wanted) in [("double", 21, 42), ("sum", 100, 10_100), ("catch", 4, 5)] {
        match call(&mut store, instance, name, arg) {
            Ok(found) => assert_eq!(found, wanted, "{name}"),
            Err(error) => {
                assert_eq!(error.trap_code(), Some(crate::TrapCode::ModuleLost), "{error:?}");
                lost = true;
            }
        }
    }
    lost
}

#[test]
fn a1_what_turns_out_to_be_damaged_when_it_is_needed_never_runs() {
    let tuning = Tuning { threshold: 1, wait: true, ..Tuning::default() };
    let hot = engine(|c| {
        c.strategy(Strategy::Auto).tuning(tuning.clone());
    });
    let compiled = engine(|_| ());
    let interpreted = engine(|c| {
        c.strategy(Strategy::Interpreter);
    });
    let whole = artefact(&compiled);
    let (mut late, mut lost, mut damaged) = (0, 0, 0);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        for engine in [&hot, &compiled, &interpreted] {
            let before = engine.stored_stats().damaged;
            let Ok(module) = Module::deserialize(engine, &bytes, &trust()) else { continue };
            late += 1;
            lost += u32::from(run_or_lose(&module));
            damaged += engine.stored_stats().damaged - before;
            refusal(module.read_all().map(|()| module));
        }
    }
    assert!(late > 1000 && lost > 0 && damaged > 1000, "{late} {lost} {damaged}");
}

#[test]
fn a1_a3_files_that_change_or_are_cut_after_they_were_opened() {
    let compiled = engine(|_| ());
    let whole = artefact(&compiled);
    let path = std::env::temp_dir().join(format!("palisade-a1-{}", std::process::id()));
    // What is behind the statement, and of it the module and the code.
    let statement = u64::from_le_bytes(whole[16..24].try_into().unwrap()) as usize;
    let rest = HEADER + PROOF + statement;
    for strategy in [Strategy::Compiled, Strategy::Auto, Strategy::Interpreter] {
        for change in 0..3 {
            let engine = engine(|c| {
                c.strategy(strategy).tuning(Tuning {
                    threshold: 1,
                    wait: true,
                    ..Tuning::default()
                });
            });
            std::fs::write(&path, &whole).unwrap();
            let module = Module::deserialize_file(&engine, &path, &trust()).unwrap();
            assert_eq!(engine.stored_stats(), Default::default(), "nothing was read yet");
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let lost = match change {
                // Code that was compiled before is not to be had; the module itself is neither.
                0 => {
                    file.set_len(rest as u64).unwrap();
                    true
                }
                1 => {
                    use std::os::unix::fs::FileExt as _;
                    file.write_all_at(&vec![0xF4; whole.len() - rest], rest as u64).unwrap();
                    true
                }
                // Another file in its place is no change of this one.
                _ => {
                    std::fs::remove_file(&path).unwrap();
                    std::fs::write(&path, b"another").unwrap();
                    false
                }
            };
            assert_eq!(run_or_lose(&module), lost, "{strategy:?} {change}");
            let stats = engine.stored_stats();
            assert_eq!(stats.damaged > 0, lost && strategy != Strategy::Interpreter, "{stats:?}");
            assert_eq!(module.read_all().is_err(), lost);
            assert!(!lost || stats.functions == 0, "nothing of it ran");
            if lost {
                refusal(module.serialize(&seal()).map(|_| module));
            }
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn only_what_is_needed_is_read() {
    // Each function makes a batch of its own.
    let tuning = Tuning { threshold: 2, wait: true, ..Tuning::default() };
    let hot = || {
        engine(|c| {
            c.strategy(Strategy::Auto).tuning(tuning.clone());
        })
    };
    let first = hot();
    let module = Module::new(&first, PROGRAM).unwrap();
    run(&module);
    let bytes = module.serialize(&seal()).unwrap();
    let second = hot();
    let module = Module::deserialize(&second, &bytes, &trust()).unwrap();
    let batches = module.code_batches();
    let mut store = Store::new(&second, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    assert_eq!(second.stored_stats().functions, 0);
    assert_eq!(call(&mut store, instance, "double", 4).unwrap(), 8);
    assert_eq!((second.stored_stats().functions, module.translated().0), (1, 0));
    assert_eq!(module.code_batches(), batches);
    // A second store finds it read.
    let mut store = Store::new(&second, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    assert_eq!(call(&mut store, instance, "double", 4).unwrap(), 8);
    assert_eq!((second.stored_stats().functions, module.translated().0), (1, 0));
    module.read_all().unwrap();
    assert!(second.stored_stats().functions > 4);
    assert_eq!(module.serialize(&seal()).unwrap(), bytes);
    // One that cannot pay for code is interpreted.
    let poor = hot();
    let module = Module::deserialize(&poor, &bytes, &trust()).unwrap();
    let mut store = Store::new(&poor, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let mut lines = store.ledger().into_iter();
    let used = lines.find(|line| line.what == crate::Resource::HostBytes).unwrap().in_use.unwrap();
    store.set_resource_limit(crate::Resource::HostBytes, Some(used + 8));
    let _ = call(&mut store, instance, "double", 4);
    assert_eq!(poor.stored_stats().functions, 0);
}

#[test]
fn a1_every_truncated_or_longer_artefact_is_refused() {
    let engine = engine(|_| ());
    let mut bytes = artefact(&engine);
    for len in 0..bytes.len() {
        refusal(Module::deserialize(&engine, &bytes[..len], &trust()));
        refusal(Module::deserialize_from(&engine, &bytes[..len], &trust()));
    }
    bytes.push(0);
    refusal(Module::deserialize_from(&engine, &bytes[..], &trust()));
    refusal(Module::deserialize(&engine, &bytes, &trust()));
}

#[test]
fn a1_a4_artefacts_of_other_builds_processors_and_options_are_refused() {
    let bytes = artefact(&engine(|_| ()));
    let option = |change: fn(&mut Config)| {
        let engine = engine(change);
        refusal(Module::deserialize(&engine, &bytes, &trust()))
    };
    for change in [
        (|c| {
            c.consume_fuel(true);
        }) as fn(&mut Config),
        |c| {
            c.call_depth(Some(10));
        },
        |c| {
            c.memory_guard_size(1 << 16);
        },
        |c| {
            c.canonical_nans(true);
        },
        |c| {
            c.deterministic(true);
        },
        |c| {
            c.index_masking(false);
        },
        |c| {
            c.paranoid(true);
        },
        |c| {
            c.inlining(false);
        },
        |c| {
            c.without_polls_for_benchmarks();
        },
    ] {
        let refusal = option(change);
        assert!(matches!(refusal, ArtefactError::Option { .. }), "{refusal:?}");
    }
    option(|c| {
        c.baseline_cpu(true);
    });
    // A header, or a statement, in front of what belongs to another.
    let others = [
        artefact(&engine(|c| {
            c.consume_fuel(true);
        })),
        {
            let module = Module::new(&engine(|_| ()), "(module (func (export \"f\")))").unwrap();
            module.serialize(&seal()).unwrap()
        },
    ];
    let own = engine(|_| ());
    let statement = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    for other in others {
        for cut in [HEADER, HEADER + PROOF, HEADER + PROOF + statement] {
            for (a, b) in [(&bytes, &other), (&other, &bytes)] {
                let spliced = [&a[..cut.min(a.len())], &b[cut.min(b.len())..]].concat();
                if spliced == *a || spliced == *b {
                    // The headers of both are the same.
                    assert_eq!(cut, HEADER);
                    continue;
                }
                refusal(all_of(&own, &spliced, &trust()));
            }
        }
    }
}

/// The same artefact with a statement that was changed, vouched for anew.
fn restated(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let len = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let from = HEADER + PROOF;
    let mut statement = bytes[from..from + len].to_vec();
    change(&mut statement);
    let mut message = header(Kind::Mac, statement.len() as u64).to_vec();
    message.extend_from_slice(&statement);
    let proof = seal().prove(&message);
    [&message[..HEADER], &proof, &statement, &bytes[from + len..]].concat()
}

#[test]
fn a1_another_build_or_processor_is_named() {
    let engine = engine(|_| ());
    let bytes = artefact(&engine);
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let bytes = restated(&bytes, |statement| {
            let found = statement.windows(from.len()).position(|w| w == from.as_bytes());
            let at = found.expect("it is there");
            statement[at..at + to.len()].copy_from_slice(to.as_bytes());
        });
        refusal(Module::deserialize(&engine, &bytes, &trust()))
    };
    let other = stamp::BUILD.replace('+', "-");
    assert!(matches!(replaced(stamp::BUILD, &other), ArtefactError::Build { .. }));
    assert_eq!(replaced("x86_64", "x86_65"), ArtefactError::Processor);
    // Nothing changed: this does test what it should.
    let same = restated(&bytes, |_| ());
    assert_eq!(same, bytes);
}

#[test]
fn a2_without_a_key_that_is_trusted_nothing_runs() {
    let engine = engine(|_| ());
    let bytes = artefact(&engine);
    let untrusted = |bytes: &[u8], trust: &Trust, is_signed| {
        let found = refusal(Module::deserialize(&engine, bytes, trust));
        assert_eq!(found, ArtefactError::Untrusted { signed: is_signed });
    };
    untrusted(&bytes, &Trust::new(), false);
    untrusted(&bytes, &Trust::new().key(Key::from_bytes([8; 32])), false);
    untrusted(&bytes, &Trust::new().key(key().derive(b"x")), false);
    let pair = SecretKey::from_bytes(&[7; 32]);
    untrusted(&bytes, &Trust::new().signer(pair.public()), false);

    let module = Module::new(&engine, PROGRAM).unwrap();
    let signed = module.serialize(&Seal::Signature(pair.clone())).unwrap();
    untrusted(&signed, &trust(), true);
    untrusted(&signed, &trust().signer(SecretKey::from_bytes(&[9; 32]).public()), true);
    let trust = Trust::new().signer(pair.public());
    run(&Module::deserialize(&engine, &signed, &trust).unwrap());
    let mut forged = signed;
    forged[HEADER + 3] ^= 1;
    untrusted(&forged, &trust, true);
}

#[test]
fn tables_that_a_broken_build_wrote_lead_nowhere() {
    let engine = engine(|_| ());
    let module = Module::new(&engine, PROGRAM).unwrap();
    let stored = module.native().unwrap().store();
    let (mut refused, mut taken) = (0, 0);
    for batch in &stored.batches {
        let (part, code, tables) = batch.parts();
        let mut w = Writer::default();
        tables::write(&mut w, tables);
        let info = (part != Part::Stubs).then_some(&**module.info());
        let bounds = tables::Bounds { code: code.len() as u32, info };
        let mut r = Reader(&w.0);
        let same = tables::read(&mut r, &bounds).unwrap();
        r.end().unwrap();
        let mut again = Writer::default();
        tables::write(&mut again, &same);
        assert_eq!(again.0, w.0);
        for at in 0..w.0.len() {
            for bit in 0..8 {
                let mut bytes = w.0.clone();
                bytes[at] ^= 1 << bit;
                match tables::read(&mut Reader(&bytes), &bounds) {
                    Ok(tables) => {
                        taken += 1;
                        let within = |at: u32| at <= bounds.code;
                        assert!(tables.funcs.iter().all(|f| within(f.range.end)));
                        assert!(tables.traps.is_sorted_by_key(|&(at, _)| at));
                        assert!(tables.srclocs.is_sorted_by_key(|&(at, _)| at));
                        assert!(tables.calls.is_sorted_by_key(|call| call.ret));
                        assert!(tables.maps.is_sorted_by_key(|map| map.ret));
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 100 && taken > 100, "{refused} {taken}");
}

#[test]
fn bodies_are_validated_again_where_limits_or_proposals_differ() {
    let bytes = artefact(&engine(|_| ()));
    let strict = engine(|config| {
        config.limits(palisade_core::Limits::strict());
    });
    run(&Module::deserialize(&strict, &bytes, &trust()).unwrap());
    let without = engine(|config| {
        config.wasm_exceptions(false);
    });
    let error = Module::deserialize(&without, &bytes, &trust()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Module(_)), "{error:?}");
}

#[test]
fn an_engine_without_machine_code_writes_none() {
    let engine = engine(|config| {
        config.strategy(Strategy::Interpreter);
    });
    let error = Module::new(&engine, PROGRAM).unwrap().serialize(&seal()).unwrap_err();
    assert!(error.to_string().contains("no machine code"), "{error}");
}

/// A file whose bytes are overwritten as soon as they have been read.
struct Vanishing(std::fs::File);

impl std::io::Read for Vanishing {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let at = std::io::Seek::stream_position(&mut self.0)?;
        let read = self.0.read(into)?;
        self.0.write_all_at(&vec![0xF4; read], at)?;
        Ok(read)
    }
}

#[test]
fn a3_a_file_that_changes_once_it_was_read_changes_nothing() {
    let engine = engine(|_| ());
    let bytes = artefact(&engine);
    let path = std::env::temp_dir().join(format!("palisade-a3-{}", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let module = Module::deserialize_from(&engine, Vanishing(file), &trust());
    let left = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(left.iter().all(|&byte| byte == 0xF4) && left.len() == bytes.len());
    run(&module.unwrap());
}

#[test]
fn what_was_refused_for_want_of_memory_is_compiled_where_there_is_more() {
    let poor = engine(|c| {
        c.compile_memory(Some(1));
    });
    let module = Module::new(&poor, PROGRAM).unwrap();
    run(&module);
    assert_eq!(poor.compile_stats().compiled, 0);
    let bytes = module.serialize(&seal()).unwrap();
    let rich = engine(|_| ());
    let module = Module::deserialize(&rich, &bytes, &trust()).unwrap();
    assert_eq!(rich.compile_stats().compiled, 5);
    run(&module);
    assert_eq!(module.translated().0, 0);
    // Together they make what was made at once; what is there is not made again.
    let both = module.serialize(&seal()).unwrap();
    let again = engine(|_| ());
    run(&Module::deserialize(&again, &both, &trust()).unwrap());
    assert_eq!(again.compile_stats().compiled, 0);
}

#[test]
fn s1_functions_that_are_read_each_from_within_another_end_in_a_clean_trap_at_worst() {
    use std::fmt::Write as _;
    const FUNCTIONS: usize = 6000;
    let mut text =
        "(module (func (export \"run\") (param i32) (result i32) (call 1 (local.get 0)))"
            .to_owned();
    for next in 2..FUNCTIONS {
        let _ = write!(text, "(func (param i32) (result i32) (call {next} (local.get 0)))");
    }
    text += "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))";
    // Each makes a batch of its own.
    let tuning = Tuning { threshold: 1, wait: true, ..Tuning::default() };
    let hot = || {
        engine(|c| {
            c.strategy(Strategy::Auto).tuning(tuning.clone());
        })
    };
    let first = hot();
    let module = Module::new(&first, &text).unwrap();
    let run = |module: &Module| {
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new(&mut store, module, &[]).unwrap();
        call(&mut store, instance, "run", 41)
    };
    assert_eq!(run(&module).unwrap(), 42);
    let bytes = module.serialize(&seal()).unwrap();
    let second = hot();
    let module = Module::deserialize(&second, &bytes, &trust()).unwrap();
    assert!(module.code_batches() > FUNCTIONS / 2, "{}", module.code_batches());
    let mut calls = 1;
    while let Err(error) = run(&module) {
        assert_eq!(error.trap_code(), Some(crate::TrapCode::StackOverflow), "{error:?}");
        calls += 1;
        assert!(calls < 100);
    }
    assert_eq!(run(&module).unwrap(), 42);
    println!("{calls} calls until all of it was read");
}
