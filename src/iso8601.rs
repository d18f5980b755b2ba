//! Instants as programs write them into JSON: `2026-01-31T23:59:59.123456+00:00`, with Z or a blank too. PostgreSQL reads these alike under all
//! settings, at twenty times the price; every other form is left to it.
//!
//! Pure: no PostgreSQL.

/// Microseconds since 2000 in UTC; None where the text has another form, or what PostgreSQL has to judge.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date, rest) = bytes.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let ([y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2], [b'T' | b' ', h1, h2, b':', n1, n2, b':', s1, s2]) =
        (date, clock)
    else {
        return None;
    };
    let (year, month, day) = (
        number(&[*y1, *y2, *y3, *y4])?,
        number(&[*m1, *m2])?,
        number(&[*d1, *d2])?,
    );
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*n1, *n2])?, number(&[*s1, *s2])?);
    if year < 1 || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    // 24:00 and a leap second are for PostgreSQL.
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        rest => (&[][..], rest),
    };
    // A point says that digits follow.
    if fraction.len() > 6 || rest.first() == Some(&b'.') && fraction.is_empty() {
        return None;
    }
    let micros = number(fraction)? * 10i64.pow(6 - fraction.len() as u32);
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            // What no place on earth has is for PostgreSQL.
            if hours > 14 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'+' { 60 } else { -60 }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * 1_000_000 + micros)
}

/// Decimal digits; 0 where there are none.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 2000-01-01 (Howard Hinnant, chrono-compatible low-level date algorithms).
fn days(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_2000: i64 = 730_425; // from 0000-03-01
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - BEFORE_2000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_are_microseconds_since_2000() {
        assert_eq!(parse("2000-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2000-01-01 00:00:00.000001+00:00"), Some(1));
        assert_eq!(parse("2000-01-01T01:30:00.5+01:30"), Some(500_000));
        assert_eq!(parse("1999-12-31T23:00:00-01:00"), Some(0));
        assert_eq!(parse("2000-02-29T00:00:00Z"), Some(59 * 86_400_000_000));
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(-946_684_800_000_000));
        assert_eq!(parse("2026-11-20T23:59:59.123456Z"), Some(848_534_399_123_456));
    }

    #[test]
    fn other_forms_are_left_to_postgresql() {
        for text in [
            "",
            "now",
            "2000-01-01",
            "2000-01-01T00:00:00",
            "2000-01-01T00:00:00+01",
            "2000-01-01T00:00:00 Z",
            "2000-01-01T00:00:00.Z",
            "2000-01-01T00:00:00.1234567Z",
            "2001-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2000-13-01T00:00:00Z",
            "2000-00-01T00:00:00Z",
            "2000-01-00T00:00:00Z",
            "2000-04-31T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2000-01-01T24:00:00Z",
            "2000-01-01T00:60:00Z",
            "2000-01-01T00:00:60Z",
            "2000-01-01T00:00:00+15:00",
            "2000-01-01T00:00:00+01:60",
            "2000-01-01t00:00:00Z",
            "20000-01-01T00:00:00Z",
            "2000-01-01T00:00:00Zé",
            "２000-01-01T00:00:00Z",
            "+000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_day_is_one_after_the_day_before(days_on in 0i64..3_650_000) {
            // From 0001-01-01 on, by counting.
            let (mut year, mut rest) = (1, days_on);
            while rest >= 146_097 {
                (year, rest) = (year + 400, rest - 146_097);
            }
            let of_year = |year| (1..=12).map(|month| days_of(year, month)).sum::<i64>();
            while rest >= of_year(year) {
                rest -= of_year(year);
                year += 1;
            }
            let mut month = 1;
            while rest >= days_of(year, month) {
                rest -= days_of(year, month);
                month += 1;
            }
            prop_assert_eq!(days(year, month, rest + 1) - days(1, 1, 1), days_on);
        }

        #[test]
        fn no_text_is_too_strange(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
