//! The configuration that a conversion writes: settings, certificates, and what could not be converted.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::directive::Directive;

/// A configuration in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Each setting and its value as TOML.
    settings: BTreeMap<&'static str, String>,
    cert: Option<String>,
    key: Option<String>,
    /// The permissions of anonymous users.
    anonymous_may: Option<String>,
    /// Directives that need no setting, with the reason.
    same: Vec<String>,
    /// Directives without a counterpart, with the reason.
    missing: Vec<String>,
}

impl Draft {
    /// Sets a text.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.settings.insert(key, quoted(value));
    }

    /// Sets a value that is TOML already: a number, `true`, `false`.
    pub(super) fn value(&mut self, key: &'static str, value: &impl ToString) {
        self.settings.insert(key, value.to_string());
    }

    /// Returns whether a setting has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    /// Adds an output of the log.
    pub(super) fn log_to(&mut self, output: &str) {
        let list = self.settings.entry("log-also").or_insert_with(|| "[]".to_owned());
        let inner = list.trim_matches(['[', ']']).to_owned();
        let separator = if inner.is_empty() { "" } else { ", " };
        *list = format!("[{inner}{separator}{}]", quoted(output));
    }

    /// Sets the file of the certificate.
    pub(super) fn cert(&mut self, path: &str) {
        self.cert = Some(path.to_owned());
    }

    /// Sets the file of the private key.
    pub(super) fn key(&mut self, path: &str) {
        self.key = Some(path.to_owned());
    }

    /// Gives anonymous users these permissions everywhere.
    pub(super) fn anonymous_may(&mut self, permissions: &[&str]) {
        self.anonymous_may = Some(permissions.join(","));
    }

    /// Forgets certificate and key: TLS is off.
    pub(super) fn without_tls(&mut self) {
        let unused = self.cert.take().into_iter().chain(self.key.take());
        self.same
            .extend(unused.map(|path| format!("{}: not used, because TLS is off", plain(&path))));
    }

    /// Returns whether there is a certificate.
    pub(super) fn has_tls(&self) -> bool {
        self.cert.is_some()
    }

    /// Records a directive that needs no setting.
    pub(super) fn same(&mut self, directive: &Directive, why: &str) {
        self.same.push(remark(directive, why));
    }

    /// Records a directive that has no counterpart.
    pub(super) fn missing(&mut self, directive: &Directive, why: &str) {
        self.missing.push(remark(directive, why));
    }

    /// Records something that the other server does without a directive.
    pub(super) fn remark(&mut self, why: &str) {
        self.missing.push(why.to_owned());
    }

    /// Returns the configuration file.
    pub(super) fn finish(self, server: &str, path: &str) -> String {
        let path = plain(path);
        let mut text = format!(
            "# Converted from {path} ({server}) by ftpserver convert.\n# Check it with: ftpserver check --config FILE\n\n"
        );
        for (key, value) in &self.settings {
            let _written = writeln!(text, "{key} = {value}");
        }
        if let Some(cert) = &self.cert {
            let _written = write!(text, "\n[[tls]]\ncert = {}\n", quoted(cert));
            if let Some(key) = &self.key {
                let _written = writeln!(text, "key = {}", quoted(key));
            }
        }
        if let Some(may) = &self.anonymous_may {
            let may = quoted(may);
            let _written =
                write!(text, "\n[[directory]]\npath = \"/\"\nanonymous = true\nmay = {may}\n");
        }
        for (title, lines) in
            [("Not converted:", &self.missing), ("Holds here without a setting:", &self.same)]
        {
            if !lines.is_empty() {
                let _written = writeln!(text, "\n# {title}");
                for line in lines {
                    let _written = writeln!(text, "#   {line}");
                }
            }
        }
        text
    }
}

fn remark(directive: &Directive, why: &str) -> String {
    let Directive { line, name, value } = directive;
    let shown = plain(value);
    let space = if shown.is_empty() { "" } else { " " };
    format!("line {line}: {}{space}{shown}: {why}", plain(name))
}

/// Returns a text without control characters, which no comment of TOML may have.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Returns a text as a string of TOML.
fn quoted(text: &str) -> String {
    let mut found = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => found.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _written = write!(found, "\\u{:04X}", u32::from(letter));
            }
            letter => found.push(letter),
        }
    }
    found + "\""
}
