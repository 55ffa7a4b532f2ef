//! Robust statistics: [`theil_sen`] fits a line, [`mann_kendall`] tests for a trend. Both compare pairs of
//! points, so a few outliers change little.

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Time, in seconds.
    pub at: f64,
    /// Memory, in bytes.
    pub bytes: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// Bytes per second.
    pub slope: f64,
    /// Bytes at second 0.
    pub intercept: f64,
}

impl Line {
    /// The distance from the line that this share (0 to 1) of the points does not exceed, in bytes.
    pub fn residual_quantile(self, points: &[Point], share: f64) -> f64 {
        let residual = |point: &Point| (point.bytes - self.intercept - self.slope * point.at).abs();
        quantile(points.iter().map(residual).collect(), share)
    }
}

/// The line whose slope is the median of the slopes of all pairs (Theil-Sen); up to 29 % of the points may
/// be outliers. Flat for fewer than two points.
pub fn theil_sen(points: &[Point]) -> Line {
    let slopes = pairs(points).filter(|(a, b)| b.at > a.at);
    let slope = median(
        slopes
            .map(|(a, b)| (b.bytes - a.bytes) / (b.at - a.at))
            .collect(),
    );
    let intercept = median(points.iter().map(|p| p.bytes - slope * p.at).collect());
    Line { slope, intercept }
}

/// The Mann-Kendall z score: by how many standard deviations more pairs rise than fall, with Kendall's
/// correction for ties and the continuity correction; negative if more fall. Above 2.33, chance is 1 in
/// 100.
pub fn mann_kendall(points: &[Point]) -> f64 {
    let rising: f64 = pairs(points).map(|(a, b)| sign(b.bytes - a.bytes)).sum();
    let mut sorted: Vec<f64> = points.iter().map(|point| point.bytes).collect();
    sorted.sort_by(f64::total_cmp);
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let ties: f64 = sorted
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|tied| spread(tied.len() as f64))
        .sum();
    let variance = (spread(points.len() as f64) - ties) / 18.0;
    if variance > 0.0 {
        (rising - sign(rising)) / variance.sqrt()
    } else {
        0.0
    }
}

/// -1, 0 or 1; unlike [`f64::signum`], 0 for 0.
fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// All pairs, the earlier point first.
fn pairs(points: &[Point]) -> impl Iterator<Item = (&Point, &Point)> {
    let later = |at: usize| points.iter().skip(at + 1);
    points
        .iter()
        .enumerate()
        .flat_map(move |(at, a)| later(at).map(move |b| (a, b)))
}

/// The middle value, or the mean of the middle two; 0 if there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or_default();
    if values.len().is_multiple_of(2) {
        let lower = middle.checked_sub(1).and_then(|at| values.get(at));
        lower.map_or(upper, |lower| f64::midpoint(*lower, upper))
    } else {
        upper
    }
}

/// The lowest value that more than this share (0 to 1) of the values do not exceed; 0 if there is none.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let more = values.len() as f64 * share;
    let values = values.iter().enumerate();
    let mut found = values.skip_while(|(at, _)| *at as f64 + 1.0 <= more);
    found.next().map_or(0.0, |(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        let point = |(at, bytes): (usize, &f64)| Point {
            at: at as f64,
            bytes: *bytes,
        };
        values.iter().enumerate().map(point).collect()
    }

    #[test]
    fn outliers_do_not_move_the_line() {
        let mut values: Vec<f64> = (0..20).map(|at| 5.0 + 3.0 * f64::from(at)).collect();
        for outlier in values.iter_mut().step_by(6) {
            *outlier += 1e6;
        }
        let line = theil_sen(&points(&values));
        assert!((line.slope - 3.0).abs() < 1e-9, "{line:?}");
        assert!((line.intercept - 5.0).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn too_few_points_have_no_slope() {
        assert_eq!(theil_sen(&[]), Line::default());
        assert_eq!(theil_sen(&points(&[7.0])).slope.abs(), 0.0);
        // Two at the same moment.
        let same = [
            Point::default(),
            Point {
                at: 0.0,
                bytes: 9.0,
            },
        ];
        assert_eq!(theil_sen(&same).slope.abs(), 0.0);
        for none in [&[][..], &[1.0], &[4.0, 4.0, 4.0]] {
            assert_eq!(mann_kendall(&points(none)).abs(), 0.0);
        }
    }

    #[test]
    fn residuals_are_sorted_by_distance() {
        let line = Line {
            slope: 2.0,
            intercept: 1.0,
        };
        // Off by 0 to 9, above and below.
        let off = (0..10).map(|at| f64::from(at) * if at % 2 == 0 { 1.0 } else { -1.0 });
        let values: Vec<f64> = (0..10)
            .zip(off)
            .map(|(at, off)| 1.0 + 2.0 * f64::from(at) + off)
            .collect();
        for (share, off) in [(0.0, 0.0), (0.5, 5.0), (0.85, 8.0), (0.95, 9.0)] {
            assert!(
                (line.residual_quantile(&points(&values), share) - off).abs() < 1e-9,
                "{share}"
            );
        }
        assert_eq!(line.residual_quantile(&[], 0.9), 0.0);
    }

    /// Computed by hand from the definition.
    #[test]
    fn rising_pairs_are_given_in_standard_deviations() {
        // 15 pairs, all rise: (15 - 1) / sqrt(6 * 5 * 17 / 18).
        let z = mann_kendall(&points(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert!((z - 14.0 / (510.0_f64 / 18.0).sqrt()).abs() < 1e-12, "{z}");
        // Falling is the same with the other sign.
        let back = mann_kendall(&points(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]));
        assert!((z + back).abs() < 1e-12, "{back}");
        // Two tied pairs: 4 rise; (4 - 1) / sqrt((4*3*13 - 2*1*9 - 2*1*9) / 18).
        let z = mann_kendall(&points(&[1.0, 1.0, 2.0, 2.0]));
        assert!((z - 3.0 / (120.0_f64 / 18.0).sqrt()).abs() < 1e-12, "{z}");
    }
}
