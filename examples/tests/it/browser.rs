//! Chromium, driven through chromedriver, on a port and in a folder of the test's.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::programs::PATIENCE;

/// How a browser is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) has_script: bool,
    pub(crate) is_dark: bool,
}

impl Kind {
    pub(crate) const DESK: Self = Self {
        width: 1_280,
        height: 900,
        has_script: true,
        is_dark: false,
    };
    pub(crate) const PHONE: Self = Self {
        width: 375,
        height: 812,
        has_script: true,
        is_dark: false,
    };
}

/// A browser; it is ended when this is dropped.
pub(crate) struct Browser {
    pub(crate) client: Client,
    driver: Child,
    _folder: TempDir,
    kind: Kind,
}

impl Browser {
    /// `None`, having said why, where there is no Chromium; where there must be one, ATOMFEED_CHROMIUM is set.
    pub(crate) async fn open(kind: Kind) -> Option<Self> {
        let is_there = |program: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        if !is_there("chromedriver") || !is_there("chromium") {
            let is_wanted = std::env::var_os("ATOMFEED_CHROMIUM").is_some();
            assert!(
                !is_wanted,
                "ATOMFEED_CHROMIUM is set, and there is no Chromium"
            );
            println!(
                "nothing is tested: there is no Chromium; on Debian, install chromium and chromium-driver"
            );
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut ports = said.map_while(Result::ok).filter_map(|line| {
            let port = line.split("on port ").nth(1)?.trim_end_matches('.');
            port.parse::<u16>().ok().filter(|port| *port > 0)
        });
        let port = ports.next().expect("chromedriver says its port");
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={},{}", kind.width.max(500), kind.height),
            format!("--user-data-dir={}", folder.path().display()),
        ];
        if kind.is_dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut options = json!({ "args": arguments });
        // No window is as narrow as a phone: it is shown as on one.
        if kind.width < 500 {
            options["mobileEmulation"] = json!({
                "deviceMetrics": { "width": kind.width, "height": kind.height, "pixelRatio": 1.0 },
            });
        }
        if !kind.has_script {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Some(Self {
            client,
            driver,
            _folder: folder,
            kind,
        })
    }

    pub(crate) async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        let found = self.client.find(Locator::Css(css)).await;
        match found {
            Ok(found) => found,
            Err(error) => panic!("{css}: {error}\n{}", self.text().await),
        }
    }

    /// Follows the link with this text, or one that begins with it.
    pub(crate) async fn follow(&self, text: &str) {
        let found = self.client.find(Locator::LinkText(text)).await;
        let link = match found {
            Ok(link) => link,
            Err(_) => match self
                .client
                .find(Locator::XPath(&format!(
                    "//a[starts-with(normalize-space(.), '{text}')]"
                )))
                .await
            {
                Ok(link) => link,
                Err(error) => panic!("{text}: {error}\n{}", self.text().await),
            },
        };
        link.click().await.unwrap();
    }

    pub(crate) async fn press(&self, text: &str) {
        let button = format!("//main//button[normalize-space(.)='{text}']");
        match self.client.find(Locator::XPath(&button)).await {
            Ok(button) => button.click().await.unwrap(),
            Err(error) => panic!("{text}: {error}\n{}", self.text().await),
        }
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub(crate) fn has_script(&self) -> bool {
        self.kind.has_script
    }

    /// What stands on the page.
    pub(crate) async fn text(&self) -> String {
        let body = self.client.find(Locator::Css("body")).await.unwrap();
        body.text().await.unwrap()
    }

    /// Waits until the page says something; without script, it is loaded again and again.
    pub(crate) async fn until(&self, words: &str) -> String {
        let begun = Instant::now();
        loop {
            // What is being replaced has no text.
            let body = self.client.find(Locator::Css("body")).await;
            if let Ok(body) = body
                && let Ok(text) = body.text().await
            {
                if text.contains(words) {
                    return text;
                }
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{words:?} is never said: {text}"
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !self.kind.has_script {
                self.client.refresh().await.unwrap();
            }
        }
    }

    /// That the page is as wide as the window, and no wider.
    pub(crate) async fn assert_fits(&self) {
        if !self.kind.has_script {
            return;
        }
        let widths = "return [document.documentElement.scrollWidth, window.innerWidth]";
        let widths = self.client.execute(widths, Vec::new()).await.unwrap();
        let url = self.client.current_url().await.unwrap();
        assert!(
            widths[0].as_u64() <= widths[1].as_u64(),
            "{url} is too wide: {widths}"
        );
    }

    /// That axe-core, whose script ATOMFEED_AXE names, finds nothing to object to.
    pub(crate) async fn assert_accessible(&self) {
        let Some(axe) = std::env::var_os("ATOMFEED_AXE").map(PathBuf::from) else {
            println!("axe-core is not run: ATOMFEED_AXE names no script");
            return;
        };
        let axe = std::fs::read_to_string(axe).unwrap();
        self.client.execute(&axe, Vec::new()).await.unwrap();
        let run = "const done = arguments[arguments.length - 1];
            axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
                .then(found => done(found.violations.map(v => [v.id, v.nodes.map(n => n.html).slice(0, 3)])),
                      error => done([String(error)]));";
        let found: Value = self.client.execute_async(run, Vec::new()).await.unwrap();
        let url = self.client.current_url().await.unwrap();
        assert_eq!(found, json!([]), "{url}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with it.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
