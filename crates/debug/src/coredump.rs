//! Core dumps: what a guest's instances held and where it stood, as a module that only tools read.
//!
//! The form is that of the tool conventions for WebAssembly: ordinary sections for memories, their contents and
//! globals, and the custom sections `core`, `coremodules`, `coreinstances` and `corestack`. Contents are streamed in
//! chunks; stretches of zeros are left out. What is written is at most as large as the caller says, and never more than
//! what readers of modules take.

use std::io::{self, Write};

/// Contents are looked at in chunks of this size; chunks of zeros are left out.
const CHUNK: usize = 64 << 10;
/// Readers of modules take no more segments.
const MOST_SEGMENTS: usize = 100_000;
/// Readers of modules take no more bytes; there are other sections, too.
const MOST_BYTES: u64 = (1 << 30) - (16 << 20);

/// Copies bytes of a memory from an offset.
pub type Read<'a> = Box<dyn Fn(u64, &mut [u8]) + 'a>;

/// A memory.
pub struct Memory<'a> {
    /// Whether it is addressed by 64-bit numbers.
    pub wide: bool,
    /// The logarithm of its page size.
    pub page_size_log2: u8,
    /// Its bytes.
    pub size: u64,
    /// Copies bytes from an offset. What cannot be read stays as it is.
    pub read: Read<'a>,
}

impl std::fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("size", &self.size).finish_non_exhaustive()
    }
}

/// A value of a global or a local.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A vector.
    V128(u128),
    /// A reference, which nothing outside of the store could follow: told as a null of type `externref`.
    Ref,
}

/// An instance, with the numbers of its memories and globals in this dump.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// The number of its module.
    pub module: u32,
    /// The memories, imported ones first.
    pub memories: Vec<u32>,
    /// The globals, imported ones first.
    pub globals: Vec<u32>,
}

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The number of its instance.
    pub instance: u32,
    /// The function, in its module's index space.
    pub func: u32,
    /// The operator, in bytes from the start of the function's body.
    pub offset: u32,
    /// The values of the function's locals, parameters first; `None` for those that are not known. What the conventions have
    /// no form for, vectors and references, is told as missing.
    pub locals: Vec<Option<Value>>,
    /// How many locals follow of which none is known. (A function may have 50,000, and a dump many frames of it.)
    pub missing_locals: u32,
    /// What waits on its operand stack, the lowest first, as far as it is known; told in the same way.
    pub operands: Vec<Option<Value>>,
}

/// What a core dump is made of.
#[derive(Debug, Default)]
pub struct CoreDump<'a> {
    /// The name of the program.
    pub name: String,
    /// The modules, by name.
    pub modules: Vec<String>,
    /// The memories of all instances, each once.
    pub memories: Vec<Memory<'a>>,
    /// The globals of all instances, each once, and whether they can be set.
    pub globals: Vec<(Value, bool)>,
    /// The instances.
    pub instances: Vec<Instance>,
    /// The frames, innermost first.
    pub frames: Vec<Frame>,
}

/// A stretch of a memory that is written.
struct Segment {
    header: Vec<u8>,
    memory: usize,
    start: u64,
    length: u64,
}

impl CoreDump<'_> {
    /// Writes the dump, with at most so many bytes of memories; how many bytes that are not zero were left
    /// out, at least.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write(&self, out: &mut dyn Write, most: u64) -> io::Result<u64> {
        out.write_all(b"\0asm\x01\0\0\0")?;
        let mut core = vec![0];
        text(&mut core, &self.name);
        custom(out, "core", &core)?;
        let mut memories = Vec::new();
        number(&mut memories, self.memories.len() as u64);
        for memory in &self.memories {
            let small = memory.page_size_log2 != 16;
            memories.push(u8::from(memory.wide) << 2 | u8::from(small) << 3);
            number(&mut memories, memory.size >> memory.page_size_log2.min(63));
            if small {
                number(&mut memories, memory.page_size_log2.into());
            }
        }
        section(out, 5, &memories)?;
        let mut globals = Vec::new();
        number(&mut globals, self.globals.len() as u64);
        for (value, mutable) in &self.globals {
            global(&mut globals, *value, *mutable);
        }
        section(out, 6, &globals)?;
        let left_out = self.data(out, most.min(MOST_BYTES))?;
        let mut modules = Vec::new();
        number(&mut modules, self.modules.len() as u64);
        for name in &self.modules {
            modules.push(0);
            text(&mut modules, name);
        }
        custom(out, "coremodules", &modules)?;
        let mut instances = Vec::new();
        number(&mut instances, self.instances.len() as u64);
        for instance in &self.instances {
            instances.push(0);
            number(&mut instances, instance.module.into());
            for list in [&instance.memories, &instance.globals] {
                number(&mut instances, list.len() as u64);
                list.iter().for_each(|&index| number(&mut instances, index.into()));
            }
        }
        custom(out, "coreinstances", &instances)?;
        let mut stack = vec![0];
        text(&mut stack, "main");
        number(&mut stack, self.frames.len() as u64);
        for frame in &self.frames {
            stack.push(0);
            for part in [frame.instance, frame.func, frame.offset] {
                number(&mut stack, part.into());
            }
            let missing = frame.missing_locals as usize;
            for (values, missing) in [(&frame.locals, missing), (&frame.operands, 0)] {
                number(&mut stack, (values.len() + missing) as u64);
                values.iter().for_each(|value| known_value(&mut stack, *value));
                stack.resize(stack.len() + missing, MISSING);
            }
        }
        custom(out, "corestack", &stack)?;
        out.flush()?;
        Ok(left_out)
    }

    fn data(&self, out: &mut dyn Write, most: u64) -> io::Result<u64> {
        let (mut segments, mut left, mut left_out) = (Vec::<Segment>::new(), most, 0);
        let mut buffer = vec![0; CHUNK];
        for (index, memory) in self.memories.iter().enumerate() {
            let mut open = false;
            for start in (0..memory.size).step_by(CHUNK) {
                let length = (memory.size - start).min(CHUNK as u64);
                let chunk = &mut buffer[..length as usize];
                chunk.fill(0);
                (memory.read)(start, chunk);
                if chunk.iter().all(|&byte| byte == 0) {
                    open = false;
                    continue;
                }
                if length > left || (!open && segments.len() == MOST_SEGMENTS) {
                    open = false;
                    left_out += length;
                    continue;
                }
                left -= length;
                match segments.last_mut() {
                    Some(last) if open => last.length += length,
                    _ => {
                        segments.push(Segment { header: Vec::new(), memory: index, start, length })
                    }
                }
                open = true;
            }
        }
        let mut size = 0;
        for segment in &mut segments {
            segment.finish(self.memories[segment.memory].wide);
            size += segment.header.len() as u64 + segment.length;
        }
        let mut count = Vec::new();
        number(&mut count, segments.len() as u64);
        let mut head = vec![11];
        number(&mut head, size + count.len() as u64);
        out.write_all(&head)?;
        out.write_all(&count)?;
        for segment in &segments {
            out.write_all(&segment.header)?;
            for start in (0..segment.length).step_by(CHUNK) {
                let chunk = &mut buffer[..(segment.length - start).min(CHUNK as u64) as usize];
                chunk.fill(0);
                (self.memories[segment.memory].read)(segment.start + start, chunk);
                out.write_all(chunk)?;
            }
        }
        Ok(left_out)
    }
}

impl Segment {
    /// Writes what stands before the bytes: memory, offset, length.
    fn finish(&mut self, wide: bool) {
        let header = &mut self.header;
        header.push(2);
        number(header, self.memory as u64);
        if wide {
            header.push(0x42);
            signed(header, self.start.cast_signed());
        } else {
            header.push(0x41);
            signed(header, i64::from((self.start as u32).cast_signed()));
        }
        header.push(0x0b);
        number(header, self.length);
    }
}

/// A value of a frame that is not known.
const MISSING: u8 = 0x01;

/// A value of a frame.
fn known_value(out: &mut Vec<u8>, value: Option<Value>) {
    match value {
        Some(Value::I32(n)) => {
            out.push(0x7f);
            signed(out, n.into());
        }
        Some(Value::I64(n)) => {
            out.push(0x7e);
            signed(out, n);
        }
        Some(Value::F32(bits)) => {
            out.push(0x7d);
            out.extend(bits.to_le_bytes());
        }
        Some(Value::F64(bits)) => {
            out.push(0x7c);
            out.extend(bits.to_le_bytes());
        }
        Some(Value::V128(_) | Value::Ref) | None => out.push(MISSING),
    }
}

fn global(out: &mut Vec<u8>, value: Value, mutable: bool) {
    let ty = match value {
        Value::I32(_) => 0x7f,
        Value::I64(_) => 0x7e,
        Value::F32(_) => 0x7d,
        Value::F64(_) => 0x7c,
        Value::V128(_) => 0x7b,
        Value::Ref => 0x6f,
    };
    out.extend([ty, u8::from(mutable)]);
    match value {
        Value::I32(n) => {
            out.push(0x41);
            signed(out, n.into());
        }
        Value::I64(n) => {
            out.push(0x42);
            signed(out, n);
        }
        Value::F32(bits) => {
            out.push(0x43);
            out.extend(bits.to_le_bytes());
        }
        Value::F64(bits) => {
            out.push(0x44);
            out.extend(bits.to_le_bytes());
        }
        Value::V128(bits) => {
            out.extend([0xfd, 0x0c]);
            out.extend(bits.to_le_bytes());
        }
        Value::Ref => out.extend([0xd0, 0x6f]),
    }
    out.push(0x0b);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn signed(out: &mut Vec<u8>, mut value: i64) {
    while !(-0x40..0x40).contains(&value) {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8 & 0x7f);
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn section(out: &mut dyn Write, id: u8, content: &[u8]) -> io::Result<()> {
    let mut head = vec![id];
    number(&mut head, content.len() as u64);
    out.write_all(&head)?;
    out.write_all(content)
}

fn custom(out: &mut dyn Write, name: &str, content: &[u8]) -> io::Result<()> {
    let mut named = Vec::new();
    text(&mut named, name);
    named.extend(content);
    section(out, 0, &named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locals_that_are_not_known_are_counted_and_told() {
        let frame = Frame {
            instance: 0,
            func: 3,
            offset: 9,
            locals: vec![Some(Value::I32(-1)), None],
            missing_locals: 300,
            operands: vec![Some(Value::I64(1))],
        };
        let dump = CoreDump { frames: vec![frame], ..CoreDump::default() };
        let mut bytes = Vec::new();
        dump.write(&mut bytes, 0).unwrap();
        // 302 of them: one known, 301 missing; then one operand.
        let mut told = vec![0, 0, 3, 9, 0xae, 0x02, 0x7f, 0x7f];
        told.extend([MISSING; 301]);
        told.extend([1, 0x7e, 1]);
        assert!(bytes.ends_with(&told));
    }
}
