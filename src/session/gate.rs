//! The gate: a line becomes a command, and the command is carried out if its client may.

use zeroize::Zeroize;

use crate::events::{Event, Severity, without_password};
use crate::ftp::command::{Command, Setting, Site};
use crate::ftp::line::Line;
use crate::ftp::site;
use crate::ftp::verb::PendingState::Keeps;
use crate::ftp::verb::{Access, Verb, is_http_request};
use crate::ftp::{Code, Reply};

use super::activities::closing::{dismiss, quit};
use super::activities::waiting::{change, look};
use super::activity::{Answer, Next};
use super::commands::{files, hash, info, listings, login, parameters, security, transfers};
use super::context::Context;
use super::data::listing::Format;
use super::parameters::Pending;
use super::refusal::Refusal;

/// Carries out a command line and queues its reply.
pub(super) fn serve(cx: &mut Context, line: Line) -> Next {
    let mut line = match line {
        Line::Complete(line) => line,
        Line::TooLong => return Answer::Refused(Refusal::LineTooLong).send(cx),
    };
    cx.log_connect();
    if cx.service.events.wants(Severity::Debug) {
        cx.log(&Event::Command { line: &line });
    }
    let answer = execute(cx, &line);
    if cx.member().is_ok() && !has_password(&line) {
        // Named by the event of a refusal.
        cx.line = Some(line);
    } else {
        line.zeroize();
    }
    answer.send(cx)
}

/// Returns whether a line may contain a password.
fn has_password(line: &[u8]) -> bool {
    without_password(line) != line
}

/// Checks login, argument and permission, in this order, then dispatches the command.
fn execute(cx: &mut Context, line: &[u8]) -> Answer {
    let mut pending = std::mem::take(&mut cx.data.pending);
    if is_http_request(line) {
        // SECURITY: a web page may have made its reader's browser send the lines that follow.
        return dismiss(cx, "This is FTP, not HTTP.").into();
    }
    match admit(cx, line) {
        Ok((verb, command)) => {
            // A client may send OPTS HASH after RANG and before HASH, so it keeps the range.
            let is_hash = matches!(command, Command::Set(Setting::Hash(_)));
            if verb.pending == Keeps || is_hash {
                std::mem::swap(&mut cx.data.pending, &mut pending);
            }
            dispatch(cx, verb, command, pending)
        }
        Err(refusal) => Answer::Refused(refusal),
    }
}

/// Returns the command of a line, if its client may use it.
fn admit(cx: &Context, line: &[u8]) -> Result<(&'static Verb, Command), Refusal> {
    let (verb, argument) = Verb::split(line)?;
    if verb.access == Access::Member {
        cx.member()?;
    }
    let command = verb.parse(argument)?;
    if let Some(permission) = verb.may.or_else(|| command.permission())
        && !cx.member()?.permissions().allow(permission)
    {
        return Err(Refusal::NotPermitted);
    }
    Ok((verb, command))
}

/// Carries out a command. `pending` is what earlier commands left for it.
#[rustfmt::skip]
#[allow(clippy::too_many_lines, reason = "one line a command: the compiler tells who forgot a verb")]
fn dispatch(cx: &mut Context, verb: &'static Verb, command: Command, pending: Pending) -> Answer {
    match command {
        Command::User(name)               => login::user(cx, name).into(),
        Command::Password(password)       => login::password(cx, password).into(),
        Command::Account                  => login::account(cx).into(),
        Command::Authenticate(mechanism)  => security::authenticate(cx, mechanism).into(),
        Command::ProtectionBuffer         => security::protection_buffer(cx).into(),
        Command::Protect(level)           => security::protect(cx, level).into(),
        Command::ClearCommandChannel      => security::clear_command_channel(cx).into(),
        Command::Host(name)               => login::host(cx, &name).into(),
        Command::Reinitialize             => login::reinitialize(cx).into(),
        Command::Quit                     => quit(cx).into(),
        Command::ChangeDirectory(path)    => files::change_directory(cx, path),
        Command::ChangeToParent           => files::change_to_parent(cx),
        Command::PrintDirectory           => files::print_directory(cx).into(),
        Command::Type(representation)     => parameters::set_type(cx, representation).into(),
        Command::Structure                => Reply::new(Code::OK, "Structure set to F.").into(),
        Command::Mode(mode)               => parameters::set_mode(cx, mode).into(),
        Command::Port(address)            => parameters::port(cx, address).into(),
        Command::ExtendedPort(address)    => parameters::extended_port(cx, address).into(),
        Command::Passive                  => parameters::passive(cx).into(),
        Command::ExtendedPassive(wanted)  => parameters::extended_passive(cx, wanted).into(),
        Command::Restart(offset)          => parameters::restart(cx, offset).into(),
        Command::Range(range)             => parameters::range(cx, range).into(),
        Command::Hash(path)               => hash::hash(cx, path, pending.range),
        Command::Checksum { algorithm, path, from, to } => hash::checksum(cx, algorithm, path, (from, to)),
        Command::Available(path)          => look(cx, move |member, files| files::available(member, files, path.as_ref())),
        Command::Retrieve(path)           => transfers::retrieve(cx, path, verb, pending),
        Command::Store(path)              => transfers::store(cx, path, verb, pending).into(),
        Command::StoreUnique(path)        => transfers::store_unique(cx, path, verb, pending).into(),
        Command::Append(path)             => transfers::append(cx, path, verb, pending).into(),
        Command::Allocate(size)           => parameters::allocate(cx, size).into(),
        Command::Delete(path)             => change(cx, path, files::delete),
        Command::RenameFrom(path)         => files::rename_from(cx, path),
        Command::RenameTo(path)           => change(cx, path, move |member, files, path| files::rename_to(member, files, path, pending.rename.as_ref())),
        Command::MakeDirectory(path)      => change(cx, path, files::make_directory),
        Command::RemoveDirectory(path)    => change(cx, path, files::remove_directory),
        Command::List(selection)          => listings::list(cx, selection, Format::Long, verb),
        Command::NameList(selection)      => listings::list(cx, selection, Format::Names, verb),
        Command::MachineListDirectory(at) => listings::machine_list_directory(cx, at, verb),
        Command::MachineList(path)        => { let facts = cx.data.parameters.facts;
                                               look(cx, move |member, files| files::machine_list(member, files, path.as_ref(), facts)) }
        Command::Status(None)             => info::status(cx).into(),
        Command::Status(Some(selection))  => info::status_of(cx, selection),
        Command::Size(path)               => { let chosen = cx.data.parameters.chosen_type;
                                               look(cx, move |member, files| files::size(member, files, &path, chosen)) }
        Command::ModificationTime(path)   => files::modification_time(cx, path),
        Command::SetModificationTime { time, path } => change(cx, path, move |member, files, path| files::set_modification_time(member, files, time, path)),
        Command::Features                 => info::features(cx).into(),
        Command::Set(Setting::Utf8)       => Reply::new(Code::OK, "UTF8 set to ON.").into(),
        Command::Set(Setting::Facts(names)) => parameters::select_facts(cx, &names).into(),
        Command::Set(Setting::Hash(name)) => hash::select(cx, name.as_deref()).into(),
        Command::System                   => Reply::new(Code::SYSTEM, "UNIX Type: L8").into(),
        Command::Help(verb)               => info::help(verb.as_deref()).into(),
        Command::Noop                     => Reply::new(Code::OK, "Done.").into(),
        Command::Abort                    => parameters::abort(cx).into(),
        Command::Language(tag)            => info::language(tag.as_deref()).into(),
        Command::Site(Site::ChangeMode { mode, path }) => change(cx, path, move |member, files, path| files::change_mode(member, files, mode, path)),
        Command::Site(Site::SetTime { time, path })    => change(cx, path, move |member, files, path| files::site_set_time(member, files, time, path)),
        Command::Site(Site::Help)         => Reply::new(Code::HELP, site::syntax()).into(),
        Command::ClientName               => Reply::new(Code::OK, "Noted.").into(),
    }
}
