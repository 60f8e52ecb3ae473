//! Broken text: whatever is given as a module in the text format ends with a module or with an error that says
//! where, the same every time.

use palisade::{Engine, ErrorKind, Module};

use super::Rng;

/// Texts with a bit of everything.
pub const TEXTS: [&str; 8] = [
    r#"(module $m (type $t (func (param i32 i64) (result f32))) (import "a" "b" (func $i (type $t)))
        (memory (export "m") 1 2) (data (i32.const 8) "a\00\ff\u{1F600}\n\"") (global $g (mut i64) (i64.const -0x8000))
        (func $f (export "f") (param $x i32) (result i32) (local $y f64)
          (block $b (result i32) (loop $l (br_if $l (i32.eqz (local.get $x)))) (i32.const 0x7fff_ffff))))"#,
    r#"(module (table $t 2 10 funcref) (elem (i32.const 0) func $a $a) (elem declare func $a)
        (func $a (result i32) (call_indirect $t (result i32) (i32.const 1)))
        (func (export "r") (result funcref) ref.func $a) (start $s) (func $s nop))"#,
    r#"(module (rec (type $a (sub (struct (field $x (mut i8)) (field (ref null $b))))) (type $b (array (mut (ref $a)))))
        (func (result anyref) (struct.new $a (i32.const 1) (ref.null $b)))
        (func (param (ref null any)) (result i32) (ref.test (ref $a) (local.get 0))))"#,
    r#"(module (tag $e (param i32)) (func (result i32) (block $o (return (block $h (result i32)
        (try_table (result i32) (catch $e $h) (catch_all $o) (throw $e (i32.const 1)))))) (i32.const 0))
        (func (throw_ref (ref.null exn))))"#,
    r#"(module (func (result v128) (v128.const i32x4 1 -2 0x3 4)) (func (param v128) (result v128)
        (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 (local.get 0) (local.get 0)))
        (func (result f32 f64) (f32.const nan:0x200000) (f64.const -0x1.8p-1023)) (func (result f64) f64.const 1e308))"#,
    r#"(module (memory i64 1 2 shared) (memory $n 1) (func (param i64) (result i32)
        (i32.atomic.rmw8.cmpxchg_u offset=3 (local.get 0) (i32.const 1) (i32.const 2)))
        (func (memory.copy $n $n (i32.const 0) (i32.const 1) (i32.const 2))) (data $d "x") (func data.drop $d))"#,
    "(module binary \"\\00asm\" \"\\01\\00\\00\\00\")",
    r#"(module (@name "n") ;; a comment
        (; a (; nested ;) one ;) (@custom "name" "text")
        (func i32.const 1 (@metadata.code.branch_hint "\01") if nop end))"#,
];

/// Pieces that parsers trip over.
const PIECES: [&str; 24] = [
    "(",
    ")",
    "((((((((",
    "))))",
    "\"",
    "\"\\",
    "(;",
    ";)",
    ";;",
    "$",
    "$\"a b\"",
    "(@",
    "\u{0}",
    "\u{202e}",
    "\u{feff}",
    "0x",
    "18446744073709551616",
    "-0x1p99999",
    "nan:0x0",
    "1_",
    "\"\\u{110000}\"",
    "\"\\ff\"",
    "(module",
    "(func",
];

/// A word of a text: where it begins and ends.
fn word(rng: &mut Rng, text: &[u8]) -> std::ops::Range<usize> {
    let inside = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'(' | b')' | b'"');
    let start = rng.below(text.len() + 1);
    let start = start + text[start..].iter().take_while(|byte| !inside(byte)).count();
    start..start + text[start..].iter().take_while(|byte| inside(byte)).count()
}

/// A text with something wrong, or not.
fn mutate(rng: &mut Rng) -> Vec<u8> {
    let mut text = rng.pick(&TEXTS).as_bytes().to_vec();
    if rng.one_in(2) {
        // Words alone, so that it stays a text.
        for _ in 0..1 + rng.below(3) {
            let place = word(rng, &text);
            let other = rng.pick(&TEXTS).as_bytes();
            let other = &other[word(rng, other)];
            match rng.below(3) {
                0 => drop(text.drain(place)),
                1 => drop(text.splice(place.start..place.start, [other, b" "].concat())),
                _ => drop(text.splice(place, other.iter().copied())),
            }
        }
        return text;
    }
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(text.len() + 1);
        let end = (at + 1 + rng.below(30)).min(text.len());
        match rng.below(8) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => {
                let copy = text[at..end].to_vec();
                let many = if rng.one_in(6) { 2_000 } else { 1 + rng.below(3) };
                text.splice(at..at, copy.repeat(many));
            }
            3 => {
                let to = rng.below(text.len() + 1);
                let moved: Vec<u8> = text[at..end].to_vec();
                text.splice(to..to, moved);
            }
            4 if at < text.len() => text[at] = rng.next() as u8,
            5 => {
                let other = rng.pick(&TEXTS).as_bytes();
                let from = rng.below(other.len());
                let to = (from + rng.below(80)).min(other.len());
                text.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let piece = rng.pick(&PIECES).as_bytes();
                let many = if rng.one_in(20) { 100_000 } else { 1 };
                text.splice(at..at, piece.repeat(many));
            }
        }
        text.truncate(1 << 20);
    }
    text
}

/// Loads a text, which need not be one; says whether it is a module.
pub fn round(engine: &Engine, seed: u64) -> Result<bool, String> {
    let text = mutate(&mut Rng::new(seed));
    let [first, second] = [(); 2].map(|()| Module::new(engine, &text));
    let what = |result: &palisade::Result<Module>| match result {
        Ok(_) => "a module".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    if what(&first) != what(&second) {
        return Err(format!("seed {seed}: {} the second time {}", what(&first), what(&second)));
    }
    let Err(error) = first else { return Ok(true) };
    let message = format!("{error:#}");
    if !matches!(error.kind(), ErrorKind::Module(_)) {
        return Err(format!("seed {seed}: an error of another kind: {message}"));
    }
    let dangerous = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
    if message.chars().any(dangerous) || message.len() > 4_000 {
        return Err(format!("seed {seed}: a message that cannot be shown: {message:?}"));
    }
    Ok(false)
}
