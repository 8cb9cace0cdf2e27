//! Information about the server: FEAT, HELP, STAT, LANG.

use crate::ftp::command::{Mode, Selection, Type};
use crate::ftp::verb::{Feature, VERBS, Verb};
use crate::ftp::{Code, Reply};
use crate::session::activities::status::StatusListing;
use crate::session::activities::waiting::ask;
use crate::session::activity::{Answer, Next};
use crate::session::context::Context;
use crate::session::data::listing::{Format, Lister};
use crate::session::member::Member;
use crate::session::refusal::Refusal;
use crate::storage::Files;

use super::hash;

/// FEAT (RFC 2389 §3): returns the features of all verbs that are served.
pub(in crate::session) fn features(cx: &Context) -> Reply {
    let secure = cx.service.security.is_some();
    let lines = VERBS.iter().filter_map(|verb| match verb.feature {
        // Features of commands that would be refused are not advertised.
        Feature::Unlisted => None,
        Feature::WithTls(_) if !secure => None,
        Feature::Listed(line) | Feature::WithTls(line) => Some(line.as_bytes().to_vec()),
        Feature::Algorithms => Some(hash::feature(cx.data.parameters.algorithm).into_bytes()),
        Feature::Facts => Some(cx.data.parameters.facts.feature().into_bytes()),
    });
    // TVFS: paths are separated by `/`, whatever the storage (RFC 3659 §6).
    let frame = |text: &[u8]| std::iter::once(text.to_vec());
    Reply::multiline(
        Code::STATUS,
        frame(b"Features:").chain(lines).chain(frame(b"TVFS")).chain(frame(b"End")).collect(),
    )
}

/// Returns the reply to STAT without an argument and without a transfer.
pub(in crate::session) fn status(cx: &Context) -> Reply {
    let seconds = cx.now.duration_since(cx.identity.connected_at).as_secs();
    let representation = match cx.data.parameters.representation {
        Type::Ascii => "ASCII",
        Type::Image => "Image",
    };
    let mode = match cx.data.parameters.mode {
        Mode::Stream => "Stream",
        Mode::Block => "Block",
    };
    let place = cx.member().map_or(b"/".as_slice(), |member| member.directory.as_bytes());
    let mut lines = vec![
        match cx.service.slave {
            Some(slave) => format!("poolftpd status, slave {slave}:").into_bytes(),
            None => b"poolftpd status:".to_vec(),
        },
        format!("Connected from {} for {seconds} seconds", cx.control.peer().ip()).into_bytes(),
        [b"Current directory ", place].concat(),
        format!("TYPE {representation}, STRU File, MODE {mode}").into_bytes(),
    ];
    lines.extend(cx.control.tls().map(|tls| tls.describe().into_bytes()));
    lines.extend([b"No transfer in progress".to_vec(), b"End of status".to_vec()]);
    Reply::multiline(Code::STATUS, lines)
}

/// STAT with a path: begins a listing like that of LIST, but over the control connection, some lines at a time.
pub(in crate::session) fn status_of(cx: &Context, selection: Selection) -> Answer {
    let selection = Selection { hidden: true, recursive: false, ..selection };
    let open = move |member: &Member, files: &Files<'_>| {
        Lister::open(member, files, &selection, Format::Long)
    };
    ask(cx, open, |cx, lister| {
        cx.control.write(b"213-Status follows:\r\n");
        Next::go(StatusListing::new(lister))
    })
}

/// HELP: returns all verbs, or the syntax of one.
pub(in crate::session) fn help(verb: Option<&str>) -> Reply {
    match verb.map(|verb| Verb::find(verb.as_bytes())) {
        Some(Some(verb)) if verb.is_implemented() => {
            Reply::new(Code::HELP, format!("Syntax: {}", verb.syntax()))
        }
        Some(Some(verb)) => Reply::new(Code::HELP, format!("{} is not implemented.", verb.name)),
        Some(None) => Reply::new(Code::NOT_IMPLEMENTED, "Unknown command."),
        None => {
            let names: Vec<&str> =
                VERBS.iter().filter(|verb| verb.is_implemented()).map(|verb| verb.name).collect();
            let lines = names.chunks(10).map(|chunk| chunk.join(" ").into_bytes());
            let frame = |text: &[u8]| std::iter::once(text.to_vec());
            Reply::multiline(
                Code::HELP,
                frame(b"The following commands are supported:")
                    .chain(lines)
                    .chain(frame(b"End"))
                    .collect(),
            )
        }
    }
}

/// LANG (RFC 2640 §4): accepts English, in every variant.
pub(in crate::session) fn language(tag: Option<&str>) -> Result<Reply, Refusal> {
    let english =
        tag.is_none_or(|tag| tag.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("en")));
    if english {
        Ok(Reply::new(Code::OK, "Language set to EN."))
    } else {
        Err(Refusal::UnknownLanguage)
    }
}
