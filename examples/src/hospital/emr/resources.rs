//! The resources that events name: how one is put and read, and that a change of it is an event.

use std::slice;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_core::NewEvent;
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::Publisher;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::Transaction;
use uuid::Uuid;

use super::answer::{Json, Refusal};
use crate::hospital::{Engine, Field, Sql};

/// A resource that the EMR keeps.
#[async_trait]
pub(super) trait Kept: Serialize + DeserializeOwned + Send + Sync + Sized + 'static {
    /// What it is called in paths.
    const NAME: &'static str;
    /// The feed that tells of it.
    const CATEGORY: &'static str;
    /// The title of its events.
    const TITLE: &'static str;

    fn uuid(&self) -> Uuid;

    /// Says what is wrong with what it says.
    fn check(&self) -> Result<(), String>;

    async fn load<C: Sql + ?Sized>(uuid: Uuid, conn: &mut C) -> sqlx::Result<Option<Self>>;

    /// Writes it, and says whether that has changed anything.
    async fn save<C: Sql + ?Sized>(&self, conn: &mut C) -> Result<bool, Refusal>;
}

/// The event that tells of a resource.
pub(super) fn event<K: Kept>(uuid: Uuid) -> NewEvent {
    let content = format!("/openmrs/ws/rest/v1/{}/{uuid}?v=full", K::NAME);
    NewEvent::new(K::TITLE, content).in_category(K::CATEGORY)
}

/// What answers requests.
pub(super) struct Emr<D: Engine> {
    store: SqlStore<D>,
    publisher: Publisher<SqlStore<D>>,
}

impl<D: Engine> Emr<D> {
    pub(super) fn new(store: SqlStore<D>, publisher: Publisher<SqlStore<D>>) -> Self {
        Self { store, publisher }
    }

    /// Writes resources and an event for each that this changes, all or nothing, and says how many it were.
    /// What is there exactly so already is no news.
    pub(super) async fn put_all<K: Kept>(&self, resources: &[K]) -> Result<usize, Refusal> {
        let begun = self.store.pool().begin_with(D::BEGIN).await;
        let mut transaction: Transaction<'static, D> = begun?;
        let mut changed = 0;
        for resource in resources {
            if resource.save(&mut *transaction).await? {
                let event = event::<K>(resource.uuid());
                let published = self.publisher.publish(&mut *transaction, &event).await;
                published?;
                changed += 1;
            }
        }
        match changed {
            0 => transaction.rollback().await?,
            _ => self.publisher.commit(transaction).await?,
        }
        Ok(changed)
    }
}

/// What a PUT answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Put {
    /// Whether there is an event, since something has changed.
    pub(super) published: bool,
}

/// Makes or replaces a resource. It can be repeated by who has not heard the answer.
pub(super) async fn put<D: Engine, K: Kept>(
    State(emr): State<Arc<Emr<D>>>,
    Path(uuid): Path<Uuid>,
    body: Bytes,
) -> Result<Json<Put>, Refusal> {
    let resource: K = serde_json::from_slice(&body).map_err(|error| {
        let why = format!("the document is no {}: {error}", K::NAME);
        Refusal::new(StatusCode::BAD_REQUEST, why)
    })?;
    if resource.uuid() != uuid {
        let why = format!(
            "the path names {uuid}, and the document {}",
            resource.uuid()
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
    }
    let checked = resource.check();
    checked.map_err(|why| Refusal::new(StatusCode::BAD_REQUEST, why))?;
    let changed = emr.put_all(slice::from_ref(&resource)).await?;
    Ok(Json(Put {
        published: changed > 0,
    }))
}

/// A resource as it is now. The query (`v=full`, and what a person has added in a console) changes nothing.
pub(super) async fn show<D: Engine, K: Kept>(
    State(emr): State<Arc<Emr<D>>>,
    Path(uuid): Path<Uuid>,
) -> Result<Json<K>, Refusal> {
    let mut conn = emr.store.pool().acquire().await?;
    let found = K::load(uuid, &mut *conn).await?;
    found.map(Json).ok_or_else(|| {
        let why = format!("there is no {} {uuid}", K::NAME);
        Refusal::new(StatusCode::NOT_FOUND, why)
    })
}

/// What a text of a row stands for.
pub(super) fn parsed<T>(field: &Field) -> sqlx::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let parsed = field.text().parse::<T>();
    parsed.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
