//! Information about the server: FEAT, HELP, STAT, LANG.

use std::io;
use std::time::Instant;

use crate::ftp::command::{Selection, Type};
use crate::ftp::line::append_escaped;
use crate::ftp::verb::{Feature, VERBS, Verb};
use crate::ftp::{Code, Reply};
use crate::log::Event;

use super::listing::{Format, Lister};
use super::refusal::Refusal;
use super::{Activity, Session, Step, digest};

/// STAT with a path: a listing over the control connection.
#[derive(Debug)]
pub(super) struct StatusListing {
    lister: Lister,
}

impl Session {
    /// FEAT (RFC 2389 §3): returns the features of all verbs that are served.
    pub(super) fn features(&self) -> Reply {
        let secure = self.service.security.is_some();
        let lines = VERBS.iter().filter_map(|verb| match verb.feature {
            // Features of commands that would be refused are not advertised.
            Feature::Unlisted => None,
            Feature::WithTls(_) if !secure => None,
            Feature::Listed(line) | Feature::WithTls(line) => Some(line.as_bytes().to_vec()),
            Feature::Algorithms => Some(digest::feature(self.parameters.algorithm).into_bytes()),
            Feature::Facts => Some(self.parameters.facts.feature().into_bytes()),
        });
        // TVFS: paths are separated by `/`, whatever the storage (RFC 3659 §6).
        let frame = |text: &[u8]| std::iter::once(text.to_vec());
        Reply::multiline(
            Code::STATUS,
            frame(b"Features:").chain(lines).chain(frame(b"TVFS")).chain(frame(b"End")).collect(),
        )
    }

    /// Returns the reply to STAT without an argument and without a transfer.
    pub(super) fn status(&self, now: Instant) -> Reply {
        let seconds = now.duration_since(self.connected_at).as_secs();
        let representation = match self.parameters.representation {
            Type::Ascii => "ASCII",
            Type::Image => "Image",
        };
        let place = self.member().map_or(b"/".as_slice(), |member| member.directory.as_bytes());
        let mut lines = vec![
            match self.service.slave {
                Some(slave) => format!("poolftpd status, slave {slave}:").into_bytes(),
                None => b"poolftpd status:".to_vec(),
            },
            format!("Connected from {} for {seconds} seconds", self.control.peer().ip())
                .into_bytes(),
            [b"Current directory ", place].concat(),
            format!("TYPE {representation}, STRU File, MODE {:?}", self.parameters.mode)
                .into_bytes(),
        ];
        lines.extend(self.control.tls().map(|tls| tls.describe().into_bytes()));
        lines.extend([b"No transfer in progress".to_vec(), b"End of status".to_vec()]);
        Reply::multiline(Code::STATUS, lines)
    }

    /// STAT with a path: begins a listing like that of LIST, but over the control connection, some lines at a time.
    pub(super) fn status_of(&mut self, selection: Selection, now: Instant) -> Result<(), Refusal> {
        let member = self.member()?;
        let selection = Selection { hidden: true, recursive: false, ..selection };
        let member = member.clone();
        let open = move || Lister::open(&member, &selection, Format::Long);
        self.ask(now, open, |session, lister, _| {
            let lister = lister?;
            session.control.write(b"213-Status follows:\r\n");
            session.enter(Activity::Status(Box::new(StatusListing { lister })));
            Ok(None)
        });
        Ok(())
    }

    pub(super) fn list_status(&mut self, mut listing: Box<StatusListing>, now: Instant) -> Step {
        if self.control.is_congested() {
            self.enter(Activity::Status(listing));
            return Step::Wait;
        }
        let until = now + self.service.limits.stall_timeout;
        let fill = move || {
            let mut lines = Vec::new();
            let filled = listing.lister.fill(&mut lines);
            (listing, lines, filled)
        };
        self.call(now, until, None, fill, |session, (listing, lines, filled), now, _| {
            Ok(session.write_status(listing, &lines, filled, now))
        });
        Step::More
    }

    /// Sends the next lines of a listing.
    fn write_status(
        &mut self,
        listing: Box<StatusListing>,
        lines: &[u8],
        filled: io::Result<bool>,
        now: Instant,
    ) -> Step {
        let mut escaped = Vec::with_capacity(lines.len());
        append_escaped(&mut escaped, lines);
        self.control.write(&escaped);
        self.last_activity = now;
        match filled {
            Ok(false) => {
                self.enter(Activity::Status(listing));
                Step::Bulk
            }
            Ok(true) => {
                self.reply(&Reply::new(Code::FILE_STATUS, "End of status."));
                self.enter(Activity::Commands);
                Step::More
            }
            Err(error) => {
                // The first lines of the 213 reply are already sent; only its last line can report that the listing is
                // incomplete.
                self.log(&Event::Trouble { what: "a directory could not be read", error: &error });
                self.reply(&Reply::new(
                    Code::FILE_STATUS,
                    "Incomplete: the directory could not be read any further.",
                ));
                self.enter(Activity::Commands);
                Step::More
            }
        }
    }
}

/// HELP: returns all verbs, or the syntax of one.
pub(super) fn help(verb: Option<&str>) -> Reply {
    match verb.map(|verb| Verb::find(verb.as_bytes())) {
        Some(Some(verb)) if verb.is_implemented() => {
            Reply::new(Code::HELP, format!("Syntax: {} {}", verb.name, verb.argument).trim_end())
        }
        Some(Some(verb)) => {
            Reply::new(Code::HELP, format!("{} is known, but not implemented.", verb.name))
        }
        Some(None) => Reply::new(Code::NOT_IMPLEMENTED, "No such command."),
        None => {
            let names: Vec<&str> =
                VERBS.iter().filter(|verb| verb.is_implemented()).map(|verb| verb.name).collect();
            let lines = names.chunks(10).map(|chunk| chunk.join(" ").into_bytes());
            let frame = |text: &[u8]| std::iter::once(text.to_vec());
            Reply::multiline(
                Code::HELP,
                frame(b"These commands are served:").chain(lines).chain(frame(b"End")).collect(),
            )
        }
    }
}

/// LANG (RFC 2640 §4): accepts English, in every variant.
pub(super) fn language(tag: Option<&str>) -> Result<Reply, Refusal> {
    let english =
        tag.is_none_or(|tag| tag.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("en")));
    if english { Ok(Reply::new(Code::OK, "English it is.")) } else { Err(Refusal::UnknownLanguage) }
}
