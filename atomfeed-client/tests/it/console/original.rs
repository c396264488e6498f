//! Beside the original: over tables of systems that run it, and for scripts that its console answered.

use std::time::{Duration, Instant};

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use atomfeed_core::store::{ActionQuery, ConsoleStore, FeedStatus, MemoryStore};
use atomfeed_core::{
    ActionKind, ActionProgress, ActionState, Clock, EntryId, Failure, FeedUri, Marker, NewAction,
    SystemClock,
};
use serde_json::{Value, json};

use super::{ASHA, Browser, FEED, MOUNT, console, event, feed, json_request, park, retry_of_many};

/// As the console of the original answered.
#[tokio::test]
async fn scripts_of_the_old_console_keep_working() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let mut work = store.change().await.unwrap();
    let marker = Marker::new(feed())
        .after(EntryId::new("tag:9").unwrap())
        .on_page("http://emr/9");
    work.move_marker(None, &marker).await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    let at = "2024-03-01T08:01:00.123Z".parse().unwrap();
    work.record_failed_retry(&failed, &Failure::new("again", at))
        .await
        .unwrap();
    work.commit().await.unwrap();
    let mut script = Browser::new(console(store.clone()));
    let mut ask = async |method: &str, path: String| {
        let page = script
            .send(json_request(method, &path, ASHA, &Value::Null))
            .await;
        (page.status.as_u16(), page.body)
    };
    let read = |body: &str| -> Value { serde_json::from_str(body).unwrap() };
    assert_eq!(read(&ask("GET", "/apps".into()).await.1), json!(["Lab"]));
    assert_eq!(
        read(&ask("GET", "/apps/Lab/feedStatus".into()).await.1),
        json!([{ "feedUri": FEED, "lastReadEntry": "tag:9", "countOfFailedEvents": 1 }])
    );
    let failed = read(
        &ask("GET", format!("/apps/Lab/failedEvent?feedUri={FEED}"))
            .await
            .1,
    );
    let failed_at = failed[0]["failedAt"].as_i64().unwrap();
    assert!((SystemClock.now().timestamp_millis() - failed_at).abs() < 600_000);
    assert_eq!(
        failed,
        json!([{
            "feedUri": FEED, "eventId": "tag:1", "failedAt": failed_at, "errorMessage": "boom", "retries": 1,
            "event": {
                "id": "tag:1", "title": "Title 1", "content": "/patient/1", "feedUri": FEED,
                "categories": ["Patient", "urgent"], "updatedDate": null, "dateCreated": null,
            },
        }])
    );
    assert_eq!(
        read(
            &ask("GET", "/apps/Lab/failedEvent/tag:1/retryLog".into())
                .await
                .1
        ),
        json!([{
            "feedUri": FEED, "failedAt": 1_709_280_060_123_i64, "errorMessage": "again", "eventId": "tag:1",
            "eventContent": "/patient/1",
        }])
    );
    let reset = "/apps/Lab/failedEvent/tag:1/resetRetryCount";
    assert_eq!(ask("POST", reset.into()).await, (200, String::new()));
    assert_eq!(ask("POST", reset.replace(":1", ":2")).await.0, 404);
    assert_eq!(ask("GET", "/apps/Nobody/feedStatus".into()).await.0, 404);
    assert_eq!(ask("GET", "/apps/Lab/failedEvent".into()).await.0, 400);
    let mut work = store.look().await.unwrap();
    assert_eq!(
        work.action(1).await.unwrap().unwrap().asked.kind,
        ActionKind::ResetRetries
    );
}

/// They are read some at a time, and answered as one list, in their order.
#[tokio::test]
async fn scripts_get_all_that_is_parked_however_many() {
    let store = MemoryStore::new();
    let mut script = Browser::new(console(store.clone()));
    let path = format!("/apps/Lab/failedEvent?feedUri={FEED}");
    let mut parked = 0;
    for many in [0, 1, 20, 21, 45] {
        for number in parked + 1..=many {
            park(&store, &event(number, "/patient/1"), "boom").await;
        }
        parked = many;
        let answer = script.send(json_request("GET", &path, ASHA, &Value::Null));
        let answer: Value = serde_json::from_str(&answer.await.body).unwrap();
        let ids = answer.as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|row| row["eventId"].as_str().unwrap()).collect();
        let expected: Vec<_> = (1..=many).map(|number| format!("tag:{number}")).collect();
        assert_eq!(ids, expected);
    }
}

/// It is done in a task of its own.
async fn until_all_are_tried(asha: &mut Browser, action: &str) {
    let begun = Instant::now();
    loop {
        let page = asha.page(action).await;
        if page.contains("tries 4 again") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tables of systems that run the original: what they can carry is done at once, and the page says so; and what
/// they cannot, that is.
async fn on_adopted<H: Harness>(harness: &H)
where
    H::Store: ConsoleStore + Clone,
{
    let store = harness.store().await;
    let counts_retries = store.counts_retries();
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(
            park(
                &store,
                &event(number, &format!("/patient/{number}?a&b")),
                "java.lang.Exception: boom",
            )
            .await,
        );
    }
    let mut work = store.change().await.unwrap();
    let marker = Marker::new(feed())
        .after(EntryId::new("tag:0").unwrap())
        .on_page("http://emr:8050/1");
    work.move_marker(None, &marker).await.unwrap();
    let failed = work.parked_event(ids[0]).await.unwrap().unwrap();
    for _ in 0..6 {
        work.record_failed_retry(&failed, &Failure::new("again", SystemClock.now()))
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let overview = asha.page("/").await;
    for words in ["tables of another program", "not known"] {
        assert!(overview.contains(words), "{overview}");
    }
    assert!(!overview.contains("never"), "{overview}");
    let event = asha.page(&format!("/systems/Lab/failed/{}", ids[0])).await;
    assert!(event.contains("Another program runs this feed"));
    assert_eq!(event.contains("Reset retries"), counts_retries, "{event}");
    assert_eq!(event.contains("counts no retries"), !counts_retries);
    // Ours has written down six, wherever there is room for them; of the others there is nothing.
    let other = asha.page(&format!("/systems/Lab/failed/{}", ids[1])).await;
    assert_eq!(other.contains("keeps none"), !store.keeps_retry_log());

    let outcome = async |asha: &mut Browser, path: String, fields: &[(&str, &str)]| {
        let asked = asha.fill(&path, fields).await;
        assert_eq!(asked.status, 303, "{path}: {}", asked.body);
        asha.page(&asked.location.replace(MOUNT, "")).await
    };
    let why = ("why", "a test");
    let retry = format!("/systems/Lab/failed/{}/retry", ids[0]);
    let all = format!("/systems/Lab/retry?feed={FEED}");
    if counts_retries {
        let page = outcome(&mut asha, retry, &[why]).await;
        assert!(page.contains("its retries are 0"), "{page}");
    } else {
        for path in [retry, all.clone()] {
            let refused = asha.get(&path).await;
            assert_eq!(refused.status, 400);
            assert!(
                refused.body.contains("counts no retries"),
                "{}",
                refused.body
            );
        }
        for kind in ["retry", "reset-retries", "retry-many"] {
            let id = (kind != "retry-many").then_some(ids[0]);
            let wish =
                json!({ "kind": kind, "feed": FEED, "failed_event_id": id, "why": "a test" });
            let path = "/api/systems/Lab/actions";
            let refused = asha.send(json_request("POST", path, ASHA, &wish)).await;
            assert_eq!(refused.status, 400, "{kind}: {}", refused.body);
        }
    }
    let edit = [("detail", "/patient/12?c"), why];
    let page = outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/edit", ids[1]),
        &edit,
    )
    .await;
    assert_eq!(page.contains("its retries are 0"), counts_retries, "{page}");
    outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/skip", ids[2]),
        &[why],
    )
    .await;
    if counts_retries {
        let many = asha.fill(&all, &[why]).await;
        assert_eq!(many.status, 303, "{}", many.body);
        until_all_are_tried(&mut asha, &many.location.replace(MOUNT, "")).await;
        // What a console was at that was ended in the middle is gone on with once somebody looks; and so is what
        // was asked of a consumer of ours that has left the feed to the other program since.
        let long_ago = SystemClock.now() - chrono::TimeDelta::minutes(3);
        let waits = ActionProgress::waiting(long_ago);
        for begun in [
            waits.clone().then(ActionState::Running, long_ago, ""),
            waits,
        ] {
            let mut work = store.change().await.unwrap();
            let many = work.ask(&retry_of_many(long_ago), &begun).await.unwrap();
            work.commit().await.unwrap();
            until_all_are_tried(&mut asha, &format!("/systems/Lab/actions/{many}")).await;
        }
    }
    the_rest_is_taken_over(&store, &mut asha, ids[3]).await;
    let place = [("page", "http://emr:8050/7"), ("entry", "tag:7")];
    let page = outcome(
        &mut asha,
        format!("/systems/Lab/marker?feed={FEED}"),
        &place,
    )
    .await;
    assert!(page.contains("behind tag:7 on http://emr:8050/7"), "{page}");
    let path = format!("/systems/Lab/marker?feed={FEED}&position=http://emr:8050/7%20tag:7");
    let page = outcome(&mut asha, path, &[why]).await;
    assert!(
        page.contains("behind tag:0 on http://emr:8050/1"),
        "where it was: {page}"
    );
    let preview = asha
        .fill(
            "/systems/Lab/rebase",
            &[
                ("from", "http://emr:8050"),
                ("to", "https://emr.example.org"),
            ],
        )
        .await;
    let preview = preview.location.replace(MOUNT, "");
    assert!(
        asha.page(&preview)
            .await
            .contains("1 markers, 3 parked events")
    );
    let page = outcome(&mut asha, preview, &[why]).await;
    assert!(page.contains("1 markers, 3 parked events"), "{page}");

    let mut work = store.look().await.unwrap();
    let moved: FeedUri = FEED
        .replace("http://emr:8050", "https://emr.example.org")
        .parse()
        .unwrap();
    let marker = work.marker(&moved).await.unwrap().unwrap();
    assert_eq!(
        marker.last_read_entry_id().map(EntryId::as_str),
        Some("tag:7")
    );
    let edited = work.parked_event(ids[1]).await.unwrap().unwrap();
    assert_eq!(edited.event.content(), "/patient/12?c");
    assert!(work.parked_event(ids[2]).await.unwrap().is_none());
    let retries = work.parked_event(ids[0]).await.unwrap().unwrap().retries;
    assert_eq!(retries, if counts_retries { 0 } else { 6 });
    let actions = work.actions(&ActionQuery::newest(100)).await.unwrap();
    assert_eq!(actions.len(), if counts_retries { 11 } else { 7 });
    let failed = actions
        .iter()
        .filter(|action| action.progress.state != ActionState::Done);
    let failed: Vec<_> = failed.collect();
    let [failed] = failed[..] else {
        panic!("{failed:?}");
    };
    let said = failed.progress.outcome.clone().unwrap();
    assert!(said.contains("not parked any more"), "{said}");
}

/// What was asked of a consumer of ours that is heard of no more: the tables are the other program's by now.
async fn the_rest_is_taken_over(store: &impl ConsoleStore, asha: &mut Browser, id: i64) {
    let now = SystemClock.now();
    let mut work = store.change().await.unwrap();
    let mut status = FeedStatus::new(feed());
    status.seen_at = Some(now - chrono::TimeDelta::hours(25));
    work.put_status(&status).await.unwrap();
    let parked = work.parked_event(id).await.unwrap().unwrap();
    let skip = NewAction {
        feed_uri: feed(),
        kind: ActionKind::Skip,
        failed_event_id: Some(id),
        event_id: Some(parked.event.id().clone()),
        detail: String::new(),
        by: "asha".to_owned(),
        why: "a test".to_owned(),
        at: now,
    };
    let waits = ActionProgress::waiting(now);
    let skips = [
        work.ask(&skip, &waits).await.unwrap(),
        work.ask(&skip, &waits).await.unwrap(),
    ];
    work.commit().await.unwrap();
    for (skip, said) in skips.into_iter().zip(["given up", "not parked any more"]) {
        let page = asha.page(&format!("/systems/Lab/actions/{skip}")).await;
        assert!(page.contains(said), "{page}");
    }
    let overview = asha.page("/").await;
    for words in ["stalled", "was not heard of since 25 h ago"] {
        assert!(overview.contains(words), "{overview}");
    }
}

macro_rules! adopted {
    ($($name:ident: $harness:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                if let Some(harness) = $harness {
                    on_adopted(&harness).await;
                }
            }
        )+
    };
}

adopted! {
    on_the_tables_of_odoo: PostgresHarness::odoo();
    on_the_tables_of_openelis: PostgresHarness::openelis();
    on_the_tables_of_openmrs: MySqlHarness::openmrs();
    on_the_tables_of_openmrs_sync2: MySqlHarness::openmrs_sync2();
}
