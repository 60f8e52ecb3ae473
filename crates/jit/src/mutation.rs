//! Deliberate miscompiles, one at a time, for tests that want to know whether they would notice.
//!
//! The list is always there, so that the places where code would go wrong are compiled and read; whether
//! anything can be chosen from it is decided by the feature `mutations`, which nothing but tests enables.
//! Without it, [`Options`](crate::Options) cannot hold one, and every place asks a constant.

macro_rules! mutations {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// A deliberate miscompile.
        #[doc(hidden)]
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Mutation {
            $( $(#[$doc])* $name, )*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

mutations! {
    /// An explicit check of a memory's bounds compares and does nothing.
    BoundsCheckDropped,
    /// An explicit check lets one byte past the end through.
    BoundsOffByOne,
    /// The length of a memory is read once, and not again after it grew.
    MemoryLengthStale,
    /// An index of 32 bits is sign-extended.
    IndexSignExtended,
    /// A static offset is one too large.
    OffsetWrong,
    /// A guarded access has no trap record.
    AccessWithoutTrap,
    /// A load of 8 bits reads 16.
    LoadWidened,
    /// A load that should extend by zeros extends by the sign.
    LoadExtensionSwapped,
    /// A store of 16 bits stores 8.
    StoreNarrowed,
    /// An atomic access may be unaligned.
    AlignmentUnchecked,
    /// An inline copy writes each piece before it reads the next.
    CopyPiecewise,
    /// A range of a memory of constant length has no bounds.
    RangeUnchecked,
    /// Less than is less than or equal.
    ComparisonWrong,
    /// Signed less than compares unsigned numbers.
    ComparisonUnsigned,
    /// Not equal is false for NaNs.
    NansEqual,
    /// Shifts to the left of 64 bits take their count modulo 32.
    ShiftMaskWrong,
    /// An arithmetic shift to the right is a logical one.
    ShiftLogical,
    /// Division of signed numbers divides unsigned ones.
    DivisionUnsigned,
    /// The remainder of signed numbers is that of unsigned ones.
    RemainderUnsigned,
    /// Rotations go the other way.
    RotationReversed,
    /// Extension of an `i32` without sign has one.
    ExtensionSigned,
    /// A selection gives the other operand.
    SelectSwapped,
    /// An extracted lane is its neighbour.
    LaneWrong,
    /// A replaced lane is its neighbour.
    ReplacedLaneWrong,
    /// A trap of a table has the code of a trap of a memory.
    TrapCodeWrong,
    /// `unreachable` is reported at the operator before it.
    TrapPlaceWrong,
    /// Null is not looked for.
    NullUnchecked,
    /// The type of a function in a table is not looked at.
    CallTypeUnchecked,
    /// A subtype of the type that a call asks for is refused.
    CallSubtypeRefused,
    /// The index of a table is not looked at.
    TableUnchecked,
    /// The index of a table may be its length.
    TableOffByOne,
    /// The index of an array may be its length.
    ArrayOffByOne,
    /// An entry of a `br_table` is the one before it.
    BranchTableOff,
    /// A loop does not look at whether to stop.
    LoopPollDropped,
    /// A function does not look at whether to stop.
    EntryPollDropped,
    /// Every third basic block is free.
    BlockFree,
    /// What is left of the fuel is not read again after calls.
    FuelStale,
    /// What is left of the fuel is not read again where an exception lands.
    LandingFuelStale,
    /// A call is not counted.
    DepthUncounted,
    /// A return is not counted.
    ReturnUncounted,
    /// The collector does not hear of values on the operand stack.
    RootForgotten,
    /// The collector does not hear of locals.
    LocalRootForgotten,
    /// An imported function gets its caller's context.
    ContextWrong,
    /// Nobody notes who calls.
    CallerForgotten,
    /// Clauses are looked at from the last one to the first.
    ClausesReversed,
    /// The inner of two `try_table`s is looked at last.
    HandlersReversed,
    /// The fields of an exception are read from the other end.
    ExceptionFieldsReversed,
    /// A small integer is read without its sign.
    SmallIntegerUnsigned,
    /// A test takes null for what it asks for, or not, the other way round.
    NullTestSwapped,
    /// A global is read once, and not again after it changed.
    GlobalStale,
    /// The length of a table is read once, and not again after it grew.
    TableLengthStale,
    /// A tail call leaves the frame counted that goes.
    TailCallUncounted,
    /// The collector does not hear of the parameters of blocks.
    BlockRootForgotten,
    /// An inline copy is free.
    CopyFree,
    /// The last local is lost where a function is entered at a loop.
    LoopEntryLocalLost,
    /// A value on the operand stack is zero after code was entered at a loop.
    LoopEntryValueLost,
    /// What an inlined body does is said to be done by the call.
    InlinedPlaceWrong,
    /// An inlined body gets its first two arguments the wrong way round.
    InlinedArgumentsSwapped,
    /// An inlined body costs nothing.
    InlinedFree,
    /// Shifts of vectors take their count modulo 8.
    VectorShiftMaskWrong,
    /// What a narrow atomic operator found is sign-extended.
    AtomicSignExtended,
    /// Every access is one to the first memory.
    MemoryIndexIgnored,
    /// Saturating conversion to unsigned numbers is one to signed ones.
    SaturationSigned,
    /// The minimum of NaN and a number may be the number.
    MinimumWithoutNan,
    /// A sum of 128 bits loses its carry.
    CarryLost,
    /// An exception of any tag is taken for one of the clause's.
    TagIgnored,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Mutation;

    fn sources(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.file_name().is_some_and(|name| name != "mutation.rs") {
                into.push_str(&std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }

    /// Code is rewritten, and a place where it could go wrong goes unseen: then a miscompile is noticed by nobody.
    #[test]
    fn c10_every_miscompile_has_its_place() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        let words: std::collections::HashSet<&str> =
            text.split(|c: char| !c.is_alphanumeric()).collect();
        let lost = Mutation::ALL.iter().filter(|m| !words.contains(&*format!("{m:?}")));
        assert_eq!(lost.collect::<Vec<_>>(), Vec::<&Mutation>::new());
    }
}
