//! Which proposals are executed, and what of the others a module needs.
//!
//! Every feature that is enabled is validated, whether an engine executes it or not. For a module that
//! is going to run, the first thing in it that no engine executes is found on the way: an operator of
//! such a proposal, in a body or in a constant expression. Types and tags that such a proposal adds
//! need no execution and are let through. Nothing is found in place of an error: an invalid module is
//! refused as such.

use wasmparser::{
    BinaryReader, ConstExpr, DataKind, ElementItems, ElementKind, FrameKind, FrameStack,
    FromReader, Operator, OperatorsReader, SectionLimited, TableInit, VisitOperator,
    VisitSimdOperator, WasmFeatures,
};

use crate::decode::{Outline, malformed};
use crate::error::DecodeError;

/// Everything in WebAssembly 3.0 and the finished proposals on top of it.
pub(crate) const ALL: WasmFeatures =
    WasmFeatures::WASM3.union(WasmFeatures::CUSTOM_PAGE_SIZES).union(WasmFeatures::WIDE_ARITHMETIC);

/// What the engines execute.
const EXECUTED: WasmFeatures = ALL;

/// The features whose operators the engines execute: those of [`crate::default_features`] but for
/// garbage collection. A module that needs another one is refused by
/// [`crate::ModuleInfo::decode_executable`].
pub fn executable_features() -> WasmFeatures {
    EXECUTED
}

/// Whether operators of a feature cannot be executed.
const fn refused(feature: WasmFeatures) -> bool {
    !EXECUTED.contains(feature)
}

/// The feature that a proposal of the parser's tables is.
macro_rules! feature {
    (mvp) => {
        WasmFeatures::empty()
    };
    (sign_extension) => {
        WasmFeatures::SIGN_EXTENSION
    };
    (saturating_float_to_int) => {
        WasmFeatures::SATURATING_FLOAT_TO_INT
    };
    (bulk_memory) => {
        WasmFeatures::BULK_MEMORY
    };
    (reference_types) => {
        WasmFeatures::REFERENCE_TYPES
    };
    (tail_call) => {
        WasmFeatures::TAIL_CALL
    };
    (function_references) => {
        WasmFeatures::FUNCTION_REFERENCES
    };
    (wide_arithmetic) => {
        WasmFeatures::WIDE_ARITHMETIC
    };
    (simd) => {
        WasmFeatures::SIMD
    };
    (relaxed_simd) => {
        WasmFeatures::RELAXED_SIMD
    };
    (gc) => {
        WasmFeatures::GC
    };
    (exceptions) => {
        WasmFeatures::EXCEPTIONS
    };
    (threads) => {
        WasmFeatures::THREADS
    };
    (legacy_exceptions) => {
        WasmFeatures::LEGACY_EXCEPTIONS
    };
    (memory_control) => {
        WasmFeatures::MEMORY_CONTROL
    };
    (custom_descriptors) => {
        WasmFeatures::CUSTOM_DESCRIPTORS
    };
    (shared_everything_threads) => {
        WasmFeatures::SHARED_EVERYTHING_THREADS
    };
    (stack_switching) => {
        WasmFeatures::STACK_SWITCHING
    };
    (acquire_release_atomics) => {
        WasmFeatures::ACQUIRE_RELEASE_ATOMICS
    };
}

/// Something in a module that no engine executes: the operator at this offset.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Need(u64);

impl Need {
    /// The one that stands first.
    pub(crate) fn first(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        a.into_iter().chain(b).min_by_key(|need| need.0)
    }

    /// Why the module is refused.
    pub(crate) fn error(self, bytes: &[u8]) -> DecodeError {
        let Self(offset) = self;
        let data = bytes.get(offset as usize..).unwrap_or_default();
        let mut reader = OperatorsReader::new(BinaryReader::new(data, offset));
        // It has been read before.
        let (feature, visit) =
            reader.read().map_or((WasmFeatures::empty(), ""), |op| describe(&op));
        let name: String = feature.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        DecodeError::not_executed(offset, &name.replace('_', "-"), &text_name(visit))
    }
}

/// The feature of an operator, and the parser's name for it.
fn describe(op: &Operator<'_>) -> (WasmFeatures, &'static str) {
    macro_rules! table {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
            match op {
                $( Operator::$op { .. } => (feature!($proposal), stringify!($visit)), )*
                // The enumeration may grow.
                _ => (WasmFeatures::empty(), ""),
            }
        };
    }
    wasmparser::for_each_operator!(table)
}

/// The name of an operator in the text format, from that of the parser's `visit` function. Only
/// those that are not executed come here.
fn text_name(visit: &str) -> String {
    let name = visit.strip_prefix("visit_").unwrap_or(visit);
    let name = ["_non_null", "_nullable"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
    if ["br_", "throw", "try_"].iter().any(|control| name.starts_with(control)) {
        return name.to_owned();
    }
    let mut text = name.replacen('_', ".", 1);
    if name.contains("atomic_") {
        text = text.replacen("atomic_", "atomic.", 1);
        for width in ["rmw_", "rmw8_", "rmw16_", "rmw32_"] {
            text = text.replace(width, &format!("{}.", width.trim_end_matches('_')));
        }
    }
    text
}

/// A visitor of operators that passes all to another one and notes the first that is not executed.
pub(crate) struct Gate<'n, V> {
    pub(crate) inner: V,
    /// Where the operator stands.
    pub(crate) offset: u64,
    pub(crate) need: &'n mut Option<Need>,
}

impl<V> Gate<'_, V> {
    #[cold]
    fn note(&mut self, need: Need) {
        self.need.get_or_insert(need);
    }
}

macro_rules! gate {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        $(
            #[inline]
            fn $visit(&mut self $($(, $arg: $argty)*)?) -> Self::Output {
                if const { refused(feature!($proposal)) } {
                    self.note(Need(self.offset));
                }
                self.inner.$visit($($($arg),*)?)
            }
        )*
    };
}

impl<V: FrameStack> FrameStack for Gate<'_, V> {
    fn current_frame(&self) -> Option<FrameKind> {
        self.inner.current_frame()
    }
}

impl<'a, V: VisitOperator<'a>> VisitOperator<'a> for Gate<'_, V> {
    type Output = V::Output;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = V::Output>> {
        const { assert!(!refused(WasmFeatures::SIMD) && !refused(WasmFeatures::RELAXED_SIMD)) };
        self.inner.simd_visitor()
    }

    wasmparser::for_each_visit_operator!(gate);
}

/// Looks at everything but the bodies.
pub(crate) fn structure(outline: &Outline<'_>) -> Result<Option<Need>, DecodeError> {
    let mut need = None;
    each(&outline.globals, |global| constant(&global.init_expr, &mut need))?;
    each(&outline.tables, |table| match &table.init {
        TableInit::Expr(expr) => constant(expr, &mut need),
        TableInit::RefNull => Ok(()),
    })?;
    each(&outline.elements, |element| {
        if let ElementKind::Active { offset_expr, .. } = &element.kind {
            constant(offset_expr, &mut need)?;
        }
        match element.items {
            ElementItems::Functions(_) => Ok(()),
            ElementItems::Expressions(_, items) => {
                each(&Some(items), |expr| constant(&expr, &mut need))
            }
        }
    })?;
    each(&outline.data, |data| match &data.kind {
        DataKind::Active { offset_expr, .. } => constant(offset_expr, &mut need),
        DataKind::Passive => Ok(()),
    })?;
    Ok(need)
}

fn each<'a, T: FromReader<'a>>(
    section: &Option<SectionLimited<'a, T>>,
    mut look: impl FnMut(T) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for item in section.iter().flat_map(|section| section.clone()) {
        look(item.map_err(malformed)?)?;
    }
    Ok(())
}

/// Looks at a constant expression.
fn constant(expr: &ConstExpr<'_>, need: &mut Option<Need>) -> Result<(), DecodeError> {
    let mut reader = expr.get_operators_reader();
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset().map_err(malformed)?;
        if refused(describe(&op).0) {
            *need = Need::first(*need, Some(Need(offset)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_have_the_names_of_the_text_format() {
        for (visit, name) in [
            ("visit_struct_new_default", "struct.new_default"),
            ("visit_ref_eq", "ref.eq"),
            ("visit_ref_test_non_null", "ref.test"),
            ("visit_ref_cast_nullable", "ref.cast"),
            ("visit_br_on_cast_fail", "br_on_cast_fail"),
            ("visit_i31_get_s", "i31.get_s"),
            ("visit_any_convert_extern", "any.convert_extern"),
            ("visit_try_table", "try_table"),
            ("visit_throw", "throw"),
            ("visit_throw_ref", "throw_ref"),
            ("visit_atomic_fence", "atomic.fence"),
            ("visit_memory_atomic_wait32", "memory.atomic.wait32"),
            ("visit_i32_atomic_load8_u", "i32.atomic.load8_u"),
            ("visit_i64_atomic_rmw_cmpxchg", "i64.atomic.rmw.cmpxchg"),
            ("visit_i64_atomic_rmw32_add_u", "i64.atomic.rmw32.add_u"),
        ] {
            assert_eq!(text_name(visit), name);
        }
    }
}
