//! Why bytes are not a module that we take, in words that can be shown.
//!
//! A message never contains raw text from the module: names go through [`escape_name`]. The name
//! of the file is not known here; the caller puts it in front.

use std::fmt::{self, Write as _};

use palisade_core::LimitKind;

use crate::features::{self, Proposal};

/// Bytes were not accepted as a module.
///
/// `Display` gives one line: what is wrong, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.line())]
pub struct DecodeError {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    kind: DecodeErrorKind,
    offset: Option<u64>,
    message: String,
    missing: Option<&'static Proposal>,
    text: Option<InText>,
}

/// The module was given in the text format.
#[derive(Copy, Clone, Debug)]
struct InText {
    /// Line and column of what the error is about, where they are known.
    position: Option<(u32, u32)>,
}

/// The sort of a [`DecodeError`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes do not follow the binary format.
    Malformed,
    /// The bytes follow the format, but the module is not valid.
    Invalid,
    /// A limit is exceeded; at `found` counting was stopped.
    Limit {
        /// Which limit.
        kind: LimitKind,
        /// How many there are.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The text format, with an error at this line and column, both counted from 1.
    Text {
        /// The line.
        line: u32,
        /// The column.
        column: u32,
    },
    /// A component, where a module is wanted.
    Component,
    /// Neither a binary module nor the text format.
    NotWasm,
    /// More bytes than the limit `module-bytes` allows.
    TooLarge {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there may be.
        limit: u64,
    },
    /// The cancellation flag was set to this value.
    Cancelled {
        /// What the flag held.
        reason: u32,
    },
}

impl DecodeError {
    pub(crate) fn new(
        kind: DecodeErrorKind,
        offset: Option<u64>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self { inner: Box::new(Inner { kind, offset, message, missing: None, text: None }) }
    }

    pub(crate) fn malformed(offset: u64, message: impl Into<String>) -> Self {
        Self::new(DecodeErrorKind::Malformed, Some(offset), message)
    }

    pub(crate) fn invalid(offset: u64, message: impl Into<String>) -> Self {
        Self::new(DecodeErrorKind::Invalid, Some(offset), message)
    }

    pub(crate) fn from_parser(kind: DecodeErrorKind, error: &wasmparser::Error) -> Self {
        let mut message = escape_capped(error.message().as_bytes(), MESSAGE_CAP);
        let missing = features::missing(error);
        if let Some(Proposal { name, switch, .. }) = missing {
            let _ = write!(
                message,
                " (the proposal `{name}` is switched off: --wasm {name}=on or \
                 `Config::{switch}(true)` allows it)"
            );
        } else if let Some(features) = error.missing_wasm_feature() {
            for (name, _) in features.iter_names() {
                let name = name.to_lowercase().replace('_', "-");
                let _ = write!(message, " (`{name}` is nothing that Palisade has)");
            }
        }
        let mut this = Self::new(kind, Some(error.offset()), message);
        this.inner.missing = missing;
        this
    }

    pub(crate) fn limit(kind: LimitKind, offset: u64, found: u64, limit: u64) -> Self {
        let name = kind.name();
        let over = found.saturating_sub(limit);
        let ceiling = kind.ceiling();
        let mut message = format!("{}: {found}, {over} more than the limit of {limit}", what(kind));
        if found <= ceiling {
            let _ = write!(message, "; to raise it: --limit {name}={found}");
        } else if limit < ceiling {
            let _ = write!(message, "; it can be raised to {ceiling}: --limit {name}={ceiling}");
        } else {
            let _ = write!(message, ", which is the highest that `{name}` can be set to");
        }
        Self::new(DecodeErrorKind::Limit { kind, found, limit }, Some(offset), message)
    }

    /// A module of more bytes than the limit.
    pub fn too_large(found: u64, limit: u64) -> Self {
        let mut error = Self::limit(LimitKind::ModuleBytes, 0, found, limit);
        error.inner.kind = DecodeErrorKind::TooLarge { found, limit };
        error.inner.offset = None;
        error
    }

    pub(crate) fn cancelled(reason: u32) -> Self {
        Self::new(DecodeErrorKind::Cancelled { reason }, None, "stopped while loading the module")
    }

    /// The error of a module in the text format, where `position` finds lines and columns of offsets.
    pub(crate) fn in_text(mut self, position: impl FnOnce(u64) -> Option<(u32, u32)>) -> Self {
        self.inner.text = Some(InText { position: self.inner.offset.and_then(position) });
        self
    }

    /// The sort of error.
    pub fn kind(&self) -> DecodeErrorKind {
        self.inner.kind
    }

    /// The offset, in bytes from the start of the binary module, if the error has a place in it.
    pub fn offset(&self) -> Option<u64> {
        self.inner.offset
    }

    /// Line and column, both counted from 1, if the module was given in the text format and the error has a place
    /// in it: of what does not parse, or of the operator that is not valid.
    pub fn text_position(&self) -> Option<(u32, u32)> {
        match self.inner.kind {
            DecodeErrorKind::Text { line, column } => Some((line, column)),
            _ => self.inner.text?.position,
        }
    }

    /// What is wrong; without the place, where the kind's own words do not need it.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The proposal that is switched off, if that is why the module was refused.
    pub fn missing_proposal(&self) -> Option<&'static Proposal> {
        self.inner.missing
    }

    fn line(&self) -> String {
        let message = &self.inner.message;
        let head = match self.inner.kind {
            DecodeErrorKind::Malformed => "malformed module",
            DecodeErrorKind::Invalid => "invalid module",
            DecodeErrorKind::Limit { .. } | DecodeErrorKind::TooLarge { .. } => {
                "module over a limit"
            }
            DecodeErrorKind::Text { line, column } => {
                return format!("line {line}, column {column}: {message}");
            }
            DecodeErrorKind::Component
            | DecodeErrorKind::NotWasm
            | DecodeErrorKind::Cancelled { .. } => return message.clone(),
        };
        let Some(offset) = self.inner.offset else { return format!("{head}: {message}") };
        match self.inner.text {
            None => format!("{head} at offset {offset:#x}: {message}"),
            Some(InText { position: Some((line, column)) }) => {
                format!("{head} at line {line}, column {column} (offset {offset:#x}): {message}")
            }
            Some(InText { position: None }) => {
                format!("{head} at offset {offset:#x} of its binary form: {message}")
            }
        }
    }
}

/// What a limit counts, as the subject of a message.
fn what(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::ModuleBytes => "bytes in the module",
        LimitKind::Types => "types",
        LimitKind::Imports => "imports",
        LimitKind::Functions => "functions",
        LimitKind::Tables => "tables",
        LimitKind::Memories => "memories",
        LimitKind::Globals => "globals",
        LimitKind::Exports => "exports",
        LimitKind::Elements => "element segments",
        LimitKind::DataSegments => "data segments",
        LimitKind::Tags => "tags",
        LimitKind::BodyBytes => "bytes in a function body",
        LimitKind::Locals => "locals in a function",
        LimitKind::Params => "parameters in a function type",
        LimitKind::Results => "results in a function type",
        LimitKind::Nesting => "nested blocks in a function",
        LimitKind::BrTable => "targets in a br_table",
        LimitKind::SubtypeDepth => "supertypes above a type",
        other => other.name(),
    }
}

/// How many characters of a name are shown.
const NAME_CAP: usize = 200;
/// How many characters of a parser's message are shown; it may quote names.
const MESSAGE_CAP: usize = 500;

/// A name from a module, such that it can be shown anywhere: control characters, characters that
/// change the direction of text or that cannot be seen, and bytes that are no UTF-8 are escaped;
/// what is too long is cut, and ends in `…`.
pub fn escape_name<T: AsRef<[u8]> + ?Sized>(name: &T) -> String {
    escape_capped(name.as_ref(), NAME_CAP)
}

/// A parser's message, which may quote names from the module, escaped and cut likewise.
#[cfg(feature = "wat")]
pub(crate) fn escape_message(message: &str) -> String {
    escape_capped(message.as_bytes(), MESSAGE_CAP)
}

fn escape_capped(bytes: &[u8], cap: usize) -> String {
    // A character takes four bytes at most, so nothing behind this can be shown.
    let cut = bytes.len().min(cap * 4);
    let mut out = String::new();
    let mut shown = 0;
    for chunk in bytes[..cut].utf8_chunks() {
        for c in chunk.valid().chars() {
            if shown == cap {
                out.push('…');
                return out;
            }
            shown += 1;
            push_escaped(&mut out, c);
        }
        for byte in chunk.invalid() {
            if shown == cap {
                out.push('…');
                return out;
            }
            shown += 1;
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    if cut < bytes.len() {
        out.push('…');
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hidden(c) => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// Whether a character would act on the terminal, or deceive a reader, in place of being seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{f0000}'..='\u{10ffff}')
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Limit { .. } => "limit",
            Self::Text { .. } => "text",
            Self::Component => "component",
            Self::NotWasm => "not WebAssembly",
            Self::TooLarge { .. } => "too large",
            Self::Cancelled { .. } => "cancelled",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_names_are_shown_escaped() {
        assert_eq!(escape_name("plain.name-é漢"), "plain.name-é漢");
        assert_eq!(escape_name("a\0b\x1b[31mc\x07"), "a\\u{0}b\\u{1b}[31mc\\u{7}");
        assert_eq!(escape_name("x\u{202e}y\u{2066}z\u{200f}"), "x\\u{202e}y\\u{2066}z\\u{200f}");
        assert_eq!(escape_name("\u{9b}31m\u{feff}\u{e0041}"), "\\u{9b}31m\\u{feff}\\u{e0041}");
        assert_eq!(escape_name("a\\u{0}\r\n\t"), "a\\\\u{0}\\r\\n\\t");
        assert_eq!(escape_name(b"ok\xff\xc0\x80".as_slice()), "ok\\xff\\xc0\\x80");
        assert_eq!(escape_name(""), "");
    }

    #[test]
    fn d7_long_names_are_cut() {
        let exact = "é".repeat(NAME_CAP);
        assert_eq!(escape_name(&exact), exact);
        assert_eq!(escape_name(&"é".repeat(NAME_CAP + 1)), format!("{exact}…"));
        let wide = escape_name(&"\u{10ffff}".repeat(100_000));
        assert!(wide.ends_with('…') && wide.len() < NAME_CAP * 12);
        assert!(escape_name(&[0xff; 100_000]).ends_with('…'));
    }

    #[test]
    fn limit_errors_name_the_flag() {
        let error = DecodeError::limit(LimitKind::Params, 0x12, 1001, 10);
        assert_eq!(
            error.to_string(),
            "module over a limit at offset 0x12: parameters in a function type: 1001, 991 more \
             than the limit of 10; it can be raised to 1000: --limit params=1000"
        );
        let error = DecodeError::limit(LimitKind::Nesting, 1, 501, 500);
        assert!(error.message().ends_with("to raise it: --limit nesting=501"), "{error}");
        let error = DecodeError::limit(LimitKind::Params, 1, 1001, 1000);
        assert!(error.message().ends_with("the highest that `params` can be set to"), "{error}");
    }
}
