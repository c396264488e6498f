//! Events go to the worker of the first route that takes them, and lose nothing on the way.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClientBuilder, Event, EventWorker, Handled, Outcome, PreparingWorker, Processed, Route,
    Routes, WorkerError,
};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery, MemoryConnection, MemoryStore};
use atomfeed_core::{Failure, NewEvent};
use atomfeed_server::Publisher;
use chrono::Utc;

use crate::feeds::{Emr, feed_uri};

/// What the workers were called for, in order.
#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Applies events one by one, and notes their contents.
#[derive(Clone)]
struct Noting {
    name: &'static str,
    calls: Calls,
    fails: fn(&Event) -> bool,
    key: fn(&Event) -> Option<String>,
    /// By how much too many or too few it says of a batch.
    miscounts: isize,
    tells_commits: bool,
    has_other_effects: bool,
}

fn noting(name: &'static str, calls: &Calls) -> Noting {
    Noting {
        name,
        calls: calls.clone(),
        fails: |_| false,
        key: |_| None,
        miscounts: 0,
        tells_commits: false,
        has_other_effects: false,
    }
}

impl Noting {
    fn apply(&self, event: &Event, conn: &mut MemoryConnection) -> Result<Handled, WorkerError> {
        conn.put("applied", event.content(), self.name);
        match (self.fails)(event) {
            true => Err(WorkerError::new("boom")),
            false => Ok(Handled::Applied),
        }
    }
}

#[async_trait]
impl EventWorker<MemoryConnection> for Noting {
    async fn process(
        &self,
        event: &Event,
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        self.calls
            .note(format!("{} {}", self.name, event.content()));
        self.apply(event, conn)
    }

    async fn process_batch(
        &self,
        events: &[&Event],
        conn: &mut MemoryConnection,
    ) -> Result<Vec<Handled>, WorkerError> {
        let contents: Vec<_> = events.iter().map(|event| event.content()).collect();
        self.calls
            .note(format!("{} {}", self.name, contents.join("+")));
        let mut handled = Vec::new();
        for event in events {
            handled.push(self.apply(event, conn)?);
        }
        let said = handled.len().saturating_add_signed(self.miscounts);
        handled.resize(said, Handled::Applied);
        Ok(handled)
    }

    fn key(&self, event: &Event) -> Option<String> {
        (self.key)(event)
    }

    fn has_other_effects(&self) -> bool {
        self.has_other_effects
    }

    async fn committed(&self, event: &Event) {
        if self.tells_commits {
            self.calls
                .note(format!("{} committed {}", self.name, event.content()));
        }
    }
}

/// Brings the content in capitals.
struct Bringing(Noting);

#[async_trait]
impl PreparingWorker<MemoryConnection> for Bringing {
    type Prepared = String;

    async fn prepare(&self, event: &Event) -> Result<String, WorkerError> {
        assert_ne!(event.content(), "x2", "not this one");
        Ok(event.content().to_uppercase())
    }

    async fn process(
        &self,
        event: &Event,
        prepared: &String,
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        self.0.calls.note(format!("{} {prepared}", self.0.name));
        self.0.apply(event, conn)
    }

    fn key(&self, _event: &Event, prepared: Option<&String>) -> Option<String> {
        prepared.cloned()
    }
}

async fn emr(events: impl IntoIterator<Item = NewEvent>) -> Emr {
    let emr = Emr::new().await;
    publish(&emr, events).await;
    emr
}

async fn publish(emr: &Emr, events: impl IntoIterator<Item = NewEvent>) {
    let publisher = Publisher::new(emr.store.clone());
    let mut transaction = emr.store.transaction().await;
    for event in events {
        publisher.publish(&mut transaction, &event).await.unwrap();
    }
    transaction.commit();
}

fn of_category(category: &str, content: &str) -> NewEvent {
    NewEvent::new("Event", content).in_category(category)
}

/// One event for each letter, of a category that is that letter.
fn letters(letters: &str) -> impl Iterator<Item = NewEvent> {
    let letters: Vec<_> = letters.chars().enumerate().collect();
    let event = |(index, letter): (usize, char)| {
        of_category(&letter.to_string(), &format!("{letter}{}", index + 1))
    };
    letters.into_iter().map(event)
}

async fn process(
    client: AtomFeedClientBuilder,
    routes: Routes<MemoryConnection>,
) -> (Processed, MemoryStore) {
    let store = MemoryStore::new();
    let client = client.build(store.clone(), routes);
    (client.process_events().await.unwrap(), store)
}

#[tokio::test]
async fn an_event_goes_to_the_first_route_that_takes_it() {
    let emr = emr([
        of_category("Encounter", "any case"),
        of_category("ÉTUDE", "any letter"),
        NewEvent::new("Event", "a tag").with_tags(["x", "encounter"]),
        NewEvent::new("Drug", "a title"),
        NewEvent::new("drug", "another title"),
        of_category("Encounters", "another category"),
        NewEvent::new("Event", "/patient/1"),
        NewEvent::new("Drug", "two routes").in_category("encounter"),
    ])
    .await;
    let calls = Calls::default();
    let worker = |name| noting(name, &calls);
    let routes = Routes::new()
        .route(Route::category("eNCOUNTER"), worker("category"))
        .route(Route::title("Drug"), worker("title"))
        .route(
            Route::any_of([
                Route::category("étude"),
                Route::when(|event: &Event| event.content().starts_with('/')),
            ]),
            worker("any"),
        );
    let (processed, store) = process(emr.client().batch(1), routes).await;
    assert_eq!(
        calls.take(),
        [
            "category any case",
            "any any letter",
            "category a tag",
            "title a title",
            "any /patient/1",
            "category two routes",
        ]
    );
    assert_eq!((processed.applied, processed.ignored), (6, 2));
    let marker = store.marker(&feed_uri()).await.unwrap().unwrap();
    assert!(marker.page_uri().unwrap().ends_with("/2"), "{marker:?}");
}

#[tokio::test]
async fn what_no_route_takes_is_ignored_or_goes_to_the_rest() {
    let emr = emr(letters("abcab")).await;
    for batch in [1, 100] {
        let calls = Calls::default();
        let ignored = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&ignored);
        let client = emr.client().batch(batch).on_outcome(move |outcome| {
            if let Outcome::Ignored { event } = outcome {
                tell.lock().unwrap().push(event.content().to_owned());
            }
        });
        let routes = Routes::new().route(Route::category("a"), noting("a", &calls));
        let (processed, _) = process(client, routes).await;
        assert_eq!((processed.applied, processed.ignored), (2, 3), "{batch}");
        assert_eq!(*ignored.lock().unwrap(), ["b2", "c3", "b5"], "{batch}");

        let routes = Routes::new()
            .otherwise(noting("rest", &calls))
            .route(Route::category("a"), noting("a", &calls));
        let (processed, store) = process(emr.client().batch(batch), routes).await;
        assert_eq!((processed.applied, processed.ignored), (5, 0), "{batch}");
        let to = store.rows("applied").into_iter();
        let to: Vec<_> = to
            .map(|(content, name)| format!("{content} {name}"))
            .collect();
        assert_eq!(
            to,
            ["a1 a", "a4 a", "b2 rest", "b5 rest", "c3 rest"],
            "{batch}"
        );
    }
    let (processed, _) = process(emr.client(), Routes::new()).await;
    assert_eq!((processed.applied, processed.ignored), (0, 5));
}

/// A batch is handed on in runs, so that the order of the feed is kept also across workers.
#[tokio::test]
async fn a_batch_keeps_its_order_within_and_across_routes() {
    let emr = emr(letters("aabxb")).await;
    let calls = Calls::default();
    let routes = Routes::new()
        .route(Route::category("a"), noting("a", &calls))
        .route(Route::category("b"), noting("b", &calls));
    let (processed, _) = process(emr.client(), routes).await;
    assert_eq!((processed.applied, processed.ignored), (4, 1));
    assert_eq!(calls.take(), ["a a1+a2", "b b3", "b b5"]);
}

#[tokio::test]
async fn preparing_and_plain_workers_mix() {
    let emr = emr(letters("abacb")).await;
    for batch in [1, 100] {
        let calls = Calls::default();
        let inner = Routes::new().route(Route::category("c"), noting("inner", &calls));
        let routes = Routes::new()
            .route(Route::category("a"), noting("plain", &calls))
            .route(Route::category("b"), Bringing(noting("brings", &calls)))
            .otherwise(inner);
        let (processed, _) = process(emr.client().batch(batch), routes).await;
        assert_eq!(processed.applied, 5, "{batch}");
        assert_eq!(
            calls.take(),
            ["plain a1", "brings B2", "plain a3", "inner c4", "brings B5"],
            "{batch}"
        );
    }
}

/// The key is what the event's own worker says, also by what it has brought.
#[tokio::test]
async fn a_failed_event_holds_back_its_own_key_alone() {
    for batch in [1, 100] {
        let emr = emr([
            of_category("a", "/1"),
            of_category("b", "/1"),
            of_category("a", "/2"),
            of_category("a", "/1?again"),
            of_category("x", "/1"),
            of_category("c", "word"),
            of_category("c", "Word"),
        ])
        .await;
        let calls = Calls::default();
        let routes = Routes::new()
            .route(
                Route::category("a"),
                Noting {
                    fails: |event| event.content() == "/1",
                    key: |event| event.content().get(..2).map(|key| format!("a{key}")),
                    ..noting("a", &calls)
                },
            )
            .route(Route::category("b"), noting("b", &calls))
            .route(
                Route::category("c"),
                Bringing(Noting {
                    fails: |event| event.content() == "word",
                    ..noting("c", &calls)
                }),
            );
        let store = MemoryStore::new();
        let client = emr.client().batch(batch).build(store.clone(), routes);
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.ignored), (2, 1), "{batch}");
        assert_eq!((processed.failed, processed.held), (2, 2), "{batch}");
        let mut work = store.begin().await.unwrap();
        let query = FailedEventQuery::of(feed_uri());
        let parked = work.failed_events(&query).await.unwrap();
        work.rollback().await.unwrap();
        let parked = parked.iter().map(|failed| {
            let key = failed.place.as_ref().and_then(|place| place.key.as_deref());
            (failed.event.content(), key)
        });
        assert_eq!(
            parked.collect::<Vec<_>>(),
            [
                ("/1", Some("a/1")),
                ("/1?again", Some("a/1")),
                ("word", Some("WORD")),
                ("Word", Some("WORD")),
            ],
            "{batch}"
        );
        // What is tried again goes the same way.
        calls.take();
        let retried = client.retry_all_failed_events().await.unwrap();
        assert_eq!((retried.applied, retried.failed), (0, 2), "{batch}");
        assert_eq!(calls.take(), ["a /1", "c WORD"], "{batch}");
    }
}

/// Another program has parked it, and nothing is prepared: the route is found anew.
#[tokio::test]
async fn what_another_program_has_parked_gets_the_key_of_its_route() {
    let emr = emr([of_category("a", "later")]).await;
    let store = MemoryStore::new();
    let mut work = store.begin().await.unwrap();
    for (number, category) in ["A", "x"].into_iter().enumerate() {
        let id = atomfeed_core::EntryId::of_event(number.to_string());
        let event = Event::new(id, feed_uri())
            .with_text("Event", category)
            .with_tags_column(category);
        let failure = Failure::new("elsewhere", Utc::now());
        work.park(&event, &failure).await.unwrap();
    }
    work.commit().await.unwrap();
    let calls = Calls::default();
    let worker = Noting {
        key: |_| Some("one".to_owned()),
        ..noting("a", &calls)
    };
    let routes = Routes::new().route(Route::category("a"), worker);
    let client = emr.client().build(store.clone(), routes);
    let processed = client.process_events().await.unwrap();
    assert_eq!(processed.held, 1);
    let retried = client.process_failed_events().await.unwrap();
    assert_eq!((retried.applied, retried.ignored), (2, 1));
    assert_eq!(calls.take(), ["a A", "a later"]);
}

#[tokio::test]
async fn who_has_applied_an_event_is_told_that_it_is_committed() {
    let emr = emr(letters("abxa")).await;
    for (batch, first) in [(1, "a a1"), (100, "a a1")] {
        let calls = Calls::default();
        let worker = |name| Noting {
            tells_commits: true,
            ..noting(name, &calls)
        };
        let routes = Routes::new()
            .route(Route::category("a"), worker("a"))
            .route(Route::category("b"), worker("b"));
        process(emr.client().batch(batch), routes).await;
        let calls = calls.take();
        assert_eq!(calls[0], first);
        let committed = calls.iter().filter(|call| call.contains("committed"));
        assert_eq!(
            committed.collect::<Vec<_>>(),
            ["a committed a1", "b committed b2", "a committed a4"],
            "{batch}"
        );
    }
}

/// Also where what one says too few another says too many, so that the sum is right.
#[tokio::test]
async fn a_worker_that_miscounts_its_batch_gets_events_one_by_one() {
    let emr = emr(letters("aabb")).await;
    for (of_a, of_b) in [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, 1), (1, -1)] {
        let calls = Calls::default();
        let worker = |name, miscounts| Noting {
            miscounts,
            ..noting(name, &calls)
        };
        let routes = Routes::new()
            .route(Route::category("a"), worker("a", of_a))
            .route(Route::category("b"), worker("b", of_b));
        let (processed, store) = process(emr.client(), routes).await;
        assert_eq!(processed.applied, 4);
        assert_eq!(store.rows("applied").len(), 4);
        let calls = calls.take();
        let one_by_one = ["a a1", "a a2", "b b3", "b b4"];
        assert!(calls.ends_with(&one_by_one.map(str::to_owned)), "{calls:?}");
        assert_eq!(calls[0], "a a1+a2");
    }
}

#[tokio::test]
async fn other_effects_of_one_worker_end_batches_for_all() {
    let emr = emr(letters("aab")).await;
    let calls = Calls::default();
    let sends = Noting {
        has_other_effects: true,
        ..noting("b", &calls)
    };
    let routes = Routes::new()
        .route(Route::category("a"), noting("a", &calls))
        .otherwise(sends);
    let (processed, _) = process(emr.client(), routes).await;
    assert_eq!(processed.applied, 3);
    assert_eq!(calls.take(), ["a a1", "a a2", "b b3"]);
}

#[tokio::test]
async fn a_route_that_panics_fails_its_event() {
    let emr = emr(letters("axa")).await;
    let calls = Calls::default();
    for prepares in [false, true] {
        let panics = Route::when(|event: &Event| match event.content() {
            "x2" => panic!("not this one"),
            _ => false,
        });
        let mut routes = Routes::new().route(panics, noting("nobody", &calls));
        if prepares {
            routes = routes.route(Route::title("none"), Bringing(noting("nobody", &calls)));
        }
        let routes = routes.otherwise(noting("rest", &calls));
        let (processed, store) = process(emr.client().batch(1), routes).await;
        assert_eq!((processed.applied, processed.failed), (2, 1));
        assert_eq!(calls.take(), ["rest a1", "rest a3"]);
        assert_eq!(store.rows("applied").len(), 2);
    }
}

/// They prepare in tasks of their own, as without routes: one that panics fails its event, and no more.
#[tokio::test]
async fn workers_prepare_ahead_also_behind_routes() {
    let emr = emr(letters("axa")).await;
    let calls = Calls::default();
    let routes = Routes::new()
        .route(Route::category("a"), noting("a", &calls))
        .otherwise(Bringing(noting("brings", &calls)));
    let (processed, _) = process(emr.client(), routes).await;
    assert_eq!((processed.applied, processed.failed), (2, 1));
    assert_eq!(calls.take(), ["a a1", "a a3"]);
}
