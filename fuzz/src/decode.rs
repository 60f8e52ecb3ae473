//! Broken modules: whatever the bytes are, loading them ends with a module or with an error that says where. V8
//! is asked whether it agrees, where the module uses nothing that it does not know.

use std::panic::{AssertUnwindSafe, catch_unwind};

use palisade::{Engine, ErrorKind, Module};

use crate::rng::Rng;

/// Bytes that parsers trip over: long and overlong numbers, ends, sections, types.
const TOKENS: [&[u8]; 16] = [
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x00],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x00],
    &[0x0b],
    &[0x0b, 0x0b],
    &[0x00],
    &[0x40],
    &[0x7f],
    &[0x60],
    &[0x4e, 0x00],
    &[0x50, 0x00],
    &[0xfd, 0x80, 0x02],
    &[0xfb, 0x00],
];

/// How binary modules begin: what begins otherwise is refused as a whole.
const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";

/// Where V8 is known to take what the specification refuses: a piece of our message, and why.
const LENIENT: [(&str, &str); 8] = [
    ("legacy_exceptions feature required", "the exceptions of before"),
    // In code that is not reached, a reference that is known to be one is still of any type to V8.
    ("found heap type", "references of no type in code that is not reached"),
    // There, `ref.eq` takes anything, too.
    ("expected ref but found", "`ref.eq` of anything in code that is not reached"),
    ("expected subtype of eqref", "`ref.eq` of anything in code that is not reached"),
    ("select only takes integral types", "`select` of references in such code"),
    ("malformed reference type", "empty segments of elements that are no references"),
    ("branch depth too large", "labels of 2^32 - 1 in clauses of `try_table`"),
    ("br_on_non_null target", "`br_on_non_null` to any label in such code"),
];

/// Why V8 takes a module that we refuse with this message, if it is known.
pub fn lenient(message: &str) -> Option<&'static str> {
    LENIENT.iter().find(|(piece, _)| message.contains(piece)).map(|(_, why)| *why)
}

/// A module with something wrong, or not.
pub fn mutate(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + rng.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.below(bytes.len() as u64) as usize;
        let end = (at + 1 + rng.below(8) as usize).min(bytes.len());
        match rng.below(9) {
            0..=2 => bytes[at] ^= 1 << rng.below(8),
            3 => bytes[at] = rng.next() as u8,
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..end)),
            6 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            7 => {
                let token = *rng.pick(&TOKENS);
                bytes.splice(at..at, token.iter().copied());
            }
            _ => {
                let token = *rng.pick(&TOKENS);
                let end = (at + token.len()).min(bytes.len());
                bytes.splice(at..end, token.iter().copied());
            }
        }
    }
    bytes
}

/// Loads bytes: whether they are a module, or what is wrong with how they were refused.
pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Result<Module, palisade::Error>, String> {
    let loaded = catch_unwind(AssertUnwindSafe(|| Module::from_binary(engine, bytes)));
    match loaded {
        Err(_) => Err("the decoder panics".into()),
        Ok(Ok(module)) => Ok(Ok(module)),
        Ok(Err(error)) => match error.kind() {
            ErrorKind::Module(why) if why.offset().is_none() && bytes.starts_with(PREAMBLE) => {
                Err(format!("an error without an offset: {error}"))
            }
            ErrorKind::Module(_) => Ok(Err(error)),
            // What is no binary module at all is told so, in words.
            _ if !bytes.starts_with(PREAMBLE) => Ok(Err(error)),
            _ => Err(format!("an error of another kind: {error}")),
        },
    }
}
