//! Commands on files and directories that need no data connection. Only a [`Member`] has a tree.

use crate::events::Change;
use crate::ftp::command::{PathName, Type};
use crate::ftp::listing::{Entry, Facts, Kind};
use crate::ftp::time::{Days, TimeValue};
use crate::ftp::verb::Permission;
use crate::ftp::{Code, Reply, VirtualPath};
use crate::session::activities::waiting::{Changed, ask, change, look};
use crate::session::activity::Answer;
use crate::session::context::Context;
use crate::session::member::Member;
use crate::session::perm_fact::perm_fact;
use crate::session::refusal::Refusal;
use crate::storage::Files;

/// Number of digits of a time-val before its fraction (RFC 3659 §2.3).
const TIME_DIGITS: usize = 14;

/// CWD: enters a directory.
pub(in crate::session) fn change_directory(cx: &Context, path: PathName) -> Answer {
    enter(cx, move |member, files| Ok(member.resolve(files, &path)?))
}

/// CDUP: enters the directory above.
pub(in crate::session) fn change_to_parent(cx: &Context) -> Answer {
    enter(cx, |member, _| Ok(member.directory.parent()))
}

fn enter(
    cx: &Context,
    wanted: impl FnOnce(&Member, &Files<'_>) -> Result<VirtualPath, Refusal> + Send + 'static,
) -> Answer {
    let look = move |member: &Member, files: &Files<'_>| {
        let directory = wanted(member, files)?;
        files.enter(&directory)?;
        let is_directory = files.stat(&directory)?.kind == Kind::Directory;
        if is_directory { Ok(directory) } else { Err(Refusal::NotADirectory) }
    };
    ask(cx, look, |cx, directory| {
        let text = [b"Directory changed to ", directory.as_bytes()].concat();
        cx.member_mut()?.directory = directory;
        Ok::<_, Refusal>(Reply::new(Code::FILE_ACTION_DONE, text))
    })
}

/// PWD: returns the current directory.
pub(in crate::session) fn print_directory(cx: &Context) -> Result<Reply, Refusal> {
    let directory = &cx.member()?.directory;
    Ok(Reply::pathname(directory.as_bytes(), " is the current directory."))
}

/// RNFR: notes the path that RNTO renames.
pub(in crate::session) fn rename_from(cx: &Context, path: PathName) -> Answer {
    ask(
        cx,
        move |member, files| {
            let path = not_the_root(member, files, &path)?;
            files.permit_name(&path, Permission::Rename)?;
            files.stat(&path)?;
            Ok(path)
        },
        |cx, from| {
            cx.data.pending.rename = Some(from);
            Reply::new(Code::PENDING, "Ready for RNTO.")
        },
    )
}

/// MDTM, which many clients send to set a time, too.
pub(in crate::session) fn modification_time(cx: &Context, argument: PathName) -> Answer {
    match time_in_front(&argument.0) {
        None => look(cx, move |member, files| Ok(find_or_set_time(member, files, &argument)?.0)),
        Some((_, name)) => {
            change(cx, name, move |member, files, _| find_or_set_time(member, files, &argument))
        }
    }
}

pub(in crate::session) fn delete(member: &Member, files: &Files<'_>, path: &PathName) -> Changed {
    let path = member.resolve(files, path)?;
    files.remove(&path)?;
    Ok((Reply::new(Code::FILE_ACTION_DONE, "Deleted."), Some(Change::Deleted(path))))
}

pub(in crate::session) fn make_directory(
    member: &Member,
    files: &Files<'_>,
    path: &PathName,
) -> Changed {
    let path = member.resolve(files, path)?;
    files.make_directory(&path)?;
    let reply = Reply::pathname(path.as_bytes(), " created.");
    Ok((reply, Some(Change::DirectoryMade(path))))
}

pub(in crate::session) fn remove_directory(
    member: &Member,
    files: &Files<'_>,
    path: &PathName,
) -> Changed {
    let path = not_the_root(member, files, path)?;
    files.remove_directory(&path)?;
    let reply = Reply::new(Code::FILE_ACTION_DONE, "Removed.");
    Ok((reply, Some(Change::DirectoryRemoved(path))))
}

pub(in crate::session) fn rename_to(
    member: &Member,
    files: &Files<'_>,
    path: &PathName,
    from: Option<&VirtualPath>,
) -> Changed {
    let Some(from) = from else {
        return Err(Refusal::OutOfSequence("Send RNFR first."));
    };
    let to = not_the_root(member, files, path)?;
    files.rename(from, &to)?;
    let change = Change::Renamed { from: from.clone(), to };
    Ok((Reply::new(Code::FILE_ACTION_DONE, "Renamed."), Some(change)))
}

fn not_the_root(
    member: &Member,
    files: &Files<'_>,
    path: &PathName,
) -> Result<VirtualPath, Refusal> {
    let path = member.resolve(files, path)?;
    if path.is_root() { Err(Refusal::TheRootItself) } else { Ok(path) }
}

pub(in crate::session) fn size(
    member: &Member,
    files: &Files<'_>,
    path: &PathName,
    chosen_type: Option<Type>,
) -> Result<Reply, Refusal> {
    let entry = look_at_upload(member, files, path)?;
    // The size in TYPE A is that of the converted text, which is unknown before converting (RFC 3659 §4). A client
    // that sends SIZE before it chooses a type means the size in bytes: .NET's FtpWebRequest does.
    if chosen_type == Some(Type::Ascii) {
        return Err(Refusal::SizeInAscii);
    }
    Ok(Reply::new(Code::FILE_STATUS, entry.size.to_string()))
}

/// AVBL: returns the number of bytes that can be stored in a directory
/// (draft-peterson-streamlined-ftp-command-extensions §4).
pub(in crate::session) fn available(
    member: &Member,
    files: &Files<'_>,
    path: Option<&PathName>,
) -> Result<Reply, Refusal> {
    let bytes = files.available(&member.resolve_or_here(files, path)?)?;
    Ok(Reply::new(Code::FILE_STATUS, bytes.to_string()))
}

/// MDTM returns the modification time of a file. `MDTM 20170714024000 name` sets it, as in servers older than MFMT,
/// unless the whole argument is the name of a file or directory.
fn find_or_set_time(member: &Member, files: &Files<'_>, argument: &PathName) -> Changed {
    let found = member.resolve(files, argument).map_err(Refusal::from).and_then(|path| {
        files.permit(&path, Permission::List)?;
        Ok(files.stat(&path)?)
    });
    match (found, time_in_front(&argument.0)) {
        (Ok(entry), _) if entry.kind == Kind::File => {
            let time = TimeValue(entry.modified).to_string();
            Ok((Reply::new(Code::FILE_STATUS, time), None))
        }
        (Ok(_), _) => Err(Refusal::NotAFile),
        (Err(refusal), None) => Err(refusal),
        (Err(_), Some((time, name))) => {
            if !member.permissions().allow(Permission::ChangeAttributes) {
                return Err(Refusal::NotPermitted);
            }
            let time = TimeValue::parse(time).ok_or(Refusal::NoSuchTime)?;
            set_modification_time(member, files, time, &name)
        }
    }
}

pub(in crate::session) fn set_modification_time(
    member: &Member,
    files: &Files<'_>,
    time: TimeValue,
    path: &PathName,
) -> Changed {
    let (stored, change) = set_time(member, files, time, path)?;
    let text = [format!("Modify={stored}; ").as_bytes(), &path.0].concat();
    Ok((Reply::new(Code::FILE_STATUS, text), Some(change)))
}

pub(in crate::session) fn site_set_time(
    member: &Member,
    files: &Files<'_>,
    time: TimeValue,
    path: &PathName,
) -> Changed {
    let (_, change) = set_time(member, files, time, path)?;
    Ok((Reply::new(Code::OK, "Time set."), Some(change)))
}

/// Sets a time, and returns the one that the file system has stored: it may be rounded, or the last that fits.
fn set_time(
    member: &Member,
    files: &Files<'_>,
    time: TimeValue,
    path: &PathName,
) -> Result<(TimeValue, Change), Refusal> {
    let path = member.resolve(files, path)?;
    let stored = files.set_modified(&path, time.0)?;
    Ok((TimeValue(stored), Change::TimeSet(path, stored)))
}

pub(in crate::session) fn change_mode(
    member: &Member,
    files: &Files<'_>,
    mode: u32,
    path: &PathName,
) -> Changed {
    let path = not_the_root(member, files, path)?;
    let set = files.set_mode(&path, mode)?;
    let why =
        if set == mode { "" } else { "; set-id, sticky and world-writable bits are never set" };
    let reply = Reply::new(Code::OK, format!("Mode set to {set:04o}{why}."));
    Ok((reply, Some(Change::ModeSet(path, set))))
}

/// MLST: returns one entry, over the control connection (RFC 3659 §7).
pub(in crate::session) fn machine_list(
    member: &Member,
    files: &Files<'_>,
    path: Option<&PathName>,
    facts: Facts,
) -> Result<Reply, Refusal> {
    let path = member.resolve_or_here(files, path)?;
    files.permit(&path, Permission::List)?;
    let entry = files.stat(&path)?;
    let mut line = Vec::new();
    let surroundings = files.surroundings(&path).unwrap_or_default();
    let mut perm = String::new();
    perm_fact(files.permissions_to(&path)?, &entry, &surroundings, &mut perm);
    entry.facts(facts, &perm, path.as_bytes(), &mut Days::default(), &mut line);
    Ok(Reply::multiline(Code::FILE_ACTION_DONE, vec![b"Listing".to_vec(), line, b"End".to_vec()]))
}

/// Looks up a file; or, for members who may resume it, its partial upload.
fn look_at_upload(member: &Member, files: &Files<'_>, path: &PathName) -> Result<Entry, Refusal> {
    let path = member.resolve(files, path)?;
    files.permit(&path, Permission::List)?;
    let found = files.stat(&path);
    let entry = match found {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && member.may_resume() => {
            files.stat_partial(&path).map_err(|_| error)?
        }
        Ok(_) if member.may_resume() && files.is_being_replaced(&path, member.account.owner()) => {
            // Clients resume by this size, and would take the old file for the beginning of the new one.
            return Err(Refusal::UploadInterrupted);
        }
        found => found?,
    };
    if entry.kind == Kind::File { Ok(entry) } else { Err(Refusal::NotAFile) }
}

/// Splits an argument into a time and a name, if its first word is 14 digits, with or without a fraction, and more
/// follows.
fn time_in_front(argument: &[u8]) -> Option<(&[u8], PathName)> {
    let space = argument.iter().position(|byte| *byte == b' ')?;
    let (word, name) = (argument.get(..space)?, argument.get(space + 1..)?);
    let (digits, fraction) = word.split_at_checked(TIME_DIGITS)?;
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let is_time = is_number(digits)
        && (fraction.is_empty() || fraction.strip_prefix(b".").is_some_and(is_number));
    (is_time && !name.is_empty()).then(|| (word, PathName(name.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_front_of_a_name_is_fourteen_digits_and_a_fraction() {
        let name = |text: &str| time_in_front(text.as_bytes()).map(|(_, PathName(name))| name);
        assert_eq!(name("20170714024000 a b"), Some(b"a b".to_vec()));
        assert_eq!(name("20170714024000.25 a"), Some(b"a".to_vec()));
        for text in ["20170714024000", "20170714024000 ", "2017071402400 a", "201707140240000 a"] {
            assert_eq!(name(text), None, "{text}");
        }
        for text in ["20170714024000. a", "20170714024000.x a", "2017071402400x a", " a", "a"] {
            assert_eq!(name(text), None, "{text}");
        }
    }
}
