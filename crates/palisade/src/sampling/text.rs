//! What frames are called, and how text stands in a file.

use std::fmt::{self, Write as _};

use palisade_module::error::escape_name;
use palisade_module::{FuncIdx, ModuleInfo};

/// The most characters of a name.
const MOST: usize = 256;

/// The most bytes of all names of a file together; what comes then has a number in place of its name.
const MOST_BYTES: usize = 32 << 20;

/// Names as a file shows them, in bounded memory. Whoever asks keeps what it gets, and asks for nothing twice.
pub(super) struct Namer {
    left: usize,
}

impl Default for Namer {
    fn default() -> Self {
        Self { left: MOST_BYTES }
    }
}

impl Namer {
    /// The name of a function, escaped and cut to a length.
    pub(super) fn function(&mut self, module: &ModuleInfo, func: u32) -> String {
        let name = module.func_name(FuncIdx(func)).map(cut).filter(|name| self.fits(name));
        name.unwrap_or_else(|| format!("<wasm function {func}>"))
    }

    /// Whether there is room for a name, which is taken then.
    pub(super) fn fits(&mut self, name: &str) -> bool {
        let left = self.left.checked_sub(name.len());
        self.left = left.unwrap_or(self.left);
        left.is_some()
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
    fn names_take_bounded_memory() {
        let (mut namer, name) = (Namer::default(), "x".repeat(1000));
        let kept = (0..MOST_BYTES).take_while(|_| namer.fits(&name)).count();
        assert_eq!(kept, MOST_BYTES / 1000);
        assert!(namer.fits("x"), "what is shorter still fits");
    }

    #[test]
    fn strings_are_quoted() {
        let shown = Json("a\"b\\c\n\u{2028}ä").to_string();
        assert_eq!(shown, "\"a\\\"b\\\\c\\u000a\\u2028ä\"");
    }
}
