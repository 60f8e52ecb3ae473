//! The backtrace of a guest that is ending, as far as it has been taken.
//!
//! Every activation and every segment that ends adds its own frames, from the inside out, whichever engine they are
//! of, until the host takes the whole. Of very many frames the innermost and the outermost are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_module::{FuncIdx, ModuleInfo};

/// How many frames are kept at each end.
const KEPT: usize = 100;

/// How many values of frames a backtrace holds at most: frames for which there is no room tell none.
const MOST_VALUES: usize = 1 << 18;

/// The value of a local or of an operand, for tools that look at it afterwards.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FrameValue {
    /// Nobody knows it any more, or it would say nothing outside of the store.
    Missing,
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
}

/// A frame of a backtrace.
#[derive(Clone, Debug)]
pub struct TraceFrame {
    /// The module.
    pub module: Arc<ModuleInfo>,
    /// The function, in its module's index space.
    pub func: FuncIdx,
    /// The offset of the operator in the module's bytes.
    pub offset: u32,
    /// What is known of its values.
    pub values: FrameValues,
}

/// The values of a frame: none if they are not known, or nobody wants to know.
#[derive(Clone, Default, Debug)]
pub struct FrameValues {
    /// Its locals, parameters first.
    pub locals: Box<[FrameValue]>,
    /// What waits on the operand stack, the lowest first, below what the operator at which the frame stands has taken.
    pub operands: Box<[FrameValue]>,
}

impl FrameValues {
    fn count(&self) -> usize {
        self.locals.len() + self.operands.len()
    }
}

/// A backtrace that is being taken.
#[derive(Default, Debug)]
pub struct Trace {
    first: Vec<TraceFrame>,
    last: VecDeque<TraceFrame>,
    omitted: u64,
    /// Whether values of frames are kept.
    values: bool,
}

impl Trace {
    /// Whether frames are to tell their values, from now on.
    pub fn keep_values(&mut self, keep: bool) {
        self.values = keep;
    }

    /// Whether there is room for so many values of the next frame, and somebody wants to know them. Only the innermost
    /// hundred frames tell any: to look for those of every frame of a deep recursion would take long.
    pub fn wants_values(&self, count: usize) -> bool {
        let known = || self.first.iter().map(|frame| frame.values.count()).sum::<usize>();
        self.values && self.first.len() < KEPT && known().saturating_add(count) <= MOST_VALUES
    }

    /// Adds the next frame outwards.
    pub fn push(&mut self, frame: TraceFrame) {
        if self.first.len() < KEPT {
            self.first.push(frame);
            return;
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
            self.omitted += 1;
        }
        self.last.push_back(frame);
    }

    /// Forgets everything: the guest goes on after all.
    #[inline]
    pub fn clear(&mut self) {
        if !self.first.is_empty() {
            *self = Self { values: self.values, ..Self::default() };
        }
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The frames, innermost first, and how many were left out behind the first hundred. Nothing is left.
    pub fn take(&mut self) -> (Vec<TraceFrame>, u64) {
        let empty = Self { values: self.values, ..Self::default() };
        let Self { mut first, last, omitted, .. } = std::mem::replace(self, empty);
        first.extend(last);
        (first, omitted)
    }
}
