//! Hears on PostgreSQL what a sequencer tells when it has moved events.

use async_trait::async_trait;
use sqlx::Postgres;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgListener;

use super::SqlStore;
use super::error::Doing;
use crate::store::{NewsListener, StoreError, StoreErrorKind, StoreResult};

/// The channel on which a sequencer tells, in the transaction in which it moves events, the schema.
pub(super) const CHANNEL: &str = "atomfeed";

const SCHEMA: &str = "SELECT COALESCE($1, current_schema())::text";

/// Listens on a connection of its own, which is none of the application's pool: who listens for long
/// takes none away from those who have something to do.
pub(super) struct PostgresListener {
    listener: PgListener,
    schema: Option<String>,
}

impl PostgresListener {
    pub(super) async fn of(store: &SqlStore<Postgres>) -> StoreResult<Self> {
        let doing = || "listening for events that other processes publish to PostgreSQL";
        let options = store.pool.connect_options().as_ref().clone();
        let pool = PoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await.doing(doing)?;
        listener.ignore_pool_close_event(true);
        // Whoever listens may be called off at any time, and a connection would come to nothing each time.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await.doing(doing)?;
        let schema = store.schema.as_ref().map(|schema| schema.as_str());
        let schema = sqlx::query_scalar(SCHEMA).bind(schema);
        Ok(Self {
            schema: schema.fetch_one(&store.pool).await.doing(doing)?,
            listener,
        })
    }
}

#[async_trait]
impl NewsListener for PostgresListener {
    async fn heard(&mut self) -> StoreResult<()> {
        let doing = || "listening for events on PostgreSQL";
        loop {
            let heard = self.listener.try_recv().await;
            let Some(told) = heard.doing(doing)? else {
                let lost =
                    "listening for events on PostgreSQL: the connection was lost; listen anew";
                return Err(StoreError::new(StoreErrorKind::Unavailable, lost));
            };
            let schema = self.schema.as_deref();
            if schema.is_none_or(|schema| schema == told.payload()) {
                return Ok(());
            }
        }
    }
}
