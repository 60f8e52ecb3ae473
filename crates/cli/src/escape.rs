//! Text that others chose, made fit for a terminal.
//!
//! File names and names from modules may hold control characters, escape sequences and characters
//! that turn the direction of writing. Whatever goes into a message passes through here. Which
//! characters are dangerous is decided in one place, [`palisade::escape_name`], which also cuts; what
//! the user typed is shown whole.

use std::ffi::OsStr;
use std::path::Path;

/// A name from a module: escaped, and cut when it is very long.
pub(crate) fn name(text: &str) -> String {
    palisade::escape_name(text)
}

/// A path, escaped and not cut.
pub(crate) fn path(path: &Path) -> String {
    os(path.as_os_str())
}

/// Any argument of the command line, escaped and not cut.
pub(crate) fn os(text: &OsStr) -> String {
    let mut out = String::new();
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        push_whole(&mut out, chunk.valid());
        out.push_str(&palisade::escape_name(chunk.invalid()));
    }
    out
}

/// A message of several lines: line ends stay, everything else unprintable is escaped.
pub(crate) fn lines(text: &str) -> String {
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        push_whole(&mut out, line);
    }
    out
}

/// Escapes in pieces that are too short to be cut.
fn push_whole(out: &mut String, text: &str) {
    const PIECE: usize = 64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(PIECE).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        out.push_str(&palisade::escape_name(piece));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(name("a\x1b[31mb"), "a\\u{1b}[31mb");
        assert_eq!(os(OsStr::new("x\u{202e}y")), "x\\u{202e}y");
        assert_eq!(os(OsStr::from_bytes(b"gr\xc3\xbcn\xff")), "grün\\xff");
        assert_eq!(lines("a\nb\x07"), "a\nb\\u{7}");
    }

    #[test]
    fn long_paths_are_shown_whole() {
        let long = "ä".repeat(5000);
        assert_eq!(os(OsStr::new(&long)), long);
        assert!(name(&long).chars().count() < 1000);
    }
}
