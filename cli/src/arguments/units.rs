//! Sizes and times as a person writes them.

use std::time::Duration;

/// Bytes from a number with an optional unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let bytes = with_unit(text, &units).filter(|bytes| *bytes >= 1.0);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| "use a number with KiB, MiB or GiB, such as 64MiB".to_owned())
}

/// The same, or none.
pub(super) fn size_or_nothing(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { size(text) }
}

/// A time from a number with a unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000)];
    let ns = with_unit(text, &units).filter(|ns| *ns >= 1e6);
    ns.map(|ns| Duration::from_nanos(ns as u64))
        .ok_or_else(|| "use a number with ms, s or min, such as 500ms".to_owned())
}

/// Seconds from a number with a unit.
pub(super) fn age(text: &str) -> Result<u64, String> {
    let units = [("min", 60), ("s", 1), ("h", 3600), ("d", 86_400)];
    let seconds = with_unit(text, &units).filter(|seconds| *seconds >= 1.0);
    seconds.map(|seconds| seconds as u64).ok_or_else(|| "use a number with s, min, h or d, such as 7d".to_owned())
}

/// The number in front of the first unit that fits, times that unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<f64> {
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    // Below this everything is exact, and nothing needs more.
    (number.is_finite() && number > 0.0 && number * (unit as f64) < 2_f64.powi(53)).then_some(number * unit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!((size("64MiB"), size("1.5KiB"), size("100")), (Ok(64 << 20), Ok(1536), Ok(100)));
        assert_eq!((size_or_nothing("0"), size_or_nothing("1GiB")), (Ok(0), Ok(1 << 30)));
        assert_eq!((time("500ms"), time("2min")), (Ok(Duration::from_millis(500)), Ok(Duration::from_secs(120))));
        for bad in ["", "MiB", "-1MiB", "0", "1e300GiB", "nan", "5 parsecs"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!((age("7d"), age("90min"), age("1.5h"), age("1s")), (Ok(604_800), Ok(5400), Ok(5400), Ok(1)));
        for bad in ["", "5", "0s", "0.5s", "500ms", "d"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "0s", "-1s", "inf s", "1us"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
