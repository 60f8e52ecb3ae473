//! Text for flame graphs: `outer;inner;innermost 12`, a line for each stack of functions, in alphabetical order.
//!
//! Every line names the whole stack, so that a guest of deep calls could make text without end: what is written is bounded, and
//! nothing is held of a line but the path on which the writer stands.

use std::collections::HashMap;
use std::io::{self, Write};

use super::stacks::{FrameKey, Stacks};
use super::text::Namer;
use super::{GuestProfile, text};

/// The most bytes that are written.
const MOST_BYTES: u64 = 256 << 20;

/// Writes a profile: how many samples were left out. Places in the same function are one; where there are several stores,
/// their names come first.
pub(super) fn write(profile: &GuestProfile, out: &mut impl Write) -> io::Result<u64> {
    let (mut room, mut left_out, mut namer) = (MOST_BYTES, 0, Namer::default());
    for track in &profile.tracks {
        let mut root = String::new();
        if profile.tracks.len() > 1 {
            root = plain(&text::cut(&track.name)) + ";";
        }
        let mut tree = Tree::new(&track.stacks, &mut namer, root.len());
        left_out += tree.fit(&mut room);
        tree.write(root, out)?;
    }
    Ok(left_out)
}

/// A stack of functions. Its number is one more than where it stands, and 0 for none.
struct Branch {
    parent: u32,
    name: u32,
    /// How many samples end here; 0 if they are left out.
    weight: u64,
    /// How many bytes its line has up to the weight, a `;` behind each name.
    length: u64,
}

/// Stacks of functions as a tree, each behind its parent.
struct Tree {
    branches: Vec<Branch>,
    names: Vec<String>,
}

impl Tree {
    /// The lines of `stacks` begin with so many bytes.
    fn new(stacks: &Stacks, namer: &mut Namer, root: usize) -> Self {
        let mut names = Names { stacks, namer, by_func: HashMap::new(), by_name: HashMap::new() };
        let mut lengths: Vec<u64> = Vec::new();
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        let mut branches: Vec<Branch> = Vec::new();
        let mut branch_of: Vec<u32> = Vec::with_capacity(stacks.nodes.len());
        for (node, &weight) in stacks.nodes.iter().zip(&stacks.weights) {
            let parent = node.parent.checked_sub(1).and_then(|at| branch_of.get(at as usize));
            let parent = parent.copied().unwrap_or(0);
            let key = stacks.frames.get(node.frame as usize).copied();
            let name = names.number(key.unwrap_or(FrameKey::CUT), &mut lengths);
            let number = *known.entry((parent, name)).or_insert_with(|| {
                let above = parent.checked_sub(1).and_then(|at| branches.get(at as usize));
                let above = above.map_or(root as u64, |above| above.length);
                let length = above + lengths.get(name as usize).copied().unwrap_or(0) + 1;
                branches.push(Branch { parent, name, weight: 0, length });
                branches.len() as u32
            });
            if let Some(branch) = branches.get_mut(number as usize - 1) {
                branch.weight += weight;
            }
            branch_of.push(number);
        }
        let mut named: Vec<(String, u32)> = names.by_name.into_iter().collect();
        named.sort_unstable_by_key(|&(_, number)| number);
        Self { branches, names: named.into_iter().map(|(name, _)| name).collect() }
    }

    /// Leaves out what there is no room for, those with the fewest samples: how many samples that are.
    fn fit(&mut self, room: &mut u64) -> u64 {
        let mut heaviest: Vec<u32> = (0..self.branches.len() as u32).collect();
        heaviest.retain(|&at| self.branches[at as usize].weight > 0);
        heaviest.sort_by_key(|&at| std::cmp::Reverse(self.branches[at as usize].weight));
        let mut left_out = 0;
        for at in heaviest {
            let branch = &mut self.branches[at as usize];
            // A space in place of the last `;`, the number, and the end of the line.
            let size = branch.length + u64::from(branch.weight.ilog10()) + 2;
            match room.checked_sub(size) {
                Some(left) => *room = left,
                None => left_out += std::mem::take(&mut branch.weight),
            }
        }
        left_out
    }

    /// Writes the lines, each behind `path`, which ends with `;` or is empty.
    fn write(&self, mut path: String, out: &mut impl Write) -> io::Result<()> {
        let mut alphabetical: Vec<u32> = (0..self.names.len() as u32).collect();
        alphabetical.sort_unstable_by_key(|&name| &self.names[name as usize]);
        let mut rank = vec![0u32; self.names.len()];
        (0..).zip(&alphabetical).for_each(|(at, &name)| rank[name as usize] = at);
        // Branches by their parents, the last name first, as they are put on a stack.
        let key = |at: u32| {
            let branch = &self.branches[at as usize];
            (branch.parent, std::cmp::Reverse(rank[branch.name as usize]))
        };
        let mut order: Vec<u32> = (0..self.branches.len() as u32).collect();
        order.sort_unstable_by_key(|&at| key(at));
        let beneath = |parent: u32| {
            let from = order.partition_point(|&at| self.branches[at as usize].parent < parent);
            let those = order[from..].iter();
            those.copied().take_while(move |&at| self.branches[at as usize].parent == parent)
        };
        // What is still to be looked at, and how long the path to it is.
        let mut next: Vec<(u32, usize)> = beneath(0).map(|at| (at, path.len())).collect();
        while let Some((at, length)) = next.pop() {
            let branch = &self.branches[at as usize];
            path.truncate(length);
            path.push_str(&self.names[branch.name as usize]);
            if branch.weight > 0 {
                writeln!(out, "{path} {}", branch.weight)?;
            }
            path.push(';');
            next.extend(beneath(at + 1).map(|at| (at, path.len())));
        }
        Ok(())
    }
}

/// Names of functions, each of which has a number.
struct Names<'a> {
    stacks: &'a Stacks,
    namer: &'a mut Namer,
    by_func: HashMap<(u32, u32), u32>,
    by_name: HashMap<String, u32>,
}

impl Names<'_> {
    fn number(&mut self, key: FrameKey, lengths: &mut Vec<u64>) -> u32 {
        let func = (key.module, key.func);
        if let Some(&known) = self.by_func.get(&func) {
            return known;
        }
        let name = match (key.label(), self.stacks.modules.get(key.module as usize)) {
            (Some(label), _) => label.to_owned(),
            (None, Some(module)) => plain(&self.namer.function(module, key.func)),
            (None, None) => "<unknown>".to_owned(),
        };
        let (next, length) = (lengths.len() as u32, name.len() as u64);
        let number = *self.by_name.entry(name).or_insert(next);
        if number == next {
            lengths.push(length);
        }
        self.by_func.insert(func, number);
        number
    }
}

/// A name without what ends one here.
fn plain(name: &str) -> String {
    name.replace(';', ":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Track;
    use crate::{Engine, Module};
    use palisade_module::FuncIdx;
    use palisade_vm::native::TraceFrame;
    use palisade_vm::sample::FrameKind;

    /// Functions of these names, and what makes a frame of one of them.
    struct Guest(Module);

    impl Guest {
        fn new(names: &[String]) -> Self {
            let mut wat = String::from("(module");
            names.iter().for_each(|name| wat += &format!("(func (@name {name:?}))"));
            Self(Module::new(&Engine::default(), wat + ")").unwrap())
        }

        fn key(&self, stacks: &mut Stacks, func: u32, offset: u32) -> FrameKey {
            let frame = TraceFrame {
                module: self.0.info().clone(),
                func: FuncIdx(func),
                offset,
                values: Default::default(),
            };
            stacks.key(FrameKind::Machine, &frame).unwrap()
        }

        fn add(&self, stacks: &mut Stacks, path: &[(u32, u32)], weight: u32) {
            let path: Vec<FrameKey> =
                path.iter().map(|&(func, offset)| self.key(stacks, func, offset)).collect();
            let node = stacks.intern(&path);
            stacks.add(0, 0, node, weight);
        }
    }

    fn profile(all: Vec<(&str, Stacks)>) -> GuestProfile {
        let tracks = all.into_iter().map(|(name, stacks)| Track { name: name.into(), stacks });
        GuestProfile::of(tracks.collect())
    }

    #[test]
    fn lines_are_in_order_and_places_in_a_function_are_one() {
        let guest = Guest::new(&["b".into(), "a;x".into(), "b".into()]);
        let mut stacks = Stacks::default();
        guest.add(&mut stacks, &[(0, 1), (1, 2)], 1);
        guest.add(&mut stacks, &[(0, 5), (1, 9)], 2);
        guest.add(&mut stacks, &[(2, 0)], 4);
        guest.add(&mut stacks, &[(1, 0), (0, 0), (0, 0)], 8);
        let mut text = Vec::new();
        let one = profile(vec![("one", stacks)]);
        one.write_folded(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "a:x;b;b 8\nb 4\nb;a:x 3\n");
        assert_eq!((one.samples(), one.dropped()), (15, 0));
        let (mut x, mut y) = (Stacks::default(), Stacks::default());
        guest.add(&mut x, &[(0, 1)], 1);
        guest.add(&mut y, &[(0, 1)], 2);
        let mut text = Vec::new();
        profile(vec![("y;", y), ("x", x)]).write_folded(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "y:;b 2\nx;b 1\n");
    }

    /// A stack of 2000 calls of functions with long names, and beneath it a different leaf for each sample: 2.4 GB.
    #[test]
    fn deep_stacks_with_many_leaves_make_bounded_text() {
        let long = |i: usize| format!("{i:04}{}", "x".repeat(190));
        let guest = Guest::new(&(0..8000).map(long).collect::<Vec<_>>());
        let mut stacks = Stacks::default();
        let outer: Vec<(u32, u32)> = (0..2000).map(|func| (func, 0)).collect();
        let mut path = outer.clone();
        for leaf in 2000..8000 {
            path.push((leaf, 0));
            guest.add(&mut stacks, &path, if leaf == 7999 { 5 } else { 1 });
            path.pop();
        }
        let profile = profile(vec![("one", stacks)]);
        let mut text = Count { bytes: 0, lines: 0, last: Vec::new() };
        profile.write_folded(&mut text).unwrap();
        assert!(text.bytes <= MOST_BYTES && text.bytes > MOST_BYTES - (1 << 20), "{}", text.bytes);
        assert_eq!(text.lines + 4 + profile.dropped(), profile.samples());
        // The heaviest is there, though it is the last.
        assert!(text.last.ends_with(b" 5\n"));
        assert!(profile.dropped() > 4000);
    }

    /// Counts what is written, and holds the end of it.
    struct Count {
        bytes: u64,
        lines: u64,
        last: Vec<u8>,
    }

    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes += bytes.len() as u64;
            self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.last.extend(&bytes[bytes.len().saturating_sub(16)..]);
            self.last.drain(..self.last.len().saturating_sub(16));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
