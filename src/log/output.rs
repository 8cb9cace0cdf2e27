//! An output of the log: its text in the settings, and how it is opened.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::filter::Filter;
use super::format::Format;
use super::journal::{Datagrams, JOURNAL, SYSLOG};
use super::level::Level;

/// The place that an output writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard error; the journal, if that is where standard error leads.
    Stderr,
    /// The systemd journal.
    Journal,
    /// The socket of syslog.
    Syslog,
    /// A file, which is appended to.
    File(PathBuf),
}

/// An output of the log: `stderr`, `journal`, `syslog` or a file, with its format and its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The place.
    pub target: Target,
    /// The format; by default that of the place.
    pub format: Option<Format>,
    /// The events.
    pub filter: Filter,
    /// The amount that is logged, if it is not that of the server.
    pub level: Option<Level>,
}

impl Output {
    /// Creates an output for all events.
    #[must_use]
    pub fn new(target: Target, format: Option<Format>) -> Self {
        Self { target, format, filter: Filter::default(), level: None }
    }

    /// Returns the file, if the output is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        if let Target::File(path) = &self.target { Some(path) } else { None }
    }

    /// Opens the output.
    ///
    /// # Errors
    /// One sentence that names the place.
    pub(super) fn open(&self) -> Result<(Format, Box<dyn Write + Send>), String> {
        let failed = |place: &str, error: io::Error| {
            format!("cannot log to {place}: {}", crate::units::reason(&error))
        };
        let is_plain = self.format.is_none() && leads_to_the_journal();
        match &self.target {
            Target::Stderr if is_plain => match Datagrams::connect(JOURNAL) {
                Ok(socket) => Ok((Format::Journal, Box::new(socket))),
                Err(_) => Ok((Format::Text, Box::new(io::stderr()))),
            },
            Target::Stderr => Ok((self.format.unwrap_or(Format::Text), Box::new(io::stderr()))),
            Target::Journal => Datagrams::connect(JOURNAL)
                .map(|socket| (Format::Journal, Box::new(socket) as _))
                .map_err(|error| failed(JOURNAL, error)),
            Target::Syslog => Datagrams::connect(SYSLOG)
                .map(|socket| (Format::Syslog, Box::new(socket) as _))
                .map_err(|error| failed(SYSLOG, error)),
            Target::File(path) => append(path)
                .map(|file| (self.format.unwrap_or(Format::Text), Box::new(file) as _))
                .map_err(|error| failed(&path.display().to_string(), error)),
        }
    }
}

/// Opens a file to append to it. Others than the user and the group of the server cannot read it.
pub(super) fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Returns whether standard error is the stream that systemd has connected to the journal.
fn leads_to_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let found = rustix::fs::fstat(io::stderr().as_fd());
    found.is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let target = match words.next().unwrap_or_default() {
            "" => {
                return Err("an output needs a place: stderr, journal, syslog or a file".to_owned());
            }
            "stderr" => Target::Stderr,
            "journal" => Target::Journal,
            "syslog" => Target::Syslog,
            path => Target::File(std::path::absolute(path).unwrap_or_else(|_| path.into())),
        };
        let (mut format, mut level, mut only, mut without) = (None, None, "", "");
        for word in words {
            match word.split_once('=') {
                Some(("format", value)) => format = Some(value.parse()?),
                Some(("level", value)) => level = Some(value.parse()?),
                Some(("events", value)) => only = value,
                Some(("without", value)) => without = value,
                _ => return Err(format!("'{word}' is none of format=, level=, events=, without=")),
            }
        }
        if format.is_some() && matches!(target, Target::Journal | Target::Syslog) {
            return Err("journal and syslog have a format of their own".to_owned());
        }
        Ok(Self { target, format, filter: Filter::new(only, without)?, level })
    }
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Stderr => formatter.write_str("stderr")?,
            Target::Journal => formatter.write_str("journal")?,
            Target::Syslog => formatter.write_str("syslog")?,
            Target::File(path) => write!(formatter, "{}", path.display())?,
        }
        if let Some(format) = self.format {
            write!(formatter, ",format={format}")?;
        }
        if let Some(level) = self.level {
            write!(formatter, ",level={level}")?;
        }
        self.filter.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_a_place_with_its_format_and_its_events() {
        for text in [
            "stderr",
            "journal,events=audit",
            "syslog,level=quiet",
            "/var/log/a,format=json,level=verbose,events=audit+connect,without=deleted",
        ] {
            assert_eq!(text.parse::<Output>().unwrap().to_string(), text);
        }
        for text in ["", "a,colour=blue", "a,format=xml", "a,events=colour", "journal,format=json"]
        {
            assert!(text.parse::<Output>().is_err(), "{text}");
        }
    }
}
