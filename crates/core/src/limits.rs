//! Limits of the decoder: how large a module, and each part of it, may be.
//!
//! Every limit has a finite default, can be lowered without end and raised up to what the parser's
//! own constants allow.

use std::fmt;

macro_rules! limits {
    ($( $(#[$doc:meta])* $field:ident, $kind:ident, $name:literal, $default:expr, $strict:expr, $ceiling:expr; )*) => {
        /// How large a module and its parts may be. All values are counts, but for the ones that
        /// say bytes.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub struct Limits { $( $(#[$doc])* pub $field: u64, )* }

        /// Names one limit.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum LimitKind { $( $(#[$doc])* $kind, )* }

        impl Default for Limits {
            /// Wide enough for every real program that we know of.
            fn default() -> Self { Self { $($field: $default,)* } }
        }

        impl Limits {
            /// What `--sandbox` uses.
            pub fn strict() -> Self { Self { $($field: $strict,)* } }

            /// The value of a limit.
            pub fn get(&self, kind: LimitKind) -> u64 {
                match kind { $(LimitKind::$kind => self.$field,)* }
            }

            /// Sets a limit; more than the parser can do is an error that names the ceiling.
            pub fn set(&mut self, kind: LimitKind, value: u64) -> Result<(), LimitTooHigh> {
                let ceiling = kind.ceiling();
                if value > ceiling {
                    return Err(LimitTooHigh { kind, value, ceiling });
                }
                match kind { $(LimitKind::$kind => self.$field = value,)* }
                Ok(())
            }
        }

        impl LimitKind {
            /// All limits.
            pub const ALL: &'static [LimitKind] = &[$(LimitKind::$kind,)*];

            /// The name that the command line and error messages use.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The highest value that can be set.
            pub fn ceiling(self) -> u64 {
                match self { $(Self::$kind => $ceiling,)* }
            }

            /// The limit of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

const MILLION: u64 = 1_000_000;
const STRICT: u64 = 100_000;

limits! {
    /// Bytes of a whole module.
    module_bytes, ModuleBytes, "module-bytes", 1 << 30, 64 << 20, 1 << 30;
    /// Bytes of a module in the text format. Parsing takes some eighty times as much memory.
    text_bytes, TextBytes, "text-bytes", 64 << 20, 4 << 20, 1 << 30;
    /// Types, with every member of a recursive group.
    types, Types, "types", MILLION, STRICT, MILLION;
    /// Imports.
    imports, Imports, "imports", MILLION, STRICT, MILLION;
    /// Functions, imported ones not counted.
    functions, Functions, "functions", MILLION, STRICT, MILLION;
    /// Tables.
    tables, Tables, "tables", 100, 100, 100;
    /// Memories.
    memories, Memories, "memories", 100, 100, 100;
    /// Globals.
    globals, Globals, "globals", MILLION, STRICT, MILLION;
    /// Exports.
    exports, Exports, "exports", MILLION, STRICT, MILLION;
    /// Element segments.
    elements, Elements, "elements", 100_000, 100_000, 100_000;
    /// Data segments.
    data_segments, DataSegments, "data-segments", 100_000, 100_000, 100_000;
    /// Tags.
    tags, Tags, "tags", MILLION, STRICT, MILLION;
    /// Bytes of one function body.
    body_bytes, BodyBytes, "body-bytes", 7_654_321, 7_654_321, 7_654_321;
    /// Locals of one function, its parameters included.
    locals, Locals, "locals", 50_000, 50_000, 50_000;
    /// Parameters of one function type.
    params, Params, "params", 1_000, 1_000, 1_000;
    /// Results of one function type.
    results, Results, "results", 1_000, 1_000, 1_000;
    /// Blocks nested in one function.
    nesting, Nesting, "nesting", 100_000, 500, 7_654_321;
    /// Operands that stand on the stack of one function at once. One call of two bytes pushes up to a
    /// thousand, so this is what bounds the memory that checking a function takes.
    operands, Operands, "operands", MILLION, STRICT, 100_000_000;
    /// Operands that the operators of a whole module take and give, where a type of the module has more
    /// than 32 of them (elsewhere the size of the module bounds their number). A block of four bytes may take and
    /// give a thousand each, so this is what bounds the time that checking a module takes.
    operand_checks, OperandChecks, "operand-checks", 500 * MILLION, 100 * MILLION, 1 << 40;
    /// Targets of one `br_table`.
    br_table, BrTable, "br-table", MILLION, 65_520, 7_654_321;
    /// How deep a chain of subtypes may be.
    subtype_depth, SubtypeDepth, "subtype-depth", 63, 63, 63;
}

/// A limit was to be raised above what the parser can do.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LimitTooHigh {
    /// Which limit.
    pub kind: LimitKind,
    /// What was asked for.
    pub value: u64,
    /// The most that can be had.
    pub ceiling: u64,
}

impl fmt::Display for LimitTooHigh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the limit `{}` cannot be raised to {}: the highest value is {}",
            self.kind.name(),
            self.value,
            self.ceiling
        )
    }
}

impl std::error::Error for LimitTooHigh {}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
