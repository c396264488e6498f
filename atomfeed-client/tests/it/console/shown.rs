//! What is shown of what is stuck, whatever that is made of and however much it is.

use atomfeed_client::console::Console;
use atomfeed_core::store::conformance::{Harness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::{
    ActionQuery, ConsoleStore, FailureFilter, FeedStatus, MemoryStore, StoreError, StoreErrorKind,
};
use atomfeed_core::{
    ActionKind, ActionState, Clock, EntryId, Event, Failure, Marker, Place, SystemClock,
};
use axum::http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{Browser, FEED, MOUNT, Two, console, event, feed, park};

/// Whatever an event is made of, it is text.
#[tokio::test]
async fn what_is_hostile_is_shown_as_text() {
    let store = MemoryStore::new();
    let evil =
        "<script>alert(1)</script>]]><img src=x onerror=alert(1)>\u{202e}'\"&amp;{{7*7}}\0\u{7f}";
    let large = format!("{{\"a\":\"{}\"}}", "<b>".repeat(5 << 20 >> 2));
    let hostile = Event::new(EntryId::new(format!("tag:{evil}")).unwrap(), feed())
        .with_text(evil, evil)
        .with_tags_column(evil);
    let mut work = store.change().await.unwrap();
    let failure = Failure::new(evil, SystemClock.now());
    let id = work.park(&hostile, &failure).await.unwrap();
    let place = Place {
        key: Some(evil.to_owned()),
        due_at: None,
    };
    work.place(&feed(), id, &place).await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.record_failed_retry(&failed, &failure).await.unwrap();
    work.move_marker(
        None,
        &Marker::new(feed())
            .on_page(evil)
            .after(EntryId::new(evil).unwrap()),
    )
    .await
    .unwrap();
    let mut status = FeedStatus::new(feed());
    (status.error_message, status.seen_at) = (Some(evil.to_owned()), Some(SystemClock.now()));
    work.put_status(&status).await.unwrap();
    work.commit().await.unwrap();
    let big = park(&store, &event(2, &large), evil).await;

    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let asked = asha
        .fill(
            &format!("/systems/Lab/failed/{id}/edit"),
            &[("detail", "<script>"), ("why", "<script>")],
        )
        .await;
    assert_eq!(asked.status, 303, "{}", asked.body);
    let action = asked.location.replace(MOUNT, "");
    let query: String = form_urlencoded::byte_serialize(evil.as_bytes()).collect();
    for path in [
        "/".to_owned(),
        "/failed".to_owned(),
        format!("/failed?title={query}&key={query}&error={query}"),
        format!("/systems/Lab/failed/{id}"),
        format!("/systems/Lab/failed/{id}/edit"),
        format!("/systems/Lab/failed/{big}"),
        format!("/systems/Lab/retry?feed={FEED}&title={query}"),
        format!("/systems/Lab/marker?feed={FEED}&position={query}"),
        "/markers".to_owned(),
        "/actions".to_owned(),
        action,
        format!("/sign-in?next={query}"),
    ] {
        let page = asha.page(&path).await;
        assert!(!page.contains("<script>alert"), "{path}");
        assert!(!page.contains("<img"), "{path}");
        assert!(!page.contains("<b>"), "{path}");
        assert!(
            // In a field it stays what it is.
            !page.contains('\u{202e}') || path.ends_with("/edit") || path.contains('?'),
            "{path}"
        );
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert!(
            !page.contains(" style=") && !page.contains("onerror=alert(1)>"),
            "{path}"
        );
        assert!(page.len() < 600_000, "{path} has {} bytes", page.len());
    }
    let page = asha
        .get(&format!("/systems/Lab/failed/{big}/content"))
        .await;
    assert_eq!(page.body, large);
    assert_eq!(page.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert!(
        page.headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    let csv = asha.page("/systems/Lab/export/csv").await;
    assert_eq!(csv.matches("\r\n").count(), 3);
    // Nobody is led elsewhere by signing in.
    for next in [
        "https://evil/",
        "//evil/",
        "/\\evil",
        "/atomfeed-console/\\..",
        "x",
    ] {
        let to = asha
            .post(
                "/sign-in",
                &[("name", "asha"), ("password", "pw"), ("next", next)],
            )
            .await;
        assert_eq!(to.location, "/atomfeed-console/", "{next}");
    }
}

#[tokio::test]
async fn who_looks_for_a_text_in_ten_thousand_and_one_is_led_to_all_of_them() {
    let store = MemoryStore::new();
    let mut work = store.change().await.unwrap();
    for number in 0..=10_000 {
        let message = match number {
            0 => FIRST,
            _ => "the others have that",
        };
        let failure = Failure::new(message, SystemClock.now());
        work.park(&event(number, "/patient/1"), &failure)
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    is_led_on_to_the_first(store).await;
}

#[tokio::test]
async fn who_looks_for_a_text_in_postgresql_is_led_to_all_of_them() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    park(&store, &event(0, "/patient/1"), FIRST).await;
    // As if they had been parked one by one, which would take long.
    let others = "
        INSERT INTO failed_events (feed_uri, failed_at, error_message, event_id, event_content,
          error_hash_code, title, tags)
         SELECT feed_uri, failed_at, 'the others have that', 'tag:' || n, event_content,
          error_hash_code, 'Title ' || n, tags
         FROM failed_events, generate_series(1, 10000) AS n ORDER BY n;
        INSERT INTO atomfeed_failures (failed_event_id, feed, reason, retries, failed_at, message)
         SELECT failed.id, known.feed, known.reason, 0, known.failed_at, failed.error_message
         FROM failed_events AS failed, atomfeed_failures AS known
         WHERE failed.id <> known.failed_event_id";
    sqlx::raw_sql(others).execute(store.pool()).await.unwrap();
    is_led_on_to_the_first(store).await;
}

/// What the first of ten thousand and one has failed with, and no other.
const FIRST: &str = "only the first has <this>";

async fn is_led_on_to_the_first(store: impl ConsoleStore) {
    let mut asha = Browser::signed_in(console(store), "asha").await;
    let mut path = "/failed?system=Lab&error=HAS+%3Cthis".to_owned();
    let mut led_on = 0;
    let page = loop {
        let page = asha.page(&path).await;
        if !page.contains("more were looked at") {
            break page;
        }
        assert!(page.contains("Lab: at least 0 parked"), "{page}");
        assert!(!page.contains("Nothing"), "{page}");
        led_on += 1;
        let (_, next) = page
            .split_once("<a rel=\"next\" href=\"/atomfeed-console")
            .unwrap();
        let next = next.split('"').next().unwrap();
        path = next.replace("&amp;", "&").replace("&#38;", "&");
    };
    assert_eq!(led_on, 2);
    assert_eq!(page.matches("<span class=\"number\">").count(), 1);
    // An event has a name, too, and what is no question is no answer to another one.
    let json = asha.page("/api/systems/Lab/failed?event=tag:7").await;
    assert_eq!(json.matches("\"event_id\"").count(), 1, "{json}");
    let refused = asha.get("/failed?titel=7").await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    // Where few are left nobody is led on.
    let page = asha
        .page("/failed?system=Lab&title=nowhere&before=4000")
        .await;
    assert!(
        page.contains("Nothing more is parked that is like this."),
        "{page}"
    );
    assert!(!page.contains("rel=\"next\""), "{page}");
}

/// As the original parks them: each message names a page, and each content differs.
#[tokio::test]
async fn a_thousand_failures_of_one_cause_are_one_group() {
    let store = MemoryStore::new();
    let mut work = store.change().await.unwrap();
    for number in 0..1_000 {
        let message = format!(
            "Failed processing event in feed [http://emr:8050/openmrs/ws/atomfeed/patient/{}] \
             org.openmrs.api.APIException: no patient {} at http://emr/patient/{number}\n\tat line {number}",
            number / 5,
            uuid::Uuid::new_v4()
        );
        let failure = Failure::new(message, SystemClock.now());
        work.park(&event(number, &format!("/patient/{number}")), &failure)
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let page = asha.page("/failed").await;
    assert_eq!(page.matches("Retry all<span").count(), 1);
    assert!(
        page.contains("org.openmrs.api.APIException: no patient &#60;uuid&#62; at &#60;url&#62;"),
        "{page}"
    );
    assert!(page.contains("<td>1\u{202f}000</td>"));
    // The whole of them can be paged through.
    let (mut seen, mut path) = (0, "/failed?system=Lab".to_owned());
    loop {
        let page = asha.page(&path).await;
        seen += page.matches("<span class=\"number\">").count();
        let Some((_, next)) = page.split_once("<a rel=\"next\" href=\"/atomfeed-console") else {
            break;
        };
        path = next
            .split('"')
            .next()
            .unwrap()
            .replace("&amp;", "&")
            .replace("&#38;", "&");
    }
    assert_eq!(seen, 1_000);
    let group = page.split("&amp;reason=").nth(1).unwrap()[..36].to_owned();
    let asked = asha
        .fill(
            &format!("/systems/Lab/retry?feed={FEED}&reason={group}"),
            &[("why", "the EMR is back")],
        )
        .await;
    assert_eq!(asked.status, 303, "{}", asked.body);
    let mut work = store.look().await.unwrap();
    let action = work.action(1).await.unwrap().unwrap();
    assert_eq!(
        (action.asked.kind, action.asked.by.as_str()),
        (ActionKind::RetryMany, "asha")
    );
    let filter: FailureFilter = action.asked.detail.parse().unwrap();
    assert_eq!(work.failure_count(&filter).await.unwrap(), 1_000);
}

/// What is away is said to be, and everything else goes on.
#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_said_to_be() {
    let store = MemoryStore::new();
    park(&store, &event(1, "/patient/1"), "boom").await;
    let app = Console::new(Two)
        .with_system("Lab", store)
        .with_system_to_open("Refused", || {
            Box::pin(async {
                Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    "opening it: there is no such <file>",
                ))
            })
        })
        .with_system_to_open("Silent", || Box::pin(std::future::pending()))
        .into_router(MOUNT);
    let mut asha = Browser::signed_in(app, "asha").await;
    for path in ["/", "/failed", "/markers", "/actions"] {
        let page = asha.page(path).await;
        assert!(page.contains("there is no such &#60;file&#62;"), "{path}");
        assert!(page.contains("does not answer within 5s"), "{path}");
        assert!(page.contains("Lab"), "{path}");
    }
    let page = asha.get("/systems/Silent/failed/1").await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("does not answer"));
}

/// While one waits for a lock, everything else goes on.
#[tokio::test]
async fn a_table_that_is_locked_hides_no_other_system() {
    let (Some(locked), Some(free)) = (PostgresHarness::from_env(), PostgresHarness::from_env())
    else {
        return;
    };
    let (locked, free) = (locked.store().await, free.store().await);
    park(&free, &event(1, "/patient/1"), "boom").await;
    let mut lock = locked.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE markers, atomfeed_actions, failed_events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let app = Console::new(Two)
        .with_system("Locked", locked)
        .with_system("Free", free)
        .into_router(MOUNT);
    let asha = Browser::signed_in(app, "asha").await;
    let pages = ["/", "/failed", "/markers", "/actions"].map(|path| {
        let mut asha = Browser {
            app: asha.app.clone(),
            cookie: asha.cookie.clone(),
        };
        async move { (path, asha.page(path).await) }
    });
    for (path, page) in futures_util::future::join_all(pages).await {
        assert!(page.contains("Free"), "{path}");
        assert!(
            page.contains("holds a lock on its tables"),
            "{path}: {page}"
        );
    }
    lock.rollback().await.unwrap();
}

/// Servers of the original say in no header how many events there are.
#[tokio::test]
async fn a_feed_that_is_pages_behind_is_not_ok() {
    let store = MemoryStore::new();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let now = SystemClock.now();
    for (events, pages, since, state, lag) in [
        (Some(0), Some(0), None, "ok", "none"),
        (None, Some(0), None, "ok", "none"),
        (Some(3), None, None, "behind", "not known"),
        (None, Some(500), None, "behind", "not known"),
        (None, None, Some(now), "behind", "0 s"),
    ] {
        let mut status = FeedStatus::new(feed());
        (status.seen_at, status.behind_since) = (Some(now), since);
        (status.events_behind, status.pages_behind) = (events, pages);
        let mut work = store.change().await.unwrap();
        work.put_status(&status).await.unwrap();
        work.commit().await.unwrap();
        let overview = asha.page("/").await;
        let row = overview.split("<tbody>").nth(1).unwrap();
        let case = format!("{events:?} {pages:?} {since:?}");
        assert!(row.contains(&format!(">{state}<")), "{case}: {row}");
        let is_of_lag = row.contains(&format!("<td>{lag}</td>")) || lag == "0 s";
        assert!(is_of_lag, "{case}: {row}");
    }
}

#[tokio::test]
async fn all_reasons_can_be_seen() {
    let store = MemoryStore::new();
    for number in 0..25 {
        let letter = char::from(b'a' + number);
        park(
            &store,
            &event(number.into(), "/patient/1"),
            &format!("no {letter}"),
        )
        .await;
    }
    let mut asha = Browser::signed_in(console(store), "asha").await;
    let page = asha.page("/failed").await;
    assert_eq!(page.matches("Retry all<span").count(), 20);
    let (link, _) = page.split_once(">5 more reasons<").unwrap();
    let link = link.rsplit("href=\"").next().unwrap().trim_end_matches('"');
    let link = link.replace("&amp;", "&").replace("&#38;", "&");
    let page = asha.page(&link.replace(MOUNT, "")).await;
    assert_eq!(page.matches("Retry all<span").count(), 25);
}

/// A table of failed events that somebody has emptied gives its numbers once more.
#[tokio::test]
async fn under_a_number_that_is_given_again_no_other_event_is_shown() {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let id = park(&store, &event(1, "/patient/one"), "boom").await;
    let path = format!("/systems/Lab/failed/{id}");
    let api = format!("/api{path}");
    let why = ("why", "about the first");
    let edit = [("detail", "/patient/first"), why];
    let asked = asha.fill(&format!("{path}/edit"), &edit).await;
    assert_eq!(asked.status, 303, "{}", asked.body);
    let mut work = store.change().await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    let again = Failure::new("the first again", SystemClock.now());
    work.record_failed_retry(&failed, &again).await.unwrap();
    let edit = work.actions(&ActionQuery::newest(1)).await.unwrap();
    let progress = edit[0].progress.clone();
    let mut done = progress.then(ActionState::Done, SystemClock.now(), "applied");
    done.was = Some("/patient/one".to_owned());
    work.advance(edit[0].id, ActionState::Waiting, &done)
        .await
        .unwrap();
    work.commit().await.unwrap();
    // And one that nobody has taken up when the event is gone.
    let skip = asha.fill(&format!("{path}/skip"), &[why]).await;
    assert_eq!(skip.status, 303, "{}", skip.body);
    let of_the_first = [
        "What was done about it",
        "about the first",
        "the first again",
        "As it was before it was edited",
        "/patient/one",
    ];
    let page = asha.page(&path).await;
    for words in of_the_first {
        assert!(page.contains(words), "{words}: {page}");
    }
    let json: Value = serde_json::from_str(&asha.page(&api).await).unwrap();
    for (list, length) in [("actions", 2), ("retry_log", 1)] {
        assert_eq!(json[list].as_array().unwrap().len(), length, "{json}");
    }

    let empty = "DELETE FROM failed_events;
        DELETE FROM sqlite_sequence WHERE name = 'failed_events'";
    sqlx::raw_sql(empty).execute(store.pool()).await.unwrap();
    let second = park(&store, &event(2, "/patient/two"), "bang").await;
    assert_eq!(second, id, "another one has its number");
    for path in [path.as_str(), "/failed"] {
        let page = asha.page(path).await;
        assert!(page.contains("bang"), "{path}: {page}");
        for words in of_the_first {
            assert!(!page.contains(words), "{path} {words}: {page}");
        }
    }
    let json: Value = serde_json::from_str(&asha.page(&api).await).unwrap();
    assert_eq!(json["event_id"], "tag:2");
    assert_eq!(json["actions"], json!([]), "{json}");
    assert_eq!(json["retry_log"], json!([]), "{json}");
    let log = asha.page("/apps/Lab/failedEvent/tag:2/retryLog").await;
    assert_eq!(log, "[]");
    // What was asked for of the first stands in nobody's way.
    let skip = asha.fill(&format!("{path}/skip"), &[why]).await;
    assert_eq!(skip.status, 303, "{}", skip.body);
    let json: Value = serde_json::from_str(&asha.page(&api).await).unwrap();
    assert_eq!(json["actions"].as_array().unwrap().len(), 1, "{json}");
}
