//! Samples in bounded memory: frames, and stacks as a tree in which every branch stands once.
//!
//! Invariants: a node's parent comes before it; numbers of nodes and frames are below the limits here, so that they
//! fit 32 bits; all stores of a profile share one [`Room`]; what finds none is counted in `dropped`, never lost silently.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_module::ModuleInfo;
use palisade_vm::native::TraceFrame;
use palisade_vm::sample::FrameKind;

/// The most branches of all stacks: with their index some 32 bytes each.
const MOST_NODES: usize = 1 << 20;
/// The most samples in their order: 20 bytes each. Beyond them samples are only counted, by stack.
const MOST_SAMPLES: usize = 1 << 20;
/// The most places in functions.
const MOST_FRAMES: usize = 1 << 18;
/// The most modules, counted once for each store: they are kept for their names.
const MOST_MODULES: usize = 1 << 10;

/// What all stores of a profile may still take together.
#[derive(Debug)]
pub(super) struct Room {
    nodes: AtomicUsize,
    samples: AtomicUsize,
    frames: AtomicUsize,
    modules: AtomicUsize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            nodes: MOST_NODES.into(),
            samples: MOST_SAMPLES.into(),
            frames: MOST_FRAMES.into(),
            modules: MOST_MODULES.into(),
        }
    }
}

/// Takes one; whether there was one.
fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A place in a function, or something that stands for one.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct FrameKey {
    pub(super) kind: FrameKind,
    /// Among [`Stacks::modules`]; [`FrameKey::NO_MODULE`] for what is no function.
    pub(super) module: u32,
    /// The function in its module, imported ones counted; or which of those that are no function.
    pub(super) func: u32,
    /// The offset in the module.
    pub(super) offset: u32,
}

impl FrameKey {
    pub(super) const NO_MODULE: u32 = u32::MAX;
    const fn special(func: u32) -> Self {
        Self { kind: FrameKind::Activation, module: Self::NO_MODULE, func, offset: 0 }
    }
    /// Frames further out were left out.
    pub(super) const CUT: Self = Self::special(0);
    /// There was no poll for a while, and the thread worked.
    pub(super) const NO_POLL: Self = Self::special(1);
    /// There was no poll for a while, and the thread did not work.
    pub(super) const WAITING: Self = Self::special(2);

    /// What is shown of what is no function.
    pub(super) fn label(self) -> Option<&'static str> {
        (self.module == Self::NO_MODULE).then_some(match self.func {
            0 => "[calls further out]",
            1 => "[host function or bulk operator]",
            _ => "[waiting]",
        })
    }
}

/// A branch: the node that it hangs on, and the frame.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Node {
    /// One more than the number of its parent; 0 for none.
    pub(super) parent: u32,
    pub(super) frame: u32,
}

/// One sample.
#[derive(Copy, Clone, Debug)]
pub(super) struct Sample {
    /// Microseconds from the start.
    pub(super) time: u64,
    /// Microseconds that the thread worked since the sample before.
    pub(super) cpu: u32,
    pub(super) node: u32,
    pub(super) weight: u32,
}

/// Everything that was sampled of one store.
#[derive(Default, Debug)]
pub(super) struct Stacks {
    room: Arc<Room>,
    pub(super) modules: Vec<Arc<ModuleInfo>>,
    module_ids: HashMap<usize, u32>,
    pub(super) frames: Vec<FrameKey>,
    frame_ids: HashMap<FrameKey, u32>,
    pub(super) nodes: Vec<Node>,
    node_ids: HashMap<Node, u32>,
    pub(super) samples: Vec<Sample>,
    /// By node, how many intervals samples stand for that end there.
    pub(super) weights: Vec<u64>,
    total: u64,
    dropped: u64,
}

impl Stacks {
    /// With room that others take from, too.
    pub(super) fn new(room: Arc<Room>) -> Self {
        let mut stacks = Self::default();
        stacks.room = room;
        stacks
    }

    /// A frame; `None` if there is no room for its module.
    pub(super) fn key(&mut self, kind: FrameKind, frame: &TraceFrame) -> Option<FrameKey> {
        // Kept below, so that no other module comes to stand there.
        let address = Arc::as_ptr(&frame.module).addr();
        let module = match self.module_ids.get(&address) {
            Some(&module) => module,
            None if !take(&self.room.modules) => return None,
            None => {
                self.modules.push(frame.module.clone());
                let module = self.modules.len() as u32 - 1;
                self.module_ids.insert(address, module);
                module
            }
        };
        Some(FrameKey { kind, module, func: frame.func.0, offset: frame.offset })
    }

    /// The node of a stack, the outermost frame first; `None` if there is no room for it, or no frame.
    pub(super) fn intern(&mut self, path: &[FrameKey]) -> Option<u32> {
        let mut node = None;
        for &key in path {
            node = Some(self.node(node.map_or(0, |node: u32| node + 1), key)?);
        }
        node
    }

    /// What hangs on a node.
    pub(super) fn child(&mut self, node: u32, key: FrameKey) -> Option<u32> {
        self.node(node + 1, key)
    }

    fn node(&mut self, parent: u32, key: FrameKey) -> Option<u32> {
        let frame = match self.frame_ids.get(&key) {
            Some(&frame) => frame,
            None if !take(&self.room.frames) => return None,
            None => {
                self.frames.push(key);
                let frame = self.frames.len() as u32 - 1;
                self.frame_ids.insert(key, frame);
                frame
            }
        };
        let node = Node { parent, frame };
        if let Some(&known) = self.node_ids.get(&node) {
            return Some(known);
        }
        if !take(&self.room.nodes) {
            return None;
        }
        self.nodes.push(node);
        self.weights.push(0);
        let number = self.nodes.len() as u32 - 1;
        self.node_ids.insert(node, number);
        Some(number)
    }

    /// Adds a sample: nanoseconds from the start, nanoseconds of work, the node, and how many intervals it stands for.
    pub(super) fn add(&mut self, time: u64, cpu: u64, node: Option<u32>, weight: u32) {
        let known = node.and_then(|node| Some((node, self.weights.get_mut(node as usize)?)));
        let Some((node, counted)) = known else {
            self.dropped += u64::from(weight);
            return;
        };
        *counted += u64::from(weight);
        self.total += u64::from(weight);
        if !take(&self.room.samples) {
            self.dropped += u64::from(weight);
            return;
        }
        let before = self.samples.last().map_or(0, |sample| sample.time);
        let cpu = u32::try_from(cpu / 1000).unwrap_or(u32::MAX);
        self.samples.push(Sample { time: (time / 1000).max(before), cpu, node, weight });
    }

    /// Lets go of what is only needed while samples come.
    pub(super) fn close(&mut self) {
        self.module_ids = HashMap::new();
        self.frame_ids = HashMap::new();
        self.node_ids = HashMap::new();
    }

    /// How many intervals all samples stand for, those included that no stack was kept of.
    pub(super) fn all(&self) -> u64 {
        // Those that have a stack and no place in the order are among the dropped ones.
        let noted: u64 = self.samples.iter().map(|sample| u64::from(sample.weight)).sum();
        noted + self.dropped
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for Stacks {
    /// Gives back what was taken.
    fn drop(&mut self) {
        let room = &self.room;
        for (left, taken) in [
            (&room.nodes, self.nodes.len()),
            (&room.samples, self.samples.len()),
            (&room.frames, self.frames.len()),
            (&room.modules, self.modules.len()),
        ] {
            left.fetch_add(taken, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(func: u32) -> FrameKey {
        FrameKey { kind: FrameKind::Machine, module: 0, func, offset: 0 }
    }

    #[test]
    fn stacks_share_their_outer_part() {
        let mut stacks = Stacks::default();
        let ab = stacks.intern(&[key(1), key(2)]).unwrap();
        let ac = stacks.intern(&[key(1), key(3)]).unwrap();
        assert_eq!(stacks.intern(&[key(1), key(2)]), Some(ab));
        assert_eq!((stacks.nodes.len(), stacks.frames.len()), (3, 3));
        assert_eq!(stacks.nodes[ab as usize].parent, stacks.nodes[ac as usize].parent);
        assert_eq!(stacks.intern(&[]), None);
        stacks.add(5_000, 0, Some(ab), 1);
        stacks.add(1_000, 0, Some(ac), 2);
        stacks.add(9_000, 0, None, 4);
        assert_eq!((stacks.total(), stacks.dropped()), (3, 4));
        assert_eq!(stacks.samples[1].time, 5, "time does not go back");
    }

    #[test]
    fn a_profile_takes_bounded_memory_and_counts_what_it_leaves_out() {
        let mut stacks = Stacks::default();
        // More places than there is room for, each beneath a different one.
        for func in 0..(MOST_FRAMES as u32 + 10) {
            let node = stacks.intern(&[key(func % 3), key(func)]);
            stacks.add(0, 0, node, 1);
        }
        assert_eq!(stacks.frames.len(), MOST_FRAMES);
        assert_eq!((stacks.total(), stacks.dropped()), (MOST_FRAMES as u64, 10));
        for time in 0..MOST_SAMPLES as u64 {
            stacks.add(time * 1000, 0, Some(0), 1);
        }
        assert_eq!(stacks.samples.len(), MOST_SAMPLES);
        assert_eq!(stacks.dropped(), 10 + MOST_FRAMES as u64);
        assert_eq!(stacks.total(), (MOST_FRAMES + MOST_SAMPLES) as u64);
    }

    #[test]
    fn stores_share_what_room_there_is() {
        let room = Arc::new(Room::default());
        let mut all: Vec<Stacks> = (0..3).map(|_| Stacks::new(room.clone())).collect();
        for func in 0..MOST_FRAMES as u32 {
            for stacks in &mut all {
                let node = stacks.intern(&[key(func)]);
                stacks.add(0, 0, node, 1);
            }
        }
        let sum = |part: fn(&Stacks) -> u64| all.iter().map(part).sum::<u64>();
        assert_eq!(sum(|stacks| stacks.frames.len() as u64), MOST_FRAMES as u64);
        assert_eq!(sum(Stacks::dropped), 2 * MOST_FRAMES as u64);
        assert!(all.iter().all(|stacks| stacks.frames.len() > MOST_FRAMES / 4));
        assert!(all.iter().all(|stacks| stacks.all() == MOST_FRAMES as u64));
        // Who goes makes room.
        all.pop();
        assert!(all[0].intern(&[key(u32::MAX)]).is_some());
    }
}
