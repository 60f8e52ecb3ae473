//! Exceptions, as the host sees them: [`ExnRef`] to make and look into them, [`Store::throw`] and its like to
//! throw them into a guest, and [`Exception`], which is what an [`Error`] holds when a guest threw one
//! that no guest caught.
//!
//! An exception that a guest throws and a host function lets pass goes on as itself: same identity,
//! same backtrace. Every other error of a host function ends the guest; none of them can be caught.

use std::fmt;
use std::sync::Arc;

use palisade_core as core;
use palisade_core::TrapCode;
use palisade_module::error::escape_name;
use palisade_module::{ModuleInfo, TagIdx};
use palisade_vm::TagId;
use palisade_vm::gc::layout::{FieldLayout, StructLayout};
use palisade_vm::layout::{Cell, VmRef};

use crate::caller::Caller;
use crate::context::{AsContext, AsContextMut, StoreContextMut};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::OwnedRooted;
use crate::refs::ExnRef;
use crate::store::{Store, StoreOpaque};
use crate::tag::Tag;
use crate::types::TagType;
use crate::val::Val;

/// How many values of an exception a message shows.
const SHOWN: usize = 16;

/// An exception that no guest caught.
///
/// Found in [`ErrorKind::Exception`]. It keeps the exception alive; [`Exception::to_exn_ref`] gives a handle to
/// look into it, or to throw it again. (Returning the [`Error`] from a host function throws it again, too.)
pub struct Exception {
    tag: Tag,
    exception: OwnedRooted<ExnRef>,
    /// Where its tag was defined, if not by the host.
    origin: Option<(Arc<ModuleInfo>, TagIdx)>,
    /// Its values, in words.
    values: String,
}

impl Exception {
    /// Its tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// A handle to it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn to_exn_ref(&self, store: impl AsContextMut) -> Result<ExnRef> {
        self.exception.to_rooted(store)
    }

    /// The name of its tag, as the module that defines it gives it: not escaped.
    pub fn tag_name(&self) -> Option<&str> {
        let (module, tag) = self.origin.as_ref()?;
        module.tag_name(*tag)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.tag_name()) {
            (_, Some(name)) => write!(f, "tag `{}`", escape_name(name))?,
            (Some((_, tag)), None) => write!(f, "tag {}", tag.0)?,
            (None, None) => f.write_str("a tag of the host")?,
        }
        write!(f, " ({})", self.values)
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exception({self})")
    }
}

impl ExnRef {
    /// Makes an exception: of a tag, with a value for each parameter of the tag's type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Type`] if the number or the types of the values are wrong, [`ErrorKind::WrongStore`] if the
    /// tag or a value belongs to another store; [`ErrorKind::Trap`] if the heap is full.
    pub fn new(mut store: impl AsContextMut, tag: &Tag, fields: &[Val]) -> Result<Self> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let id = tag.id(opaque)?;
        let ty = tag_type(opaque, id)?;
        if fields.len() != ty.params.len() {
            return Err(Error::type_mismatch(format!(
                "an exception of this tag has {} values, found {}",
                ty.params.len(),
                fields.len()
            )));
        }
        // All values are checked before anything is allocated, and taken out of their handles when
        // that is done: it may move what they refer to.
        for (i, (&ty, &value)) in ty.params.iter().zip(fields).enumerate() {
            value.to_cells(opaque, ty, || format!("value {i} of an exception"))?;
        }
        let layout = StructLayout::of_exception(opaque.engine.types(), &ty.params);
        let raw = opaque.vm_mut().alloc_exception(id, layout.size);
        let raw = raw.map_err(|code| opaque.heap_error(code))?;
        for ((&ty, &value), &field) in ty.params.iter().zip(fields).zip(&layout.fields) {
            let cells = value.to_cells(opaque, ty, || "value of an exception".to_owned())?;
            let vm = opaque.vm_mut();
            // SAFETY: the object is an exception with this layout, and the value is of the field's type
            // and of this store.
            let written = unsafe { vm.gc_write(raw, field.offset.into(), field.kind, cells) };
            written.map_err(|code| opaque.heap_error(code))?;
        }
        Self::from_raw(opaque, raw)
    }

    /// Its tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn tag(&self, store: impl AsContext) -> Result<Tag> {
        let store = store.as_context();
        let opaque = store.opaque();
        let raw = self.raw(opaque)?;
        Ok(Tag::from_id(opaque.id, tag_of(opaque, raw)?))
    }

    /// The type of its tag: its parameters are the types of the values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn ty(&self, store: impl AsContext) -> Result<TagType> {
        let store = store.as_context();
        self.tag(store)?.ty(store)
    }

    /// One of its values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there are not as many; [`ErrorKind::WrongStore`].
    pub fn field(&self, store: impl AsContextMut, index: usize) -> Result<Val> {
        let fields = self.fields(store)?;
        fields.get(index).copied().ok_or_else(|| {
            let count = fields.len();
            Error::not_found(format!("the exception has {count} values, and none at {index}"))
        })
    }

    /// Its values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongStore`].
    pub fn fields(&self, mut store: impl AsContextMut) -> Result<Vec<Val>> {
        let mut store = store.as_context_mut();
        let opaque = store.opaque_mut();
        let raw = self.raw(opaque)?;
        let (ty, cells) = values(opaque, raw)?;
        let value = |(&ty, cells): (&core::ValType, &[Cell; 2])| {
            // SAFETY: the cells hold a value of the type, as it stands in an object of this store, and
            // nothing is allocated meanwhile.
            unsafe { Val::from_cells(opaque, ty, cells.as_ptr()) }
        };
        ty.params.iter().zip(&cells).map(value).collect()
    }
}

/// The type of a tag of a store.
fn tag_type(store: &StoreOpaque, tag: TagId) -> Result<Arc<core::FuncType>> {
    let id = store.vm().tag_type(tag);
    let ty = id.and_then(|id| store.engine.types().func_type(id));
    ty.ok_or_else(|| Error::internal("a store does not know its own tag"))
}

/// The tag of an exception.
fn tag_of(store: &StoreOpaque, raw: VmRef) -> Result<TagId> {
    // SAFETY: the reference comes from a handle of this store to an exception.
    let tag = unsafe { store.vm().exception_tag(raw) };
    tag.ok_or_else(|| Error::internal("an exception without a tag"))
}

/// The values of an exception, and their types.
fn values(store: &StoreOpaque, raw: VmRef) -> Result<(Arc<core::FuncType>, Vec<[Cell; 2]>)> {
    let ty = tag_type(store, tag_of(store, raw)?)?;
    let layout = StructLayout::of_exception(store.engine.types(), &ty.params);
    // SAFETY: the exception has its tag's layout.
    let value =
        |field: &FieldLayout| unsafe { store.vm().gc_read(raw, field.offset.into(), field.kind) };
    let cells = layout.fields.iter().map(value).collect();
    Ok((ty, cells))
}

/// The values of an exception in words.
fn describe(store: &StoreOpaque, raw: VmRef) -> Result<String> {
    use core::ValType as T;
    use fmt::Write;
    let (types, cells) = values(store, raw)?;
    let types = &types.params;
    let mut text = String::new();
    for (i, (&ty, &[low, high])) in types.iter().zip(&cells).take(SHOWN).enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        // Writing to a string does not fail.
        let _ = match ty {
            T::I32 => write!(text, "i32 {}", low as i32),
            T::I64 => write!(text, "i64 {}", low as i64),
            T::F32 => write!(text, "f32 {:?}", f32::from_bits(low as u32)),
            T::F64 => write!(text, "f64 {:?}", f64::from_bits(low)),
            T::V128 => write!(text, "v128 {high:#018x}_{low:016x}"),
            T::Ref(_) if low == 0 => write!(text, "a null reference"),
            T::Ref(_) => write!(text, "a reference"),
        };
    }
    if types.len() > SHOWN {
        let _ = write!(text, ", and {} more", types.len() - SHOWN);
    }
    Ok(text)
}

impl StoreOpaque {
    /// The error that holds an exception of this store.
    fn exception_error(&mut self, raw: VmRef) -> Result<Error> {
        let id = tag_of(self, raw)?;
        let values = describe(self, raw)?;
        let origin = self.vm().tag_origin(id).and_then(|(instance, tag)| {
            self.module_of(instance).map(|module| (module.info().clone(), tag))
        });
        let tag = Tag::from_id(self.id, id);
        let exception = OwnedRooted::from_raw(self, raw)?;
        Ok(Error::new(ErrorKind::Exception(Exception { tag, exception, origin, values })))
    }

    /// Takes the exception out of the store with which an engine has just been left, as an error.
    pub(crate) fn take_exception(&mut self) -> Option<Error> {
        let raw = std::mem::take(&mut self.ctx().pending_exn);
        if raw.is_null() {
            return None;
        }
        Some(match self.vm_mut().pending_error.take() {
            // It is the one that a host function let pass, with what was said about it on the way.
            Some(error) => Error::from_pending(error),
            None => self.exception_error(raw).unwrap_or_else(|error| error),
        })
    }

    /// Lets an exception, which a host function returned, be under way in the guest. Returns the number of the
    /// trap with which host functions say so; `None` if the error is no exception of this store.
    pub(crate) fn raise(&mut self, error: &Error) -> Option<u32> {
        let ErrorKind::Exception(exception) = error.kind() else { return None };
        self.ctx().pending_exn = exception.exception.raw(self).ok()?;
        Some(TrapCode::UncaughtException as u32)
    }
}

impl Error {
    /// The exception that no guest caught, if that is what this error is about. `None`, too, if it belongs to
    /// another store.
    pub fn exception(&self, store: impl AsContextMut) -> Option<ExnRef> {
        match self.kind() {
            ErrorKind::Exception(exception) => exception.to_exn_ref(store).ok(),
            _ => None,
        }
    }
}

impl<T: 'static> StoreContextMut<'_, T> {
    /// See [`Store::throw`].
    pub fn throw<R>(&mut self, exception: ExnRef) -> Result<R> {
        let opaque = self.opaque_mut();
        let raw = exception.raw(opaque)?;
        Err(opaque.exception_error(raw)?)
    }
}

impl<T: 'static> Store<T> {
    /// Makes the error that throws an exception: returned from a host function, it is thrown into the guest that
    /// called, as `throw_ref` does it. Never `Ok`.
    ///
    /// ```
    /// use palisade::{Caller, Engine, ExnRef, FuncType, Linker, Module, Store, Tag, TagType, ValType};
    ///
    /// # fn main() -> palisade::Result<()> {
    /// let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let mut linker = Linker::new(&engine);
    /// let missing = Tag::new(&mut store, &TagType::new(FuncType::new([ValType::I32], [])))?;
    /// linker.define(&store, "host", "missing", missing)?;
    /// linker.func_wrap("host", "find", move |mut caller: Caller<'_, ()>, key: i32| {
    ///     let exception = ExnRef::new(&mut caller, &missing, &[key.into()])?;
    ///     caller.throw::<i32>(exception)
    /// })?;
    /// let module = Module::new(
    ///     &engine,
    ///     r#"(module
    ///          (import "host" "missing" (tag $missing (param i32)))
    ///          (import "host" "find" (func $find (param i32) (result i32)))
    ///          (func (export "catches") (result i32)
    ///            (try_table (result i32) (catch $missing 0) (call $find (i32.const 7))))
    ///          (func (export "does not") (result i32) (call $find (i32.const 8))))"#,
    /// )?;
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let catches = instance.get_typed_func::<(), i32>(&mut store, "catches")?;
    /// assert_eq!(catches.call(&mut store, ())?, 7);
    ///
    /// let does_not = instance.get_typed_func::<(), i32>(&mut store, "does not")?;
    /// let error = does_not.call(&mut store, ()).unwrap_err();
    /// let exception = error.exception(&mut store).expect("an exception");
    /// assert_eq!(exception.tag(&store)?, missing);
    /// assert_eq!(exception.field(&mut store, 0)?.i32(), Some(8));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exception`], always; but [`ErrorKind::WrongStore`] if it belongs to another store.
    pub fn throw<R>(&mut self, exception: ExnRef) -> Result<R> {
        self.as_context_mut().throw(exception)
    }
}

impl<T: 'static> Caller<'_, T> {
    /// See [`Store::throw`].
    pub fn throw<R>(&mut self, exception: ExnRef) -> Result<R> {
        self.store_mut().throw(exception)
    }
}
