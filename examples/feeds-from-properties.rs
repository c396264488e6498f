//! Follows all feeds that the property file of one of the original's programs names
//! (`erp-atomfeed.properties`, `atomfeed.properties`), as it is, and prints every event as a JSON object a
//! line. Put your own `EventWorker` in the place of `PrintLines`.
//!
//! `cargo run --example feeds-from-properties -- erp-atomfeed.properties --adopt --plan`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, AtomFeedClients, CancellationToken, Event, EventWorker, FailureExt, Handled,
    Schedule, WorkerError,
};
use atomfeed_core::store::{Adoption, ConsumerStore, SchemaName, TableZone};
use atomfeed_examples::Database;
use atomfeed_examples::properties::{
    FeedsConfig, Given, PlannedJob, Sources, Wanted, When, quartz_jobs,
};
use clap::Parser;
use serde::Serialize;
use tokio::task::JoinSet;

/// Follows all feeds that a property file names, and prints every event as a JSON object a line.
#[derive(Parser)]
struct Args {
    /// erp-atomfeed.properties or atomfeed.properties as it is, or the same as JSON (FILE.json)
    file: PathBuf,
    /// Where markers and failed events are kept: sqlite:FILE (made when missing), postgres://…,
    /// mysql://… (MariaDB) or memory: [default: as jdbc.* in the file has it]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The schema (on MariaDB: the database) of the tables [default: on PostgreSQL, as
    /// atomdb.default_schema in the file has it]
    #[arg(long, value_name = "NAME")]
    schema: Option<SchemaName>,
    /// Uses the tables of another program as they are, instead of making our own
    #[arg(long)]
    adopt: bool,
    /// The zone of schedules [default: the machine's], and of times in adopted columns that name none
    /// [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<TableZone>,
    /// When to read feeds of which neither the file nor the table quartz_cron_scheduler says it, as a
    /// cron expression of Quartz: "0/30 * * * * ?"
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<Schedule>,
    /// Reads each feed up to its newest event, one after the other, and ends
    #[arg(long)]
    once: bool,
    /// Follows only the feed of this job (saleorder, openmrs.encounter); may be given more than once
    #[arg(long, value_name = "JOB")]
    only: Vec<String>,
    /// Says what would be done, and ends
    #[arg(long)]
    plan: bool,
}

/// So many of the feeds that begin at the same time apply events at once, at most; what there is no connection
/// of the store for waits for one.
const AT_ONCE: usize = 4;

/// So long the events in hand may still take when the program is to end.
const STOP_WITHIN: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    atomfeed_examples::log_to_stderr();
    let args = Args::parse();
    let stop = when_asked();
    let given = Given {
        database: args.database.as_deref(),
        schema: args.schema.as_ref(),
    };
    let (config, unused) = FeedsConfig::read(&args.file, given)?;
    let database = config.database.as_ref().with_context(|| {
        format!(
            "{} names no database (jdbc.url): give --database URL, the one that the markers are in",
            args.file.display()
        )
    })?;
    let schema = config.schema.as_ref();
    let reading = quartz_jobs(database.reveal(), schema);
    let Some(rows) = stop.run_until_cancelled(reading).await else {
        return Ok(());
    };
    let rows = rows?;
    // Before it may be refused: a row that is meant for a job may be among them.
    for row in config.unused_rows(&rows) {
        eprintln!("not used: {row}");
    }
    let planned = config.plan(
        &rows,
        &Wanted {
            only: &args.only,
            cron: args.cron.as_ref(),
            zone: args.time_zone,
            once: args.once,
        },
    )?;
    for job in &planned {
        eprintln!("{job}");
    }
    for key in &unused {
        eprintln!("not used: {key}");
    }
    if args.plan {
        return Ok(());
    }
    ensure!(
        planned.iter().any(PlannedJob::runs),
        "none of these jobs runs: see why above"
    );
    let zone = args.time_zone.unwrap_or_default();
    let adoption = args.adopt.then(|| Adoption::of_consumer().in_zone(zone));
    let opening = Database::open(database.reveal(), schema, adoption.as_ref());
    let Some(opened) = stop.run_until_cancelled(opening).await else {
        return Ok(());
    };
    match opened? {
        Database::Memory(store) => run(&config, &planned, store, stop).await,
        Database::Sqlite(store) => run(&config, &planned, store, stop).await,
        Database::Postgres(store) => run(&config, &planned, store, stop).await,
        Database::MySql(store) => run(&config, &planned, store, stop).await,
    }
}

/// Cancelled when the program is asked to end.
fn when_asked() -> CancellationToken {
    let stop = CancellationToken::new();
    let (stopped, asked) = (stop.clone(), atomfeed_examples::stopped());
    tokio::spawn(async move {
        asked.await;
        stopped.cancel();
    });
    stop
}

/// Prints events. This is where your own work goes: an `EventWorker` for each job (`clients` makes them), which
/// writes by the connection that it is lent, in the transaction that moves the marker, and without
/// `has_other_effects` then.
struct PrintLines {
    job: String,
}

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for PrintLines {
    async fn process(&self, event: &Event, _conn: &mut C) -> Result<Handled, WorkerError> {
        let line = serde_json::to_string(&Line {
            job: &self.job,
            event_id: event.id().as_str(),
            title: event.title(),
            content: event.content(),
        })?;
        // Who reads them may be back soon: until then the feed waits.
        writeln!(std::io::stdout().lock(), "{line}").transient()?;
        Ok(Handled::Applied)
    }

    /// What is printed is not undone with the transaction.
    fn has_other_effects(&self) -> bool {
        true
    }
}

/// What is printed of an event.
#[derive(Serialize)]
struct Line<'a> {
    job: &'a str,
    event_id: &'a str,
    title: &'a str,
    content: &'a str,
}

async fn run<S: ConsumerStore + Clone>(
    config: &FeedsConfig,
    planned: &[PlannedJob],
    store: S,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (mut once, mut waves) = (Vec::new(), BTreeMap::new());
    for (job, client) in clients(config, planned, store)? {
        match job.when {
            When::Once => once.push((job, client)),
            When::Scheduled { delay, .. } => waves
                .entry(delay)
                .or_insert_with(|| AtomFeedClients::new(AT_ONCE))
                .add(client),
            When::Never { .. } => {}
        }
    }
    match once.is_empty() {
        true => follow(waves, stop).await,
        false => read_once(once, stop).await,
    }
}

/// The jobs that run, and a client of each.
type Clients<'a, C> = Vec<(&'a PlannedJob, AtomFeedClient<C>)>;

/// A client for each job that runs.
fn clients<'a, S: ConsumerStore + Clone>(
    config: &FeedsConfig,
    planned: &'a [PlannedJob],
    store: S,
) -> anyhow::Result<Clients<'a, S::Conn>> {
    let mut sources = Sources::default();
    let mut clients = Vec::new();
    for planned in planned.iter().filter(|planned| planned.runs()) {
        let feed = &planned.job.feed;
        let source = sources.of(feed, config)?;
        let mut builder = AtomFeedClient::builder(feed.clone(), source).stop_within(STOP_WITHIN);
        if let Some(events) = config.max_failed_events {
            builder = builder.max_failed_events(events);
        }
        if let Some(retries) = config.max_retries {
            builder = builder.max_retries(retries);
        }
        if let When::Scheduled { schedule, .. } = &planned.when {
            builder = builder.schedule(schedule.clone());
        }
        let worker = PrintLines {
            job: planned.job.name.clone(),
        };
        clients.push((planned, builder.build(store.clone(), worker)));
    }
    Ok(clients)
}

/// Reads each feed up to its newest event. One that cannot be read keeps no other from it.
async fn read_once<C: ?Sized + Send + 'static>(
    clients: Vec<(&PlannedJob, AtomFeedClient<C>)>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (planned, client) in clients {
        let name = planned.job.name.as_str();
        // Who is told to end in the middle of an event has not applied it.
        match stop.run_until_cancelled(client.process_events()).await {
            None => return Ok(()),
            Some(Ok(processed)) => eprintln!(
                "job {name}: {} events applied, {} parked",
                processed.applied,
                processed.failed + processed.held
            ),
            Some(Err(error)) => {
                eprintln!("job {name}: {:#}", anyhow::Error::from(error));
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("not read to the end: {}", failed.join(", "));
    }
    Ok(())
}

/// Follows the feeds until the program is asked to end: those that begin at the same time together.
async fn follow(
    waves: BTreeMap<Duration, AtomFeedClients>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for (delay, clients) in waves {
        let stop = stop.clone();
        running.spawn(async move {
            let begins = tokio::time::sleep(delay);
            if stop.run_until_cancelled(begins).await.is_some() {
                clients.run(stop).await;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.context("following the feeds")?;
    }
    ensure!(
        stop.is_cancelled(),
        "no feed is followed any longer: what has ended them is said above"
    );
    Ok(())
}
