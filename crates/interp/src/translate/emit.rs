//! The code buffer: instructions as words, marks for those that may trap, and branches that wait for
//! their target.

use std::mem::MaybeUninit;

use crate::code::{PREFIX_WORDS, Ty, Word};
use crate::operands::{Operands, Shown, show};
use crate::state::Handler;

/// Where an instruction begins, in bytes from the first one.
pub(super) type At = u32;

/// A branch offset that is not known yet: the instruction, and where in it the offset stands.
#[derive(Copy, Clone, Debug)]
pub(super) struct Fixup {
    pub(super) at: At,
    pub(super) field: u32,
}

/// What people want to know of an instruction.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Note {
    /// Where it begins, in bytes from the first one.
    pub(crate) at: At,
    /// The offset in the module of the operator that it was made for.
    pub(crate) source: u32,
    /// Its operation.
    pub(crate) operation: Handler,
    /// Reads its operands from its words, which are those from `at` to the next instruction.
    pub(crate) show: unsafe fn(&[Word]) -> Shown,
}

/// What is noted while a function is translated.
#[derive(Default, Debug)]
pub(crate) struct Notes {
    /// A note for each instruction, in order.
    pub(crate) list: Vec<Note>,
    /// The instruction whose operand stack is wanted, by its place.
    watched: Option<At>,
    /// That stack, the lowest first, without what the instruction takes itself.
    pub(crate) operands: Option<Vec<(Ty, Held)>>,
}

/// Where an operand is kept while an instruction runs.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Held {
    /// In a slot of the frame.
    Slot(u32),
    /// Nowhere: it is a constant.
    Const(u64),
    /// In an accumulator, which nobody saves, or among the references.
    Lost,
}

/// The code of a function while it is made.
#[derive(Default)]
pub(super) struct Emitter {
    words: Vec<Word>,
    pub(super) marks: Vec<(u32, u32)>,
    /// Where somebody is going to look at the code.
    pub(super) notes: Option<Notes>,
}

/// An instruction that was taken off, to be put back behind others.
pub(super) struct Taken {
    words: Vec<Word>,
    mark: Option<u32>,
    note: Option<Note>,
}

impl Emitter {
    /// Starts with room for the prefix.
    pub(super) fn new() -> Self {
        Self { words: vec![Word::new(0); PREFIX_WORDS], marks: Vec::new(), notes: None }
    }

    /// The same, to make notes on the instructions as well.
    pub(super) fn with_notes(watched: Option<At>) -> Self {
        Self { notes: Some(Notes { watched, ..Notes::default() }), ..Self::new() }
    }

    /// Where to put the operand stack of the instruction that was just emitted at `at`, if it is wanted.
    pub(super) fn watched(&mut self, at: At) -> Option<&mut Option<Vec<(Ty, Held)>>> {
        let notes = self.notes.as_mut().filter(|notes| notes.watched == Some(at))?;
        Some(&mut notes.operands)
    }

    /// Notes an instruction with operands of type `T`.
    pub(super) fn note<T: Operands>(&mut self, at: At, source: u32, handler: Handler) {
        if let Some(notes) = &mut self.notes {
            notes.list.push(Note { at, source, operation: handler, show: show::<T> });
        }
    }

    /// Notes that an instruction has become another one, with the same operands.
    pub(super) fn rename(&mut self, at: At, handler: Handler) {
        let Some(notes) = &mut self.notes else { return };
        if let Some(note) = notes.list.iter_mut().rev().find(|note| note.at == at) {
            note.operation = handler;
        }
    }

    /// Where the next instruction will begin.
    pub(super) fn here(&self) -> At {
        ((self.words.len() - PREFIX_WORDS) * 8) as At
    }

    /// What there is so far, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (size_of_val(&self.words[..]) + size_of_val(&self.marks[..])) as u64
    }

    /// Adds an instruction.
    pub(super) fn push<T: Copy>(&mut self, instruction: T) -> At {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8) };
        let at = self.here();
        let from = (&raw const instruction).cast::<Word>();
        for i in 0..size_of::<T>() / 8 {
            // SAFETY: `instruction` has a size that is a multiple of 8 and any bytes, padding too,
            // are valid for a `MaybeUninit`; a word may be read from any address.
            self.words.push(unsafe { from.add(i).read_unaligned() });
        }
        at
    }

    /// Adds a word.
    pub(super) fn push_word(&mut self, word: u64) {
        self.words.push(MaybeUninit::new(word));
    }

    /// Takes back everything from `at` on. A mark of that very place stays: it may be a loop's, and what traps there
    /// next notes its own.
    pub(super) fn truncate(&mut self, at: At) {
        self.words.truncate(at as usize / 8 + PREFIX_WORDS);
        while self.marks.last().is_some_and(|&(mark, _)| mark > at) {
            self.marks.pop();
        }
        if let Some(notes) = &mut self.notes {
            notes.list.truncate(notes.list.partition_point(|note| note.at < at));
        }
    }

    /// Takes off the instruction that begins at `at` and is the newest one.
    pub(super) fn take(&mut self, at: At) -> Taken {
        let words = self.words.get(at as usize / 8 + PREFIX_WORDS..).unwrap_or_default().to_vec();
        let mark = self.marks.last().filter(|mark| mark.0 == at).map(|mark| mark.1);
        let notes = self.notes.as_ref();
        let note = notes.and_then(|notes| notes.list.iter().rev().find(|note| note.at == at));
        let note = note.copied();
        self.truncate(at);
        Taken { words, mark, note }
    }

    /// Puts an instruction back that was taken off.
    pub(super) fn put_back(&mut self, Taken { words, mark, note }: Taken) -> At {
        if let Some(offset) = mark {
            self.mark(offset);
        }
        let at = self.here();
        self.words.extend(words);
        if let (Some(notes), Some(note)) = (&mut self.notes, note) {
            notes.list.push(Note { at, ..note });
            // What was on the stack is not known any more.
            if notes.watched == Some(at) {
                notes.operands = None;
            }
        }
        at
    }

    /// Notes that the next instruction comes from `offset` in the module.
    pub(super) fn mark(&mut self, offset: u32) {
        let here = self.here();
        match self.marks.last_mut() {
            Some(last) if last.0 == here => last.1 = offset,
            _ => self.marks.push((here, offset)),
        }
    }

    /// Overwrites bytes of the instruction at `at`, `field` bytes from its start.
    pub(super) fn patch<T: Copy>(&mut self, at: At, field: u32, value: T) {
        let place = PREFIX_WORDS * 8 + at as usize + field as usize;
        assert!(place + size_of::<T>() <= self.words.len() * 8, "a patch lies inside the code");
        // SAFETY: the assertion keeps the write inside the buffer.
        unsafe {
            self.words.as_mut_ptr().cast::<u8>().add(place).cast::<T>().write_unaligned(value);
        }
    }

    /// Lets a branch lead to `target`.
    pub(super) fn resolve(&mut self, fixup: Fixup, target: At) {
        let offset = i64::from(target) - i64::from(fixup.at);
        self.patch(fixup.at, fixup.field, offset as i32);
    }

    /// The finished words, with their prefix.
    pub(super) fn finish(
        mut self,
        signature: u64,
        frame_bytes: u64,
    ) -> (Box<[Word]>, Vec<(u32, u32)>) {
        self.words[0] = Word::new(signature);
        self.words[1] = Word::new(frame_bytes);
        (self.words.into_boxed_slice(), self.marks)
    }
}
