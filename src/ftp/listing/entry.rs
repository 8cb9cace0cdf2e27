//! Entries as the server writes them, in the lines of LIST, NLST, MLSD and MLST.

use jiff::Timestamp;

use super::facts::{Fact, Facts};
use super::kind::Kind;
use crate::ftp::time::{Days, push_number};

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
    /// The text of the symbolic link, if the name is one; the other fields then describe its target.
    pub link: Option<Vec<u8>>,
}

impl Entry {
    /// Appends its LIST line: `-rw-r--r--   1 ftp      ftp          1234 Nov 22 16:11 name`. Returns the
    /// number of bytes behind the name.
    pub fn list_line(&self, now: Timestamp, days: &mut Days, out: &mut Vec<u8>) -> usize {
        let link = self.shown_link();
        out.push(match self.kind {
            _ if link.is_some() => b'l',
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
        out.extend_from_slice(&self.name);
        let end = out.len();
        if let Some(target) = link.filter(|target| !target.iter().any(u8::is_ascii_control)) {
            out.extend_from_slice(b" -> ");
            out.extend_from_slice(target);
        }
        out.extend_from_slice(b"\r\n");
        out.len() - end
    }

    /// Returns the text of a link that is shown as a link: one to a directory. Clients that walk a tree, or remove one,
    /// must not enter it. A link to a file is shown as that file, with its size.
    fn shown_link(&self) -> Option<&[u8]> {
        self.link.as_deref().filter(|_| self.kind == Kind::Directory)
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
                    match self.shown_link() {
                        Some(target) => push_link_type(target, out),
                        None => out.extend_from_slice(self.kind_fact()),
                    }
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

    /// Returns the `type` fact of an entry that is not shown as a link (RFC 3659 §7.5.1).
    fn kind_fact(&self) -> &'static [u8] {
        match self.kind {
            Kind::File => b"file",
            Kind::Directory => b"dir",
            Kind::Link => b"OS.unix=slink",
            Kind::Other => b"OS.unix=special",
        }
    }
}

/// Appends the `type` fact of a link. Its target is left out if clients could take it for other facts, or for the name.
///
/// Kept out of the loop over the facts, which it would make half as long again for entries that are no links.
#[cold]
fn push_link_type(target: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"OS.unix=slink");
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b";=".contains(byte) || *byte >= 0x80;
    if target.iter().all(is_plain) {
        out.push(b':');
        out.extend_from_slice(target);
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
