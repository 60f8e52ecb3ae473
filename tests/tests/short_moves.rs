//! Copies and fills, which machine code does in place where they are short, and by a wrapper that checks nothing where they
//! are not long: against a model, of every short length and some others, overlapping in every way, up to the last byte and
//! one past it.

use palisade::{Config, Engine, Instance, Memory, Module, Store, Strategy, TrapCode, TypedFunc};

const MODULE: &str = r#"(module
    (memory (export "memory") 1)
    (memory $other (export "other") 1)
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "across") (param i32 i32 i32)
        (memory.copy $other 0 (local.get 0) (local.get 1) (local.get 2))))"#;

const SIZE: usize = 65536;

type Move = TypedFunc<(i32, i32, i32), ()>;

struct Guest {
    store: Store<()>,
    memory: Memory,
    other: Memory,
    fill: Move,
    copy: Move,
    across: Move,
}

impl Guest {
    fn new(config: &Config) -> Self {
        Self::of(config, MODULE, SIZE)
    }

    fn of(config: &Config, module: &str, size: usize) -> Self {
        let engine = Engine::new(config).unwrap();
        let module = Module::new(&engine, module).unwrap();
        let mut store = Store::new(&engine, ());
        if config.metered() {
            store.set_fuel(1 << 40).unwrap();
        }
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let [memory, other] =
            ["memory", "other"].map(|name| instance.get_memory(&mut store, name).unwrap());
        let [fill, copy, across] = ["fill", "copy", "across"]
            .map(|name| instance.get_typed_func(&mut store, name).unwrap());
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
        memory.write(&mut store, 0, &bytes).unwrap();
        Self { store, memory, other, fill, copy, across }
    }

    fn call(&mut self, what: &Move, args: [u32; 3]) -> Result<(), TrapCode> {
        let [a, b, c] = args.map(|arg| arg as i32);
        what.call(&mut self.store, (a, b, c)).map_err(|error| error.trap_code().unwrap())
    }
}

fn configurations() -> Vec<Config> {
    let compiled = || {
        let mut config = Config::new();
        config.strategy(Strategy::Compiled);
        config
    };
    let mut all = vec![Config::new(), compiled(), compiled(), compiled(), compiled()];
    all[0].strategy(Strategy::Interpreter);
    all[2].consume_fuel(true);
    all[3].index_masking(false);
    all[4].memory_guard_size(1 << 16);
    all
}

#[test]
fn every_length_and_every_overlap() {
    for config in configurations() {
        let mut guest = Guest::new(&config);
        let mut model = guest.memory.data(&guest.store).to_vec();
        let (copy, fill) = (guest.copy, guest.fill);
        for len in 0..=70u32 {
            for distance in [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100] {
                for (to, from) in [(300, 300 + distance), (300 + distance, 300)] {
                    guest.call(&copy, [to, from, len]).unwrap();
                    model.copy_within(from as usize..(from + len) as usize, to as usize);
                    assert_eq!(
                        guest.memory.data(&guest.store)[..800],
                        model[..800],
                        "{to} {from} {len}"
                    );
                }
            }
            // Of the value the lowest byte counts.
            guest.call(&fill, [500 + len, 0xabcd_ef00 + len * 3, len]).unwrap();
            model[(500 + len) as usize..(500 + 2 * len) as usize].fill((len * 3) as u8);
            assert_eq!(guest.memory.data(&guest.store)[..800], model[..800], "{len}");
        }
        assert_eq!(guest.memory.data(&guest.store), model);
    }
}

#[test]
fn the_last_byte_and_one_past_it() {
    for config in configurations() {
        let mut guest = Guest::new(&config);
        let before = guest.memory.data(&guest.store).to_vec();
        let (copy, fill, across) = (guest.copy, guest.fill, guest.across);
        let size = SIZE as u32;
        let outside = Err(TrapCode::MemoryOutOfBounds);
        for len in 0..=70u32 {
            for start in [size - len + 1, size + 1, u32::MAX - len, u32::MAX, 1 << 31] {
                for what in [&copy, &across] {
                    assert_eq!(guest.call(what, [start, 0, len]), outside, "to {start} {len}");
                    assert_eq!(guest.call(what, [0, start, len]), outside, "from {start} {len}");
                }
                assert_eq!(guest.call(&fill, [start, 9, len]), outside, "{start} {len}");
            }
            // Nothing of them was written.
            assert_eq!(guest.memory.data(&guest.store), before);
            let end = (size - len) as usize;
            guest.call(&across, [size - len, size - len, len]).unwrap();
            assert_eq!(guest.other.data(&guest.store)[end..], before[end..]);
            guest.call(&across, [0, 5, len]).unwrap();
            assert_eq!(guest.other.data(&guest.store)[..len as usize], before[5..5 + len as usize]);
        }
        guest.call(&fill, [size - 70, 1, 70]).unwrap();
        assert!(guest.memory.data(&guest.store)[SIZE - 70..].iter().all(|&byte| byte == 1));
    }
}

/// A memory of 4 MiB, for lengths on both sides of the mebibyte after which requests to stop are looked at.
const LARGE: &str = r#"(module
    (memory (export "memory") 64)
    (memory (export "other") 64)
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "across") (param i32 i32 i32)
        (memory.copy 1 0 (local.get 0) (local.get 1) (local.get 2))))"#;

#[test]
fn lengths_that_are_not_short() {
    const SIZE: u32 = 4 << 20;
    const MIB: u32 = 1 << 20;
    let outside = Err(TrapCode::MemoryOutOfBounds);
    for config in configurations() {
        let mut guest = Guest::of(&config, LARGE, SIZE as usize);
        let mut model = guest.memory.data(&guest.store).to_vec();
        let (copy, fill, across) = (guest.copy, guest.fill, guest.across);
        for len in [64, 65, 100, 255, 256, 4096, 65_537, MIB - 1, MIB, MIB + 1, 2 * MIB + 5] {
            for distance in [0, 1, 63, 64, 1000, MIB + 3] {
                for (to, from) in [(300, 300 + distance), (300 + distance, 300)] {
                    guest.call(&copy, [to, from, len]).unwrap();
                    model.copy_within(from as usize..(from + len) as usize, to as usize);
                    assert!(guest.memory.data(&guest.store) == model, "{to} {from} {len}");
                }
            }
            // The last byte, and one past it: nothing is written then.
            let end = SIZE - len;
            guest.call(&fill, [end, 0xabcd_ef00 + len % 251, len]).unwrap();
            model[end as usize..].fill((len % 251) as u8);
            guest.call(&across, [end, 7, len]).unwrap();
            assert!(
                guest.other.data(&guest.store)[end as usize..] == model[7..7 + len as usize],
                "{len}"
            );
            for start in [end + 1, SIZE, SIZE + 1, u32::MAX - len, u32::MAX - len + 1, u32::MAX] {
                for what in [&copy, &across] {
                    assert_eq!(guest.call(what, [start, 0, len]), outside, "to {start} {len}");
                    assert_eq!(guest.call(what, [0, start, len]), outside, "from {start} {len}");
                }
                assert_eq!(guest.call(&fill, [start, 9, len]), outside, "{start} {len}");
            }
            assert!(guest.memory.data(&guest.store) == model, "{len}");
        }
        for len in [u32::MAX, 1 << 31, SIZE + 1] {
            assert_eq!(guest.call(&copy, [0, 0, len]), outside, "{len}");
            assert_eq!(guest.call(&fill, [0, 0, len]), outside, "{len}");
        }
    }
}
