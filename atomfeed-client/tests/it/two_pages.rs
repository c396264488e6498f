//! A feed of two pages, of which the second is bad.

use std::error::Error;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomfeed_client::{
    AtomFeedClient, FeedUri, FetchError as F, HttpFeedSource, HttpFeedSourceBuilder, Outcome,
    ProcessError, ProcessErrorKind,
};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{ConsumerStore, SqliteStore};
use atomfeed_core::{EntryId, Marker};

use crate::feeds::{Apply, applied};
use crate::scripted_server::{Answer, ScriptedServer};

/// A feed of two pages: three good events, and a second page that is as the case has it.
pub(crate) struct Lab {
    pub(crate) server: ScriptedServer,
    /// Another server, which nothing is asked of unless that is allowed.
    pub(crate) elsewhere: ScriptedServer,
    pub(crate) harness: Arc<SqliteHarness>,
    pub(crate) store: SqliteStore,
    /// What was applied, in the order of transactions.
    pub(crate) order: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let harness = Arc::new(SqliteHarness::default());
        let lab = Self {
            server: ScriptedServer::new().await,
            elsewhere: ScriptedServer::new().await,
            store: harness.store().await,
            harness,
            order: Arc::default(),
        };
        lab.mend();
        lab
    }

    /// Puts both pages right.
    pub(crate) fn mend(&self) {
        self.lead_to("/feed/2");
        let last = self.page(2, 4..=6, None);
        self.answer("/feed/2", Answer::page(&last));
        self.answer("/feed/recent", Answer::page(&last));
    }

    /// Has the first page name another one as the next.
    pub(crate) fn lead_to(&self, next: &str) {
        let page = self.page(1, 1..=3, Some(next));
        self.answer("/feed/1", Answer::page(page));
    }

    /// The same, for a case whose second page is not at `/feed/2`.
    pub(crate) fn elsewhere_is(&self, next: &str) -> Answer {
        self.lead_to(next);
        Answer::page("not asked for")
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.server.answer(path, answer);
    }

    pub(crate) fn page(
        &self,
        number: u32,
        events: RangeInclusive<u32>,
        next: Option<&str>,
    ) -> String {
        self.server.page(number, events, next)
    }

    pub(crate) fn feed(&self) -> FeedUri {
        self.server.url("/feed/recent").parse().unwrap()
    }

    pub(crate) fn source(&self) -> HttpFeedSourceBuilder {
        HttpFeedSource::builder(&self.feed()).with_max_bytes(1 << 20)
    }

    pub(crate) async fn process(&self, source: HttpFeedSource) -> Result<u64, ProcessError> {
        let order = Arc::clone(&self.order);
        let client = AtomFeedClient::builder(self.feed(), source)
            .on_outcome(move |outcome| match outcome {
                Outcome::Applied { event } => order.lock().unwrap().push(event.id().to_string()),
                other => panic!("{other:?}"),
            })
            .build(self.store.clone(), Apply::all(&self.harness));
        let processing = client.process_events();
        let processed = tokio::time::timeout(Duration::from_secs(60), processing).await;
        Ok(processed.expect("it ends")?.applied)
    }

    /// How many events are applied.
    pub(crate) async fn reads(&self) -> u64 {
        self.process(self.source().build().unwrap()).await.unwrap()
    }

    pub(crate) async fn fails(&self) -> ProcessError {
        let source = self.source().build().unwrap();
        self.process(source).await.unwrap_err()
    }

    /// Page 2 is bad: what was on page 1 is applied, the error is clear, and so it stays however
    /// often it is tried. Once page 2 is good, its events are applied too.
    pub(crate) async fn check(
        &self,
        source: HttpFeedSourceBuilder,
        is_expected: fn(&ProcessErrorKind) -> bool,
        words: &[&str],
    ) {
        let source = match source.build() {
            // This machine has no certificates, and one of the cases wants some.
            Err(F::Tls(_)) => return,
            source => source.unwrap(),
        };
        for applied in [3, 0] {
            let error = self.process(source.clone()).await.unwrap_err();
            assert!(is_expected(error.kind()), "{:?}", error.kind());
            assert_says(&error, words);
            assert_says(&error, &["processing the feed", "/feed/2"]);
            assert_eq!(error.processed().applied, applied);
            self.assert_stands_at(3).await;
        }
        assert_eq!(self.elsewhere.heads(), Vec::<String>::new());
        self.mend();
        assert_eq!(self.reads().await, 3);
        self.assert_stands_at(6).await;
    }

    /// Every event up to this one was applied once, in order, and the marker is behind it.
    pub(crate) async fn assert_stands_at(&self, number: u32) {
        let expected: Vec<_> = (1..=number).collect();
        assert_eq!(applied(self.harness.as_ref(), &self.store).await, expected);
        let expected: Vec<_> = expected.iter().map(|n| format!("tag:{n}")).collect();
        assert_eq!(*self.order.lock().unwrap(), expected);
        let marker = Marker::new(self.feed())
            .after(EntryId::new(format!("tag:{number}")).unwrap())
            .on_page(self.server.url(&format!("/feed/{}", number.div_ceil(3))));
        assert_eq!(self.store.marker(&self.feed()).await.unwrap(), Some(marker));
        let mut work = self.store.begin().await.unwrap();
        assert_eq!(work.failed_event_count(&self.feed()).await.unwrap(), 0);
    }
}

pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

pub(crate) fn assert_says(error: &dyn Error, words: &[&str]) {
    let chain = chain(error);
    for word in words {
        assert!(chain.contains(word), "{word:?} is not in {chain:?}");
    }
}

/// Long enough for a server on the same machine that does answer, also where the machine stands still for a moment.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// A test of each second page: what is sent, the error it makes, what that says, and, where it
/// matters, how the source is set.
macro_rules! bad_second_pages {
    ($($name:ident: $answer:expr => $error:pat, [$($word:literal),+] $(, $source:expr)?;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let lab = Lab::new().await;
            let answer: fn(&Lab) -> Answer = $answer;
            lab.answer("/feed/2", answer(&lab));
            let source = lab.source();
            $(let set: fn(&Lab, HttpFeedSourceBuilder) -> HttpFeedSourceBuilder = $source;
            let source = set(&lab, source);)?
            lab.check(source, |kind| matches!(kind, $error), &[$($word),+]).await;
        })+
    };
}

macro_rules! fetch {
    ($why:ident) => {
        Fetch {
            source: F::$why { .. },
            ..
        }
    };
}

pub(crate) use bad_second_pages;
pub(crate) use fetch;
