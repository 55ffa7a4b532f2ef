//! A curve in a line of text.

/// Levels of a cell of the curve.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

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
