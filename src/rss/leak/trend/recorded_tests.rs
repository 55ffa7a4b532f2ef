//! The verdict on recorded curves of real programs: the hardest cases. `fixtures/README.md` describes how
//! they were recorded.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::time::Duration;

use crate::rss::series::RssSeries;

/// One line each: the program, the expected word of the verdict, and the RSS in pages every 0.1 s.
const RECORDED: &str = include_str!("../../../../fixtures/rss_series.txt");

#[test]
fn recorded_programs_get_the_expected_verdict() {
    let mut judged = 0;
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (program, word) = (words.next().unwrap(), words.next().unwrap());
        let mut series = RssSeries::default();
        for (pages, tick) in words.zip(0_u32..) {
            let pages: u64 = pages.parse().unwrap();
            series.add(Duration::from_millis(100) * tick, pages * 4096);
        }
        assert_eq!(series.last_elapsed().as_secs(), 60, "{program}");
        let verdict = series.trend().verdict;
        assert_eq!(verdict.word(), word, "{program}: {verdict}");
        judged += 1;
    }
    assert!(judged >= 10, "{judged}");
}
