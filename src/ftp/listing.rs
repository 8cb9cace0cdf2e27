//! Listings: the lines of LIST, NLST, MLSD and MLST, written by the server and read by the client.
//!
//! LIST has no standard. This is the form of `ls -l`, which every client reads (the standard form is in RFC 3659 §7).

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::address::decimal;
use super::time::{Days, MONTHS, TimeValue, push_number, timestamp};

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to a target that the client may not access.
    Link,
    /// A device, socket or pipe: it is listed but cannot be opened.
    Other,
}

/// One entry, as the server knows it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// The kind.
    pub kind: Kind,
    /// The size in bytes.
    pub size: u64,
    /// The time of its last modification.
    pub modified: Timestamp,
    /// The permission bits of its mode.
    pub mode: u32,
    /// The number of its hard links.
    pub links: u64,
    /// The device and inode numbers, which all names of one file share.
    pub identity: (u64, u64),
    /// The ID of the user that owns it.
    pub owner: u32,
    /// The ID of its group.
    pub group: u32,
    /// True if the name is a symbolic link; the other fields then describe its target.
    pub linked: bool,
}

impl Entry {
    /// Appends its LIST line: `-rw-r--r--   1 ftp      ftp          1234 Nov 22 16:11 name`.
    pub fn list_line(&self, now: Timestamp, days: &mut Days, out: &mut Vec<u8>) {
        out.push(match self.kind {
            Kind::File => b'-',
            Kind::Directory => b'd',
            Kind::Link => b'l',
            Kind::Other => b's',
        });
        let letter = |(bit, letter)| if self.mode >> bit & 1 == 1 { letter } else { b'-' };
        out.extend((0..9_u32).rev().zip(*b"rwxrwxrwx").map(letter));
        out.push(b' ');
        push_number(out, self.links, 3, b' ');
        out.extend_from_slice(b" ftp      ftp      ");
        push_number(out, self.size, 12, b' ');
        out.push(b' ');
        days.list_date(self.modified, now, out);
        out.push(b' ');
        self.name_line(out);
    }

    /// Appends its NLST line: the name.
    pub fn name_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends its facts, each followed by `;`, a space, and `name` (RFC 3659 §7.2), without line end.
    pub fn facts(&self, facts: Facts, perm: &str, name: &[u8], days: &mut Days, out: &mut Vec<u8>) {
        for fact in facts.iter() {
            match fact {
                Fact::Type => {
                    out.extend_from_slice(b"type=");
                    out.extend_from_slice(self.type_fact().as_bytes());
                }
                Fact::Size if self.kind != Kind::File => continue,
                Fact::Size => {
                    out.extend_from_slice(b"size=");
                    push_number(out, self.size, 1, b'0');
                }
                Fact::Modify => {
                    out.extend_from_slice(b"modify=");
                    days.time_value(self.modified, out);
                }
                Fact::Perm => {
                    out.extend_from_slice(b"perm=");
                    out.extend_from_slice(perm.as_bytes());
                }
                Fact::Unique => {
                    out.extend_from_slice(b"unique=");
                    push_hex(out, self.identity.0);
                    out.push(b'g');
                    push_hex(out, self.identity.1);
                }
                Fact::UnixMode => {
                    out.extend_from_slice(b"UNIX.mode=0");
                    let digits = [9, 6, 3, 0].map(|place| b'0' + (self.mode >> place & 7) as u8);
                    // The bits above those of owner, group and others are shown only if any is set.
                    match digits {
                        [b'0', below @ ..] => out.extend_from_slice(&below),
                        all => out.extend_from_slice(&all),
                    }
                }
            }
            out.push(b';');
        }
        out.push(b' ');
        out.extend_from_slice(name);
    }

    /// Returns the `type` fact of this entry.
    fn type_fact(&self) -> &'static str {
        match self.kind {
            Kind::File => "file",
            Kind::Directory => "dir",
            Kind::Link => "OS.unix=slink",
            Kind::Other => "OS.unix=special",
        }
    }
}

/// Appends a number in hexadecimal.
fn push_hex(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 16];
    let (mut left, mut count) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = match (left & 0xF) as u8 {
            value @ ..=9 => b'0' + value,
            value => b'a' - 10 + value,
        };
        (left, count) = (left >> 4, count + 1);
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

/// A fact of MLST and MLSD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Type,
    Size,
    Modify,
    Perm,
    Unique,
    UnixMode,
}

const FACTS: [Fact; 6] =
    [Fact::Type, Fact::Size, Fact::Modify, Fact::Perm, Fact::Unique, Fact::UnixMode];

impl Fact {
    fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Size => "size",
            Self::Modify => "modify",
            Self::Perm => "perm",
            Self::Unique => "unique",
            Self::UnixMode => "UNIX.mode",
        }
    }
}

/// The facts that a client selected by `OPTS MLST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts([bool; FACTS.len()]);

impl Default for Facts {
    fn default() -> Self {
        Self([true; FACTS.len()])
    }
}

impl Facts {
    /// Parses a selection, `type;size;`; unknown facts are ignored (RFC 3659 §7.9).
    #[must_use]
    pub fn select(names: &str) -> Self {
        let selects =
            |fact: Fact| names.split(';').any(|name| name.eq_ignore_ascii_case(fact.name()));
        Self(FACTS.map(selects))
    }

    /// Returns the selected facts, `type;size;`, for the reply to OPTS MLST.
    #[must_use]
    pub fn selection(self) -> String {
        self.iter().fold(String::new(), |text, fact| text + fact.name() + ";")
    }

    /// Returns the line for FEAT: all facts, the selected ones with a star.
    #[must_use]
    pub fn feature(self) -> String {
        let star = |selected| if selected { "*;" } else { ";" };
        FACTS
            .iter()
            .zip(self.0)
            .fold("MLST ".to_owned(), |text, (fact, selected)| text + fact.name() + star(selected))
    }

    /// Returns the selected facts.
    fn iter(self) -> impl Iterator<Item = Fact> {
        FACTS.into_iter().zip(self.0).filter(|(_, selected)| *selected).map(|(fact, _)| fact)
    }
}

/// One entry, as a client read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Vec<u8>,
    /// The kind.
    pub kind: Kind,
    /// The size in bytes, if the line has it.
    pub size: Option<u64>,
    /// The time of its last modification, if the line has it. LIST has no seconds, often no year, and an unknown time
    /// zone.
    pub modified: Option<Timestamp>,
    /// The permission bits, if the line has them (`UNIX.mode`, or the letters of `ls -l`).
    pub mode: Option<u32>,
    /// The target of a symbolic link, if the line has it.
    pub target: Option<Vec<u8>>,
}

/// Parses a line of MLSD or MLST; returns `None` for the directory itself, its parent, and lines of another form.
#[must_use]
pub fn parse_facts(line: &[u8]) -> Option<Listed> {
    let line = line.strip_prefix(b" ").unwrap_or(line);
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (facts, name) = (str::from_utf8(line.get(..space)?).ok()?, line.get(space + 1..)?);
    let mut listed = Listed {
        name: name.to_vec(),
        kind: Kind::Other,
        size: None,
        modified: None,
        mode: None,
        target: None,
    };
    for fact in facts.split_terminator(';') {
        let (fact, value) = fact.split_once('=')?;
        match fact.to_ascii_lowercase().as_str() {
            "type" => match value.to_ascii_lowercase().as_str() {
                "file" => listed.kind = Kind::File,
                "dir" => listed.kind = Kind::Directory,
                "cdir" | "pdir" => return None,
                lower if lower.starts_with("os.unix=s") && lower.contains("link") => {
                    listed.kind = Kind::Link;
                    // ProFTPD sends `OS.unix=slink:/target`; others leave the target out.
                    let target = value.split_once(':').map(|(_, target)| target.into());
                    listed.target = target.filter(|target: &Vec<u8>| !target.is_empty());
                }
                _ => {}
            },
            "size" => listed.size = decimal(value.as_bytes()),
            "modify" => listed.modified = TimeValue::parse(value.as_bytes()).map(|time| time.0),
            "unix.mode" => {
                listed.mode = u32::from_str_radix(value, 8).ok().map(|mode| mode & 0o7777);
            }
            _ => {}
        }
    }
    (!name.is_empty()).then_some(listed)
}

/// Parses a line of LIST in the style of `ls -l` or of MS-DOS. Returns `None` for `total 12`, `.`, `..` and lines of
/// another form.
///
/// `now` determines the year of a date without one.
#[must_use]
pub fn parse_list(line: &[u8], now: Timestamp) -> Option<Listed> {
    parse_unix(line, now)
        .or_else(|| parse_dos(line))
        .filter(|listed| !matches!(listed.name.as_slice(), b"." | b".." | b""))
}

fn parse_unix(line: &[u8], now: Timestamp) -> Option<Listed> {
    let kind = match line.first()? {
        b'-' => Kind::File,
        b'd' => Kind::Directory,
        b'l' => Kind::Link,
        b'b' | b'c' | b'p' | b's' => Kind::Other,
        _ => return None,
    };
    let mut rest = line;
    let mut words: Vec<&[u8]> = Vec::new();
    // Some servers omit the group, so a size followed by a month marks the date; a group alone may be named May.
    let (size, date) = loop {
        let (word, after) = next_word(rest)?;
        rest = after;
        if let Some(month) = month(word)
            && let Some(size) =
                words.get(2..).and_then(<[_]>::last).and_then(|word| decimal::<u64>(word))
        {
            let (day, after) = next_word(rest)?;
            let (time, after) = next_word(after)?;
            rest = after;
            break (Some(size), civil_date(month, day, time, now));
        }
        words.push(word);
        if words.len() > 6 {
            return None;
        }
    };
    // One space separates the name; further spaces belong to it.
    let (mut name, mut target) = (rest.strip_prefix(b" ")?, None);
    if kind == Kind::Link
        && let Some(arrow) = name.windows(4).position(|window| window == b" -> ")
    {
        target = name.get(arrow + 4..).filter(|target| !target.is_empty()).map(<[u8]>::to_vec);
        name = name.get(..arrow)?;
    }
    Some(Listed {
        name: name.to_vec(),
        kind,
        size: size.filter(|_| kind == Kind::File),
        modified: date,
        mode: permissions(line),
        target,
    })
}

/// Parses the permissions of `-rwxr-x---`, as `ls -l` writes them.
fn permissions(line: &[u8]) -> Option<u32> {
    let letters = line.get(1..10)?;
    let bit = |letter: &u8, set: u8| match *letter {
        b'-' | b'S' | b'T' => Some(0),
        // Both set-user-ID and execute.
        b's' | b't' if set == b'x' => Some(1),
        letter if letter == set => Some(1),
        _ => None,
    };
    letters
        .iter()
        .zip(b"rwx".iter().cycle())
        .try_fold(0, |mode, (letter, set)| Some(mode << 1 | bit(letter, *set)?))
}

/// Parses `11-22-26  04:11PM       <DIR>          name`.
fn parse_dos(line: &[u8]) -> Option<Listed> {
    let (date, rest) = next_word(line)?;
    let (time, rest) = next_word(rest)?;
    let (size, rest) = next_word(rest)?;
    let mut parts = date.split(|byte| *byte == b'-').map(decimal::<i16>);
    let (month, day, year) = (parts.next()??, parts.next()??, parts.next()??);
    let year = match year {
        0..70 => 2000 + year,
        70..100 => 1900 + year,
        year => year,
    };
    let (clock, half) = time.split_at_checked(5)?;
    let (hour, minute) = (decimal::<i8>(clock.get(..2)?)?, decimal::<i8>(clock.get(3..)?)?);
    let hour = match half {
        b"PM" | b"pm" => hour % 12 + 12,
        b"AM" | b"am" => hour % 12,
        b"" => hour,
        _ => return None,
    };
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let modified = timestamp(date.to_datetime(Time::new(hour, minute, 0, 0).ok()?));
    let (kind, size) =
        if size == b"<DIR>" { (Kind::Directory, None) } else { (Kind::File, Some(decimal(size)?)) };
    let name = rest.trim_ascii_start().to_vec();
    Some(Listed { name, kind, size, modified, mode: None, target: None })
}

fn next_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = text.iter().position(|byte| *byte != b' ')?;
    let text = text.get(start..)?;
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    text.split_at_checked(end)
}

fn month(word: &[u8]) -> Option<i8> {
    let position = MONTHS.iter().position(|month| word.eq_ignore_ascii_case(month.as_bytes()))?;
    i8::try_from(position + 1).ok()
}

/// Parses `22 16:11` or `22 2024`. Without a year, the date is the last such day that is at most one day ahead.
fn civil_date(month: i8, day: &[u8], time: &[u8], now: Timestamp) -> Option<Timestamp> {
    let day = decimal::<i8>(day)?;
    let Some(colon) = time.iter().position(|byte| *byte == b':') else {
        return timestamp(Date::new(decimal(time)?, month, day).ok()?.at(0, 0, 0, 0));
    };
    let (hour, minute) =
        (decimal::<i8>(time.get(..colon)?)?, decimal::<i8>(time.get(colon + 1..)?)?);
    let clock = Time::new(hour, minute, 0, 0).ok()?;
    let this_year = jiff::tz::Offset::UTC.to_datetime(now).year();
    // 29 February may be years back.
    (0..8).filter_map(|back| Date::new(this_year - back, month, day).ok()).find_map(|date| {
        timestamp(date.to_datetime(clock))
            .filter(|at| at.as_second() <= now.as_second() + 24 * 3600)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        TimeValue::parse(text.as_bytes()).unwrap().0
    }

    fn entry(name: &[u8], kind: Kind, size: u64) -> Entry {
        let modified = time("20261101120000");
        Entry {
            name: name.to_vec(),
            kind,
            size,
            modified,
            mode: 0o644,
            links: 1,
            identity: (1, 255),
            owner: 0,
            group: 0,
            linked: false,
        }
    }

    #[test]
    fn a_list_line_is_that_of_ls() {
        let mut out = Vec::new();
        entry(b"a b", Kind::File, 1234).list_line(
            time("20261122161139"),
            &mut Days::default(),
            &mut out,
        );
        assert_eq!(out, b"-rw-r--r--   1 ftp      ftp              1234 Nov  1 12:00 a b\r\n");
    }

    #[test]
    fn facts_end_with_a_semicolon_each() {
        let mut out = Vec::new();
        entry(b"", Kind::File, 5).facts(
            Facts::select("SIZE;Type;nonsense;unix.mode"),
            "r",
            b"a",
            &mut Days::default(),
            &mut out,
        );
        assert_eq!(out, b"type=file;size=5;UNIX.mode=0644; a");
        assert_eq!(
            Facts::select("size;").feature(),
            "MLST type;size*;modify;perm;unique;UNIX.mode;"
        );
        assert_eq!(Facts::select("").selection(), "");
    }

    #[test]
    fn list_lines_of_many_servers_are_read() {
        let now = time("20261122161139");
        let check = |line: &str, name: &str, kind: Kind, size: Option<u64>, modified: &str| {
            let listed = parse_list(line.as_bytes(), now).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(
                (listed.name, listed.kind, listed.size, listed.modified),
                (name.into(), kind, size, Some(time(modified))),
                "{line}"
            );
        };
        check(
            "-rw-r--r--    1 0        0            1234 Nov  1 12:00 a b",
            "a b",
            Kind::File,
            Some(1234),
            "20261101120000",
        );
        check(
            "drwxr-xr-x   2 ftp      ftp          4096 Dec 31 23:59  lead",
            " lead",
            Kind::Directory,
            None,
            "20251231235900",
        );
        check("lrwxrwxrwx 1 u g 3 Jan  1  2020 a -> b", "a", Kind::Link, None, "20200101000000");
        check("-rw-r--r-- 1 nogroup 99 Feb 29 2024 x", "x", Kind::File, Some(99), "20240229000000");
        check(
            "-rw-rw-r--+ 1 u May 7 Mar 01 08:30 name",
            "name",
            Kind::File,
            Some(7),
            "20260301083000",
        );
        check(
            "11-22-26  04:11PM       <DIR>          Some Dir",
            "Some Dir",
            Kind::Directory,
            None,
            "20261122161100",
        );
        check(
            "01-02-1999  12:05AM             42 f.txt",
            "f.txt",
            Kind::File,
            Some(42),
            "19990102000500",
        );
        for line in [
            "total 12",
            "",
            "drwxr-xr-x 2 a b 1 Jan 1 2020 .",
            "drwxr-xr-x 2 a b 1 Jan 1 2020 ..",
            "-rw-r--r--",
        ] {
            assert_eq!(parse_list(line.as_bytes(), now), None, "{line}");
        }
    }

    #[test]
    fn fact_lines_of_many_servers_are_read() {
        let listed =
            parse_facts(b"Type=file;Size=17;Modify=20261122161139.5;perm=r; a; b").unwrap();
        assert_eq!(
            (listed.name.as_slice(), listed.kind, listed.size),
            (b"a; b".as_slice(), Kind::File, Some(17))
        );
        assert_eq!(parse_facts(b" type=dir; d").unwrap().kind, Kind::Directory);
        assert_eq!(parse_facts(b"type=cdir; ."), None);
        assert_eq!(parse_facts(b"no facts"), None);
    }

    #[test]
    fn modes_and_targets_of_links_are_read() {
        let now = time("20261122161139");
        let list = |line: &str| {
            let listed = parse_list(line.as_bytes(), now).unwrap();
            (listed.mode, listed.target.map(|target| String::from_utf8(target).unwrap()))
        };
        let to = |target: &str| Some(target.to_owned());
        assert_eq!(list("-rw-r----- 1 u g 3 Jan  1  2020 a -> b"), (Some(0o640), None));
        assert_eq!(list("drwxrwxrwt 1 u g 3 Jan  1  2020 a"), (Some(0o777), None));
        assert_eq!(list("-rwsr-S--- 1 u g 3 Jan  1  2020 a"), (Some(0o740), None));
        assert_eq!(list("lrwxrwxrwx 1 u g 3 Jan  1  2020 a -> b/c"), (Some(0o777), to("b/c")));
        assert_eq!(list("-????????? 1 u g 3 Jan  1  2020 a"), (None, None));
        let facts = |line: &str| parse_facts(line.as_bytes()).unwrap();
        assert_eq!(facts("type=file;UNIX.mode=0640; a").mode, Some(0o640));
        assert_eq!(facts("type=OS.unix=slink:/B;unix.mode=x; a").target, Some(b"/B".to_vec()));
        assert_eq!(facts("type=OS.unix=slink; a").target, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(name in "[^\r\n\0/ ][^\r\n\0/]{0,30}", size: u64, second in 0_i64..1_795_000_000) {
            prop_assume!(name != "." && name != ".." );
            let now = time("20261122161139");
            let entry = Entry { modified: Timestamp::new(second, 0).unwrap(), ..entry(name.as_bytes(), Kind::File, size) };
            let mut line = Vec::new();
            entry.list_line(now, &mut Days::default(), &mut line);
            let listed = parse_list(&line[..line.len() - 2], now).unwrap();
            prop_assert_eq!((&listed.name, listed.size), (&entry.name, Some(size)));
            prop_assert_eq!(listed.mode, Some(entry.mode));
            let mut line = Vec::new();
            entry.facts(Facts::default(), "r", &entry.name, &mut Days::default(), &mut line);
            let listed = parse_facts(&line).unwrap();
            prop_assert_eq!((listed.name, listed.size, listed.modified), (entry.name, Some(size), Some(entry.modified)));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _read = (parse_facts(&bytes), parse_list(&bytes, time("20261122161139")));
        }
    }
}
