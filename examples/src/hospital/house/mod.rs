//! The hospital as a whole: starts its systems, has them live through a day, looks whether all agree, and ends
//! them.
//!
//! `day` puts into the EMR what `plan` says, while `faults` go on; `counts` tell when all of it was applied, and
//! `agreement` compares what is there then. `supervisor` looks after the processes, and `desk` is the console.
//! `mends` says what a person is to do about what is broken on purpose.

/// Prints a line; where nobody reads any more (`| head`), it is lost.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;

        // Fails when standard output is closed.
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod agreement;
mod counts;
mod databases;
mod day;
mod desk;
mod faults;
mod measured;
mod mends;
mod plan;
mod process;
mod settings;
mod supervisor;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use atomfeed_client::CancellationToken;
use chrono::Utc;
use tokio::sync::{OnceCell, watch};
use tokio::time::sleep;
use url::Url;

use self::agreement::Agreement;
use self::counts::{Counts, Wait};
use self::databases::Databases;
use self::desk::Desk;
use self::measured::Lags;
use self::mends::Mends;
use self::plan::{Plan, WITH_UNKNOWN_TEST, Wishes};
pub use self::settings::Settings;
use self::supervisor::Supervisor;
use super::emr::{EmrClient, Rejected};
use super::feeds;
use super::system::System;

/// How long the EMR may be away while something is put.
const EMR_AWAY: Duration = Duration::from_secs(300);

/// How often it is said how many events are put.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether something has changed since all was compared.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a person may take, in the end: longer than anybody looks on.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a day is to be like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Day {
    /// So many events, in the EMR and the lab together.
    pub events: usize,
    /// So many a second; as many as the EMR takes where nothing is said.
    pub rate: Option<f64>,
    /// So many percent of the encounters have a sale over the limit of the ERP.
    pub over_limit: usize,
    /// Whether each system is killed and started again in turn.
    pub with_kills: bool,
    /// The system that is down for the middle third.
    pub down: Option<System>,
    /// Whether one lab order is of a test that nobody was told of.
    pub with_unknown_test: bool,
}

/// A hospital that is open.
#[derive(Debug)]
pub struct House {
    databases: Databases,
    supervisor: Supervisor,
    client: EmrClient,
    desk: Desk,
    stop: CancellationToken,
    emr: Url,
    patience: Duration,
    is_looked_at: bool,
    mends: Mends,
    /// So many events there were in the beginning, once that has been asked for.
    before: OnceCell<i64>,
    /// So many more there are to be.
    expected: usize,
    /// When the first of these was put, in milliseconds since 1970.
    begun: Option<i64>,
    /// How far the systems were when all was compared last.
    compared: watch::Sender<Counts>,
}

impl House {
    /// Starts all systems, each as a process of this program, and the console. They end with this process,
    /// whatever becomes of it. `None` when it is to end before all have started.
    ///
    /// # Errors
    ///
    /// When a database cannot be opened, or a system or the console cannot be started.
    pub async fn open(
        settings: &Settings,
        end: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let Settings {
            data,
            addresses,
            real,
            ..
        } = settings;
        let databases = async {
            let databases = Databases::open(data, real).await?;
            databases.follow(addresses).await?;
            anyhow::Ok(databases)
        };
        let Some(databases) = end.run_until_cancelled(databases).await else {
            return Ok(None);
        };
        let databases = databases?;
        let emr = addresses.url(System::Emr)?;
        let client = EmrClient::new(emr.clone())?.with_patience(EMR_AWAY);
        let starts = System::ALL.map(|system| settings.start(system));
        let starts = starts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let stop = CancellationToken::new();
        let desk = Desk::open(settings.console, &databases, stop.clone()).await?;
        let supervisor = match Supervisor::start(starts, end).await {
            Ok(Some(supervisor)) => supervisor,
            failed => {
                stop.cancel();
                desk.closed().await;
                return failed.map(|_| None);
            }
        };
        for system in System::ALL {
            say!("{system}: {}", settings.place(system));
        }
        say!("console: {}", desk.whereabouts());
        Ok(Some(Self {
            databases,
            supervisor,
            client,
            desk,
            stop,
            emr,
            patience: settings.patience,
            is_looked_at: settings.is_looked_at,
            mends: Mends::default(),
            before: OnceCell::new(),
            expected: 0,
            begun: None,
            compared: watch::Sender::new(Counts::default()),
        }))
    }

    /// Uploads a file of drugs to the EMR, and says which of its rows were left out, and why.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is refused as a whole.
    pub async fn upload_drugs(&mut self, file: &Path) -> anyhow::Result<()> {
        let csv =
            std::fs::read(file).with_context(|| format!("reading --drugs {}", file.display()))?;
        self.before().await?;
        self.begun
            .get_or_insert_with(|| Utc::now().timestamp_millis());
        let uploaded = self.client.upload_drugs(csv).await;
        let uploaded = uploaded.with_context(|| format!("uploading {}", file.display()))?;
        for Rejected { line, reason } in &uploaded.rejected {
            say!("line {line}: {reason}");
        }
        say!(
            "drugs: {} imported, {} known already, {} left out",
            uploaded.imported,
            uploaded.unchanged,
            uploaded.rejected.len()
        );
        self.expected += uploaded.imported;
        Ok(())
    }

    /// Has the hospital live through a day. All of it is put into the EMR then, and much of it is still under way.
    ///
    /// # Errors
    ///
    /// When the EMR refuses something, or is away for too long.
    pub async fn live(&mut self, day: &Day) -> anyhow::Result<()> {
        let events = day.events;
        if events == 0 {
            return Ok(());
        }
        ensure!(
            !day.with_unknown_test || events >= WITH_UNKNOWN_TEST,
            "--break order: a day of {WITH_UNKNOWN_TEST} events, at least, has room for it"
        );
        self.before().await?;
        let plan = Plan::of(Wishes {
            events,
            before: self.databases.events().await?,
            over_limit: day.over_limit,
            with_unknown_test: day.with_unknown_test,
        });
        self.expected += events;
        self.mends = Mends::of(&plan, &self.databases);
        let patience = (!self.is_looked_at).then_some(self.patience);
        self.mends.say(&self.desk, &self.emr, patience);
        self.mends.hear(&self.client);
        let (shows, progress) = watch::channel(0);
        let kills = async {
            if day.with_kills {
                faults::kill_in_turn(&self.supervisor, events, progress.clone()).await;
            }
        };
        let outage = async {
            if let Some(system) = day.down {
                faults::take_down(&self.supervisor, system, events, progress.clone()).await;
            }
        };
        let (begun, (), (), ()) = tokio::join!(
            day::live(plan, &self.client, day.rate, shows),
            kills,
            outage,
            faults::say(events, progress.clone(), SAY_EVERY, &self.databases),
        );
        self.begun.get_or_insert(begun?.timestamp_millis());
        say!("all of {events} events are put, or follow from what is");
        Ok(())
    }

    /// How many events there were in the beginning: before anything is put. What an earlier run has left is still
    /// to make some, and is waited for.
    async fn before(&self) -> anyhow::Result<i64> {
        let before = self.before.get_or_try_init(|| async {
            if self.databases.events().await? == 0 {
                return Ok(0);
            }
            let patience = self.patience;
            let left = Counts::read(&self.databases).await;
            if let Ok(left) = left.as_ref()
                && !left.is_at_rest()
            {
                say!(
                    "an earlier run has left something to do, which may take up to {} s: {left}",
                    patience.as_secs()
                );
            }
            let counts = Wait { patience }.until_at_rest(&self.databases).await?;
            anyhow::Ok(counts.published())
        });
        Ok(*before.await?)
    }

    /// Waits until everything was applied everywhere, compares what all systems have, and prints what came of
    /// it. The last line says whether they agree.
    ///
    /// # Errors
    ///
    /// When a database cannot be read.
    pub async fn prove(&self) -> anyhow::Result<bool> {
        let before = self.before().await?;
        let all = before + i64::try_from(self.expected)?;
        let patience = self.patience;
        let is_first = *self.compared.borrow() == Counts::default();
        let (agreement, events) = loop {
            let settled = Wait { patience }.until_settled(&self.databases, all);
            let counts = settled.await?;
            let events = usize::try_from(counts.published() - before).unwrap_or(0);
            // What people do after the day makes events, too, and nobody knows how many.
            let expected = match is_first {
                true => self.expected,
                false => self.expected.max(events),
            };
            let agreement = Agreement::read(&self.databases, expected, events).await?;
            // Else something has gone on while it was read.
            if Counts::read(&self.databases).await? == counts {
                self.compared.send_replace(counts);
                break (agreement, events);
            }
        };
        say!("\n{agreement}");
        if let Some(since) = self.begun {
            let flows = agreement.flows();
            say!("{}", Lags::since(since, flows));
            if let Some(a_second) = measured::a_second(events, since, flows) {
                say!("{a_second:.1} events a second through the whole hospital");
            }
        }
        if let Some(memory) = measured::memory(&self.supervisor) {
            say!("{memory}");
        }
        for difference in agreement.differences() {
            say!("{difference}");
        }
        say!("{}", agreement.verdict(events));
        Ok(agreement.count() == 0)
    }

    /// The same, but what is broken on purpose may take however long until somebody has mended it.
    ///
    /// # Errors
    ///
    /// As [`prove`](Self::prove).
    pub async fn prove_once_mended(&mut self) -> anyhow::Result<bool> {
        if !self.mends.is_empty() {
            let patience = std::mem::replace(&mut self.patience, FOR_EVER);
            let proved = tokio::select! {
                proved = self.prove() => Some(proved),
                () = self.mends.made(&self.databases) => None,
            };
            self.patience = patience;
            self.mends = Mends::default();
            if let Some(proved) = proved {
                return proved;
            }
        }
        self.prove().await
    }

    /// Waits until something has changed since all was compared last.
    pub async fn until_news(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            // Fails when a database is busy: then it is seen the next time.
            let counts = Counts::read(&self.databases).await;
            if counts.is_ok_and(|counts| counts != *self.compared.borrow()) {
                return;
            }
        }
    }

    /// Says what there is to look at while the hospital goes on.
    pub fn say_what_to_look_at(&self) {
        let (user, password) = (feeds::USER, feeds::PASSWORD);
        say!(
            "
the hospital goes on until Ctrl-C, and compares anew what all have when something has changed. Look at
  the console  {}
  a feed       curl -u {user}:{password} {}openmrs/ws/atomfeed/encounter/recent
and then break things, and see that nothing gets lost. End this one first:
  cargo run --example hospital -- --break erp
    a system is down for a third of the day: erp, lab, emr or imaging
  cargo run --example hospital -- --break order
    a lab order that the lab cannot take, until somebody mends it
  cargo run --example hospital -- --over-limit 5
    sales that the ERP refuses until somebody approves of them in the console: under ERP, open the event, choose
    \"Edit and retry\", and have its content end in &approved=yes
  cargo run --example hospital -- --load 2000 --kill
    each system is killed, again and again, while there is much to do",
            self.desk.whereabouts(),
            self.emr
        );
    }

    /// Ends all systems and the console.
    pub async fn close(self) {
        self.supervisor.end().await;
        self.stop.cancel();
        self.desk.closed().await;
    }
}
