//! The table of functions (`-f functions`), as aligned text or as CSV.

use std::io::{self, Write};

use super::csv::{self, Cell};
use super::view::{View, aligned};
use crate::output::meta::Meta;
use crate::profile::Profile;

/// Writes the functions that [`Meta::tables`] selects.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let view = View::new(profile, &meta.tables);
    if meta.tables.csv {
        write_csv(&view, out)
    } else {
        write_text(&view, meta, out)
    }
}

fn write_text(view: &View<'_>, meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    let mut headings = vec![
        view.weight_heading(),
        "Own %",
        "Total %",
        "RSS growth",
        "RSS freed",
        "Function",
    ];
    if view.has_memory() {
        headings.insert(3, "Own growth");
    }
    let rows = view.rows().into_iter().map(|row| {
        let mut cells = view.cells(&row.amount).to_vec();
        if view.has_memory() {
            cells.insert(3, view.mib(row.amount.own_growth.grown_bytes));
        }
        cells.push(view.title(row));
        cells
    });
    let rows: Vec<_> = rows.collect();
    writeln!(out, "{}", view.head(meta))?;
    out.write_all(aligned(&headings, &rows).as_bytes())
}

fn write_csv(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut headings = vec!["function", "file", "first_line"];
    headings.extend(view.csv_headings());
    let headings: Vec<_> = headings.into_iter().map(Cell::Text).collect();
    csv::write_row(out, &headings)?;
    for row in view.rows() {
        let name = view.name(row);
        let mut cells = vec![
            Cell::Text(&name),
            Cell::Text(view.file(row)),
            row.first_line
                .map_or(Cell::Empty, |line| Cell::Count(line.into())),
        ];
        cells.extend(view.csv_cells(&row.amount));
        csv::write_row(out, &cells)?;
    }
    Ok(())
}
