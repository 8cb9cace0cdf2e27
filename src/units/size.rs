//! Numbers of bytes as people write them.

/// Parses a number, optionally followed by K, M, G or T, each 1024 times the one before: `500K`, `2M`, `10G`.
///
/// # Errors
/// One sentence, if it is no number or too large.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a number of bytes, such as 500K, 2M or 10G");
    let units = [('K', 1 << 10), ('M', 1 << 20), ('G', 1 << 30), ('T', 1_u64 << 40)];
    let found = units.into_iter().find_map(|(letter, unit)| {
        text.strip_suffix([letter, letter.to_ascii_lowercase()]).map(|digits| (digits, unit))
    });
    let (digits, unit) = found.unwrap_or((text, 1));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse().ok().and_then(|number: u64| number.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_1024_of_the_one_before() {
        for (text, number) in [("0", 0), ("17", 17), ("500K", 512_000), ("2m", 2 << 20)] {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        assert_eq!(bytes("1T"), Ok(1 << 40));
        for text in ["", "K", "-1", "+1", "1.5M", "2MB", "99999999999T", "1 K"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
