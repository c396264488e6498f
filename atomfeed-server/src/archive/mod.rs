//! Sealed pages, written once to an object store: the past, served without us.

mod error;
mod feed;
mod objects;
mod place;
mod progress;
mod run;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::{Category, FeedScope};
use object_store::{Attribute, ObjectStore};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::error::ArchiveError;
use self::objects::Objects;
use self::place::Place;
use self::run::Run;
use crate::http::MEDIA_TYPE;
use crate::service::Moment;
use crate::{Audience, EventFeedService};

/// The sealed pages of a feed in an object store (the file system, S3, GCS, Azure), under the paths that
/// they have in the feed's public URL: `…/{n}` and `…/{category}/{n}`.
///
/// A page that has a successor never changes. Exported, it is served by whatever serves files, and the
/// process that has the database is asked for the newest page alone. What was pruned stays in the archive.
///
/// ```
/// use std::sync::Arc;
///
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_server::{Archive, EventFeedService, FeedConfig};
/// use object_store::memory::InMemory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = FeedConfig::new("https://emr.example.org/openmrs/ws/atomfeed".parse()?);
/// let service = EventFeedService::open(MemoryStore::new(), config).await?;
/// // Such as LocalFileSystem::new_with_prefix("/srv/atomfeed")?, or one of AmazonS3Builder.
/// let bucket = Arc::new(InMemory::new());
/// let archive = Archive::new(service, bucket)?; // its pages are openmrs/ws/atomfeed/1, …
/// let exported = archive.export().await?;
/// assert_eq!(exported.pages, 0); // no page has a successor yet
/// # Ok(())
/// # }
/// ```
///
/// Objects carry the `Content-Type` and the `Cache-Control` with which the pages are served, where the
/// store keeps such; the file system does not, and what serves its files must say them. A file system
/// that is to outlast a power cut is opened `with_fsync(true)`.
///
/// Each category is exported in one spelling: in lower case, unless the database tells spellings apart.
/// Links in its pages have that spelling. Who asks for another one, or for a category whose name no
/// store keeps (`a/b`, `17`, `.`), is answered by [`FeedRouter`](crate::FeedRouter) alone.
///
/// Several may export to the same place at the same time. What was written is never written over; an
/// export that was ended at any point goes on where it was. In `.atomfeed` below the prefix it is written
/// down how far each feed has come, which nobody needs to serve.
#[derive(Debug)]
pub struct Archive {
    service: EventFeedService,
    objects: Objects,
    place: Place,
    audience: Audience,
    headers: [(Attribute, String); 2],
    at_once: usize,
    known: Mutex<Known>,
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// How many pages were written.
    pub pages: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many pages there were already, where it was not known.
    pub found: u64,
    /// Categories whose names cannot be kept in a store: their pages are served by this process alone.
    pub left_out: Vec<Category>,
}

/// What is known of an archive from the last export of this process.
#[derive(Debug, Default)]
struct Known {
    /// Nothing has happened since, while this is so.
    exported: Option<Moment>,
    /// How far each feed has come: what is written down is not looked at, where it is this.
    come_to: HashMap<FeedScope, u64>,
    /// Of which it was said that they are left out.
    left_out: BTreeSet<Category>,
}

impl Archive {
    /// The archive of a feed, under the path of its public URL.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Prefix`] when that is no path in an object store: give another one
    /// [`under`](Self::under) which it lies there.
    pub fn new(
        service: EventFeedService,
        store: Arc<dyn ObjectStore>,
    ) -> Result<Self, ArchiveError> {
        let place = Place::of_url(service.config().base())?;
        Ok(Self {
            service,
            objects: Objects::of(store),
            place,
            audience: Audience::default(),
            headers: headers(Audience::default()),
            at_once: 8,
            known: Mutex::default(),
        })
    }

    /// Sets under which prefix the pages lie, such as `ws/feed`, without encoding; with `""` at the root.
    /// What serves them must be asked for them under the feed's public URL.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Prefix`] when it is no path.
    pub fn under(mut self, prefix: &str) -> Result<Self, ArchiveError> {
        self.place = Place::named(prefix)?;
        Ok(self)
    }

    /// Says who may see the feed, and so which `Cache-Control` its pages carry; else
    /// [only those who are let in](Audience::WhoIsLetIn). It is for what serves them to let nobody else in.
    #[must_use]
    pub fn with_audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self.headers = headers(audience);
        self
    }

    /// Holds and writes so many pages at once, at the most; else 8.
    #[must_use]
    pub fn with_at_once(mut self, pages: usize) -> Self {
        self.at_once = pages.max(1);
        self
    }

    /// Exports every sealed page that is not there yet, of all events and of each category. Pages that
    /// were pruned or lost are passed over. When nothing was published since this archive exported last,
    /// no request is made.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::OtherConfiguration`] when the pages there are rendered otherwise.
    /// [`ArchiveError::WereForEveryone`] when they may be kept by whom these are not for.
    /// [`ArchiveError::AnotherPage`] when a page there is another than the feed has; other feeds are
    /// exported all the same. Else when the database or the object store fails; what was exported stays.
    ///
    /// # Cancel safety
    ///
    /// What is dropped has exported some pages, each of them whole, and can be called again.
    pub async fn export(&self) -> Result<Exported, ArchiveError> {
        self.export_what_lacks(false).await
    }

    /// As [`export`](Self::export), without relying on what is written down: all objects are listed, those
    /// that are there are read and compared, and pages that somebody has removed are exported anew.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export).
    ///
    /// # Cancel safety
    ///
    /// As [`export`](Self::export).
    pub async fn mend(&self) -> Result<Exported, ArchiveError> {
        self.export_what_lacks(true).await
    }

    /// [Exports](Self::export) again and again, `every` so often, until it is to stop. What fails is logged,
    /// and tried again the next time. Pages and bytes are counted (`atomfeed_archived_pages_total`,
    /// `atomfeed_archived_bytes_total`), and so are exports that failed
    /// (`atomfeed_archive_failures_total`).
    ///
    /// # Cancel safety
    ///
    /// As [`export`](Self::export).
    pub async fn run(&self, stop: CancellationToken, every: Duration) {
        let exporting = async {
            loop {
                if let Err(error) = self.export().await {
                    metrics::counter!("atomfeed_archive_failures_total").increment(1);
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "pages were not exported; it is tried again");
                }
                tokio::time::sleep(every).await;
            }
        };
        stop.run_until_cancelled(exporting).await;
    }
}

impl Archive {
    async fn export_what_lacks(&self, mends: bool) -> Result<Exported, ArchiveError> {
        let mut known = self.known.lock().await;
        let moment = self.service.moment().await?;
        if !mends && known.exported.as_ref() == Some(&moment) {
            return Ok(Exported {
                left_out: known.left_out.iter().cloned().collect(),
                ..Exported::default()
            });
        }
        known.exported = None;
        let config = self.service.config();
        progress::settle_configuration(&self.objects, &self.place, config, self.audience).await?;
        let mut run = Run::begin(self, &mut known, mends).await?;
        let mut failed = None;
        for scope in self.feeds().await? {
            match run.export(&scope).await {
                Ok(()) => {}
                Err(error @ ArchiveError::AnotherPage { .. }) => {
                    let what = &error as &dyn std::error::Error;
                    tracing::error!(error = what, "a feed was not exported; the others are");
                    failed.get_or_insert(error);
                }
                Err(error) => {
                    // What the others have come to is worth keeping; that this fails, too, is no news.
                    let _ = run.end().await;
                    return Err(error);
                }
            }
        }
        let exported = run.end().await?;
        match failed {
            Some(error) => Err(error),
            None => {
                known.exported = Some(moment);
                Ok(exported)
            }
        }
    }

    /// All feeds, each in one spelling.
    async fn feeds(&self) -> Result<Vec<FeedScope>, ArchiveError> {
        let store = self.service.store();
        let names = store.categories().await?.into_iter();
        // What cannot be asked for is served nowhere.
        let spelled = names.filter_map(|name| Category::new(name).ok());
        let categories: BTreeSet<_> = spelled.map(|name| store.one_spelling(&name)).collect();
        let categories = categories.into_iter().map(FeedScope::Category);
        Ok([FeedScope::All].into_iter().chain(categories).collect())
    }
}

/// What the pages carry.
fn headers(audience: Audience) -> [(Attribute, String); 2] {
    [
        (Attribute::ContentType, MEDIA_TYPE.to_owned()),
        (Attribute::CacheControl, audience.of_sealed_pages()),
    ]
}
