//! Tables of frames of machine code, in the form of `.eh_frame`: where a frame's caller goes on, and where its frame pointer is.
//!
//! Functions begin with `push rbp; mov rbp, rsp`, and keep the frame pointer up to where they put it back; what does not
//! begin so makes no frame at all. So each function has one of two descriptions. Three things they do not say: where other registers that
//! callees keep are (they are said to be lost; the trampoline into machine code puts all of them back from the host's stack);
//! that between the last `pop rbp` and `ret` the frame is gone (there the caller is passed over); and how the stack of a
//! tail call is being rearranged.

/// The two instructions with which frames are made.
const FRAMED: [u8; 4] = [0x55, 0x48, 0x89, 0xE5];

// Numbers of registers.
const RBX: u8 = 3;
const RBP: u8 = 6;
const RSP: u8 = 7;
const RETURN: u8 = 16;
const KEPT: [u8; 5] = [RBX, 12, 13, 14, 15];

// Instructions of tables of frames.
const ADVANCE: u8 = 0x40;
const OFFSET: u8 = 0x80;
const DEF_CFA: u8 = 0x0C;
const DEF_CFA_REGISTER: u8 = 0x0D;
const DEF_CFA_OFFSET: u8 = 0x0E;
const UNDEFINED: u8 = 0x07;

/// Addresses of 8 bytes, as they are.
const ABSOLUTE: u8 = 0;

/// Appends an entry: its length, what it is relative to (or 0), its content, up to a multiple of 8 bytes.
fn entry(table: &mut Vec<u8>, pointer: Option<usize>, content: &[u8]) {
    let at = table.len();
    let bytes = (4 + content.len()).next_multiple_of(8) + 4;
    // The length does not count itself; the whole is a multiple of 8.
    table.extend((bytes as u32).to_le_bytes());
    let back = pointer.map_or(0, |to| at + 4 - to);
    table.extend((back as u32).to_le_bytes());
    table.extend(content);
    // Padding does nothing.
    table.resize(at + 4 + bytes, 0);
}

/// The table of these functions: where they begin, and their code. Ends with a zero.
pub(super) fn table<'a>(funcs: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<u8> {
    let mut table = Vec::new();
    // Version, what follows the return address, alignment of code and of data, the return address.
    let mut common = vec![1, b'z', b'R', 0, 1, 0x78, RETURN, 1, ABSOLUTE];
    common.extend([DEF_CFA, RSP, 8, OFFSET | RETURN, 1]);
    for register in KEPT {
        common.extend([UNDEFINED, register]);
    }
    entry(&mut table, None, &common);
    for (at, code) in funcs {
        let mut content = Vec::with_capacity(32);
        content.extend(at.to_le_bytes());
        content.extend((code.len() as u64).to_le_bytes());
        // No more of what `z` announces.
        content.push(0);
        if code.starts_with(&FRAMED) {
            content.extend([ADVANCE | 1, DEF_CFA_OFFSET, 16, OFFSET | RBP, 2]);
            content.extend([ADVANCE | 3, DEF_CFA_REGISTER, RBP]);
        }
        entry(&mut table, Some(0), &content);
    }
    table.extend([0; 4]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_common_entry_one_for_each_function_and_an_end() {
        let framed = [&FRAMED[..], &[0xC3]].concat();
        let table = table([(0x1000u64, &framed[..]), (0x2000, &[0xFF, 0xE0])].into_iter());
        let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut found) = (0, Vec::new());
        while word(at) != 0 {
            let (bytes, back) = (word(at), word(at + 4));
            assert_eq!((at + 4 + bytes) % 4, 0);
            if back != 0 {
                assert_eq!(at + 4 - back, 0, "leads to the common entry");
                let long = |at: usize| u64::from_le_bytes(table[at..at + 8].try_into().unwrap());
                found.push((long(at + 8), long(at + 16), table[at + 25..at + 4 + bytes].to_vec()));
            }
            at += 4 + bytes;
        }
        assert_eq!(at + 4, table.len());
        let [(0x1000, 5, first), (0x2000, 2, second)] = &found[..] else { panic!("{found:?}") };
        assert!(first.starts_with(&[0x41, 0x0E, 16, 0x86, 2, 0x43, 0x0D, 6]));
        assert!(second.iter().all(|&byte| byte == 0), "{second:?}");
    }
}
