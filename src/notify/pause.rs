//! How long to wait before the next try.

use std::time::{Duration, SystemTime};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after so many tries: it doubles, and changes by up to a quarter so that many senders do not come back
/// together. `random` decides how much.
pub fn backoff(tries: u32, random: u8) -> Duration {
    let doubled = FIRST.saturating_mul(1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST).mul_f64(0.75 + f64::from(random) / f64::from(u8::MAX) / 2.0)
}

/// RFC 9110, 10.2.3: seconds, or a date in any of the three forms of HTTP. A date in the past means at once.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More than can be read is longer than anybody waits.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_agree() {
        let middle = |tries| backoff(tries, 127).as_millis();
        assert_eq!([middle(1), middle(2), middle(3), middle(6)], [499, 999, 1998, 15984]);
        assert_eq!(backoff(1, 0), Duration::from_millis(375));
        assert_eq!(backoff(1, 255), Duration::from_millis(625));
        assert_eq!(backoff(u32::MAX, 255), Duration::from_millis(37_500));
        assert_eq!(backoff(0, 0), Duration::from_millis(375));
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        // 1994-11-06 08:49:37
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let now = then - Duration::from_secs(90);
        let read = |text| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(90));
        assert_eq!(read("Sunday, 06-Nov-94 08:49:37 GMT"), Some(90));
        assert_eq!(read("Sun Nov  6 08:49:37 1994"), Some(90));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT", then + Duration::from_secs(1)),
            Some(Duration::ZERO)
        );
        assert_eq!(read("99999999999999999999999"), Some(u64::from(u32::MAX)));
        for bad in ["", "-1", "1.5", "soon", "12s", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
