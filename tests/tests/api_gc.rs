//! Structures, arrays and their types in the interface: made, looked into and changed by the host, and passed
//! to guests and back. Everything runs in every engine, and collects at every allocation as well.

use palisade::{
    AnyRef, ArrayRef, ArrayRefPre, ArrayType, Engine, EqRef, Error, ErrorKind, ExternRef,
    FieldType, Finality, Func, FuncType, HeapType, I31, Linker, Mutability, RefType, StorageType,
    Store, StructRef, StructRefPre, StructType, TrapCode, V128, Val, ValType,
};
use palisade_tests::{ENGINES, engine_with, link};

const VAR: Mutability = Mutability::Var;
const CONST: Mutability = Mutability::Const;

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

fn var(ty: impl Into<StorageType>) -> FieldType {
    FieldType::new(VAR, ty)
}

fn constant(ty: impl Into<StorageType>) -> FieldType {
    FieldType::new(CONST, ty)
}

fn heap(ty: impl Into<HeapType>, nullable: bool) -> ValType {
    ValType::Ref(RefType::new(nullable, ty.into()))
}

#[track_caller]
fn type_error<T>(result: Result<T, Error>, part: &str) {
    match result {
        Ok(_) => panic!("expected an error with {part:?}"),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Type(_)), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[track_caller]
fn not_found<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound(_)), "{error}"),
    }
}

fn pre(store: &mut Store<()>, fields: Vec<FieldType>) -> StructRefPre {
    let ty = StructType::new(store.engine(), fields).unwrap();
    StructRefPre::new(store, ty).unwrap()
}

fn array_pre(store: &mut Store<()>, field: FieldType) -> ArrayRefPre {
    let ty = ArrayType::new(store.engine(), field).unwrap();
    ArrayRefPre::new(store, ty).unwrap()
}

/// What can be compared of a value.
fn bits(value: Val) -> u128 {
    match value {
        Val::I32(x) => x as u32 as u128,
        Val::I64(x) => x as u64 as u128,
        Val::F32(x) => x.into(),
        Val::F64(x) => x.into(),
        Val::V128(x) => x.as_u128(),
        other => panic!("{other:?} is no number"),
    }
}

#[test]
fn fields_of_every_kind_hold_what_is_put_there() {
    let wide = u128::MAX / 3;
    let numbers: [(StorageType, Val, u128); 7] = [
        (StorageType::I8, Val::I32(-2), 0xfe),
        (StorageType::I16, Val::I32(-2), 0xfffe),
        (ValType::I32.into(), Val::I32(-2), 0xffff_fffe),
        (ValType::I64.into(), Val::I64(-2), 0xffff_ffff_ffff_fffe),
        (ValType::F32.into(), Val::F32(0x7fa0_0001), 0x7fa0_0001),
        (ValType::F64.into(), Val::F64(0x7ff4_0000_0000_0001), 0x7ff4_0000_0000_0001),
        (ValType::V128.into(), Val::V128(V128::from(wide)), wide),
    ];
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        // Each kind beside each other one, so that a wrong offset hits a neighbour.
        for first in 0..numbers.len() {
            let order: Vec<_> = (0..numbers.len()).map(|i| &numbers[(first + i * 3) % 7]).collect();
            let fields = order.iter().map(|(ty, ..)| var(ty.clone())).collect();
            let pre = pre(&mut store, fields);
            let zeros: Vec<_> =
                pre.ty().fields().map(|f| f.element_type().unpack().clone()).collect();
            let zeros: Vec<_> = zeros.iter().map(|ty| Val::default_for(ty).unwrap()).collect();
            let values: Vec<_> = order.iter().map(|(_, value, _)| *value).collect();
            let (full, empty) = (
                StructRef::new(&mut store, &pre, &values).unwrap(),
                StructRef::new(&mut store, &pre, &zeros).unwrap(),
            );
            for (i, (_, value, expected)) in order.iter().enumerate() {
                assert_eq!(bits(full.field(&mut store, i).unwrap()), *expected, "{i}");
                empty.set_field(&mut store, i, *value).unwrap();
                let now: Vec<_> = empty.fields(&mut store).unwrap().map(bits).collect();
                for (j, (found, (_, _, expected))) in now.iter().zip(&order).enumerate() {
                    assert_eq!(*found, if j <= i { *expected } else { 0 }, "{i} {j}");
                }
            }
            assert_eq!(full.field_count(&store).unwrap(), 7);
        }
        for (ty, value, expected) in &numbers {
            let pre = array_pre(&mut store, var(ty.clone()));
            let filled = ArrayRef::new(&mut store, &pre, value, 9).unwrap();
            assert!(filled.elems(&mut store).unwrap().all(|x| bits(x) == *expected));
            let zero = Val::default_for(ty.unpack()).unwrap();
            let array = ArrayRef::new_fixed(&mut store, &pre, &[zero; 9]).unwrap();
            array.set(&mut store, 4, *value).unwrap();
            let found: Vec<_> = array.elems(&mut store).unwrap().map(bits).collect();
            assert_eq!(found, [0, 0, 0, 0, *expected, 0, 0, 0, 0]);
            assert_eq!(bits(array.get(&mut store, 4).unwrap()), *expected);
        }
    });
}

#[test]
fn references_in_fields_and_elements() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let types = [ValType::FUNCREF, ValType::EXTERNREF, ValType::ANYREF];
        let pre = pre(&mut store, types.map(var).to_vec());
        let nulls = [Val::FuncRef(None), Val::ExternRef(None), Val::AnyRef(None)];
        let func = Func::wrap(&mut store, || 77).unwrap();
        let value = ExternRef::new(&mut store, 42u8).unwrap();
        let inner = StructRef::new(&mut store, &pre, &nulls).unwrap();
        let outer =
            StructRef::new(&mut store, &pre, &[func.into(), value.into(), inner.into()]).unwrap();
        let fields: Vec<_> = outer.fields(&mut store).unwrap().collect();
        let [Val::FuncRef(Some(f)), Val::ExternRef(Some(e)), Val::AnyRef(Some(a))] = fields[..]
        else {
            panic!("{fields:?}")
        };
        assert_eq!(f.typed::<(), i32>(&store).unwrap().call(&mut store, ()).unwrap(), 77);
        assert_eq!(e.data(&store).unwrap().unwrap().downcast_ref(), Some(&42u8));
        assert!(AnyRef::ref_eq(&store, &a, &inner).unwrap());
        assert!(!AnyRef::ref_eq(&store, &a, &outer).unwrap());
        for (i, null) in nulls.into_iter().enumerate() {
            assert!(inner.field(&mut store, i).unwrap().as_ref().unwrap().is_null());
            outer.set_field(&mut store, i, null).unwrap();
            assert!(outer.field(&mut store, i).unwrap().as_ref().unwrap().is_null());
        }
        // A ring, and an array of itself.
        inner.set_field(&mut store, 2, outer.into()).unwrap();
        outer.set_field(&mut store, 2, inner.into()).unwrap();
        let array = array_pre(&mut store, var(ValType::ANYREF));
        let array = ArrayRef::new(&mut store, &array, &outer.into(), 3).unwrap();
        array.set(&mut store, 1, array.into()).unwrap();
        store.gc().unwrap();
        let mut at = outer.to_anyref();
        for step in 0..10 {
            let next = at.unwrap_struct(&store).unwrap().field(&mut store, 2).unwrap();
            let Val::AnyRef(Some(next)) = next else { panic!("null") };
            let expected = if step % 2 == 0 { inner } else { outer };
            assert!(AnyRef::ref_eq(&store, &next, &expected).unwrap());
            at = next;
        }
        let Val::AnyRef(Some(own)) = array.get(&mut store, 1).unwrap() else { panic!("null") };
        assert!(AnyRef::ref_eq(&store, &own, &array).unwrap());
    });
}

#[test]
fn what_does_not_fit_a_structure_is_refused() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let pre = pre(&mut store, vec![var(ValType::I32), constant(ValType::ANYREF)]);
        let good = [Val::I32(1), Val::AnyRef(None)];
        type_error(StructRef::new(&mut store, &pre, &[]), "has 2 fields; found 0 values");
        type_error(StructRef::new(&mut store, &pre, &good[..1]), "found 1 values");
        let three = [good[0], good[1], good[1]];
        type_error(StructRef::new(&mut store, &pre, &three), "found 3 values");
        let wrong = [good[0], Val::ExternRef(None)];
        type_error(StructRef::new(&mut store, &pre, &wrong), "field 1: expected anyref");
        let wrong = [Val::I64(1), good[1]];
        type_error(StructRef::new(&mut store, &pre, &wrong), "field 0: expected i32, found i64");
        let object = StructRef::new(&mut store, &pre, &good).unwrap();
        type_error(object.set_field(&mut store, 0, Val::F32(0)), "field 0: expected i32");
        type_error(object.set_field(&mut store, 1, good[1]), "field 1 cannot be set");
        not_found(object.set_field(&mut store, 2, good[0]));
        not_found(object.field(&mut store, 2));
        not_found(object.field(&mut store, usize::MAX));
        assert_eq!(object.field(&mut store, 0).unwrap().i32(), Some(1));
        // Without any fields.
        let empty = StructType::new(engine, []).unwrap();
        let empty = StructRefPre::new(&mut store, empty).unwrap();
        let empty = StructRef::new(&mut store, &empty, &[]).unwrap();
        assert_eq!(empty.fields(&mut store).unwrap().count(), 0);
        not_found(empty.field(&mut store, 0));
    });
}

#[test]
fn what_does_not_fit_an_array_is_refused() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let pre = array_pre(&mut store, var(ValType::I64));
        type_error(ArrayRef::new(&mut store, &pre, &Val::I32(1), 1), "the element: expected i64");
        type_error(ArrayRef::new(&mut store, &pre, &Val::I32(1), 0), "the element: expected i64");
        let elems = [Val::I64(1), Val::F64(1)];
        type_error(ArrayRef::new_fixed(&mut store, &pre, &elems), "element 1: expected i64");
        let array = ArrayRef::new(&mut store, &pre, &Val::I64(-1), 5).unwrap();
        not_found(array.get(&mut store, 5));
        not_found(array.get(&mut store, u32::MAX));
        not_found(array.set(&mut store, 5, Val::I64(0)));
        type_error(array.set(&mut store, 4, Val::I32(0)), "element 4: expected i64");
        assert_eq!(array.get(&mut store, 4).unwrap().i64(), Some(-1));
        let pre = array_pre(&mut store, constant(StorageType::I8));
        let array = ArrayRef::new_fixed(&mut store, &pre, &[Val::I32(300)]).unwrap();
        type_error(array.set(&mut store, 0, Val::I32(0)), "cannot be set");
        assert_eq!(array.get(&mut store, 0).unwrap().i32(), Some(300 - 256));
        let empty = ArrayRef::new(&mut store, &pre, &Val::I32(1), 0).unwrap();
        assert!(empty.is_empty(&store).unwrap() && !array.is_empty(&store).unwrap());
        not_found(empty.get(&mut store, 0));
        assert_eq!(empty.elems(&mut store).unwrap().len(), 0);
        // More than a heap can ever hold.
        let wide = array_pre(&mut store, var(ValType::V128));
        let zero = Val::V128(V128::default());
        let error = ArrayRef::new(&mut store, &wide, &zero, u32::MAX).unwrap_err();
        assert_eq!(error.trap_code(), Some(TrapCode::AllocationTooLarge), "{error}");
    });
}

#[test]
fn small_integers_are_no_objects() {
    for (value, signed) in
        [(0, 0), (1, 1), (0x3fff_ffff, 0x3fff_ffff), (0x4000_0000, -0x4000_0000), (0x7fff_ffff, -1)]
    {
        let small = I31::new_u32(value).expect("it fits");
        assert_eq!((small.get_u32(), small.get_i32()), (value, signed));
        assert_eq!(I31::new_i32(signed), Some(small));
        assert_eq!(I31::wrapping_u32(value | 1 << 31), small);
        assert_eq!(I31::wrapping_i32(value as i32 | i32::MIN), small);
    }
    assert_eq!(I31::new_u32(1 << 31), None);
    assert_eq!((I31::new_i32(1 << 30), I31::new_i32(-(1 << 30) - 1)), (None, None));
    everywhere(|engine| {
        let (mut store, mut other) = (Store::new(engine, ()), Store::<()>::default());
        let any = AnyRef::from_i31(I31::wrapping_i32(-5));
        let eq = EqRef::from(I31::wrapping_i32(-5));
        for store in [&mut store, &mut other] {
            assert!(any.is_i31(&*store).unwrap() && eq.is_i31(&*store).unwrap());
            assert_eq!(any.unwrap_i31(&*store).unwrap().get_i32(), -5);
            assert!(AnyRef::ref_eq(&*store, &any, &eq).unwrap());
            assert_eq!(any.ty(&*store).unwrap(), HeapType::I31);
            let owned = any.to_owned_rooted(&mut *store).unwrap();
            assert_eq!(
                owned.to_rooted(&mut *store).unwrap().unwrap_i31(&*store).unwrap().get_i32(),
                -5
            );
            assert!(!any.is_struct(&*store).unwrap() && any.is_eqref(&*store).unwrap());
            type_error(any.unwrap_array(&*store), "expected an array, found a value of type i31");
        }
        let instance = link(
            &Linker::new(engine),
            &mut store,
            r#"(module
                (func (export "next") (param (ref i31)) (result (ref i31))
                    (ref.i31 (i32.add (i31.get_s (local.get 0)) (i32.const 1))))
                (func (export "maybe") (param i31ref) (result i31ref) (local.get 0))
                (func (export "any") (param i32) (result anyref) (ref.i31 (local.get 0))))"#,
        );
        let next = instance.get_typed_func::<I31, I31>(&mut store, "next").unwrap();
        let most = I31::new_i32((1 << 30) - 1).unwrap();
        assert_eq!(next.call(&mut store, most).unwrap().get_i32(), -(1 << 30));
        let maybe =
            instance.get_typed_func::<Option<I31>, Option<I31>>(&mut store, "maybe").unwrap();
        assert_eq!(maybe.call(&mut store, None).unwrap(), None);
        assert_eq!(maybe.call(&mut store, Some(most)).unwrap(), Some(most));
        let any = instance.get_func(&mut store, "any").unwrap();
        let mut results = [Val::I32(0)];
        any.call(&mut store, &[Val::I32(-1)], &mut results).unwrap();
        let found = results[0].as_ref().and_then(|r| r.as_any().copied()).unwrap();
        assert_eq!(found.unwrap_i31(&store).unwrap().get_u32(), 0x7fff_ffff);
    });
}

#[test]
fn values_of_the_any_family_are_told_apart() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let s = pre(&mut store, vec![var(ValType::I32)]);
        let a = array_pre(&mut store, var(ValType::I32));
        let s = StructRef::new(&mut store, &s, &[Val::I32(1)]).unwrap();
        let a = ArrayRef::new(&mut store, &a, &Val::I32(1), 1).unwrap();
        let value = ExternRef::new(&mut store, "host").unwrap();
        let host = AnyRef::convert_extern(&store, value).unwrap();
        let small = AnyRef::from_i31(I31::wrapping_u32(3));
        let all = [s.to_anyref(), a.to_anyref(), small, host];
        for (i, any) in all.iter().enumerate() {
            let is = [
                any.is_struct(&store).unwrap(),
                any.is_array(&store).unwrap(),
                any.is_i31(&store).unwrap(),
            ];
            assert_eq!(is, [i == 0, i == 1, i == 2]);
            assert_eq!(any.is_eqref(&store).unwrap(), i != 3);
            assert_eq!(any.as_struct(&store).unwrap().is_some(), i == 0);
            assert_eq!(any.as_array(&store).unwrap().is_some(), i == 1);
            assert_eq!(any.as_i31(&store).unwrap().is_some(), i == 2);
            if let Some(eq) = any.as_eqref(&store).unwrap() {
                assert_eq!(eq.as_struct(&store).unwrap().is_some(), i == 0);
                assert_eq!(eq.as_array(&store).unwrap().is_some(), i == 1);
                assert!(EqRef::ref_eq(&store, &eq, any).unwrap());
                assert_eq!(eq.ty(&store).unwrap(), any.ty(&store).unwrap());
            }
            let is = |ty: HeapType| any.matches_ty(&store, &ty).unwrap();
            assert!(is(HeapType::Any) && !is(HeapType::None));
            assert_eq!(is(HeapType::Eq), i != 3);
            assert_eq!(
                [is(HeapType::Struct), is(HeapType::Array), is(HeapType::I31)],
                [i == 0, i == 1, i == 2]
            );
            assert!(!is(HeapType::Extern) && !is(HeapType::Func));
        }
        assert_eq!(host.ty(&store).unwrap(), HeapType::Any);
        assert_eq!(all[0].ty(&store).unwrap(), s.ty(&store).unwrap().into());
        type_error(host.unwrap_eqref(&store), "found a value of type any");
        type_error(all[0].unwrap_array(&store), "found a value of type (struct (mut i32))");
        type_error(all[1].unwrap_struct(&store), "found a value of type (array (mut i32))");
        type_error(all[1].unwrap_i31(&store), "found a value of type (array");
        // To the other family and back, it stays what it is.
        let back = ExternRef::convert_any(&store, host).unwrap();
        assert_eq!(back.data(&store).unwrap().unwrap().downcast_ref(), Some(&"host"));
        let outside = ExternRef::convert_any(&store, all[0]).unwrap();
        assert!(outside.data(&store).unwrap().is_none());
        let inside = AnyRef::convert_extern(&store, outside).unwrap();
        assert!(AnyRef::ref_eq(&store, &inside, &s).unwrap());
        assert!(ExternRef::ref_eq(&store, &outside, &s).unwrap());
    });
}

#[test]
fn host_values_can_be_changed() {
    let mut store = Store::<u8>::default();
    let value = ExternRef::new(&mut store, vec![1]).unwrap();
    let data = value.data_mut(&mut store).unwrap().unwrap();
    data.downcast_mut::<Vec<i32>>().unwrap().push(2);
    let data = value.data(&store).unwrap().unwrap();
    assert_eq!(data.downcast_ref(), Some(&vec![1, 2]));
    assert!(data.downcast_ref::<Vec<u32>>().is_none());
}

/// A type that a module has by itself is the type that the host makes of the same parts.
#[test]
fn types_of_the_host_are_those_of_modules() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let instance = link(
            &Linker::new(engine),
            &mut store,
            r#"(module
                (type $top (sub (struct (field (mut i32)))))
                (type $mid (sub $top (struct (field (mut i32)) (field i8))))
                (type $low (sub final $mid (struct (field (mut i32)) (field i8) (field (ref $top)))))
                (type $ints (array (mut i32)))
                (func (export "which") (param (ref null $top)) (result i32)
                    (if (ref.test (ref $low) (local.get 0)) (then (return (i32.const 3))))
                    (if (ref.test (ref $mid) (local.get 0)) (then (return (i32.const 2))))
                    (ref.test (ref $top) (local.get 0)))
                (func (export "first") (param (ref $top)) (result i32)
                    (struct.get $top 0 (local.get 0)))
                (func (export "sum") (param (ref $ints)) (result i32) (local $i i32) (local $s i32)
                    (loop $next
                        (if (i32.lt_u (local.get $i) (array.len (local.get 0))) (then
                            (local.set $s (i32.add (local.get $s)
                                (array.get $ints (local.get 0) (local.get $i))))
                            (local.set $i (i32.add (local.get $i) (i32.const 1)))
                            (br $next))))
                    (local.get $s))
                (func (export "make") (param i32) (result (ref $mid))
                    (struct.new $mid (local.get 0) (i32.const 513))))"#,
        );
        let open = Finality::NonFinal;
        let sub = |finality, above: Option<&StructType>, fields: Vec<FieldType>| {
            StructType::with_finality_and_supertype(engine, finality, above, fields).unwrap()
        };
        let top = sub(open, None, vec![var(ValType::I32)]);
        let mid = sub(open, Some(&top), vec![var(ValType::I32), constant(StorageType::I8)]);
        let to_top = constant(heap(top.clone(), false));
        let fields = vec![var(ValType::I32), constant(StorageType::I8), to_top];
        let low = sub(Finality::Final, Some(&mid), fields.clone());
        let other = sub(open, Some(&mid), fields);
        assert!(low.matches(&top) && low.matches(&mid) && !mid.matches(&low) && low != other);
        assert_eq!((low.supertype(), top.supertype()), (Some(mid.clone()), None));
        assert_eq!((low.finality(), mid.finality()), (Finality::Final, open));
        assert_eq!(low.fields().len(), 3);
        assert_eq!(low.field(1), Some(constant(StorageType::I8)));
        assert_eq!(low.field(3), None);

        let which = instance.get_func(&mut store, "which").unwrap();
        let ty = which.ty(&store).unwrap();
        let taken = ty.params()[0].as_ref().unwrap().heap_type().as_concrete().unwrap().clone();
        assert_eq!(taken.struct_type(), Some(top.clone()));
        assert_eq!((taken.array_type(), taken.func_type()), (None, None));
        let first = instance.get_func(&mut store, "first").unwrap();
        let pre =
            |store: &mut Store<()>, ty: &StructType| StructRefPre::new(store, ty.clone()).unwrap();
        let pre = [&top, &mid, &low, &other].map(|ty| pre(&mut store, ty));
        let a = StructRef::new(&mut store, &pre[0], &[Val::I32(10)]).unwrap();
        let b = StructRef::new(&mut store, &pre[1], &[Val::I32(20), Val::I32(1)]).unwrap();
        let fields = [Val::I32(30), Val::I32(1), b.into()];
        let c = StructRef::new(&mut store, &pre[2], &fields).unwrap();
        let d = StructRef::new(&mut store, &pre[3], &fields).unwrap();
        let mut results = [Val::I32(0)];
        for (object, kind, number) in [(a, 1, 10), (b, 2, 20), (c, 3, 30), (d, 2, 30)] {
            which.call(&mut store, &[object.into()], &mut results).unwrap();
            assert_eq!(results[0].i32(), Some(kind));
            first.call(&mut store, &[object.into()], &mut results).unwrap();
            assert_eq!(results[0].i32(), Some(number));
        }
        which.call(&mut store, &[Val::AnyRef(None)], &mut results).unwrap();
        assert_eq!(results[0].i32(), Some(0));
        type_error(first.call(&mut store, &[Val::AnyRef(None)], &mut results), "argument 0");
        let lone = StructType::new(engine, [var(ValType::I32)]).unwrap();
        assert!(!lone.matches(&top), "one is final, and the other is not");
        let lone = StructRefPre::new(&mut store, lone).unwrap();
        let lone = StructRef::new(&mut store, &lone, &[Val::I32(1)]).unwrap();
        type_error(first.call(&mut store, &[lone.into()], &mut results), "argument 0");
        assert!(!lone.matches_ty(&store, &top).unwrap() && c.matches_ty(&store, &top).unwrap());

        // From the guest.
        let make = instance.get_typed_func::<i32, StructRef>(&mut store, "make").unwrap();
        let made = make.call(&mut store, 7).unwrap();
        assert_eq!(made.ty(&store).unwrap(), mid);
        let found: Vec<_> = made.fields(&mut store).unwrap().map(bits).collect();
        assert_eq!(found, [7, 1]);

        let ints = ArrayType::new(engine, var(ValType::I32)).unwrap();
        assert_eq!((ints.element_type(), ints.mutability()), (ValType::I32.into(), VAR));
        let ints = ArrayRefPre::new(&mut store, ints).unwrap();
        let elems: Vec<_> = (1..=100).map(Val::I32).collect();
        let array = ArrayRef::new_fixed(&mut store, &ints, &elems).unwrap();
        let sum = instance.get_func(&mut store, "sum").unwrap();
        sum.call(&mut store, &[array.into()], &mut results).unwrap();
        assert_eq!(results[0].i32(), Some(5050));
        type_error(sum.call(&mut store, &[made.into()], &mut results), "argument 0");
    });
}

#[test]
fn subtypes_that_are_none_are_refused() {
    let engine = Engine::default();
    let sub = |above: &StructType, fields: Vec<FieldType>| {
        StructType::with_finality_and_supertype(&engine, Finality::NonFinal, Some(above), fields)
    };
    let open = |fields: Vec<FieldType>| {
        StructType::with_finality_and_supertype(&engine, Finality::NonFinal, None, fields).unwrap()
    };
    let closed = StructType::new(&engine, [var(ValType::I32)]).unwrap();
    type_error(sub(&closed, vec![var(ValType::I32)]), "is final");
    let above = open(vec![var(ValType::ANYREF), constant(ValType::ANYREF)]);
    let eqref = || heap(HeapType::Eq, true);
    type_error(sub(&above, vec![var(ValType::ANYREF)]), "at least 2 fields; found 1");
    // What can be set is of the very type; what cannot may be of a subtype.
    type_error(sub(&above, vec![var(eqref()), constant(ValType::ANYREF)]), "field 0");
    type_error(sub(&above, vec![constant(ValType::ANYREF), constant(ValType::ANYREF)]), "field 0");
    type_error(sub(&above, vec![var(ValType::ANYREF), var(ValType::ANYREF)]), "field 1");
    type_error(sub(&above, vec![var(ValType::ANYREF), constant(ValType::I32)]), "field 1");
    sub(&above, vec![var(ValType::ANYREF), constant(eqref()), var(StorageType::I16)]).unwrap();
    let above = ArrayType::with_finality_and_supertype(
        &engine,
        Finality::NonFinal,
        None,
        constant(ValType::ANYREF),
    )
    .unwrap();
    let array = |field| {
        ArrayType::with_finality_and_supertype(&engine, Finality::Final, Some(&above), field)
    };
    type_error(array(constant(ValType::I32)), "the element");
    type_error(array(var(ValType::ANYREF)), "the element");
    let below = array(constant(eqref())).unwrap();
    assert!(below.matches(&above) && below.supertype() == Some(above));

    // 63 supertypes, and one more.
    let mut ty = open(vec![]);
    for _ in 0..63 {
        ty = sub(&ty, vec![]).unwrap();
    }
    type_error(sub(&ty, vec![]), "at most 63 supertypes");
    let fields = vec![var(StorageType::I8); 10_000];
    let most = StructType::new(&engine, fields.clone()).unwrap();
    let mut store = Store::new(&engine, ());
    let pre = StructRefPre::new(&mut store, most).unwrap();
    let object = StructRef::new(&mut store, &pre, &vec![Val::I32(5); 10_000]).unwrap();
    assert_eq!(object.field(&mut store, 9_999).unwrap().i32(), Some(5));
    type_error(StructType::new(&engine, [fields, vec![var(StorageType::I8)]].concat()), "10000");
    let endless = std::iter::repeat_with(|| var(StorageType::I8));
    type_error(StructType::new(&engine, endless), "10000");
}

#[test]
fn typed_functions_take_and_give_all_kinds() {
    everywhere(|engine| {
        let mut linker = Linker::<()>::new(engine);
        linker.func_wrap("h", "eq", |x: Option<EqRef>| x).unwrap();
        linker.func_wrap("h", "struct", |x: StructRef| x).unwrap();
        linker.func_wrap("h", "array", |x: Option<ArrayRef>, y: AnyRef| (y, x)).unwrap();
        linker.func_wrap("h", "i31", |x: I31| I31::wrapping_u32(x.get_u32() + 1)).unwrap();
        linker.func_wrap("h", "extern", |x: ExternRef, y: Option<ExternRef>| (y, x)).unwrap();
        let mut store = Store::new(engine, ());
        let instance = link(
            &linker,
            &mut store,
            r#"(module
                (type $s (struct (field i32)))
                (type $a (array i8))
                (import "h" "eq" (func $eq (param eqref) (result eqref)))
                (import "h" "struct" (func $struct (param (ref struct)) (result (ref struct))))
                (import "h" "array" (func $array (param arrayref (ref any))
                    (result (ref any) arrayref)))
                (import "h" "i31" (func $i31 (param (ref i31)) (result (ref i31))))
                (import "h" "extern" (func $extern (param (ref extern) externref)
                    (result externref (ref extern))))
                (func (export "eq") (param i32) (result i32) (local $x eqref)
                    (local.set $x (struct.new $s (local.get 0)))
                    (ref.eq (local.get $x) (call $eq (local.get $x))))
                (func (export "struct") (param i32) (result i32)
                    (struct.get $s 0 (ref.cast (ref $s)
                        (call $struct (struct.new $s (local.get 0))))))
                (func (export "array") (param i32) (result i32) (local $a (ref null array))
                    (call $array
                        (array.new $a (i32.const 0) (local.get 0)) (struct.new $s (local.get 0)))
                    (local.set $a)
                    (i32.sub (struct.get $s 0 (ref.cast (ref $s))) (array.len (local.get $a))))
                (func (export "i31") (param i32) (result i32)
                    (i31.get_u (call $i31 (ref.i31 (local.get 0)))))
                (func (export "extern") (param externref (ref extern)) (result externref (ref extern))
                    (call $extern (local.get 1) (local.get 0)))
                (func (export "structs") (param structref) (result structref) (local.get 0))
                (func (export "arrays") (param (ref array)) (result (ref eq)) (local.get 0)))"#,
        );
        for (name, result) in [("eq", 1), ("struct", 5), ("array", 0), ("i31", 6)] {
            let func = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
            assert_eq!(func.call(&mut store, 5).unwrap(), result, "{name}");
        }
        let both = instance
            .get_typed_func::<(Option<ExternRef>, ExternRef), (Option<ExternRef>, ExternRef)>(
                &mut store, "extern",
            )
            .unwrap();
        let [a, b] = [1, 2].map(|x: i32| ExternRef::new(&mut store, x).unwrap());
        let (first, second) = both.call(&mut store, (Some(a), b)).unwrap();
        assert!(ExternRef::ref_eq(&store, &first.unwrap(), &a).unwrap());
        assert!(ExternRef::ref_eq(&store, &second, &b).unwrap());
        assert!(both.call(&mut store, (None, b)).unwrap().0.is_none());
        let s = pre(&mut store, vec![constant(ValType::I32)]);
        let s = StructRef::new(&mut store, &s, &[Val::I32(9)]).unwrap();
        let structs = instance
            .get_typed_func::<Option<StructRef>, Option<StructRef>>(&mut store, "structs")
            .unwrap();
        let same = structs.call(&mut store, Some(s)).unwrap().unwrap();
        assert!(StructRef::ref_eq(&store, &same, &s).unwrap());
        assert!(structs.call(&mut store, None).unwrap().is_none());
        let a = array_pre(&mut store, var(StorageType::I16));
        let a = ArrayRef::new(&mut store, &a, &Val::I32(9), 3).unwrap();
        let arrays = instance.get_typed_func::<ArrayRef, EqRef>(&mut store, "arrays").unwrap();
        let same = arrays.call(&mut store, a).unwrap();
        assert_eq!(same.unwrap_array(&store).unwrap().len(&store).unwrap(), 3);
        type_error(
            instance.get_typed_func::<AnyRef, EqRef>(&mut store, "arrays"),
            "expected a func",
        );
        type_error(instance.get_typed_func::<ArrayRef, ArrayRef>(&mut store, "arrays"), "expected");
    });
}

/// Functions whose type is only known while running take and give values of types that a module defines.
#[test]
fn types_of_modules_in_functions_of_the_host() {
    everywhere(|engine| {
        let mut store = Store::new(engine, ());
        let pair = [var(ValType::I32), var(ValType::I32)];
        let pair = StructType::new(engine, pair).unwrap();
        let ty = || heap(pair.clone(), false);
        let pre = StructRefPre::new(&mut store, pair.clone()).unwrap();
        let wrong = self::pre(&mut store, vec![var(ValType::I32)]);
        let swap = Func::new(
            &mut store,
            FuncType::new([ty(), ValType::I32], [ty()]),
            move |mut caller, args, results| {
                let Val::AnyRef(Some(pair)) = args[0] else { return Err(Error::msg("null")) };
                let pair = pair.unwrap_struct(&caller)?;
                let [a, b] = [0, 1].map(|i| pair.field(&mut caller, i));
                results[0] = match args[1].try_i32()? {
                    0 => StructRef::new(&mut caller, &pre, &[b?, a?])?.into(),
                    1 => StructRef::new(&mut caller, &wrong, &[a?])?.into(),
                    2 => Val::AnyRef(None),
                    _ => return Ok(()),
                };
                Ok(())
            },
        )
        .unwrap();
        let mut linker = Linker::new(engine);
        linker.define(&store, "h", "swap", swap).unwrap();
        let instance = link(
            &linker,
            &mut store,
            r#"(module (type $pair (struct (field (mut i32)) (field (mut i32))))
                (import "h" "swap" (func $swap (param (ref $pair) i32) (result (ref $pair))))
                (func (export "run") (param i32) (result i32) (local $p (ref $pair)) (local $q (ref $pair))
                    (local.set $p (struct.new $pair (i32.const 4) (i32.const 2)))
                    (local.set $q (call $swap (local.get $p) (local.get 0)))
                    (i32.add
                        (i32.mul (i32.const 100) (struct.get $pair 0 (local.get $q)))
                        (struct.get $pair 0 (local.get $p)))))"#,
        );
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, 0).unwrap(), 204);
        for what in 1..4 {
            type_error(run.call(&mut store, what), "result of a host function: 0");
        }
        assert_eq!(run.call(&mut store, 0).unwrap(), 204);
    });
}
