//! Hours of the week, read on a clock at a fixed offset from UTC.

use anya_api::policy::{Hours, Weekday};
use anya_primitives::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::Error;

/// Minutes of a day, from `HH:MM`.
fn minutes(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Checks the form of a span of hours.
pub(super) fn validate(field: &str, hours: &Hours) -> Result<(), Error> {
    for (name, text) in [("from", &hours.from), ("to", &hours.to)] {
        if minutes(text).is_none() {
            return Err(Error::invalid(format!("{field}.{name}"), "write the time as HH:MM, 00:00 to 23:59"));
        }
    }
    if !(-720..=840).contains(&hours.utc_offset_minutes) {
        return Err(Error::invalid(format!("{field}.utc_offset_minutes"), "use -720 to 840"));
    }
    if hours.days.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::invalid(
            format!("{field}.days"),
            "name at least one day, or leave it out for every day",
        ));
    }
    Ok(())
}

/// Whether `at` lies within the hours. Hours that cannot be read contain nothing.
pub(super) fn contains(hours: &Hours, at: Timestamp) -> bool {
    let (Some(from), Some(to)) = (minutes(&hours.from), minutes(&hours.to)) else { return false };
    let Ok(offset) = Offset::from_seconds(hours.utc_offset_minutes.saturating_mul(60)) else { return false };
    let local = at.to_jiff().to_zoned(TimeZone::fixed(offset)).datetime();
    let now = i32::from(local.hour()) * 60 + i32::from(local.minute());
    let began_today = if from < to { (from..to).contains(&now) } else { now >= from };
    let began_yesterday = from >= to && now < to;
    let on = |day: jiff::civil::Weekday| {
        hours.days.as_ref().is_none_or(|days| days.iter().any(|named| jiff_weekday(*named) == day))
    };
    (began_today && on(local.weekday())) || (began_yesterday && on(local.weekday().previous()))
}

fn jiff_weekday(day: Weekday) -> jiff::civil::Weekday {
    match day {
        Weekday::Mon => jiff::civil::Weekday::Monday,
        Weekday::Tue => jiff::civil::Weekday::Tuesday,
        Weekday::Wed => jiff::civil::Weekday::Wednesday,
        Weekday::Thu => jiff::civil::Weekday::Thursday,
        Weekday::Fri => jiff::civil::Weekday::Friday,
        Weekday::Sat => jiff::civil::Weekday::Saturday,
        Weekday::Sun => jiff::civil::Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hours(from: &str, to: &str, days: Option<Vec<Weekday>>, utc_offset_minutes: i32) -> Hours {
        Hours { from: from.into(), to: to.into(), days, utc_offset_minutes }
    }

    #[test]
    fn office_hours_end_before_the_last_minute() {
        let office = hours("08:00", "18:00", Some(vec![Weekday::Mon]), 0);
        // 23 November 2026 is a Monday.
        assert!(contains(&office, at("2026-11-23T08:00:00Z")));
        assert!(contains(&office, at("2026-11-23T17:59:59Z")));
        assert!(!contains(&office, at("2026-11-23T18:00:00Z")));
        assert!(!contains(&office, at("2026-11-24T09:00:00Z")));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_began() {
        let night = hours("22:00", "06:00", Some(vec![Weekday::Sun]), 0);
        assert!(contains(&night, at("2026-11-22T23:00:00Z")));
        assert!(contains(&night, at("2026-11-23T05:59:00Z")));
        assert!(!contains(&night, at("2026-11-23T06:00:00Z")));
        assert!(!contains(&night, at("2026-11-23T23:00:00Z")));
    }

    #[test]
    fn the_offset_moves_the_clock_and_the_day() {
        let tokyo = hours("00:00", "09:00", Some(vec![Weekday::Tue]), 540);
        assert!(contains(&tokyo, at("2026-11-23T15:00:00Z")));
        assert!(!contains(&tokyo, at("2026-11-23T14:59:00Z")));
    }

    #[test]
    fn equal_ends_mean_the_whole_day() {
        let all = hours("00:00", "00:00", None, 0);
        assert!(contains(&all, at("2026-11-23T00:00:00Z")) && contains(&all, at("2026-11-23T23:59:59Z")));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "8:00", "24:00", "12:60", "+1:00", "12:00:00"] {
            assert!(validate("hours", &hours(bad, "10:00", None, 0)).is_err(), "{bad}");
        }
        assert!(validate("hours", &hours("08:00", "10:00", None, 841)).is_err());
    }
}
