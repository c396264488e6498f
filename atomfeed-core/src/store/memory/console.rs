use async_trait::async_trait;

use super::{MemoryConnection, MemoryStore};
use crate::store::{ConsoleStore, Publishing, Records, StoreResult};

#[async_trait]
impl ConsoleStore for MemoryStore {
    /// One transaction is open at a time: this one waits for others, and others for it.
    async fn look(&self) -> StoreResult<Box<dyn Records>> {
        Ok(Box::new(self.transaction().await))
    }

    async fn change(&self) -> StoreResult<Box<dyn Records>> {
        Ok(Box::new(self.transaction().await))
    }

    async fn publishing(&self) -> StoreResult<Publishing> {
        let tables = self.shared.read();
        Ok(Publishing {
            is_there: true,
            newest_id: tables.newest_id(),
            newest_at: tables.records.last().map(|record| record.timestamp),
            ..Publishing::default()
        })
    }

    fn is_adopted(&self) -> bool {
        false
    }
}

#[async_trait]
impl Records for MemoryConnection {
    async fn commit(self: Box<Self>) -> StoreResult<()> {
        (*self).commit();
        Ok(())
    }
}
