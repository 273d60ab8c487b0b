//! Numbers with their units.

/// `value` with an SI prefix, in at most four characters: `0`, `999`, `1.23 k`, `45.6 M`.
fn scaled(value: f64) -> String {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut value = value.max(0.0);
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    match prefix {
        0 => format!("{value:.0} "),
        _ if value < 9.995 => format!("{value:.2} {}", PREFIXES[prefix]),
        _ if value < 99.95 => format!("{value:.1} {}", PREFIXES[prefix]),
        _ => format!("{value:.0} {}", PREFIXES[prefix]),
    }
}

/// A number whose unit stands elsewhere, as in a heading: `1.23 M`.
pub fn number(value: f64) -> String {
    scaled(value).trim_end().to_owned()
}

/// An amount of bytes: `1.23 MB`.
pub fn bytes(bytes: u64) -> String {
    format!("{}B", scaled(bytes as f64))
}

/// A limit as the plan has it: `100 Mbit/s`, or `-` without one.
pub fn limit(kbps: Option<u64>) -> String {
    match kbps {
        None => "-".to_owned(),
        Some(kbps) if kbps >= 1_000_000 && kbps.is_multiple_of(1_000_000) => format!("{} Gbit/s", kbps / 1_000_000),
        Some(kbps) if kbps >= 1000 && kbps.is_multiple_of(1000) => format!("{} Mbit/s", kbps / 1000),
        Some(kbps) if kbps < 10_000 => format!("{kbps} kbit/s"),
        Some(kbps) => format!("{}bit/s", scaled(kbps as f64 * 1000.0)),
    }
}

/// A duration: `3 d 4 h`, `5 min 6 s`, `7 s`.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The time of day in UTC, to the microsecond, of nanoseconds since 1970.
pub fn time_of_day(nanoseconds: u64) -> String {
    let (seconds, micros) = (nanoseconds / 1_000_000_000, nanoseconds / 1000 % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// `1 packet`, `2 packets`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (8.0, "8"),
            (999.4, "999"),
            (999.6, "1.00 k"),
            (9996.0, "10.0 k"),
            (1e8, "100 M"),
            (999.92e6, "1.00 G"),
            (8e18, "8000 P"),
            (-5.0, "0"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(number(value), expected, "{value}");
        }
        assert_eq!(bytes(1_500), "1.50 kB");
    }

    #[test]
    fn limits_are_shown_as_the_plan_says_them() {
        for (kbps, expected) in [
            (None, "-"),
            (Some(500), "500 kbit/s"),
            (Some(1500), "1500 kbit/s"),
            (Some(100_000), "100 Mbit/s"),
            (Some(2_000_000), "2 Gbit/s"),
            (Some(123_456), "123 Mbit/s"),
        ] {
            assert_eq!(limit(kbps), expected);
        }
    }

    #[test]
    fn durations_and_times_read_as_people_say_them() {
        assert_eq!([5, 65, 3700, 90_000].map(duration), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(time_of_day(1_700_000_000_123_456_789), "22:13:20.123456Z");
        assert_eq!([count(1, "packet"), count(0, "packet")], ["1 packet", "0 packets"]);
    }
}
