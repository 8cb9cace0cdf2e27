//! The place of the session: server and directory, in the prompt and as a URL.

use std::fmt::Write;

use crate::client::error::ClientError;
use crate::client::names::shown;

use super::columns::shorten;
use super::output::terminal_columns;
use super::state::Shell;

impl Shell {
    /// Returns the prompt, with the server and the remote directory while there is a connection.
    pub(super) fn prompt(&mut self) -> String {
        if self.client.is_none() {
            return "ftp> ".to_owned();
        }
        if self.pending_login.is_some() || self.login_failed {
            return format!("{} ftp> ", self.place);
        }
        // A server that does not report its directory has a prompt without.
        let _known = self.remember_login_directory();
        let directory = self.known_directory().map(shown).unwrap_or_default();
        let cells = (terminal_columns() / 2).saturating_sub(self.place.len()).max(8);
        format!("{}:{} ftp> ", self.place, shorten(&directory, cells))
    }

    /// Returns the current remote directory, as far as it is known without a question to the server.
    pub(super) fn known_directory(&self) -> Option<&[u8]> {
        let client = self.client.as_ref()?;
        client.directory().or(self.login_directory.as_deref())
    }

    /// Returns the server and the remote directory as a URL, without a password.
    pub(super) fn url(&mut self) -> Result<String, ClientError> {
        let directory = self.client()?.current_directory()?;
        let user = self.client()?.user().filter(|user| *user != "anonymous").map(encode);
        let user = user.map(|user| user + "@").unwrap_or_default();
        let path = String::from_utf8_lossy(&directory).trim_end_matches('/').to_owned();
        Ok(format!("{}://{user}{}{}/", self.scheme, self.place, encode(&path)))
    }
}

/// Encodes all but letters, digits, slashes and a few harmless signs in percent notation.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
