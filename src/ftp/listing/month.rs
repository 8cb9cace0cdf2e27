//! Names of months, in the languages in which servers list files.

/// Names of each month, in lower case. Each name means one month only; names that mean different months in different
/// languages, such as `lip` for June and July, are left out.
const NAMES: [&[&str]; 12] = [
    &[
        "jan", "january", "janv", "januar", "ene", "gen", "sty", "led", "янв", "янв.", "oca",
        "janeiro", "jän",
    ],
    &[
        "feb", "february", "fév", "févr", "fev", "fevr", "februar", "lut", "úno", "фев", "şub",
        "helmi", "febr",
    ],
    &[
        "mar", "march", "mars", "mär", "märz", "mrz", "maer", "mrt", "maart", "bře", "мар",
        "maalis", "márc", "marzo",
    ],
    &["apr", "april", "avr", "avril", "abr", "kwi", "dub", "апр", "nis", "huhti", "ápr"],
    &["may", "mai", "maj", "mei", "mag", "kvě", "май", "мая", "touko", "máj", "mayo"],
    &["jun", "june", "juin", "juni", "giu", "cze", "čen", "июн", "haz", "kesä", "jún"],
    &["jul", "july", "juil", "juillet", "juli", "lug", "čec", "čvc", "июл", "tem", "heinä", "júl"],
    &["aug", "august", "août", "aoû", "aout", "ago", "sie", "srp", "авг", "ağu", "elo"],
    &["sep", "sept", "september", "set", "wrz", "zář", "сен", "eyl", "syys", "szept"],
    &["oct", "october", "okt", "oktober", "ott", "out", "paź", "říj", "окт", "eki", "loka"],
    &["nov", "november", "novembre", "noyabr", "ноя", "kas", "marras", "lis"],
    &[
        "dec", "december", "déc", "dez", "dezember", "des", "dic", "gru", "pro", "дек", "ara",
        "joulu",
    ],
];

/// Returns the number of the month that a word names, from 1.
pub(super) fn month(word: &[u8]) -> Option<i8> {
    let word = word.strip_suffix(b".").unwrap_or(word);
    let text = decoded(word).to_lowercase();
    let position = NAMES.iter().position(|names| names.contains(&text.as_str()))?;
    i8::try_from(position + 1).ok()
}

/// Returns true for a word that may be a month in another language: it has letters and no digits.
pub(super) fn may_be_month(word: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
    word.len() <= 32
        && word.iter().any(is_letter)
        && word.iter().all(|byte| is_letter(byte) || matches!(byte, b'.' | b'-' | b'\''))
}

/// Returns the numbers in a date of East Asia: `8月`, `10日`, `8月10日`, `2002年2月11日`, in any encoding.
pub(super) fn numbers(word: &[u8]) -> Option<Vec<i16>> {
    let is_suffixed =
        word.first()?.is_ascii_digit() && !word.last()?.is_ascii_digit() && !word.is_ascii();
    if !is_suffixed {
        return None;
    }
    let groups = word.split(|byte| !byte.is_ascii_digit()).filter(|group| !group.is_empty());
    groups.map(crate::ftp::address::decimal).collect()
}

/// Decodes UTF-8, or else Latin-1.
fn decoded(word: &[u8]) -> String {
    match str::from_utf8(word) {
        Ok(text) => text.to_owned(),
        Err(_) => word.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_means_one_month() {
        let mut all: Vec<&str> = NAMES.concat();
        all.sort_unstable();
        assert!(all.windows(2).all(|two| two[0] != two[1]), "{all:?}");
        for (word, number) in [("Okt", 10), ("MÄR", 3), ("févr.", 2), ("дек", 12), ("Sept.", 9)]
        {
            assert_eq!(month(word.as_bytes()), Some(number), "{word}");
        }
        assert_eq!(month(b"M\xe4r"), Some(3));
        assert_eq!((month(b"lip"), month(b"12"), month(b"")), (None, None, None));
    }

    #[test]
    fn numbers_of_east_asia_are_read_in_any_encoding() {
        assert_eq!(numbers("8月".as_bytes()), Some(vec![8]));
        assert_eq!(numbers(b"8\xb7\xee"), Some(vec![8]));
        assert_eq!(numbers(b"2002\x94N2\x8c\x8e11\x93\xfa"), Some(vec![2002, 2, 11]));
        assert_eq!((numbers(b"8"), numbers(b"a8"), numbers(b"")), (None, None, None));
    }
}
