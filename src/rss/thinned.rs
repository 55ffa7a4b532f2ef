//! [`Thinned`]: readings over time, in bounded space.

use super::series::MAX_POINTS;

/// Readings of successive rounds, oldest first. When there are [`MAX_POINTS`], every other one is dropped, not
/// averaged, and each later one stands for twice as many: each one left was really observed.
#[derive(Debug)]
pub struct Thinned<T> {
    points: Vec<T>,
    readings_per_point: u64,
    readings_in_last: u64,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Thinned::new()
    }
}

impl<T> Thinned<T> {
    /// No readings.
    pub const fn new() -> Thinned<T> {
        Thinned {
            points: Vec::new(),
            readings_per_point: 0,
            readings_in_last: 0,
        }
    }

    /// Adds a reading.
    pub fn push(&mut self, point: T) {
        self.readings_in_last += 1;
        if self.readings_in_last < self.readings_per_point {
            return;
        }
        self.readings_in_last = 0;
        if self.points.len() >= MAX_POINTS {
            let mut place = 0_usize;
            self.points.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.readings_per_point = self.readings_per_point.max(1).saturating_mul(2);
        }
        self.points.push(point);
    }

    /// The readings that are left, oldest first.
    pub fn points(&self) -> &[T] {
        &self.points
    }
}
