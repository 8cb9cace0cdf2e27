//! LIST, NLST and MLSD: listings over a data connection.

use crate::events::Direction;
use crate::ftp::VirtualPath;
use crate::ftp::command::{PathName, Selection};
use crate::ftp::verb::Verb;
use crate::session::activities::connecting::begin;
use crate::session::activities::waiting::ask;
use crate::session::activity::Answer;
use crate::session::context::Context;
use crate::session::data::TransferData;
use crate::session::data::listing::{Format, Lister};
use crate::session::data::record::TransferRecord;
use crate::session::data::text::Text;
use crate::session::member::Member;
use crate::session::refusal::Refusal;
use crate::storage::Files;

/// LIST and NLST: sends a listing for people or of names.
pub(in crate::session) fn list(
    cx: &Context,
    selection: Selection,
    format: Format,
    verb: &'static Verb,
) -> Answer {
    let format = match format {
        Format::Names if selection.long => Format::Long,
        format => format,
    };
    let open = move |member: &Member, files: &Files<'_>| {
        let path = member.resolve_or_here(files, selection.path.as_ref())?;
        Ok((path, Lister::open(member, files, &selection, format)?))
    };
    send(cx, open, verb)
}

/// MLSD: sends a listing for programs.
pub(in crate::session) fn machine_list_directory(
    cx: &Context,
    path: Option<PathName>,
    verb: &'static Verb,
) -> Answer {
    let facts = cx.data.parameters.facts;
    let open = move |member: &Member, files: &Files<'_>| {
        let at = member.resolve_or_here(files, path.as_ref())?;
        Ok((at, Lister::open_directory(member, files, path, facts)?))
    };
    send(cx, open, verb)
}

fn send(
    cx: &Context,
    open: impl FnOnce(&Member, &Files<'_>) -> Result<(VirtualPath, Lister), Refusal> + Send + 'static,
    verb: &'static Verb,
) -> Answer {
    ask(cx, open, move |cx, (path, lister)| {
        let data = TransferData::SendText(Text::of_list(lister, cx.data.parameters.mode));
        begin(cx, data, TransferRecord::new(verb, Direction::Listing, path, cx.now), ".")
    })
}
