//! Pages that were rendered, kept for the next who asks.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomfeed_core::FeedScope;
use atomfeed_core::store::{StoreError, StoreErrorKind};
use axum::http::HeaderMap;
use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tokio::time::Instant;

use super::coding::Coding;
use super::moments::Moments;
use super::response;
use crate::page::{Asked, Facts, Rendered};
use crate::service::Moment;
use crate::{EventFeedService, FeedError};

/// The pages of a service, as they were rendered, in every coding that was asked for, up to so many bytes.
///
/// A sealed page is answered from here without a question to the database, for as long as this process
/// has not seen that pages were pruned or lost. Another is asked for again: what it hangs on, and, if that
/// has changed, whether there is an event behind its newest.
#[derive(Debug)]
pub(super) struct KeptPages {
    service: EventFeedService,
    bytes: Cache<Key, Kept, ByBytes>,
    /// What is known of pages that still change, by the moment of which it is known.
    unsealed: Mutex<HashMap<(FeedScope, Asked), Known>>,
    /// One of these is held by who renders a page: the others wait for what that brings.
    rendering: Vec<AsyncMutex<Turn>>,
    hasher: RandomState,
    pub(super) moments: Moments,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scope: FeedScope,
    asked: Asked,
    coding: Coding,
}

impl Key {
    /// The same page, without a coding.
    fn plain(&self) -> Self {
        Self {
            coding: Coding::Identity,
            ..self.clone()
        }
    }
}

/// A page, in one coding.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) facts: Arc<Facts>,
    pub(super) body: Bytes,
    /// What every answer with it has.
    pub(super) headers: Arc<HeaderMap>,
    /// The revision of the feeds that was seen before it was read.
    revision: u64,
}

/// Held by who renders.
#[derive(Debug, Default)]
struct Turn {
    /// When a store could not be asked for a page, and which one.
    failed: Option<(Instant, u64)>,
}

/// The turn of one page.
struct Turning<'a> {
    turn: AsyncMutexGuard<'a, Turn>,
    page: u64,
}

#[derive(Debug, Clone)]
struct Known {
    moment: Arc<Moment>,
    facts: Arc<Facts>,
}

/// A page that is known, and, if they are at hand, its bytes.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) facts: Arc<Facts>,
    pub(super) kept: Option<Kept>,
}

#[derive(Debug, Clone)]
struct ByBytes;

/// What a page takes beside its bytes, roughly.
const OVERHEAD: u64 = 1_000;

impl Weighter<Key, Kept> for ByBytes {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        OVERHEAD + kept.body.len() as u64
    }
}

/// Of so many pages, what is known is kept without their bytes. Who asks for feeds that nobody publishes to
/// must not fill the memory.
const MAX_UNSEALED: usize = 1_000;

/// So many pages can be rendered at once, unless two of them share a lock.
const AT_ONCE: usize = 64;

/// Of so many parts, each with its share of the bytes, and a lock of its own.
const PARTS: usize = 4;

/// A page of usual size, in bytes: by it the cache guesses how many it will hold.
const USUAL: u64 = 16 << 10;

/// In few parts, so that a large page has room in one of them.
fn cache(pages: usize, max_bytes: u64) -> Cache<Key, Kept, ByBytes> {
    let options = OptionsBuilder::new()
        .shards(PARTS)
        .estimated_items_capacity(pages)
        .weight_capacity(max_bytes)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            ByBytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // All it needs is given.
        Err(_) => Cache::with_weighter(pages, max_bytes, ByBytes),
    }
}

impl KeptPages {
    pub(super) fn new(service: EventFeedService, max_bytes: u64) -> Self {
        let pages = usize::try_from(max_bytes / USUAL).unwrap_or(usize::MAX);
        Self {
            moments: Moments::of(service.clone()),
            service,
            bytes: cache(pages.clamp(16, 100_000), max_bytes),
            unsealed: Mutex::default(),
            rendering: (0..AT_ONCE).map(|_| AsyncMutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// A sealed page, if it is at hand.
    pub(super) fn at_hand(&self, scope: &FeedScope, asked: Asked, coding: Coding) -> Option<Found> {
        let key = Key {
            scope: scope.clone(),
            asked,
            coding,
        };
        self.sealed(&key).map(Found::from)
    }

    /// The page as it is now; or, of the newest page, as it was at a moment or later.
    pub(super) async fn find(
        &self,
        scope: &FeedScope,
        asked: Asked,
        coding: Coding,
        since: Option<&Arc<Moment>>,
    ) -> Result<Found, FeedError> {
        let key = Key {
            scope: scope.clone(),
            asked,
            coding,
        };
        if let Some(kept) = self.sealed(&key) {
            return Ok(kept.into());
        }
        match asked {
            Asked::Recent => {
                let moment = match since {
                    Some(moment) => Arc::clone(moment),
                    None => self.moments.now().await?,
                };
                self.find_unsealed(key, moment).await
            }
            Asked::Number(_) if self.known(&key).is_some() => {
                let moment = self.moments.now().await?;
                self.find_unsealed(key, moment).await
            }
            Asked::Number(_) => self.find_numbered(key).await,
        }
    }

    /// The bytes of a page that was found; of one that is not sealed, those of a later one, if it has
    /// become another meanwhile.
    pub(super) async fn bytes(
        &self,
        scope: &FeedScope,
        asked: Asked,
        coding: Coding,
        found: Found,
    ) -> Result<Kept, FeedError> {
        if let Some(kept) = found.kept {
            return Ok(kept);
        }
        let key = Key {
            scope: scope.clone(),
            asked,
            coding,
        };
        let mut turn = self.turn(&key).await?;
        if let Some(kept) = self.bytes.get(&key).filter(|kept| kept.is_of(&found.facts)) {
            return Ok(kept);
        }
        let plain = self.bytes.get(&key.plain());
        let plain = match plain.filter(|kept| kept.is_of(&found.facts)) {
            Some(kept) => kept,
            None => turn.note(self.render(&key.plain()).await)?,
        };
        self.encode(plain, &key).await
    }

    /// A sealed page, if it is at hand in the coding that is asked for.
    fn sealed(&self, key: &Key) -> Option<Kept> {
        let revision = self.service.revision_seen();
        let kept = self.bytes.get(key);
        kept.filter(|kept| kept.facts.is_sealed() && kept.revision == revision)
    }

    /// A page of which it is not known that it still changes.
    async fn find_numbered(&self, key: Key) -> Result<Found, FeedError> {
        let mut turn = self.turn(&key).await?;
        if let Some(kept) = self.sealed(&key) {
            return Ok(kept.into());
        }
        if self.known(&key).is_some() {
            let moment = self.moments.now().await?;
            return turn.note(self.find_at(&key, moment).await);
        }
        let plain = match self.sealed(&key.plain()) {
            Some(kept) => kept,
            None => turn.note(self.render(&key.plain()).await)?,
        };
        if !plain.facts.is_sealed() {
            // It was read before the moment is known of which it is said to be: once more.
            let moment = self.moments.now().await?;
            return turn.note(self.find_at(&key, moment).await);
        }
        Ok(self.encode(plain, &key).await?.into())
    }

    async fn find_unsealed(&self, key: Key, moment: Arc<Moment>) -> Result<Found, FeedError> {
        if let Some(known) = self.known(&key).filter(|known| known.moment == moment) {
            return Ok(self.found(&key, known.facts));
        }
        let mut turn = self.turn(&key).await?;
        turn.note(self.find_at(&key, moment).await)
    }

    /// A page as it is since a moment, looked for by who has the turn.
    async fn find_at(&self, key: &Key, moment: Arc<Moment>) -> Result<Found, FeedError> {
        // Somebody else may have seen meanwhile that it has got a successor.
        if let Some(kept) = self.sealed(key) {
            return Ok(kept.into());
        }
        if let Some(plain) = self.sealed(&key.plain()) {
            return Ok(self.encode(plain, key).await?.into());
        }
        if let Some(known) = self.known(key) {
            let is_still = known.moment == moment || self.is_still(key, &known, &moment).await?;
            if is_still {
                self.know(key, moment, &known.facts);
                return Ok(self.found(key, known.facts));
            }
        }
        let kept = self.render(&key.plain()).await?;
        match kept.facts.is_sealed() {
            true => {
                self.unsealed().remove(&(key.scope.clone(), key.asked));
            }
            false => self.know(key, moment, &kept.facts),
        }
        Ok(self.found(key, kept.facts))
    }

    /// Whether a page is what it was, though something has happened since.
    async fn is_still(&self, key: &Key, known: &Known, moment: &Moment) -> Result<bool, FeedError> {
        if moment.is_of_time() || !moment.differs_by_events(&known.moment) {
            return Ok(false);
        }
        let newest = known.facts.newest_id;
        Ok(!self.service.has_events_behind(&key.scope, newest).await?)
    }

    async fn render(&self, key: &Key) -> Result<Kept, FeedError> {
        let revision = self.service.revision_seen();
        let Rendered { facts, body } = self.service.render(&key.scope, key.asked).await?;
        let kept = Kept {
            headers: Arc::new(response::headers(&facts, Coding::Identity)),
            facts: Arc::new(facts),
            body,
            revision,
        };
        if !kept.facts.is_page_0() {
            self.bytes.insert(key.clone(), kept.clone());
        }
        Ok(kept)
    }

    async fn encode(&self, plain: Kept, key: &Key) -> Result<Kept, FeedError> {
        if key.coding == Coding::Identity {
            return Ok(plain);
        }
        let body = key
            .coding
            .encode(plain.body)
            .await
            .map_err(FeedError::Coding)?;
        let kept = Kept {
            headers: Arc::new(response::headers(&plain.facts, key.coding)),
            body,
            ..plain
        };
        if !kept.facts.is_page_0() {
            self.bytes.insert(key.clone(), kept.clone());
        }
        Ok(kept)
    }

    fn found(&self, key: &Key, facts: Arc<Facts>) -> Found {
        let kept = self.bytes.get(key);
        Found {
            kept: kept.filter(|kept| kept.is_of(&facts)),
            facts,
        }
    }

    fn known(&self, key: &Key) -> Option<Known> {
        let unsealed = self.unsealed();
        let known = unsealed.get(&(key.scope.clone(), key.asked));
        // What stands for no event hangs on the day, too.
        let today = self.service.clock().now();
        known.filter(|known| known.facts.is_of(today)).cloned()
    }

    fn know(&self, key: &Key, moment: Arc<Moment>, facts: &Arc<Facts>) {
        let mut unsealed = self.unsealed();
        if unsealed.len() >= MAX_UNSEALED {
            unsealed.retain(|_, known| !known.facts.is_page_0());
        }
        if unsealed.len() >= MAX_UNSEALED {
            unsealed.clear();
        }
        let facts = Arc::clone(facts);
        unsealed.insert((key.scope.clone(), key.asked), Known { moment, facts });
    }

    fn unsealed(&self) -> MutexGuard<'_, HashMap<(FeedScope, Asked), Known>> {
        self.unsealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to render a page. Who has waited for it while the store failed somebody else does not try
    /// again what takes as long to fail: of many, all would wait for each other.
    async fn turn(&self, key: &Key) -> Result<Turning<'_>, FeedError> {
        let page = self.hasher.hash_one((&key.scope, key.asked));
        let asked = Instant::now();
        let turn = self.rendering[page as usize % AT_ONCE].lock().await;
        match turn.failed {
            Some((at, failed)) if at > asked && failed == page => {
                let of = &key.scope;
                Err(FeedError::Store(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!(
                        "waiting for a page of the feed of {of} that others have asked for, too: the \
                         database could not be asked for it; try again in a moment"
                    ),
                )))
            }
            _ => Ok(Turning { turn, page }),
        }
    }
}

impl Turning<'_> {
    fn note<T>(&mut self, done: Result<T, FeedError>) -> Result<T, FeedError> {
        if matches!(&done, Err(FeedError::Store(error)) if error.kind() == StoreErrorKind::Unavailable)
        {
            self.turn.failed = Some((Instant::now(), self.page));
        }
        done
    }
}

impl Kept {
    fn is_of(&self, facts: &Facts) -> bool {
        self.facts.tag == facts.tag
    }
}

impl From<Kept> for Found {
    fn from(kept: Kept) -> Self {
        Self {
            facts: Arc::clone(&kept.facts),
            kept: Some(kept),
        }
    }
}
