//! Programs that live on structures, arrays and casts, and the edges of each operator: what is null, what is just
//! inside and just outside, what is packed, what another instance or the host had in its hands.
//!
//! Each runs in every engine, and again with a collection at every allocation.

#[path = "../hostile/hostile_support/mod.rs"]
mod hostile_support;

use hostile_support::{Outcome, engine_with, invoke, store};
use palisade::{Caller, Engine, FuncType, HeapType, Linker, RefType, TrapCode, Val, ValType};
use palisade_tests::{ENGINES, link};

/// Every engine, without and with a collection at every allocation.
fn engines() -> impl Iterator<Item = Engine> {
    ENGINES.into_iter().flat_map(|kind| {
        [false, true].map(|stress| {
            engine_with(kind, |config| {
                config.gc_stress(stress);
            })
        })
    })
}

/// Calls an export of a module that imports nothing, everywhere, and compares.
#[track_caller]
fn check(text: &str, calls: &[(&str, &[Val], Outcome)]) {
    for engine in engines() {
        let mut store = store(&engine);
        let instance = link(&Linker::new(&engine), &mut store, text);
        for (name, args, expected) in calls {
            let found = invoke(&mut store, instance, name, args);
            assert_eq!(&found, expected, "{name} {args:?}");
        }
    }
}

fn gives(value: impl Into<u64>) -> Outcome {
    Ok(vec![value.into()])
}

/// Trees are made and counted; one lives on while others come and go.
#[test]
fn binary_trees() {
    let text = r#"(module
        (type $tree (struct (field (ref null $tree)) (field (ref null $tree))))
        (func $make (param $depth i32) (result (ref $tree))
          (if (result (ref $tree)) (local.get $depth)
            (then (struct.new $tree
              (call $make (i32.sub (local.get $depth) (i32.const 1)))
              (call $make (i32.sub (local.get $depth) (i32.const 1)))))
            (else (struct.new_default $tree))))
        (func $count (param $tree (ref null $tree)) (result i32)
          (block $empty
            (return (i32.add (i32.const 1) (i32.add
              (call $count (struct.get $tree 0 (br_on_null $empty (local.get $tree))))
              (call $count (struct.get $tree 1 (ref.as_non_null (local.get $tree))))))))
          (i32.const 0))
        (func (export "run") (param $depth i32) (param $times i32) (result i32)
          (local $long (ref null $tree)) (local $sum i32)
          (local.set $long (call $make (local.get $depth)))
          (loop $again
            (local.set $sum (i32.add (local.get $sum) (call $count (call $make (i32.const 4)))))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
          (i32.add (local.get $sum) (call $count (local.get $long)))))"#;
    let (trees, long) = (20 * 31u32, 255u32);
    check(text, &[("run", &[Val::I32(7), Val::I32(20)], gives(trees + long))]);
    // Without a collection at each allocation there is room for many more, and collections all the same.
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let mut store = store(&engine);
        let instance = link(&Linker::new(&engine), &mut store, text);
        let found = invoke(&mut store, instance, "run", &[Val::I32(15), Val::I32(30_000)]);
        assert_eq!(found, gives(930_000u32 + 65_535));
        let stats = store.gc_stats();
        assert!(stats.collections > 3, "{stats:?}");
        assert!(stats.peak < 16 << 20, "{stats:?}");
    }
}

/// An array of objects is sorted by what is in them, without moving them; equal ones stay in order.
#[test]
fn arrays_of_objects_are_sorted() {
    let text = r#"(module
        (type $item (struct (field $key i32) (field $at i32)))
        (type $items (array (mut (ref null $item))))
        (func $less (param (ref null $item) (ref null $item)) (result i32)
          (i32.lt_u (struct.get $item $key (local.get 0)) (struct.get $item $key (local.get 1))))
        (func $merge (param $from (ref $items)) (param $to (ref $items))
            (param $low i32) (param $mid i32) (param $high i32)
          (local $a i32) (local $b i32) (local $at i32) (local $x (ref null $item))
          (local.set $a (local.get $low)) (local.set $b (local.get $mid)) (local.set $at (local.get $low))
          (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $at) (local.get $high)))
            (local.set $x (if (result (ref null $item))
              (i32.or (i32.ge_u (local.get $b) (local.get $high))
                (i32.and (i32.lt_u (local.get $a) (local.get $mid)) (i32.eqz
                  (if (result i32) (i32.lt_u (local.get $b) (local.get $high))
                    (then (call $less (array.get $items (local.get $from) (local.get $b))
                      (array.get $items (local.get $from)
                        (select (local.get $a) (local.get $low)
                          (i32.lt_u (local.get $a) (local.get $mid))))))
                    (else (i32.const 1))))))
              (then (array.get $items (local.get $from) (local.get $a))
                (local.set $a (i32.add (local.get $a) (i32.const 1))))
              (else (array.get $items (local.get $from) (local.get $b))
                (local.set $b (i32.add (local.get $b) (i32.const 1))))))
            (array.set $items (local.get $to) (local.get $at) (local.get $x))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next))))
        (func $sort (param $items (ref $items)) (param $low i32) (param $high i32) (local $mid i32)
          (local $copy (ref null $items))
          (if (i32.lt_u (i32.sub (local.get $high) (local.get $low)) (i32.const 2)) (then (return)))
          (local.set $mid (i32.shr_u (i32.add (local.get $low) (local.get $high)) (i32.const 1)))
          (call $sort (local.get $items) (local.get $low) (local.get $mid))
          (call $sort (local.get $items) (local.get $mid) (local.get $high))
          (local.set $copy (array.new_default $items (local.get $high)))
          (array.copy $items $items (local.get $copy) (local.get $low)
            (local.get $items) (local.get $low) (i32.sub (local.get $high) (local.get $low)))
          (call $merge (ref.as_non_null (local.get $copy)) (local.get $items)
            (local.get $low) (local.get $mid) (local.get $high)))
        (func (export "run") (param $n i32) (result i32)
          (local $items (ref null $items)) (local $i i32) (local $seed i32)
          (local.set $items (array.new $items (ref.null $item) (local.get $n)))
          (loop $fill
            (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1103515245)) (i32.const 12345)))
            (array.set $items (local.get $items) (local.get $i) (struct.new $item
              (i32.rem_u (i32.shr_u (local.get $seed) (i32.const 8)) (i32.const 37)) (local.get $i)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $fill (i32.lt_u (local.get $i) (local.get $n))))
          (call $sort (ref.as_non_null (local.get $items)) (i32.const 0) (local.get $n))
          ;; How many neighbours are in order: by key, then by where they were.
          (local.set $seed (i32.const 0)) (local.set $i (i32.const 1))
          (loop $look
            (local.set $seed (i32.add (local.get $seed) (i32.lt_u
              (i32.add (i32.mul (i32.const 10000) (struct.get $item $key (array.get $items (local.get $items)
                (i32.sub (local.get $i) (i32.const 1)))))
                (struct.get $item $at (array.get $items (local.get $items)
                  (i32.sub (local.get $i) (i32.const 1)))))
              (i32.add (i32.mul (i32.const 10000) (struct.get $item $key
                (array.get $items (local.get $items) (local.get $i))))
                (struct.get $item $at (array.get $items (local.get $items) (local.get $i)))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $look (i32.lt_u (local.get $i) (array.len (local.get $items)))))
          (local.get $seed)))"#;
    check(text, &[("run", &[Val::I32(2)], gives(1u32)), ("run", &[Val::I32(300)], gives(299u32))]);
}

/// A list of things of several classes, asked one by one what they are.
#[test]
fn lists_with_casts() {
    let text = r#"(module
        (type $thing (sub (struct (field $next eqref))))
        (type $cat (sub $thing (struct (field $next eqref) (field $lives i32))))
        (type $lion (sub final $cat (struct (field $next eqref) (field $lives i32) (field $prey i64))))
        (type $dog (sub final $thing (struct (field $next eqref) (field $barks f64))))
        (type $pair (array eqref))
        (func $list (param $n i32) (result eqref) (local $l eqref)
          (loop $more
            (block $d (block $c (block $b (block $a
              (br_table $a $b $c $d (i32.rem_u (local.get $n) (i32.const 5))))
              (local.set $l (struct.new $cat (local.get $l) (local.get $n))) (br $d))
              (local.set $l (struct.new $lion (local.get $l) (local.get $n) (i64.const 1000))) (br $d))
              (local.set $l (struct.new $dog (local.get $l) (f64.const 0.5))) (br $d))
            (if (i32.eq (i32.rem_u (local.get $n) (i32.const 5)) (i32.const 3)) (then
              (local.set $l (array.new_fixed $pair 2 (local.get $l) (ref.i31 (local.get $n))))))
            (if (i32.eq (i32.rem_u (local.get $n) (i32.const 5)) (i32.const 4)) (then
              (local.set $l (struct.new $thing (local.get $l)))))
            (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
          (local.get $l))
        (func (export "run") (param $n i32) (result i64) (local $l eqref) (local $sum i64)
          (local.set $l (call $list (local.get $n)))
          (block $end (loop $walk
            (br_if $end (ref.is_null (local.get $l)))
            (block $array (result (ref $pair))
              (block $dog (result (ref $dog))
                (block $lion (result (ref $lion))
                  (br_on_cast $array eqref (ref $pair) (local.get $l))
                  (br_on_cast $dog eqref (ref $dog))
                  (br_on_cast $lion eqref (ref $lion))
                  (if (ref.test (ref $cat) (local.get $l))
                    (then (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u
                      (struct.get $cat $lives (ref.cast (ref $cat) (local.get $l))))))))
                  (local.set $l (struct.get $thing $next (ref.cast (ref null $thing))))
                  (br $walk))
                (local.set $sum (i64.add (struct.get $lion $prey) (local.get $sum)))
                (local.set $l (struct.get $lion $next (ref.cast (ref $lion) (local.get $l))))
                (br $walk))
              (local.set $sum (i64.add (i64.trunc_f64_s
                (f64.mul (struct.get $dog $barks) (f64.const 20000))) (local.get $sum)))
              (local.set $l (struct.get $thing $next (ref.cast (ref $thing) (local.get $l))))
              (br $walk))
            (local.set $sum (i64.add (i64.extend_i32_u
              (i31.get_u (ref.cast i31ref (array.get $pair (i32.const 1))))) (local.get $sum)))
            (local.set $l (array.get $pair (ref.cast (ref $pair) (local.get $l)) (i32.const 0)))
            (br $walk)))
          (local.get $sum)))"#;
    // Of 1..=50: cats are worth their number (5, 10, …), lions 1000, dogs 10000, arrays their number.
    let cats: u64 = (1..=50).filter(|n| n % 5 == 0).sum();
    let arrays: u64 = (1..=50).filter(|n| n % 5 == 3).sum();
    check(text, &[("run", &[Val::I32(50)], gives(cats + 10 * 1000 + 10 * 10_000 + arrays))]);
}

/// Kinds of fields: type of the field, type of the value, what is put in, what comes out (the same for most).
const KINDS: &[(&str, &str, &str, &str)] = &[
    ("i8", "i32", "(i32.const 0x1ff)", "(i32.const -1)"),
    ("i16", "i32", "(i32.const 0x18001)", "(i32.const -32767)"),
    ("i32", "i32", "(i32.const -2147483648)", "(i32.const -2147483648)"),
    ("i64", "i64", "(i64.const -3)", "(i64.const -3)"),
    ("i64", "i64", "(i64.const 0x80000000)", "(i64.const 0x80000000)"),
    ("f32", "f32", "(f32.const -0.0)", "(f32.const -0.0)"),
    ("f64", "f64", "(f64.const 1.5)", "(f64.const 1.5)"),
    ("f64", "f64", "(f64.const 0)", "(f64.const 0)"),
    ("v128", "v128", "(v128.const i64x2 1 -2)", "(v128.const i64x2 1 -2)"),
    ("v128", "v128", "(v128.const i64x2 0 5)", "(v128.const i64x2 0 5)"),
    ("i31ref", "i31ref", "(ref.i31 (i32.const -7))", "(ref.i31 (i32.const -7))"),
    ("anyref", "anyref", "(ref.null any)", "(ref.null any)"),
    ("funcref", "funcref", "(ref.func $f)", "(ref.func $f)"),
    ("funcref", "funcref", "(ref.null func)", "(ref.null func)"),
];

/// Whether two values of a type are the same.
fn same(ty: &str, a: &str, b: &str) -> String {
    match ty {
        "i32" | "i64" => format!("({ty}.eq {a} {b})"),
        "f32" => format!("(i32.eq (i32.reinterpret_f32 {a}) (i32.reinterpret_f32 {b}))"),
        "f64" => format!("(i64.eq (i64.reinterpret_f64 {a}) (i64.reinterpret_f64 {b}))"),
        "v128" => format!("(i8x16.all_true (i8x16.eq {a} {b}))"),
        "funcref" => format!("(i32.eq (ref.is_null {a}) (ref.is_null {b}))"),
        "anyref" => format!("(i32.and (ref.is_null {a}) (ref.is_null {b}))"),
        _ => format!("(ref.eq {a} {b})"),
    }
}

/// Every kind of field stands beside every other, in structures of two and of many fields, given at once as a
/// constant, as a local and as what was just made, set later, and read back.
#[test]
fn fields_of_every_kind_keep_what_they_are_given() {
    let mut text = String::from("(module (elem declare func $f) (func $f)\n");
    let mut count = 0;
    let mut test = |name: &str, storage: &[&(&str, &str, &str, &str)]| {
        let fields: String =
            storage.iter().map(|kind| format!("(field (mut {}))", kind.0)).collect();
        let locals: String = storage.iter().map(|kind| format!("(local {})", kind.1)).collect();
        text.push_str(&format!("(type ${name} (struct {fields}))\n"));
        for way in 0..3 {
            let mut body = String::new();
            let values: String = match way {
                0 => storage.iter().map(|kind| kind.2).collect(),
                1 => (0..storage.len()).map(|i| format!("(local.get {i})")).collect(),
                // A value that has been computed and stands in an accumulator.
                _ => storage
                    .iter()
                    .map(|kind| match kind.1 {
                        ty @ ("i32" | "i64") => {
                            format!("({ty}.sub ({ty}.add {0} {0}) {0})", kind.2)
                        }
                        ty @ "f64" => {
                            format!("({ty}.div ({ty}.add {0} {0}) (f64.const 2))", kind.2)
                        }
                        ty @ "f32" => format!("({ty}.neg ({ty}.neg {}))", kind.2),
                        _ => kind.2.to_owned(),
                    })
                    .collect(),
            };
            for (i, kind) in storage.iter().enumerate() {
                body.push_str(&format!("(local.set {i} {})", kind.2));
            }
            let object = storage.len();
            // Gives the number of the field that is not what it was given.
            let look = |body: &mut String| {
                for (i, kind) in storage.iter().enumerate() {
                    let signed = if matches!(kind.0, "i8" | "i16") { "_s" } else { "" };
                    let get = format!("(struct.get{signed} ${name} {i} (local.get {object}))");
                    let same = same(kind.1, &get, kind.3);
                    body.push_str(&format!(
                        "(if (i32.eqz {same}) (then (return (i32.const {}))))",
                        i + 1
                    ));
                }
            };
            body.push_str(&format!("(local.set {object} (struct.new ${name} {values}))"));
            look(&mut body);
            body.push_str(&format!("(local.set {object} (struct.new_default ${name}))"));
            // Backwards, so that each is written when what stands behind it is there.
            for (i, kind) in storage.iter().enumerate().rev() {
                body.push_str(&format!("(struct.set ${name} {i} (local.get {object}) {})", kind.2));
            }
            look(&mut body);
            text.push_str(&format!(
                "(func (export \"{count}\") (result i32) {locals} (local (ref null ${name})) {body} (i32.const 0))\n"
            ));
            count += 1;
        }
    };
    for (i, first) in KINDS.iter().enumerate() {
        for (j, second) in KINDS.iter().enumerate() {
            test(&format!("two{i}_{j}"), &[first, second]);
        }
        // Many, beginning with each.
        let many: Vec<_> = (0..11).map(|n| &KINDS[(i + n * 5) % KINDS.len()]).collect();
        test(&format!("many{i}"), &many);
        test(&format!("eight{i}"), &many[..8]);
        test(&format!("nine{i}"), &many[..9]);
    }
    text.push(')');
    let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let calls: Vec<_> =
        names.iter().map(|name| (name.as_str(), [].as_slice(), gives(0u32))).collect();
    check(&text, &calls);
}

/// Arrays of every kind: the first and last element, one past it, far past it, and null.
#[test]
fn elements_of_every_kind_and_their_bounds() {
    for (storage, ty, put, out) in KINDS {
        let signed = if matches!(*storage, "i8" | "i16") { "_s" } else { "" };
        let get = format!("(array.get{signed} $a (local.get $x) (local.get $i))");
        let local = "(local.get $v)";
        let text = format!(
            r#"(module (elem declare func $f) (func $f)
            (type $a (array (mut {storage})))
            (func (export "set") (param $n i32) (param $i i32) (result i32)
              (local $x (ref null $a)) (local $v {ty})
              (local.set $x (array.new_default $a (local.get $n)))
              (local.set $v {put})
              (array.set $a (local.get $x) (local.get $i) {local})
              (array.set $a (local.get $x) (i32.add (local.get $i) (i32.const 0)) {put})
              {})
            (func (export "get") (param $n i32) (param $i i32) (result i32) (local $x (ref null $a))
              (local.set $x (array.new $a {put} (local.get $n)))
              {})
            (func (export "fixed") (param $i i32) (result i32) (local $x (ref null $a))
              (local.set $x (array.new_fixed $a 3 {put} {put} {put}))
              {})
            (func (export "fill") (param $n i32) (param $i i32) (param $m i32) (result i32)
              (local $x (ref null $a))
              (local.set $x (array.new_default $a (local.get $n)))
              (array.fill $a (local.get $x) (local.get $i) {put} (local.get $m))
              {})
            (func (export "copy") (param $n i32) (param $i i32) (param $m i32) (result i32)
              (local $x (ref null $a))
              (local.set $x (array.new_default $a (local.get $n)))
              (array.copy $a $a (local.get $x) (local.get $i)
                (array.new $a {put} (local.get $n)) (i32.const 1) (local.get $m))
              {})
            (func (export "null") (param $i i32)
              (drop (array.get{signed} $a (ref.null $a) (local.get $i))))
            (func (export "null set") (param $i i32)
              (array.set $a (ref.null $a) (local.get $i) {put}))
            (func (export "null fill") (array.fill $a (ref.null $a) (i32.const 0) {put} (i32.const 0)))
            (func (export "null copy") (array.copy $a $a (array.new_default $a (i32.const 1)) (i32.const 0)
              (ref.null $a) (i32.const 0) (i32.const 0)))
            (func (export "null len") (drop (array.len (ref.null $a)))))"#,
            same(ty, &get, out),
            same(ty, &get, out),
            same(ty, &get, out),
            same(ty, &get, out),
            same(ty, &get, out),
        );
        let bounds = || Err(TrapCode::ArrayOutOfBounds);
        let null = || Err(TrapCode::NullArrayReference);
        let i = |x: i32| Val::I32(x);
        check(
            &text,
            &[
                ("set", &[i(1), i(0)], gives(1u32)),
                ("set", &[i(33), i(32)], gives(1u32)),
                ("set", &[i(33), i(33)], bounds()),
                ("set", &[i(0), i(0)], bounds()),
                ("set", &[i(5), i(-1)], bounds()),
                ("set", &[i(5), i(i32::MIN)], bounds()),
                ("get", &[i(33), i(0)], gives(1u32)),
                ("get", &[i(33), i(32)], gives(1u32)),
                ("get", &[i(33), i(33)], bounds()),
                ("get", &[i(33), i(-1)], bounds()),
                ("fixed", &[i(2)], gives(1u32)),
                ("fixed", &[i(3)], bounds()),
                ("fill", &[i(9), i(8), i(1)], gives(1u32)),
                ("fill", &[i(9), i(0), i(9)], gives(1u32)),
                ("fill", &[i(9), i(8), i(2)], bounds()),
                ("fill", &[i(9), i(1), i(-1)], bounds()),
                ("fill", &[i(9), i(10), i(0)], bounds()),
                ("copy", &[i(9), i(0), i(8)], gives(1u32)),
                ("copy", &[i(9), i(8), i(1)], gives(1u32)),
                ("copy", &[i(9), i(0), i(9)], bounds()),
                ("copy", &[i(9), i(2), i(8)], bounds()),
                ("null", &[i(0)], null()),
                ("null", &[i(-1)], null()),
                ("null set", &[i(0)], null()),
                ("null fill", &[], null()),
                ("null copy", &[], null()),
                ("null len", &[], null()),
            ],
        );
    }
}

#[test]
fn null_structures_and_numbers_trap_where_they_are_used() {
    check(
        r#"(module (elem declare func $f) (func $f)
        (type $s (struct (field (mut i32)) (field (mut i64)) (field (mut v128)) (field (mut anyref))
          (field (mut funcref)) (field (mut f32))))
        (func (export "0") (drop (struct.get $s 0 (ref.null $s))))
        (func (export "1") (drop (struct.get $s 1 (ref.null $s))))
        (func (export "2") (drop (struct.get $s 2 (ref.null $s))))
        (func (export "3") (drop (struct.get $s 3 (ref.null $s))))
        (func (export "4") (drop (struct.get $s 4 (ref.null $s))))
        (func (export "5") (drop (struct.get $s 5 (ref.null $s))))
        (func (export "6") (struct.set $s 0 (ref.null $s) (i32.const 1)))
        (func (export "7") (struct.set $s 2 (ref.null $s) (v128.const i64x2 1 1)))
        (func (export "8") (struct.set $s 3 (ref.null $s) (struct.new_default $s)))
        (func (export "9") (struct.set $s 4 (ref.null $s) (ref.func $f)))
        (func (export "i31") (drop (i31.get_s (ref.null i31))))
        (func (export "i31 u") (drop (i31.get_u (ref.null i31))))
        (func (export "cast") (drop (ref.cast (ref $s) (ref.null none))))
        (func (export "non-null") (drop (ref.as_non_null (ref.null $s)))))"#,
        &[
            ("0", &[], Err(TrapCode::NullStructReference)),
            ("1", &[], Err(TrapCode::NullStructReference)),
            ("2", &[], Err(TrapCode::NullStructReference)),
            ("3", &[], Err(TrapCode::NullStructReference)),
            ("4", &[], Err(TrapCode::NullStructReference)),
            ("5", &[], Err(TrapCode::NullStructReference)),
            ("6", &[], Err(TrapCode::NullStructReference)),
            ("7", &[], Err(TrapCode::NullStructReference)),
            ("8", &[], Err(TrapCode::NullStructReference)),
            ("9", &[], Err(TrapCode::NullStructReference)),
            ("i31", &[], Err(TrapCode::NullI31Reference)),
            ("i31 u", &[], Err(TrapCode::NullI31Reference)),
            ("cast", &[], Err(TrapCode::CastFailure)),
            ("non-null", &[], Err(TrapCode::NullReference)),
        ],
    );
}

#[test]
fn small_integers_keep_31_bits_and_are_equal_by_value() {
    let text = r#"(module
        (func (export "s") (param i32) (result i32) (i31.get_s (ref.i31 (local.get 0))))
        (func (export "u") (param i32) (result i32) (i31.get_u (ref.i31 (local.get 0))))
        (func (export "eq") (param i32 i32) (result i32)
          (ref.eq (ref.i31 (local.get 0)) (ref.i31 (local.get 1))))
        (func (export "extern") (param i32) (result i32) (i31.get_s (ref.cast i31ref
          (any.convert_extern (extern.convert_any (ref.i31 (local.get 0))))))))"#;
    let i = |x: i32| Val::I32(x);
    let n = |x: i32| gives(x as u32);
    check(
        text,
        &[
            ("s", &[i(0x3FFF_FFFF)], n(0x3FFF_FFFF)),
            ("s", &[i(0x4000_0000)], n(-0x4000_0000)),
            ("s", &[i(-1)], n(-1)),
            ("s", &[i(i32::MIN)], n(0)),
            ("u", &[i(-1)], n(0x7FFF_FFFF)),
            ("u", &[i(0x4000_0000)], n(0x4000_0000)),
            ("u", &[i(i32::MIN)], n(0)),
            ("eq", &[i(5), i(5)], n(1)),
            ("eq", &[i(5), i(i32::MIN + 5)], n(1)),
            ("eq", &[i(0), i(-1)], n(0)),
            ("extern", &[i(-7)], n(-7)),
        ],
    );
}

/// References to functions are tested and cast as all others are, but stand elsewhere.
#[test]
fn references_to_functions_are_cast() {
    check(
        r#"(module
        (type $base (sub (func (param i32) (result i32))))
        (type $derived (sub $base (func (param i32) (result i32))))
        (type $other (sub final (func (param i64) (result i32))))
        (elem declare func $b $d $o)
        (func $b (type $base) (i32.add (local.get 0) (i32.const 1)))
        (func $d (type $derived) (i32.add (local.get 0) (i32.const 2)))
        (func $o (type $other) (i32.const 9))
        (table $t funcref (elem $b $d $o))
        (func (export "null") (result i32) (ref.test (ref null $base) (ref.null nofunc)))
        (func (export "not null") (result i32) (ref.test (ref $base) (ref.null func)))
        (func (export "nofunc") (param i32) (result i32)
          (ref.test (ref null nofunc) (table.get $t (local.get 0))))
        (func (export "func") (param i32) (result i32) (ref.test (ref func) (table.get $t (local.get 0))))
        (func (export "base") (param i32) (result i32) (ref.test (ref $base) (table.get $t (local.get 0))))
        (func (export "derived") (param i32) (result i32)
          (ref.test (ref null $derived) (table.get $t (local.get 0))))
        (func (export "cast") (param i32) (result i32)
          (call_ref $base (i32.const 10) (ref.cast (ref $base) (table.get $t (local.get 0)))))
        (func (export "branch") (param i32) (result i32)
          (i32.add (i32.const 100) (block $out (result i32)
            (block $d (result i32 (ref null $derived))
              (br_on_cast $d funcref (ref null $derived) (i32.const 40) (table.get $t (local.get 0)))
              (ref.is_null) (i32.sub) (br $out))
            (call_ref $derived))))
        (func (export "branch fail") (param i32) (result i32)
          (block $no (result funcref)
            (return (call_ref $base (i32.const 20)
              (br_on_cast_fail $no funcref (ref $base) (table.get $t (local.get 0))))))
          (drop) (i32.const -1))
        (func (export "turns") (result i32) (local $i i32)
          ;; A branch back, while the cast holds.
          (table.get $t (i32.const 0))
          (loop $again (param funcref)
            (drop)
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (drop (br_on_cast $again funcref (ref $base) (table.get $t (local.get $i)))))
          (local.get $i)))"#,
        &[
            ("null", &[], gives(1u32)),
            ("not null", &[], gives(0u32)),
            ("nofunc", &[Val::I32(0)], gives(0u32)),
            ("func", &[Val::I32(2)], gives(1u32)),
            ("base", &[Val::I32(0)], gives(1u32)),
            ("base", &[Val::I32(1)], gives(1u32)),
            ("base", &[Val::I32(2)], gives(0u32)),
            ("derived", &[Val::I32(0)], gives(0u32)),
            ("derived", &[Val::I32(1)], gives(1u32)),
            ("cast", &[Val::I32(0)], gives(11u32)),
            ("cast", &[Val::I32(1)], gives(12u32)),
            ("cast", &[Val::I32(2)], Err(TrapCode::CastFailure)),
            ("branch", &[Val::I32(0)], gives(140u32)),
            ("branch", &[Val::I32(1)], gives(142u32)),
            ("branch fail", &[Val::I32(1)], gives(22u32)),
            ("branch fail", &[Val::I32(2)], gives(u32::MAX)),
            ("turns", &[], gives(2u32)),
        ],
    );
}

/// A row of locals that were never set is null, whatever stood there in the call before.
#[test]
fn v6_locals_are_null_at_every_entry() {
    let locals = "(local (ref null $s))".repeat(20);
    let sets: String =
        (0..20).map(|i| format!("(local.set {i} (struct.new $s (i32.const {i})))")).collect();
    let all_null: String =
        (0..20).map(|i| format!("(ref.is_null (local.get {i})) (i32.add)")).collect();
    let text = format!(
        r#"(module (type $s (struct (field i32)))
        (func $dirty {locals} {sets})
        (func $clean (result i32) {locals} (i32.const 0) {all_null})
        (func (export "run") (result i32) (call $dirty) (call $clean))
        (func (export "deeper") (result i32) (local (ref null $s))
          (local.set 0 (struct.new $s (i32.const 500))) (call $dirty)
          (i32.add (call $clean) (struct.get $s 0 (local.get 0)))))"#
    );
    check(&text, &[("run", &[], gives(20u32)), ("deeper", &[], gives(520u32))]);
}

/// Objects, their types and functions in them go from instance to instance.
#[test]
fn objects_go_from_instance_to_instance() {
    let types = r#"(type $shape (sub (struct (field $id i32))))
        (type $round (sub $shape (struct (field $id i32) (field $r (mut f64)))))
        (type $area (func (param (ref null $shape) i32) (result f64)))
        (type $with (struct (field $what (ref null $shape)) (field $how (ref $area))))"#;
    let first = format!(
        r#"(module {types} (elem declare func $circle)
        (global $made (mut i32) (i32.const 0))
        (func $circle (type $area) (local $x (ref null $with))
          (local.set $x (struct.new $with (local.get 0) (ref.func $circle)))
          (global.set $made (i32.add (global.get $made) (local.get 1)))
          (f64.mul (f64.const 3) (struct.get $round $r (ref.cast (ref $round)
            (struct.get $with $what (local.get $x))))))
        (func (export "make") (param f64) (result (ref $with))
          (struct.new $with (struct.new $round (i32.const 7) (local.get 0)) (ref.func $circle)))
        (func (export "tail") (param (ref null $shape) (ref $area)) (result f64)
          (return_call_ref $area (local.get 0) (i32.const 5) (local.get 1)))
        (func (export "made") (result i32) (global.get $made)))"#
    );
    // The same types, after others, so that their indices differ.
    let second = format!(
        r#"(module (type (array i8)) (type (struct)) {types}
        (type $small (sub final $round (struct (field $id i32) (field $r (mut f64)))))
        (import "first" "make" (func $make (param f64) (result (ref $with))))
        (import "first" "tail" (func $tail (param (ref null $shape) (ref $area)) (result f64)))
        (elem declare func $mine)
        (func $mine (type $area)
          (drop (struct.new $round (i32.const 1) (f64.const 1)))
          (f64.add (f64.const 0.5) (struct.get $round $r (ref.cast (ref $round) (local.get 0)))))
        (func (export "run") (result f64) (local $a (ref null $with)) (local $b (ref null $small))
          (local.set $a (call $make (f64.const 2)))
          (local.set $b (struct.new $small (i32.const 3) (f64.const 10)))
          (struct.set $round $r (ref.cast (ref $round) (struct.get $with $what (local.get $a))) (f64.const 4))
          (f64.add (call_ref $area (struct.get $with $what (local.get $a)) (i32.const 1)
              (struct.get $with $how (local.get $a)))
            (f64.add (call_ref $area (local.get $b) (i32.const 2) (struct.get $with $how (local.get $a)))
              (f64.add (call $tail (local.get $b) (ref.func $mine))
                (call $tail (struct.get $with $what (local.get $a))
                  (struct.get $with $how (local.get $a)))))))
        (func (export "is") (result i32) (i32.add (i32.mul (i32.const 10)
            (ref.test (ref $small) (struct.get $with $what (call $make (f64.const 1)))))
          (ref.test (ref $round) (struct.get $with $what (call $make (f64.const 1)))))))"#
    );
    for engine in engines() {
        let mut store = store(&engine);
        let mut linker = Linker::new(&engine);
        let one = link(&linker, &mut store, &first);
        linker.instance(&mut store, "first", one).unwrap();
        let two = link(&linker, &mut store, &second);
        let expected = 12.0 + 30.0 + 10.5 + 12.0f64;
        for round in 1..=3u32 {
            assert_eq!(invoke(&mut store, two, "run", &[]), gives(expected.to_bits()));
            assert_eq!(invoke(&mut store, one, "made", &[]), gives(8 * round));
        }
        assert_eq!(invoke(&mut store, two, "is", &[]), gives(1u32));
    }
}

/// The host is given references, lets the guest make objects, and gives references back; ordinary calls and
/// tail calls, with references waiting in the caller's window below the arguments.
#[test]
fn references_go_through_the_host_while_objects_are_made() {
    let text = r#"(module
        (type $s (struct (field i32)))
        (import "h" "swap" (func $swap (param anyref i64 anyref) (result anyref i32 anyref)))
        (func (export "make") (local (ref null $s) (ref null $s))
          (local.set 0 (struct.new $s (i32.const -1))) (local.set 1 (struct.new $s (i32.const -2))))
        (func $get (param anyref) (result i32) (struct.get $s 0 (ref.cast (ref $s) (local.get 0))))
        (func (export "run") (param $n i32) (result i32) (local $a anyref) (local $b anyref)
          (local.set $a (struct.new $s (i32.const 1)))
          (struct.new $s (i32.const 10000))
          (call $swap (local.get $a) (i64.const 5) (struct.new $s (local.get $n)))
          (local.set $b) (drop) (local.set $a)
          (call $get)
          (i32.add (i32.mul (i32.const 100) (call $get (local.get $a))))
          (i32.add (call $get (local.get $b))))
        (func $tail (param $n i32) (result anyref i32 anyref) (local $x anyref)
          (local.set $x (struct.new $s (i32.const 77)))
          (return_call $swap (struct.new $s (i32.const 3)) (i64.const 1) (struct.new $s (local.get $n))))
        (func (export "tail") (param $n i32) (result i32) (local $keep anyref) (local $a anyref)
          (local.set $keep (struct.new $s (i32.const 10000)))
          (call $tail (local.get $n)) (call $get) (local.set $n) (drop) (local.set $a)
          (i32.add (local.get $n) (i32.add (call $get (local.get $keep))
            (i32.mul (i32.const 100) (call $get (local.get $a)))))))"#;
    for engine in engines() {
        let mut store = store(&engine);
        let mut linker = Linker::new(&engine);
        let any = ValType::Ref(RefType::new(true, HeapType::Any));
        let ty = FuncType::new(
            [any.clone(), ValType::I64, any.clone()],
            [any.clone(), ValType::I32, any.clone()],
        );
        let swap = |mut caller: Caller<'_, ()>, args: &[Val], results: &mut [Val]| {
            let make = caller.get_export("make").and_then(|e| e.into_func()).expect("an export");
            make.call(&mut caller, &[], &mut [])?;
            let given = [args[2], Val::I32(4), args[0]];
            make.call(&mut caller, &[], &mut [])?;
            results.clone_from_slice(&given);
            Ok(())
        };
        linker.func_new("h", "swap", ty, swap).unwrap();
        let instance = link(&linker, &mut store, text);
        for _ in 0..3 {
            let run = invoke(&mut store, instance, "run", &[Val::I32(42)]);
            assert_eq!(run, gives(10_000u32 + 4200 + 1));
            let tail = invoke(&mut store, instance, "tail", &[Val::I32(42)]);
            assert_eq!(tail, gives(10_000u32 + 4200 + 3));
        }
    }
}

/// The window of references is as finite as the stack of values, and is whole again after a trap.
#[test]
fn s1_frames_with_many_references_end_in_a_clean_trap() {
    let locals = "(ref null $s) ".repeat(2000);
    let text = format!(
        r#"(module (type $s (struct (field i32)))
        (func $deep (export "deep") (param i32) (result i32) (local {locals})
          (local.set 1 (struct.new $s (local.get 0)))
          (local.set 1999 (local.get 1))
          (if (result i32) (local.get 0)
            (then (i32.add (struct.get $s 0 (local.get 1999))
              (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1)))
                (struct.get $s 0 (local.get 1)))))
            (else (i32.const 0)))))"#
    );
    check(
        &text,
        &[
            ("deep", &[Val::I32(10)], gives(110u32)),
            ("deep", &[Val::I32(1_000_000)], Err(TrapCode::StackOverflow)),
            ("deep", &[Val::I32(10)], gives(110u32)),
        ],
    );
}

/// The most fields and elements that the format allows, and as many operands.
#[test]
fn v4_the_largest_structures_and_fixed_arrays() {
    let fields: String =
        (0..10_000).map(|i| ["(field i8)", "(field (mut eqref))", "(field i64)"][i % 3]).collect();
    let numbers = "(call $three) ".repeat(3_333);
    let text = format!(
        r#"(module (type $s (struct {fields})) (type $e (array (mut eqref)))
        (func $three (result i32 eqref i64)
          (i32.const 200) (array.new_default $e (i32.const 3)) (i64.const -9))
        (func (export "struct") (result i32) (local $s (ref null $s))
          {numbers} (i32.const 1)
          (struct.new $s) (local.set $s)
          (i32.add (struct.get_u $s 9996 (local.get $s)) (i32.add
            (array.len (ref.cast (ref $e) (struct.get $s 9997 (local.get $s))))
            (i32.wrap_i64 (struct.get $s 9998 (local.get $s))))))
        (func (export "array") (result i32) (local $e (ref null $e))
          {} (array.new_fixed $e 10000) (local.set $e)
          (i32.add (array.len (ref.cast (ref $e) (array.get $e (local.get $e) (i32.const 9999))))
            (array.len (ref.cast (ref $e) (array.get $e (local.get $e) (i32.const 0)))))))"#,
        "(array.new_default $e (i32.const 4)) ".repeat(10_000)
    );
    for kind in ENGINES {
        let engine = engine_with(kind, |config| {
            config.max_wasm_stack(8 << 20);
        });
        let mut store = store(&engine);
        let instance = link(&Linker::new(&engine), &mut store, &text);
        assert_eq!(invoke(&mut store, instance, "struct", &[]), gives(200u32 + 3 - 9));
        assert_eq!(invoke(&mut store, instance, "array", &[]), gives(8u32));
    }
}
