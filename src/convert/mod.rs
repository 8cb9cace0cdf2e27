//! `ftpserver convert`: a configuration of another server as one of this server.
//!
//! Each dialect has a table of directives. A directive becomes a setting, or a comment with the reason why it does not.
//! No directive disappears in silence. Not here: users and their passwords, which `ftppasswd` imports.

mod directive;
mod draft;
mod proftpd;
mod pure_ftpd;
mod rule;
mod vsftpd;

use std::fs;
use std::path::Path;

use directive::Directive;
use draft::Draft;

/// A server whose configuration can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Vsftpd,
    ProFtpd,
    PureFtpd,
}

impl Dialect {
    fn named(name: &str) -> Option<Self> {
        match name {
            "vsftpd" => Some(Self::Vsftpd),
            "proftpd" => Some(Self::ProFtpd),
            "pure-ftpd" => Some(Self::PureFtpd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Vsftpd => "vsftpd",
            Self::ProFtpd => "ProFTPD",
            Self::PureFtpd => "Pure-FTPd",
        }
    }

    /// Recognizes the server by its directives; none if no line is one of a known server.
    fn recognize(text: &str) -> Option<Self> {
        let known = |directives: Vec<Directive>, is_known: fn(&str) -> bool| {
            directives.iter().filter(|directive| is_known(&directive.name)).count()
        };
        let counts = [
            (known(vsftpd::parse(text), vsftpd::is_known), Self::Vsftpd),
            (known(proftpd::parse(text), proftpd::is_known), Self::ProFtpd),
            (known(pure_ftpd::parse(text), pure_ftpd::is_known), Self::PureFtpd),
        ];
        counts
            .into_iter()
            .max_by_key(|(count, _)| *count)
            .filter(|(count, _)| *count > 0)
            .map(|best| best.1)
    }
}

/// Converts a configuration file of vsftpd, `ProFTPD` or Pure-FTPd, or a directory of Pure-FTPd with a file for
/// each directive. Without the name of the server, recognizes it. Returns a configuration file.
///
/// # Errors
/// One sentence: the file cannot be read, or is of no known server.
pub fn convert(path: &Path, server: Option<&str>) -> Result<String, String> {
    let shown = path.display();
    let given = server.map(|name| {
        Dialect::named(name)
            .ok_or_else(|| format!("--from {name}: use vsftpd, proftpd or pure-ftpd"))
    });
    let given = given.transpose()?;
    let wrong = |error: std::io::Error| format!("{shown}: {}", crate::units::reason(&error));
    if path.is_dir() {
        let text = pure_ftpd::joined(path).map_err(wrong)?;
        return Ok(converted(Dialect::PureFtpd, &shown.to_string(), &text));
    }
    let bytes = fs::read(path).map_err(wrong)?;
    let text = String::from_utf8_lossy(&bytes);
    let dialect = given.or_else(|| Dialect::recognize(&text)).ok_or_else(|| {
        format!(
            "{shown}: no line is one of vsftpd, ProFTPD or Pure-FTPd; name the server with --from"
        )
    })?;
    Ok(converted(dialect, &shown.to_string(), &text))
}

fn converted(dialect: Dialect, path: &str, text: &str) -> String {
    let mut draft = Draft::default();
    match dialect {
        Dialect::Vsftpd => vsftpd::convert(&vsftpd::parse(text), &mut draft),
        Dialect::ProFtpd => proftpd::convert(&proftpd::parse(text), &mut draft),
        Dialect::PureFtpd => pure_ftpd::convert(&pure_ftpd::parse(text), &mut draft),
    }
    draft.finish(dialect.name(), path)
}

#[cfg(test)]
mod tests;
