//! Follows a feed and prints every event that it applies as a JSON object a line.
//!
//! `cargo run --example feed-consumer -- --feed http://127.0.0.1:8080/feed/recent --database sqlite:consumer.db --once`

use std::io::{IsTerminal, Write};
use std::marker::PhantomData;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, EventWorker, FailureExt, FeedUri, Handled,
    HttpFeedSource, Outcome, ProcessError, Schedule, StartPosition, WorkerError,
};
use atomfeed_core::store::{Adoption, ConsumerStore, SchemaName, TableZone};
use atomfeed_core::{EntryId, Rebase};
use atomfeed_examples::{AppliedTable, Database};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use regex::Regex;
use serde::Serialize;

/// Follows a feed, and ends with "processed=N failed=N seconds=S" on standard error: N events
/// applied, N failed: parked, or tried again in vain.
#[derive(Parser)]
struct Args {
    /// The feed: the URL of its recent page
    #[arg(long, value_name = "URL",
        required_unless_present_any = ["hand_back", "show_markers", "rebase"])]
    feed: Option<FeedUri>,
    /// Where marker and failed events are kept: sqlite:FILE (made when missing),
    /// postgres://…, mysql://… (MariaDB) or memory:
    #[arg(long, value_name = "URL")]
    database: String,
    /// The schema (on MariaDB: the database) of the tables; made where it is missing on PostgreSQL
    #[arg(long, value_name = "NAME")]
    schema: Option<SchemaName>,
    /// Uses the tables of another program as they are, instead of making our own
    #[arg(long)]
    adopt: bool,
    /// The zone of times in its columns that name none [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "adopt")]
    time_zone: Option<TableZone>,
    /// Reads up to the newest event and ends (what it does unless told otherwise)
    #[arg(long, conflicts_with = "follow")]
    once: bool,
    /// Goes on reading, and retrying what is parked, until it is stopped
    #[arg(long)]
    follow: bool,
    /// Seconds between two readings
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    poll: Duration,
    /// When to read instead, as a cron expression of Quartz: "0/15 * * * * ?"
    #[arg(
        long,
        value_name = "EXPRESSION",
        conflicts_with = "poll",
        requires = "follow"
    )]
    cron: Option<Schedule>,
    /// Where to begin without a marker: beginning, latest, the URL of a page, after:ENTRY-ID or at:TIME
    #[arg(long, value_name = "POSITION", default_value = "beginning")]
    start: StartPosition,
    /// Writes applied(event_id, content) in the worker's transaction
    #[arg(long)]
    apply: bool,
    /// Fails events whose content matches
    #[arg(long, value_name = "REGEX")]
    fail_matching: Option<Regex>,
    /// Fails events whose content matches for now, as if something that is needed were down
    #[arg(long, value_name = "REGEX")]
    transient_matching: Option<Regex>,
    /// A name, where several consumers of one feed share a database
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Stops while so many events are parked, as the original does
    #[arg(long, value_name = "N")]
    max_failed_events: Option<u64>,
    /// How many events to apply in one transaction, at the most
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_1)]
    batch: usize,
    /// How many transactions to work at once, over different resources; on SQLite, one writes at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_1)]
    workers: usize,
    /// Stands by while another consumer of the feed is at work on the same database, and takes over when
    /// it has given no sign of life for 10 s, or for so many
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10",
        require_equals = true, value_parser = seconds, requires = "follow")]
    standby: Option<Duration>,
    /// Retries every parked event now, and ends
    #[arg(long, conflicts_with_all = ["follow", "once"])]
    retry_failed: bool,
    /// Prints what stands in the way of handing the tables back to the program that they were made
    /// for, and ends, with status 1 if something does
    #[arg(long, conflicts_with_all = ["feed", "follow", "retry_failed"])]
    hand_back: bool,
    /// Prints how far each feed was read, and how far behind it was when it was looked at last, as a JSON
    /// object a line, and ends
    #[arg(long, conflicts_with_all = ["feed", "follow", "retry_failed", "hand_back"])]
    show_markers: bool,
    /// Puts the address TO in the place of FROM wherever it is that of a feed or its page, in markers and
    /// what is parked, and ends: http://emr:8050=https://emr.example.org
    #[arg(long, value_name = "FROM=TO",
        conflicts_with_all = ["feed", "follow", "retry_failed", "hand_back", "show_markers"])]
    rebase: Option<Rebase>,
    #[arg(long, value_name = "U", requires = "password")]
    user: Option<String>,
    #[arg(long, value_name = "P", requires = "user")]
    password: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    atomfeed_examples::log_to_stderr();
    let args = Args::parse();
    let begun = Instant::now();
    let counts = Counts::default();
    let zone = args.time_zone.unwrap_or_default();
    let adoption = args.adopt.then(|| Adoption::of_consumer().in_zone(zone));
    let schema = args.schema.as_ref();
    let database = Database::open(&args.database, schema, adoption.as_ref()).await;
    let ended = match database {
        Ok(database) if args.hand_back => match database.print_obstacles().await {
            Ok(is_free) => return ExitCode::from(u8::from(!is_free)),
            Err(error) => Err(error.into()),
        },
        Ok(Database::Memory(store)) => run(args, store, counts.clone()).await,
        Ok(Database::Sqlite(store)) => run(args, store, counts.clone()).await,
        Ok(Database::Postgres(store)) => run(args, store, counts.clone()).await,
        Ok(Database::MySql(store)) => run(args, store, counts.clone()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &ended {
        eprintln!("error: {error:#}");
    }
    let [applied, failed] = [&counts.applied, &counts.failed].map(|n| n.load(Ordering::Relaxed));
    eprintln!(
        "processed={applied} failed={failed} seconds={:.3}",
        begun.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(ended.is_err()))
}

async fn run<S: AppliedTable>(args: Args, store: S, counts: Counts) -> anyhow::Result<()> {
    if args.show_markers {
        return show_markers(&store).await;
    }
    if let Some(rebase) = &args.rebase {
        let mut work = store.begin().await?;
        let rebased = work.rebase(rebase).await.context("--rebase")?;
        if (rebased.markers, rebased.failed_events, rebased.retries) == (0, 0, 0) {
            let markers = work.markers().await?;
            let known: Vec<_> = markers
                .iter()
                .map(|marker| marker.feed_uri().as_str())
                .collect();
            anyhow::bail!("--rebase: no address begins so; there are the feeds {known:?}");
        }
        work.commit().await.context("--rebase")?;
        println!(
            "{} markers, {} failed events and {} failed retries have another address",
            rebased.markers, rebased.failed_events, rebased.retries
        );
        return Ok(());
    }
    if args.apply {
        store.make().await?;
    }
    let feed = args.feed.context("--feed is missing")?;
    let most_failed = args.max_failed_events;
    let mut source = HttpFeedSource::builder(&feed);
    if let (Some(user), Some(password)) = (&args.user, &args.password) {
        source = source.with_basic_auth(user, password);
    }
    let progress = progress();
    let shown = progress.clone();
    let worker = Worker::<S> {
        apply: args.apply,
        fail_matching: args.fail_matching,
        transient_matching: args.transient_matching,
        store: PhantomData,
    };
    let mut builder = AtomFeedClient::builder(feed, source.build()?);
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    if let Some(events) = most_failed {
        builder = builder.max_failed_events(events);
    }
    if let Some(lease) = args.standby {
        builder = builder.standby(lease);
    }
    let client = builder
        .start(args.start)
        .schedule(args.cron.unwrap_or(Schedule::every(args.poll)))
        .batch(args.batch)
        .workers(args.workers)
        .stop_within(Duration::from_secs(30))
        .on_outcome(move |outcome| {
            counts.count(outcome);
            match outcome {
                Outcome::Applied { event } | Outcome::Retried { event } => {
                    shown.suspend(|| print(event));
                }
                _ => {}
            }
            shown.inc(1);
        })
        .build(store, worker);

    let processed: Result<_, ProcessError> = if args.retry_failed {
        client.retry_all_failed_events().await.map(drop)
    } else if args.follow {
        let stop = CancellationToken::new();
        let (stopped, asked) = (stop.clone(), atomfeed_examples::stopped());
        tokio::spawn(async move {
            asked.await;
            stopped.cancel();
        });
        client.run(stop).await
    } else {
        client.process_events().await.map(drop)
    };
    progress.finish_and_clear();
    Ok(processed?)
}

/// Applies events to the table, or not at all, and fails those that it was told to.
struct Worker<S> {
    apply: bool,
    fail_matching: Option<Regex>,
    transient_matching: Option<Regex>,
    store: PhantomData<fn(S)>,
}

#[async_trait]
impl<S: AppliedTable> EventWorker<S::Conn> for Worker<S> {
    async fn process(&self, event: &Event, conn: &mut S::Conn) -> Result<Handled, WorkerError> {
        if let Some(regex) = &self.fail_matching
            && regex.is_match(event.content())
        {
            return Err(WorkerError::new(format!("the content matches {regex}")));
        }
        if let Some(regex) = &self.transient_matching
            && regex.is_match(event.content())
        {
            let error = WorkerError::new(format!("the content matches {regex}, for now"));
            return Err(error).transient();
        }
        if self.apply {
            S::insert(conn, event.id().as_str(), event.content()).await?;
        }
        Ok(Handled::Applied)
    }
}

#[derive(Clone, Default)]
struct Counts {
    applied: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Counts {
    fn count(&self, outcome: &Outcome<'_>) {
        let counted = match outcome {
            Outcome::Applied { .. } | Outcome::Retried { .. } | Outcome::Ignored { .. } => {
                &self.applied
            }
            _ => &self.failed,
        };
        counted.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is printed of an event.
#[derive(Serialize)]
struct Line<'a> {
    event_id: &'a str,
    title: &'a str,
    content: &'a str,
    categories: &'a [String],
    feed_uri: &'a str,
    page_uri: Option<&'a str>,
    updated: Option<String>,
    published: Option<String>,
}

fn print(event: &Event) {
    let line = Line {
        event_id: event.id().as_str(),
        title: event.title(),
        content: event.content(),
        categories: event.categories(),
        feed_uri: event.feed_uri().as_str(),
        page_uri: event.page_uri(),
        updated: event.updated().map(rfc3339),
        published: event.published().map(rfc3339),
    };
    if let Ok(line) = serde_json::to_string(&line) {
        // Whoever reads may have gone: what was applied stays applied all the same.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Shown on a terminal; hidden elsewhere.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}, {elapsed}");
    let bar = ProgressBar::new_spinner();
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| *seconds >= Duration::from_millis(1))
        .ok_or_else(|| "give a number of seconds, 0.001 at least".to_owned())
}

fn at_least_1(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "give a number, 1 at least".to_owned())
}

/// What is printed of a marker.
#[derive(Serialize)]
struct MarkerLine<'a> {
    feed_uri: &'a str,
    last_read_entry_id: Option<&'a str>,
    page_uri: Option<&'a str>,
    parked: u64,
    events_behind: Option<u64>,
    pages_behind: Option<u64>,
    behind_since: Option<String>,
    seen_at: Option<String>,
    succeeded_at: Option<String>,
    error: Option<&'a str>,
}

async fn show_markers<S: ConsumerStore>(store: &S) -> anyhow::Result<()> {
    let mut work = store.begin().await?;
    let statuses = work.statuses().await?;
    for marker in work.markers().await? {
        let feed = marker.feed_uri();
        let status = statuses.iter().find(|status| status.feed_uri == *feed);
        let line = MarkerLine {
            feed_uri: feed.as_str(),
            last_read_entry_id: marker.last_read_entry_id().map(EntryId::as_str),
            page_uri: marker.page_uri(),
            parked: work.failed_event_count(feed).await?,
            events_behind: status.and_then(|status| status.events_behind),
            pages_behind: status.and_then(|status| status.pages_behind),
            behind_since: status.and_then(|status| status.behind_since).map(rfc3339),
            seen_at: status.and_then(|status| status.seen_at).map(rfc3339),
            succeeded_at: status.and_then(|status| status.succeeded_at).map(rfc3339),
            error: status.and_then(|status| status.error_message.as_deref()),
        };
        println!("{}", serde_json::to_string(&line)?);
    }
    work.rollback().await?;
    Ok(())
}
