//! [`Profile::growth_by_function`]: which functions made RSS grow, and when.

use std::collections::HashMap;

use super::timeline::{FunctionGrowth, GrowthCell, Row};
use crate::profile::Profile;
use crate::profile::tables::ids::LabelId;
use crate::profile::tables::labels::Label;

/// Name of the row that joins several functions.
const OTHERS: &str = "<other functions>";

impl Profile {
    /// The functions that made RSS grow, those with the largest growth first. Each line of a function
    /// counts for the function, and only the leaf of a stack counts. Empty without memory tracking.
    pub fn growth_by_function(&self) -> Vec<FunctionGrowth> {
        let Some(memory) = &self.memory else {
            return Vec::new();
        };
        let width = memory.timeline.width();
        let (rows, others) = memory.timeline.rows();
        let mut by_function: HashMap<(String, Option<String>), Row> = HashMap::new();
        for (label, row) in rows {
            let key = (self.name(*label).into_owned(), self.shown_file(*label));
            by_function.entry(key).or_default().add_all(row);
        }
        if others.grown_bytes > 0 {
            by_function.insert((OTHERS.to_owned(), None), others.clone());
        }
        let mut functions: Vec<FunctionGrowth> = by_function
            .into_iter()
            .map(|((name, file), row)| FunctionGrowth {
                name,
                file,
                grown_bytes: row.grown_bytes,
                cells: row
                    .cells
                    .into_iter()
                    .map(|(bucket, grown_bytes)| GrowthCell {
                        start: width.saturating_mul(bucket),
                        grown_bytes,
                    })
                    .collect(),
            })
            .collect();
        functions.sort_by(|a, b| {
            let by_growth = b.grown_bytes.cmp(&a.grown_bytes);
            by_growth.then_with(|| (&a.name, &a.file).cmp(&(&b.name, &b.file)))
        });
        functions
    }

    fn shown_file(&self, id: LabelId) -> Option<String> {
        match self.labels().get(id) {
            Some(Label::Python { shown_file, .. }) => Some(self.string(shown_file).to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A test may fail by panicking.
    use std::time::Duration;

    use super::*;
    use crate::profile::options::{ProfileOptions, Weights};

    #[test]
    fn lines_of_a_function_are_one_row() {
        let mut profile = Profile::new(ProfileOptions {
            weights: Weights::RSS,
            ..ProfileOptions::default()
        });
        let name = profile.strings.intern("load");
        let file = profile.strings.intern("app.py");
        let (Some(name), Some(file)) = (name, file) else {
            unreachable!()
        };
        let mut label = |line| {
            profile.labels.intern(Label::Python {
                name,
                shown_file: file,
                file,
                line: Some(line),
                first_line: None,
            })
        };
        let (first, second) = (label(3), label(4));
        let collection = profile.labels.intern(Label::Collection);
        let growth = &mut profile.memory.as_mut().unwrap().timeline;
        growth.add(Duration::from_millis(1), first, 10);
        growth.add(Duration::from_millis(2), second, 20);
        growth.add(Duration::from_millis(31), second, 5);
        growth.add(Duration::from_millis(31), collection, 70);
        let cell = |ms, grown_bytes| GrowthCell {
            start: Duration::from_millis(ms),
            grown_bytes,
        };
        assert_eq!(
            profile.growth_by_function(),
            [
                FunctionGrowth {
                    name: "<GC>".to_owned(),
                    file: None,
                    grown_bytes: 70,
                    cells: vec![cell(30, 70)],
                },
                FunctionGrowth {
                    name: "load".to_owned(),
                    file: Some("app.py".to_owned()),
                    grown_bytes: 35,
                    cells: vec![cell(0, 30), cell(30, 5)],
                },
            ]
        );
    }
}
