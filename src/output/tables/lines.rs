//! The table of lines (`-f lines`): source and weight of each line of the hottest functions, as aligned
//! text or as CSV.
//!
//! Long stretches without weight, such as docstrings, are left out: `…` stands for them. A line that has weight is
//! always shown, even if the file has changed since and no longer contains it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use super::csv::{self, Cell};
use super::view::{View, aligned};
use crate::output::meta::Meta;
use crate::output::table_options::TableOptions;
use crate::output::table_options::source::{FileKey, Source};
use crate::profile::Profile;
use crate::profile::tables::functions::{Amount, FunctionRow};
use crate::text::units::short_duration;

/// Most functions that are shown without a selection.
const HOTTEST: usize = 10;
/// Most functions that are shown with a selection.
const MOST: usize = 100;
/// Lines that are shown before and after each line with weight.
const AROUND: u32 = 3;
/// Most lines of a function that are shown between these.
const MAX_GAP: u32 = 5;

/// The files that [`write`] needs in [`TableOptions::sources`].
pub fn source_files(profile: &Profile, options: &TableOptions) -> Vec<FileKey> {
    let view = View::by_root(profile, options);
    let shown = shown(&view).into_iter();
    let mut files: Vec<FileKey> = shown.map(|row| view.file_key(row)).collect();
    // Hottest first, without duplicates.
    let mut found = BTreeSet::new();
    files.retain(|file| found.insert(file.clone()));
    files
}

/// Writes the functions that [`Meta::tables`] selects, line by line.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let view = View::by_root(profile, &meta.tables);
    let no_source = Source::default();
    let blocks = shown(&view).into_iter().map(|row| {
        let source = meta.tables.sources.get(&view.file_key(row));
        Block::new(&view, row, source.unwrap_or(&no_source))
    });
    if meta.tables.csv {
        write_csv(&view, blocks, out)
    } else {
        writeln!(out, "{}", view.head(meta).trim_end())?;
        for block in blocks {
            block.write_text(&view, out)?;
        }
        Ok(())
    }
}

/// The functions that are shown: only those in a file have lines.
fn shown<'a>(view: &'a View<'_>) -> Vec<&'a FunctionRow> {
    let rows = view.hottest(HOTTEST).into_iter();
    let has_file = |row: &&FunctionRow| !view.file(row).is_empty();
    rows.filter(has_file).take(MOST).collect()
}

/// A function and the lines of it that are shown.
struct Block<'a> {
    row: &'a FunctionRow,
    source: &'a Source,
    /// Ascending.
    lines: Vec<u32>,
    note: Option<String>,
}

impl<'a> Block<'a> {
    fn new(view: &View<'_>, row: &'a FunctionRow, source: &'a Source) -> Block<'a> {
        let mut lines: BTreeSet<u32> = row.lines.iter().filter_map(|line| line.line).collect();
        let mut note = source.note.clone();
        let start = row.first_line.unwrap_or(0);
        let name = view.name(row);
        if let Some(whole) = source.function(&name, start) {
            let around = |line: u32| line.saturating_sub(AROUND)..=line.saturating_add(AROUND);
            let near: Vec<u32> = lines.iter().copied().chain([*whole.start()]).collect();
            let near = near.into_iter().flat_map(around);
            lines.extend(near.filter(|line| whole.contains(line)));
            // The lines of a module are mostly those of its functions.
            let end = (name != "<module>").then(|| whole.end().saturating_add(1));
            let gaps: Vec<(u32, u32)> = lines
                .iter()
                .copied()
                .zip(lines.iter().copied().skip(1).chain(end))
                .filter(|(last, next)| next.saturating_sub(*last) <= MAX_GAP + 1)
                .collect();
            lines.extend(gaps.into_iter().flat_map(|(last, next)| last..next));
        } else if !source.is_empty() {
            // Replaces a note of the same from file times, which are less reliable.
            note = Some(format!(
                "'{name}' does not start on line {start} of the file as it is now: the file has \
                 changed since the process loaded it, and the lines below may be others"
            ));
        }
        if let Some(owner) = view.file_owner(row) {
            let this = format!("of the files at this path, this is the one that {owner} sees");
            note = Some(note.map_or(this.clone(), |note| format!("{this}; {note}")));
        }
        Block {
            row,
            source,
            lines: lines.into_iter().collect(),
            note,
        }
    }

    /// Weight of a line; `None` if it was never sampled.
    fn amount(&self, line: u32) -> Option<&'a Amount> {
        let rows = &self.row.lines;
        let at = rows.binary_search_by_key(&Some(line), |row| row.line);
        at.ok().and_then(|at| rows.get(at)).map(|row| &row.amount)
    }

    /// Weight of the function's code without line numbers.
    fn without_line(&self) -> Option<&'a Amount> {
        let mut rows = self.row.lines.iter();
        rows.find(|row| row.line.is_none()).map(|row| &row.amount)
    }

    fn write_text(&self, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
        let amount = &self.row.amount;
        writeln!(out, "\nFunction: {}", view.title(self.row))?;
        writeln!(out, "File: {}", view.file(self.row))?;
        let [weight, own, total, grown, released] = view.cells(amount);
        let heading = view.weight_heading();
        match view.profile.options().weights.time {
            Some(kind) => {
                let time = short_duration(Duration::from_nanos(amount.total));
                write!(out, "{time} {}", kind.suffix())?;
            }
            None => write!(out, "{heading}: {weight}")?,
        }
        write!(out, ", {own} % own, {total} % total")?;
        if view.has_memory() {
            write!(out, "; RSS: {grown} growth, {released} freed")?;
        }
        writeln!(out)?;
        if let Some(note) = &self.note {
            writeln!(out, "Note: {note}")?;
        }
        let headings = [
            "Line #",
            heading,
            "Own %",
            "Total %",
            "RSS growth",
            "RSS freed",
            "Line contents",
        ];
        let mut rows = Vec::new();
        if let Some(amount) = self.without_line() {
            rows.push(cells(view, "?".to_owned(), Some(amount), String::new()));
        }
        let mut last = None;
        for line in self.lines.iter().copied() {
            if last.is_some_and(|last: u32| last.saturating_add(1) < line) {
                rows.push(cells(view, "…".to_owned(), None, String::new()));
            }
            last = Some(line);
            let (amount, text) = (self.amount(line), self.source.line(line));
            rows.push(cells(view, line.to_string(), amount, text));
        }
        writeln!(out)?;
        out.write_all(aligned(&headings, &rows).as_bytes())
    }
}

fn cells(view: &View<'_>, line: String, amount: Option<&Amount>, text: String) -> Vec<String> {
    let amount = amount.map(|amount| view.cells(amount)).unwrap_or_default();
    let mut cells = vec![line];
    cells.extend(amount);
    cells.push(text);
    cells
}

fn write_csv<'a>(
    view: &View<'_>,
    blocks: impl Iterator<Item = Block<'a>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut headings = vec!["function", "file", "first_line", "line"];
    headings.extend(view.csv_headings());
    headings.extend(["contents", "note"]);
    let headings: Vec<_> = headings.into_iter().map(Cell::Text).collect();
    csv::write_row(out, &headings)?;
    for block in blocks {
        let name = view.name(block.row);
        let without_line = block.without_line().map(|amount| (None, amount));
        let nothing = Amount::default();
        let lines = block.lines.iter().map(|line| {
            let amount = block.amount(*line).unwrap_or(&nothing);
            (Some(*line), amount)
        });
        for (line, amount) in without_line.into_iter().chain(lines) {
            let count = |line: Option<u32>| line.map_or(Cell::Empty, |n| Cell::Count(n.into()));
            let text = line.map(|line| block.source.line(line)).unwrap_or_default();
            let mut cells = vec![
                Cell::Text(&name),
                Cell::Text(view.file(block.row)),
                count(block.row.first_line),
                count(line),
            ];
            cells.extend(view.csv_cells(amount));
            cells.push(Cell::Text(&text));
            cells.push(Cell::Text(block.note.as_deref().unwrap_or_default()));
            csv::write_row(out, &cells)?;
        }
    }
    Ok(())
}
