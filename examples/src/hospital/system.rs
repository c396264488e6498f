//! The systems of the hospital, each of which is a process with its databases and its address.

use std::fmt;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as PortHolder};

use anyhow::{Context, bail};
use atomfeed_client::CancellationToken;
use clap::ValueEnum;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use super::erp::OdooAddress;
use super::imaging::receiver::Receiver;
use super::{Data, emr, erp, feeds, imaging, lab};
use crate::{stopped, with_store};

/// The variable of the environment that may have the URL of PostgreSQL. Other users of this machine see the
/// options of a process, and not its environment.
pub const POSTGRES: &str = "HOSPITAL_POSTGRES";
/// The one that may have the password of Odoo.
pub const ODOO_PASSWORD: &str = "ODOO_PASSWORD";

/// A system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum System {
    /// Where patients are registered and things are ordered (OpenMRS).
    Emr,
    /// Where tests are made (OpenELIS).
    Lab,
    /// Where orders are billed (Odoo), and the integration that writes there.
    Erp,
    /// Where pictures are taken (a PACS), and the integration that orders them.
    Imaging,
}

impl System {
    /// All of them. The EMR comes first, since the others follow it.
    pub const ALL: [Self; 4] = [Self::Emr, Self::Lab, Self::Erp, Self::Imaging];

    /// As it is given to `--as`.
    pub fn option(self) -> &'static str {
        match self {
            Self::Emr => "emr",
            Self::Lab => "lab",
            Self::Erp => "erp",
            Self::Imaging => "imaging",
        }
    }

    /// The port that it has unless others are asked for.
    fn port(self) -> u16 {
        match self {
            Self::Emr => 8050,
            Self::Lab => 8052,
            Self::Erp => 8069,
            Self::Imaging => 2575,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emr => "EMR",
            Self::Lab => "lab",
            Self::Erp => "ERP",
            Self::Imaging => "imaging",
        })
    }
}

/// Where each system listens, on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses([SocketAddr; 4]);

impl Addresses {
    /// The usual ports.
    pub fn usual() -> Self {
        Self(System::ALL.map(|system| local(system.port())))
    }

    /// Ports that nobody has now. They lie below those that a system gives to connections that go out, so that
    /// they are still there for a process that was killed and is started again.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn free() -> anyhow::Result<Self> {
        // Held until all are found, so that no two are the same.
        let mut held = Vec::new();
        for _try in 0..1_000 {
            let port = 20_000 + (Uuid::new_v4().as_u128() % 12_000) as u16;
            held.extend(PortHolder::bind(local(port)));
            if let [emr, lab, erp, imaging] = &held[..] {
                let of = |held: &PortHolder| held.local_addr();
                return Ok(Self([of(emr)?, of(lab)?, of(erp)?, of(imaging)?]));
            }
        }
        bail!("--any-port: no port between 20000 and 32000 is free on this machine")
    }

    /// That of a system.
    pub fn of(&self, system: System) -> SocketAddr {
        self.0[system as usize]
    }

    /// The same as an address of HTTP.
    ///
    /// # Errors
    ///
    /// None, with an address of this machine.
    pub fn url(&self, system: System) -> anyhow::Result<Url> {
        http(self.of(system))
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn http(address: SocketAddr) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("http://{address}/"))?)
}

/// What there really is in the place of a stand-in.
#[derive(Debug, Clone, Default)]
pub struct RealSystems {
    /// An Odoo.
    pub odoo: Option<OdooAddress>,
    /// Something that takes orders by HL7 over MLLP: `HOST:PORT`.
    pub modality: Option<String>,
}

/// What one system needs to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the databases are.
    pub data: Data,
    /// Where it listens itself.
    pub listen: SocketAddr,
    /// Where the EMR is.
    pub emr: Url,
    /// Where the lab is.
    pub lab: Url,
    /// What there is in the place of stand-ins.
    pub real: RealSystems,
}

/// Runs a system as a process of its own: until it is asked to end, or standard input does. Whoever has started
/// it holds that open, and has ended when it ends.
///
/// # Errors
///
/// Those of [`run`].
pub async fn run_as_process(system: System, settings: Settings) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let stopped = stopped();
    tokio::spawn(async move {
        stopped.await;
        asked.cancel();
    });
    let orphaned = stop.clone();
    // No task: a runtime would wait for it in the end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        orphaned.cancel();
    });
    run(system, settings, stop).await
}

/// Runs a system in this process until `stop`. Says `listening on …` once it can be reached.
///
/// # Errors
///
/// When its address is taken, a database cannot be opened, or it cannot go on.
pub async fn run(
    system: System,
    settings: Settings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    match system {
        System::Emr => {
            let listener = listen(settings.listen).await?;
            let options = emr::Options {
                public: settings.emr,
                lab: settings.lab,
            };
            let store = settings.data.open("emr").await?;
            with_store!(store, store => emr::run(store, listener, options, stop).await)
        }
        System::Lab => {
            let listener = listen(settings.listen).await?;
            let options = lab::Options {
                public: settings.lab,
                emr: settings.emr,
            };
            let store = settings.data.open("lab").await?;
            with_store!(store, store => lab::run(store, listener, options, stop).await)
        }
        System::Erp => run_erp(settings, stop).await,
        System::Imaging => run_imaging(settings, stop).await,
    }
}

async fn run_erp(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let options = |odoo| erp::Options {
        emr: settings.emr.clone(),
        odoo,
    };
    let feeds = settings.data.open("erp_feeds").await?;
    if let Some(odoo) = settings.real.odoo {
        tell(&format!("listening on nothing: the ERP is {}", odoo.url));
        let options = options(odoo);
        return with_store!(feeds, feeds => erp::run(feeds, options, stop).await);
    }
    let listener = listen(settings.listen).await?;
    let options = options(OdooAddress {
        url: http(listener.local_addr()?)?,
        database: erp::standin::DATABASE.to_owned(),
        user: erp::standin::USER.to_owned(),
        password: feeds::PASSWORD.to_owned(),
    });
    let own = settings.data.open("erp").await?;
    let after = CancellationToken::new();
    let stand_in = async {
        let after = after.clone();
        with_store!(own, own => erp::standin::run(own, listener, after).await)
    };
    let integration = async {
        let ended = with_store!(feeds, feeds => erp::run(feeds, options, stop).await);
        after.cancel();
        ended
    };
    tokio::try_join!(stand_in, integration)?;
    Ok(())
}

async fn run_imaging(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let options = |modality| imaging::Options {
        emr: settings.emr.clone(),
        modality,
    };
    let feeds = settings.data.open("imaging_feeds").await?;
    if let Some(modality) = settings.real.modality {
        tell(&format!("listening on nothing: orders go to {modality}"));
        let options = options(modality);
        return with_store!(feeds, feeds => imaging::run(feeds, options, stop).await);
    }
    let listener = listen(settings.listen).await?;
    let options = options(listener.local_addr()?.to_string());
    let own = settings.data.open("imaging").await?;
    let after = CancellationToken::new();
    let stand_in = async {
        let after = after.clone();
        with_store!(own, own => {
            let receiver = Receiver::new(own).await?;
            receiver.run(listener, after).await;
        });
        anyhow::Ok(())
    };
    let integration = async {
        let ended = with_store!(feeds, feeds => imaging::run(feeds, options, stop).await);
        after.cancel();
        ended
    };
    tokio::try_join!(stand_in, integration)?;
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}: see who else does, or say --any-port"))?;
    tell(&format!("listening on {}", listener.local_addr()?));
    Ok(listener)
}

/// Prints a line for whoever has started this; where that has ended meanwhile, it is lost.
fn tell(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_system_has_an_address_of_its_own() {
        for addresses in [Addresses::usual(), Addresses::free().unwrap()] {
            let all: HashSet<_> = System::ALL.map(|system| addresses.of(system)).into();
            assert_eq!(all.len(), 4, "{addresses:?}");
        }
        let emr = Addresses::usual().url(System::Emr).unwrap();
        assert_eq!(emr.as_str(), "http://127.0.0.1:8050/");
    }
}
