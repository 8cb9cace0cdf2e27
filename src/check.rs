//! `ftpserver check`: everything that the start would check, without opening a port.

use std::path::Path;

use crate::confine::{check_allowed, check_user};
use crate::net::tls::{Acceptor, KeyFiles, TlsFiles};
use crate::prepared::{
    accounts, check_paths, check_secrets, ephemeral_overlap, open_root, public_address, slave_ports,
};
use crate::settings::{Arguments, Config, ConfigError, Problem, Settings, quoted};
use crate::storage::Permissions;

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

    /// Returns the word for the severity.
    #[must_use]
    pub fn severity(&self) -> &'static str {
        if self.is_error { "error" } else { "warning" }
    }
}

/// The variables of the environment.
pub type Environment = Vec<(std::ffi::OsString, std::ffi::OsString)>;

/// Checks all settings, and what they name. Returns the settings and the findings.
#[must_use]
pub fn check(arguments: &Arguments, environment: &Environment) -> (Settings, Vec<Finding>) {
    let (settings, problems) = Settings::read(arguments, environment);
    let error = |problem: &Problem| Finding::error(problem.to_string());
    let mut findings: Vec<Finding> = problems.iter().map(error).collect();
    let unknown = Settings::unknown_variables(environment);
    findings.extend(unknown.iter().map(|problem| Finding::warning(problem.to_string())));
    match settings.config() {
        Ok(config) => findings.extend(check_config(&config)),
        Err(problems) => findings.extend(problems.iter().map(error)),
    }
    (settings, findings)
}

/// Checks what a configuration names: directories, files, users, certificates, names.
#[must_use]
pub fn check_config(config: &Config) -> Vec<Finding> {
    let name = config.public_name.as_deref();
    let checks = [
        check_paths(config),
        check_secrets(config),
        name.map(public_address).transpose().map(drop),
        slave_ports(config).map(drop),
        check_user(config),
        check_allowed(config),
    ];
    let mut wrong: Vec<ConfigError> = checks.into_iter().filter_map(Result::err).collect();
    wrong.extend(check_places(config));
    let mut findings: Vec<Finding> =
        wrong.into_iter().map(|ConfigError(text)| Finding::error(text)).collect();
    findings.extend(check_keys(config).into_iter().map(Finding::error));
    let overlap = ephemeral_overlap(config);
    findings.extend(overlap.map(|(what, why)| Finding::warning(format!("{what}: {why}"))));
    findings
}

/// Opens each root, and reads each users file.
fn check_places(config: &Config) -> Vec<ConfigError> {
    let mut wrong = Vec::new();
    let main = (&config.root, "--root", &config.users);
    let hosts = config.virtual_hosts.iter();
    let of_hosts = hosts.map(|host| (&host.root, "--virtual-host NAME,root=DIR", &host.users));
    for (root, option, users) in [main].into_iter().chain(of_hosts) {
        let opened = open_root(root, option);
        // Without a root of its own, a host's users are still checked.
        let accounts = |root| accounts(root, users.as_ref(), Some(Permissions::READ_ONLY));
        match opened {
            Ok(root) => wrong.extend(accounts(root).err()),
            Err(error) => {
                wrong.push(error);
                let any = open_root(Path::new("/"), option).ok();
                wrong.extend(any.and_then(|root| accounts(root).err()));
            }
        }
    }
    wrong
}

/// Reads each certificate with its key, and the authorities of clients.
fn check_keys(config: &Config) -> Vec<String> {
    let own = config.self_signed.as_ref();
    let hosts = config.virtual_hosts.iter().filter_map(|host| host.key.as_ref());
    // The file of --self-signed is created at the start.
    let exists = |files: &&KeyFiles| own != Some(&files.certificate) || files.certificate.exists();
    let keys: Vec<&KeyFiles> = config.tls.keys.iter().chain(hosts).filter(exists).collect();
    let open = |files: TlsFiles| Acceptor::open_up_to(files, config.tls_max).err();
    let one =
        |files: &&KeyFiles| TlsFiles { keys: vec![(*files).clone()], client_authorities: None };
    let mut wrong: Vec<String> = keys.iter().filter_map(|files| open(one(files))).collect();
    if let Some(path) = &config.tls.client_authorities {
        let files = TlsFiles { keys: Vec::new(), client_authorities: Some(path.clone()) };
        wrong.extend(open(files));
    }
    let folder = own.and_then(|path| path.parent()).filter(|folder| !folder.is_dir());
    wrong.extend(folder.map(|folder| {
        format!("{}: there is no such directory for --self-signed; create it", folder.display())
    }));
    wrong
}

/// Returns the findings as lines of text.
#[must_use]
pub fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{}: {}\n", finding.severity(), finding.text)).collect()
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
