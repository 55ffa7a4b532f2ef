//! RSS in a line of text: growth, sizes and a curve of bars.

/// Levels of a cell of the curve.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const MIB: f64 = (1 << 20) as f64;

/// A change of memory with at most 7 characters: `+12.3M`, `-640K`, `+1.2G`; `0` for none.
pub fn growth(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    let size = bytes.unsigned_abs() as f64;
    match size / MIB {
        0.0 => "0".to_owned(),
        mib if mib < 0.95 => format!("{sign}{:.0}K", (size / 1024.0).max(1.0)),
        mib if mib < 999.95 => format!("{sign}{mib:.1}M"),
        mib if mib < 999.95 * 1024.0 => format!("{sign}{:.1}G", mib / 1024.0),
        mib => format!("{sign}{:.0}T", (mib / (1024.0 * 1024.0)).min(9999.0)),
    }
}

/// A size in MiB, without the unit.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB)
}

/// The readings, oldest first, as a row of at most `width` bars, scaled between the lowest and the highest.
/// A cell with several readings shows the highest.
pub fn curve(readings: &[u64], width: usize) -> String {
    let (Some(low), Some(high)) = (readings.iter().min(), readings.iter().max()) else {
        return String::new();
    };
    // Changes of less than 2 % are shown as a flat line.
    let range = (high - low).max(high / 50).max(1) as f64;
    let width = width.min(readings.len());
    (0..width)
        .filter_map(|cell| {
            let from = cell * readings.len() / width;
            let to = (cell + 1) * readings.len() / width;
            let reading = readings.get(from..to)?.iter().max()?;
            let share = (reading - low) as f64 / range;
            let level = (share * LEVELS.len() as f64) as usize;
            LEVELS.get(level).or(LEVELS.last())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_short() {
        for (bytes, expected) in [
            (0, "0"),
            (1, "+1K"),
            (-(640 << 10), "-640K"),
            (1 << 20, "+1.0M"),
            (-(1_288 << 10), "-1.3M"),
            (12_900_000, "+12.3M"),
            (999 << 20, "+999.0M"),
            (1_300 << 20, "+1.3G"),
            (3 << 40, "+3T"),
            (i64::MIN, "-9999T"),
        ] {
            assert_eq!(growth(bytes), expected, "{bytes}");
            assert!(growth(bytes).len() <= 7, "{bytes}");
        }
    }

    #[test]
    fn a_cell_shows_the_highest_of_its_readings() {
        assert_eq!(
            curve(&[0, 100, 200, 300, 400, 500, 600, 700], 20),
            "▁▂▃▄▅▆▇█"
        );
        // A peak of a single reading is visible at any width.
        let mut readings = vec![1_000_u64; 1_000];
        if let Some(reading) = readings.get_mut(555) {
            *reading = 2_000;
        }
        assert_eq!(curve(&readings, 10), "▁▁▁▁▁█▁▁▁▁");
        // Changes of less than 2 % are flat.
        assert_eq!(curve(&[10_000, 10_020, 10_000], 3), "▁▁▁");
        assert_eq!(curve(&[], 10), "");
        assert_eq!(curve(&[5, 6], 0), "");
        assert_eq!(curve(&[0, u64::MAX], 9), "▁█");
    }
}
