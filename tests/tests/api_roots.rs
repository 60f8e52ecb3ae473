//! How long references live: handles and their scopes, references that are under way in guests while the host
//! allocates, host values that are dropped when nobody can reach them. And row M6 for objects of the heap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade::{
    AnyRef, ArrayRef, ArrayRefPre, ArrayType, AsContextMut, Caller, Engine, EqRef, Error,
    ErrorKind, ExnRef, ExternRef, FieldType, Finality, Func, FuncType, Global, GlobalType,
    HeapType, I31, Linker, Mutability, OwnedRooted, Ref, RefType, Resource, RootScope, Store,
    StructRef, StructRefPre, StructType, Table, TableType, Tag, TagType, TrapCode, Val, ValType,
};
use palisade_tests::{ENGINES, engine_with, link};

/// Runs a test in every engine, with and without a collection at every allocation.
fn everywhere(test: impl Fn(&Engine)) {
    for kind in ENGINES {
        for stress in [false, true] {
            test(&engine_with(kind, |config| {
                config.gc_stress(stress);
            }));
        }
    }
}

#[track_caller]
fn unrooted<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Unrooted { .. }), "{error}");
            assert!(error.to_string().contains("scope had closed"), "{error}");
        }
    }
}

#[track_caller]
fn wrong_store<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WrongStore { .. }), "{error}"),
    }
}

#[track_caller]
fn wrong_engine<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WrongEngine { .. }), "{error}"),
    }
}

/// `(struct (field (mut i32)) (field (mut anyref)))`.
fn node_type(engine: &Engine) -> StructType {
    let field = |ty| FieldType::new(Mutability::Var, ty);
    StructType::new(engine, [field(ValType::I32), field(ValType::ANYREF)]).unwrap()
}

fn node_pre(mut store: impl AsContextMut) -> StructRefPre {
    let ty = node_type(store.as_context().engine());
    StructRefPre::new(store.as_context_mut(), ty).unwrap()
}

fn node(
    mut store: impl AsContextMut,
    pre: &StructRefPre,
    number: i32,
    next: Option<AnyRef>,
) -> StructRef {
    let fields = [Val::I32(number), Val::AnyRef(next)];
    StructRef::new(store.as_context_mut(), pre, &fields).unwrap()
}

fn number(mut store: impl AsContextMut, object: StructRef) -> i32 {
    object.field(store.as_context_mut(), 0).unwrap().i32().unwrap()
}

/// The numbers of a list.
fn numbers(mut store: impl AsContextMut, list: StructRef) -> Vec<i32> {
    let mut store = store.as_context_mut();
    let (mut found, mut at) = (Vec::new(), Some(list));
    while let Some(object) = at {
        found.push(number(&mut store, object));
        let Val::AnyRef(next) = object.field(&mut store, 1).unwrap() else {
            panic!("no reference")
        };
        at = next.map(|next| next.unwrap_struct(&store).unwrap());
    }
    found
}

#[test]
fn handles_end_with_their_scope() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let pre = node_pre(&mut store);
        let outside = node(&mut store, &pre, 1, None);
        let mut lost = Vec::new();
        for round in 0..3 {
            let mut outer = RootScope::new(&mut store);
            let a = node(&mut outer, &pre, 10 + round, Some(outside.into()));
            let (b, owned) = {
                let mut inner = RootScope::new(&mut outer);
                let b = node(&mut inner, &pre, 20 + round, Some(a.into()));
                assert_eq!(numbers(&mut inner, b), [20 + round, 10 + round, 1]);
                // At the same place as `b` of the round before, which it is not.
                for lost in &lost {
                    unrooted(StructRef::field(lost, &mut inner, 0));
                }
                (b, b.to_owned_rooted(&mut inner).unwrap())
            };
            unrooted(b.field(&mut outer, 0));
            let again = owned.to_rooted(&mut outer).unwrap();
            assert_eq!(numbers(&mut outer, again), [20 + round, 10 + round, 1]);
            assert_eq!(number(&mut outer, a), 10 + round);
            drop(outer);
            for gone in [a, b, again] {
                unrooted(gone.field(&mut store, 0));
            }
            lost.extend([a, b, again]);
            store.gc().unwrap();
        }
        assert_eq!(number(&mut store, outside), 1);
    });
}

#[test]
fn every_door_refuses_a_handle_that_has_ended() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let pre = node_pre(&mut store);
        let bytes = FieldType::new(Mutability::Var, ValType::ANYREF);
        let bytes = ArrayType::new(engine, bytes).unwrap();
        let bytes = ArrayRefPre::new(&mut store, bytes).unwrap();
        let tag = TagType::new(FuncType::new([ValType::EXTERNREF], []));
        let tag = Tag::new(&mut store, &tag).unwrap();
        let (object, array, value, exception) = {
            let mut scope = RootScope::new(&mut store);
            let object = node(&mut scope, &pre, 1, None);
            let array = ArrayRef::new(&mut scope, &bytes, &object.into(), 2).unwrap();
            let value = ExternRef::new(&mut scope, 1).unwrap();
            let exception = ExnRef::new(&mut scope, &tag, &[value.into()]).unwrap();
            (object, array, value, exception)
        };
        let s = &mut store;
        let (any, eq) = (object.to_anyref(), object.to_eqref());
        unrooted(object.field(&mut *s, 0));
        unrooted(object.fields(&mut *s).map(|_| ()));
        unrooted(object.field_count(&*s));
        unrooted(object.set_field(&mut *s, 0, Val::I32(1)));
        unrooted(object.ty(&*s));
        unrooted(object.matches_ty(&*s, pre.ty()));
        unrooted(object.to_owned_rooted(&mut *s));
        unrooted(OwnedRooted::new(&mut *s, array));
        unrooted(array.get(&mut *s, 0));
        unrooted(array.set(&mut *s, 0, Val::AnyRef(None)));
        unrooted(array.len(&*s));
        unrooted(array.is_empty(&*s));
        unrooted(array.elems(&mut *s).map(|_| ()));
        unrooted(array.ty(&*s));
        unrooted(any.ty(&*s));
        unrooted(any.is_i31(&*s));
        unrooted(any.unwrap_i31(&*s));
        unrooted(any.as_struct(&*s));
        unrooted(any.is_eqref(&*s));
        unrooted(any.matches_ty(&*s, &HeapType::Any));
        unrooted(eq.unwrap_array(&*s));
        unrooted(ExternRef::convert_any(&*s, any));
        unrooted(AnyRef::convert_extern(&*s, value));
        unrooted(AnyRef::ref_eq(&*s, &any, &AnyRef::from_i31(I31::wrapping_u32(1))));
        unrooted(EqRef::ref_eq(&*s, &I31::wrapping_u32(1).into(), &eq));
        unrooted(value.data(&*s).map(|_| ()));
        unrooted(value.data_mut(&mut *s).map(|_| ()));
        unrooted(Val::from(object).ty(&*s));
        unrooted(exception.fields(&mut *s));
        unrooted(exception.tag(&*s));
        unrooted(s.throw::<()>(exception));
        unrooted(ExnRef::new(&mut *s, &tag, &[value.into()]));
        unrooted(StructRef::new(&mut *s, &pre, &[Val::I32(1), any.into()]));
        unrooted(ArrayRef::new(&mut *s, &bytes, &any.into(), 1));
        unrooted(ArrayRef::new_fixed(&mut *s, &bytes, &[Val::AnyRef(None), any.into()]));
        let ty = || GlobalType::new(ValType::ANYREF, Mutability::Var);
        unrooted(Global::new(&mut *s, ty(), any.into()));
        let global = Global::new(&mut *s, ty(), Val::AnyRef(None)).unwrap();
        unrooted(global.set(&mut *s, any.into()));
        let ty = || TableType::new(RefType::EXTERNREF, 1, Some(2));
        unrooted(Table::new(&mut *s, ty(), value.into()));
        let table = Table::new(&mut *s, ty(), Ref::Extern(None)).unwrap();
        unrooted(table.set(&mut *s, 0, value.into()));
        unrooted(table.grow(&mut *s, 1, value.into()));
        let take = Func::wrap(&mut *s, |_: Option<AnyRef>| ()).unwrap();
        unrooted(take.call(&mut *s, &[any.into()], &mut []));
        unrooted(take.typed::<Option<AnyRef>, ()>(&*s).unwrap().call(&mut *s, Some(any)));
        assert!(global.get(&mut *s).unwrap().as_ref().unwrap().is_null());
        assert!(table.get(&mut *s, 0).unwrap().is_null());
    });
}

/// A world whose store keeps what host functions leave there.
#[derive(Default)]
struct Kept {
    handles: Vec<StructRef>,
    owned: Vec<OwnedRooted<StructRef>>,
}

#[test]
fn a_call_of_a_host_function_is_a_scope() {
    everywhere(|engine| {
        let mut linker = Linker::<Kept>::new(engine);
        let keep =
            |mut caller: Caller<'_, Kept>, object: StructRef| -> palisade::Result<StructRef> {
                for gone in caller.data().handles.clone() {
                    unrooted(gone.ty(&caller));
                }
                let owned = object.to_owned_rooted(&mut caller)?;
                let again = owned.to_rooted(&mut caller)?;
                caller.data_mut().handles.extend([object, again]);
                caller.data_mut().owned.push(owned);
                caller.gc()?;
                Ok(again)
            };
        linker.func_wrap("h", "keep", keep).unwrap();
        let fail = |mut caller: Caller<'_, Kept>, object: StructRef| -> palisade::Result<()> {
            caller.data_mut().handles.push(object);
            Err(Error::msg("on purpose"))
        };
        linker.func_wrap("h", "fail", fail).unwrap();
        let mut store = Store::new(engine, Kept::default());
        let instance = link(
            &linker,
            &mut store,
            r#"(module (type $node (struct (field (mut i32)) (field (mut anyref))))
                (import "h" "keep" (func $keep (param (ref struct)) (result (ref struct))))
                (import "h" "fail" (func $fail (param (ref struct))))
                (func (export "run") (param i32) (local $a (ref $node)) (local $b (ref struct))
                    (local.set $a (struct.new $node (local.get 0) (ref.null any)))
                    (local.set $b (call $keep (local.get $a)))
                    (if (i32.eqz (ref.eq (local.get $a) (local.get $b))) (then unreachable))
                    (if (i32.ne (struct.get $node 0 (local.get $a)) (local.get 0))
                        (then unreachable)))
                (func (export "fail")
                    (call $fail (struct.new $node (i32.const 1) (ref.null any)))))"#,
        );
        let run = instance.get_typed_func::<i32, ()>(&mut store, "run").unwrap();
        for i in 0..5 {
            run.call(&mut store, i).unwrap();
        }
        let fail = instance.get_typed_func::<(), ()>(&mut store, "fail").unwrap();
        assert!(fail.call(&mut store, ()).unwrap_err().to_string().contains("on purpose"));
        for gone in store.data().handles.clone() {
            unrooted(gone.field(&mut store, 0));
        }
        let owned = std::mem::take(&mut store.data_mut().owned);
        for (i, owned) in (0..).zip(&owned) {
            let object = owned.to_rooted(&mut store).unwrap();
            assert_eq!(number(&mut store, object), i);
        }
        // What stood before the call stands after it.
        let object = owned[3].clone().to_rooted(&mut store).unwrap();
        run.call(&mut store, 9).unwrap();
        assert_eq!(number(&mut store, object), 3);
    });
}

/// Guests that call hosts that call guests, all of which allocate while the others hold references in locals, on
/// their operand stacks and in handles.
#[test]
fn references_under_way_survive_what_the_host_allocates() {
    everywhere(|engine| {
        let mut linker = Linker::<()>::new(engine);
        let down = |mut caller: Caller<'_, ()>,
                    depth: i32,
                    list: StructRef,
                    value: ExternRef|
         -> palisade::Result<(StructRef, ExternRef)> {
            let pre = node_pre(&mut caller);
            let mut longer = list;
            for i in 0..10 {
                longer = node(&mut caller, &pre, depth * 100 + i, Some(longer.into()));
                node(&mut caller, &pre, -1, None);
            }
            let mark = ExternRef::new(&mut caller, depth)?;
            if depth > 0 {
                let run = caller.get_export("run").unwrap().into_func().unwrap();
                let args = [Val::I32(depth - 1), longer.into(), mark.into()];
                let mut results = [Val::I32(0)];
                run.call(&mut caller, &args, &mut results)?;
                let Val::AnyRef(Some(made)) = results[0] else { panic!("null") };
                let made = made.unwrap_struct(&caller)?;
                let made = numbers(&mut caller, made);
                assert_eq!(made[0], depth - 1, "what the guest made, in front");
                assert_eq!(made[11..21], numbers(&mut caller, longer)[..10]);
            }
            let data = mark.data(&caller)?.unwrap();
            assert_eq!(data.downcast_ref(), Some(&depth));
            let data = value.data(&caller)?.unwrap();
            assert_eq!(data.downcast_ref(), Some(&(depth + 1)));
            Ok((longer, value))
        };
        linker.func_wrap("h", "down", down).unwrap();
        let mut store = Store::new(engine, ());
        let instance = link(
            &linker,
            &mut store,
            r#"(module (type $node (struct (field (mut i32)) (field (mut anyref))))
                (import "h" "down" (func $down
                    (param i32 (ref struct) (ref extern)) (result (ref struct) (ref extern))))
                (func (export "run") (param $depth i32) (param $list (ref $node)) (param $v (ref extern))
                        (result (ref $node))
                    (local $mine (ref $node)) (local $new (ref struct)) (local $first i32)
                    (local.set $first (struct.get $node 0 (local.get $list)))
                    (local.set $mine (struct.new $node (i32.const 7) (local.get $list)))
                    ;; On the operand stack while the host works.
                    (struct.new $node (i32.const 8) (local.get $mine))
                    (struct.new $node (i32.const 9) (ref.null any))
                    (call $down (local.get $depth) (local.get $list) (local.get $v))
                    (drop)
                    (local.set $new)
                    (if (i32.ne (struct.get $node 0) (i32.const 9)) (then unreachable))
                    (if (i32.eqz (ref.eq (ref.cast (ref $node) (struct.get $node 1)) (local.get $mine)))
                        (then unreachable))
                    (if (i32.ne (struct.get $node 0 (local.get $mine)) (i32.const 7))
                        (then unreachable))
                    (if (i32.ne (struct.get $node 0 (local.get $list)) (local.get $first))
                        (then unreachable))
                    (struct.new $node (local.get $depth) (local.get $new))))"#,
        );
        let run = instance.get_func(&mut store, "run").unwrap();
        for depth in [0, 1, 4] {
            let mut scope = RootScope::new(&mut store);
            let pre = node_pre(&mut scope);
            let list = node(&mut scope, &pre, 1_000_000, None);
            let value = ExternRef::new(&mut scope, depth + 1).unwrap();
            let mut results = [Val::I32(0)];
            let args = [Val::I32(depth), list.into(), value.into()];
            run.call(&mut scope, &args, &mut results).unwrap();
            let Val::AnyRef(Some(made)) = results[0] else { panic!("null") };
            let made = made.unwrap_struct(&scope).unwrap();
            let mut expected = vec![depth];
            expected.extend((0..10).rev().map(|i| depth * 100 + i));
            expected.push(1_000_000);
            assert_eq!(numbers(&mut scope, made), expected);
        }
    });
}

/// Counts how many of them are alive.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn host_values_are_dropped_when_nobody_can_reach_them() {
    everywhere(|engine| {
        let count = Arc::new(AtomicUsize::new(0));
        let alive = || count.load(Ordering::Relaxed);
        let mut store = Store::new(engine, ());
        let mut scope = RootScope::new(&mut store);
        let ty = GlobalType::new(ValType::EXTERNREF, Mutability::Var);
        let global = Global::new(&mut scope, ty, Val::ExternRef(None)).unwrap();
        let ty = TableType::new(RefType::EXTERNREF, 2, None);
        let table = Table::new(&mut scope, ty, Ref::Extern(None)).unwrap();
        let pre = node_pre(&mut scope);
        // Held by a global, a table, a structure that the host holds, an owner, and nobody.
        let value = ExternRef::new(&mut scope, Counted::new(&count)).unwrap();
        global.set(&mut scope, value.into()).unwrap();
        let value = ExternRef::new(&mut scope, Counted::new(&count)).unwrap();
        table.set(&mut scope, 1, value.into()).unwrap();
        let value = ExternRef::new(&mut scope, Counted::new(&count)).unwrap();
        let inside = AnyRef::convert_extern(&scope, value).unwrap();
        let object = node(&mut scope, &pre, 1, Some(inside));
        let object = object.to_owned_rooted(&mut scope).unwrap();
        let value = ExternRef::new(&mut scope, Counted::new(&count)).unwrap();
        let owned = value.to_owned_rooted(&mut scope).unwrap();
        ExternRef::new(&mut scope, Counted::new(&count)).unwrap();
        scope.as_context_mut().gc().unwrap();
        assert_eq!(alive(), 5, "the scope holds them all");
        drop(scope);
        store.gc().unwrap();
        assert_eq!(alive(), 4);
        global.set(&mut store, Val::ExternRef(None)).unwrap();
        store.gc().unwrap();
        assert_eq!(alive(), 3);
        let kept = owned.clone();
        drop(owned);
        store.gc().unwrap();
        assert_eq!(alive(), 3, "a clone of the owner is there");
        std::thread::spawn(move || drop(kept)).join().unwrap();
        store.gc().unwrap();
        assert_eq!(alive(), 2);
        {
            let mut scope = RootScope::new(&mut store);
            let object = object.to_rooted(&mut scope).unwrap();
            object.set_field(&mut scope, 1, Val::AnyRef(None)).unwrap();
        }
        store.gc().unwrap();
        assert_eq!(alive(), 1);
        // By a flood of others, without asking for it.
        table.set(&mut store, 1, Ref::Extern(None)).unwrap();
        let mut most = 0;
        for _ in 0..200_000 / if engine_is_slow(engine) { 100 } else { 1 } {
            let mut scope = RootScope::new(&mut store);
            ExternRef::new(&mut scope, Counted::new(&count)).unwrap();
            most = most.max(alive());
        }
        assert!(most < 150_000, "{most} at once");
        drop(store);
        assert_eq!(alive(), 0);
        drop(object);
    });
}

/// Whether the engine collects at every allocation.
fn engine_is_slow(engine: &Engine) -> bool {
    let mut store = Store::new(engine, ());
    for i in 0..3 {
        ExternRef::new(&mut store, i).unwrap();
    }
    store.gc_stats().collections > 1
}

#[test]
fn host_values_that_guests_drop_are_dropped() {
    everywhere(|engine| {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let mut linker = Linker::<()>::new(engine);
        linker
            .func_wrap("h", "make", move |mut caller: Caller<'_, ()>| {
                ExternRef::new(&mut caller, Counted::new(&counted))
            })
            .unwrap();
        linker.func_wrap("h", "gc", |mut caller: Caller<'_, ()>| caller.gc()).unwrap();
        let seen = count.clone();
        linker.func_wrap("h", "count", move || seen.load(Ordering::Relaxed) as i32).unwrap();
        let mut store = Store::new(engine, ());
        let instance = link(
            &linker,
            &mut store,
            r#"(module
                (import "h" "make" (func $make (result (ref extern))))
                (import "h" "gc" (func $gc))
                (import "h" "count" (func $count (result i32)))
                (func (export "run") (result i32) (local $x externref) (local $n i32)
                    (local.set $x (call $make))
                    (drop (call $make))
                    (call $make)
                    (call $gc)
                    (local.set $n (i32.mul (call $count) (i32.const 10)))
                    (drop)
                    (call $gc)
                    (local.set $n (i32.add (local.get $n) (call $count)))
                    (i32.add (local.get $n) (i32.mul (i32.const 100) (ref.is_null (local.get $x))))))"#,
        );
        let run = instance.get_typed_func::<(), i32>(&mut store, "run");
        let outcome = run.unwrap().call(&mut store, ()).unwrap();
        // Two are held at first (in a local and on the stack), then one. Machine code knows that what is only
        // dropped is not used again.
        let early = engine.compile_stats().compiled > 0;
        assert!(outcome == 2 * 10 + 1 || early && outcome == 10 + 1, "{outcome}");
        store.gc().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 0);
    });
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a bomb");
        }
    }
}

#[test]
fn a_host_value_whose_drop_panics_poisons_its_store_alone() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let instance = link(&Linker::new(&engine), &mut store, r#"(module (func (export "f")))"#);
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    {
        let mut scope = RootScope::new(&mut store);
        ExternRef::new(&mut scope, Bomb).unwrap();
    }
    let error = store.gc().unwrap_err();
    assert!(error.to_string().contains("a bomb"), "{error}");
    assert!(store.is_poisoned());
    assert!(matches!(f.call(&mut store, ()).unwrap_err().kind(), ErrorKind::Poisoned));
    let mut other = Store::new(&engine, ());
    ExternRef::new(&mut other, 1).unwrap();
    other.gc().unwrap();
}

#[test]
fn the_ledger_holds_for_what_the_host_makes() {
    for kind in ENGINES {
        let engine = engine_with(kind, |_| {});
        let mut store = Store::new(&engine, ());
        store.set_resource_limit(Resource::MemoryBytes, Some(8 << 20));
        let pre = node_pre(&mut store);
        let mut list = node(&mut store, &pre, 0, None);
        let mut made = 1;
        let error = loop {
            // Everything stays reachable.
            match StructRef::new(&mut store, &pre, &[Val::I32(made), list.into()]) {
                Ok(longer) => list = longer,
                Err(error) => break error,
            }
            made += 1;
            assert!(made < 1_000_000);
        };
        assert_eq!(error.trap_code(), Some(TrapCode::HeapExhausted), "{error}");
        assert!(store.resource_use(Resource::MemoryBytes) <= 8 << 20);
        assert_eq!(store.gc_stats().capacity, 4 << 20);
        // What was there is there still.
        let list = numbers(&mut store, list);
        assert!(list.len() > 100_000 && list.iter().rev().copied().eq(0..made));
        // Without holding on to it, there is no end.
        let mut store = Store::new(&engine, ());
        store.set_resource_limit(Resource::MemoryBytes, Some(8 << 20));
        let pre = node_pre(&mut store);
        for i in 0..made * 4 {
            let mut scope = RootScope::new(&mut store);
            node(&mut scope, &pre, i, None);
        }
        assert!(store.gc_stats().collections > 2);
        assert!(store.gc_stats().capacity <= 4 << 20);
    }
}

#[test]
fn exceptions_hold_what_they_carry() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let ty = TagType::new(FuncType::new([ValType::ANYREF, ValType::EXTERNREF], []));
        let tag = Tag::new(&mut store, &ty).unwrap();
        let error = {
            let mut scope = RootScope::new(&mut store);
            let pre = node_pre(&mut scope);
            let object = node(&mut scope, &pre, 5, None);
            let value = ExternRef::new(&mut scope, "carried").unwrap();
            let fields = [object.into(), value.into()];
            let exception = ExnRef::new(&mut scope, &tag, &fields).unwrap();
            scope.as_context_mut().throw::<()>(exception).unwrap_err()
        };
        for _ in 0..3 {
            store.gc().unwrap();
            ExternRef::new(&mut store, 1).unwrap();
        }
        let mut scope = RootScope::new(&mut store);
        let exception = error.exception(&mut scope).expect("it is one");
        assert_eq!(exception.tag(&scope).unwrap(), tag);
        let fields = exception.fields(&mut scope).unwrap();
        let (Val::AnyRef(Some(object)), Val::ExternRef(Some(value))) = (fields[0], fields[1])
        else {
            panic!("{fields:?}")
        };
        let object = object.unwrap_struct(&scope).unwrap();
        assert_eq!(number(&mut scope, object), 5);
        assert_eq!(value.data(&scope).unwrap().unwrap().downcast_ref(), Some(&"carried"));
    });
}

/// Two stores of one engine, and two of two engines.
fn with_two_stores(test: impl Fn(Store<()>, Store<()>)) {
    for kind in ENGINES {
        let engine = || engine_with(kind, |_| {});
        let one = engine();
        test(Store::new(&one, ()), Store::new(&one, ()));
        test(Store::new(&one, ()), Store::new(&engine(), ()));
    }
}

#[test]
fn m6_structures_and_arrays() {
    with_two_stores(|mut a, mut b| {
        let pre = node_pre(&mut a);
        let object = node(&mut a, &pre, 1, None);
        let own = node_pre(&mut b);
        // Something at the same place of the other store.
        let theirs = node(&mut b, &own, 2, None);
        wrong_store(StructRef::new(&mut b, &pre, &[Val::I32(1), Val::AnyRef(None)]));
        wrong_store(StructRef::new(&mut b, &own, &[Val::I32(1), object.into()]));
        wrong_store(theirs.set_field(&mut b, 1, object.into()));
        wrong_store(object.field(&mut b, 0));
        wrong_store(object.fields(&mut b).map(|_| ()));
        wrong_store(object.field_count(&b));
        wrong_store(object.set_field(&mut b, 0, Val::I32(1)));
        wrong_store(object.ty(&b));
        wrong_store(object.matches_ty(&b, pre.ty()));
        wrong_store(object.to_anyref().unwrap_struct(&b));
        wrong_store(object.to_eqref().is_array(&b));
        wrong_store(StructRef::ref_eq(&b, &theirs, &object));
        wrong_store(StructRef::ref_eq(&a, &theirs, &object));
        let ty = FieldType::new(Mutability::Var, ValType::ANYREF);
        let array_type = |store: &Store<()>| ArrayType::new(store.engine(), ty.clone()).unwrap();
        let (ours, pre) = (array_type(&b), array_type(&a));
        let pre = ArrayRefPre::new(&mut a, pre).unwrap();
        let own = ArrayRefPre::new(&mut b, ours).unwrap();
        let array = ArrayRef::new(&mut a, &pre, &object.into(), 3).unwrap();
        let theirs = ArrayRef::new(&mut b, &own, &theirs.into(), 3).unwrap();
        wrong_store(ArrayRef::new(&mut b, &pre, &Val::AnyRef(None), 1));
        wrong_store(ArrayRef::new(&mut b, &own, &object.into(), 1));
        wrong_store(ArrayRef::new_fixed(&mut b, &pre, &[Val::AnyRef(None)]));
        wrong_store(ArrayRef::new_fixed(&mut b, &pre, &[]));
        wrong_store(ArrayRef::new_fixed(&mut b, &own, &[Val::AnyRef(None), array.into()]));
        wrong_store(theirs.set(&mut b, 0, array.into()));
        wrong_store(array.get(&mut b, 0));
        wrong_store(array.set(&mut b, 0, Val::AnyRef(None)));
        wrong_store(array.len(&b));
        wrong_store(array.is_empty(&b));
        wrong_store(array.elems(&mut b).map(|_| ()));
        wrong_store(array.ty(&b));
        assert_eq!(theirs.len(&b).unwrap(), 3);
    });
}

#[test]
fn m6_handles_to_the_heap() {
    with_two_stores(|mut a, mut b| {
        let pre = node_pre(&mut a);
        let object = node(&mut a, &pre, 1, None);
        let value = ExternRef::new(&mut a, 1).unwrap();
        let owned = object.to_owned_rooted(&mut a).unwrap();
        wrong_store(owned.to_rooted(&mut b));
        wrong_store(object.to_owned_rooted(&mut b));
        wrong_store(OwnedRooted::new(&mut b, value));
        wrong_store(value.data_mut(&mut b).map(|_| ()));
        wrong_store(AnyRef::from(object).matches_ty(&b, &HeapType::Any));
        wrong_store(EqRef::from(object).ty(&b));
        let ty = || GlobalType::new(ValType::ANYREF, Mutability::Var);
        wrong_store(Global::new(&mut b, ty(), object.into()));
        let global = Global::new(&mut b, ty(), Val::AnyRef(None)).unwrap();
        wrong_store(global.set(&mut b, object.into()));
        let ty = || TableType::new(RefType::ANYREF, 1, None);
        wrong_store(Table::new(&mut b, ty(), object.into()));
        let table = Table::new(&mut b, ty(), Ref::Any(None)).unwrap();
        wrong_store(table.set(&mut b, 0, object.into()));
        wrong_store(table.grow(&mut b, 1, object.into()));
        let take = Func::wrap(&mut b, |_: Option<EqRef>, _: Option<ExternRef>| ()).unwrap();
        let typed = take.typed::<(Option<EqRef>, Option<ExternRef>), ()>(&b).unwrap();
        wrong_store(typed.call(&mut b, (Some(object.into()), None)));
        wrong_store(typed.call(&mut b, (None, Some(value))));
        wrong_store(take.call(&mut b, &[object.into(), Val::ExternRef(None)], &mut []));
        // Results of host functions.
        let give = Func::wrap(&mut b, move || Some(object)).unwrap();
        wrong_store(give.call(&mut b, &[], &mut [Val::I32(0)]));
        let ty = FuncType::new([], [ValType::ANYREF]);
        let give = Func::new(&mut b, ty, move |_, _, results| {
            results[0] = object.into();
            Ok(())
        });
        wrong_store(give.unwrap().call(&mut b, &[], &mut [Val::I32(0)]));
        // The small ones belong to all.
        let small = AnyRef::from_i31(I31::wrapping_u32(1)).to_owned_rooted(&mut a).unwrap();
        small.to_rooted(&mut b).unwrap();
        drop(a);
        wrong_store(object.ty(&b));
        wrong_store(owned.to_rooted(&mut b));
    });
}

#[test]
fn m6_structure_and_array_types_of_another_engine() {
    let (a, b) = (Engine::default(), Engine::default());
    let mut store = Store::new(&b, ());
    let (ours, theirs) = (node_type(&b), node_type(&a));
    let of_theirs = |ty: &StructType| {
        FieldType::new(Mutability::Var, ValType::Ref(RefType::new(true, ty.clone().into())))
    };
    assert!(ours != theirs && !ours.matches(&theirs));
    wrong_engine(StructRefPre::new(&mut store, theirs.clone()));
    wrong_engine(StructType::new(&b, [of_theirs(&theirs)]));
    wrong_engine(ArrayType::new(&b, of_theirs(&theirs)));
    wrong_engine(StructType::with_finality_and_supertype(&b, Finality::Final, Some(&theirs), []));
    let array = ArrayType::new(&a, of_theirs(&theirs)).unwrap();
    wrong_engine(ArrayRefPre::new(&mut store, array.clone()));
    wrong_engine(ArrayType::with_finality_and_supertype(
        &b,
        Finality::Final,
        Some(&array),
        of_theirs(&ours),
    ));
    let pre = node_pre(&mut store);
    let object = node(&mut store, &pre, 1, None);
    wrong_engine(object.to_anyref().matches_ty(&store, &theirs.clone().into()));
    assert!(!object.matches_ty(&store, &theirs).unwrap());
    assert!(object.matches_ty(&store, &ours).unwrap());
    let ty = |heap: &StructType| ValType::Ref(RefType::new(true, heap.clone().into()));
    let global = GlobalType::new(ty(&theirs), Mutability::Var);
    wrong_engine(Global::new(&mut store, global, object.into()));
    let func = FuncType::new([ty(&theirs)], []);
    wrong_engine(Func::new(&mut store, func, |_, _, _| Ok(())));
    let global = GlobalType::new(ty(&ours), Mutability::Var);
    Global::new(&mut store, global, object.into()).unwrap();
}

/// A type of the host that nobody names any more is kept as long as there may be objects of it.
#[test]
fn types_live_as_long_as_their_objects() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let mut lists = Vec::new();
        for width in 0..50 {
            let fields: Vec<_> =
                (0..=width).map(|_| FieldType::new(Mutability::Var, ValType::I64)).collect();
            let pre = StructType::new(engine, fields).unwrap();
            let pre = StructRefPre::new(&mut store, pre).unwrap();
            let values: Vec<_> = (0..=width).map(|i| Val::I64(i + width)).collect();
            lists.push(StructRef::new(&mut store, &pre, &values).unwrap());
        }
        store.gc().unwrap();
        for (width, list) in (0..).zip(&lists) {
            let found: Vec<_> = list.fields(&mut store).unwrap().filter_map(|x| x.i64()).collect();
            assert!(found.iter().copied().eq(width..=2 * width));
        }
    });
}
