//! LIST, NLST and MLSD: listings over a data connection.

use crate::ftp::VirtualPath;
use crate::ftp::command::{PathName, Selection};
use crate::ftp::verb::Verb;
use crate::session::activities::calling::ask;
use crate::session::activities::connecting::begin;
use crate::session::activity::Answer;
use crate::session::context::Context;
use crate::session::refusal::Refusal;
use crate::session::transfer::TransferData;
use crate::session::transfer::listing::{Format, Lister};
use crate::session::transfer::record::TransferRecord;
use crate::session::transfer::text::Text;

/// LIST and NLST: sends a listing for people or of names.
pub(in crate::session) fn list(
    cx: &Context,
    selection: Selection,
    format: Format,
    verb: &'static Verb,
) -> Result<Answer, Refusal> {
    let format = match format {
        Format::Names if selection.long => Format::Long,
        format => format,
    };
    let member = cx.member()?.clone();
    let path = member.resolve_or_here(selection.path.as_ref())?;
    Ok(send(cx, move || Lister::open(&member, &selection, format), path, verb))
}

/// MLSD: sends a listing for programs.
pub(in crate::session) fn machine_list_directory(
    cx: &Context,
    path: Option<PathName>,
    verb: &'static Verb,
) -> Result<Answer, Refusal> {
    let (member, facts) = (cx.member()?.clone(), cx.data.parameters.facts);
    let at = member.resolve_or_here(path.as_ref())?;
    Ok(send(cx, move || Lister::open_directory(&member, path, facts), at, verb))
}

fn send(
    cx: &Context,
    open: impl FnOnce() -> Result<Lister, Refusal> + Send + 'static,
    path: VirtualPath,
    verb: &'static Verb,
) -> Answer {
    ask(cx, open, move |cx, lister| {
        let data = TransferData::SendText(Text::of_list(lister?, cx.data.parameters.mode));
        begin(cx, data, TransferRecord::new(verb, path, cx.now), ".")
    })
}
