//! Text for flame graphs: `outer;inner;innermost 12`, a line for each stack of functions, in alphabetical order.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::stacks::{FrameKey, Stacks};
use super::{GuestProfile, lock, text};

/// Writes a profile. Places in the same function are one; where there are several stores, their names come first.
pub(super) fn write(profile: &GuestProfile, out: &mut impl Write) -> io::Result<()> {
    for track in &profile.tracks {
        let state = lock(&track.state);
        let mut names = Names { stacks: &state.stacks, known: HashMap::new() };
        let root = (profile.tracks.len() > 1).then(|| plain(&text::cut(&track.name)));
        // Stacks of functions as a tree of their own: the number of the branch that each node is, from 1.
        let mut branches: BTreeMap<(u32, String), u32> = BTreeMap::new();
        let mut all: Vec<(u32, String, u64)> = Vec::new();
        let mut branch_of: Vec<u32> = Vec::with_capacity(state.stacks.nodes.len());
        for (node, &weight) in state.stacks.nodes.iter().zip(&state.stacks.weights) {
            let parent = node.parent.checked_sub(1).and_then(|at| branch_of.get(at as usize));
            let parent = parent.copied().unwrap_or(0);
            let key = state.stacks.frames.get(node.frame as usize).copied();
            let name = names.of(key.unwrap_or(FrameKey::CUT));
            let branch = *branches.entry((parent, name.clone())).or_insert_with(|| {
                all.push((parent, name, 0));
                all.len() as u32
            });
            if let Some((.., total)) = all.get_mut(branch as usize - 1) {
                *total += weight;
            }
            branch_of.push(branch);
        }
        let mut lines: Vec<(Vec<&str>, u64)> = Vec::new();
        for (at, &(_, _, weight)) in all.iter().enumerate().filter(|(_, (.., w))| *w > 0) {
            let (mut path, mut here) = (Vec::new(), at as u32 + 1);
            while let Some((parent, name, _)) =
                here.checked_sub(1).and_then(|at| all.get(at as usize))
            {
                path.push(name.as_str());
                here = *parent;
            }
            path.extend(root.as_deref());
            path.reverse();
            lines.push((path, weight));
        }
        lines.sort();
        for (path, weight) in lines {
            for (i, name) in path.iter().enumerate() {
                write!(out, "{}{name}", if i > 0 { ";" } else { "" })?;
            }
            writeln!(out, " {weight}")?;
        }
    }
    Ok(())
}

struct Names<'a> {
    stacks: &'a Stacks,
    known: HashMap<(u32, u32), String>,
}

impl Names<'_> {
    fn of(&mut self, key: FrameKey) -> String {
        if let Some(label) = key.label() {
            return label.to_owned();
        }
        let known = self.known.entry((key.module, key.func)).or_insert_with(|| {
            match self.stacks.modules.get(key.module as usize) {
                Some(module) => plain(&text::function(module, key.func)),
                None => "<unknown>".to_owned(),
            }
        });
        known.clone()
    }
}

/// A name without what ends one here.
fn plain(name: &str) -> String {
    name.replace(';', ":")
}
