//! The known name that is nearest to a mistyped one.

/// The maximum number of letters that may be wrong.
const DISTANCE_MAX: usize = 3;

/// Returns the end of a sentence about an unknown name: `; did you mean NAME?`, or nothing.
pub(super) fn nearest(name: &str, known: &[String]) -> String {
    let near = known.iter().map(|known| (distance(name, known), known)).min();
    match near {
        Some((distance, known)) if distance <= DISTANCE_MAX.min(name.len() / 2) => {
            format!("; did you mean {known}?")
        }
        _ => String::new(),
    }
}

/// Returns the number of letters to insert, remove or replace (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut above_left = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, found) in row.iter().skip(1).zip(&other) {
            left = (above_left + usize::from(*found != letter)).min(left + 1).min(above + 1);
            above_left = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_has_few_other_letters() {
        let known = ["passive-ports", "port", "root"].map(str::to_owned);
        for (name, expected) in [
            ("pasive-ports", "; did you mean passive-ports?"),
            ("passive_ports", "; did you mean passive-ports?"),
            ("prot", "; did you mean port?"),
            ("colour", ""),
            ("x", ""),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
