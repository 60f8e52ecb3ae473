//! What a guest prints on a terminal, with everything made visible that the terminal could obey.
//!
//! No sequence is parsed: one cannot begin without its introducer (ESC, or a control of U+0080 to U+009F), and no
//! introducer comes out, whatever stands behind it, in however many writes it arrives, and whether anybody has heard
//! of the sequence or not. What remains of it is text. All that has to be remembered between two writes is a character
//! of which some bytes are still to come.
//!
//! | in | out |
//! |---|---|
//! | text in UTF-8, tab, line feed, carriage return | the same |
//! | other controls (ESC, BEL, backspace, DEL, …) | `\x1b` and the like |
//! | controls of U+0080 to U+009F (CSI, OSC, DCS, APC, … in one character) | `\u{9b}` and the like |
//! | characters that turn the direction of writing (embeddings, overrides, isolates) | `\u{202e}` and the like |
//! | bytes that are no UTF-8 | `\xff` and the like |
//!
//! Invariant: what comes out is valid UTF-8 at every moment, in whole characters, and of its controls there are no others
//! than those three. The terminal is taken to be one that reads UTF-8.

/// The state between two writes to one stream.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The first bytes of a character that may still become valid: three at most.
    held: [u8; 3],
    held_len: usize,
}

impl Filter {
    /// Appends to `out` what of `bytes` may be shown now.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut all = Vec::with_capacity(self.held_len + bytes.len());
        all.extend_from_slice(self.held.get(..self.held_len).unwrap_or_default());
        all.extend_from_slice(bytes);
        self.held_len = 0;
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    show(text, out);
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    show(std::str::from_utf8(valid).unwrap_or_default(), out);
                    let Some(bad) = error.error_len() else {
                        self.hold(after);
                        return;
                    };
                    let (bad, after) = after.split_at(bad.min(after.len()));
                    bad.iter().for_each(|byte| show_byte(*byte, out));
                    rest = after;
                }
            }
        }
    }

    /// Appends what is still held: nothing will complete it any more.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let held = self.held.get(..self.held_len).unwrap_or_default();
        held.iter().for_each(|byte| show_byte(*byte, out));
        self.held_len = 0;
    }

    fn hold(&mut self, bytes: &[u8]) {
        for (place, byte) in self.held.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.held_len = bytes.len().min(self.held.len());
    }
}

fn show(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => out.push(c as u8),
            '\0'..='\x1f' | '\x7f' => show_byte(c as u8, out),
            '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend_from_slice(format!("\\u{{{:x}}}", u32::from(c)).as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn show_byte(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest that one byte becomes.
    const LONGEST: usize = 4;

    fn shown(pieces: &[&[u8]]) -> String {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        for piece in pieces {
            filter.push(piece, &mut out);
        }
        filter.finish(&mut out);
        String::from_utf8(out).expect("what comes out is UTF-8")
    }

    #[test]
    fn text_is_left_alone() {
        for text in ["", "plain\r\n\ttext", "grün ✓ 日本 🎉", "é"] {
            assert_eq!(shown(&[text.as_bytes()]), text);
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(shown(&bytes), text);
        }
    }

    #[test]
    fn sequences_are_visible() {
        assert_eq!(shown(&[b"\x1b[31mred\x1b[0m"]), "\\x1b[31mred\\x1b[0m");
        assert_eq!(shown(&[b"\x1b", b"]0;title\x07"]), "\\x1b]0;title\\x07");
        assert_eq!(shown(&["\u{9b}2J".as_bytes()]), "\\u{9b}2J");
        // The same control in two writes, and as a byte by itself.
        assert_eq!(shown(&[b"\xc2", b"\x9b2J"]), "\\u{9b}2J");
        assert_eq!(shown(&[b"\x9b2J"]), "\\x9b2J");
        assert_eq!(shown(&[b"\xc2", b"A"]), "\\xc2A");
        assert_eq!(shown(&[b"\xe2\x80"]), "\\xe2\\x80");
        assert_eq!(shown(&["a\u{202e}b".as_bytes()]), "a\\u{202e}b");
        assert_eq!(shown(&[b"\x00\x08\x0b\x0c\x0e\x7f"]), "\\x00\\x08\\x0b\\x0c\\x0e\\x7f");
    }

    #[test]
    fn nothing_comes_out_that_a_terminal_obeys_whatever_goes_in() {
        let mut seed = 0x243f_6a88_85a3_08d3u64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        // Bytes that make sequences, characters and halves of characters likely.
        let likely = b"\x1b\x1b[]P^_X\\?0;mcJHh\x07\x08\x9b\x9c\x90\x9d\xc2\xc2\xe2\x80\xae\xf0\x9f\x8e\x89\xff\n\r\tA";
        for _ in 0..20_000 {
            let len = next() % 24;
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    let n = next();
                    if n % 4 == 0 {
                        (n >> 8) as u8
                    } else {
                        *likely.get((n >> 8) as usize % likely.len()).unwrap_or(&0)
                    }
                })
                .collect();
            let whole = shown(&[&bytes]);
            let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
            assert!(!whole.chars().any(control), "{bytes:x?} gave {whole:?}");
            assert!(whole.len() <= bytes.len() * LONGEST, "{bytes:x?}");
            // However it is cut, the same comes out; and whole characters at each moment.
            let (mut filter, mut out) = (Filter::default(), Vec::new());
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((next() as usize % rest.len()) + 1);
                filter.push(piece, &mut out);
                assert!(std::str::from_utf8(&out).is_ok(), "{bytes:x?}");
                rest = after;
            }
            filter.finish(&mut out);
            assert_eq!(out, whole.as_bytes(), "{bytes:x?}");
        }
    }
}
