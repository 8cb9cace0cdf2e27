//! A page in Chromium without a window, driven through a pipe by the `DevTools` protocol.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::PATIENCE;
use super::outside::{find, is_root};

/// Maximum number of events that the page keeps for `complaints`.
const EVENTS: usize = 1_000;

pub(crate) struct Page {
    browser: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    session: String,
    last: u64,
}

impl Page {
    /// Starts the browser with an empty page; the profile is kept in the folder. Returns `None` without Chromium.
    pub(crate) fn open(folder: &Path) -> Option<Self> {
        find("chromium")?;
        let sandbox = if is_root() { "--no-sandbox" } else { "" };
        // The browser reads commands from descriptor 3, and writes messages to descriptor 4.
        let script = format!(
            "exec chromium --headless {sandbox} --disable-gpu --user-data-dir=profile --remote-debugging-pipe \
             about:blank 3<&0 4>&1 0</dev/null 1>chromium.log 2>&1"
        );
        let mut browser = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder)
            .env("HOME", folder)
            .env("TMPDIR", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = browser.stdin.take().unwrap();
        let output = BufReader::new(browser.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let (events, session) = (VecDeque::new(), String::new());
        let mut page = Self { browser, commands, messages, events, session, last: 0 };
        let target = page.call("Target.createTarget", &json!({"url": "about:blank"}));
        let id = target["targetId"].clone();
        let attached =
            page.call("Target.attachToTarget", &json!({"targetId": id, "flatten": true}));
        attached["sessionId"].as_str().unwrap().clone_into(&mut page.session);
        for domain in ["Page", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(page)
    }

    /// Executes a command of the protocol, and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            if self.events.len() == EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(message);
        }
    }

    /// Opens an address.
    pub(crate) fn go_to(&mut self, address: &str) {
        let done = self.call("Page.navigate", &json!({"url": address}));
        assert!(done.get("errorText").is_none(), "{address}: {done}");
        self.wait_for("document.readyState !== 'loading'");
    }

    /// Returns the value of an expression of JavaScript.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let done = self.call("Runtime.evaluate", &params);
        assert!(done.get("exceptionDetails").is_none(), "{expression}: {done}");
        done["result"]["value"].clone()
    }

    /// Polls until the expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression) != true {
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "{expression} in {}", self.value("document.body.innerText"));
        }
    }

    /// Presses and releases a key, such as `Tab`.
    pub(crate) fn press(&mut self, key: &str, text: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Returns the exceptions of the page's script and the errors that the browser logged, such as a violated policy.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| {
            event["method"] == "Runtime.exceptionThrown"
                || event["method"] == "Log.entryAdded"
                    && event["params"]["entry"]["level"] == "error"
        };
        self.events.iter().filter(is_complaint).map(Value::to_string).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.browser.kill().ok();
        self.browser.wait().ok();
    }
}
