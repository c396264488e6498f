//! How soon an event is with a worker that waits for it, and what it costs to have many wait.
//!
//! `ATOMFEED_POSTGRES_URL` and `ATOMFEED_MYSQL_URL` name the servers (`bash .ci/databases start FOLDER`
//! starts throwaway ones); what has no server is left out. `ATOMFEED_BENCH_WAITING` sets how many wait at
//! once, else 10,000. Printed are:
//!
//! - `commit to worker`: from the return of the commit until the worker is handed the event, over HTTP on
//!   loopback: publisher, server and consumer in one process, and, on PostgreSQL, the publisher (which
//!   runs a sequencer) in one process, server and consumer in another; the median and the 99th percentile of
//!   single events, one after the other. Publisher and worker take the time from the clock of the machine;
//! - `waiting`: so many requests that wait, of one process, at a server in another: how much memory that
//!   has then, what of a processor it takes while nothing happens, and how long after the commit of one
//!   event the first and the last of them has its answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, FeedUri, Handled, HttpFeedSource, StartPosition,
    WorkerError,
};
use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::{
    Harness, MemoryHarness, MySqlHarness, PostgresHarness, SqliteHarness,
};
use atomfeed_core::store::{FeedStore, MemoryStore, OutboxStore, PostgresStore, SchemaName};
use atomfeed_server::{
    CancellationToken, EventFeedService, FeedConfig, FeedRouter, FeedServer, Publisher, Sequencer,
    ServerLimits,
};
use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What this process, started again, is to do.
const ROLE: &str = "ATOMFEED_BENCH_ROLE";

/// So many single events.
const EVENTS: usize = 1_000;

/// Between one event and the next: the consumer waits again by then.
const PAUSE: Duration = Duration::from_millis(10);

fn main() {
    // Without `--bench`, as under `cargo test`, there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        match std::env::var(ROLE).as_deref() {
            Ok("serve waiting") => serve_waiting().await,
            Ok(role) => match role.strip_prefix("follow ") {
                Some(schema) => follow(schema).await,
                None => panic!("no role: {role}"),
            },
            Err(_) => measure().await,
        }
    });
}

async fn measure() {
    one_process("memory", &MemoryHarness).await;
    one_process("sqlite", &SqliteHarness::default()).await;
    if let Some(harness) = PostgresHarness::from_env() {
        one_process("postgres", &harness).await;
        two_processes().await;
    }
    if let Some(harness) = MySqlHarness::from_env() {
        one_process("mariadb", &harness).await;
    }
    waiting().await;
}

/// Tells when it is handed an event.
struct Tells(mpsc::UnboundedSender<(String, SystemTime)>);

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for Tells {
    async fn process(&self, event: &Event, _: &mut C) -> Result<Handled, WorkerError> {
        let _ = self.0.send((event.content().to_owned(), SystemTime::now()));
        Ok(Handled::Applied)
    }
}

/// A feed on loopback.
async fn serve(store: impl FeedStore, sequencer: Option<&Sequencer>) -> FeedUri {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/feed", listener.local_addr().expect("an address"));
    let config = FeedConfig::new(url.parse().expect("a URL"));
    let service = EventFeedService::open(store, config).await.expect("opened");
    let service = match sequencer {
        Some(sequencer) => service.hearing(sequencer),
        None => service,
    };
    let most = number("ATOMFEED_BENCH_WAITING", 10_000);
    let router = FeedRouter::new(service)
        .with_most_waiting(most)
        .with_most_waiting_a_client(most);
    let router = router.with_longest_wait(Duration::from_secs(600));
    let app = Router::new().nest("/feed", router.into_router());
    // All of them come from this machine.
    let limits = ServerLimits::default()
        .with_connections(most + 100)
        .with_connections_a_client(most + 100);
    let server = FeedServer::new(app).with_limits(limits);
    tokio::spawn(server.run(listener, CancellationToken::new()));
    format!("{url}/recent").parse().expect("a feed")
}

/// A consumer that remembers nothing, and begins behind what is there.
fn consume(feed: &FeedUri) -> mpsc::UnboundedReceiver<(String, SystemTime)> {
    let (told, tells) = mpsc::unbounded_channel();
    let source = HttpFeedSource::new(feed).expect("a source");
    let client = AtomFeedClient::builder(feed.clone(), source)
        .start(StartPosition::Latest)
        .interval(Duration::from_secs(15))
        .build(MemoryStore::new(), Tells(told));
    tokio::spawn(async move { client.run(CancellationToken::new()).await });
    tells
}

async fn one_process<H: Harness>(name: &str, harness: &H) {
    let store = harness.store().await;
    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    let feed = serve(store.clone(), Some(&sequencer)).await;
    tokio::spawn(sequencer.run(CancellationToken::new()));
    let mut told = consume(&feed);
    let mut times = Vec::new();
    for n in 0..EVENTS + 20 {
        tokio::time::sleep(PAUSE).await;
        let committed = publish(&store, &publisher, n).await;
        let (content, at) = told.recv().await.expect("the consumer runs");
        assert_eq!(content, n.to_string());
        times.push(at.duration_since(committed).unwrap_or_default());
    }
    report(&format!("{name}, one process"), times);
}

/// Says when the commit has returned.
async fn publish<S>(store: &S, publisher: &Publisher<S>, n: usize) -> SystemTime
where
    S: OutboxStore + atomfeed_core::store::ConsumerStore<Conn = <S as OutboxStore>::Conn>,
{
    let mut work = store.begin().await.expect("a transaction opens");
    let event = NewEvent::new("Event", n.to_string());
    publisher
        .publish(work.conn(), &event)
        .await
        .expect("published");
    work.commit().await.expect("committed");
    SystemTime::now()
}

/// The first ones are for warming up.
fn report(name: &str, mut times: Vec<Duration>) {
    times.drain(..20);
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "commit to worker/{name}: median {:.2?}, 99th {:.2?}, slowest {:.2?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// This program, started again.
fn start(role: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .arg("--bench")
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again")
}

/// A line that the other process has written.
fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

async fn two_processes() {
    let url = std::env::var("ATOMFEED_POSTGRES_URL").expect("a server");
    let schema = format!("wait_{}", std::process::id());
    let name = SchemaName::new(schema.as_str()).expect("a name");
    let store = PostgresStore::connect(&url, Some(&name))
        .await
        .expect("connected");
    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    tokio::spawn(sequencer.run(CancellationToken::new()));
    let mut other = start(&format!("follow {schema}"));
    let mut out = BufReader::new(other.stdout.take().expect("its output"));
    assert_eq!(line(&mut out), "ready");
    let mut times = Vec::new();
    for n in 0..EVENTS + 20 {
        tokio::time::sleep(PAUSE).await;
        let committed = publish(&store, &publisher, n).await;
        let told = tokio::task::block_in_place(|| line(&mut out));
        let (content, at) = told.split_once(' ').expect("an event and a time");
        assert_eq!(content, n.to_string());
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(at.parse().expect("a time"));
        times.push(at.duration_since(committed).unwrap_or_default());
    }
    end(other);
    report(
        "postgres, the publisher in another process than the server",
        times,
    );
    let drop = format!("DROP SCHEMA {schema} CASCADE");
    let drop = sqlx::query(sqlx::AssertSqlSafe(drop));
    drop.execute(store.pool()).await.expect("dropped");
}

/// Server and consumer: says of each event when it came.
async fn follow(schema: &str) {
    let url = std::env::var("ATOMFEED_POSTGRES_URL").expect("a server");
    let name = SchemaName::new(schema).expect("a name");
    let store = PostgresStore::connect(&url, Some(&name))
        .await
        .expect("connected");
    let feed = serve(store.clone(), None).await;
    let mut told = consume(&feed);
    // Its marker stands, and it waits.
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("ready");
    while let Some((content, at)) = told.recv().await {
        let at = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        println!("{content} {}", at.as_nanos());
        std::io::stdout().flush().expect("written");
    }
}

fn end(mut other: Child) {
    other.kill().expect("it is ours");
    other.wait().expect("it has ended");
}

fn number(variable: &str, otherwise: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.and_then(|number| number.parse().ok())
        .unwrap_or(otherwise)
}

/// A server that publishes when it is told to, and says when that was committed.
async fn serve_waiting() {
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let store = MemoryStore::new();
    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    publish(&store, &publisher, 0).await;
    let feed = serve(store.clone(), Some(&sequencer)).await;
    tokio::spawn(sequencer.run(CancellationToken::new()));
    println!("{feed} {files}");
    for n in 1.. {
        let told = tokio::task::block_in_place(|| std::io::stdin().read_line(&mut String::new()));
        if told.expect("its input") == 0 {
            return;
        }
        let committed = publish(&store, &publisher, n).await;
        let committed = committed
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        println!("{}", committed.as_nanos());
    }
}

async fn waiting() {
    let most = number("ATOMFEED_BENCH_WAITING", 10_000);
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let mut other = start("serve waiting");
    let mut out = BufReader::new(other.stdout.take().expect("its output"));
    let said = line(&mut out);
    let (feed, files_there) = said.split_once(' ').expect("a feed and a limit");
    println!("waiting: open files allowed: {files} here, {files_there} at the server");
    let feed: FeedUri = feed.parse().expect("a feed");
    let address = feed.url().socket_addrs(|| None).expect("an address")[0];
    let process = other.id();
    let empty = memory(process);

    let etag = Arc::new(etag(address).await);
    let (answered, mut answers) = mpsc::unbounded_channel();
    let (asked, mut all_asked) = mpsc::unbounded_channel();
    for _ in 0..most {
        let (etag, answered, asked) = (Arc::clone(&etag), answered.clone(), asked.clone());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let request = format!(
                "GET /feed/recent HTTP/1.1\r\nHost: {address}\r\nIf-None-Match: {etag}\r\n\
                 Prefer: wait=600\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.expect("written");
            let _ = asked.send(());
            let mut answer = [0; 2_048];
            let read = stream.read(&mut answer).await.expect("an answer");
            let at = SystemTime::now();
            let _ = answered.send((answer[..read].starts_with(b"HTTP/1.1 200"), at));
            // Not closed while others are being answered.
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        });
    }
    for _ in 0..most {
        all_asked.recv().await.expect("asked");
    }
    // They have all been read, and wait.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let full = memory(process);
    let (before, since) = (processor(process), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let idle = (processor(process) - before) / since.elapsed().as_secs_f64();

    let stdin = other.stdin.as_mut().expect("its input");
    writeln!(stdin).expect("told");
    let committed = line(&mut out).parse().expect("a time");
    let committed = SystemTime::UNIX_EPOCH + Duration::from_nanos(committed);
    let mut times = Vec::new();
    for _ in 0..most {
        let (is_page, at) = answers.recv().await.expect("an answer");
        assert!(is_page, "it is no page");
        times.push(at.duration_since(committed).unwrap_or_default());
    }
    times.sort_unstable();
    println!(
        "waiting/{most}: server {:.1} MB, {:.1} MB without them ({:.1} KB each); idle it takes {:.3} % of \
         a processor; the first is answered after {:.1?}, half of them after {:.1?}, the last after {:.1?}; \
         {:.1} MB then",
        full / 1e3,
        empty / 1e3,
        (full - empty) / most as f64,
        idle * 100.0,
        times[0],
        times[most / 2],
        times[most - 1],
        memory(process) / 1e3,
    );
    end(other);
}

/// The ETag of the newest page.
async fn etag(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request =
        format!("GET /feed/recent HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let etag = answer.lines().find_map(|line| line.strip_prefix("etag: "));
    etag.expect("an ETag").to_owned()
}

/// The resident memory of a process, in KB of 1,024 bytes.
fn memory(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes
        .and_then(|number| number.parse().ok())
        .expect("its memory")
}

/// How many seconds a process has had a processor.
fn processor(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("its times");
    let (_, fields) = stat.rsplit_once(") ").expect("its name");
    let mut ticks = fields.split(' ').skip(11).map(|ticks| ticks.parse::<f64>());
    let mut ticks = || ticks.next().and_then(Result::ok).expect("a time");
    // USER_HZ, which is 100 on every Linux.
    (ticks() + ticks()) / 100.0
}
