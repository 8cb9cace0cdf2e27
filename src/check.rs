//! `ftpserver check`: everything that the start would check, without opening a port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ftp::VirtualPath;
use crate::net::tls::{Acceptor, KeyFiles, TlsFiles};
use crate::sandbox::{check_allowed, check_user};
use crate::scan::Scanner;
use crate::settings::{Arguments, Config, ConfigError, Origin, Problem, Settings, quoted};
use crate::startup::{
    accounts, check_auth_socket, check_paths, check_secrets, control_group, ephemeral_overlap,
    hosts, listed, open_mounts, open_root, public_address, slave_ports, spool, status_token,
};
use crate::storage::users::Users;
use crate::storage::{EntryPermissions, Explanation, Permissions};
use crate::units::reason;

/// Maximum time to connect to the scanner.
const SCANNER_TIMEOUT: Duration = Duration::from_secs(5);

/// A finding of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// True if the server cannot start.
    pub is_error: bool,
    /// The place, what is wrong, and what to do.
    pub text: String,
}

impl Finding {
    fn error(text: String) -> Self {
        Self { is_error: true, text }
    }

    fn warning(text: String) -> Self {
        Self { is_error: false, text }
    }

    /// Returns a problem as an error.
    #[must_use]
    pub fn of(problem: &Problem) -> Self {
        Self::error(problem.to_string())
    }

    /// Returns the word for the severity.
    #[must_use]
    pub fn severity(&self) -> &'static str {
        if self.is_error { "error" } else { "warning" }
    }
}

/// The variables of the environment.
pub type Environment = Vec<(std::ffi::OsString, std::ffi::OsString)>;

/// A finding about these settings, the most specific first.
type About = (&'static [&'static str], Finding);

/// Checks all settings, and what they name. Returns the settings and the findings.
#[must_use]
pub fn check(arguments: &Arguments, environment: &Environment) -> (Settings, Vec<Finding>) {
    let (settings, problems) = Settings::read(arguments, environment);
    let error = |problem: &Problem| Finding::error(problem.to_string());
    let mut findings: Vec<Finding> = problems.iter().map(error).collect();
    let unknown = Settings::unknown_variables(environment);
    findings.extend(unknown.iter().map(|problem| Finding::warning(problem.to_string())));
    match settings.config() {
        Ok(config) => {
            let named = check_config(&config);
            findings.extend(named.into_iter().map(|about| with_place(about, &settings)));
        }
        Err(problems) => findings.extend(problems.iter().map(error)),
    }
    (settings, findings)
}

/// Puts the place of the setting before a finding, if it is in the file or in the environment.
fn with_place((names, finding): About, settings: &Settings) -> Finding {
    match settings.origin(names) {
        Origin::Default | Origin::Flag(_) => finding,
        origin => Finding { text: format!("{origin}: {}", finding.text), ..finding },
    }
}

/// Checks what a configuration names: directories, files, users, certificates, names.
fn check_config(config: &Config) -> Vec<About> {
    let name = config.public_name.as_deref();
    let checks: [(&[&str], Result<(), ConfigError>); 10] = [
        (&[], check_paths(config)),
        (&[], check_secrets(config)),
        (&["public-address"], name.map(public_address).transpose().map(drop)),
        (&["slaves", "port"], slave_ports(config).map(drop)),
        (&["user"], check_user(config)),
        (&["allow"], check_allowed(config)),
        (&["user-entries"], listed(config).map(drop)),
        (&["hook-spool"], spool(config).map(drop)),
        (&["control-group"], control_group(config).map(drop)),
        (&["status-token-file", "status"], status_token(config).map(drop)),
    ];
    let wrong = checks.into_iter().filter_map(|(names, found)| Some((names, found.err()?)));
    let wrong = wrong.chain(check_places(config));
    let error = |(names, ConfigError(text))| (names, Finding::error(text));
    let mut findings: Vec<About> = wrong.map(error).collect();
    findings.extend(check_keys(config).into_iter().map(|text| (&[][..], Finding::error(text))));
    findings.extend(
        ephemeral_overlap(config).map(|(what, why)| {
            (&["passive-ports"][..], Finding::warning(format!("{what}: {why}")))
        }),
    );
    findings.extend(
        check_auth_socket(config)
            .err()
            .map(|ConfigError(text)| (&["auth-socket"][..], Finding::warning(text))),
    );
    findings.extend(check_scanner(config).map(|text| (&["scan"][..], Finding::warning(text))));
    findings
}

/// Returns a warning if the scanner cannot be reached. The server starts without it, because it may come later.
fn check_scanner(config: &Config) -> Option<String> {
    let address = config.scan.as_ref()?;
    let error = Scanner::new(address.clone(), SCANNER_TIMEOUT).reach().err()?;
    let why = reason(&error);
    Some(format!("--scan {address}: {why}. Until it can be reached, uploads get 451"))
}

/// Opens each root, and reads each users file.
fn check_places(config: &Config) -> Vec<(&'static [&'static str], ConfigError)> {
    let mut wrong: Vec<(&'static [&'static str], ConfigError)> = Vec::new();
    wrong.extend(open_root(&config.root, "--root").err().map(|error| (&["root"][..], error)));
    wrong.extend(check_users(config, config.users.as_ref()).map(|error| (&["users"][..], error)));
    wrong.extend(open_mounts(config).err().map(|error| (&["mount"][..], error)));
    for host in &config.virtual_hosts {
        let root = open_root(&host.root, "--virtual-host NAME,root=DIR").err();
        let found = root.into_iter().chain(check_users(config, host.users.as_ref()));
        wrong.extend(found.map(|error| (&["virtual-host"][..], error)));
    }
    wrong
}

/// Reads a users file as the start does. The homes in it do not depend on the root.
fn check_users(config: &Config, users: Option<&PathBuf>) -> Option<ConfigError> {
    let root = open_root(Path::new("/"), "--root").ok()?;
    accounts(root, &config.groups, users, Users::default(), Some(Permissions::READ_ONLY)).err()
}

/// Reads each certificate with its key, and the authorities of clients.
fn check_keys(config: &Config) -> Vec<String> {
    let own = config.self_signed.as_ref();
    let hosts = config.virtual_hosts.iter().filter_map(|host| host.key.as_ref());
    // The file of --self-signed is created at the start.
    let exists = |files: &&KeyFiles| own != Some(&files.certificate) || files.certificate.exists();
    let keys = config.tls.keys.iter().chain(hosts).filter(exists);
    let open = |keys: Vec<KeyFiles>, client_authorities: Option<PathBuf>| {
        let client_optional = config.tls.client_optional;
        let files = TlsFiles { keys, client_authorities, client_optional };
        Acceptor::open_up_to(files, config.tls_max).err()
    };
    let mut wrong: Vec<String> = keys.filter_map(|files| open(vec![files.clone()], None)).collect();
    let authorities = config.tls.client_authorities.clone();
    wrong.extend(authorities.and_then(|path| open(Vec::new(), Some(path))));
    let folder = own.and_then(|path| path.parent()).filter(|folder| !folder.is_dir());
    wrong.extend(folder.map(|folder| {
        format!("{}: there is no such directory for --self-signed; create it", folder.display())
    }));
    wrong
}

/// The flags of `ftpserver check` itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `--show`: print the settings.
    pub shows: bool,
    /// `--json`: print JSON.
    pub is_json: bool,
    /// `--strict`: a warning counts as an error.
    pub is_strict: bool,
    /// `--as USER PATH`: explain the permissions of a user, written `USER@HOST` on a virtual host, at a path.
    pub explains: Option<(String, String)>,
}

impl Request {
    /// Takes the flags out of the words of a command line.
    ///
    /// # Errors
    /// One sentence, if a word is missing.
    pub fn take(words: &mut Vec<String>) -> Result<Self, String> {
        let mut request = Self::default();
        let mut rest = Vec::new();
        let mut given = std::mem::take(words).into_iter();
        while let Some(word) = given.next() {
            match word.as_str() {
                "--show" => request.shows = true,
                "--json" => request.is_json = true,
                "--strict" => request.is_strict = true,
                "--as" => match (given.next(), given.next()) {
                    (Some(user), Some(path)) => request.explains = Some((user, path)),
                    _ => return Err("--as needs a user and a path".to_owned()),
                },
                _ => rest.push(word),
            }
        }
        *words = rest;
        Ok(request)
    }

    /// Returns whether the check has failed.
    #[must_use]
    pub fn fails(&self, findings: &[Finding]) -> bool {
        findings.iter().any(|finding| finding.is_error || self.is_strict)
    }
}

/// Explains the permissions of a user, or of `anonymous`, at a path: the permissions, and the rule that decides.
///
/// # Errors
/// One sentence.
pub fn explain(
    settings: &Settings,
    user: &str,
    path: &str,
    is_json: bool,
) -> Result<String, ConfigError> {
    let config = settings.config().map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        ConfigError(first.unwrap_or_default())
    })?;
    let hosts = hosts(&config, open_root(&config.root, "--root")?)?;
    let host = user.rsplit_once('@').and_then(|(name, host)| Some((name, hosts.find(host)?)));
    let host = host.filter(|(_, host)| hosts.named(Some(host)).is_some());
    let (name, host) = host.map_or((user, None), |(name, host)| (name, Some(host)));
    let at = VirtualPath::root().join(path.as_bytes());
    let at = at.map_err(|_| ConfigError(format!("{path}: the path is too long")))?;
    let found =
        hosts.accounts(host.as_deref()).explain(name.as_bytes(), &at).map_err(ConfigError)?;
    let Explanation { path: resolved, permissions, rule, .. } = &found;
    let place = rule.as_ref().and_then(|rule| {
        let index = config.directories.iter().position(|known| known == rule)?;
        let given = settings.get("directory")?;
        Some(given.places.get(index).unwrap_or(&given.origin).to_string())
    });
    let decides = match (rule, &place) {
        (None, _) => format!("the permissions of {name}"),
        (Some(rule), None) => format!("directory \"{}\"", rule.path),
        (Some(rule), Some(place)) => format!("directory \"{}\", {place}", rule.path),
    };
    let EntryPermissions { content, name: to_name } = permissions;
    if is_json {
        let rule = quoted(&decides);
        let (user, resolved) = (quoted(user), quoted(&resolved.to_string()));
        return Ok(format!(
            "{{\"user\":{user},\"path\":{resolved},\"may\":\"{content}\",\"may_with_name\":\"{to_name}\",\"rule\":{rule}}}\n"
        ));
    }
    let text = format!("{user} may {content} at {resolved}: {decides}\n");
    let more = if content == to_name {
        String::new()
    } else {
        format!("{user} may {to_name} with the name itself (delete, rename, mkdir)\n")
    };
    Ok(text + &more)
}

/// Returns the findings as lines of text.
#[must_use]
pub fn lines(findings: &[Finding]) -> String {
    let line = |finding: &Finding| format!("{}: {}\n", finding.severity(), finding.text);
    findings.iter().map(line).collect::<Vec<_>>().concat()
}

/// Returns the findings, and the settings if they are given, as JSON.
#[must_use]
pub fn json(findings: &[Finding], settings: Option<&Settings>) -> String {
    let object = |finding: &Finding| {
        let text = quoted(&finding.text);
        format!("{{\"severity\":\"{}\",\"text\":{text}}}", finding.severity())
    };
    let list = findings.iter().map(object).collect::<Vec<_>>().join(",");
    let settings = settings.map(|settings| format!(",\"settings\":{}", settings.show_json()));
    let is_ok = !findings.iter().any(|finding| finding.is_error);
    format!("{{\"ok\":{is_ok},\"findings\":[{list}]{}}}\n", settings.unwrap_or_default())
}
