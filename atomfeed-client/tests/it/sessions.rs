//! Sessions that end: one login for all who need it, and nothing is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Authenticator, BasicAuth, BearerToken, Event, FetchContent, FetchError,
    Handled, HttpFeedSource, PreparingWorker, ProcessErrorKind, Resources, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{MemoryConnection, MemoryStore};
use tokio::task::JoinSet;

use crate::closed_server::{
    Emr, fetch_all, forbidden, login_page, open_elis, open_mrs, sent_to_login_page, unauthorized,
};
use crate::feeds::{Apply, applied};
use crate::scripted_server::{Answer, OPEN, header};

/// The pages of a feed, each under the session of another, and the events of all of them.
#[tokio::test]
async fn a_feed_whose_session_ends_every_third_request() {
    let emr = Emr::open_mrs(3).await;
    for number in 1..=10 {
        let next = format!("/openmrs/feed/{}", number + 1);
        let next = (number < 10).then_some(next.as_str());
        let page = emr.server.page(number, number * 3 - 2..=number * 3, next);
        let page = page
            .replace("/feed/", "/openmrs/feed/")
            .replace("/openmrs/openmrs/", "/openmrs/");
        emr.serve(
            &format!("/openmrs/feed/{number}"),
            Answer::page(&page),
            unauthorized,
        );
        emr.serve("/openmrs/feed/recent", Answer::page(&page), unauthorized);
    }
    let harness = Arc::new(SqliteHarness::default());
    let store = harness.store().await;
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let client = AtomFeedClient::builder(feed, emr.source(open_mrs()));
    let client = client.build(store.clone(), Apply::all(&harness));
    assert_eq!(client.process_events().await.unwrap().applied, 30);
    assert_eq!(
        applied(harness.as_ref(), &store).await,
        (1..=30).collect::<Vec<_>>()
    );
    emr.assert_no_login_was_wasted();
    // From the newest page to the oldest, and back.
    assert!(emr.sessions() >= 6, "{}", emr.sessions());
}

#[tokio::test]
async fn sixteen_at_once_log_in_once() {
    for to_strangers in [unauthorized, sent_to_login_page] {
        let emr = Emr::open_mrs(3).await;
        emr.serve_numbers("/openmrs/patient/", 0..64, to_strangers);
        let resources = emr.resources(open_mrs());
        for first in [0, 16, 32, 48] {
            fetch_all(&emr, &resources, "/openmrs/patient/", first..first + 16).await;
            emr.assert_no_login_was_wasted();
        }
        assert_eq!(emr.sessions(), 22);
    }
}

/// The session is over for all of them, and one of them sees to it.
#[tokio::test]
async fn a_session_that_is_forbidden_is_one_that_is_over() {
    let emr = Emr::open_mrs(16).await;
    emr.serve_numbers("/openmrs/patient/", 0..32, forbidden);
    let resources = emr.resources(open_mrs());
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..16).await;
    fetch_all(&emr, &resources, "/openmrs/patient/", 16..32).await;
    assert_eq!(emr.sessions(), 2);
}

/// What is forbidden in one new session is so for good, as a rule. Where that session is over, too, nothing
/// else is let in by it, and then it may pass.
#[tokio::test]
async fn a_session_that_is_over_forbids_nothing_for_good() {
    let emr = Emr::open_mrs(3).await;
    emr.serve_numbers("/openmrs/patient/", 0..64, forbidden);
    let resources = emr.resources(open_mrs());
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..2).await;
    let mut fetching = JoinSet::new();
    for number in 0..64 {
        let url = emr.url(&format!("/openmrs/patient/{number}"));
        let resources = resources.clone();
        fetching.spawn(async move {
            loop {
                match resources.get(&url).await {
                    Ok(resource) => return resource.json::<u32>().unwrap(),
                    Err(error) => assert!(error.is_transient(), "{error:?}"),
                }
            }
        });
    }
    let fetched: HashSet<_> = fetching.join_all().await.into_iter().collect();
    assert_eq!(fetched, (0..64).collect());
}

/// One new session is tried; then it is what the server says.
#[tokio::test]
async fn what_is_forbidden_stays_so() {
    let emr = Emr::open_mrs(100).await;
    emr.serve_numbers("/openmrs/patient/", 0..1, unauthorized);
    for (path, status) in [
        ("/openmrs/secret", "403 Forbidden"),
        ("/openmrs/odd", "401 Unauthorized"),
    ] {
        emr.server.answer(path, Answer::status(status, ""));
    }
    let resources = emr.resources(open_mrs());
    let error = resources
        .get(&emr.url("/openmrs/secret"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 403, .. }),
        "{error:?}"
    );
    // Whoever was refused by a session that is new, is refused, however often.
    resources
        .get(&emr.url("/openmrs/secret"))
        .await
        .unwrap_err();
    assert_eq!(emr.sessions(), 1);
    for (path, sessions) in [("/openmrs/secret", 2), ("/openmrs/odd", 3)] {
        // The session has let somebody in, so that it may be over now.
        fetch_all(&emr, &resources, "/openmrs/patient/", 0..1).await;
        for _ in 0..3 {
            let error = resources.get(&emr.url(path)).await.unwrap_err();
            // What was had before still is: it is for this alone.
            assert!(
                matches!(
                    error,
                    FetchError::Status {
                        status: 401 | 403,
                        ..
                    }
                ),
                "{error:?}"
            );
            assert_eq!(emr.sessions(), sessions);
        }
    }
}

/// However busy it is beside that: each login would hold up everybody.
#[tokio::test]
async fn what_is_never_had_costs_few_logins() {
    for (status, logins) in [("401 Unauthorized", 2), ("403 Forbidden", 1)] {
        let emr = Emr::open_mrs(1 << 20).await;
        emr.serve_numbers("/openmrs/patient/", 0..8, unauthorized);
        emr.server
            .answer("/openmrs/odd", Answer::status(status, ""));
        let resources = emr.resources(open_mrs());
        fetch_all(&emr, &resources, "/openmrs/patient/", 0..8).await;
        let mut others = JoinSet::new();
        for number in 0..8 {
            let url = emr.url(&format!("/openmrs/patient/{number}"));
            let resources = resources.clone();
            others.spawn(async move {
                loop {
                    resources.get(&url).await.unwrap();
                }
            });
        }
        resources.get(&emr.url("/openmrs/odd")).await.unwrap_err();
        others.abort_all();
        let more = emr.sessions() - 1;
        assert!((1..=logins).contains(&more), "{more} after {status}");
    }
}

/// Fetches what an event names, and writes nothing.
struct Fetches(Resources);

#[async_trait]
impl PreparingWorker<MemoryConnection> for Fetches {
    type Prepared = ();

    async fn prepare(&self, event: &Event) -> Result<(), WorkerError> {
        event.fetch(&self.0).await?;
        Ok(())
    }

    async fn process(
        &self,
        _: &Event,
        (): &(),
        _: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        Ok(Handled::Applied)
    }
}

/// A feed of three events, each of which names a resource.
async fn of_three(login: impl Authenticator) -> (Emr, AtomFeedClient<MemoryConnection>) {
    let emr = Emr::open_mrs(100).await;
    emr.open_elis();
    let entries = (0..3)
        .map(|n| format!("<entry><id>tag:{n}</id><content>/openmrs/patient/{n}</content></entry>"));
    let via = emr.server.url("/openmrs/feed/1");
    let page = format!(
        "{OPEN}<link rel='via' href='{via}'/>{}</feed>",
        entries.collect::<String>()
    );
    for path in ["/openmrs/feed/recent", "/openmrs/feed/1"] {
        emr.server.answer(path, Answer::page(&page));
    }
    for n in 0..3 {
        let patient = Answer::ok("application/json", n.to_string());
        emr.server.answer(&format!("/openmrs/patient/{n}"), patient);
    }
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let source = emr.source(login);
    let worker = Fetches(source.resources());
    let client = AtomFeedClient::builder(feed, source)
        .wait_out(Duration::ZERO, Duration::ZERO, Duration::MAX)
        .prepare_ahead(1)
        .build(MemoryStore::new(), worker);
    (emr, client)
}

/// From some moment on, the server lets nobody in: its password was changed, or it is half up. That is no
/// affair of an event, and none is parked.
#[tokio::test]
async fn a_server_that_lets_nobody_in_is_waited_for() {
    async fn check(login: impl Authenticator, refusal: fn(&str) -> Answer) {
        let (emr, client) = of_three(login).await;
        // The page was had just before.
        let shut = |path: &str| emr.server.answer(path, refusal(""));
        shut("/openmrs/patient/0");
        shut("/openmrs/patient/1");
        shut("/openmrs/patient/2");
        let error = client.process_events().await.unwrap_err();
        assert!(
            matches!(error.kind(), ProcessErrorKind::Waiting { .. }),
            "{error:?}"
        );
        let pages = ["/openmrs/feed/recent", "/openmrs/feed/1"];
        let page = pages.map(|path| emr.server.answer_of(path));
        pages.into_iter().for_each(shut);
        for _ in 0..3 {
            let error = client.process_events().await.unwrap_err();
            assert_eq!(
                (error.processed().applied, error.processed().failed),
                (0, 0)
            );
        }
        for (path, page) in pages.into_iter().zip(page) {
            emr.server.answer_by(path, move |request| page(request));
        }
        for n in 0..3 {
            let patient = Answer::ok("application/json", n.to_string());
            emr.server.answer(&format!("/openmrs/patient/{n}"), patient);
        }
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (3, 0));
    }
    check(BasicAuth::new("atomfeed", "hunter2"), unauthorized).await;
    check(BearerToken::new("hunter2"), unauthorized).await;
    check(open_mrs(), unauthorized).await;
    check(open_elis(), login_page).await;
}

/// What was had before is asked for again, to see whose affair a refusal is. Pages say nothing of that: they
/// may be open to all.
#[tokio::test]
async fn a_feed_for_all_says_nothing_of_who_is_let_in_to_the_rest() {
    async fn check(login: impl Authenticator, refusal: fn(&str) -> Answer) {
        let (emr, client) = of_three(login).await;
        emr.server.answer("/openmrs/patient/1", refusal(""));
        let zero = emr.server.answer_of("/openmrs/patient/0");
        let asked = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&asked);
        // From its second time on, it is refused, too.
        emr.server.answer_by("/openmrs/patient/0", move |request| {
            *counted.lock().unwrap() += 1;
            match *counted.lock().unwrap() {
                1 => zero(request),
                _ => refusal(""),
            }
        });
        for _ in 0..5 {
            let error = client.process_events().await.unwrap_err();
            assert!(
                matches!(error.kind(), ProcessErrorKind::Waiting { .. }),
                "{error:?}"
            );
        }
        assert!(*asked.lock().unwrap() > 1);
        let one = Answer::ok("application/json", "1");
        emr.server.answer("/openmrs/patient/1", one);
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (2, 0));
    }
    check(BasicAuth::new("atomfeed", "hunter2"), unauthorized).await;
    check(BasicAuth::new("atomfeed", "hunter2"), forbidden).await;
    check(open_mrs(), unauthorized).await;
    check(open_mrs(), forbidden).await;
    check(open_elis(), login_page).await;
}

/// Where others are let in, it is an affair of the event: it is parked, and the others go on.
#[tokio::test]
async fn what_alone_is_refused_holds_nobody_up() {
    async fn check(login: impl Authenticator, refusal: fn(&str) -> Answer, logins: u32) {
        let (emr, client) = of_three(login).await;
        emr.server.answer("/openmrs/patient/1", refusal(""));
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (2, 1));
        assert_eq!(emr.sessions(), logins);
    }
    check(BasicAuth::new("atomfeed", "hunter2"), unauthorized, 0).await;
    check(BasicAuth::new("atomfeed", "hunter2"), forbidden, 0).await;
    check(open_mrs(), unauthorized, 2).await;
    check(open_mrs(), forbidden, 2).await;
    check(open_elis(), login_page, 2).await;
}

/// Also where it is the first thing of all that is asked for: the pages say that, where nothing else does.
#[tokio::test]
async fn what_is_refused_at_first_holds_nobody_up_for_long() {
    let (emr, client) = of_three(open_mrs()).await;
    emr.server
        .answer("/openmrs/patient/0", Answer::status("401 Unauthorized", ""));
    let error = client.process_events().await.unwrap_err();
    assert!(
        matches!(error.kind(), ProcessErrorKind::Waiting { .. }),
        "{error:?}"
    );
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (2, 1));
}

/// The feed is at one server, and what its events name at another, which refuses one of them.
#[tokio::test]
async fn what_is_refused_elsewhere_holds_nobody_up() {
    let (emr, _) = of_three(open_mrs()).await;
    let other = Emr::open_mrs(100).await;
    other.serve_numbers("/openmrs/patient/", 0..3, unauthorized);
    other
        .server
        .answer("/openmrs/patient/1", Answer::status("401 Unauthorized", ""));
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let elsewhere = other.url("/openmrs/");
    let source = HttpFeedSource::builder(&feed)
        .with_login(open_mrs())
        .allow_origin(&elsewhere)
        .with_login_at(&elsewhere, open_mrs());
    let source = source.build().unwrap();
    let resources = source.resources().with_base(elsewhere);
    let client = AtomFeedClient::builder(feed, source)
        .wait_out(Duration::ZERO, Duration::ZERO, Duration::MAX)
        .build(MemoryStore::new(), Fetches(resources));
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (2, 1));
}

#[tokio::test]
async fn a_token_is_asked_for_again_when_it_is_over() {
    let emr = Emr::new(3).await;
    let tokens = Arc::new(Mutex::new(0));
    for number in 0..16_u32 {
        let (state, tokens) = (Arc::clone(&emr.state), Arc::clone(&tokens));
        emr.server.answer_by(&format!("/{number}"), move |request| {
            let mut state = state.lock().unwrap();
            let token = format!("Bearer token{}", *tokens.lock().unwrap());
            if header(request, "authorization") != Some(&token) || state.left == 0 {
                return Answer::status("401 Unauthorized", "");
            }
            state.left -= 1;
            state.served += 1;
            Answer::ok("application/json", number.to_string())
        });
    }
    let (state, given) = (Arc::clone(&emr.state), Arc::clone(&tokens));
    let login = BearerToken::from_fn(move || {
        let (state, given) = (Arc::clone(&state), Arc::clone(&given));
        async move {
            // Somebody else may have to be asked.
            tokio::task::yield_now().await;
            let mut state = state.lock().unwrap();
            state.sessions += 1;
            state.left = 3;
            let mut given = given.lock().unwrap();
            *given += 1;
            Ok(format!("token{given}\n"))
        }
    });
    let resources = emr.resources(login);
    fetch_all(&emr, &resources, "/", 0..16).await;
    emr.assert_no_login_was_wasted();
}
