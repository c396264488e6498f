//! What a person is to mend in a day that was broken on purpose, and how.

use std::io::IsTerminal;
use std::time::Duration;

use atomfeed_core::store::sql::SqlStore;
use tokio::sync::oneshot;
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

use super::counts::Counts;
use super::databases::{Databases, number};
use super::desk::Desk;
use super::plan::Plan;
use crate::hospital::documents::LabTest;
use crate::hospital::emr::EmrClient;
use crate::hospital::{Engine, Sql, feeds};
use crate::with_store;

/// How often it is looked whether something was mended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who has not changed for so many looks, 5 s at least, is done, or waits for somebody. It is not told by the
/// clock, which goes on while a machine that stands still does nothing.
const DONE_AFTER: u32 = 20;

/// The same where something is parked, which is tried again within a minute ([`feeds::Feeds::follow`]).
const TRIED_AFTER: u32 = 300;

/// Sales that the stand-in for Odoo has refused.
const REFUSED: &str = "SELECT COUNT(*) FROM failed_events
    WHERE error_message LIKE '%exceeds the limit%'";

/// What is to be mended.
#[derive(Debug, Default)]
pub(super) struct Mends {
    /// The EMR is to tell of this test.
    test: Option<LabTest>,
    /// So many sales are to be approved of.
    sales: usize,
}

impl Mends {
    /// Those of a day.
    pub(super) fn of(plan: &Plan, databases: &Databases) -> Self {
        Self {
            test: plan.unknown_test.clone(),
            sales: match databases.erp {
                Some(_) => plan.over_limit,
                // A real Odoo has no such limit.
                None => 0,
            },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.test.is_none() && self.sales == 0
    }

    /// Says how it is mended, and how long it is waited for that.
    pub(super) fn say(&self, desk: &Desk, emr: &Url, patience: Option<Duration>) {
        let console = desk.whereabouts();
        if let Some(test) = &self.test {
            say!(
                "one lab order is of a test that neither lab nor ERP was told of: {}. They park it, which the \
                 console shows; all others flow",
                test.name
            );
            match std::io::stdin().is_terminal() {
                true => say!("  to mend it press Enter: the EMR then tells of the test"),
                false => {
                    say!(
                        "  to mend it have the EMR tell of the test, or write a line to standard input:"
                    );
                    say!("  {}", to_tell_of(test, emr));
                }
            }
            say!(
                "  what is parked is tried again within a minute, or when you retry it in the console: {console}"
            );
        }
        if self.sales > 0 {
            say!(
                "{} of the sales are over the limit of the ERP, which refuses them, and they are parked",
                self.sales
            );
            say!(
                "  to approve of one open it in the console, under ERP, choose \"Edit and retry\", and have its \
                 content end in &approved=yes: {console}"
            );
        }
        match patience {
            _ if self.is_empty() => {}
            Some(patience) => say!(
                "  it is given up once nothing has changed for {} seconds: --patience",
                patience.as_secs()
            ),
            None => say!("  that is waited for, however long it takes"),
        }
    }

    /// Tells of the test as soon as a line comes from standard input.
    pub(super) fn hear(&self, client: &EmrClient) {
        let Some(test) = self.test.clone() else {
            return;
        };
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
        let client = client.clone();
        tokio::spawn(async move {
            if asked.await.is_err() {
                return;
            }
            match client.put_lab_test(&test).await {
                Ok(_) => say!("the EMR has told of the test {}", test.name),
                Err(error) => say!("the EMR has not told of the test {}: {error:#}", test.name),
            }
        });
    }

    /// Waits until nothing is left to mend: no sale is refused (any more), the test is told of, and the systems
    /// are done with what they have. Sales may have been approved of, or skipped, before this is called.
    pub(super) async fn made(&self, databases: &Databases) {
        let (mut last, mut looks) = (Counts::default(), 0);
        loop {
            match Counts::read(databases).await {
                Ok(counts) if counts == last => looks += 1,
                Ok(counts) => (last, looks) = (counts, 0),
                // A database is busy: then it is seen the next time.
                Err(_) => looks = 0,
            }
            let refused = match databases.erp {
                Some(_) => number(&databases.erp_feeds, REFUSED).await,
                None => Ok(0),
            };
            let is_none_refused = refused.is_ok_and(|refused| refused == 0);
            let enough = match last.is_any_parked() {
                true => TRIED_AFTER,
                false => DONE_AFTER,
            };
            if looks >= enough && is_none_refused && self.is_told(databases).await {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn is_told(&self, databases: &Databases) -> bool {
        let Some(test) = &self.test else {
            return true;
        };
        let known = with_store!(&databases.emr, store => knows(store, test.uuid).await);
        known.unwrap_or(false)
    }
}

/// Whether an EMR has a test, and so has told of it.
async fn knows<D: Engine>(emr: &SqlStore<D>, test: Uuid) -> anyhow::Result<bool> {
    let mut conn = emr.pool().acquire().await?;
    let select = "SELECT uuid FROM lab_tests WHERE uuid = $1";
    Ok(conn.row(select, &[test.into()]).await?.is_some())
}

/// The command that has an EMR tell of a test.
fn to_tell_of(test: &LabTest, emr: &Url) -> String {
    let (user, password) = (feeds::USER, feeds::PASSWORD);
    let document = serde_json::json!(test);
    format!(
        "curl -u {user}:{password} -X PUT -H 'content-type: application/json' -d '{document}' \
         {emr}openmrs/ws/rest/v1/labtest/{}",
        test.uuid
    )
}
