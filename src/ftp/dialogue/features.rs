//! Features of a server, as FEAT lists them (RFC 2389).

use super::step::{Dialogue, Refused, Step};
use crate::ftp::checksum::Algorithm;
use crate::ftp::command::Command;
use crate::ftp::command::Setting;
use crate::ftp::reply::Reply;

/// Features that a client makes use of.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one field a feature")]
pub struct Features {
    /// MLST and MLSD.
    pub machine_listing: bool,
    /// MFMT.
    pub set_modified: bool,
    /// HASH, with the algorithm that it uses.
    pub hash: Option<Algorithm>,
    /// HASH can use CRC32, the fastest algorithm.
    pub hash_crc32: bool,
    /// RANG: HASH or RETR of a range of bytes.
    pub ranges: bool,
    /// XCRC and similar commands, best algorithm first.
    pub checksums: Vec<Algorithm>,
    /// UTF8.
    pub utf8: bool,
    /// PRET: the server wants to know the transfer before PASV.
    pub pre_transfer: bool,
    /// Useful facts of MLST and MLSD, if the server sends some of them only when asked to.
    facts: Option<String>,
}

/// Facts that a client makes use of (RFC 3659 §7.5).
const USEFUL_FACTS: [&str; 5] = ["TYPE", "SIZE", "MODIFY", "UNIQUE", "UNIX.MODE"];

impl Features {
    /// Reads the reply to FEAT. A server without FEAT has none of these features.
    #[must_use]
    pub fn parse(reply: &Reply) -> Self {
        let mut features = Self::default();
        for line in reply.lines() {
            features.learn(&String::from_utf8_lossy(line.trim_ascii()).to_ascii_uppercase());
        }
        features
    }

    /// Reads one line, in upper case.
    fn learn(&mut self, line: &str) {
        self.machine_listing |= line.starts_with("MLST");
        self.set_modified |= line.starts_with("MFMT");
        self.ranges |= line.starts_with("RANG");
        self.utf8 |= line.starts_with("UTF8");
        self.pre_transfer |= line == "PRET";
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb == "HASH" {
            // The star marks the algorithm that HASH uses until another one is chosen.
            let is_crc32 = |name: &str| Algorithm::named(name) == Some(Algorithm::Crc32);
            self.hash_crc32 = rest.split(';').any(|name| is_crc32(name.trim_end_matches('*')));
            self.hash = rest.split(';').find_map(|name| Algorithm::named(name.strip_suffix('*')?));
        }
        if verb == "MLST" {
            let is_useful = |fact: &&str| USEFUL_FACTS.contains(&fact.trim_end_matches('*'));
            let facts: Vec<&str> = rest.split(';').filter(is_useful).collect();
            // The star marks the facts that the server sends.
            let lacks_any = facts.iter().any(|fact| !fact.ends_with('*'));
            let select = |fact: &&str| format!("{};", fact.trim_end_matches('*').to_lowercase());
            self.facts = lacks_any.then(|| facts.iter().map(select).collect());
        }
        let found = Algorithm::ALL.into_iter().find(|algorithm| {
            verb == algorithm.verb() || (verb == "XSHA" && *algorithm == Algorithm::Sha1)
        });
        self.checksums.extend(found);
        self.checksums.sort_by_key(|one| Algorithm::ALL.iter().position(|other| other == one));
    }
}

/// FEAT, OPTS UTF8 ON where the server offers UTF-8, and OPTS MLST where it leaves out useful facts.
#[derive(Debug, Default)]
pub struct FeatureQuery {
    features: Option<Features>,
    /// Settings that are still to be sent, the next one last.
    settings: Vec<Setting>,
}

impl Dialogue for FeatureQuery {
    type Outcome = Features;

    fn start(&mut self) -> Step<Features> {
        Step::Send(Command::Features)
    }

    fn reply(&mut self, reply: Reply) -> Result<Step<Features>, Refused> {
        // Another reply than the first is one to OPTS, which does not matter.
        let features = self.features.take().unwrap_or_else(|| {
            let features = Features::parse(&reply);
            self.settings.extend(features.facts.clone().map(Setting::Facts));
            // Some servers use UTF-8 only when asked to.
            self.settings.extend(features.utf8.then_some(Setting::Utf8));
            features
        });
        let Some(setting) = self.settings.pop() else { return Ok(Step::Done(features)) };
        self.features = Some(features);
        Ok(Step::Send(Command::Set(setting)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::run;
    use super::*;

    #[test]
    fn what_a_server_makes_is_learned_from_feat() {
        let text = "Features:\n HASH SHA-1;MD5*;ROT13\n XCRC\n XSHA256\n XMD5 FILENAME\n MDTM\nEnd";
        let transcript = run(FeatureQuery::default(), &[(211, text)]);
        assert_eq!(transcript.sent, ["FEAT"]);
        let features = transcript.end.unwrap();
        assert_eq!((features.hash, features.hash_crc32), (Some(Algorithm::Md5), false));
        assert_eq!(features.checksums, [Algorithm::Sha256, Algorithm::Md5, Algorithm::Crc32]);
        assert!(!features.machine_listing && !features.set_modified && !features.ranges);
    }

    #[test]
    fn utf8_is_switched_on_where_it_is_offered() {
        let text = "Features:\n mlst size*;modify*;\n UTF8\n MFMT\n RANG STREAM\nEnd";
        let transcript = run(FeatureQuery::default(), &[(211, text), (501, "no")]);
        assert_eq!(transcript.sent, ["FEAT", "OPTS UTF8 ON"]);
        let features = transcript.end.unwrap();
        assert!(features.machine_listing && features.set_modified && features.ranges);
    }

    #[test]
    fn facts_that_are_left_out_are_asked_for() {
        let text = "Features:\n MLST Type*;Size*;Modify*;Perm*;UNIX.mode;UNIX.uid;\n UTF8\nEnd";
        let replies = [(211, text), (200, "on"), (200, "these")];
        let transcript = run(FeatureQuery::default(), &replies);
        let facts = "OPTS MLST type;size;modify;unix.mode;";
        assert_eq!(transcript.sent, ["FEAT", "OPTS UTF8 ON", facts]);
        let text = "Features:\n MLST Type*;Size*;UNIX.mode*;UNIX.uid;\nEnd";
        assert_eq!(run(FeatureQuery::default(), &[(211, text)]).sent, ["FEAT"]);
    }

    #[test]
    fn a_server_may_have_no_feat() {
        let transcript = run(FeatureQuery::default(), &[(500, "unknown command")]);
        assert_eq!(transcript.end, Ok(Features::default()));
    }
}
