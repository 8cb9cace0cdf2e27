//! The `perm` fact of MLSD and MLST.

use crate::ftp::listing::{Entry, Kind};
use crate::ftp::verb::Permission;
use crate::storage::{EntryPermissions, Rights, Surroundings};

/// Appends the `perm` fact (RFC 3659 §7.5.5): the actions on an entry that the account has permission for and that the
/// file system allows the server.
pub(super) fn perm_fact(
    permissions: EntryPermissions,
    entry: &Entry,
    surroundings: &Surroundings,
    out: &mut String,
) {
    use Permission::{Append, Create, Delete, List, MakeDirectory, Read, Rename, Write};
    let Rights { read, write, enter } = surroundings.rights(entry);
    let removable = surroundings.let_remove(entry);
    // Writing replaces a file by a new one beside it; appending copies the file.
    let replaceable = write && surroundings.let_replace(entry);
    let fills = write && enter;
    let EntryPermissions { content, name } = permissions;
    let is_open = enter && !content.is_empty();
    let letters: &[(char, bool)] = match entry.kind {
        Kind::File => &[
            ('a', replaceable && read && content.allow(Append)),
            ('d', removable && name.allow(Delete)),
            ('f', removable && name.allow(Rename)),
            ('r', read && content.allow(Read)),
            ('w', replaceable && content.allow(Write)),
        ],
        Kind::Directory => &[
            ('c', fills && content.allow(Create)),
            ('d', removable && name.allow(Delete)),
            ('e', is_open),
            ('f', removable && name.allow(Rename)),
            ('l', enter && read && content.allow(List)),
            ('m', fills && content.allow(MakeDirectory)),
            ('p', fills && content.allow(Delete)),
        ],
        Kind::Link | Kind::Other => {
            &[('d', removable && name.allow(Delete)), ('f', removable && name.allow(Rename))]
        }
    };
    out.extend(letters.iter().filter(|(_, can)| *can).map(|(letter, _)| *letter));
}
