//! An object store, as far as an archive needs one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload,
};

use super::ArchiveError;

/// The objects of an archive.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The manner in which the store is known to take pages.
    manner: Arc<AtomicUsize>,
}

/// How a store takes a page: most take it all; the file system keeps no headers, and some write only
/// over what is there.
#[derive(Debug, Clone, Copy)]
struct Manner {
    creates: bool,
    keeps_headers: bool,
}

const MANNERS: [Manner; 4] = [
    Manner::of(true, true),
    Manner::of(true, false),
    Manner::of(false, true),
    Manner::of(false, false),
];

impl Manner {
    const fn of(creates: bool, keeps_headers: bool) -> Self {
        Self {
            creates,
            keeps_headers,
        }
    }
}

/// What has become of an object that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It is there now.
    Now,
    /// It was there, with these bytes.
    Before,
    /// Something else is there.
    IsAnother,
}

impl Objects {
    pub(super) fn of(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            manner: Arc::default(),
        }
    }

    /// Makes an object, unless there is one: that is never written over.
    pub(super) async fn make(
        &self,
        path: &Path,
        bytes: &Bytes,
        headers: &[(Attribute, String)],
    ) -> Result<Made, ArchiveError> {
        loop {
            let number = self.manner.load(Ordering::Relaxed);
            let manner = MANNERS[number];
            if !manner.creates
                && let Some(there) = self.get(path).await?
            {
                return Ok(compare(&there, bytes));
            }
            let made = self.put(path, bytes.clone(), headers, manner).await;
            return match made {
                Ok(()) => Ok(Made::Now),
                Err(Error::AlreadyExists { .. }) => match self.get(path).await? {
                    Some(there) => Ok(compare(&there, bytes)),
                    // Removed meanwhile.
                    None => continue,
                },
                Err(Error::NotImplemented { .. } | Error::NotSupported { .. })
                    if number + 1 < MANNERS.len() =>
                {
                    self.manner.fetch_max(number + 1, Ordering::Relaxed);
                    continue;
                }
                Err(error) => Err(failed("writing", path, error)),
            };
        }
    }

    async fn put(
        &self,
        path: &Path,
        bytes: Bytes,
        headers: &[(Attribute, String)],
        manner: Manner,
    ) -> object_store::Result<()> {
        let kept = headers.iter().filter(|_| manner.keeps_headers);
        let options = PutOptions {
            mode: match manner.creates {
                true => PutMode::Create,
                false => PutMode::Overwrite,
            },
            attributes: Attributes::from_iter(kept.cloned()),
            ..PutOptions::default()
        };
        let payload = PutPayload::from_bytes(bytes);
        self.store.put_opts(path, payload, options).await?;
        Ok(())
    }

    /// Writes an object, over one that may be there.
    pub(super) async fn write(&self, path: &Path, bytes: Bytes) -> Result<(), ArchiveError> {
        let payload = PutPayload::from_bytes(bytes);
        let written = self.store.put_opts(path, payload, PutOptions::default());
        written
            .await
            .map(drop)
            .map_err(|error| failed("writing", path, error))
    }

    /// The bytes of an object, if there is one.
    pub(super) async fn get(&self, path: &Path) -> Result<Option<Bytes>, ArchiveError> {
        let got = match self.store.get_opts(path, GetOptions::default()).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("reading", path, error)),
        }
    }

    /// The numbers of the pages in a folder.
    pub(super) async fn pages(&self, folder: &Path) -> Result<HashSet<u64>, ArchiveError> {
        let prefix = Some(folder).filter(|folder| !folder.is_root());
        let mut objects = self.store.list(prefix);
        let mut pages = HashSet::new();
        let listing = |error| failed("listing", folder, error);
        while let Some(object) = objects.try_next().await.map_err(listing)? {
            // What lies deeper is of others.
            let mut names = object.location.prefix_match(folder).into_iter().flatten();
            if let (Some(name), None) = (names.next(), names.next())
                && let Ok(number) = name.as_ref().parse()
            {
                pages.insert(number);
            }
        }
        Ok(pages)
    }
}

fn compare(there: &Bytes, bytes: &Bytes) -> Made {
    match there == bytes {
        true => Made::Before,
        false => Made::IsAnother,
    }
}

fn failed(doing: &'static str, path: &Path, error: Error) -> ArchiveError {
    ArchiveError::Objects {
        doing,
        path: path.to_string(),
        source: error.into(),
    }
}
