//! Names for STOU: the name that the client gave, or that name with a number before its extension.

/// The number of names that are tried in sequence. After these, the numbers grow faster than the number of files.
const SEQUENTIAL_MAX: u32 = 100;

/// The largest power of two by which [`SEQUENTIAL_MAX`] grows.
const DOUBLINGS_MAX: u32 = 24;

/// Returns the name for an attempt, counted from 0: `scan.pdf`, `scan.1.pdf`, `scan.2.pdf`; without a wanted name,
/// `upload.N`. `next` returns a number that no earlier upload had.
pub(super) fn unique_name(
    wanted: Option<&[u8]>,
    attempt: u32,
    next: impl FnOnce() -> u32,
) -> Vec<u8> {
    let Some(wanted) = wanted else { return format!("upload.{}", next()).into_bytes() };
    let number = match attempt.checked_sub(SEQUENTIAL_MAX) {
        None | Some(0) => attempt,
        Some(beyond) => (SEQUENTIAL_MAX << beyond.min(DOUBLINGS_MAX)).saturating_add(next()),
    };
    if number == 0 {
        return wanted.to_vec();
    }
    // The leading dot of a hidden name starts no extension.
    let dot = wanted.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let (stem, extension) = wanted.split_at(dot.unwrap_or(wanted.len()));
    [stem, format!(".{number}").as_bytes(), extension].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_before_the_extension_of_a_name_that_is_taken() {
        let name = |wanted: &str, attempt| {
            String::from_utf8(unique_name(Some(wanted.as_bytes()), attempt, || 7)).unwrap()
        };
        assert_eq!(name("scan.pdf", 0), "scan.pdf");
        assert_eq!(name("scan.pdf", 2), "scan.2.pdf");
        assert_eq!(name("scan", 1), "scan.1");
        assert_eq!(name(".profile", 1), ".profile.1");
        assert_eq!(name("a.tar.gz", 1), "a.tar.1.gz");
        assert_eq!(unique_name(None, 0, || 7), b"upload.7");
    }

    #[test]
    fn no_number_of_files_of_one_name_exhausts_the_numbers() {
        let mut before = 0;
        for attempt in 101..1000 {
            let name = unique_name(Some(b"a"), attempt, || attempt);
            let number: u32 = String::from_utf8(name[2..].to_vec()).unwrap().parse().unwrap();
            assert!(number > before, "{attempt}");
            before = number;
        }
        assert!(before > 1_000_000_000);
    }
}
