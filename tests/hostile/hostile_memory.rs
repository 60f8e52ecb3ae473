//! M1, M2, M3, M7: memories and tables at their very borders.

mod hostile_support;

use std::fmt::Write;

use hostile_support::{Outcome, Rng, engine_with, engines, invoke, store};
use palisade::{
    Caller, Engine, Instance, Linker, Module, Resource, Store, StoreLimits, StoreLimitsBuilder,
    TrapCode, Val,
};
use palisade_tests::{ENGINES, link, module};

/// Loads and stores: name, type, bytes.
const LOADS: [(&str, &str, u64); 14] = [
    ("i32.load", "i32", 4),
    ("i64.load", "i64", 8),
    ("f32.load", "f32", 4),
    ("f64.load", "f64", 8),
    ("i32.load8_s", "i32", 1),
    ("i32.load8_u", "i32", 1),
    ("i32.load16_s", "i32", 2),
    ("i32.load16_u", "i32", 2),
    ("i64.load8_s", "i64", 1),
    ("i64.load8_u", "i64", 1),
    ("i64.load16_s", "i64", 2),
    ("i64.load16_u", "i64", 2),
    ("i64.load32_s", "i64", 4),
    ("i64.load32_u", "i64", 4),
];
const STORES: [(&str, &str, u64); 9] = [
    ("i32.store", "i32", 4),
    ("i64.store", "i64", 8),
    ("f32.store", "f32", 4),
    ("f64.store", "f64", 8),
    ("i32.store8", "i32", 1),
    ("i32.store16", "i32", 2),
    ("i64.store8", "i64", 1),
    ("i64.store16", "i64", 2),
    ("i64.store32", "i64", 4),
];

/// How an access may come by its index; `{i}` is the index type.
const FORMS: [(&str, &str); 4] = [
    ("slot", "local.get 0"),
    ("acc", "local.get 0 {i}.const 0 {i}.or"),
    ("sum", "local.get 0 local.get 1 {i}.add"),
    ("shifted", "local.get 1 local.get 0 {i}.const 0 {i}.shl {i}.add"),
];

struct Border {
    /// The declaration of the memory.
    declaration: &'static str,
    index: &'static str,
    size: u64,
    offsets: &'static [u64],
    addresses: &'static [u64],
}

const OFFSETS_32: &[u64] = &[0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF];
const ADDRESSES_32: &[u64] =
    &[0, 1, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFF8, 0xFFFF_FFFF];
const OFFSETS_64: &[u64] = &[
    0,
    1,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFFF,
];
const ADDRESSES_64: &[u64] = &[
    0,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x1_0000_0001,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFF8,
    0xFFFF_FFFF_FFFF_FFFF,
];

const BORDERS: [Border; 5] = [
    Border {
        declaration: "(memory $m (export \"m\") 2)",
        index: "i32",
        size: 131_072,
        offsets: OFFSETS_32,
        addresses: ADDRESSES_32,
    },
    Border {
        declaration: "(memory $other 3) (memory $m (export \"m\") 1)",
        index: "i32",
        size: 65_536,
        offsets: OFFSETS_32,
        addresses: ADDRESSES_32,
    },
    Border {
        declaration: "(memory $m (export \"m\") i64 2)",
        index: "i64",
        size: 131_072,
        offsets: OFFSETS_64,
        addresses: ADDRESSES_64,
    },
    Border {
        declaration: "(memory $m (export \"m\") 21 (pagesize 1))",
        index: "i32",
        size: 21,
        offsets: OFFSETS_32,
        addresses: ADDRESSES_32,
    },
    Border {
        declaration: "(memory $m (export \"m\") 0)",
        index: "i32",
        size: 0,
        offsets: OFFSETS_32,
        addresses: ADDRESSES_32,
    },
];

impl Border {
    fn text(&self) -> String {
        let i = self.index;
        let mut text = format!("(module {}", self.declaration);
        for offset in self.all_offsets() {
            for (form, index) in FORMS {
                let index = index.replace("{i}", i);
                for (name, ty, _) in LOADS {
                    let _ = writeln!(
                        text,
                        "(func (export \"{name}/{offset}/{form}\") (param {i} {i}) (result {ty})
                           {index} {name} $m offset={offset})"
                    );
                }
                for (name, ty, _) in STORES {
                    let _ = writeln!(
                        text,
                        "(func (export \"{name}/{offset}/{form}\") (param {i} {i})
                           {index} {ty}.const -11 {name} $m offset={offset})"
                    );
                }
            }
        }
        text.push(')');
        text
    }

    fn all_offsets(&self) -> Vec<u64> {
        let mut all = self.offsets.to_vec();
        all.push(self.size.saturating_sub(4));
        all.push(self.size);
        all.sort_unstable();
        all.dedup();
        all
    }

    fn all_addresses(&self, width: u64) -> Vec<u64> {
        let mut all = self.addresses.to_vec();
        let end = self.size;
        for near in [end, end.wrapping_sub(width), end.wrapping_sub(width).wrapping_add(1)] {
            let near = if self.index == "i32" { u64::from(near as u32) } else { near };
            all.extend([near, near.wrapping_sub(1)]);
        }
        // Together with the offsets these come back to the start if anything wraps.
        all.extend(self.all_offsets().iter().map(|offset| offset.wrapping_neg()));
        if self.index == "i32" {
            all.iter_mut().for_each(|address| *address &= 0xFFFF_FFFF);
        }
        all
    }

    fn value(&self, bits: u64) -> Val {
        if self.index == "i32" { Val::I32(bits as i32) } else { Val::I64(bits as i64) }
    }
}

#[test]
fn m1_every_access_traps_at_the_exact_byte() {
    for border in BORDERS {
        let text = border.text();
        for kind in ENGINES {
            let engine = engine_with(kind, |config| {
                config.wasm_custom_page_sizes(true);
            });
            let mut store = store(&engine);
            let module = module(&engine, &text);
            let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
            check_border(&border, &mut store, instance);
        }
    }
}

fn check_border(border: &Border, store: &mut Store<()>, instance: Instance) {
    let memory = instance.get_memory(&*store, "m").expect("a memory");
    let fresh: Vec<u8> = (0..border.size).map(|i| (i % 251) as u8).collect();
    memory.write(&mut *store, 0, &fresh).expect("room");
    let accesses = LOADS.iter().map(|a| (a, false)).chain(STORES.iter().map(|a| (a, true)));
    for (&(name, ty, width), stores) in accesses {
        for offset in border.all_offsets() {
            for (form, _) in FORMS {
                let func = instance
                    .get_func(&*store, &format!("{name}/{offset}/{form}"))
                    .expect("an export");
                for address in border.all_addresses(width) {
                    let args = [border.value(address), border.value(0)];
                    let outcome = hostile_support::call(&mut *store, func, &args);
                    let at = u128::from(address) + u128::from(offset);
                    let inside = at + u128::from(width) <= u128::from(border.size);
                    let what =
                        format!("{} {name} {address:#x}+{offset:#x} {form}", border.declaration);
                    let at = at as usize;
                    let range = at..at.wrapping_add(width as usize);
                    match outcome {
                        Ok(_) if !inside => panic!("{what} got through"),
                        Ok(values) if !stores => {
                            assert_eq!(values[0], expected_load(name, ty, &fresh[range]), "{what}");
                        }
                        Ok(_) => {
                            let data = memory.data_mut(&mut *store);
                            assert_ne!(data[range.clone()], fresh[range.clone()], "{what}");
                            data[range.clone()].copy_from_slice(&fresh[range]);
                        }
                        Err(code) => {
                            assert!(!inside, "{what}: {code:?}");
                            assert_eq!(code, TrapCode::MemoryOutOfBounds);
                        }
                    }
                }
            }
            // Nothing else was written, by half a store neither.
            assert!(memory.data(&*store) == fresh, "{name} {offset}");
        }
    }
}

fn expected_load(name: &str, ty: &str, bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let raw = u64::from_le_bytes(all);
    let shift = 64 - 8 * bytes.len() as u32;
    let wide = if name.ends_with("_s") { ((raw << shift) as i64 >> shift) as u64 } else { raw };
    if ty == "i32" { u64::from(wide as u32) } else { wide }
}

#[test]
fn m1_a_memory_of_four_gibibytes_is_used_to_its_last_byte() {
    let text = r#"(module (memory (export "m") 65536)
        (func (export "byte") (param i32 i32) (result i32)
            local.get 0 local.get 1 i32.store8 local.get 0 i32.load8_u)
        (func (export "wide") (param i32) (result i64)
            local.get 0 i64.const -1 i64.store local.get 0 i64.load)
        (func (export "next") (param i32) (result i32) local.get 0 i32.load8_u offset=1)
        (func (export "fill") (param i32 i32) local.get 0 i32.const 9 local.get 1 memory.fill)
        (func (export "size") (result i32) memory.size)
        (func (export "grow") (param i32) (result i32) local.get 0 memory.grow))"#;
    for engine in engines() {
        let (mut store, instance) = open(&engine, text);
        let mut run = |name: &str, args: &[i32]| {
            let args: Vec<_> = args.iter().map(|x| Val::I32(*x)).collect();
            invoke(&mut store, instance, name, &args)
        };
        let out = Err(TrapCode::MemoryOutOfBounds);
        assert_eq!(run("byte", &[-1, 0xAB]), Ok(vec![0xAB]));
        assert_eq!(run("byte", &[i32::MIN, 0xCD]), Ok(vec![0xCD]));
        assert_eq!(run("wide", &[-8]), Ok(vec![u64::MAX]));
        assert_eq!(run("wide", &[-7]), out);
        assert_eq!(run("next", &[-2]), Ok(vec![0xFF]));
        assert_eq!(run("next", &[-1]), out);
        assert_eq!(run("fill", &[-1, 1]), Ok(vec![]));
        assert_eq!(run("fill", &[-1, 2]), out);
        assert_eq!(run("fill", &[0, 0]), Ok(vec![]));
        assert_eq!(run("size", &[]), Ok(vec![65_536]));
        assert_eq!(run("grow", &[0]), Ok(vec![65_536]));
        assert_eq!(run("grow", &[1]), Ok(vec![0xFFFF_FFFF]));
        assert_eq!(run("grow", &[-1]), Ok(vec![0xFFFF_FFFF]));
    }
}

fn open(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let mut store = store(engine);
    let instance = link(&Linker::new(engine), &mut store, text);
    (store, instance)
}

const GROWING: &str = r#"(module
    (import "h" "grow" (func $host (param i32)))
    (import "o" "grow" (func $other (param i32)))
    (import "o" "m" (memory $shared 1 100))
    (memory $own 1 5)
    (memory $wide i64 1)
    (func (export "own") (param i32) (result i32) local.get 0 memory.grow $own)
    (func (export "wide") (param i64) (result i64) local.get 0 memory.grow $wide)
    (func (export "sizes") (result i32 i32 i64)
        memory.size $shared memory.size $own memory.size $wide)
    (func $in (param i32) local.get 0 memory.grow $shared drop)
    (func (export "shared") (param i32) (result i32 i32) (local i32)
        ;; The last byte before, through every way of growing, then the first of the new pages.
        memory.size $shared i32.const 16 i32.shl local.set 1
        local.get 1 i32.const 1 i32.sub i32.const 77 i32.store8
        block $done
            block $two block $one block $zero local.get 0 br_table $zero $one $two end
                i32.const 1 call $in br $done
            end i32.const 1 call $host br $done
            end i32.const 1 call $other
        end
        local.get 1 i32.const 1 i32.sub i32.load8_u
        local.get 1 i32.load8_u)
    (func (export "wide_poke") (param i64) (result i32)
        local.get 0 i32.const 55 i32.store8 $wide local.get 0 i32.load8_u $wide))"#;

#[test]
fn m2_memories_grow_by_nothing_by_everything_and_by_too_much() {
    let other = r#"(module (memory (export "m") 1 100)
        (func (export "grow") (param i32) local.get 0 memory.grow drop))"#;
    for engine in engines() {
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap("h", "grow", |mut caller: Caller<'_, ()>, pages: i32| {
                let memory = caller.get_memory("m").expect("exported");
                memory.grow(&mut caller, pages as u64).map(drop)
            })
            .expect("a definition");
        let mut store = store(&engine);
        let source = link(&linker, &mut store, other);
        linker.instance(&mut store, "o", source).expect("definitions");
        let text = GROWING.replace("(memory $own", "(export \"m\" (memory $shared)) (memory $own");
        let instance = link(&linker, &mut store, &text);
        let view = source.get_memory(&store, "m").expect("a memory");
        for way in 0..3 {
            let before = view.data(&store).len();
            let outcome = invoke(&mut store, instance, "shared", &[Val::I32(way)]);
            assert_eq!(outcome, Ok(vec![77, 0]), "way {way}");
            // The old handle sees the new memory.
            assert_eq!(view.data(&store).len(), before + 65_536);
            assert_eq!(view.data(&store)[before - 1], 77);
        }
        let own = |store: &mut Store<()>, x: i32| invoke(store, instance, "own", &[Val::I32(x)]);
        let failed = Ok(vec![0xFFFF_FFFF]);
        for (delta, expected) in
            [(0, 1), (5, -1), (-1, -1), (i32::MIN, -1), (0xFFFF, -1), (4, 1), (0, 5), (1, -1)]
        {
            let expected = if expected < 0 { failed.clone() } else { Ok(vec![expected as u64]) };
            assert_eq!(own(&mut store, delta), expected, "{delta}");
        }
        // A memory that moves when it grows keeps what is in it.
        let mut pages = 1u64;
        for delta in [0, 1, 3, 50, 200, 1 << 48, -1, i64::MIN, i64::MAX, 1] {
            let last = Val::I64((pages * 65_536 - 1) as i64);
            assert_eq!(invoke(&mut store, instance, "wide_poke", &[last]), Ok(vec![55]));
            let outcome = invoke(&mut store, instance, "wide", &[Val::I64(delta)]);
            if (0..1 << 20).contains(&delta) {
                assert_eq!(outcome, Ok(vec![pages]));
                pages += delta as u64;
            } else {
                assert_eq!(outcome, Ok(vec![u64::MAX]), "{delta}");
            }
            let end = Val::I64((pages * 65_536) as i64);
            let outcome = invoke(&mut store, instance, "wide_poke", &[end]);
            assert_eq!(outcome, Err(TrapCode::MemoryOutOfBounds));
        }
        assert_eq!(invoke(&mut store, instance, "sizes", &[]), Ok(vec![4, 5, pages]));
    }
}

#[test]
fn m2_tables_grow_by_nothing_by_everything_and_by_too_much() {
    let text = r#"(module
        (table $f (export "f") 1 10 funcref) (table $e 1 externref) (table $w i64 1 funcref)
        (elem declare func $a) (func $a (result i32) i32.const 3)
        (func (export "f_grow") (param i32) (result i32) ref.func $a local.get 0 table.grow $f)
        (func (export "e_grow") (param i32) (result i32) ref.null extern local.get 0 table.grow $e)
        (func (export "w_grow") (param i64) (result i64) ref.func $a local.get 0 table.grow $w)
        (func (export "call") (param i32) (result i32)
            local.get 0 call_indirect $f (result i32))
        (func (export "wide_call") (param i64) (result i32)
            local.get 0 call_indirect $w (result i32)))"#;
    for engine in engines() {
        let (mut store, instance) = open(&engine, text);
        let mut run = |name: &str, arg: Val| invoke(&mut store, instance, name, &[arg]);
        assert_eq!(run("call", Val::I32(0)), Err(TrapCode::UninitializedElement));
        assert_eq!(run("call", Val::I32(1)), Err(TrapCode::UndefinedElement));
        for (delta, expected) in
            [(0, 1), (10, -1), (-1, -1), (i32::MIN, -1), (9, 1), (1, -1), (0, 10)]
        {
            assert_eq!(
                run("f_grow", Val::I32(delta)),
                Ok(vec![u64::from(expected as u32)]),
                "{delta}"
            );
        }
        assert_eq!(run("call", Val::I32(9)), Ok(vec![3]));
        assert_eq!(run("call", Val::I32(10)), Err(TrapCode::UndefinedElement));
        assert_eq!(run("call", Val::I32(-1)), Err(TrapCode::UndefinedElement));
        assert_eq!(run("e_grow", Val::I32(1000)), Ok(vec![1]));
        assert_eq!(run("e_grow", Val::I32(-1)), Ok(vec![0xFFFF_FFFF]));
        for delta in [-1, i64::MIN, i64::MAX, 1 << 61, 1 << 60, 1 << 32] {
            assert_eq!(run("w_grow", Val::I64(delta)), Ok(vec![u64::MAX]), "{delta:#x}");
        }
        assert_eq!(run("w_grow", Val::I64(7)), Ok(vec![1]));
        assert_eq!(run("wide_call", Val::I64(7)), Ok(vec![3]));
        for far in [8, 1 << 32, (1 << 32) + 1, -1, i64::MIN] {
            assert_eq!(
                run("wide_call", Val::I64(far)),
                Err(TrapCode::UndefinedElement),
                "{far:#x}"
            );
        }
    }
}

#[test]
fn m3_sizes_that_no_machine_has_are_errors_and_limits_hold_for_minimums() {
    let absurd = [
        "(memory i64 0x1000000000000)",
        "(memory i64 0x800000000000)",
        "(table 0xffffffff funcref)",
        "(table i64 0x2000000000000000 funcref)",
        "(table i64 0xffffffffffffffff externref)",
        "(table i64 0x1000000000000000 funcref)",
    ];
    let over = [
        "(memory 17)",
        "(memory 9) (memory 8)",
        "(memory i64 17)",
        "(table 1001 funcref)",
        "(table 600 funcref) (table 401 externref)",
        "(table i64 1001 funcref)",
    ];
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        for (limited, list) in [(false, &absurd), (true, &absurd), (true, &over)] {
            for declaration in list {
                // Some are over a limit of the format itself.
                let Ok(module) = Module::new(&engine, format!("(module {declaration})")) else {
                    continue;
                };
                let mut store = store(&engine);
                if limited {
                    store.set_resource_limit(Resource::MemoryBytes, Some(1 << 20));
                    store.set_resource_limit(Resource::TableElements, Some(1000));
                }
                let error = Instance::new(&mut store, &module, &[]).expect_err(declaration);
                assert!(error.to_string().len() < 500, "{error}");
                // What was refused is not held.
                let fits =
                    palisade_tests::module(&engine, "(module (memory 16) (table 1000 funcref))");
                Instance::new(&mut store, &fits, &[])
                    .unwrap_or_else(|e| panic!("{declaration}: {e}"));
            }
        }
        for declaration in over {
            let limits =
                StoreLimitsBuilder::new().memory_size(512 << 10).table_elements(400).build();
            let mut store = Store::<StoreLimits>::new(&engine, limits);
            store.limiter(|limits| limits);
            let module = palisade_tests::module(&engine, &format!("(module {declaration})"));
            Instance::new(&mut store, &module, &[]).expect_err(declaration);
        }
    }
}

/// All bulk operations against plain moves in Rust, on ranges that overlap, end at the end, or pass it.
#[test]
fn m7_bulk_operations_on_memories_do_as_moves_do() {
    let text = r#"(module
        (memory (export "m") 1) (memory $n (export "n") i64 1) (data $d "0123456789")
        (func (export "fill") (param i32 i32 i32)
            local.get 0 local.get 1 local.get 2 memory.fill)
        (func (export "copy") (param i32 i32 i32)
            local.get 0 local.get 1 local.get 2 memory.copy)
        (func (export "across") (param i32 i32 i32)
            local.get 0 i64.extend_i32_u local.get 1 local.get 2 memory.copy $n 0)
        (func (export "init") (param i32 i32 i32)
            local.get 0 local.get 1 local.get 2 memory.init $d)
        (func (export "drop") data.drop $d))"#;
    let borders = [0u32, 1, 9, 10, 11, 4096, 65_530, 65_535, 65_536, 65_537, 0x8000_0000, u32::MAX];
    for engine in engines() {
        let (mut store, instance) = open(&engine, text);
        let memories = ["m", "n"].map(|name| instance.get_memory(&store, name).expect("a memory"));
        let mut rng = Rng::new(7);
        let mut images = [rng.bytes(65_536), rng.bytes(65_536)];
        let mut segment = b"0123456789".to_vec();
        for (memory, image) in memories.iter().zip(&images) {
            memory.write(&mut store, 0, image).expect("room");
        }
        for round in 0..3_000 {
            if round == 2_000 {
                assert_eq!(invoke(&mut store, instance, "drop", &[]), Ok(vec![]));
                segment.clear();
            }
            let number = |rng: &mut Rng| match rng.below(3) {
                0 => *rng.pick(&borders),
                1 => rng.below(64) as u32,
                _ => rng.below(65_600) as u32,
            };
            let [to, from, len] = [(); 3].map(|()| number(&mut rng));
            let name = *rng.pick(&["fill", "copy", "across", "init"]);
            let args = [to, from, len].map(|x| Val::I32(x as i32));
            let outcome = invoke(&mut store, instance, name, &args);
            let expected = model(name, &mut images, &segment, [to, from, len]);
            assert_eq!(outcome, expected, "{name} {to} {from} {len}");
            for (memory, image) in memories.iter().zip(&images) {
                assert!(memory.data(&store) == image, "{name} {to} {from} {len}");
            }
        }
    }
}

fn model(
    name: &str,
    images: &mut [Vec<u8>; 2],
    segment: &[u8],
    [to, from, len]: [u32; 3],
) -> Outcome {
    let range = |start: u32, size: usize| {
        let end = u64::from(start) + u64::from(len);
        if end > size as u64 {
            return Err(TrapCode::MemoryOutOfBounds);
        }
        Ok(start as usize..end as usize)
    };
    let to = range(to, 65_536)?;
    match name {
        "fill" => images[0][to].fill(from as u8),
        "copy" => images[0].copy_within(range(from, 65_536)?, to.start),
        "across" => {
            let bytes = images[0][range(from, 65_536)?].to_vec();
            images[1][to].copy_from_slice(&bytes);
        }
        _ => images[0][to].copy_from_slice(&segment[range(from, segment.len())?]),
    }
    Ok(Vec::new())
}

#[test]
fn m7_bulk_operations_on_tables_do_as_moves_do() {
    let mut text = String::from(
        r#"(module (table $t (export "t") 40 funcref) (table $u i64 30 funcref)
        (elem $s func $f0 $f1 $f2 $f3 $f4 $f5 $f6 $f7)
        (elem (i32.const 3) func $f0 $f1 $f2 $f3 $f4 $f5 $f6 $f7)
        (func (export "fill") (param i32 i32 i32)
            local.get 0 (table.get $t (i32.and (local.get 1) (i32.const 15)))
            local.get 2 table.fill $t)
        (func (export "copy") (param i32 i32 i32)
            local.get 0 local.get 1 local.get 2 table.copy $t $t)
        (func (export "across") (param i32 i32 i32)
            local.get 0 i64.extend_i32_u local.get 1 local.get 2 table.copy $u $t)
        (func (export "init") (param i32 i32 i32)
            local.get 0 local.get 1 local.get 2 table.init $t $s)
        (func (export "drop") elem.drop $s)
        (type $i (func (result i32)))
        (func (export "t_at") (param i32) (result i32)
            (table.get $t (local.get 0)) ref.is_null if i32.const -1 return end
            local.get 0 call_indirect $t (type $i))
        (func (export "u_at") (param i32) (result i32)
            (table.get $u (i64.extend_i32_u (local.get 0))) ref.is_null
            if i32.const -1 return end
            local.get 0 i64.extend_i32_u call_indirect $u (type $i))"#,
    );
    for i in 0..8 {
        let _ = write!(text, "(func $f{i} (result i32) i32.const {i})");
    }
    text.push(')');
    let borders = [0u32, 1, 7, 8, 9, 29, 30, 39, 40, 41, 0x8000_0000, u32::MAX];
    for engine in engines() {
        let (mut store, instance) = open(&engine, &text);
        let mut tables = [vec![-1i32; 40], vec![-1; 30]];
        (0..8).for_each(|i| tables[0][3 + i] = i as i32);
        let mut segment: Vec<i32> = (0..8).collect();
        let mut rng = Rng::new(8);
        for round in 0..1_500 {
            if round == 1_000 {
                assert_eq!(invoke(&mut store, instance, "drop", &[]), Ok(vec![]));
                segment.clear();
            }
            let number = |rng: &mut Rng| {
                if rng.chance(30) { *rng.pick(&borders) } else { rng.below(12) as u32 }
            };
            let [to, from, len] = [(); 3].map(|()| number(&mut rng));
            let name = *rng.pick(&["fill", "copy", "across", "init"]);
            let args = [to, from, len].map(|x| Val::I32(x as i32));
            let outcome = invoke(&mut store, instance, name, &args);
            let expected = table_model(name, &mut tables, &segment, [to, from, len]);
            assert_eq!(outcome, expected, "{name} {to} {from} {len}");
            if round % 50 == 0 {
                for (name, table) in ["t_at", "u_at"].iter().zip(&tables) {
                    for (at, value) in table.iter().enumerate() {
                        let outcome = invoke(&mut store, instance, name, &[Val::I32(at as i32)]);
                        assert_eq!(outcome, Ok(vec![u64::from(*value as u32)]), "{name} {at}");
                    }
                }
            }
        }
    }
}

fn table_model(
    name: &str,
    tables: &mut [Vec<i32>; 2],
    segment: &[i32],
    [to, from, len]: [u32; 3],
) -> Outcome {
    let range = |start: u32, size: usize| {
        let end = u64::from(start) + u64::from(len);
        if end > size as u64 {
            return Err(TrapCode::TableOutOfBounds);
        }
        Ok(start as usize..end as usize)
    };
    match name {
        "fill" => {
            let value = tables[0][from as usize & 15];
            tables[0][range(to, 40)?].fill(value);
        }
        "copy" => {
            let to = range(to, 40)?;
            tables[0].copy_within(range(from, 40)?, to.start);
        }
        "across" => {
            let values = tables[0][range(from, 40)?].to_vec();
            tables[1][range(to, 30)?].copy_from_slice(&values);
        }
        _ => {
            let values = &segment[range(from, segment.len())?];
            tables[0][range(to, 40)?].copy_from_slice(values);
        }
    }
    Ok(Vec::new())
}
