//! `mirror`: a copy of a whole tree, in which only what differs is transferred.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::client::error::ClientError;
use crate::client::mirror::Mirror;
use crate::client::names::local_name;
use crate::client::shell::command::{Names, ShellCommand};
use crate::client::shell::connections::PARALLEL;
use crate::client::shell::flow::Done;
use crate::client::shell::given::{Flag, Given};
use crate::client::shell::state::Shell;
use crate::client::shell::tree_progress::TreeBar;

const REVERSE: Flag =
    Flag::short('R', "upload: make the remote tree like the local one").or("reverse");
const DELETE: Flag = Flag::short('e', "remove what the source does not have").or("delete");
const NEWER: Flag = Flag::short('n', "replace a file only by a newer one").or("newer");
const CHECKSUM: Flag =
    Flag::long("checksum", "compare files of equal size by checksum instead of by time");
const DRY_RUN: Flag = Flag::long("dry-run", "print what would be done, and do nothing");
const INCLUDE: Flag =
    Flag::short('i', "copy what matches this pattern").or("include").takes("GLOB");
const EXCLUDE: Flag =
    Flag::short('x', "leave out what matches this pattern").or("exclude").takes("GLOB");
pub(in crate::client::shell) static MIRROR: ShellCommand = ShellCommand::new(
    "mirror",
    mirror,
    "make a local tree like a remote one; transfer only what differs",
)
.words(0, 2, Names::RemoteThenLocal, "[REMOTE [LOCAL]]")
.flags(&[REVERSE, DELETE, NEWER, CHECKSUM, DRY_RUN, INCLUDE, EXCLUDE, PARALLEL])
.transfer()
.example("mirror --delete --exclude '*.tmp' music");

fn mirror(shell: &mut Shell, given: &Given) -> Done {
    let mirror = options(shell, given)?;
    if given.has(&DRY_RUN) {
        let bar = TreeBar::new("mirror", shell.settings.quiet, &shell.messages);
        let planned = shell.client()?.plan_mirror(&mirror, &mut |event| bar.event(event));
        bar.clear();
        let plan = planned?;
        for action in plan.actions() {
            shell.print(&format!("{action}\n"));
        }
        return shell.all_of(plan.into_errors());
    }
    shell.copy_tree(&mirror)
}

fn options(shell: &Shell, given: &Given) -> Result<Mirror, ClientError> {
    let mirror = if given.has(&REVERSE) {
        let (local, remote) = match given.words() {
            [] => (shell.local.clone(), Vec::new()),
            [local, rest @ ..] => {
                let source = shell.local_source(local);
                let name = source.file_name().map(|name| name.as_encoded_bytes().to_vec());
                let remote = match rest {
                    [] => name.unwrap_or_default(),
                    _ => target(given.path(1), &name.unwrap_or_default()),
                };
                (source, remote)
            }
        };
        Mirror::upload(local, remote)
    } else {
        let local = match given.words() {
            [] => shell.local.clone(),
            [_] if matches!(given.path(0), b"." | b"./" | b"/") => shell.local.clone(),
            [_] => shell.local.join(local_name(given.path(0))?),
            _ => {
                let name = local_name(given.path(0)).map(OsStr::as_encoded_bytes);
                shell
                    .local
                    .join(OsStr::from_bytes(&target(given.path(1), name.unwrap_or_default())))
            }
        };
        Mirror::download(given.path(0), local)
    };
    let mut mirror = mirror
        .delete(given.has(&DELETE))
        .only_newer(given.has(&NEWER))
        .checksum(given.has(&CHECKSUM))
        .parallel(shell.connections(given)?);
    for (flag, pattern) in given.values_in_order(&[&INCLUDE, &EXCLUDE]) {
        let pattern =
            pattern.to_str().ok_or_else(|| ClientError::usage("a pattern is not UTF-8"))?;
        mirror =
            if *flag == INCLUDE { mirror.include(pattern)? } else { mirror.exclude(pattern)? };
    }
    Ok(mirror)
}

/// Returns the path of the copy: behind a slash at its end comes the name of the source.
fn target(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.ends_with(b"/") { [path, name].concat() } else { path.to_vec() }
}
