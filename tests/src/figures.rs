//! Figures as benchmarks print them: each beside its goal.

use std::time::Duration;

use crate::ms;

/// What stands above all lines.
pub fn headline() {
    println!("{:<52} {:>14} {:>14} {:>8}", "figure", "measured", "goal", "ratio");
}

/// One line: the ratio says how many times better than its goal a figure is.
pub fn line(figure: &str, measured: f64, goal: f64, unit: &str, ratio: f64) {
    println!("{figure:<52} {:>14} {:>14} {ratio:>7.2}x", format!("{measured:.2} {unit}"), format!("{goal:.2} {unit}"));
}

/// A time that is to be no longer than its goal.
pub fn at_most(figure: &str, measured: Duration, goal: Duration) {
    line(figure, ms(measured), ms(goal), "ms", goal.as_secs_f64() / measured.as_secs_f64());
}

/// What has no goal.
pub fn note(figure: &str, value: String) {
    println!("  {figure:<50} {value:>14}");
}
