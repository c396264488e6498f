//! The console over existing databases: what is stuck in every system, and set right without SQL.
//!
//! `cargo run --example console -- --app Lab=sqlite:lab.db --app ERP=postgres://…`

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use atomfeed_client::console::{Console, Role, UserList};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    Adoption, ConsoleStore, MySqlStore, PostgresStore, SchemaName, SqliteStore, StoreError,
    StoreErrorKind, TableZone,
};
use atomfeed_server::{CancellationToken, FeedServer, ServerLimits};
use clap::Parser;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::net::TcpListener;
use uuid::Uuid;

/// Shows what is stuck in every system, and sets it right.
#[derive(Parser)]
struct Args {
    /// A system and its database: NAME=sqlite:FILE, postgres://… or mysql://…; may be given more than once
    #[arg(long, value_name = "NAME=URL", required_unless_present = "make_user")]
    app: Vec<App>,
    /// Uses the tables of another program as they are
    #[arg(long)]
    adopt: bool,
    /// The zone of times in its columns that name none [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "adopt")]
    time_zone: Option<TableZone>,
    /// The schema (on MariaDB: the database) of the tables
    #[arg(long, value_name = "NAME")]
    schema: Option<SchemaName>,
    /// Where to listen; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    listen: SocketAddr,
    /// Who may use it: lines that --make-user makes [default: admin, with a password that is made up]
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Prints a line for --users, for NAME or NAME:view, who may only look; the password comes on
    /// standard input
    #[arg(long, value_name = "NAME[:view]", conflicts_with_all = ["app", "users"])]
    make_user: Option<String>,
    /// From how many retries on a parked event counts as dead [default: 10; 5 with --adopt]
    #[arg(long, value_name = "N")]
    dead_at: Option<u32>,
    /// Browsers reach it through a proxy with TLS: its cookies are for that alone
    #[arg(long)]
    behind_tls: bool,
}

#[derive(Clone)]
struct App {
    name: String,
    url: String,
}

impl FromStr for App {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("give NAME=URL")?;
        let kinds = ["sqlite:", "postgres:", "postgresql:", "mysql:", "mariadb:"];
        if name.is_empty() || !kinds.iter().any(|kind| url.starts_with(kind)) {
            return Err("give NAME=sqlite:FILE, postgres://… or mysql://…".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            url: url.to_owned(),
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    atomfeed_examples::log_to_stderr();
    let args = Args::parse();
    if let Some(user) = &args.make_user {
        return make_user(user);
    }
    let stopped = atomfeed_examples::stopped();
    let (users, made_up) = match &args.users {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("reading --users {}", file.display()))?;
            (text.parse::<UserList>()?, None)
        }
        None => {
            let password = Uuid::new_v4().simple().to_string();
            let line = UserList::line("admin", Role::Operate, &password)?;
            (line.parse()?, Some(password))
        }
    };
    let dead_at = args.dead_at.unwrap_or(if args.adopt { 5 } else { 10 });
    let mut console = Console::new(users).with_dead_at(dead_at);
    if !args.behind_tls {
        ensure!(
            args.listen.ip().is_loopback(),
            "--listen {}: passwords and cookies would cross the network as they are: put a proxy with TLS in \
             front, and say --behind-tls",
            args.listen
        );
        console = console.with_insecure_cookies();
    }
    let adoption = args
        .adopt
        .then(|| Adoption::of_consumer().in_zone(args.time_zone.unwrap_or_default()));
    for app in args.app {
        let (adoption, schema) = (adoption.clone(), args.schema.clone());
        let App { name, url } = app;
        console = console.with_system_to_open(name, move || {
            let (url, adoption, schema) = (url.clone(), adoption.clone(), schema.clone());
            Box::pin(async move { open(&url, schema.as_ref(), adoption.as_ref()).await })
        });
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("--listen {}", args.listen))?;
    let address = listener.local_addr()?;
    let mount = "/atomfeed-console";
    println!("listening on http://{address}{mount}/");
    if let Some(password) = made_up {
        println!("sign in as admin with {password}");
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        stopped.await;
        stopping.cancel();
    });
    let limits = ServerLimits::default()
        .with_body_bytes(64 << 20)
        .with_stop_time(Duration::from_secs(5));
    let app = axum::Router::new()
        .merge(console.into_router(mount))
        .fallback(axum::routing::any(move || async move {
            axum::response::Redirect::temporary(&format!("{mount}/"))
        }));
    FeedServer::new(app)
        .with_limits(limits)
        .run(listener, stop)
        .await;
    Ok(())
}

fn make_user(user: &str) -> anyhow::Result<()> {
    let (name, role) = match user.split_once(':') {
        None => (user, Role::Operate),
        Some((name, "operate")) => (name, Role::Operate),
        Some((name, "view")) => (name, Role::View),
        Some(_) => bail!("--make-user {user}: give NAME or NAME:view"),
    };
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password)?;
    println!(
        "{}",
        UserList::line(name, role, password.trim_end_matches(['\r', '\n']))?
    );
    Ok(())
}

/// Opens a database that is there: nothing is made but what an earlier version of ours lacks, or what stands
/// beside the tables of another program.
async fn open(
    url: &str,
    schema: Option<&SchemaName>,
    adoption: Option<&Adoption>,
) -> Result<Arc<dyn ConsoleStore>, StoreError> {
    let refused = |what: String| StoreError::new(StoreErrorKind::Refused, what);
    match url.split_once(':') {
        Some(("sqlite", rest)) => {
            let file = rest.trim_start_matches("//");
            let file = file.split('?').next().unwrap_or_default();
            if !Path::new(file).is_file() {
                let what =
                    format!("opening {url}: there is no such file; see whether its name is right");
                return Err(StoreError::new(StoreErrorKind::Unavailable, what));
            }
            if adoption.is_some() {
                return Err(refused(format!(
                    "opening {url}: only PostgreSQL and MariaDB hold tables of others"
                )));
            }
            let options = SqliteConnectOptions::from_str(url)
                .map_err(|error| refused(format!("opening {url}")).caused_by(error))?
                .create_if_missing(false)
                // As long as all who open a store wait for others.
                .busy_timeout(Duration::from_secs(30));
            let pool = SqlitePoolOptions::new()
                .max_connections(4)
                .connect_lazy_with(options);
            ready(SqliteStore::over(pool, schema), adoption).await
        }
        Some(("postgres" | "postgresql", _)) => {
            ready(PostgresStore::reach(url, schema).await?, adoption).await
        }
        _ => ready(MySqlStore::reach(url, schema).await?, adoption).await,
    }
}

async fn ready<D: Dialect>(
    store: SqlStore<D>,
    adoption: Option<&Adoption>,
) -> Result<Arc<dyn ConsoleStore>, StoreError> {
    if let Some(adoption) = adoption {
        return Ok(Arc::new(store.adopt(adoption).await?));
    }
    // A database that has no tables of ours gets none.
    let mut work = store.look().await?;
    work.statuses().await.map_err(|error| {
        let what = "looking for the tables of a consumer: there are none; see whether database and schema are \
                    right, or say --adopt where they are another program's";
        StoreError::new(StoreErrorKind::Refused, what).caused_by(error)
    })?;
    drop(work);
    store.migrate().await?;
    Ok(Arc::new(store))
}
