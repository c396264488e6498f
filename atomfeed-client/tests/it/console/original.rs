//! Beside the original: over tables of systems that run it, and for scripts that its console answered.

use std::time::{Duration, Instant};

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use atomfeed_core::store::{ActionQuery, ConsoleStore, MemoryStore};
use atomfeed_core::{
    ActionKind, ActionProgress, ActionState, Clock, EntryId, Failure, FeedUri, Marker, SystemClock,
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

/// Tables of systems that run the original: what they can carry is done at once, and the page says so.
async fn on_adopted<H: Harness>(harness: &H)
where
    H::Store: ConsoleStore + Clone,
{
    let store = harness.store().await;
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
    assert!(overview.contains("tables of another program"), "{overview}");
    let event = asha.page(&format!("/systems/Lab/failed/{}", ids[0])).await;
    assert!(event.contains("Another program runs this feed"));

    let outcome = async |asha: &mut Browser, path: String, fields: &[(&str, &str)]| {
        let asked = asha.fill(&path, fields).await;
        assert_eq!(asked.status, 303, "{path}: {}", asked.body);
        asha.page(&asked.location.replace(MOUNT, "")).await
    };
    let why = ("why", "a test");
    let page = outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/retry", ids[0]),
        &[why],
    )
    .await;
    assert!(page.contains("its retries are 0"), "{page}");
    let edit = [("detail", "/patient/12?c"), why];
    outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/edit", ids[1]),
        &edit,
    )
    .await;
    outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/skip", ids[2]),
        &[why],
    )
    .await;
    let many = asha
        .fill(&format!("/systems/Lab/retry?feed={FEED}"), &[why])
        .await;
    assert_eq!(many.status, 303, "{}", many.body);
    until_all_are_tried(&mut asha, &many.location.replace(MOUNT, "")).await;
    // What a console was at that was ended in the middle is gone on with once somebody looks.
    let long_ago = SystemClock.now() - chrono::TimeDelta::minutes(3);
    let many = retry_of_many(long_ago);
    let begun = ActionProgress::waiting(long_ago).then(ActionState::Running, long_ago, "");
    let mut work = store.change().await.unwrap();
    let many = work.ask(&many, &begun).await.unwrap();
    work.commit().await.unwrap();
    until_all_are_tried(&mut asha, &format!("/systems/Lab/actions/{many}")).await;
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
            .contains("1 markers, 4 parked events")
    );
    let page = outcome(&mut asha, preview, &[why]).await;
    assert!(page.contains("1 markers, 4 parked events"), "{page}");

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
    assert_eq!(work.parked_event(ids[0]).await.unwrap().unwrap().retries, 0);
    let actions = work.actions(&ActionQuery::newest(100)).await.unwrap();
    assert_eq!(actions.len(), 8);
    assert!(
        actions
            .iter()
            .all(|action| action.progress.state == ActionState::Done)
    );
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
