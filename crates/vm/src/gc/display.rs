//! What machine code looks into when it tests a reference: a row for each type, by its number.
//!
//! A row holds the supertypes of the type from the root down to itself, as far as there is room, and what its
//! objects are. A row that nobody asked for yet says that it is unknown in every place; then the runtime is
//! asked, which fills it. Rows are few and small: types with higher numbers, and deeper targets, are always
//! asked about.

use palisade_core::TypeId;

use super::HeapTypeInfo;
use super::layout::ObjectLayout;

/// The supertypes in a row.
pub const DEPTHS: usize = 7;
/// What a row that was not filled holds in every place. No type has this number.
pub const UNKNOWN: u32 = u32::MAX;
/// What stands in places below the type itself. No type has this number either.
const NOTHING: u32 = u32::MAX - 1;
/// The last place of the row of a structure type.
pub const STRUCT: u32 = 1;
/// The last place of the row of an array type.
pub const ARRAY: u32 = 2;

/// The most rows.
const MOST: usize = 8192;

/// A row: supertypes, then what the objects are.
pub type Row = [u32; DEPTHS + 1];

/// The rows of a store.
#[derive(Default, Debug)]
pub(crate) struct Displays {
    rows: Vec<Row>,
}

impl Displays {
    /// Whether the row of a type is there, or will never be.
    #[inline]
    pub(crate) fn settled(&self, id: TypeId) -> bool {
        let at = id.0 as usize;
        at >= MOST || self.rows.get(at).is_some_and(|row| row[DEPTHS] != UNKNOWN)
    }

    /// Fills the row of a type. The others may move.
    #[cold]
    pub(crate) fn fill(&mut self, id: TypeId, info: &HeapTypeInfo) {
        let at = id.0 as usize;
        if at >= MOST {
            return;
        }
        if at >= self.rows.len() {
            self.rows.resize(at + 1, [UNKNOWN; DEPTHS + 1]);
        }
        if let Some(row) = self.rows.get_mut(at) {
            row.fill(NOTHING);
            for (place, supertype) in row.iter_mut().take(DEPTHS).zip(&*info.display) {
                *place = supertype.0;
            }
            row[DEPTHS] = match info.layout {
                ObjectLayout::Struct(_) => STRUCT,
                ObjectLayout::Array(_) => ARRAY,
            };
        }
    }

    /// Where the rows are, until one is filled, and how many.
    pub(crate) fn rows(&self) -> (*const Row, usize) {
        (self.rows.as_ptr(), self.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_what_there_is_room_for() {
        let info = |count: u32| HeapTypeInfo {
            display: (10..10 + count).map(TypeId).collect(),
            layout: ObjectLayout::Array(super::super::layout::FieldKind::I8),
        };
        let mut displays = Displays::default();
        assert!(!displays.settled(TypeId(3)));
        displays.fill(TypeId(3), &info(2));
        assert!(displays.settled(TypeId(3)) && !displays.settled(TypeId(2)));
        assert_eq!(displays.rows().1, 4);
        assert_eq!(displays.rows[2], [UNKNOWN; 8]);
        assert_eq!(displays.rows[3], [10, 11, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, ARRAY]);
        displays.fill(TypeId(0), &info(9));
        assert_eq!(displays.rows[0], [10, 11, 12, 13, 14, 15, 16, ARRAY]);
        // Nothing is kept of types with large numbers.
        displays.fill(TypeId(u32::MAX / 2), &info(1));
        assert!(displays.settled(TypeId(u32::MAX / 2)));
        assert_eq!(displays.rows().1, 4);
    }
}
