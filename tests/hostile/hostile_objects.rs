//! Objects in the hands of hostile guests: heaps that overflow, lists without end, arrays that cannot be, casts that
//! would lie, references where nothing was written. With and without a collection at every allocation.

mod hostile_support;

use hostile_support::{Outcome, engine_with, engines, invoke, on_small_stack, store};
use palisade::{Engine, Instance, Module, Resource, Store, TrapCode, Val};
use palisade_tests::{ENGINES, Kind};

/// Every engine, with a collection at every allocation and without.
fn stressed() -> impl Iterator<Item = Engine> {
    ENGINES.into_iter().flat_map(|kind| {
        [false, true].map(|stress| {
            engine_with(kind, |config| {
                config.gc_stress(stress);
            })
        })
    })
}

fn instantiate(engine: &Engine, text: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine, text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut store = store(engine);
    let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
    (store, instance)
}

/// Calls exports one after the other on every engine.
fn everywhere(text: &str, cases: &[(&str, &[Val], Outcome)]) {
    for engine in stressed().chain(engines()) {
        let (mut store, instance) = instantiate(&engine, text);
        for (name, args, expected) in cases {
            let outcome = invoke(&mut store, instance, name, args);
            assert_eq!(outcome, *expected, "{name} {args:?} {:?}", engine.config());
        }
    }
}

const LIST: &str = r#"(module
    (type $node (struct (field $value i32) (field $next (ref null $node))))
    (type $junk (array (mut i64)))
    (global $head (mut (ref null $node)) (ref.null $node))
    (func (export "build") (param $n i32)
        (loop $again
            (global.set $head (struct.new $node (local.get $n) (global.get $head)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "churn") (param $n i32)
        (loop $again
            (drop (array.new_default $junk (i32.const 1000)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "sum") (result i64) (local $sum i64) (local $at (ref null $node))
        (local.set $at (global.get $head))
        (block $end
            (loop $again
                (br_if $end (ref.is_null (local.get $at)))
                (local.set $sum (i64.add (local.get $sum)
                    (i64.extend_i32_u (struct.get $node $value (local.get $at)))))
                (local.set $at (struct.get $node $next (local.get $at)))
                (br $again)))
        (local.get $sum))
    (func (export "forget") (global.set $head (ref.null $node))))"#;

/// Whoever marks with recursion needs more stack than this for far fewer.
#[test]
fn s4_a_list_of_a_million_nodes_is_collected_on_a_small_stack() {
    for kind in ENGINES {
        on_small_stack(128, move || {
            let engine = engine_with(kind, |_| ());
            let (mut store, instance) = instantiate(&engine, LIST);
            let mut run = |name, args: &[Val]| invoke(&mut store, instance, name, args);
            assert_eq!(run("build", &[Val::I32(1_000_000)]), Ok(vec![]));
            // Enough for several collections, whatever the heap's size.
            assert_eq!(run("churn", &[Val::I32(50_000)]), Ok(vec![]));
            assert_eq!(run("sum", &[]), Ok(vec![500_000_500_000]));
            assert_eq!(run("forget", &[]), Ok(vec![]));
            assert_eq!(run("churn", &[Val::I32(50_000)]), Ok(vec![]));
        });
    }
}

/// What is allocated and dropped costs no more than what is alive at once.
#[test]
fn x8_garbage_is_given_back_and_the_heap_counts_in_the_ledger() {
    for kind in ENGINES {
        let engine = engine_with(kind, |_| ());
        let (mut store, instance) = instantiate(&engine, LIST);
        let before = store.resource_use(Resource::MemoryBytes);
        invoke(&mut store, instance, "churn", &[Val::I32(100_000)]).expect("garbage");
        // 800 MB went through it.
        assert!(store.resource_peak(Resource::MemoryBytes) - before < 16 << 20);
        assert!(store.resource_use(Resource::MemoryBytes) > before, "the heap is not counted");
    }
}

#[test]
fn x8_a_heap_that_is_full_is_a_trap_and_a_heap_that_empties_goes_on() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, LIST);
        store.set_resource_limit(Resource::MemoryBytes, Some(8 << 20));
        for _ in 0..3 {
            let full = invoke(&mut store, instance, "build", &[Val::I32(10_000_000)]);
            assert_eq!(full, Err(TrapCode::HeapExhausted));
            assert!(store.resource_peak(Resource::MemoryBytes) <= 8 << 20);
            invoke(&mut store, instance, "sum", &[]).expect("what was built is there");
            invoke(&mut store, instance, "forget", &[]).expect("no trap");
            invoke(&mut store, instance, "churn", &[Val::I32(10_000)]).expect("room again");
        }
    }
}

/// Every way to make an array, with lengths that nothing could hold, or whose sizes overflow.
#[test]
fn x8_huge_arrays_are_traps() {
    let text = r#"(module
        (type $bytes (array (mut i8))) (type $words (array (mut i64)))
        (type $vectors (array (mut v128))) (type $refs (array (mut anyref)))
        (data $d "abc") (elem $e anyref (ref.i31 (i32.const 1)))
        (func (export "bytes") (param i32) (drop (array.new $bytes (i32.const 7) (local.get 0))))
        (func (export "bytes0") (param i32) (drop (array.new_default $bytes (local.get 0))))
        (func (export "words") (param i32) (drop (array.new $words (i64.const 7) (local.get 0))))
        (func (export "words0") (param i32) (drop (array.new_default $words (local.get 0))))
        (func (export "vectors") (param i32)
            (drop (array.new $vectors (v128.const i64x2 1 2) (local.get 0))))
        (func (export "vectors0") (param i32) (drop (array.new_default $vectors (local.get 0))))
        (func (export "refs") (param i32)
            (drop (array.new $refs (ref.i31 (i32.const 5)) (local.get 0))))
        (func (export "refs0") (param i32) (drop (array.new_default $refs (local.get 0))))
        (func (export "data") (param i32) (drop (array.new_data $bytes $d (i32.const 0) (local.get 0))))
        (func (export "wide_data") (param i32)
            (drop (array.new_data $words $d (i32.const 0) (local.get 0))))
        (func (export "elem") (param i32) (drop (array.new_elem $refs $e (i32.const 0) (local.get 0))))
        (func (export "alive") (result i32)
            (array.len (array.new $bytes (i32.const 1) (i32.const 100)))))"#;
    let lengths =
        [u32::MAX, 1 << 31, (1 << 31) - 1, 1 << 30, 1 << 29, (1 << 29) - 1, 1 << 28, 1 << 27];
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        store.set_resource_limit(Resource::MemoryBytes, Some(64 << 20));
        for length in lengths {
            let length = [Val::I32(length as i32)];
            for name in ["bytes", "words", "vectors", "refs"] {
                for name in [name.to_owned(), format!("{name}0")] {
                    let outcome = invoke(&mut store, instance, &name, &length);
                    let limit = [TrapCode::HeapExhausted, TrapCode::AllocationTooLarge];
                    assert!(outcome.is_err_and(|code| limit.contains(&code)), "{name} {length:?}");
                }
            }
            // The segment is looked at before room is made.
            for name in ["data", "wide_data"] {
                let outcome = invoke(&mut store, instance, name, &length);
                assert_eq!(outcome, Err(TrapCode::MemoryOutOfBounds), "{name} {length:?}");
            }
            let outcome = invoke(&mut store, instance, "elem", &length);
            assert_eq!(outcome, Err(TrapCode::TableOutOfBounds), "{length:?}");
            assert_eq!(invoke(&mut store, instance, "alive", &[]), Ok(vec![100]));
        }
    }
}

/// Frames that held references leave nothing behind for locals of frames that come after them.
#[test]
fn v6_references_in_locals_begin_as_null_whatever_was_there() {
    let locals = "anyref ".repeat(40);
    let mut fill = String::new();
    // With a parameter in front, locals are one further on.
    let mut shifted = String::new();
    let mut nulls = String::new();
    for local in 0..40 {
        shifted += &format!("(local.set {} (struct.new $box (i32.const {local})))\n", local + 1);
        fill += &format!("(local.set {local} (struct.new $box (i32.const {local})))\n");
        nulls += &format!("(i32.add (ref.is_null (local.get {local})))\n");
    }
    let text = format!(
        "(module (type $box (struct (field i32)))
         (func $fill (local {locals}) {fill} (call $deep (i32.const 5)))
         (func $deep (param i32) (local {locals})
           {shifted} (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))
         (func $nulls (export \"nulls\") (result i32) (local {locals}) (local i64 funcref externref structref)
           (i32.const 0) {nulls}
           (ref.is_null (local.get 41)) i32.add (ref.is_null (local.get 42)) i32.add
           (ref.is_null (local.get 43)) i32.add
           ;; Enough to collect, so that what is in the slots is looked at.
           (drop (struct.new $box (i32.const 1))))
         (func (export \"both\") (result i32) (call $fill) (call $nulls)))",
    );
    everywhere(
        &text,
        &[("nulls", &[], Ok(vec![43])), ("both", &[], Ok(vec![43])), ("both", &[], Ok(vec![43]))],
    );
}

/// Fields and elements without a value of their own are zero and null, in memory that was used before.
#[test]
fn l1_new_objects_do_not_show_what_old_ones_held() {
    let text = r#"(module
        (type $words (array (mut i64))) (type $refs (array (mut anyref)))
        (type $mixed (struct (field (mut i64)) (field (mut anyref)) (field (mut i8)) (field (mut v128))))
        (func (export "dirty") (param $n i32)
            (loop $again
                (drop (array.new $words (i64.const 0xA5A5A5A5A5A5A5A5) (i32.const 500)))
                (drop (array.new $refs (struct.new $mixed (i64.const -1) (ref.i31 (i32.const -1))
                    (i32.const -1) (v128.const i64x2 -1 -1)) (i32.const 50)))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
        (func (export "scan") (param $n i32) (result i64)
            (local $sum i64) (local $i i32) (local $a (ref null $words)) (local $r (ref null $refs))
            (local $m (ref null $mixed))
            (loop $again
                (local.set $a (array.new_default $words (i32.const 300)))
                (local.set $r (array.new_default $refs (i32.const 300)))
                (local.set $m (struct.new_default $mixed))
                (local.set $i (i32.const 0))
                (loop $each
                    (local.set $sum (i64.or (local.get $sum)
                        (array.get $words (local.get $a) (local.get $i))))
                    (local.set $sum (i64.or (local.get $sum) (i64.extend_i32_u
                        (i32.eqz (ref.is_null (array.get $refs (local.get $r) (local.get $i)))))))
                    (br_if $each (i32.lt_u
                        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300))))
                (local.set $sum (i64.or (local.get $sum) (struct.get $mixed 0 (local.get $m))))
                (local.set $sum (i64.or (local.get $sum)
                    (i64.extend_i32_u (struct.get_u $mixed 2 (local.get $m)))))
                (local.set $sum (i64.or (local.get $sum) (i64.extend_i32_u
                    (i32.eqz (ref.is_null (struct.get $mixed 1 (local.get $m)))))))
                (local.set $sum (i64.or (local.get $sum) (i64.extend_i32_u
                    (v128.any_true (struct.get $mixed 3 (local.get $m))))))
                (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $sum)))"#;
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, text);
        for _ in 0..3 {
            invoke(&mut store, instance, "dirty", &[Val::I32(1_000)]).expect("garbage");
            assert_eq!(invoke(&mut store, instance, "scan", &[Val::I32(1_000)]), Ok(vec![0]));
        }
    }
}

/// Types that look alike but belong to other groups are other types, in this module and across modules.
#[test]
fn m4_casts_tell_types_that_look_alike_apart() {
    let text = r#"(module
        (type $a (sub (struct (field i32))))
        (type $b (sub (struct (field i32))))
        (rec (type $c (sub (struct (field i32)))) (type $other (struct)))
        (type $d (sub final $a (struct (field i32) (field i64))))
        (type $f (func (result i32)))
        (func $make (param i32) (result anyref)
            (block (block (block (block
                (br_table 0 1 2 3 (local.get 0)))
                (return (struct.new $a (i32.const 1))))
                (return (struct.new $b (i32.const 2))))
                (return (struct.new $c (i32.const 3))))
            (struct.new $d (i32.const 4) (i64.const 5)))
        (func (export "is_a") (param i32) (result i32)
            (ref.test (ref $a) (call $make (local.get 0))))
        (func (export "is_c") (param i32) (result i32)
            (ref.test (ref $c) (call $make (local.get 0))))
        (func (export "as_d") (param i32) (result i64)
            (struct.get $d 1 (ref.cast (ref $d) (call $make (local.get 0)))))
        (func (export "make") (param i32) (result anyref) (call $make (local.get 0))))"#;
    let yes = || Ok(vec![1]);
    let no = || Ok(vec![0]);
    let index = [Val::I32(0), Val::I32(1), Val::I32(2), Val::I32(3)];
    let at = |i: usize| std::slice::from_ref(&index[i]);
    everywhere(
        text,
        &[
            ("is_a", at(0), yes()),
            // Equal groups of one type are one.
            ("is_a", at(1), yes()),
            ("is_a", at(2), no()),
            ("is_a", at(3), yes()),
            ("is_c", at(0), no()),
            ("is_c", at(2), yes()),
            ("is_c", at(3), no()),
            ("as_d", at(3), Ok(vec![5])),
            ("as_d", at(0), Err(TrapCode::CastFailure)),
            ("as_d", at(2), Err(TrapCode::CastFailure)),
        ],
    );
    let user = r#"(module
        (import "" "make" (func $make (param i32) (result anyref)))
        (type $pad (func (param i64 i64 i64)))
        (type $a (sub (struct (field i32))))
        (rec (type $c (sub (struct (field i32)))) (type $other (struct)))
        (rec (type $e (sub (struct (field i32)))) (type $more (struct (field i32))))
        (func (export "a") (param i32) (result i32) (ref.test (ref $a) (call $make (local.get 0))))
        (func (export "c") (param i32) (result i32) (ref.test (ref $c) (call $make (local.get 0))))
        (func (export "e") (param i32) (result i32) (ref.test (ref $e) (call $make (local.get 0)))))"#;
    for engine in stressed() {
        let (mut store, maker) = instantiate(&engine, text);
        let make = maker.get_func(&store, "make").expect("an export");
        let module = Module::new(&engine, user).expect("a module");
        let instance = Instance::new(&mut store, &module, &[make.into()]).expect("instantiation");
        let expected = [("a", [1, 1, 0, 1]), ("c", [0, 0, 1, 0]), ("e", [0, 0, 0, 0])];
        for (name, expected) in expected {
            for (i, expected) in expected.into_iter().enumerate() {
                let outcome = invoke(&mut store, instance, name, at(i));
                assert_eq!(outcome, Ok(vec![expected]), "{name} {i}");
            }
        }
    }
}

/// A structure is no function, to validation or to the host.
#[test]
fn m5_a_structure_is_never_taken_for_a_function() {
    const PRELUDE: &str = "(type $s (struct (field i64))) (type $f (func (result i32)))
        (table $t 1 funcref) (global $g (mut funcref) (ref.null func))";
    let wrong = [
        "(func (table.set $t (i32.const 0) (struct.new $s (i64.const 1))))",
        "(func (global.set $g (struct.new $s (i64.const 1))))",
        "(func (result i32) (call_ref $f (struct.new $s (i64.const 1))))",
        "(func (result i32) (call_ref $f (ref.cast (ref $f) (struct.new $s (i64.const 1)))))",
        "(func (result funcref) (struct.new $s (i64.const 1)))",
        "(func (param funcref) (result (ref $s)) (ref.cast (ref $s) (local.get 0)))",
        "(func (result anyref) (ref.null func))",
        "(func (param anyref) (result (ref null $f)) (local.get 0))",
        "(func (param externref) (result anyref) (local.get 0))",
        "(func (result i32) (call_indirect $u (type $f) (i32.const 0))) (table $u 1 (ref null $s))",
        "(elem (table $t) (i32.const 0) (ref $s) (struct.new $s (i64.const 1)))",
        "(func (result (ref $f)) (block (result (ref $f))
            (br_on_cast 0 (ref null $s) (ref $f) (struct.new $s (i64.const 1))) unreachable))",
        "(func (param (ref null $s)) (result i32) (return_call_ref $f (local.get 0)))",
        "(global (ref null $f) (struct.new $s (i64.const 1)))",
        "(func (result i64) (struct.get $s 0 (ref.null func)))",
        "(func (result i64) (struct.get $f 0 (ref.null $s)))",
    ];
    let engine = engine_with(Kind::Tiering, |_| ());
    for text in wrong {
        let module = Module::new(&engine, format!("(module {PRELUDE} {text})"));
        assert!(module.is_err(), "accepted: {text}");
    }
    let text = r#"(module (type $s (struct (field i64)))
        (func (export "make") (result anyref) (struct.new $s (i64.const 0x4141414141414141)))
        (func (export "take") (param funcref) (result i32) (ref.is_null (local.get 0)))
        (table (export "table") 1 funcref) (global (export "global") (mut funcref) (ref.null func)))"#;
    for engine in stressed() {
        let (mut store, instance) = instantiate(&engine, text);
        let make = instance.get_func(&store, "make").expect("an export");
        let take = instance.get_func(&store, "take").expect("an export");
        let mut made = [Val::I32(0)];
        make.call(&mut store, &[], &mut made).expect("an object");
        let mut result = [Val::I32(0)];
        assert!(take.call(&mut store, &made, &mut result).is_err());
        let table = instance.get_table(&store, "table").expect("an export");
        assert!(table.set(&mut store, 0, made[0].as_ref().expect("a reference")).is_err());
        let global = instance.get_global(&store, "global").expect("an export");
        assert!(global.set(&mut store, made[0]).is_err());
    }
}

/// A model of the operators that work on ranges of arrays, for one array copied onto itself and for others.
#[test]
fn m7_ranges_of_arrays() {
    let text = r#"(module
        (type $bytes (array (mut i8))) (type $refs (array (mut anyref)))
        (data $d "\10\11\12\13\14\15\16\17")
        (elem $e anyref (ref.i31 (i32.const 70)) (ref.i31 (i32.const 71)) (ref.i31 (i32.const 72)))
        (global $b (mut (ref $bytes)) (array.new $bytes (i32.const 0) (i32.const 16)))
        (global $r (mut (ref $refs)) (array.new_default $refs (i32.const 16)))
        (func (export "reset") (local $i i32)
            (loop $again
                (array.set $bytes (global.get $b) (local.get $i) (local.get $i))
                (array.set $refs (global.get $r) (local.get $i) (ref.i31 (local.get $i)))
                (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 16)))))
        (func (export "copy") (param i32 i32 i32)
            (array.copy $bytes $bytes (global.get $b) (local.get 0) (global.get $b) (local.get 1) (local.get 2))
            (array.copy $refs $refs (global.get $r) (local.get 0) (global.get $r) (local.get 1) (local.get 2)))
        (func (export "fill") (param i32 i32 i32)
            (array.fill $bytes (global.get $b) (local.get 0) (local.get 1) (local.get 2))
            (array.fill $refs (global.get $r) (local.get 0) (ref.i31 (local.get 1)) (local.get 2)))
        (func (export "data") (param i32 i32 i32)
            (array.init_data $bytes $d (global.get $b) (local.get 0) (local.get 1) (local.get 2)))
        (func (export "elem") (param i32 i32 i32)
            (array.init_elem $refs $e (global.get $r) (local.get 0) (local.get 1) (local.get 2)))
        (func (export "drop") (data.drop $d) (elem.drop $e))
        (func (export "byte") (param i32) (result i32) (array.get_u $bytes (global.get $b) (local.get 0)))
        (func (export "ref") (param i32) (result i32)
            (i31.get_u (ref.cast (ref i31) (array.get $refs (global.get $r) (local.get 0)))))
        (func (export "null_copy") (param i32 i32 i32)
            (array.copy $bytes $bytes (ref.null $bytes) (local.get 0) (global.get $b) (local.get 1) (local.get 2))))"#;
    let ends: Vec<u32> = vec![0, 1, 3, 8, 15, 16, 17, 1 << 31, u32::MAX - 1, u32::MAX];
    for engine in stressed() {
        let (mut store, instance) = instantiate(&engine, text);
        let mut run = |name: &str, args: &[u32]| {
            let args: Vec<_> = args.iter().map(|x| Val::I32(*x as i32)).collect();
            invoke(&mut store, instance, name, &args)
        };
        let fits = |at: u32, len: u32, size: u64| u64::from(at) + u64::from(len) <= size;
        // After each operator, for the next one may write to the same range.
        let look = |run: &mut dyn FnMut(&str, &[u32]) -> Outcome,
                    bytes: &[u64],
                    refs: &[u64],
                    what: (&str, u32, u32, u32)| {
            for i in 0..16u32 {
                assert_eq!(run("byte", &[i]), Ok(vec![bytes[i as usize]]), "{what:?}");
                assert_eq!(run("ref", &[i]), Ok(vec![refs[i as usize]]), "{what:?}");
            }
        };
        for &to in &ends {
            for &from in &ends {
                for &len in &ends {
                    run("reset", &[]).expect("no trap");
                    let mut bytes: Vec<u64> = (0..16).collect();
                    let mut refs = bytes.clone();
                    let copied = run("copy", &[to, from, len]);
                    let (t, f, l) = (to as usize, from as usize, len as usize);
                    if fits(to, len, 16) && fits(from, len, 16) {
                        assert_eq!(copied, Ok(vec![]));
                        bytes.copy_within(f..f + l, t);
                        refs.copy_within(f..f + l, t);
                    } else {
                        assert_eq!(copied, Err(TrapCode::ArrayOutOfBounds), "{to} {from} {len}");
                    }
                    look(&mut run, &bytes, &refs, ("copy", to, from, len));
                    let filled = run("fill", &[to, from, len]);
                    if fits(to, len, 16) {
                        assert_eq!(filled, Ok(vec![]));
                        bytes[t..t + l].fill(u64::from(from as u8));
                        refs[t..t + l].fill(u64::from(from & 0x7fff_ffff));
                    } else {
                        assert_eq!(filled, Err(TrapCode::ArrayOutOfBounds), "{to} {len}");
                    }
                    look(&mut run, &bytes, &refs, ("fill", to, from, len));
                    let data = run("data", &[to, from, len]);
                    match (fits(to, len, 16), fits(from, len, 8)) {
                        (false, _) => assert_eq!(data, Err(TrapCode::ArrayOutOfBounds)),
                        (true, false) => assert_eq!(data, Err(TrapCode::MemoryOutOfBounds)),
                        (true, true) => {
                            assert_eq!(data, Ok(vec![]));
                            (0..l).for_each(|i| bytes[t + i] = (0x10 + f + i) as u64);
                        }
                    }
                    look(&mut run, &bytes, &refs, ("data", to, from, len));
                    let elem = run("elem", &[to, from, len]);
                    match (fits(to, len, 16), fits(from, len, 3)) {
                        (false, _) => assert_eq!(elem, Err(TrapCode::ArrayOutOfBounds)),
                        (true, false) => assert_eq!(elem, Err(TrapCode::TableOutOfBounds)),
                        (true, true) => {
                            assert_eq!(elem, Ok(vec![]));
                            (0..l).for_each(|i| refs[t + i] = (70 + f + i) as u64);
                        }
                    }
                    look(&mut run, &bytes, &refs, ("elem", to, from, len));
                    assert_eq!(
                        run("null_copy", &[to, from, len]),
                        Err(TrapCode::NullArrayReference)
                    );
                }
            }
        }
        run("drop", &[]).expect("no trap");
        assert_eq!(run("data", &[16, 0, 0]), Ok(vec![]));
        assert_eq!(run("data", &[0, 0, 1]), Err(TrapCode::MemoryOutOfBounds));
        assert_eq!(run("elem", &[0, 0, 1]), Err(TrapCode::TableOutOfBounds));
        assert_eq!(run("data", &[17, 0, 0]), Err(TrapCode::ArrayOutOfBounds));
    }
}

/// Allocation is work, too: it is metered, and a guest that does nothing else is stopped.
#[test]
fn x1_guests_that_allocate_for_ever_are_stopped() {
    let text = r#"(module (type $s (struct (field anyref))) (type $a (array (mut i8)))
        (func (export "structs") (local $x anyref)
            (loop $again (local.set $x (struct.new $s (ref.null any))) (br $again)))
        (func (export "arrays") (loop $again (drop (array.new_default $a (i32.const 100000))) (br $again)))
        (func $rec (export "deep") (result anyref) (struct.new $s (call $rec))))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        let (mut store, instance) = instantiate(&engine, text);
        for name in ["structs", "arrays"] {
            store.set_fuel(1_000_000).expect("metered");
            assert_eq!(invoke(&mut store, instance, name, &[]), Err(TrapCode::OutOfFuel), "{name}");
        }
        store.set_fuel(10_000_000).expect("metered");
        assert_eq!(invoke(&mut store, instance, "deep", &[]), Err(TrapCode::StackOverflow));
        let engine = engine_with(kind, |_| ());
        let (mut store, instance) = instantiate(&engine, text);
        for name in ["structs", "arrays"] {
            let handle = store.interrupt_handle();
            let stopper = std::thread::spawn(move || handle.interrupt(TrapCode::Interrupted));
            assert_eq!(
                invoke(&mut store, instance, name, &[]),
                Err(TrapCode::Interrupted),
                "{name}"
            );
            stopper.join().expect("no panic");
            store.interrupt_handle().clear();
        }
    }
}

/// Work on ranges of arrays is paid for by its length, before it is done.
#[test]
fn x2_ranges_of_arrays_are_charged_by_their_length() {
    let text = r#"(module (type $a (array (mut i64)))
        (global $a (ref $a) (array.new_default $a (i32.const 1000000)))
        (func (export "fill") (array.fill $a (global.get $a) (i32.const 0) (i64.const 7) (i32.const 1000000)))
        (func (export "copy")
            (array.copy $a $a (global.get $a) (i32.const 0) (global.get $a) (i32.const 1) (i32.const 999999)))
        (func (export "new") (drop (array.new $a (i64.const 7) (i32.const 1000000)))))"#;
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.consume_fuel(true);
        });
        let (mut store, instance) = instantiate(&engine, text);
        for name in ["fill", "copy", "new"] {
            store.set_fuel(1_000).expect("metered");
            assert_eq!(invoke(&mut store, instance, name, &[]), Err(TrapCode::OutOfFuel), "{name}");
            store.set_fuel(100_000_000).expect("metered");
            assert_eq!(invoke(&mut store, instance, name, &[]), Ok(vec![]), "{name}");
            let used = 100_000_000 - store.get_fuel().expect("metered");
            assert!(used > 8_000_000 / 64, "{name} costs {used}");
        }
    }
}

/// Heaps are given back with their stores.
#[test]
fn x13_ten_thousand_heaps_leave_nothing_behind() {
    for kind in [Kind::TailCall, Kind::Compiled, Kind::Tiering] {
        leaves_nothing_behind(kind);
    }
}

fn leaves_nothing_behind(kind: Kind) {
    let maps = || std::fs::read_to_string("/proc/self/maps").expect("a map").lines().count();
    let engine = engine_with(kind, |_| ());
    let module = Module::new(&engine, LIST).expect("a module");
    let run = |times: usize| {
        for _ in 0..times {
            let mut store = store(&engine);
            let instance = Instance::new(&mut store, &module, &[]).expect("instantiation");
            invoke(&mut store, instance, "build", &[Val::I32(10)]).expect("no trap");
        }
    };
    run(100);
    let before = maps();
    run(10_000);
    // Other tests run beside this one.
    assert!(maps() < before + 200, "{} mappings, {before} before", maps());
}
