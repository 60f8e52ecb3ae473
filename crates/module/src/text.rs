//! Bytes that are not a binary module: the text format, or something else, which is named.

use palisade_core::{LimitKind, Limits};

use crate::error::{DecodeError, DecodeErrorKind};

/// Whether bytes begin as a binary module does.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm")
}

/// Whether bytes that begin as a binary module are a component: the layer field says so.
pub(crate) fn is_component(bytes: &[u8]) -> bool {
    bytes.get(6..8) == Some(&[1, 0])
}

pub(crate) fn component() -> DecodeError {
    DecodeError::new(
        DecodeErrorKind::Component,
        None,
        "this is a component, and a module is wanted here",
    )
}

fn not_wasm(found: &str) -> DecodeError {
    let message = format!("not a WebAssembly module: this is {found}");
    DecodeError::new(DecodeErrorKind::NotWasm, None, message)
}

/// The beginnings of well-known files.
const KNOWN: &[(&[u8], &str)] = &[
    (b"\x7fELF", "an ELF file (a native program or library)"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O file (a native program or library)"),
    (b"\xfe\xed\xfa\xcf", "a Mach-O file (a native program or library)"),
    (b"\xca\xfe\xba\xbe", "a Java class or a universal Mach-O file"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"!<arch>\n", "an ar archive (a static library)"),
    (b"BC\xc0\xde", "LLVM bitcode: link it first"),
    (b"#!", "a script"),
    (b"\x89PNG", "a PNG image"),
    (b"%PDF", "a PDF document"),
];

/// Makes a binary module of the text format.
pub(crate) fn to_binary(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    if bytes.is_empty() {
        return Err(not_wasm("an empty file (0 bytes)"));
    }
    if b"\0asm".starts_with(bytes) {
        return Err(DecodeError::malformed(bytes.len() as u64, "unexpected end of the header"));
    }
    if let Some((_, what)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(not_wasm(what));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if begins_as_text_format(text) => {
            let found = bytes.len() as u64;
            if found > limits.text_bytes {
                return Err(DecodeError::limit(LimitKind::TextBytes, 0, found, limits.text_bytes));
            }
            encode(text)
        }
        Ok(text) if !text.contains('\0') => Err(not_wasm("a text file")),
        _ => Err(not_wasm("some other binary file")),
    }
}

/// Whether the first token is an opening parenthesis, which no text but ours is likely to have.
fn begins_as_text_format(text: &str) -> bool {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix(";;") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    rest.starts_with('(')
}

#[cfg(not(feature = "wat"))]
fn encode(_text: &str) -> Result<Vec<u8>, DecodeError> {
    Err(not_wasm("the text format, which this build does not read"))
}

/// Where in a text the operator stands that is at an offset of the binary made of it.
#[cfg(not(feature = "wat"))]
pub(crate) fn position(_text: &[u8], _binary: &[u8], _offset: u64) -> Option<(u32, u32)> {
    None
}

#[cfg(feature = "wat")]
use from_text::encode;
#[cfg(feature = "wat")]
pub(crate) use from_text::position;

#[cfg(feature = "wat")]
mod from_text {
    //! The text format itself. Positions in it are looked for when there is an error to be reported, by
    //! reading the text once more: most texts have none, and keeping them would cost all of those.

    use wasmparser::{FunctionBody, Parser, Payload};
    use wast::core::{Func, FuncKind, ModuleField, ModuleKind};
    use wast::parser::{self, ParseBuffer};
    use wast::token::Span;

    use super::component;
    use crate::error::{DecodeError, DecodeErrorKind};

    /// Line and column, counted from 1.
    fn place(text: &str, span: Span) -> (u32, u32) {
        let (line, column) = span.linecol_in(text);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
        (number(line), number(column))
    }

    pub(super) fn encode(text: &str) -> Result<Vec<u8>, DecodeError> {
        let at = |error: &wast::Error| {
            let (line, column) = place(text, error.span());
            let message = crate::error::escape_message(&error.message());
            DecodeError::new(DecodeErrorKind::Text { line, column }, None, message)
        };
        let buffer = ParseBuffer::new(text).map_err(|e| at(&e))?;
        let mut wat = parser::parse::<wast::Wat<'_>>(&buffer).map_err(|e| at(&e))?;
        if matches!(wat, wast::Wat::Component(_)) {
            return Err(component());
        }
        wat.encode().map_err(|e| at(&e))
    }

    /// Where in a text the operator stands that is at an offset of the binary made of it. `None` for
    /// offsets outside of functions.
    pub(crate) fn position(text: &[u8], binary: &[u8], offset: u64) -> Option<(u32, u32)> {
        let (func, operator) = operator_at(binary, offset)?;
        let text = std::str::from_utf8(text).ok()?;
        let mut buffer = ParseBuffer::new(text).ok()?;
        buffer.track_instr_spans(true);
        let wast::Wat::Module(mut module) = parser::parse(&buffer).ok()? else { return None };
        // Makes fields of their own of what is written in short.
        module.encode().ok()?;
        let ModuleKind::Text(fields) = &module.kind else { return None };
        let mut funcs = fields.iter().filter_map(|field| match field {
            ModuleField::Func(Func { span, kind: FuncKind::Inline { expression, .. }, .. }) => {
                Some((span, expression))
            }
            _ => None,
        });
        let (span, expression) = funcs.nth(func)?;
        // The last `end` is not written: it stands for the function.
        let operators = expression.instr_spans.as_ref()?;
        Some(place(text, *operators.get(operator).unwrap_or(span)))
    }

    /// Which operator of which function, among those with bodies, stands at an offset or behind it.
    fn operator_at(binary: &[u8], offset: u64) -> Option<(usize, usize)> {
        let bodies = Parser::new(0).parse_all(binary).filter_map(|payload| match payload {
            Ok(Payload::CodeSectionEntry(body)) => Some(body),
            _ => None,
        });
        let holds = |body: &FunctionBody<'_>| body.range().contains(&offset);
        let (func, body) = bodies.enumerate().find(|(_, body)| holds(body))?;
        let mut reader = body.get_operators_reader().ok()?;
        let mut operator = 0;
        while !reader.eof() && reader.original_position() < offset {
            reader.read().ok()?;
            operator += 1;
        }
        Some((func, operator))
    }
}
