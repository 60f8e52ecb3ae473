//! From bytes to a validated, immutable description of a module.
//!
//! The one way in is [`ModuleInfo::decode`]: limits are checked while reading, then the whole
//! module is validated to WebAssembly 3.0, and only then is a description handed out. (Of a module that was validated
//! before, and for which somebody trusted vouches, bodies are taken as they are: [`ModuleInfo::decode_vouched`].) Whoever
//! holds a [`ModuleInfo`] may rely on its bodies being valid.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod const_expr;
pub mod error;
pub mod features;
pub mod fuel;
pub mod hints;
pub mod info;
pub mod names;
pub mod types;

mod convert;
pub mod debug;
mod decode;
mod describe;
mod text;
mod validate;

pub use bytes::{LateBytes, ModuleBytes};
pub use const_expr::{ConstExpr, ConstOp};
pub use convert::abstract_heap_type;
pub use decode::poll as poll_cancel;
pub use error::{DecodeError, DecodeErrorKind};
pub use info::*;
pub use types::{
    CompositeType, FieldType, RegisteredTypes, RegistryError, StorageType, SubType, TypeRegistry,
};
pub use validate::{default_features, supported_features};
pub use wasmparser;
