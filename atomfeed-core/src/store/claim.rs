use std::collections::HashSet;

use async_trait::async_trait;

use super::StoreResult;
use crate::{EntryId, FeedUri};

/// Who follows a feed (table `atomfeed_claims`).
///
/// Every transaction that moves a feed's marker, or deals with events behind it, makes sure that the
/// claim it works under [still holds](ClaimStore::keep_claim): who has lost it commits nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// Rises whenever another consumer takes the feed.
    pub epoch: u64,
    /// Which consumer has it; empty when it was given back.
    pub consumer: String,
    /// How often the consumer has said that it is alive. Another one that has seen it stand still for
    /// as long as was agreed may take the feed; clocks are not compared.
    pub beats: u64,
}

impl Claim {
    /// The claim of a consumer that takes a feed after `before`.
    pub fn after(before: Option<&Self>, consumer: impl Into<String>) -> Self {
        Self {
            epoch: before.map_or(0, |before| before.epoch) + 1,
            consumer: consumer.into(),
            beats: before.map_or(0, |before| before.beats) + 1,
        }
    }

    /// What is left of a claim where the feed has got another address: who comes under the old one is
    /// told, and does not begin anew.
    pub(crate) fn moved(before: Option<&Self>, to: &FeedUri) -> Self {
        Self::after(before, format!("{MOVED}{to}"))
    }

    /// The address that the feed has got instead of the one under which this claim stands.
    pub fn moved_to(&self) -> Option<&str> {
        self.consumer.strip_prefix(MOVED)
    }
}

/// How the consumer of a claim begins where the feed has got another address.
const MOVED: &str = "moved to ";

/// Who follows each feed, and which events behind its marker were dealt with already (tables
/// `atomfeed_claims` and `atomfeed_completed_events`, of our own).
#[async_trait]
pub trait ClaimStore: Send {
    /// Who follows a feed; `None` before anybody has. Nobody else can [write](Self::put_claim) or
    /// [keep](Self::keep_claim) it until this transaction ends.
    ///
    /// # Errors
    ///
    /// This and every other call: as the database has it.
    async fn claim(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Claim>>;

    /// Writes down who follows a feed. In the transaction in which it was [read](Self::claim).
    async fn put_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()>;

    /// Makes sure that a feed is claimed as it was, in its epoch, until this transaction ends. Several
    /// transactions may do so at once.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Conflict`](super::StoreErrorKind::Conflict) when another consumer has taken it.
    async fn keep_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()>;

    /// The events behind the marker that were dealt with before one in front of them was.
    async fn completed(&mut self, feed_uri: &FeedUri) -> StoreResult<HashSet<EntryId>>;

    /// Writes down that events were dealt with.
    ///
    /// # Errors
    ///
    /// When one of them was already.
    async fn complete(&mut self, feed_uri: &FeedUri, events: &[&EntryId]) -> StoreResult<()>;

    /// Forgets events that the marker has come to stand behind.
    async fn forget_completed(
        &mut self,
        feed_uri: &FeedUri,
        events: &[&EntryId],
    ) -> StoreResult<()>;
}
