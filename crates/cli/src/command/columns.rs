//! Forms of one function, laid out: one after the other, or side by side with what belongs to one operator in one row.
//!
//! Side by side the first form gives the order. What another form has for an operator stands beside it, whatever stood before
//! it there; lines say themselves where they are in their own form. Everything is escaped here, line by line.

use std::fmt::Write as _;

use crate::escape;

/// Columns below which nothing is shown side by side.
pub(super) const WIDE: usize = 160;
/// The columns from which on there is room for the forms with [`Form::wide`] beside the others.
const WIDEST: usize = 220;
/// Between two columns.
const BETWEEN: &str = " │ ";

/// A form of a function.
pub(super) struct Form {
    /// Its heading.
    pub(super) title: &'static str,
    /// Its lines, in its own order.
    pub(super) lines: Vec<Line>,
    /// Its part of the width, beside the parts of the others.
    pub(super) share: usize,
    /// Whether it stands beside the others only where there is much room, and below them elsewhere.
    pub(super) wide: bool,
}

/// A line of a form.
pub(super) struct Line {
    /// The offset in the module of what it comes from; where there is none, that of a line beside it.
    pub(super) source: Option<u64>,
    /// What it says.
    pub(super) text: String,
    /// Whether it says nothing but the offset, which a row says, too.
    pub(super) offset_alone: bool,
}

impl Line {
    pub(super) fn new(source: Option<u64>, text: String) -> Self {
        Self { source, text, offset_alone: false }
    }

    /// A line that says from where on in the module the next ones come.
    pub(super) fn offset(source: u64) -> Self {
        Self { source: Some(source), text: format!("; @{source:#x}"), offset_alone: true }
    }
}

/// Side by side where there is room, one after the other elsewhere.
pub(super) fn lay_out(forms: &[Form], width: usize) -> String {
    let mut out = String::new();
    let beside = |form: &&Form| width >= if form.wide { WIDEST } else { WIDE };
    let (beside, below): (Vec<_>, Vec<_>) = forms.iter().partition(beside);
    side_by_side(&beside, width, &mut out);
    for form in below {
        let blank = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{blank}{}", form.title);
        for line in &form.lines {
            let _ = writeln!(out, "    {}", escape::lines(&line.text));
        }
    }
    out
}

fn side_by_side(forms: &[&Form], width: usize, out: &mut String) {
    let [first, others @ ..] = forms else { return };
    let shares: usize = forms.iter().map(|form| form.share).sum();
    let room = width.saturating_sub((forms.len() - 1) * BETWEEN.chars().count());
    let columns: Vec<usize> = forms.iter().map(|form| room * form.share / shares.max(1)).collect();
    let mut row = |cells: &[&str]| {
        let cells = cells.iter().zip(&columns).map(|(text, &column)| fitted(text, column));
        let line = cells.collect::<Vec<_>>().join(BETWEEN);
        let _ = writeln!(out, "{}", line.trim_end());
    };
    row(&forms.iter().map(|form| form.title).collect::<Vec<_>>());
    let mut starts: Vec<u64> = first.lines.iter().filter_map(|line| line.source).collect();
    starts.sort_unstable();
    starts.dedup();
    let first = grouped(first, &starts);
    let others: Vec<_> = others.iter().map(|form| grouped(form, &starts)).collect();
    for group in 0..first.len() {
        let parts: Vec<&[&str]> = [&first]
            .into_iter()
            .chain(&others)
            .map(|form| form.get(group).map(Vec::as_slice).unwrap_or_default())
            .collect();
        let rows = parts.iter().map(|part| part.len()).max().unwrap_or(0);
        for at in 0..rows {
            let cells: Vec<&str> =
                parts.iter().map(|part| part.get(at).copied().unwrap_or_default()).collect();
            row(&cells);
        }
    }
}

/// The lines of a form by what they come from: for each of the offsets those from there to the next one.
fn grouped<'a>(form: &'a Form, starts: &[u64]) -> Vec<Vec<&'a str>> {
    let mut groups = vec![Vec::new(); starts.len().max(1)];
    // A line that comes from nowhere introduces the next one that does, or ends the last.
    let mut sources: Vec<Option<u64>> = form.lines.iter().map(|line| line.source).collect();
    let mut next = sources.iter().flatten().next_back().copied();
    for source in sources.iter_mut().rev() {
        next = source.or(next);
        *source = next;
    }
    for (line, source) in form.lines.iter().zip(sources) {
        if line.offset_alone {
            continue;
        }
        let after = starts.partition_point(|&start| source.is_some_and(|source| start <= source));
        if let Some(group) = groups.get_mut(after.saturating_sub(1)) {
            group.push(line.text.as_str());
        }
    }
    groups
}

/// A text that takes just so many columns.
fn fitted(text: &str, column: usize) -> String {
    let text = escape::lines(text);
    let cut: String = match text.chars().count() > column {
        true => text.chars().take(column.saturating_sub(1)).chain(['…']).collect(),
        false => text,
    };
    format!("{cut:column$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(title: &'static str, wide: bool, lines: &[(Option<u64>, &str)]) -> Form {
        let line = |&(source, text): &(Option<u64>, &str)| Line::new(source, text.to_owned());
        Form { title, lines: lines.iter().map(line).collect(), share: 1, wide }
    }

    #[test]
    fn what_comes_from_one_operator_stands_in_one_row() {
        let forms = [
            form("A", false, &[(Some(10), "ten"), (Some(12), "twelve"), (Some(15), "fifteen")]),
            form(
                "B",
                false,
                &[(Some(15), "late"), (Some(3), "prologue"), (None, "label"), (Some(13), "in")],
            ),
            form("C", true, &[(Some(12), "below")]),
        ];
        let rows: Vec<Vec<String>> = lay_out(&forms, WIDE)
            .lines()
            .map(|line| line.split('│').map(|cell| cell.trim().to_owned()).collect())
            .collect();
        let expected: [&[&str]; 8] = [
            &["A", "B"],
            &["ten", "prologue"],
            &["twelve", "label"],
            &["", "in"],
            &["fifteen", "late"],
            &[""],
            &["C"],
            &["below"],
        ];
        assert_eq!(rows, expected);
        let widest = lay_out(&forms, WIDEST);
        assert!(widest.lines().nth(2).is_some_and(|line| line.ends_with("below")), "{widest}");
        assert!(widest.lines().all(|line| line.chars().count() <= WIDEST));
        assert!(lay_out(&forms, WIDE - 1).starts_with("A\n    ten\n"));
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let long = "x".repeat(500);
        let text = lay_out(&[form("A", false, &[(Some(1), &long)])], 170);
        let line = text.lines().nth(1).unwrap();
        assert!(line.chars().count() == 170 && line.ends_with('…'), "{text}");
    }
}
