//! Modules written by hand for what random ones meet too seldom: what is checked before a call, tables at their
//! ends, objects, exceptions, vectors, what grows, and guests that have to be stopped.

use std::sync::mpsc;
use std::time::Duration;

use palisade::{
    Caller, Extern, Func, FuncType, Instance, Linker, Module, Store, TrapCode, Val, ValType,
};

use super::machines::Machine;
use super::shapes;

/// A call of an export with `i32`s.
fn call(name: &str, args: &[i32]) -> (String, Vec<Val>) {
    (name.to_owned(), args.iter().map(|&x| Val::I32(x)).collect())
}

/// Calls exports with numbers around what matters.
fn everywhere(machines: &[Machine], text: &str, names: &[&str], numbers: &[i32]) {
    let calls: Vec<_> =
        names.iter().flat_map(|name| numbers.iter().map(|&x| call(name, &[x]))).collect();
    shapes::compare(machines, text, &calls, None);
}

/// Calls through tables and references, with everything that may be wrong with them.
pub fn calls(machines: &[Machine]) {
    let text = r#"(module
        (type $f (func (param i32) (result i32)))
        (type $g (func (param i64) (result i32)))
        (type $open (sub (func (result i32))))
        (type $sub (sub $open (func (result i32))))
        (table $t 8 10 funcref)
        (table $o 4 funcref)
        (elem (table $t) (i32.const 1) func $a $b $c $d)
        (elem (table $o) (i32.const 0) func $super $below)
        (elem declare func $a)
        (func $a (type $f) local.get 0 i32.const 3 i32.mul)
        (func $b (type $g) local.get 0 i32.wrap_i64)
        (func $c (type $f) local.get 0 i32.const 100 i32.sub)
        (func $d (result f64) f64.const 1)
        (func $super (type $open) i32.const 5)
        (func $below (type $sub) i32.const 6)
        (func (export "indirect") (param i32) (result i32)
            i32.const 20 local.get 0 call_indirect $t (type $f))
        (func (export "tail") (param i32) (result i32)
            i32.const 20 local.get 0 return_call_indirect $t (type $f))
        (func (export "open") (param i32) (result i32)
            local.get 0 call_indirect $o (type $open))
        (func (export "sub") (param i32) (result i32)
            local.get 0 call_indirect $o (type $sub))
        (func (export "ref") (param i32) (result i32) (local $r (ref null $f))
            local.get 0 if ref.func $a local.set $r end
            i32.const 9 local.get $r call_ref $f)
        (func (export "get") (param i32) (result i32) local.get 0 table.get $t ref.is_null)
        (func (export "set") (param i32) (result i32)
            local.get 0 ref.func $a table.set $t
            i32.const 30 local.get 0 call_indirect $t (type $f))
        (func (export "grown") (param i32) (result i32)
            ref.null func local.get 0 table.grow $t table.size $t i32.const 16 i32.shl i32.add)
    )"#;
    let numbers = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, -1, i32::MIN, 1 << 29, 1 << 30];
    let names = ["indirect", "tail", "open", "sub", "ref", "get", "set", "grown"];
    everywhere(machines, text, &names, &numbers);
    everywhere(
        machines,
        text,
        &["grown", "get", "indirect", "grown", "set", "get"],
        &[1, 8, 9, 10],
    );
}

/// C5: what sizes and tests give, used as an address in a register of 64 bits; what grows is seen to have grown.
pub fn sizes_as_addresses(machines: &[Machine]) {
    let text = r#"(module
        (memory (export "memory") 1 3)
        (table $t 5 70000 funcref)
        (data (i32.const 0) "abcdefghijklmnopqrstuvwxyz")
        (func (export "table_size") (param i32) (result i32) table.size $t i32.load8_u offset=3)
        (func (export "table_grow") (param i32) (result i32)
            ref.null func local.get 0 table.grow $t i32.load8_u)
        (func (export "table_seen") (param i32) (result i32)
            (local $before i32)
            (local.set $before (table.size $t))
            (drop (table.grow $t (ref.null func) (i32.const 3)))
            (drop (table.get $t (i32.add (local.get $before) (i32.const 2))))
            (i32.sub (table.size $t) (local.get $before)))
        (func (export "memory_size") (param i32) (result i32) memory.size i32.load8_u)
        (func (export "memory_grow") (param i32) (result i32) local.get 0 memory.grow i32.load8_u)
        (func (export "is_null") (param i32) (result i32)
            local.get 0 table.get $t ref.is_null i32.load8_u offset=7)
        (func (export "eqz") (param i32) (result i32) local.get 0 i32.eqz i32.load8_u offset=9)
        (func (export "seen") (param i32) (result i32)
            (local $sum i32)
            (loop $again
                (local.set $sum (i32.add (local.get $sum) (memory.size)))
                (i32.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)) (local.get $sum))
                (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
            local.get $sum)
        (func (export "copy") (param i32) (result i32)
            local.get 0 i32.const 2 i32.const 24 memory.copy
            local.get 0 i32.load offset=17)
        (func (export "copy_back") (param i32) (result i32)
            i32.const 5 local.get 0 i32.const 20 memory.copy i32.const 21 i32.load)
        (func (export "fill") (param i32) (result i32)
            local.get 0 i32.const 119 i32.const 23 memory.fill local.get 0 i32.load offset=19)
    )"#;
    let names = ["table_size", "is_null", "eqz", "memory_size", "copy", "copy_back", "fill"];
    let numbers = [0, 1, 2, 4, 5, 6, -1, 65_512, 65_513, 65_516, 65_517, i32::MIN];
    everywhere(machines, text, &names, &numbers);
    let growing =
        ["memory_grow", "table_seen", "seen", "table_grow", "memory_size", "table_grow", "copy", "fill"];
    everywhere(machines, text, &growing, &[0, 1, 65_532, 131_072, 196_592, 5, -1]);
}

/// Objects: their ends, null, small integers, tests and casts.
pub fn objects(machines: &[Machine]) {
    let text = r#"(module
        (type $s (sub (struct (field (mut i32)) (field (mut i8)))))
        (type $t (sub $s (struct (field (mut i32)) (field (mut i8)) (field i64))))
        (type $a (array (mut i16)))
        (global $g (mut (ref null $a)) (array.new $a (i32.const -7) (i32.const 5)))
        (func $pick (param i32) (result anyref)
            (block $3 (block $2 (block $1 (block $0
                (br_table $0 $1 $2 $3 (local.get 0)))
                (return (ref.null any)))
                (return (ref.i31 (i32.sub (i32.const 0) (local.get 0)))))
                (return (struct.new $s (i32.const 11) (i32.const -2))))
            (struct.new $t (i32.const 12) (i32.const -3) (i64.const 5)))
        (func (export "array_get") (param i32) (result i32)
            global.get $g local.get 0 array.get_s $a)
        (func (export "array_set") (param i32) (result i32)
            global.get $g local.get 0 i32.const 77 array.set $a
            global.get $g i32.const 0 array.get_u $a)
        (func (export "null_array") (param i32) (result i32) (local $n (ref null $a))
            local.get $n local.get 0 array.get_u $a)
        (func (export "null_len") (param i32) (result i32) (local $n (ref null $a))
            local.get $n array.len)
        (func (export "null_struct") (param i32) (result i32)
            local.get 0 call $pick ref.cast (ref null $s) struct.get_s $s 1)
        (func (export "small") (param i32) (result i32)
            local.get 0 ref.i31 i31.get_s local.get 0 ref.i31 i31.get_u i32.xor)
        (func (export "small_signed") (param i32) (result i32) local.get 0 ref.i31 i31.get_s)
        (func (export "tests") (param i32) (result i32)
            (i32.or (i32.or
                (ref.test (ref $s) (call $pick (local.get 0)))
                (i32.shl (ref.test (ref null $t) (call $pick (local.get 0))) (i32.const 1)))
                (i32.shl (ref.test (ref i31) (call $pick (local.get 0))) (i32.const 2))))
        (func (export "cast") (param i32) (result i32)
            local.get 0 call $pick ref.cast (ref $t) struct.get $t 0)
        (func (export "as_non_null") (param i32) (result i32)
            local.get 0 call $pick ref.as_non_null ref.test (ref eq))
        (func (export "branch") (param i32) (result i32)
            (block $yes (result (ref $s))
                (br_on_cast $yes anyref (ref $s) (call $pick (local.get 0)))
                (return (ref.is_null)))
            struct.get $s 0)
        (func (export "waits") (param i32) (result i32) (local $l (ref null $s))
            ;; References wait on the stack and in a local while others are made.
            (local.set $l (struct.new $s (i32.const 1000) (i32.const 4)))
            (struct.get $s 0 (struct.new $s (local.get 0) (i32.const 1)))
            (struct.new $s (local.get 0) (i32.const 1))
            (drop (array.new $a (i32.const 1) (i32.const 1000)))
            (drop (struct.new $t (i32.const 1) (i32.const 1) (i64.const 9)))
            (struct.get $s 0)
            i32.add
            (struct.get $s 0 (local.get $l))
            i32.add)
        (func (export "waits_long") (param i32) (result i32)
            (local $l (ref null $s)) (local $n i32)
            (local.set $l (struct.new $s (i32.const 1000) (i32.const 4)))
            (struct.new $s (local.get 0) (i32.const 1))
            (loop $again
                (drop (array.new $a (i32.const 1) (i32.const 100)))
                (struct.set $s 0 (local.get $l)
                    (i32.add (i32.const 1) (struct.get $s 0 (local.get $l))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_s (local.get $n) (i32.const 50))))
            (struct.get $s 0)
            (struct.get $s 0 (local.get $l))
            i32.xor)
    )"#;
    let names = [
        "array_get",
        "array_set",
        "null_array",
        "null_len",
        "null_struct",
        "small",
        "small_signed",
        "tests",
        "cast",
        "as_non_null",
        "branch",
        "waits",
        "waits_long",
    ];
    everywhere(machines, text, &names, &[0, 1, 2, 3, 4, 5, 6, -1, i32::MIN, 1 << 30]);
}

/// Exceptions: the order of clauses and of `try_table`s, what they deliver, what they cost.
pub fn exceptions(machines: &[Machine]) {
    let text = r#"(module
        (tag $a (param i32 i32)) (tag $b (param i32)) (tag $c)
        (func $throw (param i32)
            (if (i32.eq (local.get 0) (i32.const 1))
                (then (throw $a (i32.const 10) (i32.const 3))))
            (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $b (i32.const 20))))
            (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $c))))
        (func (export "order") (param i32) (result i32)
            (block $all
                (block $b (result i32)
                    (block $a (result i32 i32)
                        (try_table (catch $a $a) (catch $b $b) (catch_all $all)
                            (call $throw (local.get 0)))
                        (return (i32.const 0)))
                    (return (i32.sub)))
                (return (i32.const 1) (i32.add)))
            i32.const 99)
        (func (export "nested") (param i32) (result i32)
            (block $outer (result i32)
                (block $inner (result i32)
                    (try_table (catch $b $outer)
                        (try_table (catch $b $inner) (call $throw (local.get 0))))
                    (return (i32.const 0)))
                (return (i32.const 1000) (i32.add)))
            (i32.const 2000) (i32.add))
        (func (export "again") (param i32) (result i32) (local $e exnref)
            (block $h (result exnref)
                (try_table (catch_all_ref $h) (call $throw (local.get 0)))
                (ref.null exn))
            (local.set $e)
            (if (i32.eqz (ref.is_null (local.get $e))) (then (local.get $e) (throw_ref)))
            (local.get $e) (throw_ref))
        (func (export "in_loop") (param i32) (result i32) (local $n i32) (local $sum i32)
            (loop $again
                (block $b (result i32)
                    (try_table (catch $b $b) (call $throw (i32.const 2)))
                    (i32.const 1))
                (local.set $sum (i32.add (local.get $sum)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_s (local.get $n) (i32.const 20))))
            local.get $sum)
    )"#;
    everywhere(machines, text, &["order", "nested", "again", "in_loop"], &[0, 1, 2, 3]);
}

/// Lanes, floats that are no numbers, traps of every kind where they stand, jumps by tables.
pub fn odds_and_ends(machines: &[Machine]) {
    let text = r#"(module
        (memory (export "memory") 1 1)
        (table $t 3 funcref)
        (type $a (array i8))
        (func (export "chain") (param i32) (result i32) local.get 0 i32.load i32.load offset=3)
        (func (export "chain_table") (param i32) (result i32)
            local.get 0 i32.load8_u table.get $t ref.is_null)
        (func (export "chain_array") (param i32) (result i32)
            (array.new $a (i32.const 5) (i32.const 3)) local.get 0 i32.load array.get_u $a)
        (func (export "chain_length") (param i32) (result i32)
            i32.const 5 local.get 0 i32.load array.new $a array.len)
        (func (export "chain_divide") (param i32) (result i32)
            i32.const 100 local.get 0 i32.load offset=1 i32.div_u)
        (func (export "chain_store") (param i32) (result i32)
            local.get 0 i32.load local.get 0 i32.load8_u offset=3 i32.store8 i32.const 1)
        (func (export "lane") (param i32) (result i32)
            v128.const i32x4 1 2 3 4 local.get 0 i32x4.replace_lane 2
            i8x16.extract_lane_s 8)
        (func (export "lanes") (param i32) (result i32)
            local.get 0 i32x4.splat v128.const i16x8 1 2 3 4 5 6 7 8 i32x4.add
            i16x8.extract_lane_u 5)
        (func (export "carry") (param i32) (result i64 i64)
            local.get 0 i64.extend_i32_s i64.const 5 i64.const -3 i64.const 7 i64.add128)
        (func (export "borrow") (param i32) (result i64 i64)
            i64.const 2 i64.const 9 local.get 0 i64.extend_i32_s i64.const 7 i64.sub128)
        (func (export "nan") (param i32) (result i32)
            local.get 0 f32.reinterpret_i32 f32.const nan f32.ne
            local.get 0 f32.reinterpret_i32 local.get 0 f32.reinterpret_i32 f32.ne i32.add)
        (func (export "table") (param i32) (result i32)
            (block $2 (block $1 (block $0 (br_table $0 $1 $0 $2 (local.get 0)))
                (return (i32.const 10))) (return (i32.const 11)))
            i32.const 12)
        (func (export "unreachable") (param i32) (result i32)
            local.get 0 i32.const 1 i32.add drop nop unreachable)
        (func (export "divide") (param i32) (result i32) i32.const -100 local.get 0 i32.div_s)
        (func (export "divide64") (param i32) (result i32)
            i64.const -9223372036854775808 local.get 0 i64.extend_i32_s i64.div_s i32.wrap_i64)
        (func (export "remainder") (param i32) (result i32) i32.const -100 local.get 0 i32.rem_s)
        (func (export "truncate") (param i32) (result i32)
            local.get 0 f32.reinterpret_i32 i32.trunc_f32_s)
        (func (export "shift") (param i32) (result i32)
            i64.const 1 local.get 0 i64.extend_i32_s i64.shl i64.const 32 i64.shr_u i32.wrap_i64)
        (func (export "arithmetic") (param i32) (result i32) local.get 0 i32.const 3 i32.shr_s)
        (func (export "rotate") (param i32) (result i32) local.get 0 i32.const 5 i32.rotl)
        (func (export "extend") (param i32) (result i32)
            local.get 0 i64.extend_i32_u i64.const 1 i64.shr_u i32.wrap_i64)
        (func (export "compare") (param i32) (result i32)
            local.get 0 i32.const 5 i32.lt_s local.get 0 i32.const -1 i32.lt_s i32.sub)
        (func (export "select") (param i32) (result i32)
            i32.const 7 i32.const 8 local.get 0 select)
        (func (export "atomic") (param i32) (result i32) local.get 0 i32.atomic.load offset=2)
        (func (export "atomic16") (param i32) (result i32)
            local.get 0 i32.const 3 i32.atomic.rmw16.add_u)
        (func (export "store16") (param i32) (result i32)
            i32.const 64 local.get 0 i32.store16 i32.const 64 i32.load)
    )"#;
    let names = [
        "chain",
        "chain_table",
        "chain_array",
        "chain_length",
        "chain_divide",
        "chain_store",
        "lane", "lanes", "nan", "carry", "borrow",
        "table",
        "unreachable",
        "divide",
        "divide64",
        "remainder",
        "truncate",
        "shift",
        "arithmetic",
        "rotate",
        "extend",
        "compare",
        "select",
        "atomic",
        "atomic16",
        "store16",
    ];
    let numbers =
        [0, 1, 2, 3, 4, 5, 6, 33, -1, -2, 127, 128, 65_532, 65_534, i32::MIN, 0x7FC0_0000];
    everywhere(machines, text, &names, &numbers);
}

/// Two instances and the host: who calls is known, and whose memory is whose.
pub fn two_instances(machines: &[Machine]) {
    let shown = |caller: &mut Caller<'_, ()>| {
        let memory = caller.get_memory("memory").expect("the caller has one");
        i32::from(memory.data(&*caller)[0])
    };
    for machine in machines {
        let mut store = Store::new(&machine.engine, ());
        let _ = store.set_fuel(i64::MAX as u64);
        let mut linker = Linker::new(&machine.engine);
        let ty = FuncType::new([ValType::I32], [ValType::I32]);
        let host = move |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
            let Val::I32(x) = args[0] else { panic!("no number") };
            results[0] = Val::I32(x * 1000 + shown(&mut caller));
            Ok(())
        };
        linker.func_new("h", "f", ty, host).expect("defined");
        let inner = r#"(module (import "h" "f" (func $f (param i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "\07")
            (global $g (mut i32) (i32.const 5))
            (table (export "table") 2 funcref) (elem (i32.const 0) func $own)
            (func $own (export "own") (param i32) (result i32)
                (global.set $g (i32.add (global.get $g) (i32.const 1)))
                (i32.add (call $f (local.get 0)) (global.get $g))))"#;
        let outer = r#"(module (import "h" "f" (func $f (param i32) (result i32)))
            (import "inner" "own" (func $own (param i32) (result i32)))
            (import "inner" "table" (table 2 funcref))
            (type $t (func (param i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "\09")
            (func (export "run") (param i32) (result i32)
                (i32.xor (i32.shl (call $f (i32.const 1)) (i32.const 12))
                    (i32.add (i32.xor (call $own (i32.const 2)) (call $f (i32.const 3)))
                        (call_indirect (type $t) (i32.const 4) (local.get 0))))))"#;
        let inner = Module::new(&machine.engine, inner).expect("a module");
        let inner = linker.instantiate(&mut store, &inner).expect("instantiation");
        for name in ["own", "table"] {
            let export: Extern = inner.get_export(&store, name).expect("an export");
            linker.define(&store, "inner", name, export).expect("defined");
        }
        let outer = Module::new(&machine.engine, outer).expect("a module");
        let outer = linker.instantiate(&mut store, &outer).expect("instantiation");
        let mut expected_own = 5;
        for _ in 0..3 {
            let run = outer.get_func(&store, "run").expect("an export");
            let mut results = [Val::I32(0)];
            run.call(&mut store, &[Val::I32(0)], &mut results).expect("no trap");
            let mut own = |x: i32| {
                expected_own += 1;
                x * 1000 + 7 + expected_own
            };
            let (second, third) = (own(2), own(4));
            let expected = ((1009 << 12) ^ ((second ^ 3009) + third)) as i32;
            assert_eq!(results[0].i32(), Some(expected), "{}", machine.name);
        }
    }
}

/// X1: whatever goes round for ever stops soon after it is told to. Each runs on a thread of its own, so that one
/// that does not stop fails the test, and not the whole run.
pub fn stopped(machines: fn() -> Vec<Machine>) {
    let endless = [
        "(func (export \"run\") (loop (br 0)))",
        "(func (export \"run\") (local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.const 1))))",
        "(func $run (export \"run\") (return_call $run))",
        "(func $f (return_call $g)) (func $g (return_call $f)) (func (export \"run\") (call $f))",
        "(type $t (func)) (table 1 funcref) (elem (i32.const 0) func $f)
         (func $f (return_call_indirect (type $t) (i32.const 0))) (func (export \"run\") (call $f))",
    ];
    for number in 0..machines().len() {
        for text in endless {
            let (done, wait) = mpsc::channel();
            std::thread::spawn(move || {
                let machine = machines().swap_remove(number);
                let module = Module::new(&machine.engine, format!("(module {text})"));
                let mut store = Store::new(&machine.engine, ());
                let _ = store.set_fuel(i64::MAX as u64);
                let module = module.expect("a module");
                let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
                let run: Func = instance.get_func(&store, "run").expect("an export");
                store.set_timeout(Some(Duration::from_millis(60))).expect("a deadline");
                let error = run.call(&mut store, &[], &mut []).expect_err("it never ends");
                let _ = done.send((machine.name, error.trap_code()));
            });
            match wait.recv_timeout(Duration::from_secs(10)) {
                Ok((name, code)) => {
                    assert_eq!(code, Some(TrapCode::DeadlineExceeded), "{name} {text}")
                }
                Err(_) => panic!("machine {number} did not stop: {text}"),
            }
        }
    }
}

/// Calls that nest are counted, and so are returns: also those by exceptions and by tail calls.
pub fn depth(machines: &[Machine]) {
    let text = r#"(module
        (tag $e)
        (func $down (export "down") (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
                (else (i32.const 0))))
        (func $leaf (param i32) (result i32) (local.get 0))
        (func $tail (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (return (i32.const 7))))
            (return_call $tail (i32.sub (local.get 0) (i32.const 1))))
        (func $thrower (param i32)
            (if (local.get 0)
                (then (call $thrower (i32.sub (local.get 0) (i32.const 1)))) (else (throw $e))))
        (func (export "many") (param i32) (result i32) (local $n i32)
            (loop $again
                (drop (call $leaf (local.get $n)))
                (drop (call $tail (i32.const 20)))
                (block $caught (try_table (catch $e $caught) (call $thrower (i32.const 9))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_s (local.get $n) (i32.const 300))))
            (call $down (local.get 0))))"#;
    everywhere(
        machines,
        text,
        &["down", "many", "down"],
        &[0, 1, 90, 96, 97, 98, 99, 100, 101, 5000],
    );
}
