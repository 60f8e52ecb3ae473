//! Identity, order and lifetime of registered types.

use super::*;

fn val(heap: HeapType) -> ValType {
    ValType::Ref(RefType { nullable: true, heap })
}

fn field(ty: ValType) -> FieldType {
    FieldType { storage: StorageType::Val(ty), mutable: true }
}

fn structure(supertype: Option<TypeId>, fields: &[ValType]) -> Member {
    let fields = fields.iter().map(|ty| field(*ty)).collect();
    Member { is_final: false, supertype, composite: CompositeType::Struct(fields) }
}

fn register(
    registry: &Arc<TypeRegistry>,
    groups: Vec<Vec<Member>>,
) -> (Vec<TypeId>, RegisteredTypes) {
    let mut registration = Registration::new(registry);
    for group in groups {
        registration.add(group).unwrap();
    }
    registration.finish()
}

fn func(params: &[ValType]) -> FuncType {
    FuncType::new(params.iter().copied(), [])
}

#[test]
fn equal_functions_share_an_id() {
    let registry = TypeRegistry::new();
    let (a, _keep_a) = registry.register_func(func(&[ValType::I32])).unwrap();
    let (b, _keep_b) = registry.register_func(func(&[ValType::I32])).unwrap();
    let (c, _keep_c) = registry.register_func(func(&[ValType::I64])).unwrap();
    assert_eq!(a, b);
    assert_ne!(a, c);
    assert_eq!(*registry.func_type(a).unwrap(), func(&[ValType::I32]));
    assert!(registry.is_func(a) && registry.len() == 2);
    // The same as a type section's.
    let composite = CompositeType::Func(Arc::new(func(&[ValType::I64])));
    let member = Member { is_final: true, supertype: None, composite };
    assert_eq!(register(&registry, vec![vec![member.clone()]]).0, [c]);
    // An open type is another one.
    let open = Member { is_final: false, ..member };
    assert_ne!(register(&registry, vec![vec![open]]).0, [c]);
}

#[test]
fn plain_functions_are_those_that_are_registered_by_themselves() {
    let registry = TypeRegistry::new();
    let (plain, _keep) = registry.register_func(func(&[ValType::I32])).unwrap();
    let (mentions, _keep) =
        registry.register_func(func(&[val(HeapType::Concrete(plain))])).unwrap();
    assert!(registry.is_plain_func(plain) && registry.is_plain_func(mentions));
    let composite = |ty: ValType| CompositeType::Func(Arc::new(func(&[ty])));
    let member = Member { is_final: true, supertype: None, composite: composite(ValType::I32) };
    let open = Member { is_final: false, ..member.clone() };
    let (open, _keep) = register(&registry, vec![vec![open]]);
    let sub = Member { supertype: Some(open[0]), ..member.clone() };
    let own = composite(val(HeapType::Concrete(in_group(0))));
    let own = Member { composite: own, ..member.clone() };
    let groups = vec![vec![sub], vec![own], vec![member.clone(), member.clone()]];
    let (others, _keep) = register(&registry, groups);
    let (structure, _keep) = register(&registry, vec![vec![structure(None, &[])]]);
    for id in [open, others, structure, vec![TypeId(999)]].concat() {
        assert!(!registry.is_plain_func(id), "{id:?}");
    }
}

#[test]
fn recursive_groups_are_equal_by_shape() {
    let registry = TypeRegistry::new();
    let list = || vec![structure(None, &[ValType::I32, val(HeapType::Concrete(in_group(0)))])];
    let (a, _keep_a) = register(&registry, vec![list()]);
    let (b, _keep_b) = register(&registry, vec![vec![structure(None, &[])], list()]);
    assert_eq!(a[0], b[1]);
    // Unrolled once, it is not the same type: groups are compared, not infinite trees.
    let unrolled = structure(None, &[ValType::I32, val(HeapType::Concrete(a[0]))]);
    let (c, _keep_c) = register(&registry, vec![vec![unrolled]]);
    assert_ne!(a[0], c[0]);
    // The same two members in another order, or in one group in place of two, differ.
    let pair = |x, y| vec![structure(None, &[x]), structure(None, &[y])];
    let (d, _keep_d) = register(&registry, vec![pair(ValType::I32, ValType::I64)]);
    let (e, _keep_e) = register(&registry, vec![pair(ValType::I64, ValType::I32)]);
    let (f, _keep_f) = register(&registry, vec![vec![structure(None, &[ValType::I32])]]);
    assert!(d[0] != e[1] && d[1] != e[0] && d[0] != f[0]);
    let own = registry.get(a[0]).unwrap();
    let CompositeType::Struct(fields) = &own.composite else { panic!("not a struct") };
    assert_eq!(fields[1], field(val(HeapType::Concrete(a[0]))));
}

#[test]
fn subtypes_are_found_through_displays() {
    let registry = TypeRegistry::new();
    let group = vec![
        structure(None, &[]),
        structure(Some(in_group(0)), &[ValType::I32]),
        structure(Some(in_group(1)), &[ValType::I32, ValType::I32]),
        structure(Some(in_group(0)), &[ValType::I64]),
    ];
    let (ids, _keep) = register(&registry, vec![group]);
    let below = |a: usize, b: usize| registry.is_subtype(ids[a], ids[b]);
    assert!(below(0, 0) && below(1, 0) && below(2, 0) && below(2, 1) && below(3, 0));
    assert!(!below(0, 1) && !below(1, 2) && !below(3, 1) && !below(1, 3) && !below(2, 3));
    assert_eq!(*registry.get(ids[2]).unwrap().display, ids[..3]);
    let (other, _keep) = register(&registry, vec![vec![structure(Some(ids[2]), &[])]]);
    assert!(registry.is_subtype(other[0], ids[1]));
}

#[test]
fn heap_types_are_ordered_as_the_specification_says() {
    use HeapType as H;
    let registry = TypeRegistry::new();
    let array = CompositeType::Array(field(ValType::I32));
    let (ids, _keep) = register(
        &registry,
        vec![
            vec![structure(None, &[])],
            vec![Member { is_final: true, supertype: None, composite: array }],
        ],
    );
    let (function, _keep_function) = registry.register_func(func(&[])).unwrap();
    let (s, a, f) = (H::Concrete(ids[0]), H::Concrete(ids[1]), H::Concrete(function));
    let chains: [&[H]; 7] = [
        &[H::None, s, H::Struct, H::Eq, H::Any],
        &[H::None, a, H::Array, H::Eq, H::Any],
        &[H::None, H::I31, H::Eq, H::Any],
        &[H::NoFunc, f, H::Func],
        &[H::NoExtern, H::Extern],
        &[H::NoExn, H::Exn],
        &[H::None, H::Eq],
    ];
    let all = [
        H::Func,
        H::NoFunc,
        H::Extern,
        H::NoExtern,
        H::Any,
        H::Eq,
        H::I31,
        H::Struct,
        H::Array,
        H::None,
        H::Exn,
        H::NoExn,
        s,
        a,
        f,
    ];
    for sub in all {
        for sup in all {
            let expected = sub == sup
                || chains.iter().any(|chain| {
                    let place = |ty| chain.iter().position(|t| *t == ty);
                    matches!((place(sub), place(sup)), (Some(x), Some(y)) if x < y)
                });
            assert_eq!(registry.is_heap_subtype(sub, sup), expected, "{sub:?} {sup:?}");
        }
    }
    let reference = |nullable, heap| RefType { nullable, heap };
    assert!(registry.is_ref_subtype(reference(false, s), reference(true, H::Any)));
    assert!(registry.is_ref_subtype(reference(true, s), reference(true, H::Any)));
    assert!(!registry.is_ref_subtype(reference(true, s), reference(false, H::Any)));
    assert!(registry.is_val_subtype(ValType::I32, ValType::I32));
    assert!(!registry.is_val_subtype(ValType::I32, ValType::I64));
    assert!(!registry.is_val_subtype(ValType::I32, ValType::FUNCREF));
}

#[test]
fn types_live_as_long_as_their_users() {
    let registry = TypeRegistry::new();
    let (base, keep_base) = register(&registry, vec![vec![structure(None, &[])]]);
    let (sub, keep_sub) = register(&registry, vec![vec![structure(Some(base[0]), &[])]]);
    let (function, keep_function) =
        registry.register_func(func(&[val(HeapType::Concrete(sub[0]))])).unwrap();
    drop(keep_base);
    drop(keep_sub);
    assert_eq!(registry.len(), 3);
    let again = keep_function.clone();
    drop(keep_function);
    assert!(registry.is_subtype(sub[0], base[0]) && registry.is_func(function));
    drop(again);
    assert!(registry.is_empty());
    assert_eq!(registry.get(base[0]), None);
    assert!(!registry.is_func(function) && registry.func_type(function).is_none());
    let state = registry.read();
    assert!(state.by_shape.is_empty() && state.groups.iter().all(Option::is_none));
}

#[test]
fn ids_are_used_again_and_not_before() {
    let registry = TypeRegistry::new();
    for turn in 0..1000 {
        let (a, keep) = registry.register_func(func(&vec![ValType::I32; turn % 7])).unwrap();
        let (b, _keep) = registry.register_func(func(&vec![ValType::I64; turn % 5 + 1])).unwrap();
        assert_ne!(a, b);
        drop(keep);
        assert!(registry.is_func(b));
    }
    assert!(registry.is_empty() && registry.read().types.len() <= 2);
}

#[test]
fn m6_ids_of_nobody_are_refused() {
    let registry = TypeRegistry::new();
    let dead = registry.register_func(func(&[])).unwrap().0;
    for id in [dead, TypeId(17), TypeId(u32::MAX), in_group(0), in_group(1)] {
        let result = registry.register_func(func(&[val(HeapType::Concrete(id))]));
        assert_eq!(result.err(), Some(RegistryError::UnknownType(id)));
        assert!(!registry.is_heap_subtype(HeapType::Concrete(id), HeapType::Any));
        assert!(!registry.is_subtype(dead, id) || dead == id);
    }
    assert!(registry.is_empty());
}

/// A chain as long as subtyping allows, then a hundred thousand groups that each use the one
/// before: dropping them must not recurse.
#[test]
fn v3_long_chains_are_dropped_without_recursion() {
    let registry = TypeRegistry::new();
    let mut registration = Registration::new(&registry);
    registration.add(vec![structure(None, &[])]).unwrap();
    for turn in 0..100_000 {
        let before = *registration.ids().last().unwrap();
        let supertype = (turn < 63).then_some(before);
        let mut ty = structure(supertype, &[val(HeapType::Concrete(before))]);
        ty.is_final = turn >= 63;
        registration.add(vec![ty]).unwrap();
    }
    let (ids, registered) = registration.finish();
    assert_eq!(registry.get(ids[63]).unwrap().display.len(), 64);
    drop(registered);
    assert!(registry.is_empty());
}

#[test]
fn p1_threads_agree_on_types() {
    let registry = TypeRegistry::new();
    std::thread::scope(|scope| {
        for seed in 0..4_usize {
            let registry = &registry;
            scope.spawn(move || {
                for turn in 0..500 {
                    let params = vec![ValType::F32; (turn * 7 + seed) % 11];
                    let (id, keep) = registry.register_func(func(&params)).unwrap();
                    assert_eq!(*registry.func_type(id).unwrap().params, params);
                    let second = registry.register_func(func(&params)).unwrap();
                    assert_eq!(second.0, id);
                    drop((keep, second));
                }
            });
        }
    });
    assert!(registry.is_empty());
}
