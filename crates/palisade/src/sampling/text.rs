//! What frames are called, and how text stands in a file.

use std::fmt::{self, Write as _};

use palisade_module::error::escape_name;
use palisade_module::{FuncIdx, ModuleInfo};

/// The most characters of a name.
const MOST: usize = 256;

/// The name of a function, escaped and cut to a length.
pub(super) fn function(module: &ModuleInfo, func: u32) -> String {
    match module.func_name(FuncIdx(func)) {
        Some(name) => cut(name),
        None => format!("<wasm function {func}>"),
    }
}

/// The name of a module, escaped and cut to a length.
pub(super) fn module(module: &ModuleInfo) -> String {
    module.module_name().map_or_else(|| "<unnamed module>".to_owned(), cut)
}

/// Something that a guest says, escaped and cut to a length.
pub(super) fn cut(text: &str) -> String {
    let end = text.char_indices().nth(MOST).map_or(text.len(), |(at, _)| at);
    escape_name(&text[..end]).to_string()
}

/// A string of JSON.
pub(super) struct Json<'a>(pub(super) &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                // What is no character of text, or may not stand in scripts.
                '\0'..='\x1f' | '\x7f' | '\u{2028}' | '\u{2029}' => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        let shown = Json("a\"b\\c\n\u{2028}ä").to_string();
        assert_eq!(shown, "\"a\\\"b\\\\c\\u000a\\u2028ä\"");
    }
}
