//! A hospital in one command: an EMR, a lab, an ERP and imaging, each a process with a database of its own, kept
//! in step by feeds, with the console over all of them.
//!
//! `cargo run --example hospital`
//!
//! Plays a small day, proves that all systems agree, and goes on for you to look around. With `--load 2000` it ends
//! after the proof, with status 1 where something is different.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use atomfeed_client::CancellationToken;
use atomfeed_examples::hospital::Data;
use atomfeed_examples::hospital::erp::OdooAddress;
use atomfeed_examples::hospital::house::{Day, House, Settings};
use atomfeed_examples::hospital::system::{self, Addresses, RealSystems, System};
use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;
use url::Url;

/// What is logged unless `RUST_LOG` says otherwise. That an event is parked, and tried again, is no news here: how
/// many are is printed now and then, and the console has all of it. Nor is how many files a process may open.
const LOGGED: &str = "warn,atomfeed_client::client::apply=error,atomfeed_client::client::retry=error,\
                      atomfeed_server::http::server::limits=error";

/// A hospital whose systems are kept in step by feeds.
#[derive(Parser)]
struct Args {
    /// Keeps the databases in this folder, as files of SQLite [default: a folder that is removed in the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keeps them in PostgreSQL, as schemas hospital_emr, hospital_lab, … [default: HOSPITAL_POSTGRES in the
    /// environment, which other users of this machine do not see]
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    postgres: Option<String>,
    /// Plays a day of N events as fast as it goes, proves that all agree, and ends; 0 only proves it
    #[arg(long, value_name = "N")]
    load: Option<usize>,
    /// Puts so many events a second [default: as many as the EMR takes; without --load: 5]
    #[arg(long, value_name = "EVENTS_PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Kills each system (SIGKILL) and starts it again in turn, spread over the day, but not while it is down
    #[arg(long)]
    kill: bool,
    /// Breaks something: a system is down for the middle third of the day, or a lab order is of a test that nobody
    /// was told of
    #[arg(long = "break", value_name = "WHAT")]
    fault: Option<Fault>,
    /// So many percent of the encounters have a sale over the limit of the ERP, which refuses it until a person
    /// approves of it in the console, by editing the event to end in &approved=yes
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    over_limit: u8,
    /// Uploads drugs to the EMR before the day: CSV with the columns uuid,name,form,price
    #[arg(long, value_name = "FILE.csv")]
    drugs: Option<PathBuf>,
    /// How long nothing may get better before it is given up that all will agree. Parked events are tried again
    /// every minute at the latest. Without --load what is broken on purpose may take however long to be mended
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    patience: u64,
    /// Takes ports that are free, and not 8050, 8052, 8069, 2575 and 9080
    #[arg(long)]
    any_port: bool,
    /// Where the console listens [default: 127.0.0.1:9080]
    #[arg(long, value_name = "ADDR")]
    console: Option<SocketAddr>,
    /// Sells in this Odoo, and not in the stand-in
    #[arg(long, value_name = "URL")]
    odoo: Option<Url>,
    /// Its database
    #[arg(long, value_name = "NAME", requires = "odoo")]
    odoo_database: Option<String>,
    /// The login of a user there
    #[arg(long, value_name = "NAME", requires = "odoo")]
    odoo_user: Option<String>,
    /// The password, or an API key [default: ODOO_PASSWORD in the environment, which other users of this machine
    /// do not see]
    #[arg(long, value_name = "SECRET", requires = "odoo")]
    odoo_password: Option<String>,
    /// Sends radiology orders there by HL7 over MLLP, and not to the stand-in
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    modality: Option<String>,
    /// Is one of the systems: how this program starts them
    #[arg(long = "as", hide = true, requires_all = ["listen", "emr", "lab"])]
    system: Option<System>,
    #[arg(long, hide = true)]
    listen: Option<SocketAddr>,
    #[arg(long, hide = true)]
    emr: Option<Url>,
    #[arg(long, hide = true)]
    lab: Option<Url>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    Erp,
    Lab,
    Emr,
    Imaging,
    Order,
}

impl Fault {
    /// The system that is down.
    fn system(self) -> Option<System> {
        match self {
            Self::Erp => Some(System::Erp),
            Self::Lab => Some(System::Lab),
            Self::Emr => Some(System::Emr),
            Self::Imaging => Some(System::Imaging),
            Self::Order => None,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "give a number".to_owned())?;
    match (0.001..=1_000_000.0).contains(&rate) {
        true => Ok(rate),
        false => Err("give a number from 0.001 to 1000000".to_owned()),
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let is_one = parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match is_one {
        true => Ok(text.to_owned()),
        false => Err("give HOST:PORT, such as 127.0.0.1:2575".to_owned()),
    }
}

/// What a variable of the environment has.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Args {
    /// Where the databases are, if that was said.
    fn data(&self) -> Option<Data> {
        if let Some(folder) = &self.data {
            return Some(Data::Folder(folder.clone()));
        }
        let url = self.postgres.clone().or_else(|| variable(system::POSTGRES));
        url.map(Data::Postgres)
    }

    fn real(&self) -> anyhow::Result<RealSystems> {
        Ok(RealSystems {
            odoo: match &self.odoo {
                Some(url) => Some(self.odoo_at(url.clone())?),
                None => None,
            },
            modality: self.modality.clone(),
        })
    }

    fn odoo_at(&self, url: Url) -> anyhow::Result<OdooAddress> {
        let password = self.odoo_password.clone();
        let password = password.or_else(|| variable(system::ODOO_PASSWORD));
        let (Some(database), Some(user), Some(password)) =
            (self.odoo_database.clone(), self.odoo_user.clone(), password)
        else {
            bail!(
                "--odoo needs --odoo-database, --odoo-user, and a password: {} in the environment, or \
                 --odoo-password",
                system::ODOO_PASSWORD
            );
        };
        Ok(OdooAddress {
            url,
            database,
            user,
            password,
        })
    }

    fn day(&self) -> Day {
        let usual = self.load.is_none().then_some(5.0);
        Day {
            events: self.load.unwrap_or(60),
            rate: self.rate.or(usual),
            over_limit: self.over_limit.into(),
            with_kills: self.kill,
            down: self.fault.and_then(Fault::system),
            with_unknown_test: self.fault == Some(Fault::Order),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    log_to_stderr();
    let args = Args::parse();
    let (data, real) = (args.data(), args.real()?);
    if let Some(system) = args.system {
        let settings = system::Settings {
            data: data.context("--data or --postgres is missing")?,
            listen: args.listen.context("--listen is missing")?,
            emr: args.emr.context("--emr is missing")?,
            lab: args.lab.context("--lab is missing")?,
            real,
        };
        system::run_as_process(system, settings).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let end = CancellationToken::new();
    let (asked, stopped) = (end.clone(), atomfeed_examples::stopped());
    tokio::spawn(async move {
        stopped.await;
        asked.cancel();
    });
    let (addresses, console) = match args.any_port {
        true => (Addresses::free()?, 0),
        false => (Addresses::usual(), 9080),
    };
    let temporary = tempfile::tempdir()?;
    let settings = Settings {
        data: data.unwrap_or_else(|| Data::Folder(temporary.path().to_owned())),
        addresses,
        console: args.console.unwrap_or(([127, 0, 0, 1], console).into()),
        real,
        patience: Duration::from_secs(args.patience),
        is_looked_at: args.load.is_none(),
    };
    let mut ended = None;
    if let Some(mut house) = House::open(&settings, &end).await? {
        ended = end.run_until_cancelled(play(&mut house, &args)).await;
        house.close().await;
    }
    Ok(match ended.transpose()? {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None if args.load.is_none() => ExitCode::SUCCESS,
        None => {
            // Fails when standard error is closed.
            let _ = writeln!(std::io::stderr(), "hospital: stopped before the proof");
            ExitCode::FAILURE
        }
    })
}

fn log_to_stderr() {
    let asked = variable(EnvFilter::DEFAULT_ENV);
    let filter = EnvFilter::new(asked.as_deref().unwrap_or(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// Plays a day, and says whether all agree in the end; without a load it then goes on for ever.
async fn play(house: &mut House, args: &Args) -> anyhow::Result<bool> {
    if let Some(file) = &args.drugs {
        house.upload_drugs(file).await?;
    }
    house.live(&args.day()).await?;
    if args.load.is_some() {
        return house.prove().await;
    }
    house.prove_once_mended().await?;
    house.say_what_to_look_at();
    loop {
        house.until_news().await;
        house.prove_once_mended().await?;
    }
}
