//! `--invoke`: the arguments of an export from the words of the command line, and its results as
//! lines of text.

use std::ffi::OsString;

use palisade::{AnyRef, AsContext, FuncType, HeapType, Ref, V128, Val, ValType};

use crate::escape;
use crate::failure::Failure;
use crate::numbers;

/// Reads the arguments for an export of this type.
pub(crate) fn arguments(
    export: &str,
    ty: &FuncType,
    words: &[OsString],
) -> Result<Vec<Val>, Failure> {
    let wanted = ty.params().len();
    if words.len() != wanted {
        return Err(Failure::usage(format!(
            "--invoke {}: {wanted} {} wanted, {} given",
            escape::name(export),
            if wanted == 1 { "argument is" } else { "arguments are" },
            words.len()
        ))
        .hint(format!("its type is {ty}")));
    }
    ty.params()
        .iter()
        .zip(words)
        .enumerate()
        .map(|(i, (ty, word))| {
            let text = word.to_string_lossy();
            argument(ty, &text).map_err(|why| {
                Failure::usage(format!(
                    "--invoke {}: argument {} is `{}`: {why}",
                    escape::name(export),
                    i + 1,
                    escape::os(word)
                ))
            })
        })
        .collect()
}

fn argument(ty: &ValType, text: &str) -> Result<Val, String> {
    Ok(match ty {
        // The casts only say which integer the bits are.
        ValType::I32 => Val::I32(numbers::integer(text, 32)? as u32 as i32),
        ValType::I64 => Val::I64(numbers::integer(text, 64)? as i64),
        ValType::F32 => Val::F32(numbers::float32(text)?),
        ValType::F64 => Val::F64(numbers::float64(text)?),
        ValType::V128 => Val::V128(V128::from(numbers::vector(text)?)),
        ValType::Ref(_) if text == "null" => match Val::default_for(ty) {
            Some(null) => null,
            None => return Err(format!("{ty} cannot be null, and nothing else can be written")),
        },
        ValType::Ref(_) => return Err(format!("the only {ty} that can be written is `null`")),
    })
}

/// A result as a line of text.
pub(crate) fn result(store: impl AsContext, value: &Val, ty: &ValType) -> String {
    match value {
        Val::I32(x) => x.to_string(),
        Val::I64(x) => x.to_string(),
        Val::F32(x) => f32::from_bits(*x).to_string(),
        Val::F64(x) => f64::from_bits(*x).to_string(),
        Val::V128(x) => x.as_u128().to_string(),
        other => match other.as_ref() {
            Some(reference) if reference.is_null() => "null".to_owned(),
            Some(Ref::Any(Some(object))) => kind_of_object(store, &object),
            _ => kind_of_reference(ty).to_owned(),
        },
    }
}

fn kind_of_object(store: impl AsContext, object: &AnyRef) -> String {
    let store = store.as_context();
    match object.as_i31(store) {
        Ok(Some(number)) => number.get_i32().to_string(),
        _ if object.is_struct(store).unwrap_or(false) => "a structure".to_owned(),
        _ if object.is_array(store).unwrap_or(false) => "an array".to_owned(),
        _ => "a host value".to_owned(),
    }
}

fn kind_of_reference(ty: &ValType) -> &'static str {
    let Some(ty) = ty.as_ref() else { return "a reference" };
    let heap = ty.heap_type();
    if heap.matches(&HeapType::Func) {
        "a function"
    } else if heap.matches(&HeapType::Extern) {
        "a host value"
    } else if heap.matches(&HeapType::Exn) {
        "an exception"
    } else {
        "an object"
    }
}
