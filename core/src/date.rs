//! Dates on the wire: RFC 3339, in UTC, with milliseconds; and those of HTTP.

use core::fmt;

/// A moment as text, such as `2026-11-21T00:10:09.893Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp([u8; LEN]);

const LEN: usize = 24;
const DAY: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z, the last moment with a year of four digits.
const LAST: u64 = 253_402_300_799_999;
/// Days from 0000-03-01 to 1970-01-01. Years that begin in March have their
/// leap day last, so that it moves no other.
const EPOCH: u64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA: u64 = 146_097;

impl Timestamp {
    /// The moment so many milliseconds after 1970. What is beyond the year
    /// 9999 becomes its last moment.
    pub(crate) fn new(unix_ms: u64) -> Self {
        let unix_ms = unix_ms.min(LAST);
        let (year, month, day) = date(unix_ms / DAY);
        let of_day = unix_ms % DAY;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (end, digits, number) in [
            (4, 4, year),
            (7, 2, month),
            (10, 2, day),
            (13, 2, of_day / 3_600_000),
            (16, 2, of_day / 60_000 % 60),
            (19, 2, of_day / 1_000 % 60),
            (23, 3, of_day % 1_000),
        ] {
            let mut number = number;
            for digit in text[end - digits..end].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        }
        Self(text)
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("digits and punctuation")
    }

    #[cfg(test)]
    /// Milliseconds from 1970 to the moment that an RFC 3339 text names; what
    /// is finer is cut off.
    ///
    /// Any offset and number of fraction digits, and what RFC 3339 §5.6 lets
    /// stand for `T` and `Z`: lower case, and a space between date and time.
    /// A leap second is the first of the next minute. `None` for what is no
    /// such text, or is before 1970.
    pub(crate) fn parse(text: &str) -> Option<u64> {
        let mut rest = Rest(text.as_bytes());
        let year = rest.number(4)?;
        rest.one_of(b"-")?;
        let month = rest.number(2)?;
        rest.one_of(b"-")?;
        let day = rest.number(2)?;
        rest.one_of(b"Tt ")?;
        let hour = rest.number(2)?;
        rest.one_of(b":")?;
        let minute = rest.number(2)?;
        rest.one_of(b":")?;
        let second = rest.number(2)?;
        let milli = rest.fraction()?;
        let offset = rest.offset()?;
        let valid = (1..=12).contains(&month)
            && (1..=days_of(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60
            && rest.0.is_empty();
        if !valid {
            return None;
        }
        let minutes = (days(year, month, day) * 24 + hour) * 60 + minute;
        // Counted from the year 0, an offset leads below nothing but the year 0.
        let minutes = minutes.checked_add_signed(-offset)?;
        let minutes = minutes.checked_sub(EPOCH * 24 * 60)?;
        Some((minutes * 60 + second) * 1_000 + milli)
    }
}

/// Milliseconds from 1970 to the moment that a date of HTTP names, in any of
/// its three forms (RFC 9110 §5.6.7). A year of two digits is one from 1970 to
/// 2069. `None` for what is no such date, or is before 1970.
pub(crate) fn parse_http(text: &str) -> Option<u64> {
    let mut rest = Rest(text.as_bytes());
    // The name of the day says nothing new.
    while rest.0.first().is_some_and(u8::is_ascii_alphabetic) {
        rest.0 = &rest.0[1..];
    }
    let (year, month, day, seconds);
    if rest.one_of(b", ")? == b',' {
        rest.one_of(b" ")?;
        day = rest.number(2)?;
        let between = rest.one_of(b" -")?;
        month = rest.month()?;
        rest.one_of(&[between])?;
        year = match between {
            b' ' => rest.number(4)?,
            _ => (rest.number(2)? + 30) % 100 + 1970,
        };
        rest.one_of(b" ")?;
        seconds = rest.time()?;
        rest.0 = rest.0.strip_prefix(b" GMT")?;
    } else {
        month = rest.month()?;
        rest.one_of(b" ")?;
        day = match rest.0.strip_prefix(b" ") {
            Some(one) => {
                rest.0 = one;
                rest.number(1)?
            }
            None => rest.number(2)?,
        };
        rest.one_of(b" ")?;
        seconds = rest.time()?;
        rest.one_of(b" ")?;
        year = rest.number(4)?;
    }
    if !rest.0.is_empty() || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let days = days(year, month, day).checked_sub(EPOCH)?;
    Some(days * DAY + seconds * 1_000)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Year, month and day of a day after 1970.
const fn date(unix_day: u64) -> (u64, u64, u64) {
    let day = unix_day + EPOCH;
    let of_era = day % ERA;
    // Every 4 years have a leap day, but for every 100, but for every 400.
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // From March on, months of 31, 30, 31, 30, 31 days come round and round.
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5;
    let january = month >= 10;
    (
        day / ERA * 400 + year + january as u64,
        if january { month - 9 } else { month + 3 },
        of_month + 1,
    )
}

/// Days from 0000-03-01 to a date. January and February of the year 0, which
/// are before that, count as that day.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else if year == 0 {
        return 0;
    } else {
        (year - 1, month + 9)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        bytes.contains(&byte).then_some(byte)
    }

    fn digit(&mut self) -> Option<u64> {
        self.one_of(b"0123456789")
            .map(|digit| u64::from(digit - b'0'))
    }

    fn number(&mut self, digits: usize) -> Option<u64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// The number of a month.
    fn month(&mut self) -> Option<u64> {
        let (name, rest) = self.0.split_at_checked(3)?;
        let at = MONTHS.iter().position(|month| month.as_bytes() == name)?;
        self.0 = rest;
        Some(at as u64 + 1)
    }

    /// Seconds of a day, as `08:49:37`.
    fn time(&mut self) -> Option<u64> {
        let hour = self.number(2).filter(|&hour| hour < 24)?;
        self.one_of(b":")?;
        let minute = self.number(2).filter(|&minute| minute < 60)?;
        self.one_of(b":")?;
        let second = self.number(2).filter(|&second| second <= 60)?;
        Some((hour * 60 + minute) * 60 + second)
    }

    /// Milliseconds.
    #[cfg(test)]
    fn fraction(&mut self) -> Option<u64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.0 = &self.0[1..];
        let mut unit = 100;
        let mut milli = self.digit()? * unit;
        while self.0.first().is_some_and(u8::is_ascii_digit) {
            unit /= 10;
            milli += self.digit()? * unit;
        }
        Some(milli)
    }

    /// Minutes that the clock is ahead of UTC.
    #[cfg(test)]
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2).filter(|&hours| hours < 24)?;
        self.one_of(b":")?;
        let minutes = self.number(2).filter(|&minutes| minutes < 60)?;
        Some(sign * (hours * 60 + minutes) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString as _};
    use proptest::prelude::*;

    const KNOWN: [(u64, &str); 16] = [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (5_097_600_000, "1970-03-01T00:00:00.000Z"),
        (68_169_599_999, "1972-02-28T23:59:59.999Z"),
        (68_169_600_000, "1972-02-29T00:00:00.000Z"),
        (68_256_000_000, "1972-03-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (978_307_199_999, "2000-12-31T23:59:59.999Z"),
        (978_307_200_000, "2001-01-01T00:00:00.000Z"),
        (1_000_000_000_000, "2001-09-09T01:46:40.000Z"),
        (2_147_483_647_000, "2038-01-19T03:14:07.000Z"),
        (1_795_219_809_893, "2026-11-21T00:10:09.893Z"),
        (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (32_503_680_000_000, "3000-01-01T00:00:00.000Z"),
        (LAST, "9999-12-31T23:59:59.999Z"),
    ];

    #[test]
    fn known_moments_are_written_and_read() {
        for (unix_ms, text) in KNOWN {
            assert_eq!(Timestamp::new(unix_ms).as_str(), text);
            assert_eq!(Timestamp::parse(text), Some(unix_ms), "{text}");
        }
        for beyond in [LAST + 1, u64::MAX] {
            assert_eq!(Timestamp::new(beyond), Timestamp::new(LAST));
        }
    }

    /// Counts every day from 1970 to 9999 as on a wall calendar.
    #[test]
    fn every_day_has_its_date() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for unix_day in 0..=LAST / DAY {
            assert_eq!(date(unix_day), (year, month, day));
            assert_eq!(days(year, month, day), unix_day + EPOCH);
            day += 1;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let months = [
                31,
                28 + u64::from(leap),
                31,
                30,
                31,
                30,
                31,
                31,
                30,
                31,
                30,
                31,
            ];
            if day > months[month as usize - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    #[test]
    fn offsets_fractions_and_free_letters_are_read() {
        let moment = 1_704_067_200_123;
        for text in [
            "2024-01-01T00:00:00.123Z",
            "2024-01-01t00:00:00.123z",
            "2024-01-01 00:00:00.123Z",
            "2024-01-01T00:00:00.123456789+00:00",
            "2024-01-01T00:00:00.1239999999999999999999999999999-00:00",
            "2024-01-01T05:30:00.123+05:30",
            "2023-12-31T16:00:00.123-08:00",
            "2024-01-01T23:59:00.123+23:59",
            "2023-12-31T00:01:00.123-23:59",
            "2023-12-31T23:59:60.123Z",
        ] {
            assert_eq!(Timestamp::parse(text), Some(moment), "{text}");
        }
        assert_eq!(Timestamp::parse("2024-01-01T00:00:00Z"), Some(moment - 123));
        assert_eq!(
            Timestamp::parse("2024-01-01T00:00:00.1Z"),
            Some(moment - 23)
        );
        assert_eq!(Timestamp::parse("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(
            Timestamp::parse("9999-12-31T23:59:59.999-23:59"),
            Some(LAST + 86_340_000)
        );
    }

    #[test]
    fn what_is_no_such_moment_is_not_read() {
        for text in [
            "",
            "2024",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00,5Z",
            "2024-01-01T00:00:00ZZ",
            "2024-01-01T00:00:00Z ",
            " 2024-01-01T00:00:00Z",
            "2024-01-01T00:00Z",
            "2024-1-01T00:00:00Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01_00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-32T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+00:60",
            "2024-01-01T00:00:00+0000",
            "2024-01-01T00:00:00+00",
            "2024-01-01T00:00:00\u{2212}00:00",
            // Before 1970.
            "1969-12-31T23:59:59.999Z",
            "1970-01-01T00:59:59+01:00",
            "0000-01-01T00:00:00Z",
            "0000-01-01T00:00:00+23:59",
            "0000-02-29T00:00:00+23:59",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_of_http_are_read_in_all_their_forms() {
        let moment = Some(784_111_777_000);
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", moment),
            ("Sunday, 06-Nov-94 08:49:37 GMT", moment),
            ("Sun Nov  6 08:49:37 1994", moment),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thursday, 01-Jan-70 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 23:59:60 GMT", Some(1_709_251_200_000)),
            ("Sat, 01-Jan-00 00:00:00 GMT", Some(946_684_800_000)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT ", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06-Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 31 Nov 1994 08:49:37 GMT", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 nov 1994 08:49:37 GMT", None),
            ("Sun, 06 N\u{f3}v 1994 08:49:37 GMT", None),
            ("Sun Nov 06 08:49:37 1994 GMT", None),
            ("120", None),
            ("", None),
        ] {
            assert_eq!(parse_http(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_of_http_is_too_much(text in "(Sun, |Sun )?[0-9A-Za-z:, -]{0,30}") {
            parse_http(&text);
        }

        #[test]
        fn what_is_written_is_read_again(unix_ms in 0..=LAST) {
            let text = Timestamp::new(unix_ms).to_string();
            prop_assert_eq!(Timestamp::parse(&text), Some(unix_ms));
        }

        #[test]
        fn later_moments_have_later_texts(a in 0..=LAST, b in 0..=LAST) {
            prop_assert_eq!(a.cmp(&b), Timestamp::new(a).cmp(&Timestamp::new(b)));
        }

        #[test]
        fn an_offset_moves_the_clock_and_not_the_moment(
            unix_ms in DAY..LAST - DAY, minutes in -1_439_i64..=1_439,
        ) {
            let shown = unix_ms.checked_add_signed(minutes * 60_000).unwrap();
            let clock = Timestamp::new(shown).to_string();
            let sign = if minutes < 0 { '-' } else { '+' };
            let (hours, left) = (minutes.abs() / 60, minutes.abs() % 60);
            let text = format!("{}{sign}{hours:02}:{left:02}", &clock[..23]);
            prop_assert_eq!(Timestamp::parse(&text), Some(unix_ms));
        }

        #[test]
        fn no_text_is_too_much(text in "[0-9TZtz:+. -]{0,40}") {
            Timestamp::parse(&text);
        }

        #[test]
        fn no_change_of_a_letter_is_too_much(unix_ms in 0..=LAST, at in 0..LEN, to in any::<char>()) {
            let text = Timestamp::new(unix_ms).to_string();
            let changed: String = text.chars().enumerate()
                .map(|(i, letter)| if i == at { to } else { letter }).collect();
            Timestamp::parse(&changed);
        }
    }
}
