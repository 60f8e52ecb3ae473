//! Objects of the heap, made by the built-ins as an engine makes them, with references in a window of the
//! reference stack.

use palisade_core::{TrapCode, TypeId};
use palisade_vm::builtins::gc;
use palisade_vm::gc::layout::{FieldKind, ObjectLayout};
use palisade_vm::{Resource, StoreConfig, VmRef};

use super::{Guest, World};

/// A module with the types that the tests make objects of.
pub(crate) const TYPES: &str = r#"(module
    (type $node (struct (field (mut i32)) (field (mut anyref))))
    (type $pair (struct (field (mut anyref)) (field (mut i64)) (field (mut anyref)) (field (mut funcref))))
    (type $refs (array (mut anyref)))
    (type $bytes (array (mut i8)))
    (type $funcs (array (mut funcref)))
    (type $vectors (array (mut v128)))
    (tag $tag (param anyref i32 anyref))
    (global $g0 (mut anyref) (ref.null any)) (global $g1 (mut externref) (ref.null extern))
    (global (mut i64) (i64.const -1)) (global (mut funcref) (ref.null func))
    (table $t 8 16 anyref) (table 4 funcref)
    (elem $e anyref (struct.new $node (i32.const 77) (struct.new $node (i32.const 78) (ref.null any)))
        (ref.i31 (i32.const 3)) (array.new_default $bytes (i32.const 5)))
    (func $f0) (func $f1 (param i32)) (elem declare func $f0 $f1))"#;

pub(crate) const NODE: usize = 0;
pub(crate) const PAIR: usize = 1;
pub(crate) const REFS: usize = 2;
pub(crate) const BYTES: usize = 3;
pub(crate) const FUNCS: usize = 4;

/// A store with an instance of [`TYPES`], and a window of so many references.
pub(crate) struct HeapWorld {
    pub(crate) world: World,
    pub(crate) guest: Guest,
    pub(crate) live: u32,
}

pub(crate) fn stressed() -> StoreConfig {
    StoreConfig { gc_stress: true, ..StoreConfig::default() }
}

impl HeapWorld {
    pub(crate) fn new(config: StoreConfig, live: u32) -> Self {
        let mut world = World::with(config);
        let guest = world.instance(TYPES);
        let ctx = world.store.ctx();
        // SAFETY: no guest runs; the stack has room for a small window.
        unsafe { (*ctx).ref_high = (*ctx).ref_fp.add(live as usize) };
        Self { world, guest, live }
    }

    pub(crate) fn ty(&self, index: usize) -> TypeId {
        self.world.store.instance(self.guest.id).expect("an instance").module.types[index]
    }

    /// A reference of the window.
    pub(crate) fn slot(&mut self, slot: u32) -> VmRef {
        assert!(slot < self.live);
        // SAFETY: no guest runs; the slot lies in the window.
        unsafe { (*self.world.store.ctx()).ref_fp.add(slot as usize).read() }
    }

    pub(crate) fn set_slot(&mut self, slot: u32, value: VmRef) {
        assert!(slot < self.live);
        // SAFETY: as above.
        unsafe { (*self.world.store.ctx()).ref_fp.add(slot as usize).write(value) };
    }

    fn layout(&mut self, ty: usize) -> ObjectLayout {
        let id = self.ty(ty);
        self.world.store.gc_type_info(id).expect("a type with objects").layout.clone()
    }

    pub(crate) fn try_struct(&mut self, ty: usize) -> Result<VmRef, TrapCode> {
        let ObjectLayout::Struct(layout) = self.layout(ty) else { panic!("no structure") };
        // SAFETY: the store is alive, and the layout is that of the type.
        unsafe { gc::struct_new(self.guest.vm, self.ty(ty), layout.size, self.live) }
    }

    pub(crate) fn try_array(&mut self, ty: usize, len: u32) -> Result<VmRef, TrapCode> {
        let kind = self.element(ty);
        // SAFETY: as above.
        unsafe { gc::array_new(self.guest.vm, self.ty(ty), kind, len, self.live) }
    }

    pub(crate) fn structure(&mut self, ty: usize) -> VmRef {
        self.try_struct(ty).expect("room")
    }

    pub(crate) fn array(&mut self, ty: usize, len: u32) -> VmRef {
        self.try_array(ty, len).expect("room")
    }

    pub(crate) fn exception(&mut self) -> VmRef {
        let tag = self.world.store.instance(self.guest.id).expect("an instance").tags[0];
        let identity = self.world.store.tag_identity(tag).expect("a tag");
        // SAFETY: the store is alive, and an exception of two references and a number has 24 bytes.
        unsafe { gc::exn_new(self.guest.vm, identity.cast(), 24, self.live).expect("room") }
    }

    /// What kind of elements an array type has.
    pub(crate) fn element(&mut self, ty: usize) -> FieldKind {
        let ObjectLayout::Array(kind) = self.layout(ty) else { panic!("no array") };
        kind
    }

    /// Offset and kind of a field.
    pub(crate) fn field(&mut self, ty: usize, field: usize) -> (u64, FieldKind) {
        let ObjectLayout::Struct(layout) = self.layout(ty) else { panic!("no structure") };
        (layout.fields[field].offset.into(), layout.fields[field].kind)
    }

    pub(crate) fn read(&mut self, object: VmRef, ty: usize, field: usize) -> u64 {
        let (offset, kind) = self.field(ty, field);
        // SAFETY: the tests give objects of that type.
        unsafe { self.world.store.gc_read(object, offset, kind)[0] }
    }

    pub(crate) fn write(&mut self, object: VmRef, ty: usize, field: usize, value: u64) {
        let (offset, kind) = self.field(ty, field);
        // SAFETY: as above.
        unsafe { self.world.store.gc_write(object, offset, kind, [value, 0]).expect("a value") };
    }

    /// The reference in a field.
    pub(crate) fn read_ref(&mut self, object: VmRef, ty: usize, field: usize) -> VmRef {
        VmRef(self.read(object, ty, field) as u32)
    }

    /// A list of nodes with the numbers from 0 on, the last one first, in slot 0.
    pub(crate) fn list(&mut self, count: u32) {
        let (value, next) = (self.field(NODE, 0), self.field(NODE, 1));
        let (ty, ObjectLayout::Struct(layout)) = (self.ty(NODE), self.layout(NODE)) else {
            panic!()
        };
        self.set_slot(0, VmRef::NULL);
        for number in 0..count {
            // SAFETY: the store is alive, and the layout is that of the type.
            unsafe {
                let node = gc::struct_new(self.guest.vm, ty, layout.size, self.live).expect("room");
                let rest = self.slot(0);
                let store = &mut self.world.store;
                store.gc_write(node, value.0, value.1, [number.into(), 0]).expect("a number");
                store.gc_write(node, next.0, next.1, [rest.0.into(), 0]).expect("a reference");
                self.set_slot(0, node);
            }
        }
    }

    /// Collects, with the window in use.
    pub(crate) fn collect(&mut self) {
        let ctx = self.world.store.ctx();
        // SAFETY: no guest runs; the window is put above the references in use, as for a call of the host.
        unsafe {
            (*ctx).ref_fp = (*ctx).ref_fp.add(self.live as usize);
            let result = self.world.store.gc();
            (*ctx).ref_fp = (*ctx).ref_fp.sub(self.live as usize);
            result.expect("nothing goes wrong");
        }
    }

    pub(crate) fn in_use(&mut self, what: Resource) -> u64 {
        self.world.store.ledger().in_use(what)
    }
}
