//! Memories, tables and globals are the same things wherever they are used: by the instance that defines them, whose
//! machine code finds them in its own context, by one that imports them, and by the host. In every engine.

use palisade::{Config, Engine, Extern, Instance, Module, Ref, Store, Strategy, Val};

/// Defines one of each, with others before and behind, so that places differ from indices.
const OWNER: &str = r#"(module
    (import "host" "g" (global $host (mut i64)))
    (memory $small 1 1)
    (memory (export "memory") 1 9)
    (global $before (mut i32) (i32.const 5))
    (global (export "global") (mut i64) (i64.const 10))
    (global (export "vector") (mut v128) (v128.const i64x2 1 2))
    (table $other 1 funcref)
    (table (export "table") 2 9 funcref)
    (elem declare func $get)
    (func $get (export "get") (result i64)
        (i64.add
            (i64.add (i64.load 1 (i32.const 8)) (global.get 2))
            (i64.add
                (i64.extend_i32_u (i32.add (memory.size 1) (table.size 1)))
                (i64.add (global.get $host) (i64x2.extract_lane 1 (global.get 3))))))
    (func (export "set") (param i64)
        (i64.store 1 (i32.const 8) (local.get 0))
        (global.set 2 (local.get 0))
        (global.set $host (local.get 0))
        (global.set 3 (i64x2.splat (local.get 0)))
        (i32.store 0 (i32.const 8) (i32.const -1))
        (global.set $before (i32.const -1)))
    (func (export "grow")
        (drop (memory.grow 1 (i32.const 1)))
        (drop (table.grow 1 (ref.func $get) (i32.const 1))))
    (func (export "call") (param i32) (result i64) (call_indirect 1 (result i64) (local.get 0))))"#;

/// Imports all of that, and has own ones of the same kinds.
const USER: &str = r#"(module
    (import "host" "g" (global $host (mut i64)))
    (import "owner" "memory" (memory 1 9))
    (import "owner" "global" (global $global (mut i64)))
    (import "owner" "vector" (global $vector (mut v128)))
    (import "owner" "table" (table 2 9 funcref))
    (memory 1)
    (table 1 funcref)
    (global $own (mut i64) (i64.const 3))
    (elem declare func $get)
    (func $get (export "get") (result i64)
        (i64.add
            (i64.add (i64.load 0 (i32.const 8)) (global.get $global))
            (i64.add
                (i64.extend_i32_u (i32.add (memory.size 0) (table.size 0)))
                (i64.add (global.get $host) (i64x2.extract_lane 1 (global.get $vector))))))
    (func (export "set") (param i64)
        (i64.store 0 (i32.const 8) (local.get 0))
        (global.set $global (local.get 0))
        (global.set $host (local.get 0))
        (global.set $vector (i64x2.splat (local.get 0)))
        (i64.store 1 (i32.const 8) (i64.const -1))
        (global.set $own (i64.const -1)))
    (func (export "grow")
        (drop (memory.grow 0 (i32.const 1)))
        (drop (table.grow 0 (ref.func $get) (i32.const 1))))
    (func (export "call") (param i32) (result i64) (call_indirect 0 (result i64) (local.get 0))))"#;

fn configurations() -> Vec<Config> {
    let with = |strategy| {
        let mut config = Config::new();
        config.strategy(strategy);
        config
    };
    let mut all = vec![with(Strategy::Interpreter), with(Strategy::Compiled), with(Strategy::Auto)];
    let mut explicit = with(Strategy::Compiled);
    explicit.memory_guard_size(1 << 16).consume_fuel(true);
    all.push(explicit);
    all
}

#[test]
fn what_is_defined_once_is_there_once() {
    for config in configurations() {
        let engine = Engine::new(&config).unwrap();
        let mut store = Store::new(&engine, ());
        if config.metered() {
            store.set_fuel(1 << 40).unwrap();
        }
        let [owner, user] = [OWNER, USER].map(|text| Module::new(&engine, text).unwrap());
        let ty = palisade::GlobalType::new(palisade::ValType::I64, palisade::Mutability::Var);
        let host = palisade::Global::new(&mut store, ty, Val::I64(100)).unwrap();
        let owner = Instance::new(&mut store, &owner, &[host.into()]).unwrap();
        let [memory, global, vector, table] = ["memory", "global", "vector", "table"]
            .map(|name| owner.get_export(&mut store, name).unwrap());
        let imports: [Extern; 5] =
            [host.into(), memory.clone(), global.clone(), vector, table.clone()];
        let user = Instance::new(&mut store, &user, &imports).unwrap();
        let memory = memory.into_memory().unwrap();
        let (global, table) = (global.into_global().unwrap(), table.into_table().unwrap());
        let get = [&owner, &user]
            .map(|instance| instance.get_typed_func::<(), i64>(&mut store, "get").unwrap());
        let set = [&owner, &user]
            .map(|instance| instance.get_typed_func::<i64, ()>(&mut store, "set").unwrap());
        let grow = [&owner, &user]
            .map(|instance| instance.get_typed_func::<(), ()>(&mut store, "grow").unwrap());
        let call = [&owner, &user]
            .map(|instance| instance.get_typed_func::<i32, i64>(&mut store, "call").unwrap());

        // Memory, global, the sizes, the host's global, and the upper half of the vector.
        let mut expected = 10 + 1 + 2 + 100 + 2;
        let mut pages = 1;
        for round in 0..6 {
            for get in &get {
                assert_eq!(get.call(&mut store, ()).unwrap(), expected, "{round}");
            }
            let (by, value) = (round % 2, 1000 + round as i64);
            set[by].call(&mut store, value).unwrap();
            expected = 4 * value + pages + (pages + 1);
            assert_eq!(global.get(&mut store).unwrap().try_i64().unwrap(), value);
            assert_eq!(host.get(&mut store).unwrap().try_i64().unwrap(), value);
            assert_eq!(memory.data(&store)[8..16], value.to_le_bytes());
            for get in &get {
                assert_eq!(get.call(&mut store, ()).unwrap(), expected, "{round}");
            }
            // Growth moves no definition, whoever asks for it.
            grow[1 - by].call(&mut store, ()).unwrap();
            pages += 1;
            expected += 2;
            assert_eq!(memory.size(&store), pages as u64);
            assert_eq!(table.size(&store), pages as u64 + 1);
            for call in &call {
                assert_eq!(call.call(&mut store, pages as i32).unwrap(), expected, "{round}");
            }
            // What the host does is seen, too.
            memory.write(&mut store, 8, &(value + 7).to_le_bytes()).unwrap();
            global.set(&mut store, Val::I64(value - 2)).unwrap();
            expected += 5;
            let func = table.get(&mut store, pages as u64).unwrap();
            table.set(&mut store, 0, func).unwrap();
            for call in &call {
                assert_eq!(call.call(&mut store, 0).unwrap(), expected, "{round}");
            }
            table.set(&mut store, 0, Ref::Func(None)).unwrap();
            for call in &call {
                assert!(call.call(&mut store, 0).is_err());
            }
        }
    }
}
