//! Date constructs (RFC 4287 §3.3): written and mostly read as `2024-03-01T08:01:00Z`, which
//! chrono's general code would make the slowest part of a page.

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};

const FORM: [u8; 20] = *b"0000-00-00T00:00:00Z";

/// Writes a time in whole seconds; a fraction is dropped, before 1970 as well.
///
/// RFC 3339 has the years 0 to 9999. A time outside of them becomes the nearest inside.
pub(super) fn write_time(out: &mut Vec<u8>, time: DateTime<Utc>) {
    let time = time.naive_utc();
    let Ok(year @ 0..=9999) = u32::try_from(time.year()) else {
        let nearest = if time.year() < 0 {
            b"0000-01-01T00:00:00Z"
        } else {
            b"9999-12-31T23:59:59Z"
        };
        out.extend_from_slice(nearest);
        return;
    };
    let mut text = FORM;
    put_two(&mut text, 0, year / 100);
    put_two(&mut text, 2, year % 100);
    put_two(&mut text, 5, time.month());
    put_two(&mut text, 8, time.day());
    put_two(&mut text, 11, time.hour());
    put_two(&mut text, 14, time.minute());
    put_two(&mut text, 17, time.second());
    out.extend_from_slice(&text);
}

/// Reads a time with any offset and any fraction of a second (RFC 3339), and white space around it.
pub(super) fn read_time(value: &str) -> Result<DateTime<Utc>, chrono::ParseError> {
    match read_plain(value.as_bytes()) {
        Some(time) => Ok(time),
        None => DateTime::parse_from_rfc3339(value.trim_ascii()).map(|time| time.to_utc()),
    }
}

/// The form that this module writes; whatever is in doubt is left to chrono.
fn read_plain(value: &[u8]) -> Option<DateTime<Utc>> {
    let value: &[u8; FORM.len()] = value.try_into().ok()?;
    if [4, 7, 10, 13, 16, 19]
        .iter()
        .any(|&at| value[at] != FORM[at])
    {
        return None;
    }
    let two = |at| two_digits(value, at);
    let year = two(0)? * 100 + two(2)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, two(5)?, two(8)?)?;
    Some(date.and_hms_opt(two(11)?, two(14)?, two(17)?)?.and_utc())
}

fn put_two(text: &mut [u8; FORM.len()], at: usize, number: u32) {
    text[at] += (number / 10) as u8;
    text[at + 1] += (number % 10) as u8;
}

fn two_digits(text: &[u8; FORM.len()], at: usize) -> Option<u32> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    Some(digit(text[at])? * 10 + digit(text[at + 1])?)
}
