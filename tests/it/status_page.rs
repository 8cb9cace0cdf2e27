//! The status page in a browser.

use std::fs;

use serde_json::json;

use crate::common::browser::Page;
use crate::common::outside::skip;
use crate::common::raw::RawClient;
use crate::common::{noise, until};
use crate::status::{Running, free_port};

/// The rules for people who use a keyboard, a small screen or a screen reader.
const ACCESSIBILITY: &str = include_str!("common/accessibility.js");

#[test]
fn a_browser_shows_the_live_page_without_an_error_of_its_policy() {
    let port = free_port();
    let server = Running::start(&["--status", &port.to_string()]);
    let Some(mut page) = Page::open(server.folder.path()) else {
        return skip("chromium is not installed");
    };
    page.go_to(&format!("http://127.0.0.1:{port}/"));
    // Who comes after the page was loaded is shown by its script.
    let client = RawClient::log_in(server.address);
    page.wait_for(
        "document.querySelector('#sessions td[data-label=User]')?.textContent === 'anonymous'",
    );
    drop(client);
    page.wait_for("document.querySelector('#sessions td') === null");
    // The button is reached and pressed by the keyboard, and holds what is shown.
    page.wait_for("!document.getElementById('hold').hidden");
    // Each element that the keyboard reaches shows that it has the focus.
    until("the button is not reached by the keyboard", || {
        page.press("Tab", "", 9);
        let outline = page.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, "solid");
        page.value("document.activeElement.id") == "hold"
    });
    page.press(" ", " ", 32);
    assert_eq!(page.value("document.getElementById('hold').ariaPressed"), "true");
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn a_page_without_its_script_shows_the_sessions_in_320_pixels() {
    let port = free_port();
    let server = Running::start(&["--status", &port.to_string()]);
    let Some(mut page) = Page::open(server.folder.path()) else {
        return skip("chromium is not installed");
    };
    let _client = RawClient::log_in(server.address);
    page.call("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    let size = json!({"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": false});
    page.call("Emulation.setDeviceMetricsOverride", &size);
    // The server collects its sessions once a second.
    until("the page does not show the session", || {
        page.go_to(&format!("http://127.0.0.1:{port}/"));
        page.value(
            "document.querySelector('#sessions td[data-label=User]')?.textContent === 'anonymous'",
        ) == true
    });
    assert_eq!(page.value("document.getElementById('hold').hidden"), true, "it does nothing");
    page.wait_for("document.documentElement.scrollWidth === document.documentElement.clientWidth");
    assert_eq!(page.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_is_accessible_in_light_and_dark_and_in_every_width() {
    let port = free_port();
    let server = Running::start(&["--status", &port.to_string(), "--status-paths"]);
    let Some(mut page) = Page::open(server.folder.path()) else {
        return skip("chromium is not installed");
    };
    let name = format!("{}.bin", "a-long-name-".repeat(12));
    fs::write(server.folder.path().join("root").join(&name), noise(64 << 20)).unwrap();
    let mut client = RawClient::log_in(server.address);
    let _data = client.open_data();
    assert!(client.ask(&format!("RETR {name}")).starts_with("150 "));
    page.go_to(&format!("http://127.0.0.1:{port}/"));
    page.wait_for("document.querySelector('#sessions td[data-label=State]')?.textContent.includes('a-long-name')");
    for scheme in ["light", "dark"] {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        page.call("Emulation.setEmulatedMedia", &features);
        for width in [320, 640, 900, 1280] {
            let size =
                json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
            page.call("Emulation.setDeviceMetricsOverride", &size);
            assert_eq!(page.value(ACCESSIBILITY), json!([]), "{scheme}, {width} pixels");
            page.wait_for(
                "document.documentElement.scrollWidth === document.documentElement.clientWidth",
            );
        }
    }
    // The script sees what is wrong.
    page.value("document.documentElement.lang = ''; document.getElementById('hold').style = 'color:#777;background:#555'; 0");
    let wrong = page.value(ACCESSIBILITY).to_string();
    assert!(wrong.contains("no language") && wrong.contains("has a contrast of"), "{wrong}");
}
