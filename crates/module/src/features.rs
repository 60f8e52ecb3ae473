//! The proposals that can be switched off, by name, and which of them needs which.
//!
//! A proposal is one bit of the parser's features. Names are those of the proposals, in the words
//! that other runtimes' switches have. What a module lacks when it is refused for a feature that is
//! off is found here as well; the parser says so for most, and the rest is known here.

use wasmparser::WasmFeatures;

use crate::validate::default_features;

/// A proposal with a switch.
#[derive(Debug)]
pub struct Proposal {
    /// Its name: `tail-call`.
    pub name: &'static str,
    /// The switch of the embedding interface: `wasm_tail_call`.
    pub switch: &'static str,
    /// What it is for the parser.
    pub feature: WasmFeatures,
    /// The proposals that it builds on, by name; those stand before it in [`PROPOSALS`].
    pub needs: &'static [&'static str],
}

macro_rules! proposals {
    ($( $name:literal, $switch:ident => $feature:ident $(needs $($needs:literal),+)?; )*) => {
        /// All of them. What a proposal needs stands before it.
        pub const PROPOSALS: &[Proposal] = &[$(
            Proposal {
                name: $name,
                switch: stringify!($switch),
                feature: WasmFeatures::$feature,
                needs: &[$($($needs),+)?],
            },
        )*];
    };
}

proposals! {
    "mutable-global", wasm_mutable_global => MUTABLE_GLOBAL;
    "sign-extension", wasm_sign_extension => SIGN_EXTENSION;
    "saturating-float-to-int", wasm_saturating_float_to_int => SATURATING_FLOAT_TO_INT;
    "multi-value", wasm_multi_value => MULTI_VALUE;
    "bulk-memory", wasm_bulk_memory => BULK_MEMORY;
    "reference-types", wasm_reference_types => REFERENCE_TYPES needs "bulk-memory";
    "simd", wasm_simd => SIMD;
    "relaxed-simd", wasm_relaxed_simd => RELAXED_SIMD needs "simd";
    "tail-call", wasm_tail_call => TAIL_CALL;
    "extended-const", wasm_extended_const => EXTENDED_CONST;
    "multi-memory", wasm_multi_memory => MULTI_MEMORY;
    "memory64", wasm_memory64 => MEMORY64;
    "function-references", wasm_function_references => FUNCTION_REFERENCES needs "reference-types";
    "gc", wasm_gc => GC needs "function-references";
    "exceptions", wasm_exceptions => EXCEPTIONS needs "reference-types";
    "threads", wasm_threads => THREADS;
    "custom-page-sizes", wasm_custom_page_sizes => CUSTOM_PAGE_SIZES;
    "wide-arithmetic", wasm_wide_arithmetic => WIDE_ARITHMETIC;
}

impl Proposal {
    /// The proposal of a name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PROPOSALS.iter().find(|proposal| proposal.name == name)
    }

    /// The proposal that a feature of the parser is (the narrowest, where one holds others).
    fn of(feature: WasmFeatures) -> Option<&'static Self> {
        PROPOSALS.iter().find(|proposal| proposal.feature.contains(feature))
    }

    /// The first of the proposals that it builds on, at any distance, that is not in a set.
    pub fn lacks(&self, features: WasmFeatures) -> Option<&'static Self> {
        // What is needed stands before what needs it, so this ends.
        self.needs.iter().filter_map(|name| Self::by_name(name)).find_map(|needed| {
            if features.contains(needed.feature) { needed.lacks(features) } else { Some(needed) }
        })
    }
}

/// The default features without those that are switched off, and without all that need one of them.
pub fn features_without(off: WasmFeatures) -> WasmFeatures {
    let mut on = default_features().difference(off);
    for proposal in PROPOSALS {
        if proposal.lacks(on).is_some() {
            on.remove(proposal.feature);
        }
    }
    on
}

/// The proposal that is switched off, if that is why the parser refuses something.
pub(crate) fn missing(error: &wasmparser::Error) -> Option<&'static Proposal> {
    Proposal::of(error.missing_wasm_feature().or_else(|| unsaid(error.message()))?)
}

/// The feature that is missing, where the parser gives no more than a message. None of these messages
/// comes when the feature is on.
fn unsaid(message: &str) -> Option<WasmFeatures> {
    const UNSAID: &[(&str, WasmFeatures)] = &[
        ("multiple tables", WasmFeatures::REFERENCE_TYPES),
        ("multiple memories", WasmFeatures::MULTI_MEMORY),
        ("data count section requires the bulk-memory proposal", WasmFeatures::BULK_MEMORY),
        ("gc proposal must be enabled to use subtypes", WasmFeatures::GC),
    ];
    UNSAID.iter().find(|(said, _)| *said == message).map(|&(_, feature)| feature)
}
