//! The registry of canonical types: one for each engine.
//!
//! Recursive groups are hash-consed (specification: type equivalence): two groups of the same shape
//! get the same ids, so that the equality of types is the equality of numbers. Entries are counted,
//! and removed with the last module or host type that uses them.
//!
//! Invariants: an id that somebody holds a [`RegisteredTypes`] for is never given to another type;
//! a group keeps alive every group that it mentions; a display ends in its own type. Nothing in here
//! recurses, and all work is linear in the size of the types.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use palisade_core::{FuncType, HeapType, RefType, TypeId, ValType};

/// A defined type with its place in the subtype relation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SubType {
    /// Whether it may not have subtypes.
    pub is_final: bool,
    /// The declared supertype.
    pub supertype: Option<TypeId>,
    /// What it is.
    pub composite: CompositeType,
    /// Its supertypes from the root down to itself: the display that casts look into.
    pub display: Arc<[TypeId]>,
}

/// What a defined type is made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CompositeType {
    /// A function type.
    Func(Arc<FuncType>),
    /// A structure type.
    Struct(Box<[FieldType]>),
    /// An array type.
    Array(FieldType),
}

/// A field of a structure, or the element of an array.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct FieldType {
    /// What it holds.
    pub storage: StorageType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// What a field holds.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum StorageType {
    /// Eight bits of an `i32`.
    I8,
    /// Sixteen bits of an `i32`.
    I16,
    /// A whole value.
    Val(ValType),
}

/// A member of a group as it is looked up: references into the group itself are marked and
/// counted from its start, all others are canonical.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Member {
    pub(crate) is_final: bool,
    pub(crate) supertype: Option<TypeId>,
    pub(crate) composite: CompositeType,
}

/// Marks a [`TypeId`] in a [`Member`] as a position in the member's own group. Canonical ids stay
/// below.
const IN_GROUP: u32 = 1 << 31;

/// A reference to a member of the group that is being described.
pub(crate) fn in_group(position: u32) -> TypeId {
    TypeId(IN_GROUP | position)
}

impl CompositeType {
    /// Replaces each type that is mentioned.
    fn map(&self, f: &mut impl FnMut(TypeId) -> TypeId) -> Self {
        let mut mapped = false;
        let mut id = |id: TypeId| {
            let new = f(id);
            mapped |= new != id;
            new
        };
        match self {
            Self::Func(ty) => {
                let new = FuncType {
                    params: ty.params.iter().map(|t| map_val(*t, &mut id)).collect(),
                    results: ty.results.iter().map(|t| map_val(*t, &mut id)).collect(),
                };
                // Most types mention no other, and then one copy is enough.
                Self::Func(if mapped { Arc::new(new) } else { Arc::clone(ty) })
            }
            Self::Struct(fields) => {
                Self::Struct(fields.iter().map(|field| map_field(*field, &mut id)).collect())
            }
            Self::Array(field) => Self::Array(map_field(*field, &mut id)),
        }
    }
}

fn map_field(field: FieldType, f: &mut impl FnMut(TypeId) -> TypeId) -> FieldType {
    match field.storage {
        StorageType::Val(ty) => FieldType { storage: StorageType::Val(map_val(ty, f)), ..field },
        StorageType::I8 | StorageType::I16 => field,
    }
}

fn map_val(ty: ValType, f: &mut impl FnMut(TypeId) -> TypeId) -> ValType {
    match ty {
        ValType::Ref(RefType { nullable, heap: HeapType::Concrete(id) }) => {
            ValType::Ref(RefType { nullable, heap: HeapType::Concrete(f(id)) })
        }
        other => other,
    }
}

/// The types of one engine. Shared by its modules, stores and host types; may be used by any
/// number of threads.
#[derive(Default)]
pub struct TypeRegistry {
    state: RwLock<State>,
}

impl fmt::Debug for TypeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypeRegistry").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// By id. Free ones are `None` and listed in `free_types`.
    types: Vec<Option<Arc<SubType>>>,
    /// The group of each type.
    group_of: Vec<u32>,
    free_types: Vec<u32>,
    groups: Vec<Option<Group>>,
    free_groups: Vec<u32>,
    by_shape: HashMap<Arc<[Member]>, u32>,
}

struct Group {
    shape: Arc<[Member]>,
    ids: Box<[TypeId]>,
    /// The other groups that it mentions, each once; each of them counts this one as a user.
    uses: Box<[u32]>,
    users: usize,
}

/// A type could not be registered.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A type mentions an id that nobody keeps alive in this registry.
    #[error("the type mentions type {}, which does not belong to this engine", .0.0)]
    UnknownType(TypeId),
    /// There are no more ids.
    #[error("this engine holds as many types as it can number")]
    Full,
}

impl TypeRegistry {
    /// A registry without types.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many types are alive.
    pub fn len(&self) -> usize {
        let state = self.read();
        state.types.len() - state.free_types.len()
    }

    /// Whether no type is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of an id; `None` if nobody keeps it alive.
    pub fn get(&self, id: TypeId) -> Option<Arc<SubType>> {
        self.read().get(id).cloned()
    }

    /// The function type of an id; `None` if it is none.
    pub fn func_type(&self, id: TypeId) -> Option<Arc<FuncType>> {
        match &self.read().get(id)?.composite {
            CompositeType::Func(ty) => Some(Arc::clone(ty)),
            CompositeType::Struct(_) | CompositeType::Array(_) => None,
        }
    }

    /// Whether an id names a function type.
    pub fn is_func(&self, id: TypeId) -> bool {
        matches!(self.read().get(id).map(|ty| &ty.composite), Some(CompositeType::Func(_)))
    }

    /// Whether a type is the one that [`Self::register_func`] makes of the same parameters and results.
    pub fn is_plain_func(&self, id: TypeId) -> bool {
        let state = self.read();
        let (Some(ty), Some(group)) = (state.get(id), state.group_of.get(id.0 as usize)) else {
            return false;
        };
        let Some(Some(group)) = state.groups.get(*group as usize) else { return false };
        match &*group.shape {
            // A member that mentions itself is not what it resolves to.
            [
                Member { is_final: true, supertype: None, composite: own @ CompositeType::Func(_) },
            ] => *own == ty.composite,
            _ => false,
        }
    }

    /// Whether each value of the defined type `sub` has type `sup`.
    pub fn is_subtype(&self, sub: TypeId, sup: TypeId) -> bool {
        sub == sup || self.read().is_subtype(sub, sup)
    }

    /// Whether the heap type `sub` matches `sup`.
    pub fn is_heap_subtype(&self, sub: HeapType, sup: HeapType) -> bool {
        use HeapType as H;
        if sub == sup {
            return true;
        }
        match (sub, sup) {
            (H::I31 | H::Struct | H::Array, H::Eq | H::Any) | (H::Eq, H::Any) => true,
            (H::None, H::I31 | H::Struct | H::Array | H::Eq | H::Any) => true,
            (H::NoFunc, H::Func) | (H::NoExtern, H::Extern) | (H::NoExn, H::Exn) => true,
            (H::Concrete(sub), H::Concrete(sup)) => self.is_subtype(sub, sup),
            (H::Concrete(id), _) => match self.read().get(id).map(|ty| &ty.composite) {
                Some(CompositeType::Func(_)) => sup == H::Func,
                Some(CompositeType::Struct(_)) => matches!(sup, H::Struct | H::Eq | H::Any),
                Some(CompositeType::Array(_)) => matches!(sup, H::Array | H::Eq | H::Any),
                None => false,
            },
            (H::None | H::NoFunc, H::Concrete(id)) => {
                match self.read().get(id).map(|ty| &ty.composite) {
                    Some(CompositeType::Func(_)) => sub == H::NoFunc,
                    Some(CompositeType::Struct(_) | CompositeType::Array(_)) => sub == H::None,
                    None => false,
                }
            }
            _ => false,
        }
    }

    /// Whether the reference type `sub` matches `sup`.
    pub fn is_ref_subtype(&self, sub: RefType, sup: RefType) -> bool {
        (sup.nullable || !sub.nullable) && self.is_heap_subtype(sub.heap, sup.heap)
    }

    /// Whether the value type `sub` matches `sup`.
    pub fn is_val_subtype(&self, sub: ValType, sup: ValType) -> bool {
        match (sub, sup) {
            (ValType::Ref(sub), ValType::Ref(sup)) => self.is_ref_subtype(sub, sup),
            _ => sub == sup,
        }
    }

    /// Registers a function type by itself, as a host function needs it: final and without a
    /// supertype, like `(type (func …))`. It lives as long as what is returned beside its id.
    ///
    /// The ids that it mentions must be alive in this registry.
    pub fn register_func(
        self: &Arc<Self>,
        ty: FuncType,
    ) -> Result<(TypeId, RegisteredTypes), RegistryError> {
        self.register(true, None, CompositeType::Func(Arc::new(ty)))
    }

    /// Registers a type by itself, which does not mention itself. It lives as long as what is returned beside
    /// its id. That it is a subtype of its supertype is the caller's to see to.
    ///
    /// The ids that it mentions must be alive in this registry.
    pub fn register(
        self: &Arc<Self>,
        is_final: bool,
        supertype: Option<TypeId>,
        composite: CompositeType,
    ) -> Result<(TypeId, RegisteredTypes), RegistryError> {
        let mut foreign = supertype.filter(|id| id.0 >= IN_GROUP);
        composite.map(&mut |id| {
            foreign = foreign.or(Some(id).filter(|id| id.0 >= IN_GROUP));
            id
        });
        if let Some(id) = foreign {
            return Err(RegistryError::UnknownType(id));
        }
        let mut registration = Registration::new(self);
        registration.add(vec![Member { is_final, supertype, composite }])?;
        let (ids, registered) = registration.finish();
        match ids.first() {
            Some(id) => Ok((*id, registered)),
            None => Err(RegistryError::Full),
        }
    }

    /// Keeps a type that is alive so, and with it its group; `None` if nobody keeps it alive.
    pub fn hold(self: &Arc<Self>, id: TypeId) -> Option<RegisteredTypes> {
        let mut state = self.write();
        state.get(id)?;
        let group = *state.group_of.get(id.0 as usize)?;
        state.group_mut(group)?.users += 1;
        drop(state);
        Some(RegisteredTypes { registry: Arc::clone(self), groups: vec![group] })
    }
}

impl State {
    fn get(&self, id: TypeId) -> Option<&Arc<SubType>> {
        self.types.get(id.0 as usize)?.as_ref()
    }

    fn is_subtype(&self, sub: TypeId, sup: TypeId) -> bool {
        let (Some(sub), Some(supertype)) = (self.get(sub), self.get(sup)) else { return false };
        sub.display.get(supertype.display.len() - 1) == Some(&sup)
    }

    fn group_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.groups.get_mut(group as usize)?.as_mut()
    }

    /// The group of this shape, with one more user.
    fn intern(&mut self, shape: Vec<Member>) -> Result<u32, RegistryError> {
        if let Some(&group) = self.by_shape.get(shape.as_slice()) {
            if let Some(known) = self.group_mut(group) {
                known.users += 1;
            }
            return Ok(group);
        }
        let uses = self.mentioned_groups(&shape)?;
        let ids = self.new_ids(shape.len())?;
        let group = match self.free_groups.pop() {
            Some(group) => group,
            None => {
                self.groups.push(None);
                (self.groups.len() - 1) as u32
            }
        };
        for &used in &uses {
            if let Some(used) = self.group_mut(used) {
                used.users += 1;
            }
        }
        for (member, id) in shape.iter().zip(&ids) {
            let ty = self.sub_type(member, *id, &ids);
            self.types[id.0 as usize] = Some(Arc::new(ty));
            self.group_of[id.0 as usize] = group;
        }
        let shape: Arc<[Member]> = shape.into();
        self.by_shape.insert(Arc::clone(&shape), group);
        self.groups[group as usize] =
            Some(Group { shape, ids: ids.into(), uses: uses.into(), users: 1 });
        Ok(group)
    }

    /// The groups that a shape mentions, each once.
    fn mentioned_groups(&self, shape: &[Member]) -> Result<Vec<u32>, RegistryError> {
        let mut uses = Vec::new();
        let mut unknown = None;
        let mut mention = |id: TypeId| {
            if id.0 & IN_GROUP == 0 {
                match self.get(id) {
                    Some(_) => uses.push(self.group_of[id.0 as usize]),
                    None => unknown = Some(id),
                }
            } else if (id.0 & !IN_GROUP) as usize >= shape.len() {
                unknown = Some(id);
            }
            id
        };
        for member in shape {
            member.composite.map(&mut mention);
            if let Some(supertype) = member.supertype {
                mention(supertype);
            }
        }
        if let Some(id) = unknown {
            return Err(RegistryError::UnknownType(id));
        }
        uses.sort_unstable();
        uses.dedup();
        Ok(uses)
    }

    fn new_ids(&mut self, count: usize) -> Result<Vec<TypeId>, RegistryError> {
        let fresh = count.saturating_sub(self.free_types.len());
        if self.types.len() + fresh > IN_GROUP as usize {
            return Err(RegistryError::Full);
        }
        Ok((0..count)
            .map(|_| {
                TypeId(self.free_types.pop().unwrap_or_else(|| {
                    self.types.push(None);
                    self.group_of.push(0);
                    (self.types.len() - 1) as u32
                }))
            })
            .collect())
    }

    /// A member as a type of its own. Supertypes stand before their subtypes.
    fn sub_type(&self, member: &Member, own: TypeId, ids: &[TypeId]) -> SubType {
        let resolve = |id: TypeId| match id.0 & IN_GROUP {
            0 => id,
            _ => ids.get((id.0 & !IN_GROUP) as usize).copied().unwrap_or(own),
        };
        let supertype = member.supertype.map(resolve);
        let above = supertype.and_then(|id| self.get(id)).map_or(&[][..], |ty| &ty.display);
        SubType {
            is_final: member.is_final,
            supertype,
            composite: member.composite.map(&mut |id| resolve(id)),
            display: above.iter().copied().chain([own]).collect(),
        }
    }

    /// Takes one user from each of the groups, and removes those that have none left.
    fn release(&mut self, mut groups: Vec<u32>) {
        while let Some(number) = groups.pop() {
            let Some(group) = self.group_mut(number) else { continue };
            group.users -= 1;
            if group.users > 0 {
                continue;
            }
            let Some(group) = self.groups[number as usize].take() else { continue };
            self.by_shape.remove(&group.shape);
            self.free_groups.push(number);
            for id in &group.ids {
                self.types[id.0 as usize] = None;
                self.free_types.push(id.0);
            }
            groups.extend_from_slice(&group.uses);
        }
    }
}

/// Types that are being registered, group by group, as a type section has them.
pub(crate) struct Registration {
    ids: Vec<TypeId>,
    registered: RegisteredTypes,
}

impl Registration {
    pub(crate) fn new(registry: &Arc<TypeRegistry>) -> Self {
        let registry = Arc::clone(registry);
        Self { ids: Vec::new(), registered: RegisteredTypes { registry, groups: Vec::new() } }
    }

    /// The canonical ids so far.
    pub(crate) fn ids(&self) -> &[TypeId] {
        &self.ids
    }

    /// Registers one group.
    pub(crate) fn add(&mut self, group: Vec<Member>) -> Result<(), RegistryError> {
        if group.is_empty() {
            return Ok(());
        }
        let mut state = self.registered.registry.write();
        let number = state.intern(group)?;
        self.registered.groups.push(number);
        if let Some(group) = state.group_mut(number) {
            self.ids.extend_from_slice(&group.ids);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> (Vec<TypeId>, RegisteredTypes) {
        (self.ids, self.registered)
    }
}

/// Keeps types alive in their registry; a clone keeps them alive for itself.
pub struct RegisteredTypes {
    registry: Arc<TypeRegistry>,
    groups: Vec<u32>,
}

impl RegisteredTypes {
    /// The registry that the types live in.
    pub fn registry(&self) -> &Arc<TypeRegistry> {
        &self.registry
    }
}

impl Clone for RegisteredTypes {
    fn clone(&self) -> Self {
        let mut state = self.registry.write();
        for &group in &self.groups {
            if let Some(group) = state.group_mut(group) {
                group.users += 1;
            }
        }
        Self { registry: Arc::clone(&self.registry), groups: self.groups.clone() }
    }
}

impl Drop for RegisteredTypes {
    fn drop(&mut self) {
        if !self.groups.is_empty() {
            self.registry.write().release(std::mem::take(&mut self.groups));
        }
    }
}

impl fmt::Debug for RegisteredTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisteredTypes({} groups)", self.groups.len())
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
