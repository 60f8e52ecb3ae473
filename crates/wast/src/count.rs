//! Counts the directives of a script from its text, independently of the parser that runs them.

/// How many directives a script has: its outermost forms, or one if it is a module without a
/// `(module …)` around it. The directives inside of a `(thread …)` count, too.
pub fn count_directives(text: &str) -> usize {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let (mut forms, mut directives) = (0, false);
    while let Some(byte) = scan.next_token_start() {
        if byte == b'(' && scan.peek(1) != Some(b'@') {
            forms += 1;
            directives |= scan.is_directive();
            if scan.keyword() == b"thread" {
                forms += scan.forms_of_thread();
                continue;
            }
        }
        scan.skip_token();
    }
    if directives { forms } else { forms.min(1) }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// Goes past blanks and comments.
    fn next_token_start(&mut self) -> Option<u8> {
        loop {
            match (self.peek(0)?, self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r', _) => self.at += 1,
                (b';', Some(b';')) => self.skip_line(),
                (b'(', Some(b';')) => self.skip_block_comment(),
                (byte, _) => return Some(byte),
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'(', Some(b';')) => {
                    depth += 1;
                    self.at += 2;
                }
                (b';', Some(b')')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }

    /// Goes past a whole form in parentheses, a string, or one byte of anything else.
    fn skip_token(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.next_token_start() {
            match byte {
                b'(' => {
                    depth += 1;
                    self.at += 1;
                }
                b')' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b'"' => self.skip_string(),
                _ => self.at += 1,
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// The word after the parenthesis that the scan stands at.
    fn keyword(&self) -> &[u8] {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        let word = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'_';
        let end = rest.iter().position(word).unwrap_or(rest.len());
        &rest[..end]
    }

    fn is_directive(&self) -> bool {
        let word = self.keyword();
        word.starts_with(b"assert_")
            || [&b"module"[..], b"component", b"register", b"invoke", b"thread"].contains(&word)
    }

    /// Goes past a thread and counts the directives in it.
    fn forms_of_thread(&mut self) -> usize {
        self.at += 1;
        let mut forms = 0;
        while let Some(byte) = self.next_token_start() {
            if byte == b')' {
                self.at += 1;
                break;
            }
            if byte == b'(' && self.keyword() != b"shared" {
                forms += 1;
            }
            self.skip_token();
        }
        forms
    }
}

#[cfg(test)]
mod tests {
    use super::count_directives;

    #[test]
    fn outermost_forms_are_counted_and_nothing_else() {
        let script = r#"
            ;; (module)
            (; (module) (; (module) ;) ;)
            (module (func (export "a)\"(") (nop)))
            (assert_return (invoke "a)\"("))
            (@custom "x" (module))
            (module quote "(module) ;;" "(")
        "#;
        assert_eq!(count_directives(script), 3);
    }

    #[test]
    fn a_module_without_its_parentheses_is_one() {
        assert_eq!(count_directives("(func) (memory 0) (func (export \"f\"))"), 1);
        assert_eq!(count_directives("  ;; nothing"), 0);
    }

    #[test]
    fn the_directives_of_a_thread_count() {
        let script = r#"(module $M) (thread $T (shared (module $M))
            (register "m" $M) (module) (assert_return (invoke "f")))
            (wait $T)"#;
        assert_eq!(count_directives(script), 1 + 1 + 3 + 1);
    }

    #[test]
    fn cut_off_text_ends() {
        for text in ["(", "(;", "\"", "(module \"\\", "(thread", ";;", "(thread (", "(;;"] {
            assert!(count_directives(text) <= 2, "{text}");
        }
    }
}
