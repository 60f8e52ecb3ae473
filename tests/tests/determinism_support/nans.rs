//! Generated programs that compute with NaNs of all kinds and store every result, and the judge of those results.
//!
//! A program is a list of steps on a few locals; each step stores what it made at an address of its own. The judge knows
//! for each operator whether the deterministic profile of the specification makes its NaNs canonical.

use std::fmt::Write as _;

/// What a step stores.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Made {
    /// A scalar or lanes of 32 bits, whose NaNs are canonical.
    Canonical32,
    /// As above, of 64 bits.
    Canonical64,
    /// Anything else.
    Other,
}

/// Whether of these 16 bytes every lane that is NaN is the canonical one.
pub fn is_canonical_or_no_nan(made: Made, bytes: &[u8]) -> bool {
    match made {
        Made::Canonical32 => bytes.as_chunks::<4>().0.iter().all(|lane| {
            let bits = u32::from_le_bytes(*lane);
            !f32::from_bits(bits).is_nan() || bits == 0x7fc0_0000
        }),
        Made::Canonical64 => bytes.as_chunks::<8>().0.iter().all(|lane| {
            let bits = u64::from_le_bytes(*lane);
            !f64::from_bits(bits).is_nan() || bits == 0x7ff8_0000_0000_0000
        }),
        Made::Other => true,
    }
}

const UNARY: &[&str] = &["ceil", "floor", "trunc", "nearest", "sqrt", "abs", "neg"];
const BINARY: &[&str] = &["add", "sub", "mul", "div", "min", "max"];
const F32S: [u32; 12] = [
    0x7fc0_0000,
    0xffc0_0000,
    0x7f80_0001,
    0xffa1_2345,
    0x7fff_ffff,
    0x7f80_0000,
    0xff80_0000,
    0,
    0x8000_0000,
    0x3f80_0000,
    0xbf00_0001,
    0x0000_0001,
];
const F64S: [u64; 12] = [
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0xfff4_0000_1234_5678,
    0x7fff_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0,
    0x8000_0000_0000_0000,
    0x3ff0_0000_0000_0000,
    0xc008_0000_0000_0001,
    1,
];

struct Step {
    op: String,
    /// The local that it sets, such as `$f1`.
    target: String,
    expression: String,
    made: Made,
}

/// A program; always the same for the same seed.
pub struct Program {
    locals: String,
    steps: Vec<Step>,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn local(&mut self, kind: char) -> String {
        format!("(local.get ${kind}{})", self.below(4))
    }
}

impl Program {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut locals = String::new();
        for i in 0..4 {
            let (f, d) = (*rng.pick(&F32S), *rng.pick(&F64S));
            let (x, y) = (*rng.pick(&F64S), *rng.pick(&F64S));
            let _ = write!(
                locals,
                "(local.set $f{i} (f32.reinterpret_i32 (i32.const {f:#x})))
                 (local.set $d{i} (f64.reinterpret_i64 (i64.const {d:#x})))
                 (local.set $v{i} (v128.const i64x2 {x:#x} {y:#x}))\n"
            );
        }
        let steps = (0..150).map(|_| step(&mut rng)).collect();
        Self { locals, steps }
    }

    pub fn text(&self) -> String {
        let mut body = String::new();
        for (i, step) in self.steps.iter().enumerate() {
            let kind = match step.target.as_bytes().get(1) {
                Some(b'f') => "f32",
                Some(b'd') => "f64",
                _ => "v128",
            };
            let Step { target, expression, .. } = step;
            let at = 16 * i;
            // Stored as it comes, and by way of a local.
            let way = if i % 2 == 0 {
                format!("({kind}.store (i32.const {at}) (local.tee {target} {expression}))")
            } else {
                format!(
                    "(local.set {target} {expression}) ({kind}.store (i32.const {at}) (local.get {target}))"
                )
            };
            let _ = writeln!(body, "{way}");
        }
        let declared: String = (0..4)
            .map(|i| format!("(local $f{i} f32) (local $d{i} f64) (local $v{i} v128)"))
            .collect();
        format!(
            "(module (memory (export \"memory\") 1) (func (export \"run\") (param $n i32) {declared}
               {locals}
               (loop $again {body}
                 (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))",
            locals = self.locals
        )
    }

    /// What each step stored last, in 16 bytes; what it did not write is zero.
    pub fn results<'a>(&'a self, memory: &'a [u8]) -> impl Iterator<Item = (Made, &'a [u8])> {
        self.steps.iter().zip(memory.chunks(16)).map(|(step, bytes)| (step.made, bytes))
    }

    /// Checks each result, and says how many lanes of them were NaNs.
    pub fn check(&self, memory: &[u8]) -> usize {
        let mut nans = 0;
        for (step, (made, bytes)) in self.steps.iter().zip(self.results(memory)) {
            assert!(is_canonical_or_no_nan(made, bytes), "{}: {bytes:x?}", step.op);
            let lanes32 = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).is_nan());
            let lanes64 = bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b).is_nan());
            nans += match made {
                Made::Canonical32 => lanes32.filter(|nan| *nan).count(),
                Made::Canonical64 => lanes64.filter(|nan| *nan).count(),
                Made::Other => 0,
            };
        }
        nans
    }

    /// The first step whose results differ.
    pub fn difference(&self, a: &[u8], b: &[u8]) -> String {
        let mut pairs = self.steps.iter().zip(a.chunks(16).zip(b.chunks(16)));
        match pairs.find(|(_, (x, y))| x != y) {
            Some((step, (x, y))) => format!("{}: {x:x?} and {y:x?}", step.op),
            None => "the memory beyond the results".to_owned(),
        }
    }
}

/// Whether the profile makes the NaNs of this operator canonical.
fn is_arithmetic(op: &str) -> bool {
    let name = op.split('.').nth(1).unwrap_or(op);
    let moves = ["abs", "neg", "copysign", "pmin", "pmax"];
    !moves.contains(&name)
}

fn step(rng: &mut Rng) -> Step {
    match rng.below(4) {
        0 => scalar(rng, "f32", 'f', Made::Canonical32),
        1 => scalar(rng, "f64", 'd', Made::Canonical64),
        2 => lanes(rng, "f32x4", Made::Canonical32),
        _ => lanes(rng, "f64x2", Made::Canonical64),
    }
}

fn scalar(rng: &mut Rng, ty: &str, kind: char, made: Made) -> Step {
    let (a, b) = (rng.local(kind), rng.local(kind));
    let (op, args) = match rng.below(10) {
        0..=2 => (format!("{ty}.{}", rng.pick(UNARY)), a),
        3..=6 => (format!("{ty}.{}", rng.pick(BINARY)), format!("{a} {b}")),
        7 => (format!("{ty}.copysign"), format!("{a} {b}")),
        8 if ty == "f32" => ("f32.demote_f64".to_owned(), rng.local('d')),
        8 => ("f64.promote_f32".to_owned(), rng.local('f')),
        // A fresh NaN, so that they do not all become canonical in the end.
        _ if ty == "f32" => {
            ("f32.reinterpret_i32".to_owned(), format!("(i32.const {:#x})", rng.pick(&F32S)))
        }
        _ => ("f64.reinterpret_i64".to_owned(), format!("(i64.const {:#x})", rng.pick(&F64S))),
    };
    let plain = op.contains("reinterpret") || !is_arithmetic(&op);
    Step {
        expression: format!("({op} {args})"),
        target: format!("${kind}{}", rng.below(4)),
        made: if plain { Made::Other } else { made },
        op,
    }
}

fn lanes(rng: &mut Rng, shape: &str, made: Made) -> Step {
    let (a, b, c) = (rng.local('v'), rng.local('v'), rng.local('v'));
    let wide = shape == "f64x2";
    let (op, args, plain) = match rng.below(14) {
        0..=2 => (format!("{shape}.{}", rng.pick(UNARY)), a, false),
        3..=5 => (format!("{shape}.{}", rng.pick(BINARY)), format!("{a} {b}"), false),
        // A sum of a product, which one engine may fuse and must not round differently.
        6 => (format!("{shape}.add"), format!("({shape}.mul {a} {b}) {c}"), false),
        7 => (
            format!("{shape}.{}", rng.pick(&["relaxed_madd", "relaxed_nmadd"])),
            format!("{a} {b} {c}"),
            false,
        ),
        8 => (
            format!("{shape}.{}", rng.pick(&["relaxed_min", "relaxed_max"])),
            format!("{a} {b}"),
            false,
        ),
        9 => (format!("{shape}.{}", rng.pick(&["pmin", "pmax"])), format!("{a} {b}"), true),
        10 if wide => ("f64x2.promote_low_f32x4".to_owned(), a, false),
        10 => ("f32x4.demote_f64x2_zero".to_owned(), a, false),
        11 => {
            let relaxed = [
                "i32x4.relaxed_trunc_f32x4_s",
                "i32x4.relaxed_trunc_f32x4_u",
                "i32x4.relaxed_trunc_f64x2_s_zero",
                "i32x4.relaxed_trunc_f64x2_u_zero",
            ];
            ((*rng.pick(&relaxed)).to_owned(), a, true)
        }
        12 => {
            let relaxed = [
                "i8x16.relaxed_swizzle",
                "i16x8.relaxed_q15mulr_s",
                "i16x8.relaxed_dot_i8x16_i7x16_s",
            ];
            ((*rng.pick(&relaxed)).to_owned(), format!("{a} {b}"), true)
        }
        _ => {
            let relaxed = [
                "i8x16.relaxed_laneselect",
                "i16x8.relaxed_laneselect",
                "i32x4.relaxed_laneselect",
                "i64x2.relaxed_laneselect",
                "i32x4.relaxed_dot_i8x16_i7x16_add_s",
            ];
            ((*rng.pick(&relaxed)).to_owned(), format!("{a} {b} {c}"), true)
        }
    };
    let plain = plain || !is_arithmetic(&op);
    Step {
        expression: format!("({op} {args})"),
        target: format!("$v{}", rng.below(4)),
        made: if plain { Made::Other } else { made },
        op,
    }
}
