//! Why a guest was ended.

use std::fmt;

macro_rules! traps {
    ($( $(#[$doc:meta])* $name:ident = $code:literal, $text:literal; )*) => {
        /// Why a guest was ended. The numbers are part of the engines' internal calling
        /// conventions: 0 is never a trap.
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum TrapCode { $( $(#[$doc])* $name = $code, )* }

        impl TrapCode {
            /// All codes.
            pub const ALL: &'static [TrapCode] = &[$(TrapCode::$name,)*];

            /// The code of a number, if there is one.
            pub fn from_u8(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The message, in the words of the specification's test suite where it has some.
            pub fn message(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

traps! {
    /// `unreachable` was executed.
    Unreachable = 1, "unreachable";
    /// An access outside a linear memory.
    MemoryOutOfBounds = 2, "out of bounds memory access";
    /// An access outside a table.
    TableOutOfBounds = 3, "out of bounds table access";
    /// An indirect call whose index lies outside the table.
    UndefinedElement = 4, "undefined element";
    /// An indirect call through an element that is null.
    UninitializedElement = 5, "uninitialized element";
    /// An indirect call of a function of another type.
    IndirectCallTypeMismatch = 6, "indirect call type mismatch";
    /// The result of a division or a conversion cannot be represented.
    IntegerOverflow = 7, "integer overflow";
    /// An integer division by zero.
    IntegerDivideByZero = 8, "integer divide by zero";
    /// A conversion of NaN to an integer.
    InvalidConversionToInteger = 9, "invalid conversion to integer";
    /// The stack, in bytes, is used up.
    StackOverflow = 10, "call stack exhausted";
    /// More calls are nested than the limit allows.
    CallDepthExceeded = 11, "call stack exhausted: call depth limit reached";
    /// The fuel is used up.
    OutOfFuel = 12, "all fuel consumed";
    /// Another thread asked the guest to stop.
    Interrupted = 13, "interrupted";
    /// The deadline passed.
    DeadlineExceeded = 14, "deadline exceeded";
    /// A null reference where none may be.
    NullReference = 15, "null reference";
    /// A null function reference was called.
    NullFunctionReference = 16, "null function reference";
    /// A null structure reference.
    NullStructReference = 17, "null structure reference";
    /// A null array reference.
    NullArrayReference = 18, "null array reference";
    /// A null i31 reference.
    NullI31Reference = 19, "null i31 reference";
    /// An access outside an array.
    ArrayOutOfBounds = 20, "out of bounds array access";
    /// A failed cast.
    CastFailure = 21, "cast failure";
    /// `throw_ref` of null.
    NullExceptionReference = 22, "null exception reference";
    /// An exception that nobody caught.
    UncaughtException = 23, "uncaught exception";
    /// The garbage-collected heap is full.
    HeapExhausted = 24, "heap exhausted";
    /// An object larger than any heap may hold.
    AllocationTooLarge = 25, "allocation size too large";
    /// An atomic access that is not aligned.
    UnalignedAtomic = 26, "unaligned atomic";
    /// A wait on a memory that is not shared.
    ExpectedSharedMemory = 27, "expected shared memory";
    /// A limit of the ledger (memory, tables, output, descriptors, …) is reached.
    LimitExceeded = 28, "resource limit exceeded";
    /// What holds the guest's module changed, or is gone, while it was in use: it was read in parts.
    ModuleLost = 30, "the module's file changed while it was in use";
    /// Palisade itself failed; always a bug, never a verdict on the guest.
    Internal = 29, "internal error";
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for TrapCode {}

#[cfg(test)]
mod tests {
    use super::TrapCode;

    #[test]
    fn numbers_round_trip() {
        for &code in TrapCode::ALL {
            assert_eq!(TrapCode::from_u8(code as u8), Some(code));
        }
        assert_eq!(TrapCode::from_u8(0), None);
        assert_eq!(TrapCode::from_u8(255), None);
    }
}
