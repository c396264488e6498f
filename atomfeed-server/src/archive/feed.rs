//! The pages of one feed, exported.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use atomfeed_core::FeedScope;
use bytes::Bytes;
use object_store::path::Path;

use super::objects::Made;
use super::place::Place;
use super::{Archive, ArchiveError};
use crate::FeedError;

/// A feed that is exported.
#[derive(Debug)]
pub(super) struct ExportedFeed<'a> {
    pub(super) archive: &'a Archive,
    pub(super) scope: &'a FeedScope,
    pub(super) folder: Path,
}

/// What is known of the pages that may be there already, so that they are not sent once more.
#[derive(Debug)]
pub(super) enum AlreadyThere {
    /// None is, unless somebody else exports, too.
    None,
    /// Some of the next may be: who wrote them was ended before it wrote that down. They are looked for
    /// until as many in a row are missing as are written at once.
    Next { missing: AtomicUsize },
    /// These are.
    These(HashSet<u64>),
}

/// What has become of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageOutcome {
    /// It was exported, with so many bytes.
    Written(u64),
    WasThere,
    /// It was pruned, or lost.
    IsGone,
    /// It is not sealed, and none behind it is.
    End,
}

impl ExportedFeed<'_> {
    /// Where to go on when pages up to a number are said to be there: behind that, if the last of them
    /// is what it is in the feed, and else where the feed begins, past all that is there.
    pub(super) async fn look_at(&self, said: u64) -> Result<(u64, AlreadyThere), ArchiveError> {
        if said > 0 && self.is_there(said).await? {
            let missing = AtomicUsize::new(0);
            return Ok((said, AlreadyThere::Next { missing }));
        }
        self.list().await
    }

    /// The same, whatever is said.
    pub(super) async fn list(&self) -> Result<(u64, AlreadyThere), ArchiveError> {
        let pages = self.archive.objects.pages(&self.folder).await?;
        Ok((0, AlreadyThere::These(pages)))
    }

    async fn is_there(&self, number: u64) -> Result<bool, ArchiveError> {
        let path = Place::page(&self.folder, number);
        let Some(there) = self.archive.objects.get(&path).await? else {
            return Ok(false);
        };
        match self.archive.service.page(self.scope, number).await {
            Ok(page) if page.sealed && page.body == there => Ok(true),
            // That which stands for pruned ones.
            Ok(page) if !page.sealed && number < self.oldest().await?.unwrap_or_default() => {
                Ok(true)
            }
            Err(FeedError::Pruned { .. }) => Ok(true),
            Ok(_) | Err(FeedError::NoSuchPage { .. } | FeedError::Lost { .. }) => {
                Err(self.another(number))
            }
            Err(error) => Err(self.failed(number, error)),
        }
    }

    /// The oldest page that the feed has; none without events.
    pub(super) async fn oldest(&self) -> Result<Option<u64>, ArchiveError> {
        let oldest = self.archive.service.oldest_page(self.scope).await;
        oldest.map_err(|error| self.failed(1, error))
    }

    /// Exports a page, if it is sealed.
    pub(super) async fn export(
        &self,
        number: u64,
        there: &AlreadyThere,
    ) -> Result<PageOutcome, ArchiveError> {
        let body = match self.archive.service.page(self.scope, number).await {
            Ok(page) if page.sealed => page.body,
            Ok(_) | Err(FeedError::NoSuchPage { .. }) => return Ok(PageOutcome::End),
            Err(FeedError::Pruned { .. } | FeedError::Lost { .. }) => {
                return Ok(PageOutcome::IsGone);
            }
            Err(error) => return Err(self.failed(number, error)),
        };
        let made = match self.look(number, &body, there).await? {
            Some(found) => found,
            None => {
                let path = Place::page(&self.folder, number);
                let headers = &self.archive.headers;
                self.archive.objects.make(&path, &body, headers).await?
            }
        };
        match made {
            Made::Now => Ok(PageOutcome::Written(body.len() as u64)),
            Made::Before => Ok(PageOutcome::WasThere),
            Made::IsAnother => Err(self.another(number)),
        }
    }

    /// Whether a page is there already, as far as that is to be looked for.
    async fn look(
        &self,
        number: u64,
        body: &Bytes,
        there: &AlreadyThere,
    ) -> Result<Option<Made>, ArchiveError> {
        let may_be_there = match there {
            AlreadyThere::None => false,
            AlreadyThere::These(pages) => pages.contains(&number),
            AlreadyThere::Next { missing } => {
                missing.load(Ordering::Relaxed) < self.archive.at_once
            }
        };
        if !may_be_there {
            return Ok(None);
        }
        let path = Place::page(&self.folder, number);
        let found = self.archive.objects.get(&path).await?;
        if let AlreadyThere::Next { missing } = there {
            match found {
                Some(_) => missing.store(0, Ordering::Relaxed),
                None => drop(missing.fetch_add(1, Ordering::Relaxed)),
            }
        }
        Ok(found.map(|found| match found == *body {
            true => Made::Before,
            false => Made::IsAnother,
        }))
    }

    fn another(&self, page: u64) -> ArchiveError {
        ArchiveError::AnotherPage {
            scope: self.scope.clone(),
            page,
            path: Place::page(&self.folder, page).to_string(),
        }
    }

    fn failed(&self, page: u64, source: FeedError) -> ArchiveError {
        ArchiveError::Feed {
            scope: self.scope.clone(),
            page,
            source,
        }
    }
}
