//! One export of all feeds.

use atomfeed_core::FeedScope;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::feed::{AlreadyThere, ExportedFeed, PageOutcome};
use super::place::NotExported;
use super::progress::Progress;
use super::{Archive, ArchiveError, Exported, Known};

/// After so many pages it is written down how far a feed has come.
const WRITTEN_DOWN_EVERY: u64 = 64;

/// An export.
#[derive(Debug)]
pub(super) struct Run<'a> {
    archive: &'a Archive,
    known: &'a mut Known,
    /// How far each feed has come, as it is written down.
    said: Progress,
    /// The same, with what is not written down yet.
    come_to: Progress,
    exported: Exported,
    mends: bool,
}

impl<'a> Run<'a> {
    pub(super) async fn begin(
        archive: &'a Archive,
        known: &'a mut Known,
        mends: bool,
    ) -> Result<Self, ArchiveError> {
        let said = Progress::read(&archive.objects, &archive.place).await?;
        Ok(Self {
            archive,
            known,
            come_to: said.clone(),
            said,
            exported: Exported::default(),
            mends,
        })
    }

    /// Exports a feed.
    pub(super) async fn export(&mut self, scope: &FeedScope) -> Result<(), ArchiveError> {
        let exported = self.export_pages(scope).await;
        if exported.is_err() {
            // What was on the way may be there.
            self.known.come_to.remove(scope);
        }
        exported
    }

    async fn export_pages(&mut self, scope: &FeedScope) -> Result<(), ArchiveError> {
        let Some(folder) = self.folder(scope) else {
            return Ok(());
        };
        let feed = ExportedFeed {
            archive: self.archive,
            scope,
            folder,
        };
        let Some(oldest) = feed.oldest().await? else {
            return Ok(());
        };
        let (come_to, there) = self.begin_of(&feed).await?;
        self.come_to(scope, come_to);
        let first = oldest.max(come_to + 1);
        // Mostly it is not sealed yet, and then none behind it is looked at.
        let outcome = feed.export(first, &there).await?;
        if outcome == PageOutcome::End {
            return Ok(());
        }
        self.count(outcome);
        self.come_to(scope, first);
        let (feed, there) = (&feed, &there);
        let pages = stream::iter(first + 1..).map(|number| async move {
            let exported = feed.export(number, there).await;
            exported.map(|outcome| (number, outcome))
        });
        let mut pages = pages.buffered(self.archive.at_once);
        while let Some((number, outcome)) = pages.try_next().await? {
            if outcome == PageOutcome::End {
                break;
            }
            self.count(outcome);
            self.come_to(scope, number);
            if number % WRITTEN_DOWN_EVERY == 0 {
                self.write_down().await?;
            }
        }
        Ok(())
    }

    /// Writes down how far the feeds have come.
    pub(super) async fn end(mut self) -> Result<Exported, ArchiveError> {
        self.write_down().await?;
        self.exported.left_out = self.known.left_out.iter().cloned().collect();
        Ok(self.exported)
    }

    /// How far a feed has come, and what may be there behind that.
    async fn begin_of(&self, feed: &ExportedFeed<'_>) -> Result<(u64, AlreadyThere), ArchiveError> {
        let said = self.said.of(feed.scope);
        match self.known.come_to.get(feed.scope) {
            _ if self.mends => feed.list().await,
            Some(known) if *known == said => Ok((said, AlreadyThere::None)),
            _ => feed.look_at(said).await,
        }
    }

    /// Where the pages of a feed lie, if they can lie anywhere.
    fn folder(&mut self, scope: &FeedScope) -> Option<Path> {
        let NotExported(reason) = match self.archive.place.folder(scope) {
            Ok(folder) => return Some(folder),
            Err(not_exported) => not_exported,
        };
        let category = scope.category()?;
        if self.known.left_out.insert(category.clone()) {
            tracing::warn!(
                %scope,
                reason,
                "its pages are not exported; this process alone serves them"
            );
        }
        None
    }

    fn come_to(&mut self, scope: &FeedScope, page: u64) {
        self.known.come_to.insert(scope.clone(), page);
        if page > 0 {
            self.come_to.set(scope, page);
        }
    }

    fn count(&mut self, outcome: PageOutcome) {
        match outcome {
            PageOutcome::Written(bytes) => {
                self.exported.pages += 1;
                self.exported.bytes += bytes;
                metrics::counter!("atomfeed_archived_pages_total").increment(1);
                metrics::counter!("atomfeed_archived_bytes_total").increment(bytes);
            }
            PageOutcome::WasThere => self.exported.found += 1,
            PageOutcome::IsGone | PageOutcome::End => {}
        }
    }

    async fn write_down(&mut self) -> Result<(), ArchiveError> {
        if self.come_to != self.said {
            let Archive { objects, place, .. } = self.archive;
            self.come_to.write(objects, place).await?;
            self.said = self.come_to.clone();
        }
        Ok(())
    }
}
