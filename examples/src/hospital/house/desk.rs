//! The console over the databases of all systems, on this machine alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use atomfeed_client::CancellationToken;
use atomfeed_client::console::{Console, Role, UserList};
use atomfeed_server::{FeedServer, ServerLimits};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::databases::Databases;
use crate::with_store;

const MOUNT: &str = "/atomfeed-console";

/// A console that is served.
#[derive(Debug)]
pub(super) struct Desk {
    /// Where.
    pub(super) url: String,
    task: JoinHandle<()>,
}

impl Desk {
    /// Serves a console, and says where it is, and with which password, which is made up.
    pub(super) async fn open(
        address: SocketAddr,
        databases: &Databases,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        ensure!(
            address.ip().is_loopback(),
            "--console {address}: passwords and cookies would cross the network as they are: give an address of \
             this machine alone, such as 127.0.0.1:9080"
        );
        let password = Uuid::new_v4().simple().to_string();
        let users: UserList = UserList::line("admin", Role::Operate, &password)?.parse()?;
        let mut console = Console::new(users).with_insecure_cookies();
        let Databases {
            emr,
            lab,
            erp_feeds,
            imaging_feeds,
            ..
        } = databases.clone();
        for (name, store) in [
            ("EMR", emr),
            ("Lab", lab),
            ("ERP", erp_feeds),
            ("Imaging", imaging_feeds),
        ] {
            console = with_store!(store, store => console.with_system(name, store));
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("--console {address}: see who listens there"))?;
        let url = format!("http://{}{MOUNT}/", listener.local_addr()?);
        println!("console: {url} sign in as admin with {password}");
        let limits = ServerLimits::default()
            .with_body_bytes(64 << 20)
            .with_stop_time(Duration::from_secs(5));
        let server = FeedServer::new(console.into_router(MOUNT)).with_limits(limits);
        let task = tokio::spawn(async move { server.run(listener, stop).await });
        Ok(Self { url, task })
    }

    /// Waits until it is served no longer.
    pub(super) async fn closed(self) {
        // Fails when it has panicked, which has been said.
        let _ = self.task.await;
    }
}
