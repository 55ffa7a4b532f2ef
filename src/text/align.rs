//! Rows of cells as lines of aligned columns.

/// The side of its column that a cell is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// The lines of a table, headings first. A column is as wide as its widest cell and is separated from
/// the next by two spaces; the last one, which is text, is neither padded nor counted.
pub fn columns(headings: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, (heading, _))| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let cells = cells.map(|cell| cell.chars().count());
            cells.chain([heading.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        let columns = headings.iter().zip(&widths).enumerate();
        for ((column, ((_, align), &width)), cell) in columns.zip(cells) {
            if column + 1 == headings.len() {
                text += cell;
            } else {
                text += &match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                };
            }
        }
        text.truncate(text.trim_end().len());
        text
    };
    let mut lines = vec![line(&mut headings.iter().map(|(heading, _)| *heading))];
    let cells = rows
        .iter()
        .map(|row| line(&mut row.iter().map(String::as_str)));
    lines.extend(cells);
    lines
}

/// The line below a list that was cut at `max` of its `count` entries.
pub fn more(count: usize, max: usize) -> Option<String> {
    let rest = count.saturating_sub(max);
    (rest > 0).then(|| format!("… and {rest} more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let headings = [
            ("PID", Align::Right),
            ("NAME", Align::Left),
            ("COMMAND", Align::Left),
        ];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["12345", "é", "a long command"]), row(["7", "", ""])];
        assert_eq!(
            columns(&headings, &rows),
            [
                "  PID  NAME  COMMAND",
                "12345  é     a long command",
                "    7",
            ]
        );
        assert_eq!(columns(&headings, &[]), ["PID  NAME  COMMAND"]);
    }
}
