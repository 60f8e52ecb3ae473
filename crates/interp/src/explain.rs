//! Translated code for people to look at: offset, operation, operands, and which operator it was made for.
//!
//! The code is translated anew, with a note on each instruction, and not kept; whatever runs knows nothing of it. Operations
//! have the names of their types in `ops`, without the crate: `arith::BinOp<I32Add, SI, D>` adds slot `a` and an immediate and
//! stores the sum to slot `d`. Truth values among the arguments of a type are shown by what they mean where they hold.

use std::fmt::{self, Write as _};
use std::mem::size_of_val;

use palisade_core::TrapCode;

use crate::code::{InterpModule, PREFIX_WORDS};
use crate::operands::Shown;
use crate::translate;

/// The code of a function.
#[derive(Clone, Debug)]
pub struct Bytecode {
    /// The instructions, in order.
    pub instructions: Vec<Instruction>,
    /// How many cells of 8 bytes its frame has.
    pub cells: u64,
    /// The slot of the first of the two cells that say where to return to: parameters stand before it, other locals after it.
    pub header: u32,
    /// The bytes of all its instructions.
    pub bytes: usize,
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Where it begins, in bytes from the first one.
    pub at: u32,
    /// The offset in the module of the operator that it was made for; of several that it stands for, the last.
    pub source: u32,
    /// Its operation, which says where operands come from.
    pub name: String,
    /// The operands: names and values. Slots are numbers of cells in the frame, or of references in the window.
    pub operands: Vec<(&'static str, String)>,
    /// Where it may go on other than behind itself, in bytes from the first instruction.
    pub targets: Vec<i64>,
}

/// The most targets that are written out.
const MOST_TARGETS: usize = 16;

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name.clone();
        for (name, value) in &self.operands {
            write!(text, " {name}={value}")?;
        }
        for target in self.targets.iter().take(MOST_TARGETS) {
            write!(text, " →{target:x}")?;
        }
        if self.targets.len() > MOST_TARGETS {
            write!(text, " and {} more", self.targets.len() - MOST_TARGETS)?;
        }
        f.write_str(&text)
    }
}

impl InterpModule {
    /// A function's code, by its index among the defined ones.
    ///
    /// # Errors
    ///
    /// It cannot be translated: what calling it traps with.
    pub fn explain(&self, defined: u32) -> Result<Bytecode, TrapCode> {
        let (code, notes) = translate::with_notes(self, defined)?;
        let words = code.words.get(PREFIX_WORDS..).unwrap_or_default();
        let bytes = size_of_val(words);
        // SAFETY: the second word of the prefix is the size of the frame, which is always written.
        let frame = code.words.get(1).map_or(0, |word| unsafe { word.assume_init() });
        let ends = notes.list.iter().skip(1).map(|note| note.at).chain([bytes as u32]);
        let mut instructions = Vec::with_capacity(notes.list.len());
        for (note, end) in notes.list.iter().zip(ends) {
            let own = words.get(note.at as usize / 8..end as usize / 8).unwrap_or_default();
            // SAFETY: these are the words from this instruction to the next, and the function came with its operands.
            let shown = unsafe { (note.show)(own) };
            instructions.push(instruction(
                note.at,
                note.source,
                note.operation.forms().name,
                shown,
            ));
        }
        Ok(Bytecode { instructions, cells: frame / 8, header: code.header, bytes })
    }
}

fn instruction(at: u32, source: u32, name: &str, shown: Shown) -> Instruction {
    let name = Name::parse(name);
    let Shown { mut values, mut targets } = shown;
    // Where a branch has its offset a test has its slot.
    match name.head.as_str() {
        "cast::Branch" | "cast::AskBranch" => values.retain(|(field, _)| *field != "d"),
        "cast::Cast" | "cast::AskCast" => {
            values.retain(|(field, _)| *field != "d");
            targets.clear();
        }
        "cast::Test" | "cast::AskTest" => targets.clear(),
        _ => {}
    }
    values.retain(|(field, _)| name.has(field));
    Instruction {
        at,
        source,
        name: name.to_string(),
        operands: values,
        targets: targets.into_iter().map(|by| i64::from(at) + i64::from(by)).collect(),
    }
}

/// The type of an operation, taken apart.
struct Name {
    /// The module below `ops`, and the type.
    head: String,
    /// Its arguments, without their modules.
    args: Vec<String>,
}

/// What a truth value among the arguments of a type means where it holds, by the type and the argument's place.
const FLAGS: &[(&str, &[&str])] = &[
    ("arith::UnOp", &["", "", "acc"]),
    ("arith::BranchOp", &["", "", "back"]),
    ("arith::AddMask", &["", "acc", "imm"]),
    ("arith::MulAdd", &["", "", "acc"]),
    ("arith::Count", &["", "imm", "left"]),
    ("atomic::AccessOp", &["", "", "memory64"]),
    ("atomic::StoreOp", &["", "memory64"]),
    ("call::CallIndirect", &["acc"]),
    ("call::CallIndirectSlow", &["acc"]),
    ("call::Return1", &["", "acc"]),
    ("cast::AnswerBranch", &["", "sense", "back"]),
    ("cast::AskBranch", &["", "sense", "back"]),
    ("cast::Branch", &["", "sense", "back"]),
    ("cast::FromI31", &["", "signed"]),
    ("cast::ToI31", &["acc"]),
    ("control::Br", &["back"]),
    ("control::BrTable", &["acc"]),
    ("control::BrTest", &["acc", "nonzero", "back"]),
    ("control::CopyBrTest", &["nonzero", "back"]),
    ("control::Select", &["", "acc"]),
    ("memory::FarLoadOp", &["", "", "memory64", "shared"]),
    ("memory::FarStoreOp", &["", "memory64", "shared"]),
    ("memory::StoreOp", &["", "", "", "wide"]),
    ("simd::ToInt", &["", "", "avx"]),
    ("simd::ToVec", &["", "", "avx"]),
    ("simd::lanes::Permute", &["avx"]),
    ("simd::lanes::Replace", &["", "", "acc"]),
    ("simd::lanes::Select", &["acc"]),
    ("simd::lanes::Shuffle", &["avx"]),
    ("simd::lanes::Splat", &["", "acc"]),
    ("simd::memory::FarLoadOp", &["", "memory64"]),
    ("simd::memory::FarStoreOp", &["memory64"]),
];

/// Of operands that all have room for four slots, the ones that an operation looks at; for those not named here, all.
const FIELDS: &[(&str, &[&str])] = &[
    ("arith::BinOp", &["d", "a", "b", "imm"]),
    ("arith::UnOp", &["d", "a"]),
    ("arith::SelectOn", &["d", "a", "b", "imm", "x", "y"]),
    ("call::Return0", &["header"]),
    ("call::Return1", &["header", "a"]),
    ("cast::Answer", &["d", "a", "b"]),
    ("cast::FromI31", &["d", "a"]),
    ("cast::ToI31", &["d", "a"]),
    ("control::Br", &[]),
    ("control::Copy1", &["d", "a"]),
    ("control::CopyAcc", &["d"]),
    ("control::CopySpan", &["d", "a", "b"]),
    ("control::CopyToAcc", &["d", "a"]),
    ("control::Zero", &["d", "b"]),
    ("control::ZeroFixed", &["d"]),
    ("exceptions::ThrowRef", &["a"]),
    ("fields::Len", &["d", "a"]),
    ("refs::Copy", &["d", "a"]),
    ("refs::CopySpan", &["d", "a", "b"]),
    ("refs::Enter", &["d", "a", "b"]),
    ("refs::FromCell", &["d", "a"]),
    ("refs::NonNull", &["a"]),
    ("refs::NonNullFunc", &["a"]),
    ("refs::Null", &["d"]),
    ("refs::Pop", &["a"]),
    ("refs::Push", &["a"]),
    ("refs::ToCell", &["d", "a"]),
    ("simd::ToInt", &["d", "a"]),
    ("simd::lanes::Splat", &["d", "a"]),
];

/// Forms of two operands of which `a` is in an accumulator; of which `b` is.
const FIRST_IN_ACC: [&str; 3] = ["AS", "AI", "IA"];
const SECOND_IN_ACC: [&str; 1] = ["SA"];
/// Forms of addresses that have no slot `a`; that have none `b`.
const NO_FIRST_SLOT: [&str; 6] = ["InAcc", "Fixed", "SlotImm", "AccImm", "Scaled", "ScaledAcc"];
const NO_SECOND_SLOT: [&str; 4] = ["AccImm", "SumAcc", "ScaledAcc", "SumScaledAcc"];
/// Where what is stored comes from, if that is no slot.
const NO_VALUE_SLOT: [&str; 3] = ["FromAcc", "FromImm", "FromShort"];

fn entry<'a>(table: &[(&str, &'a [&'a str])], head: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(known, _)| *known == head).map(|(_, found)| *found)
}

impl Name {
    fn parse(full: &str) -> Self {
        let (head, args) = full.split_once('<').unwrap_or((full, ""));
        let head = head.split_once("::ops::").map_or(head, |(_, head)| head);
        let args = args.strip_suffix('>').unwrap_or(args);
        let mut parts = Vec::new();
        let (mut depth, mut part) = (0, String::new());
        for char in args.chars() {
            match char {
                '<' | '(' | '[' => depth += 1,
                '>' | ')' | ']' => depth -= 1,
                _ => {}
            }
            if char == ',' && depth == 0 {
                parts.push(std::mem::take(&mut part));
            } else {
                part.push(char);
            }
        }
        parts.push(part);
        let args = parts.iter().map(|part| short(part.trim())).filter(|part| !part.is_empty());
        Self { head: head.to_owned(), args: args.collect() }
    }

    /// Whether one of these is among its arguments.
    fn is(&self, wanted: &[&str]) -> bool {
        self.args.iter().any(|arg| wanted.contains(&arg.as_str()))
    }

    /// Whether a truth value among the arguments holds.
    fn holds(&self, flag: &str) -> bool {
        let flags = entry(FLAGS, &self.head).unwrap_or_default();
        flags.iter().zip(&self.args).any(|(known, arg)| *known == flag && arg == "true")
    }

    /// Whether it looks at an operand.
    fn has(&self, field: &str) -> bool {
        if entry(FIELDS, &self.head).is_some_and(|fields| !fields.contains(&field)) {
            return false;
        }
        let address = self.head.contains("memory::");
        match field {
            // Results go to the accumulator alone, or there is none and the value is elsewhere.
            "d" => !self.is(&["R"]) && !self.is(&NO_VALUE_SLOT),
            "a" if address => !self.is(&NO_FIRST_SLOT),
            "b" if address => !self.is(&NO_SECOND_SLOT),
            "a" => !self.holds("acc") && !self.is(&FIRST_IN_ACC),
            "b" => !self.holds("imm") && !self.is(&SECOND_IN_ACC),
            "shift" => self.args.iter().any(|arg| arg.contains("Scaled")),
            "add" => self.head != "arith::AddMask" || self.holds("imm"),
            "imm" => self.head != "arith::Count" || self.holds("imm"),
            "c" => self.head != "simd::ToVec" || self.is(&["(V128, V128, V128)"]),
            _ => true,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = entry(FLAGS, &self.head).unwrap_or_default();
        let mut shown = Vec::new();
        for (index, arg) in self.args.iter().enumerate() {
            match (flags.get(index).copied().unwrap_or_default(), arg.as_str()) {
                ("", _) => shown.push(arg.as_str()),
                (flag, "true") => shown.push(flag),
                (_, "false") => {}
                _ => shown.push(arg.as_str()),
            }
        }
        f.write_str(&self.head)?;
        if shown.is_empty() { Ok(()) } else { write!(f, "<{}>", shown.join(", ")) }
    }
}

/// A type without the modules that it and its parts stand in.
fn short(ty: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for char in ty.chars().chain(['\0']) {
        if char.is_alphanumeric() || matches!(char, '_' | ':') {
            word.push(char);
            continue;
        }
        out.push_str(word.rsplit("::").next().unwrap_or_default());
        word.clear();
        if char != '\0' {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_and_flags_are_named() {
        let shown = |name: &str| Name::parse(name).to_string();
        assert_eq!(
            shown(
                "palisade_interp::ops::arith::BinOp<palisade_interp::ops::arith::bin::I32Add, palisade_interp::ops::arith::SI, palisade_interp::ops::arith::D>"
            ),
            "arith::BinOp<I32Add, SI, D>"
        );
        assert_eq!(shown("palisade_interp::ops::control::Br<true>"), "control::Br<back>");
        assert_eq!(shown("palisade_interp::ops::control::Br<false>"), "control::Br");
        assert_eq!(shown("palisade_interp::ops::control::ZeroFixed<2>"), "control::ZeroFixed<2>");
        assert_eq!(
            shown("palisade_interp::ops::simd::ToVec<a::b::Add, (c::V128, c::V128), true>"),
            "simd::ToVec<Add, (V128, V128), avx>"
        );
        assert!(!Name::parse("palisade_interp::ops::arith::UnOp<a::B, a::R, true>").has("a"));
    }
}
