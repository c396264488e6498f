use async_trait::async_trait;

use super::StoreResult;

/// Hears that there may be new events, from whichever process they come: see
/// [`FeedStore::listen`](super::FeedStore::listen).
#[async_trait]
pub trait NewsListener: Send {
    /// Returns when events may have come since it was called before. It may hear of events that are
    /// there already, and, of a database that was away, nothing of those that came meanwhile: who waits
    /// for events looks for them now and then all the same.
    ///
    /// # Errors
    ///
    /// When the database is away, or the connection to it was lost: [`FeedStore::listen`](super::FeedStore::listen)
    /// anew.
    ///
    /// # Cancel safety
    ///
    /// What comes after the future is dropped is heard by the next call.
    async fn heard(&mut self) -> StoreResult<()>;
}

/// Hears nothing: of a database that tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct HearsNothing;

#[async_trait]
impl NewsListener for HearsNothing {
    async fn heard(&mut self) -> StoreResult<()> {
        std::future::pending().await
    }
}
