//! The `perm` fact of MLSD and MLST.

use crate::ftp::listing::{Entry, Kind};
use crate::ftp::verb::Permission;
use crate::storage::{Permissions, Rights, Surroundings};

/// Appends the `perm` fact (RFC 3659 §7.5.5): the actions on an entry that the account has permission for and that the
/// file system allows the server.
pub(super) fn perm_fact(
    permissions: Permissions,
    entry: &Entry,
    surroundings: Surroundings,
    out: &mut String,
) {
    use Permission::{Append, Delete, List, MakeDirectory, Read, Rename, Write};
    let Rights { read, write, enter } = surroundings.rights(entry);
    let removable = surroundings.let_remove(entry);
    // Writing replaces a file by a new one beside it; appending copies the file.
    let replaceable = write && surroundings.let_replace(entry);
    let fills = write && enter;
    let letters: &[(char, Permission, bool)] = match entry.kind {
        Kind::File => &[
            ('a', Append, replaceable && read),
            ('d', Delete, removable),
            ('f', Rename, removable),
            ('r', Read, read),
            ('w', Write, replaceable),
        ],
        Kind::Directory => &[
            ('c', Write, fills),
            ('d', Delete, removable),
            ('e', List, enter),
            ('f', Rename, removable),
            ('l', List, enter && read),
            ('m', MakeDirectory, fills),
            ('p', Delete, fills),
        ],
        Kind::Link | Kind::Other => &[('d', Delete, removable), ('f', Rename, removable)],
    };
    let granted =
        letters.iter().filter(|(_, permission, can)| *can && permissions.allow(*permission));
    out.extend(granted.map(|(letter, ..)| *letter));
}
