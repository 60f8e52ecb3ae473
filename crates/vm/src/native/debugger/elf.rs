//! An object file for code that stands in memory already: its symbols, and the table of its frames. ELF, 64 bits.

/// A name for a stretch of code.
pub(super) struct Symbol {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) name: String,
}

const HEADER: usize = 64;
const SECTION: usize = 64;
const SYMBOL: usize = 24;

/// `ET_EXEC`: addresses are what they say.
const KIND: u16 = 2;
/// The number of this machine's instruction set.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

// Types of sections.
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const NOBITS: u32 = 8;

// Flags of sections.
const ALLOC: u64 = 2;
const EXECINSTR: u64 = 4;

/// A symbol of a function that others may see.
const GLOBAL_FUNC: u8 = 1 << 4 | 2;

/// The number of the section with the code.
const TEXT: u16 = 1;

/// Texts one after the other, each ended by a zero. Where each begins.
struct Texts(Vec<u8>);

impl Texts {
    fn add(&mut self, text: &str) -> Option<u32> {
        let at = u32::try_from(self.0.len()).ok()?;
        self.0.extend(text.bytes().filter(|&byte| byte != 0));
        self.0.push(0);
        Some(at)
    }
}

struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    bytes: u64,
    link: u32,
    info: u32,
    entry: u64,
}

/// The number of the section with the frames.
const FRAMES: usize = 2;

/// The file, where it stays. `None` if names take more than 4 GiB.
pub(super) fn file(at: u64, bytes: u64, symbols: &[Symbol], frames: &[u8]) -> Option<Box<[u8]>> {
    let mut texts = Texts(vec![0]);
    let mut table = vec![0; SYMBOL];
    for symbol in symbols {
        table.extend(texts.add(&symbol.name)?.to_le_bytes());
        table.extend([GLOBAL_FUNC, 0]);
        table.extend(TEXT.to_le_bytes());
        table.extend(symbol.at.to_le_bytes());
        table.extend(symbol.bytes.to_le_bytes());
    }
    let mut out = vec![0; HEADER];
    let place = |out: &mut Vec<u8>, content: &[u8]| {
        out.resize(out.len().next_multiple_of(8), 0);
        let at = out.len() as u64;
        out.extend(content);
        (at, content.len() as u64)
    };
    let none = Section {
        name: "",
        kind: 0,
        flags: 0,
        address: 0,
        offset: 0,
        bytes: 0,
        link: 0,
        info: 0,
        entry: 0,
    };
    let section = |name, kind, (offset, bytes)| Section { name, kind, offset, bytes, ..none };
    let frames = place(&mut out, frames);
    let table = place(&mut out, &table);
    let texts = place(&mut out, &texts.0);
    let code =
        Section { flags: ALLOC | EXECINSTR, address: at, ..section(".text", NOBITS, (0, bytes)) };
    let offset = frames.0;
    let frames = Section { flags: ALLOC, ..section(".eh_frame", PROGBITS, frames) };
    let table = Section {
        link: 4,
        // The first symbol that others may see.
        info: 1,
        entry: SYMBOL as u64,
        ..section(".symtab", SYMTAB, table)
    };
    let texts = section(".strtab", STRTAB, texts);
    let names = section(".shstrtab", STRTAB, (0, 0));
    let mut sections = [section("", 0, (0, 0)), code, frames, table, texts, names];
    let mut named = Texts(Vec::new());
    let mut starts = Vec::with_capacity(sections.len());
    for section in &sections {
        starts.push(named.add(section.name)?);
    }
    let last = sections.len() - 1;
    (sections[last].offset, sections[last].bytes) = place(&mut out, &named.0);
    let (headers, _) = place(&mut out, &[]);
    for (section, name) in sections.iter().zip(starts) {
        for word in [name, section.kind] {
            out.extend(word.to_le_bytes());
        }
        for word in [section.flags, section.address, section.offset, section.bytes] {
            out.extend(word.to_le_bytes());
        }
        for word in [section.link, section.info] {
            out.extend(word.to_le_bytes());
        }
        for word in [8, section.entry] {
            out.extend(word.to_le_bytes());
        }
    }
    let mut header = Vec::with_capacity(HEADER);
    // 64 bits, the lowest byte first, version 1.
    header.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    header.extend(KIND.to_le_bytes());
    header.extend(MACHINE.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    for word in [0, 0, headers] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    let counts = [HEADER, 0, 0, SECTION, sections.len(), last];
    counts.iter().for_each(|&count| header.extend((count as u16).to_le_bytes()));
    out.get_mut(..HEADER)?.copy_from_slice(&header);
    let mut out = out.into_boxed_slice();
    // Where it is, in here: nothing else may be said to be there.
    let address = out.as_ptr().addr() as u64 + offset;
    let field = headers as usize + FRAMES * SECTION + 16;
    out.get_mut(field..field + 8)?.copy_from_slice(&address.to_le_bytes());
    Some(out)
}
