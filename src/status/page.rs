//! The status page: one file with its style and its script, complete without the script.

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::snapshot::{HISTORY_SECONDS, SHOWN_MAX, Snapshot};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Returns the header that lets the page use its own style, script and events, and nothing else.
pub(super) fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "Content-Security-Policy: default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'\r\n",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Returns the page.
#[rustfmt::skip]
pub(super) fn page(snapshot: &Snapshot) -> String {
    let (facts, (state, _), rates) = (&snapshot.facts, snapshot.state(), snapshot.rates());
    let points: Vec<String> =
        snapshot.history.iter().map(|rates| format!("[{},{}]", rates.incoming, rates.outgoing)).collect();
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>poolftpd: {state}</title><style>{STYLE}</style></head><body>\n<a class=\"skip\" href=\"#sessions\">Skip to the sessions</a>\n\
         <main><h1>poolftpd <small id=\"state\">{state}</small></h1>\n<p>Version {}. State of {:.0} on {}.</p>\n<p id=\"said\" role=\"status\"></p>\n\
         <noscript><p>This page does not change by itself. <a href=\"\">Load it again</a>, or read <a href=\"status.json\">status.json</a>.</p></noscript>\n\
         <button id=\"hold\" type=\"button\" aria-pressed=\"false\" hidden>Pause</button>\n<dl>\n",
        env!("CARGO_PKG_VERSION"), snapshot.time, Html(&facts.listeners.join(", ")),
    );
    for (id, name, value) in [
        ("clients", "Clients", format!("{} of {}", facts.clients, facts.clients_max)),
        ("transfers", "Transfers", facts.transfers.to_string()),
        ("rate-in", "Received", format!("{}/s", Size(rates.incoming))),
        ("rate-out", "Sent", format!("{}/s", Size(rates.outgoing))),
        ("workers", "Workers busy", format!("{} of {}", facts.pool.busy, facts.pool.workers)),
        ("waiting", "Turns waiting", (facts.pool.waiting_interactive + facts.pool.waiting_bulk).to_string()),
        ("parked", "Sessions parked", facts.pool.parked.to_string()),
        ("stalls", "Stalls", facts.pool.stalls.to_string()),
    ] {
        let _ = writeln!(text, "<div><dt>{name}</dt><dd id=\"{id}\">{value}</dd></div>");
    }
    write_graph(&mut text, snapshot);
    write_sessions(&mut text, snapshot);
    table(&mut text, "slaves", "Slaves", "No slaves.",
        &[("Slave", ""), ("Process", ""), ("Sessions", "n"), ("Transfers", "n"), ("Bytes", "n"), ("State", "")],
        facts.slaves.iter().filter_map(|load| {
            let number = load.slave?.to_string();
            let process = load.process.map_or_else(|| "in master".to_owned(), |process| process.to_string());
            let state = if load.draining { "draining" } else { "serving" };
            Some(vec![number, process, load.sessions.to_string(), load.transfers.to_string(), Size(load.bytes).to_string(), state.to_owned()])
        }));
    table(&mut text, "roots", "Roots", "No roots.",
        &[("Directory", ""), ("State", ""), ("Free", "n")],
        facts.roots.iter().map(|root| {
            let state = root.problem.clone().unwrap_or_else(|| "available".to_owned());
            let free = root.free.map(|free| Size(free).to_string()).unwrap_or_default();
            vec![root.directory.to_string_lossy().into_owned(), state, free]
        }));
    table(&mut text, "bans", "Lockouts", "No address and no user is locked out.",
        &[("Address", ""), ("User", ""), ("Host", ""), ("Failures", "n"), ("Remaining", "n")],
        facts.bans.iter().take(SHOWN_MAX).map(|ban| {
            let (address, user, host) = (ban.address.map(|address| address.to_string()), ban.user.clone(), ban.host.clone());
            let shown = [address, user, host].map(Option::unwrap_or_default);
            shown.into_iter().chain([ban.failures.to_string(), span(ban.remaining.as_secs())]).collect()
        }));
    table(&mut text, "certificates", "Certificates", "No certificates.",
        &[("File", ""), ("Valid until", "")],
        facts.certificates.iter().map(|(file, until)| vec![file.clone(), until.to_string()]));
    let _ = writeln!(
        text,
        "</main><script type=\"application/json\" id=\"history\">[{}]</script><script>{SCRIPT}</script></body></html>",
        points.join(",")
    );
    text
}

/// Writes the graph of the last five minutes.
fn write_graph(text: &mut String, snapshot: &Snapshot) {
    let history = &snapshot.history;
    let most =
        history.iter().map(|rates| rates.incoming.max(rates.outgoing)).max().unwrap_or(0).max(1);
    let mut lines = [String::new(), String::new()];
    let first = HISTORY_SECONDS - history.len() + 1;
    for (place, rates) in history.iter().enumerate() {
        let [incoming, outgoing] = &mut lines;
        for (line, value) in [(incoming, rates.incoming), (outgoing, rates.outgoing)] {
            let height = u128::from(value) * 96 / u128::from(most);
            let _ = write!(line, "{},{} ", first + place, 98 - height);
        }
    }
    let [incoming, outgoing] = lines;
    let _ = writeln!(
        text,
        "</dl>\n<figure><svg viewBox=\"0 0 301 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Bytes a second in \
         the last five minutes\"><polyline id=\"line-in\" class=\"in\" points=\"{incoming}\"/><polyline id=\"line-out\" \
         class=\"out\" points=\"{outgoing}\"/></svg><figcaption>The last five minutes: received (solid line) and sent (dashed \
         line). The top of the graph is <span id=\"peak\">{}/s</span>.</figcaption></figure>",
        Size(most)
    );
}

fn write_sessions(text: &mut String, snapshot: &Snapshot) {
    let facts = &snapshot.facts;
    let rows = facts.sessions.iter().take(SHOWN_MAX).map(|seen| {
        let client = seen.client.as_ref();
        let user = client.map(|client| String::from_utf8_lossy(&client.user).into_owned());
        let host = client.and_then(|client| client.host.as_deref()).unwrap_or_default();
        let tls = client.and_then(|client| client.tls).unwrap_or("no");
        let (mut state, mut done, mut rate) = (
            if client.is_some() { "idle" } else { "login" }.to_owned(),
            String::new(),
            String::new(),
        );
        if let Some(transfer) = &seen.transfer {
            transfer.verb.clone_into(&mut state);
            if facts.shows_paths {
                let _ = write!(state, " {}", String::from_utf8_lossy(transfer.path.as_bytes()));
            }
            done = Size(transfer.bytes).to_string();
            if let Some(size) = transfer.size {
                let _ = write!(done, " of {}", Size(size));
            }
            let per_second = snapshot.session_rates.get(&seen.session).copied().unwrap_or_default();
            rate = format!("{}/s", Size(per_second));
        }
        vec![
            seen.session.to_string(),
            user.unwrap_or_default(),
            seen.peer.ip().to_string(),
            host.to_owned(),
            tls.to_owned(),
            state,
            done,
            rate,
            span(seen.idle.as_secs()),
        ]
    });
    let heads = [
        ("Session", ""),
        ("User", ""),
        ("Address", ""),
        ("Host", ""),
        ("TLS", ""),
        ("State", ""),
        ("Done", "n"),
        ("Rate", "n"),
        ("Idle", "n"),
    ];
    table(text, "sessions", "Sessions", "No sessions.", &heads, rows);
}

/// Writes a table, and the sentence that stands for an empty one. The first cell of a row is its key.
fn table(
    text: &mut String,
    id: &str,
    caption: &str,
    none: &str,
    heads: &[(&str, &str)],
    rows: impl Iterator<Item = Vec<String>>,
) {
    let _ = write!(
        text,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table id=\"{id}\"><caption>{caption}</caption><thead><tr>"
    );
    for (name, class) in heads {
        let _ = write!(text, "<th scope=\"col\" class=\"{class}\">{name}</th>");
    }
    text.push_str("</tr></thead><tbody>\n");
    let mut is_empty = true;
    for row in rows {
        is_empty = false;
        let key = row.first().map_or("", String::as_str);
        let _ = write!(text, "<tr data-key=\"{}\">", Html(key));
        for (cell, (name, class)) in row.iter().zip(heads) {
            let _ = write!(text, "<td data-label=\"{name}\" class=\"{class}\">{}</td>", Html(cell));
        }
        text.push_str("</tr>\n");
    }
    let hidden = if is_empty { "" } else { " hidden" };
    let _ = writeln!(text, "</tbody></table><p id=\"{id}-none\"{hidden}>{none}</p></div>");
}

/// A text in HTML: no character of it is markup.
struct Html<'a>(&'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                letter if letter.is_control() => formatter.write_char('\u{fffd}')?,
                letter => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A number of bytes, for people to read.
struct Size(u64);

impl fmt::Display for Size {
    #[expect(clippy::cast_precision_loss, reason = "rounded anyway")]
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut unit) = (self.0 as f64, 0);
        while number >= 1024.0 && unit < 5 {
            number /= 1024.0;
            unit += 1;
        }
        let name = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].get(unit).unwrap_or(&"");
        let digits = usize::from(unit > 0 && number < 100.0);
        write!(formatter, "{number:.digits$} {name}")
    }
}

/// Returns a time in seconds, for people to read.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_markup_and_sizes_have_their_unit() {
        let text = Html("<script>alert(\"1\")</script>&\u{1b}").to_string();
        assert_eq!(text, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\u{fffd}");
        assert_eq!(
            [0, 1023, 1536, 1 << 40].map(|bytes| Size(bytes).to_string()),
            ["0 B", "1023 B", "1.5 KiB", "1.0 TiB"]
        );
        assert_eq!([59, 60, 3661].map(span), ["59 s", "1 min", "1 h 1 min"]);
    }
}
