//! The console over the databases of all systems, on this machine alone.

use std::fmt;
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

/// Who signs in.
const USER: &str = "admin";

/// A console that is served.
pub(super) struct Desk {
    /// Where.
    url: String,
    password: String,
    task: JoinHandle<()>,
}

// Without the password.
impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// Serves a console, with a password that is made up.
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
        let users: UserList = UserList::line(USER, Role::Operate, &password)?.parse()?;
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
            .with_context(|| {
                format!(
                    "--console {address}: see who listens there; --console ADDR takes another port, and \
                     --any-port, without --console, any that is free"
                )
            })?;
        let url = format!("http://{}{MOUNT}/", listener.local_addr()?);
        let limits = ServerLimits::default()
            .with_body_bytes(64 << 20)
            .with_stop_time(Duration::from_secs(5));
        let server = FeedServer::new(console.into_router(MOUNT)).with_limits(limits);
        let task = tokio::spawn(async move { server.run(listener, stop).await });
        Ok(Self {
            url,
            password,
            task,
        })
    }

    /// Where it is, and how one gets in.
    pub(super) fn whereabouts(&self) -> String {
        format!("{} sign in as {USER} with {}", self.url, self.password)
    }

    /// Waits until it is served no longer.
    pub(super) async fn closed(self) {
        // Fails when it has panicked, which has been said.
        let _ = self.task.await;
    }
}
