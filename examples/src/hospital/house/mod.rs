//! The hospital as a whole: starts its systems, has them live through a day, looks whether all agree, and ends
//! them.
//!
//! `day` puts into the EMR what `plan` says, while `faults` go on; `counts` tell when all of it was applied, and
//! `agreement` compares what is there then. `supervisor` looks after the processes, and `desk` is the console.

mod agreement;
mod counts;
mod databases;
mod day;
mod desk;
mod faults;
mod measured;
mod plan;
mod supervisor;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use atomfeed_client::CancellationToken;
use chrono::Utc;
use tokio::sync::{oneshot, watch};

use self::agreement::Agreement;
use self::counts::{Counts, Wait};
use self::databases::Databases;
use self::desk::Desk;
use self::measured::Lags;
use self::plan::{Plan, WITH_UNKNOWN_TEST, Wishes};
use self::supervisor::Supervisor;
use super::documents::LabTest;
use super::emr::{EmrClient, Rejected};
use super::system::{Addresses, RealSystems, System};
use super::{Data, feeds};

/// How long the EMR may be away while something is put.
const EMR_AWAY: Duration = Duration::from_secs(300);

/// How often it is said how many events are put.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// What a hospital is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its databases are.
    pub data: Data,
    /// Where its systems listen.
    pub addresses: Addresses,
    /// Where the console listens.
    pub console: SocketAddr,
    /// What there is in the place of stand-ins.
    pub real: RealSystems,
    /// How long nothing may get better before it is given up that all will agree.
    pub patience: Duration,
}

impl Settings {
    /// Where a system is, or what is in its place.
    fn place(&self, system: System) -> String {
        let real = match system {
            System::Erp => self.real.odoo.as_ref().map(|odoo| odoo.url.to_string()),
            System::Imaging => self.real.modality.clone(),
            System::Emr | System::Lab => None,
        };
        real.unwrap_or_else(|| self.addresses.of(system).to_string())
    }

    /// The options by which a system is told of all that: a process of this program.
    fn options(&self, system: System) -> anyhow::Result<Vec<OsString>> {
        let mut options = self.data.options().to_vec();
        let mut add = |name: &str, value: String| options.extend([name.to_owned(), value]);
        add("--listen", self.addresses.of(system).to_string());
        add("--emr", self.addresses.url(System::Emr)?.into());
        add("--lab", self.addresses.url(System::Lab)?.into());
        if let Some(odoo) = &self.real.odoo {
            add("--odoo", odoo.url.to_string());
            add("--odoo-database", odoo.database.clone());
            add("--odoo-user", odoo.user.clone());
            add("--odoo-password", odoo.password.clone());
        }
        if let Some(modality) = &self.real.modality {
            add("--modality", modality.clone());
        }
        Ok(options.into_iter().map(OsString::from).collect())
    }
}

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
    patience: Duration,
    /// So many events there were in the beginning.
    before: i64,
    /// So many more there are to be.
    expected: usize,
    /// When the first of these was put, in milliseconds since 1970.
    begun: Option<i64>,
}

impl House {
    /// Starts all systems, each as a process of this program, and the console. They end with this process,
    /// whatever becomes of it.
    ///
    /// # Errors
    ///
    /// When a database cannot be opened, or a system or the console cannot be started.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let Settings {
            data,
            addresses,
            real,
            ..
        } = settings;
        let databases = Databases::open(data, real).await?;
        databases.follow(addresses).await?;
        let before = databases.events().await?;
        let stop = CancellationToken::new();
        let desk = Desk::open(settings.console, &databases, stop.clone()).await?;
        let supervisor = Supervisor::start(|system| settings.options(system)).await?;
        for system in System::ALL {
            println!("{system}: {}", settings.place(system));
        }
        let client = EmrClient::new(addresses.url(System::Emr)?)?.with_patience(EMR_AWAY);
        Ok(Self {
            databases,
            supervisor,
            client,
            desk,
            stop,
            patience: settings.patience,
            before,
            expected: 0,
            begun: None,
        })
    }

    /// Uploads a file of drugs to the EMR, and says which of its rows were left out, and why.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is refused as a whole.
    pub async fn upload_drugs(&mut self, file: &Path) -> anyhow::Result<()> {
        let csv = std::fs::read(file)
            .with_context(|| format!("reading --drugs {}", file.display()))?;
        self.begun
            .get_or_insert_with(|| Utc::now().timestamp_millis());
        let uploaded = self.client.upload_drugs(csv).await;
        let uploaded = uploaded.with_context(|| format!("uploading {}", file.display()))?;
        for Rejected { line, reason } in &uploaded.rejected {
            println!("line {line}: {reason}");
        }
        println!(
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
        let plan = Plan::of(Wishes {
            events,
            before: self.databases.events().await?,
            over_limit: day.over_limit,
            with_unknown_test: day.with_unknown_test,
        });
        self.expected += events;
        if let Some(test) = plan.unknown_test.clone() {
            self.mend_when_asked(test);
        }
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
            faults::say(events, progress.clone(), SAY_EVERY),
        );
        self.begun.get_or_insert(begun?.timestamp_millis());
        println!("all of {events} events are put, or follow from what is");
        Ok(())
    }

    /// Says how the order of an unknown test can be mended, and mends it when asked.
    fn mend_when_asked(&self, test: LabTest) {
        println!(
            "one lab order is of a test that neither lab nor ERP was told of: {}. They park it, which {}failed \
             shows; all others flow. To mend it press Enter: the EMR then tells of the test, and what is parked is \
             tried again within a minute, or when you ask for it there",
            test.name, self.desk.url
        );
        let (asks, asked) = oneshot::channel();
        // No task: a runtime would wait for it in the end.
        std::thread::spawn(move || {
            let mut line = String::new();
            if std::io::stdin()
                .read_line(&mut line)
                .is_ok_and(|read| read > 0)
            {
                // Fails when nobody waits any more.
                let _ = asks.send(());
            }
        });
        let client = self.client.clone();
        tokio::spawn(async move {
            if asked.await.is_err() {
                return;
            }
            match client.put_lab_test(&test).await {
                Ok(_) => println!("the EMR has told of the test {}", test.name),
                Err(error) => eprintln!("hospital: telling of {}: {error:#}", test.name),
            }
        });
    }

    /// Waits until everything was applied everywhere, compares what all systems have, and prints what came of
    /// it. The last line says whether they agree.
    ///
    /// # Errors
    ///
    /// When a database cannot be read.
    pub async fn prove(&self) -> anyhow::Result<bool> {
        let wait = Wait {
            expected: self.before + i64::try_from(self.expected)?,
            patience: self.patience,
        };
        let (agreement, events) = loop {
            let counts = wait.until_settled(&self.databases).await?;
            let events = usize::try_from(counts.published() - self.before).unwrap_or(0);
            let agreement = Agreement::read(&self.databases, self.expected, events).await?;
            // Else something has gone on while it was read.
            if Counts::read(&self.databases).await? == counts {
                break (agreement, events);
            }
        };
        println!("\n{agreement}");
        if let Some(since) = self.begun {
            let flows = agreement.flows();
            println!("{}", Lags::since(since, flows));
            if let Some(a_second) = measured::a_second(events, since, flows) {
                println!("{a_second:.1} events a second through the whole hospital");
            }
        }
        if let Some(memory) = measured::memory(&self.supervisor) {
            println!("{memory}");
        }
        for difference in agreement.differences() {
            println!("{difference}");
        }
        let differences = agreement.count();
        match differences {
            0 => println!("all systems agree: {events} events, 0 differences"),
            _ => println!("not in agreement: {events} events, {differences} differences"),
        }
        Ok(differences == 0)
    }

    /// Says what there is to look at while the hospital goes on.
    pub fn say_what_to_look_at(&self, emr: SocketAddr) {
        let (user, password) = (feeds::USER, feeds::PASSWORD);
        println!(
            "
the hospital goes on until Ctrl-C. Look at
  the console   {}
  a feed        curl -c cookies -u {user}:{password} http://{emr}/openmrs/ws/rest/v1/session
                curl -b cookies http://{emr}/openmrs/ws/atomfeed/encounter/recent
and then break things, and see that nothing gets lost:
  --break erp|lab|emr|imaging   a system is down for a third of the day
  --break order                 a lab order that the lab cannot take, until somebody mends it
  --over-limit 5                sales that the ERP refuses until a person approves of them in the console
  --load 2000 --kill            each system is killed, again and again, while there is much to do",
            self.desk.url
        );
    }

    /// Ends all systems and the console.
    pub async fn close(self) {
        self.supervisor.end().await;
        self.stop.cancel();
        self.desk.closed().await;
    }
}
