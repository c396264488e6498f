use std::collections::BTreeMap;
use std::fmt;

use super::{Dialect, Matching, Row, SqlStore};
use crate::Category;
use crate::store::StoreResult;

const SELECT_WHOLE: &str = "SELECT feed_uri, event_id FROM {s}atomfeed_failed_events
    WHERE feed_uri IS NOT NULL ORDER BY failed_event_id";
const SELECT_RETRIES: &str = "SELECT feed_uri, event_id, COUNT(*)
    FROM {s}atomfeed_failed_event_retry_log GROUP BY feed_uri, event_id ORDER BY feed_uri, event_id";
const SELECT_SET_ASIDE: &str =
    "SELECT queue_id, uuid, error FROM {s}atomfeed_set_aside ORDER BY id";
const SELECT_LATE: &str = "SELECT record.id, record.uuid FROM {s}event_records AS record
    WHERE EXISTS (SELECT 1 FROM {s}atomfeed_gaps AS gap
     WHERE record.id >= gap.first_id AND record.id <= gap.last_id) ORDER BY record.id";
const SELECT_COMPLETED: &str = "SELECT feed_uri, event_id FROM {s}atomfeed_completed_events
    ORDER BY feed_uri, event_id";
const COUNT_BREAKS: &str = "SELECT (SELECT COUNT(*) FROM {s}atomfeed_cuts),
    (SELECT COUNT(*) FROM {s}atomfeed_jumps)";

/// Something that another program would miss, or see otherwise, in tables that were handed back to it
/// now; [`Display`](fmt::Display) says what to do about it.
///
/// Found by [`SqlStore::obstacles`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// An event is parked in `atomfeed_failed_events`, since `failed_events` cannot hold it.
    Parked {
        /// Column `feed_uri`.
        feed_uri: String,
        /// Column `event_id`.
        event_id: String,
    },
    /// Retries that failed stand in `atomfeed_failed_event_retry_log`, since
    /// `failed_event_retry_log` cannot hold them.
    Retries {
        /// Column `feed_uri`.
        feed_uri: String,
        /// Column `event_id`.
        event_id: String,
        /// How many.
        count: u64,
    },
    /// An event behind the marker was dealt with already, as several transactions at once do, and that is
    /// written down in `atomfeed_completed_events` alone: the other program would apply it again.
    Completed {
        /// Column `feed_uri`.
        feed_uri: String,
        /// Column `event_id`.
        event_id: String,
    },
    /// What was published could not be moved into `event_records`, and stands in
    /// `atomfeed_set_aside`.
    SetAside {
        /// Its id in the queue.
        queue_id: i64,
        /// Column `uuid`.
        uuid: String,
        /// Why.
        error: String,
    },
    /// An event came too late to be shown, and would be on a page of the other program's, which moves
    /// all behind it.
    NeverShown {
        /// Column `event_records.id`.
        id: i64,
        /// Column `event_records.uuid`.
        uuid: String,
    },
    /// Old events were pruned.
    Pruned,
    /// The feed went on above the ids of what a restore has lost.
    Continued,
    /// A feed carries a category in several spellings, which the other program tells apart.
    Spellings(Vec<String>),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parked { feed_uri, event_id } => write!(
                f,
                "{event_id} of {feed_uri} is parked in atomfeed_failed_events alone, since \
                 failed_events cannot hold it: have it retried until it succeeds, or widen the columns \
                 and move it there"
            ),
            Self::Retries {
                feed_uri,
                event_id,
                count,
            } => write!(
                f,
                "{count} failed retries of {event_id} of {feed_uri} are in \
                 atomfeed_failed_event_retry_log alone: nothing is lost without them but what their \
                 errors say"
            ),
            Self::Completed { feed_uri, event_id } => write!(
                f,
                "{event_id} of {feed_uri} was dealt with, and the marker stands before it, so that the \
                 other program would apply it again: let the consumer read the feed until the marker has \
                 passed it"
            ),
            Self::SetAside {
                queue_id,
                uuid,
                error,
            } => write!(
                f,
                "row {queue_id} of the queue, event {uuid:?}, was never moved into event_records, and \
                 stands in atomfeed_set_aside ({error}): publish it again as its table can hold it, \
                 and delete the row"
            ),
            Self::NeverShown { id, uuid } => write!(
                f,
                "event {id}, {uuid}, came so late that it is on no page; the other program would put it \
                 on one, and move all behind it: publish it again under another uuid, and delete the \
                 row"
            ),
            Self::Pruned => f.write_str(
                "old events were pruned; the other program finds its pages by counting rows: write its \
                 offset markers (mark_events) before it serves the feed again, and have every reader \
                 past the first kept pages",
            ),
            Self::Continued => f.write_str(
                "the feed went on above the ids of what a restore has lost; the other program finds its \
                 pages by counting rows: write its offset markers (mark_events) before it serves the \
                 feed again",
            ),
            Self::Spellings(spellings) => write!(
                f,
                "the spellings {spellings:?} are one feed here and several to a program that compares \
                 them as this database does: their pages hold other events there, so have their \
                 readers read to the end, and begin anew"
            ),
        }
    }
}

impl<D: Dialect> SqlStore<D> {
    /// What stands in the way of handing the tables back to the program that they were made for; nothing
    /// when it can take over as if it had always been there. Reads only.
    ///
    /// Everything that may run on these tables should have been stopped.
    ///
    /// # Errors
    ///
    /// As the database has it.
    pub async fn obstacles(&self) -> StoreResult<Vec<Obstacle>> {
        let layout = self.layout();
        let (publishes, consumes) = match layout.is_adopted() {
            true => (
                layout.has_table("event_records"),
                layout.has_table("failed_events"),
            ),
            false => (true, true),
        };
        let mut obstacles = Vec::new();
        if consumes {
            self.obstacles_to_consume(&mut obstacles).await?;
        }
        if publishes {
            self.obstacles_to_publish(&mut obstacles).await?;
        }
        Ok(obstacles)
    }

    async fn obstacles_to_consume(&self, obstacles: &mut Vec<Obstacle>) -> StoreResult<()> {
        for mut row in self.look(SELECT_COMPLETED).await? {
            obstacles.push(Obstacle::Completed {
                feed_uri: row.text_or_empty()?,
                event_id: row.text_or_empty()?,
            });
        }
        for mut row in self.look(SELECT_WHOLE).await? {
            obstacles.push(Obstacle::Parked {
                feed_uri: row.text_or_empty()?,
                event_id: row.text_or_empty()?,
            });
        }
        if !self.layout().has_table("failed_event_retry_log") {
            // The other program knows of none.
            return Ok(());
        }
        for mut row in self.look(SELECT_RETRIES).await? {
            obstacles.push(Obstacle::Retries {
                feed_uri: row.text_or_empty()?,
                event_id: row.text_or_empty()?,
                count: row.required_count()?,
            });
        }
        Ok(())
    }

    async fn obstacles_to_publish(&self, obstacles: &mut Vec<Obstacle>) -> StoreResult<()> {
        for mut row in self.look(SELECT_SET_ASIDE).await? {
            obstacles.push(Obstacle::SetAside {
                queue_id: row.required_int()?,
                uuid: row.text_or_empty()?,
                error: row.text_or_empty()?,
            });
        }
        for mut row in self.look(SELECT_LATE).await? {
            obstacles.push(Obstacle::NeverShown {
                id: row.required_int()?,
                uuid: row.text_or_empty()?,
            });
        }
        if let Some(mut row) = self.look(COUNT_BREAKS).await?.into_iter().next() {
            if row.required_count()? > 0 {
                obstacles.push(Obstacle::Pruned);
            }
            if row.required_count()? > 0 {
                obstacles.push(Obstacle::Continued);
            }
        }
        if self.statements.matching() == Matching::Folded {
            let mut feeds = BTreeMap::<_, Vec<_>>::new();
            for spelling in self.all_spellings().await? {
                if let Ok(category) = Category::new(spelling.as_str()) {
                    feeds.entry(category.folded()).or_default().push(spelling);
                }
            }
            for mut spellings in feeds.into_values().filter(|spellings| spellings.len() > 1) {
                spellings.sort();
                obstacles.push(Obstacle::Spellings(spellings));
            }
        }
        Ok(())
    }

    async fn look(&self, statement: &'static str) -> StoreResult<Vec<Row>> {
        let what = "looking for what stands in the way of a hand-back";
        self.read(what, statement, Vec::new()).await
    }
}
