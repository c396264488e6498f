//! An object store that counts what it is asked, and fails where it is told to.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store in memory.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) store: InMemory,
    requests: AtomicU64,
    /// The number of the request that fails.
    fails_at: AtomicU64,
    /// Whether all that come after it do, too.
    is_down_then: bool,
    does_what_it_fails: bool,
    is_plain: bool,
    put: Mutex<Vec<String>>,
}

impl Watched {
    /// One that carries out the request that fails.
    pub(crate) fn that_does_what_it_fails() -> Self {
        Self {
            does_what_it_fails: true,
            ..Self::default()
        }
    }

    /// One that is away from the request that fails on.
    pub(crate) fn that_goes_away() -> Self {
        Self {
            is_down_then: true,
            ..Self::default()
        }
    }

    /// One that keeps no headers, and cannot make an object only where there is none.
    pub(crate) fn plain() -> Self {
        Self {
            is_plain: true,
            ..Self::default()
        }
    }

    /// Fails at a request, counted from now on; at none with `u64::MAX`.
    pub(crate) fn fail_at(&self, number: u64) {
        let next = self.requests.load(Ordering::SeqCst).saturating_add(number);
        self.fails_at.store(next, Ordering::SeqCst);
    }

    /// How many requests there were since.
    pub(crate) fn take_requests(&self) -> u64 {
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// The objects that were sent since, in their order, whatever became of them.
    pub(crate) fn take_put(&self) -> Vec<String> {
        std::mem::take(&mut self.put.lock().unwrap())
    }

    /// Whether a request is to fail.
    fn count(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fails_at.load(Ordering::SeqCst) {
            0 => false,
            at if self.is_down_then => number >= at,
            at => number == at,
        }
    }
}

fn failure() -> Error {
    Error::Generic {
        store: "watched",
        source: "it fails as it was told to".into(),
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let does_not = |operation: &str| {
            Err(Error::NotImplemented {
                operation: operation.to_owned(),
                implementer: self.to_string(),
            })
        };
        if self.is_plain && !options.attributes.is_empty() {
            return does_not("attributes");
        }
        if self.is_plain && options.mode == PutMode::Create {
            return does_not("create");
        }
        let fails = self.count();
        if fails && !self.does_what_it_fails {
            return Err(failure());
        }
        self.put.lock().unwrap().push(path.to_string());
        let put = self.store.put_opts(path, payload, options).await;
        match fails {
            true => Err(failure()),
            false => put,
        }
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.count() {
            true => Err(failure()),
            false => self.store.get_opts(path, options).await,
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.count() {
            true => stream::once(async { Err(failure()) }).boxed(),
            false => self.store.list(prefix),
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("pages are written at once")
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        unreachable!("nothing is deleted from an archive")
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unreachable!("it gives all at once")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("nothing is copied in an archive")
    }
}
