//! RETR, STOR, APPE and STOU: each opens its file in a call that may hang, then waits for its data connection.

use crate::events::Direction;
use crate::ftp::VirtualPath;
use crate::ftp::command::{PathName, Type};
use crate::ftp::verb::Verb;
use crate::session::activities::connecting::{begin, begin_with};
use crate::session::activities::waiting::ask;
use crate::session::activity::{Answer, Next};
use crate::session::context::Context;
use crate::session::data::TransferData;
use crate::session::data::receive::FileReceiver;
use crate::session::data::record::TransferRecord;
use crate::session::data::send::FileSender;
use crate::session::data::text::Text;
use crate::session::member::Member;
use crate::session::parameters::Pending;
use crate::session::refusal::Refusal;
use crate::storage::{Files, Reader, Start, Writer};

/// RETR: sends a file.
pub(in crate::session) fn retrieve(
    cx: &Context,
    path: PathName,
    verb: &'static Verb,
    pending: Pending,
) -> Answer {
    let open = move |member: &Member, files: &Files<'_>| {
        let path = member.resolve(files, &path)?;
        Ok((files.open(&path)?, path))
    };
    ask(cx, open, move |cx, (file, path)| {
        send(cx, file, TransferRecord::new(verb, Direction::Download, path, cx.now), &pending)
    })
}

/// Sends a file that has been opened.
fn send(
    cx: &mut Context,
    file: Reader,
    record: TransferRecord,
    pending: &Pending,
) -> Result<Next, Refusal> {
    let parameters = &cx.data.parameters;
    let (offset, end) = match pending.range {
        Some(_) if parameters.representation == Type::Ascii => {
            return Err(Refusal::Marker("RANG requires TYPE I."));
        }
        Some(range) => (range.first, range.last.saturating_add(1)),
        None => (cx.data.marker(pending)?, file.size()),
    };
    if offset > file.size() {
        return Err(Refusal::Marker("REST is beyond the end of the file."));
    }
    let (end, mode) = (end.min(file.size()), parameters.mode);
    // Clients read the size for their progress bars from this text.
    let (data, about) = match parameters.representation {
        Type::Image => (
            TransferData::Send(FileSender::new(file, offset, end, mode)),
            format!(" ({} bytes).", end - offset),
        ),
        Type::Ascii => (TransferData::SendText(Text::of_file(file, end, mode)), ".".to_owned()),
    };
    begin(cx, data, record, &about)
}

/// STOR: receives a file.
pub(in crate::session) fn store(
    cx: &mut Context,
    path: PathName,
    verb: &'static Verb,
    pending: Pending,
) -> Result<Answer, Refusal> {
    let start = match cx.data.marker(&pending)? {
        0 => Start::Overwrite,
        offset => Start::At(offset),
    };
    receive(cx, path, start, verb, pending)
}

/// APPE: extends a file.
pub(in crate::session) fn append(
    cx: &mut Context,
    path: PathName,
    verb: &'static Verb,
    pending: Pending,
) -> Result<Answer, Refusal> {
    receive(cx, path, Start::End, verb, pending)
}

fn receive(
    cx: &mut Context,
    path: PathName,
    start: Start,
    verb: &'static Verb,
    pending: Pending,
) -> Result<Answer, Refusal> {
    // Checked before the file is touched: an upload without a route must not begin.
    cx.check_route()?;
    let create = move |member: &Member, files: &Files<'_>| {
        let path = member.resolve(files, &path)?;
        Ok((files.create(&path, start, member.account.owner())?, path))
    };
    Ok(ask(cx, create, move |cx, (writer, path)| {
        let data = receiver(cx, writer, &pending);
        begin(cx, data, TransferRecord::new(verb, Direction::Upload, path, cx.now), ".")
    }))
}

/// STOU: receives a file under a name of its own. The 150 contains the name (RFC 1123 §4.1.2.9).
pub(in crate::session) fn store_unique(
    cx: &mut Context,
    wanted: Option<PathName>,
    verb: &'static Verb,
    pending: Pending,
) -> Result<Answer, Refusal> {
    cx.check_route()?;
    let create = move |member: &Member, files: &Files<'_>| {
        let (directory, name) = wanted_place(member, files, wanted.as_ref())?;
        Ok(files.create_unique(&directory, name.as_deref(), member.account.owner())?)
    };
    Ok(ask(cx, create, move |cx, (writer, path)| {
        let data = receiver(cx, writer, &pending);
        let text = [b"FILE: ", path.name()].concat();
        begin_with(cx, data, TransferRecord::new(verb, Direction::Upload, path, cx.now), text)
    }))
}

/// Returns the directory for STOU, and the name that the file should have there, if `wanted` contains one.
fn wanted_place(
    member: &Member,
    files: &Files<'_>,
    wanted: Option<&PathName>,
) -> Result<(VirtualPath, Option<Vec<u8>>), Refusal> {
    let path = member.resolve_or_here(files, wanted)?;
    let is_directory = wanted.is_none_or(|wanted| wanted.0.ends_with(b"/")) || path.is_root();
    if is_directory {
        return Ok((path, None));
    }
    Ok((path.parent(), Some(path.name().to_vec())))
}

fn receiver(cx: &Context, writer: Writer, pending: &Pending) -> TransferData {
    let (parameters, announced) = (&cx.data.parameters, pending.allocated);
    TransferData::Receive(Box::new(FileReceiver::new(writer, parameters, announced, cx.now)))
}
