//! [`Extern`]: anything that can be imported or exported.

use palisade_vm::{ImportValue, VmFuncRef};

use crate::context::AsContext;
use crate::error::Result;
use crate::func::Func;
use crate::global::Global;
use crate::memory::Memory;
use crate::shared_memory::SharedMemory;
use crate::store::{StoreOpaque, vm_error};
use crate::table::Table;
use crate::tag::Tag;
use crate::types::ExternType;

/// Anything that can be imported or exported. A handle, like what it holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A table.
    Table(Table),
    /// A memory.
    Memory(Memory),
    /// A memory that is shared between threads. Belongs to no store.
    SharedMemory(SharedMemory),
    /// A global.
    Global(Global),
    /// A tag.
    Tag(Tag),
}

/// An export of an instance.
#[derive(Clone, Debug)]
pub struct Export {
    name: String,
    value: Extern,
}

impl Export {
    pub(crate) fn new(name: String, value: Extern) -> Self {
        Self { name, value }
    }

    /// Its name; not escaped.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn into_extern(self) -> Extern {
        self.value
    }
}

macro_rules! into {
    ($($name:ident: $variant:ident, $what:literal;)*) => {
        impl Extern {
            $(
                #[doc = concat!("The ", $what, ", if it is one.")]
                pub fn $name(self) -> Option<$variant> {
                    match self {
                        Self::$variant(value) => Some(value),
                        _ => None,
                    }
                }
            )*
        }

        $(
            impl From<$variant> for Extern {
                fn from(value: $variant) -> Self {
                    Self::$variant(value)
                }
            }
        )*
    };
}

into! {
    into_func: Func, "function";
    into_table: Table, "table";
    into_memory: Memory, "memory";
    into_shared_memory: SharedMemory, "shared memory";
    into_global: Global, "global";
    into_tag: Tag, "tag";
}

impl Extern {
    /// Its type. Sizes are those of the moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`](crate::ErrorKind::WrongStore).
    pub fn ty(&self, store: impl AsContext) -> Result<ExternType> {
        Ok(match self {
            Self::Func(func) => ExternType::Func(func.ty(store)?),
            Self::Table(table) => ExternType::Table(table.ty(store)?),
            Self::Memory(memory) => ExternType::Memory(memory.ty(store)?),
            Self::SharedMemory(memory) => ExternType::Memory(memory.ty()),
            Self::Global(global) => ExternType::Global(global.ty(store)?),
            Self::Tag(tag) => ExternType::Tag(tag.ty(store)?),
        })
    }

    /// What kind of object it is.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Func(_) => "function",
            Self::Table(_) => "table",
            Self::Memory(_) => "memory",
            Self::SharedMemory(_) => "shared memory",
            Self::Global(_) => "global",
            Self::Tag(_) => "tag",
        }
    }

    pub(crate) fn from_vm(store: &StoreOpaque, value: ImportValue) -> Self {
        match value {
            // SAFETY: the store gave out a function of its own.
            ImportValue::Func(raw) => Self::Func(unsafe { Func::from_raw(store.id, raw) }),
            ImportValue::Table(id) => Self::Table(Table::from_id(store.id, id)),
            ImportValue::Memory(id) => match store.vm().shared_memory(id) {
                Some(vm) => Self::SharedMemory(SharedMemory::from_vm(&store.engine, vm.clone())),
                None => Self::Memory(Memory::from_id(store.id, id)),
            },
            ImportValue::Global(id) => Self::Global(Global::from_id(store.id, id)),
            ImportValue::Tag(id) => Self::Tag(Tag::from_id(store.id, id)),
        }
    }

    /// An error if it belongs to another store, or to another engine.
    pub(crate) fn check(&self, store: &StoreOpaque) -> Result<()> {
        match self {
            Self::Func(func) => func.check(store.id),
            Self::Table(table) => table.id(store).map(|_| ()),
            Self::Memory(memory) => memory.id(store).map(|_| ()),
            Self::SharedMemory(memory) => memory.vm(&store.engine).map(|_| ()),
            Self::Global(global) => global.id(store).map(|_| ()),
            Self::Tag(tag) => tag.id(store).map(|_| ()),
        }
    }

    /// What the virtual machine takes; an error if it belongs to another store, or if it is a shared
    /// memory that the store does not have yet and has no room for.
    pub(crate) fn to_vm(&self, store: &mut StoreOpaque) -> Result<ImportValue> {
        Ok(match self {
            Self::Func(func) => {
                func.check(store.id)?;
                let raw: *mut VmFuncRef = func.raw();
                ImportValue::Func(raw)
            }
            Self::Table(table) => ImportValue::Table(table.id(store)?),
            Self::Memory(memory) => ImportValue::Memory(memory.id(store)?),
            Self::SharedMemory(memory) => {
                let shared = memory.vm(&store.engine)?.clone();
                let id = store.vm_mut().attach_shared_memory(shared).map_err(vm_error)?;
                ImportValue::Memory(id)
            }
            Self::Global(global) => ImportValue::Global(global.id(store)?),
            Self::Tag(tag) => ImportValue::Tag(tag.id(store)?),
        })
    }
}
