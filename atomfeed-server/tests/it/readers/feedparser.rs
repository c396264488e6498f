use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tempfile::NamedTempFile;

use super::{Reader, Seen, SeenEntry, by_relation};

/// Python's feedparser, in a process of its own.
pub(super) struct Feedparser {
    python: Child,
    pages: ChildStdin,
    answers: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Answer {
    /// Why it took the page for no well-formed one (`bozo`).
    fault: Option<String>,
    version: String,
    id: String,
    title: String,
    updated: DateTime<Utc>,
    is_archive: bool,
    links: Vec<(String, String)>,
    entries: Vec<AnswerEntry>,
}

#[derive(Deserialize)]
struct AnswerEntry {
    id: String,
    title: String,
    content: String,
    updated: DateTime<Utc>,
    published: DateTime<Utc>,
    categories: Vec<String>,
}

impl Feedparser {
    /// `None` where `ATOMFEED_FEEDPARSER` is not set; it is the path of a Python that has it.
    pub(super) fn start() -> Option<Self> {
        let python = std::env::var_os("ATOMFEED_FEEDPARSER")?;
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/readers/read_with_feedparser.py"
        );
        let mut python = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Self {
            pages: python.stdin.take().unwrap(),
            answers: BufReader::new(python.stdout.take().unwrap()),
            python,
        })
    }
}

impl Reader for Feedparser {
    fn name(&self) -> &'static str {
        "feedparser"
    }

    fn read(&mut self, page: &[u8]) -> Seen {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(page).unwrap();
        writeln!(self.pages, "{}", file.path().display()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let feed: Answer = serde_json::from_str(&answer).unwrap();
        assert_eq!(feed.fault, None);
        assert_eq!(feed.version, "atom10");
        Seen {
            id: feed.id,
            title: feed.title,
            updated: feed.updated,
            links: by_relation(feed.links),
            is_archive: Some(feed.is_archive),
            entries: feed.entries.into_iter().map(entry).collect(),
        }
    }
}

impl Drop for Feedparser {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}

fn entry(entry: AnswerEntry) -> SeenEntry {
    SeenEntry {
        id: entry.id,
        title: entry.title,
        content: entry.content,
        updated: entry.updated,
        published: entry.published,
        categories: entry.categories,
    }
}
