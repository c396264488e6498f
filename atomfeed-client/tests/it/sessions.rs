//! Sessions that end: one login for all who need it, and nothing is lost.

use std::sync::{Arc, Mutex};

use atomfeed_client::{AtomFeedClient, BearerToken, FetchError};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};

use crate::closed_server::{Emr, fetch_all, forbidden, open_mrs, sent_to_login_page, unauthorized};
use crate::feeds::{Apply, applied};
use crate::scripted_server::{Answer, header};

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
            assert!(!error.is_transient(), "{error:?}");
            assert_eq!(emr.sessions(), sessions);
        }
    }
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..1).await;
    assert_eq!(emr.sessions(), 3);
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
