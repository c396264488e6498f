//! A hospital that runs, and what a person does in its console.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::programs::{Finished, PATIENCE, Program};

/// A hospital is five processes, which are busy: several at once would be too much for a small machine.
pub(super) async fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

pub(super) fn is_full() -> bool {
    std::env::var("ATOMFEED_FULL").is_ok_and(|value| value == "1")
}

/// How the last line begins, whatever has come of it.
const VERDICTS: [&str; 2] = ["all systems agree: ", "not in agreement: "];

pub(super) struct Run(Program);

impl Run {
    /// Starts a hospital on free ports.
    pub(super) fn start(arguments: &[&str]) -> Self {
        let arguments = [&["--any-port"], arguments].concat();
        Self(Program::start("hospital", &arguments))
    }

    /// Waits for a line. There is one now and then, as long as it goes on.
    #[track_caller]
    pub(super) fn say(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut seen = 0;
        loop {
            let lines = self.0.stdout.wait_for(what, |lines| {
                (lines.len() > seen).then(|| lines[seen..].to_vec())
            });
            seen += lines.len();
            if let Some(line) = lines.into_iter().find(|line| is_it(line)) {
                return line;
            }
        }
    }

    /// Whether it has said whether all agree.
    pub(super) fn has_verdict(&self) -> bool {
        self.0.stdout.lines().iter().any(|line| is_verdict(line))
    }

    pub(super) fn enter(&mut self) {
        self.0.write("\n");
    }

    pub(super) fn finish(self) -> Finished {
        self.0.finish()
    }

    /// Waits until it has said whether all agree, and has ended.
    #[track_caller]
    pub(super) fn until_it_ends(self) -> Ended {
        self.say("whether all agree", is_verdict);
        Ended(self.0.finish())
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn terminate(self) -> Finished {
        self.0.terminate();
        self.0.finish()
    }
}

fn is_verdict(line: &str) -> bool {
    VERDICTS.iter().any(|verdict| line.starts_with(verdict))
}

/// A hospital that has ended.
#[derive(Debug)]
pub(super) struct Ended(Finished);

impl std::ops::Deref for Ended {
    type Target = Finished;

    fn deref(&self) -> &Finished {
        &self.0
    }
}

impl Ended {
    /// That all systems agreed in the end, on so many events.
    #[track_caller]
    pub(super) fn assert_agrees(&self, events: usize) {
        let expected = format!("all systems agree: {events} events, 0 differences");
        let last = self.0.stdout.last();
        assert_eq!(last, Some(&expected), "{self:#?}");
        self.0.assert_status(0);
    }
}

/// A person at the console.
pub(super) struct Approver {
    base: String,
    password: String,
    http: reqwest::Client,
    answered: AtomicI64,
}

impl Approver {
    pub(super) fn of(run: &Run) -> Self {
        let line = run.say("where the console is", |line| line.starts_with("console: "));
        let words: Vec<_> = line.split(' ').collect();
        let [_, base, .., password] = words[..] else {
            panic!("{line}");
        };
        // Fails when there is one already, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build();
        Self {
            base: base.to_owned(),
            password: password.to_owned(),
            http: http.unwrap(),
            answered: AtomicI64::new(0),
        }
    }

    async fn get(&self, path: &str) -> reqwest::Result<Value> {
        let request = self.http.get(format!("{}api/systems/{path}", self.base));
        let request = request.basic_auth("admin", Some(&self.password));
        let answer = request.send().await?.error_for_status()?;
        let text = answer.text().await?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// How many events a system has parked.
    pub(super) async fn parked(&self, system: &str) -> reqwest::Result<usize> {
        let parked = self.get(&format!("{system}/failed?limit=1000")).await?;
        Ok(parked.as_array().unwrap().len())
    }

    /// Approves of all sales that the ERP has refused, and says of how many.
    pub(super) async fn approve_all(&self) -> reqwest::Result<i64> {
        self.answer_all("edit").await
    }

    /// Has all sales that the ERP has refused passed over for good, and says how many.
    pub(super) async fn skip_all(&self) -> reqwest::Result<i64> {
        self.answer_all("skip").await
    }

    /// How many answers the console has taken, in all.
    pub(super) fn answered(&self) -> i64 {
        self.answered.load(Ordering::Relaxed)
    }

    async fn answer_all(&self, kind: &str) -> reqwest::Result<i64> {
        let refused = "ERP/failed?error=exceeds+the+limit&limit=1000";
        let mut answered = 0;
        for parked in self.get(refused).await?.as_array().unwrap() {
            answered += i64::from(self.answer(parked, kind).await?);
        }
        Ok(answered)
    }

    /// Whether it was still to be answered.
    async fn answer(&self, parked: &Value, kind: &str) -> reqwest::Result<bool> {
        let Ok(event) = self.get(&format!("ERP/failed/{}", parked["id"])).await else {
            return Ok(false); // it has succeeded meanwhile
        };
        let content = event["content"].as_str().unwrap();
        if content.contains("approved=yes") {
            return Ok(false);
        }
        let mut wish = json!({
            "kind": kind,
            "feed": parked["feed"],
            "failed_event_id": parked["id"],
            "why": "the head of the pharmacy has said so",
        });
        if kind == "edit" {
            wish["detail"] = format!("{content}&approved=yes").into();
        }
        let actions = format!("{}api/systems/ERP/actions", self.base);
        let asked = self
            .http
            .post(actions)
            .basic_auth("admin", Some(&self.password))
            .header("content-type", "application/json")
            .body(wish.to_string())
            .send()
            .await?;
        match asked.status().as_u16() {
            202 => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            // It was asked for a moment ago; or the database is busy, and it is asked for again.
            409 | 503 => Ok(false),
            status => panic!("{status}: {}", asked.text().await?),
        }
    }
}
