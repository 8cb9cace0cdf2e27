//! The rows of the dialects' tables, and the effect of each on the configuration.

use super::directive::Directive;
use super::draft::Draft;

/// The counterpart of a directive.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// A setting with a text.
    Text(&'static str),
    /// A setting with a number; 0 means no limit, and sets nothing.
    Limit(&'static str),
    /// A setting with a time in seconds; 0 means no limit, for which there is no counterpart.
    Seconds(&'static str),
    /// A setting with a time in minutes.
    Minutes(&'static str),
    /// The file of the certificate.
    Cert,
    /// The file of the private key.
    Key,
    /// Nothing, because this server does it anyhow.
    Same(&'static str),
    /// Nothing, because this server does it only when the directive is on. Off has no counterpart.
    Always(&'static str),
    /// Nothing, because this server never does it. On has no counterpart.
    Never(&'static str),
    /// Nothing: the reason.
    Missing(&'static str),
    /// The code of the dialect decides.
    Special,
}

/// A row of a dialect's table: the directive in lower case, and its counterpart.
pub(super) type Row = (&'static str, Rule);

/// Returns the counterpart of a directive.
pub(super) fn find(table: &[Row], name: &str) -> Option<Rule> {
    let name = name.to_ascii_lowercase();
    table.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}

/// Returns whether a directive is on; none if its value is neither on nor off.
pub(super) fn is_on(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "1" => Some(true),
        "no" | "off" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// Applies a directive to the configuration, unless its dialect decides.
pub(super) fn apply(rule: Rule, directive: &Directive, draft: &mut Draft) {
    let value = directive.value.as_str();
    let number = value.parse::<u32>().ok();
    match (rule, number, is_on(value)) {
        (Rule::Text(key), ..) => draft.text(key, value),
        (Rule::Limit(_), Some(0), _) => draft.same(directive, "no limit of its own"),
        (Rule::Limit(key) | Rule::Seconds(key), Some(number @ 1..), _) => draft.value(key, &number),
        (Rule::Seconds(_), Some(0), _) => {
            draft.missing(directive, "every wait has a limit here; the default stays");
        }
        (Rule::Minutes(key), Some(number @ 1..), _) => draft.text(key, &format!("{number}m")),
        (Rule::Cert, ..) => draft.cert(value),
        (Rule::Key, ..) => draft.key(value),
        (Rule::Same(why), ..)
        | (Rule::Always(why), _, Some(true))
        | (Rule::Never(why), _, Some(false)) => draft.same(directive, why),
        (Rule::Missing(why) | Rule::Always(why) | Rule::Never(why), ..) => {
            draft.missing(directive, why);
        }
        (Rule::Limit(_) | Rule::Seconds(_) | Rule::Minutes(_), ..) => {
            draft.missing(directive, "the value has no counterpart");
        }
        (Rule::Special, ..) => {}
    }
}
