//! The configuration that settings amount to, and the combinations that are wrong.

use std::path::PathBuf;

use super::given::Settings;
use super::host::VirtualHost;
use super::listen::Listen;
use super::origin::{Origin, Problem};
use super::table::Config;
use super::table::{ROWS, per_address_share};

impl Settings {
    /// Returns the configuration.
    ///
    /// # Errors
    /// Each combination of settings that is wrong.
    pub fn config(&self) -> Result<Config, Vec<Problem>> {
        let (config, problems) = self.build();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Returns the configuration as far as it is right, and each combination of settings that is wrong.
    pub(super) fn build(&self) -> (Config, Vec<Problem>) {
        let (mut config, mut problems) = (Config::default(), Vec::new());
        for row in ROWS {
            let Some(given) = self.get(row.id) else { continue };
            if let Err(text) = row.put(&mut config, &row.absolute(&given.texts)) {
                problems.push(Problem { origin: given.origin.clone(), text });
            }
        }
        config.files = self.files.clone();
        self.imply(&mut config);
        problems.extend(self.check_tls(&mut config));
        problems.extend(self.check_hosts(&config.virtual_hosts));
        problems.extend(self.check_listeners(&config.listeners()));
        problems.extend(self.check_hooks(&config));
        problems.extend(self.check_checks(&config));
        (config, problems)
    }

    /// Sets the values that follow from other settings.
    fn imply(&self, config: &mut Config) {
        if self.get("anonymous").is_none() {
            config.anonymous = !config.has_users();
        }
        if self.get("max-per-ip").is_none() {
            config.limits.max_per_ip = per_address_share(config.limits.clients_max);
        }
        // A client without a certificate must not get in by leaving out AUTH.
        let authorities = config.tls.client_authorities.is_some();
        config.require_tls |= authorities && !config.tls.client_optional;
    }

    /// Completes the pairs of certificate and key, and checks that TLS has one.
    fn check_tls(&self, config: &mut Config) -> Option<Problem> {
        let own = usize::from(config.self_signed.is_some());
        let count = config.tls.keys.len() - own;
        let given = config.tls.keys.iter_mut().take(count);
        if self.get("tls-key").is_none() {
            given.for_each(|files| files.key.clone_from(&files.certificate));
        }
        let is_half = |path: &PathBuf| path.as_os_str().is_empty();
        if config.tls.keys.iter().any(|files| is_half(&files.certificate) || is_half(&files.key)) {
            let text = "each --tls-cert needs a --tls-key, in the same order".to_owned();
            return Some(Problem { origin: self.whence(&["tls-key"]), text });
        }
        let needs = config.require_tls || config.listeners().iter().any(|listen| listen.tls);
        (needs && !config.has_certificate()).then(|| Problem {
            origin: self.whence(&["require-tls", "implicit-tls", "listen", "tls-client-ca"]),
            text: "TLS needs a certificate: --tls-cert and --tls-key, or --self-signed".to_owned(),
        })
    }

    fn check_hosts(&self, hosts: &[VirtualHost]) -> Option<Problem> {
        let mut names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        names.sort_unstable();
        let has_twins = names.windows(2).any(|pair| pair.first() == pair.last());
        has_twins.then(|| Problem {
            origin: self.whence(&["virtual-host"]),
            text: "two virtual hosts have the same name".to_owned(),
        })
    }

    fn check_listeners(&self, listeners: &[Listen]) -> Option<Problem> {
        let others = ["bind", "port", "implicit-tls"];
        let text = if self.get("listen").is_some()
            && others.iter().any(|name| self.get(name).is_some())
        {
            "listen takes the place of bind, port and implicit-tls; use one of the two"
        } else if listeners.iter().any(|one| {
            listeners.iter().any(|two| one.port == two.port && one.port != 0 && one.tls != two.tls)
        }) {
            "one port cannot be both with and without implicit TLS"
        } else {
            return None;
        };
        Some(Problem { origin: self.whence(&["listen", "port"]), text: text.to_owned() })
    }

    fn check_checks(&self, config: &Config) -> Option<Problem> {
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        let text = match &config.check_post {
            Some(url) if !is_url(url) => {
                format!("check-post: '{url}' does not begin with http:// or https://")
            }
            post if config.check_socket.is_none()
                && (post.is_some() || config.check_command.is_some()) =>
            {
                "--check-command and --check-post need --check-socket".to_owned()
            }
            _ => return None,
        };
        Some(Problem { origin: self.whence(&["check-command", "check-post"]), text })
    }

    fn check_hooks(&self, config: &Config) -> Option<Problem> {
        let has_hooks = !config.hook_command.is_empty() || !config.hook_post.is_empty();
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        let text = match config.hook_post.iter().find(|url| !is_url(url)) {
            Some(url) => format!("hook-post: '{url}' does not begin with http:// or https://"),
            None if has_hooks && config.hook_spool.is_none() => {
                "--hook-command and --hook-post need --hook-spool".to_owned()
            }
            None => return None,
        };
        Some(Problem { origin: self.whence(&["hook-command", "hook-post"]), text })
    }

    /// Returns the place of a wrong combination: that of a setting in the file or the environment. A message about
    /// flags names them itself.
    fn whence(&self, names: &[&str]) -> Origin {
        match self.origin(names) {
            Origin::Flag(_) => Origin::Default,
            origin => origin,
        }
    }
}
