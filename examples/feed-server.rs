//! Serves the events of a database as Atom feeds, and publishes what it is given as JSON lines.
//!
//! `cargo run --example feed-server -- --database sqlite:events.db --import events.ndjson`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use atomfeed_core::NewEvent;
use atomfeed_core::chunking::{ChunkingChange, ChunkingStrategy};
use atomfeed_core::store::{
    Adoption, ConsumerStore, FeedStore, OutboxStore, SchemaName, SequencedStore, StoreError,
    StoreErrorKind, TableZone,
};
use atomfeed_examples::Database;
use atomfeed_server::{
    Archive, Audience, CancellationToken, EventFeedService, FeedConfig, FeedRouter, FeedServer,
    IpNet, Publisher, RequireCredentials, Sequencer,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use clap::Parser;
use object_store::local::LocalFileSystem;
use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

/// Serves the events of a database as Atom feeds.
#[derive(Parser)]
struct Args {
    /// Where the events are kept: sqlite:FILE (made when missing),
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
    /// Moves its queue, which it must not do itself any more: both at once would double events
    #[arg(long, requires = "adopt")]
    sequence: bool,
    /// After a restore from a backup: gives new events ids above this one, the greatest that any
    /// consumer may have seen, and pages that none can have read
    #[arg(long, value_name = "ID")]
    continue_after: Option<i64>,
    /// Deletes, before serving, what was published before this day or time, but for what is on a page
    /// with a later event; pages that are left stay as they are, those before them are gone (410)
    #[arg(long, value_name = "DATE", value_parser = date)]
    prune_before: Option<DateTime<Utc>>,
    /// Does so in adopted tables, too. There is no simple way back then: the program whose they are
    /// finds its pages by counting rows, and would number those that are left anew
    #[arg(long, requires_all = ["adopt", "prune_before"])]
    prune_adopted: bool,
    /// Answers the page before the oldest one with an empty page instead of 410, so that a consumer of
    /// the original library that has no marker yet can begin there
    #[arg(long)]
    empty_page_before_oldest: bool,
    /// Writes the original's offset markers, by which it finds its pages, prints what stands in the way
    /// of handing the tables back to it, and ends, with status 1 if something does
    #[arg(long, conflicts_with_all = ["import", "prune_before", "continue_after"])]
    hand_back: bool,
    /// Where to listen; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Lets only those read who name this user and --password, or have --token
    #[arg(long, value_name = "NAME", requires = "password")]
    user: Option<String>,
    /// The user's password
    #[arg(long, value_name = "SECRET", requires = "user")]
    password: Option<String>,
    /// Lets only those read who have this bearer token, or name --user and --password
    #[arg(long, value_name = "SECRET")]
    token: Option<String>,
    /// Believes what peers in this network say of who sent a request; may be given more than once
    #[arg(long, value_name = "CIDR")]
    trust_proxy: Vec<IpNet>,
    /// Where readers reach the feed; without a path, the mount is added [default: the address
    /// listened on]
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    /// The path under which the feed lies
    #[arg(long, value_name = "PATH", default_value = "/feed")]
    mount: String,
    #[arg(long, value_name = "T", default_value = "Event feed")]
    title: String,
    #[arg(long, value_name = "A", default_value = "Atomfeed")]
    author: String,
    /// What stands before +N in the id of a page
    #[arg(long, value_name = "P", default_value = "")]
    id_prefix: String,
    #[arg(long, value_name = "T", default_value = "Atomfeed")]
    generator: String,
    #[arg(
        long,
        value_name = "U",
        default_value = "https://github.com/ICT4H/atomfeed"
    )]
    generator_uri: String,
    /// What a page is filled by: number (of events) or time [default: as the database has it, else
    /// number]
    #[arg(long, value_name = "number|time")]
    chunking: Option<ChunkingStrategy>,
    /// Events a page (default: 100), or milliseconds a page (default: an hour); on a database that
    /// has events it holds from the next page on
    #[arg(long, value_name = "N")]
    page_size: Option<u32>,
    /// Publishes these events before serving: JSON lines of title, content, category?, tags?,
    /// uuid?, uri?, timestamp?; "-" keeps publishing from standard input while serving
    #[arg(long, value_name = "FILE.ndjson|-")]
    import: Option<String>,
    /// The feed is for everybody: caches between may keep its pages
    #[arg(long)]
    open_to_all: bool,
    /// Writes pages that do not change any more into this folder, while serving, under the path that they
    /// have in the public URL
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
}

// Pages are answered from memory: a good part of the time goes to small pieces of it, for each request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    atomfeed_examples::log_to_stderr();
    let args = Args::parse();
    // Each connection is a file, and what a process may open unless it asks for more is a matter of select().
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "no more files can be opened than at first");
    }
    ensure!(
        args.prune_before.is_none() || !args.adopt || args.prune_adopted,
        "--prune-before with --adopt: the tables are another program's, which finds its pages by \
         counting rows, and would number those that are left anew once it serves the feed again; \
         --prune-adopted allows it"
    );
    let stopped = atomfeed_examples::stopped();
    let adoption = args.adopt.then(|| {
        let zone = args.time_zone.unwrap_or_default();
        let mut adoption = Adoption::of_publisher().in_zone(zone);
        if args.sequence {
            adoption = adoption.sequencing();
        }
        if args.prune_adopted {
            adoption = adoption.pruning();
        }
        adoption
    });
    let schema = args.schema.as_ref();
    let database = Database::open(&args.database, schema, adoption.as_ref()).await?;
    if args.hand_back {
        let is_marked = match &database {
            Database::Memory(store) => write_offset_markers(store.clone()).await?,
            Database::Sqlite(store) => write_offset_markers(store.clone()).await?,
            Database::Postgres(store) => write_offset_markers(store.clone()).await?,
            Database::MySql(store) => write_offset_markers(store.clone()).await?,
        };
        let is_free = database.print_obstacles().await? && is_marked;
        std::process::exit(i32::from(!is_free));
    }
    match database {
        Database::Memory(store) => run(args, store, stopped).await?,
        Database::Sqlite(store) => run(args, store, stopped).await?,
        Database::Postgres(store) => run(args, store, stopped).await?,
        Database::MySql(store) => run(args, store, stopped).await?,
    }
    // Not by returning: that would wait for a thread of the runtime that reads standard input.
    std::process::exit(0)
}

/// Writes the original's offset markers, and says whether all could be written.
async fn write_offset_markers(store: impl FeedStore) -> anyhow::Result<bool> {
    let history = store.feed_state().await?.history;
    if history.is_none_or(|history| history.strategy() == ChunkingStrategy::Time) {
        return Ok(true);
    }
    let nowhere = FeedConfig::new(Url::parse("http://localhost/")?);
    let service = EventFeedService::open(store, nowhere).await?;
    match service.mark_events(0).await {
        Err(error) if error.kind() == StoreErrorKind::Refused => {
            println!("{error}");
            Ok(false)
        }
        marked => Ok(marked.map(|()| true)?),
    }
}

/// A store on both sides: its consumer's transactions publish.
trait Store:
    OutboxStore + SequencedStore + FeedStore + ConsumerStore<Conn = <Self as OutboxStore>::Conn> + Clone
{
}

impl<S> Store for S where
    S: OutboxStore
        + SequencedStore
        + FeedStore
        + ConsumerStore<Conn = <S as OutboxStore>::Conn>
        + Clone
{
}

async fn run<S: Store>(
    args: Args,
    store: S,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listening on {}", args.listen))?;
    let address = listener.local_addr()?;
    let settled = store.feed_state().await?.history;
    let settled = settled.map(|history| history.strategy());
    let strategy = args.chunking.or(settled).unwrap_or_default();
    if let Some(settled) = settled.filter(|settled| *settled != strategy) {
        bail!(
            "--chunking {strategy}: the pages of this database are cut by {settled}, and stay so"
        );
    }
    let config = config(&args, address, strategy)?;
    let guard = guard(&args)?;

    let sequencer = Sequencer::new(store.clone());
    let importer = Importer {
        publisher: Publisher::new(store.clone()).waking(&sequencer),
        store: store.clone(),
        in_time_chunks: strategy == ChunkingStrategy::Time,
    };
    // Before anything is published, which would get the ids of what was lost.
    if let Some(id) = args.continue_after {
        let service = EventFeedService::open(store.clone(), config.clone()).await?;
        service.continue_after(id).await?;
    }
    if let Some(file) = args.import.as_deref().filter(|file| *file != "-") {
        let open = tokio::fs::File::open(file).await;
        let lines = BufReader::new(open.with_context(|| format!("opening {file}"))?);
        importer.import(lines, 1_000, false).await?;
    }

    let sequences = !args.adopt || args.sequence;
    if args.import.is_some() && !sequences {
        eprintln!(
            "what is published waits in event_records_queue for the program whose tables these are; \
             --sequence has it moved from here"
        );
    }
    if sequences {
        sequencer.drain().await?;
    }
    let service = open_feed(store, config, args.page_size).await?;
    // Who waits for an event that is published here has it at once.
    let service = service.hearing(&sequencer);
    if let Some(before) = args.prune_before {
        let pruned = service.prune(before).await?;
        eprintln!(
            "{} events from before {before} deleted; the oldest page of all events is {}",
            pruned.events, pruned.first_page
        );
    }
    let audience = match args.open_to_all {
        true => Audience::Everyone,
        false => Audience::WhoIsLetIn,
    };
    let stop = CancellationToken::new();
    if let Some(folder) = &args.archive {
        if guard.is_some() {
            eprintln!(
                "--archive: who may read the pages in {} is for what serves them to ask; this program \
                 asks only for those that it serves itself",
                folder.display()
            );
        }
        let archive = archive(service.clone(), folder)?.with_audience(audience);
        let stop = stop.clone();
        tokio::spawn(async move { archive.run(stop, Duration::from_secs(1)).await });
    }
    let mut feed = FeedRouter::new(service)
        .with_audience(audience)
        .until(stop.clone())
        .into_router();
    if let Some(guard) = guard {
        feed = feed.layer(guard);
    }
    let app = match args.mount.trim_end_matches('/') {
        "" => feed,
        mount => axum::Router::new().nest(mount, feed),
    };
    if sequences {
        tokio::spawn(sequencer.run(CancellationToken::new()));
    }
    println!("listening on http://{address}");
    if args.import.as_deref() == Some("-") {
        tokio::spawn(async move {
            let lines = BufReader::new(tokio::io::stdin());
            if let Err(error) = importer.import(lines, 1, true).await {
                eprintln!("publishing from standard input: {error:#}");
            }
        });
    }
    let asked = stop.clone();
    tokio::spawn(async move {
        stopped.await;
        asked.cancel();
    });
    FeedServer::new(app)
        .trust_proxies(args.trust_proxy)
        .run(listener, stop)
        .await;
    Ok(())
}

/// An archive in a folder, which is made where it is missing.
fn archive(service: EventFeedService, folder: &Path) -> anyhow::Result<Archive> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("making the folder of the archive, {}", folder.display()))?;
    let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
    Ok(Archive::new(service, Arc::new(store))?)
}

/// Who may read; everybody, unless somebody is named.
fn guard(args: &Args) -> anyhow::Result<Option<RequireCredentials>> {
    let by_password = args.user.as_ref().zip(args.password.as_ref());
    let mut guard = by_password
        .map(|(user, password)| RequireCredentials::basic(user, password))
        .transpose()
        .context("--user and --password")?;
    if let Some(token) = &args.token {
        let with_token = match guard {
            Some(guard) => guard.or_bearer(token),
            None => RequireCredentials::bearer(token),
        };
        guard = Some(with_token.context("--token")?);
    }
    Ok(guard)
}

/// How the feed presents itself; refuses what makes no sense before anything is published.
fn config(
    args: &Args,
    address: SocketAddr,
    strategy: ChunkingStrategy,
) -> anyhow::Result<FeedConfig> {
    ensure!(
        args.mount.starts_with('/'),
        "--mount {:?}: begin it with /",
        args.mount
    );
    let mut public_url = match &args.public_url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{address}"))?,
    };
    if public_url.path() == "/" {
        public_url.set_path(&args.mount);
    }
    let config = FeedConfig::new(public_url)
        .with_title(&args.title)
        .with_author(&args.author)
        .with_id_prefix(&args.id_prefix)
        .with_generator(&args.generator, &args.generator_uri);
    let config = match args.empty_page_before_oldest {
        true => config.with_empty_page_before_the_oldest(),
        false => config,
    };
    Ok(match (strategy, args.page_size) {
        (_, Some(0)) => bail!("--page-size 0: a page holds at least one event"),
        (ChunkingStrategy::Number, None) => config,
        (ChunkingStrategy::Number, Some(events)) => config.with_page_size(events),
        (ChunkingStrategy::Time, None) => config.with_time_chunks(),
        (ChunkingStrategy::Time, Some(millis)) => {
            ensure!(
                millis % 60_000 == 0,
                "--page-size {millis}: with --chunking time it is in milliseconds, and pages are \
                 of whole minutes (60000)"
            );
            config.with_minutes_a_page(millis / 60_000)
        }
    })
}

async fn open_feed<S: Store>(
    store: S,
    config: FeedConfig,
    page_size: Option<u32>,
) -> anyhow::Result<EventFeedService> {
    let service = EventFeedService::open(store, config).await?;
    if let Some(size) = page_size {
        let history = service.history().await?;
        let last = history.entries().last();
        if last.is_some_and(|last| last.chunk_length != i64::from(size)) {
            let entry = service
                .change_chunking(ChunkingChange::to(size.into()))
                .await?;
            eprintln!("pages hold {} from {} on", entry.chunk_length, entry.start);
        }
    }
    Ok(service)
}

/// Publishes JSON lines.
struct Importer<S> {
    publisher: Publisher<S>,
    store: S,
    in_time_chunks: bool,
}

/// A line of an import.
#[derive(Deserialize)]
struct Line {
    title: Option<String>,
    content: Option<String>,
    category: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    uuid: Option<Uuid>,
    uri: Option<String>,
    timestamp: Option<String>,
}

impl<S: Store> Importer<S> {
    /// Publishes lines until there are no more, up to so many in a transaction. A bad line is
    /// reported, and the rest goes on. Where a database fails, the import ends, or, when it is
    /// patient, tries those lines again.
    async fn import(
        &self,
        lines: impl AsyncBufRead + Unpin,
        a_transaction: usize,
        patient: bool,
    ) -> anyhow::Result<()> {
        let mut lines = lines.split(b'\n');
        let (mut read, mut published) = (0, 0);
        let mut batch = Vec::new();
        loop {
            let line = lines.next_segment().await?;
            let ended = line.is_none();
            batch.extend(line);
            if batch.len() < a_transaction && !ended {
                continue;
            }
            published += loop {
                match self.publish_all(&batch, read).await {
                    Ok(published) => break published,
                    Err(error) if patient => {
                        eprintln!("publishing line {}: {error:#}; trying again", read + 1);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    Err(error) => return Err(error.context(format!("after line {read}"))),
                }
            };
            read += batch.len();
            batch.clear();
            if ended {
                eprintln!("{published} of {read} lines published");
                return Ok(());
            }
        }
    }

    /// Publishes lines in one transaction, and says how many it were.
    async fn publish_all(&self, batch: &[Vec<u8>], before: usize) -> anyhow::Result<usize> {
        let mut left_out = Vec::new();
        let mut published = 0;
        let mut work = self.store.begin().await?;
        for (number, line) in (before + 1..).zip(batch) {
            match self.publish(work.conn(), line).await {
                Ok(()) => published += 1,
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(error) if is_of_the_line(&error) => left_out.push((number, error)),
                Err(error) => return Err(error),
            }
        }
        work.commit().await?;
        for (number, error) in left_out {
            eprintln!("line {number}: left out: {error:#}");
        }
        Ok(published)
    }

    async fn publish(
        &self,
        conn: &mut <S as OutboxStore>::Conn,
        line: &[u8],
    ) -> anyhow::Result<()> {
        let line: Line = serde_json::from_slice(line)?;
        let mut event = NewEvent::blank().with_tags(line.tags);
        if let Some(title) = line.title {
            event = event.with_title(title);
        }
        if let Some(content) = line.content {
            event = event.with_content(content);
        }
        if let Some(category) = line.category {
            event = event.in_category(category);
        }
        if let Some(uuid) = line.uuid {
            event = event.with_uuid(uuid);
        }
        if let Some(uri) = line.uri {
            event = event.with_uri(uri);
        }
        if let Some(timestamp) = line.timestamp {
            let time = time(&timestamp)?;
            ensure!(
                !self.in_time_chunks || time <= Utc::now(),
                "timestamp {timestamp:?}: it lies in the future, and time chunks hold none"
            );
            event = event.published_at(time);
        }
        Ok(self.publisher.publish(conn, &event).await?)
    }
}

/// Whether a line was refused, and not the database that failed.
fn is_of_the_line(error: &anyhow::Error) -> bool {
    let store = error.downcast_ref::<StoreError>().map(StoreError::kind);
    matches!(
        store,
        None | Some(StoreErrorKind::Refused | StoreErrorKind::Duplicate)
    )
}

/// A day, which begins in UTC, or a time.
fn date(text: &str) -> anyhow::Result<DateTime<Utc>> {
    match text.parse::<NaiveDate>() {
        Ok(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => time(text).with_context(|| format!("{text:?} is no day, such as 2024-03-01")),
    }
}

/// A time with an offset, or one without, which is UTC.
fn time(text: &str) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|time| time.and_utc())
        .with_context(|| format!("timestamp {text:?}: give it as 2024-03-01T08:01:00Z"))
}
