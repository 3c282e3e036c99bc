//! Places in a log as a person writes them.

use ambrosia_core::{Lsn, Timestamp};
use jiff::{
    civil::{DateTime, Time},
    tz::TimeZone,
};

/// A place in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A record by its number.
    Lsn(Lsn),
    /// So many records further.
    Further(u64),
    /// So many records back.
    Back(u64),
    /// The last record that was made by then.
    At(Timestamp),
    /// The same, on the day of the record at hand.
    AtTime(Time),
    /// As far back as the log goes.
    Start,
    /// The last record.
    End,
    /// The record that the instance halted at.
    Halted,
}

/// What can be written.
const FORMS: &str =
    "the number of a record, +N, -N, a time such as 14:03:05 or 2026-01-05T14:03:05Z, start, end or halted";

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Place, String> {
        let number = |digits: &str| digits.parse::<u64>().ok();
        let place = match text {
            "start" => Some(Place::Start),
            "end" => Some(Place::End),
            "halted" => Some(Place::Halted),
            _ => match (text.strip_prefix('+'), text.strip_prefix('-')) {
                (Some(digits), _) => number(digits).map(Place::Further),
                (_, Some(digits)) => number(digits).map(Place::Back),
                _ => number(text).map(|lsn| Place::Lsn(Lsn(lsn))).or_else(|| time(text)),
            },
        };
        place.ok_or_else(|| format!("`{text}` is no place: write {FORMS}"))
    }
}

/// Times are UTC, as all that are shown.
fn time(text: &str) -> Option<Place> {
    let at = |time: jiff::Timestamp| Some(Place::At(Timestamp(u64::try_from(time.as_nanosecond()).ok()?)));
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return at(time);
    }
    if text.contains(['T', ' ']) {
        return at(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    text.contains(':').then_some(())?;
    text.parse::<Time>().ok().map(Place::AtTime)
}

/// That time on the day of `day`.
pub(crate) fn on_the_day_of(day: Timestamp, time: Time) -> Option<Timestamp> {
    let day = jiff::Timestamp::from_nanosecond(i128::from(day.0)).ok()?.to_zoned(TimeZone::UTC).date();
    let at = day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp();
    u64::try_from(at.as_nanosecond()).ok().map(Timestamp)
}

/// A time as people read it.
pub(crate) fn shown(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .map_or_else(|_| format!("{} ns", time.0), |at| format!("{at:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_many_forms() {
        let noon = Timestamp(1_767_614_400_000_000_000);
        for (text, place) in [
            ("812", Place::Lsn(Lsn(812))),
            ("+3", Place::Further(3)),
            ("-3", Place::Back(3)),
            ("start", Place::Start),
            ("end", Place::End),
            ("halted", Place::Halted),
            ("2026-01-05T12:00:00Z", Place::At(noon)),
            ("2026-01-05T12:00:00", Place::At(noon)),
            ("12:00:01.5", Place::AtTime(Time::new(12, 0, 1, 500_000_000).expect("a time"))),
        ] {
            assert_eq!(Place::parse(text), Ok(place), "{text}");
        }
        for text in ["", "there", "12h", "+", "-x", "1:2", "99:00:00", "1960-01-01T00:00:00Z"] {
            let error = Place::parse(text).expect_err(text);
            assert!(error.contains("the number of a record"), "{error}");
        }
    }

    #[test]
    fn a_time_is_of_the_day_at_hand() {
        let time = Time::new(12, 0, 0, 0).expect("a time");
        assert_eq!(
            on_the_day_of(Timestamp(1_767_620_000_000_000_000), time),
            Some(Timestamp(1_767_614_400_000_000_000))
        );
        assert_eq!(shown(Timestamp(1_767_614_400_000_000_000)), "2026-01-05T12:00:00.000000Z");
    }
}
