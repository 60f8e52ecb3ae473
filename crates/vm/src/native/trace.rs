//! The backtrace of a guest that is ending, as far as it has been taken.
//!
//! Every activation and every segment that ends adds its own frames, from the inside out, whichever engine they are
//! of, until the host takes the whole. Of very many frames the innermost and the outermost are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use palisade_module::{FuncIdx, ModuleInfo};

/// How many frames are kept at each end.
const KEPT: usize = 100;

/// A frame of a backtrace.
#[derive(Clone, Debug)]
pub struct TraceFrame {
    /// The module.
    pub module: Arc<ModuleInfo>,
    /// The function, in its module's index space.
    pub func: FuncIdx,
    /// The offset of the operator in the module's bytes.
    pub offset: u32,
}

/// A backtrace that is being taken.
#[derive(Default, Debug)]
pub struct Trace {
    first: Vec<TraceFrame>,
    last: VecDeque<TraceFrame>,
    omitted: u64,
}

impl Trace {
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
            *self = Self::default();
        }
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The frames, innermost first, and how many were left out behind the first hundred. Nothing is left.
    pub fn take(&mut self) -> (Vec<TraceFrame>, u64) {
        let Self { mut first, last, omitted } = std::mem::take(self);
        first.extend(last);
        (first, omitted)
    }
}
