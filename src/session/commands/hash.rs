//! HASH (draft-bryan-ftpext-hash), XCRC and similar commands, and OPTS HASH.

use std::io;

use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{PathName, Range};
use crate::ftp::{Code, Reply};
use crate::session::activities::digesting::{Digesting, ReplyFormat};
use crate::session::activities::waiting::ask;
use crate::session::activity::{Answer, Next};
use crate::session::context::Context;
use crate::session::member::Member;
use crate::session::refusal::Refusal;
use crate::storage::{Files, Reader};

/// HASH: computes the checksum of the range that RANG set, or of the whole file.
pub(in crate::session) fn hash(cx: &Context, path: PathName, range: Option<Range>) -> Answer {
    let name = path.0.clone();
    let open = move |member: &Member, files: &Files<'_>| open(member, files, &path);
    ask(cx, open, move |cx, file| hash_opened(cx, file, name, range))
}

fn hash_opened(
    cx: &Context,
    file: Reader,
    name: Vec<u8>,
    wanted: Option<Range>,
) -> Result<Next, Refusal> {
    let (algorithm, size) = (cx.data.parameters.algorithm, file.size());
    let whole = Range { first: 0, last: size.saturating_sub(1) };
    let range = wanted.unwrap_or(whole);
    // An empty file has no last byte.
    let end = if wanted.is_none() { size } else { range.last.saturating_add(1) };
    if range.first > size || end > size {
        return Err(Refusal::RangeBeyondEnd);
    }
    let format = ReplyFormat::Hash { algorithm, range, name };
    Ok(Next::go(Digesting::new(file, (range.first, end), algorithm, format)))
}

/// XCRC and similar commands: computes the checksum of the bytes from `from` up to, but not including, `to`.
pub(in crate::session) fn checksum(
    cx: &Context,
    algorithm: Algorithm,
    path: PathName,
    (from, to): (u64, Option<u64>),
) -> Answer {
    let open = move |member: &Member, files: &Files<'_>| open(member, files, &path);
    ask(cx, open, move |_, file| {
        let end = to.unwrap_or_else(|| file.size());
        if from > end || end > file.size() {
            return Err(Refusal::RangeBeyondEnd);
        }
        Ok(Next::go(Digesting::new(file, (from, end), algorithm, ReplyFormat::Bare)))
    })
}

/// OPTS HASH: selects the algorithm, if one is named, and returns the selected one.
pub(in crate::session) fn select(cx: &mut Context, name: Option<&str>) -> Result<Reply, Refusal> {
    let selected = &mut cx.data.parameters.algorithm;
    if let Some(name) = name {
        *selected = Algorithm::named(name).ok_or(Refusal::UnknownAlgorithm)?;
    }
    Ok(Reply::new(Code::OK, selected.name()))
}

/// Opens a file; or, for members who may resume it, its partial upload.
fn open(member: &Member, files: &Files<'_>, path: &PathName) -> Result<Reader, Refusal> {
    let path = member.resolve(files, path)?;
    Ok(match files.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && member.may_resume() => {
            files.open_partial(&path).map_err(|_| error)?
        }
        found => found?,
    })
}

/// Returns the line of FEAT: every algorithm, with a star after the selected one.
pub(in crate::session) fn feature(selected: Algorithm) -> String {
    let names = Algorithm::ALL.map(|algorithm| {
        let star = if algorithm == selected { "*" } else { "" };
        format!("{algorithm}{star}")
    });
    format!("HASH {}", names.join(";"))
}
