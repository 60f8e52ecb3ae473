//! Raw modules, built byte by byte, and ways to decode them.
#![allow(dead_code, reason = "each test file uses its own part")]

use palisade_core::{LimitKind, Limits};
use palisade_module::{DecodeError, DecodeErrorKind, ModuleInfo, TypeRegistry, default_features};

pub(crate) const HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";

/// An unsigned LEB128.
pub(crate) fn leb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The largest count that the format can say.
pub(crate) const HUGE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];

pub(crate) fn section(id: u8, payload: &[u8]) -> Vec<u8> {
    [&[id], &leb(payload.len() as u64)[..], payload].concat()
}

/// A section that is a list of `items`.
pub(crate) fn list(id: u8, items: &[&[u8]]) -> Vec<u8> {
    section(id, &[leb(items.len() as u64), items.concat()].concat())
}

pub(crate) fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [&HEADER[..], &sections.concat()].concat()
}

/// A function body with its size: local declarations and code, with the final `end`.
pub(crate) fn body(locals: &[u8], code: &[u8]) -> Vec<u8> {
    let content = [locals, code].concat();
    [leb(content.len() as u64), content].concat()
}

/// A module with one function of type `[] -> []`, a memory, a table and a mutable global.
pub(crate) fn with_code(locals: &[u8], code: &[u8]) -> Vec<u8> {
    module(&[
        list(1, &[&[0x60, 0, 0]]),
        list(3, &[&[0]]),
        list(4, &[&[0x70, 0, 1]]),
        list(5, &[&[0, 1]]),
        list(6, &[&[0x7f, 1, 0x41, 0, 0x0b]]),
        list(10, &[&body(locals, code)]),
    ])
}

pub(crate) fn decode_with(bytes: Vec<u8>, limits: &Limits) -> Result<ModuleInfo, DecodeError> {
    let registry = TypeRegistry::new();
    let result = ModuleInfo::decode(bytes, limits, default_features(), &registry, None);
    if result.is_err() {
        assert!(registry.is_empty(), "types are left behind");
    }
    result
}

pub(crate) fn decode(bytes: Vec<u8>) -> Result<ModuleInfo, DecodeError> {
    decode_with(bytes, &Limits::default())
}

pub(crate) fn text(wat: &str) -> Result<ModuleInfo, DecodeError> {
    decode(wat.as_bytes().to_vec())
}

pub(crate) fn malformed(bytes: Vec<u8>) -> DecodeError {
    let error = decode(bytes).expect_err("refused");
    assert_eq!(error.kind(), DecodeErrorKind::Malformed, "{error}");
    error
}

pub(crate) fn invalid(bytes: Vec<u8>) -> DecodeError {
    let error = decode(bytes).expect_err("refused");
    assert_eq!(error.kind(), DecodeErrorKind::Invalid, "{error}");
    error
}

/// Refused, as malformed or invalid, whichever is seen first.
pub(crate) fn refused(bytes: Vec<u8>) {
    let error = decode(bytes).expect_err("refused");
    let kinds = [DecodeErrorKind::Malformed, DecodeErrorKind::Invalid];
    assert!(kinds.contains(&error.kind()), "{error}");
}

pub(crate) fn limit(result: Result<ModuleInfo, DecodeError>) -> (LimitKind, u64, u64) {
    let error = result.expect_err("refused");
    match error.kind() {
        DecodeErrorKind::Limit { kind, found, limit } => {
            assert!(error.message().contains(kind.name()), "{error}");
            (kind, found, limit)
        }
        other => panic!("{other:?}: {error}"),
    }
}
