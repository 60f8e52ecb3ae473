//! Imports: what can be given, and whether it matches what a module asks for (specification: import
//! matching).
//!
//! Memories and tables are matched by their current size, globals by their declared type. An object
//! that the store does not know is a mismatch like any other.

use std::fmt::Write as _;

use palisade_core::{GlobalType, MemoryType, TableType, TypeId, ValType};
use palisade_module::{ExternType, TypeRegistry};

use crate::ids::{GlobalId, MemoryId, TableId, TagId};
use crate::layout::VmFuncRef;
use crate::store::StoreInner;

/// Something that a store holds and a module can import.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ImportValue {
    /// A function.
    Func(*mut VmFuncRef),
    /// A table.
    Table(TableId),
    /// A memory.
    Memory(MemoryId),
    /// A global.
    Global(GlobalId),
    /// A tag.
    Tag(TagId),
}

/// An import does not have the type that the module asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct ImportMismatch {
    /// What the module asks for.
    pub expected: String,
    /// What was given.
    pub found: String,
}

impl StoreInner {
    /// The type of an object, with current sizes; `None` if it is not of this store.
    pub fn extern_type(&self, value: &ImportValue) -> Option<ExternType> {
        Some(match *value {
            ImportValue::Func(reference) if self.owns_func_ref(reference) => {
                // SAFETY: just seen to be a function reference of this store.
                ExternType::Func(unsafe { (*reference).type_id })
            }
            ImportValue::Func(_) => return None,
            ImportValue::Table(id) => ExternType::Table(self.table_type(id)?),
            ImportValue::Memory(id) => ExternType::Memory(self.memory_type(id)?),
            ImportValue::Global(id) => ExternType::Global(self.global_type(id)?),
            ImportValue::Tag(id) => ExternType::Tag(self.tag_type(id)?),
        })
    }
}

/// Whether `given` may be imported where `expected` is asked for.
pub fn check_import(
    store: &StoreInner,
    expected: &ExternType,
    given: &ImportValue,
) -> Result<(), ImportMismatch> {
    let types = store.types();
    let Some(found) = store.extern_type(given) else {
        let kind = match given {
            ImportValue::Func(_) => "a function",
            ImportValue::Table(_) => "a table",
            ImportValue::Memory(_) => "a memory",
            ImportValue::Global(_) => "a global",
            ImportValue::Tag(_) => "a tag",
        };
        return Err(ImportMismatch {
            expected: describe_extern_type(types, expected),
            found: format!("{kind} of another store"),
        });
    };
    if matches(types, expected, &found) {
        return Ok(());
    }
    Err(ImportMismatch {
        expected: describe_extern_type(types, expected),
        found: describe_extern_type(types, &found),
    })
}

fn matches(types: &TypeRegistry, expected: &ExternType, found: &ExternType) -> bool {
    match (expected, found) {
        (ExternType::Func(expected), ExternType::Func(found)) => {
            types.is_subtype(*found, *expected)
        }
        (ExternType::Table(expected), ExternType::Table(found)) => {
            table_matches(types, expected, found)
        }
        (ExternType::Memory(expected), ExternType::Memory(found)) => {
            memory_matches(expected, found)
        }
        (ExternType::Global(expected), ExternType::Global(found)) => {
            global_matches(types, expected, found)
        }
        (ExternType::Tag(expected), ExternType::Tag(found)) => expected == found,
        _ => false,
    }
}

/// Whether limits lie within the expected ones.
fn limits_match(expected: (u64, Option<u64>), found: (u64, Option<u64>)) -> bool {
    let maximum_fits = match (expected.1, found.1) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(expected), Some(found)) => found <= expected,
    };
    found.0 >= expected.0 && maximum_fits
}

fn memory_matches(expected: &MemoryType, found: &MemoryType) -> bool {
    expected.memory64 == found.memory64
        && expected.shared == found.shared
        && expected.page_size_log2 == found.page_size_log2
        && limits_match((expected.minimum, expected.maximum), (found.minimum, found.maximum))
}

fn table_matches(types: &TypeRegistry, expected: &TableType, found: &TableType) -> bool {
    expected.table64 == found.table64
        && types.is_ref_subtype(found.element, expected.element)
        && types.is_ref_subtype(expected.element, found.element)
        && limits_match((expected.minimum, expected.maximum), (found.minimum, found.maximum))
}

fn global_matches(types: &TypeRegistry, expected: &GlobalType, found: &GlobalType) -> bool {
    expected.mutable == found.mutable
        && types.is_val_subtype(found.content, expected.content)
        && (!expected.mutable || types.is_val_subtype(expected.content, found.content))
}

/// The type in words, as error messages show it.
pub fn describe_extern_type(types: &TypeRegistry, ty: &ExternType) -> String {
    match ty {
        ExternType::Func(id) => format!("a function {}", describe_signature(types, *id)),
        ExternType::Tag(id) => format!("a tag {}", describe_signature(types, *id)),
        ExternType::Table(ty) => describe_table(ty),
        ExternType::Memory(ty) => describe_memory(ty),
        ExternType::Global(ty) => {
            format!(
                "{} global of type {}",
                if ty.mutable { "a mutable" } else { "an immutable" },
                ty.content
            )
        }
    }
}

fn describe_signature(types: &TypeRegistry, id: TypeId) -> String {
    let Some(ty) = types.func_type(id) else { return "of an unknown type".to_owned() };
    // Types can have a thousand parameters, which nobody reads.
    const SHOWN: usize = 16;
    let list = |types: &[ValType]| {
        let mut text = String::from("[");
        for (i, ty) in types.iter().take(SHOWN).enumerate() {
            let _ = write!(text, "{}{ty}", if i > 0 { " " } else { "" });
        }
        if types.len() > SHOWN {
            let _ = write!(text, " … {} in all", types.len());
        }
        text + "]"
    };
    let mut text = format!("{} -> {}", list(&ty.params), list(&ty.results));
    // Two types of the same signature can differ in their place in the subtype relation.
    if let Some(sub) = types.get(id).filter(|sub| sub.supertype.is_some() || !sub.is_final) {
        let kind = if sub.is_final { "final" } else { "open" };
        let _ = write!(text, " (type {}, {kind}", id.0);
        if let Some(supertype) = sub.supertype {
            let _ = write!(text, ", below type {}", supertype.0);
        }
        text.push(')');
    }
    text
}

fn describe_limits(minimum: u64, maximum: Option<u64>) -> String {
    match maximum {
        Some(maximum) => format!("{minimum} to {maximum}"),
        None => format!("{minimum} or more"),
    }
}

fn describe_table(ty: &TableType) -> String {
    let index = if ty.table64 { "64-bit table" } else { "table" };
    format!("a {index} of {} (elements: {})", ty.element, describe_limits(ty.minimum, ty.maximum))
}

fn describe_memory(ty: &MemoryType) -> String {
    let shared = if ty.shared { "shared " } else { "" };
    let index = if ty.memory64 { "64-bit memory" } else { "memory" };
    let limits = describe_limits(ty.minimum, ty.maximum);
    let mut text = format!("a {shared}{index} (pages: {limits}");
    if ty.page_size_log2 != 16 {
        let _ = write!(text, ", of {} bytes each", ty.page_size());
    }
    text + ")"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_imports() {
        let cases = [
            ((1, None), (1, None), true),
            ((1, None), (2, Some(2)), true),
            ((2, None), (1, None), false),
            ((1, Some(5)), (1, None), false),
            ((1, Some(5)), (3, Some(5)), true),
            ((1, Some(5)), (3, Some(6)), false),
            ((0, Some(u64::MAX)), (u64::MAX, Some(u64::MAX)), true),
        ];
        for (expected, found, verdict) in cases {
            assert_eq!(limits_match(expected, found), verdict, "{expected:?} {found:?}");
        }
    }

    #[test]
    fn memories_match_by_everything() {
        let base = MemoryType {
            memory64: false,
            shared: false,
            minimum: 1,
            maximum: Some(2),
            page_size_log2: 16,
        };
        assert!(memory_matches(&base, &base));
        for other in [
            MemoryType { memory64: true, ..base },
            MemoryType { shared: true, ..base },
            MemoryType { page_size_log2: 0, ..base },
            MemoryType { minimum: 0, ..base },
            MemoryType { maximum: None, ..base },
        ] {
            assert!(!memory_matches(&base, &other), "{other:?}");
        }
    }
}
