//! Where a function catches: its `try_table`s as ranges of code, with what each clause asks for and where
//! it goes on.
//!
//! A side table of [`crate::code::FuncCode`], looked at only when an exception is on its way: code
//! that does not throw pays nothing for it. It also says of call sites what unwinding has to know of them.
//! Functions that neither catch, nor hold references, nor tail-call what may be the host's have none.
//!
//! Invariants: edges and sites are in the order of code, and sites do not overlap. The scopes that cover a
//! place are the one of the last edge at or before it and those around that one, and each of them has
//! clauses if anything at the place can throw: looking costs no more than there are clauses to look at.

/// "None", as an index.
pub(crate) const NONE: u32 = u32::MAX;

/// The body of a `try_table`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    /// The scope around it, or [`NONE`].
    pub(crate) parent: u32,
    /// Its clauses, in order: from, to.
    pub(crate) clauses: (u32, u32),
}

/// A clause of a `try_table`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Clause {
    /// The tag that it catches, in the module's index space; [`NONE`] if it catches all.
    pub(crate) tag: u32,
    /// Whether the exception itself follows the tag's values.
    pub(crate) wants_ref: bool,
    /// The slot that the first cell of the values goes to.
    pub(crate) cell: u16,
    /// The slot that the first reference among the values goes to.
    pub(crate) reference: u16,
    /// Where it goes on, in bytes from the first instruction.
    pub(crate) pad: u32,
}

/// A call that is not like all others, from `start` to `end` (where the callee returns to).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// By how many references the window was moved up for it.
    pub(crate) pushed: u32,
    /// Whether it is a tail call: the frame counts as gone.
    pub(crate) tail: bool,
}

/// Where edges were at a time.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Edges {
    count: usize,
    last: Option<(u32, u32)>,
}

/// What unwinding asks of a function.
#[derive(Clone, Default, Debug)]
pub(crate) struct Handlers {
    pub(crate) scopes: Vec<Scope>,
    /// Where scopes begin and end, in bytes from the first instruction, and the innermost scope from there on.
    edges: Vec<(u32, u32)>,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) sites: Vec<Site>,
}

impl Handlers {
    /// Notes that from a place on, which is not before the last one, another scope is the innermost one.
    pub(crate) fn edge(&mut self, at: u32, innermost: u32) {
        match self.edges.last_mut() {
            Some(last) if last.0 == at => last.1 = innermost,
            _ => self.edges.push((at, innermost)),
        }
    }

    /// The edges so far, to go back to with [`Handlers::forget_edges`].
    pub(crate) fn edges(&self) -> Edges {
        Edges { count: self.edges.len(), last: self.edges.last().copied() }
    }

    /// Forgets all edges since then.
    pub(crate) fn forget_edges(&mut self, before: Edges) {
        self.edges.truncate(before.count);
        if let (Some(last), Some(before)) = (self.edges.last_mut(), before.last) {
            *last = before;
        }
    }

    /// The table as a function keeps it.
    pub(crate) fn finish(mut self) -> Option<Box<Self>> {
        if self.scopes.is_empty() && self.sites.is_empty() {
            return None;
        }
        self.scopes.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.clauses.shrink_to_fit();
        self.sites.shrink_to_fit();
        Some(Box::new(self))
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.scopes)
            + size_of_val(&*self.edges)
            + size_of_val(&*self.clauses)
            + size_of_val(&*self.sites)
    }

    /// The call that covers a place, if it is one of those that are noted.
    pub(crate) fn site(&self, at: u32) -> Option<&Site> {
        let next = self.sites.partition_point(|site| site.start <= at);
        let site = self.sites.get(next.checked_sub(1)?)?;
        (at < site.end).then_some(site)
    }

    /// The clauses that an exception from a place meets, in order.
    pub(crate) fn clauses_at(&self, at: u32) -> impl Iterator<Item = &Clause> {
        let next = self.edges.partition_point(|edge| edge.0 <= at);
        let last = next.checked_sub(1).and_then(|last| self.edges.get(last));
        let scope = |index: u32| self.scopes.get(index as usize);
        let innermost = last.and_then(|&(_, innermost)| scope(innermost));
        std::iter::successors(innermost, move |inner| scope(inner.parent)).flat_map(|scope| {
            let (from, to) = scope.clauses;
            self.clauses.get(from as usize..to as usize).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_scope_comes_first_and_its_neighbours_not_at_all() {
        let clause = |tag| Clause { tag, wants_ref: false, cell: 0, reference: 0, pad: 0 };
        // 0..100 { 0..30 {10..20 {}} 30..30 {} 40..60 }, 200..300
        let scopes =
            [(NONE, (0, 1)), (0, (1, 3)), (1, (3, 3)), (0, (3, 4)), (0, (4, 5)), (NONE, (5, 6))];
        let mut handlers = Handlers {
            scopes: scopes.map(|(parent, clauses)| Scope { parent, clauses }).into(),
            clauses: (0..6).map(clause).collect(),
            ..Handlers::default()
        };
        for (at, innermost) in [(0, 0), (0, 1), (10, 2), (20, 1), (30, 0), (30, 3), (30, 0)] {
            handlers.edge(at, innermost);
        }
        for (at, innermost) in [(40, 4), (60, 0), (100, NONE), (200, 5), (300, NONE)] {
            handlers.edge(at, innermost);
        }
        let tags = |at| handlers.clauses_at(at).map(|clause| clause.tag).collect::<Vec<_>>();
        for at in [0, 9, 10, 19, 20, 29] {
            assert_eq!(tags(at), [1, 2, 0], "{at}");
        }
        for at in [30, 39, 60, 99] {
            assert_eq!(tags(at), [0], "{at}");
        }
        assert_eq!(tags(40), [4, 0]);
        assert_eq!(tags(59), [4, 0]);
        assert_eq!(tags(100), []);
        assert_eq!(tags(199), []);
        assert_eq!(tags(200), [5]);
        assert_eq!(tags(299), [5]);
        assert_eq!(tags(300), []);
        assert_eq!(Handlers::default().clauses_at(0).count(), 0);
        // Edges that are forgotten, one of which stood where one stood already.
        let before = handlers.edges();
        for (at, innermost) in [(300, 4), (310, 5), (320, NONE)] {
            handlers.edge(at, innermost);
        }
        handlers.forget_edges(before);
        handlers.edge(305, 5);
        let tags = |at| handlers.clauses_at(at).map(|clause| clause.tag).collect::<Vec<_>>();
        assert_eq!((tags(299), tags(300), tags(305)), (vec![5], vec![], vec![5]));
    }

    #[test]
    fn a_site_covers_its_instruction_alone() {
        let site = |start, end| Site { start, end, pushed: start, tail: false };
        let handlers = Handlers { sites: vec![site(8, 24), site(32, 48)], ..Handlers::default() };
        let at = |at| handlers.site(at).map(|site| site.pushed);
        assert_eq!([at(0), at(7), at(8), at(23), at(24)], [None, None, Some(8), Some(8), None]);
        assert_eq!([at(31), at(32), at(47), at(48)], [None, Some(32), Some(32), None]);
    }
}
