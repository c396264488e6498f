//! What is handed out is written down.

use atomfeed_core::store::{ActionQuery, ConsoleStore, MemoryStore};
use atomfeed_core::{ActionKind, ActionState, Event, FeedUri};
use serde_json::{Value, json};

use super::{Browser, FEED, RAVI, console, event, json_request, park};

#[tokio::test]
async fn who_exports_says_why_and_is_written_down() {
    let store = MemoryStore::new();
    let elsewhere = FeedUri::new(FEED.replace("patient", "encounter")).unwrap();
    for number in 1..=3 {
        park(&store, &event(number, "/patient/1"), "boom").await;
    }
    let other = Event::new(event(4, "").id().clone(), elsewhere.clone());
    park(&store, &other, "bang").await;
    // Who may look may have it.
    let mut ravi = Browser::signed_in(console(store.clone()), "ravi").await;
    let page = ravi.page("/failed").await;
    assert!(page.contains("/systems/Lab/export?"), "{page}");

    let refused = ravi
        .fill("/systems/Lab/export", &[("format", "csv"), ("why", " ")])
        .await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("say why"), "{}", refused.body);
    let why = "for the ministry";
    let csv = ravi
        .fill("/systems/Lab/export", &[("format", "csv"), ("why", why)])
        .await;
    assert_eq!(csv.status, 200, "{}", csv.body);
    assert_eq!(csv.body.matches("\r\n").count(), 5);
    let disposition = csv.headers["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment"), "{disposition}");
    let path = "/systems/Lab/export?title=title+2&state=parked";
    let chosen = ravi.fill(path, &[("format", "json"), ("why", why)]).await;
    let chosen: Value = serde_json::from_str(&chosen.body).unwrap();
    assert_eq!(chosen.as_array().unwrap().len(), 1);
    assert_eq!(chosen[0]["title"], "Title 2");
    let path = "/systems/Lab/export/json?error=bang&why=a+script";
    let only_looks = json_request("HEAD", path, RAVI, &Value::Null);
    assert_eq!(ravi.send(only_looks).await.status, 405);
    let long = "x".repeat(10_001);
    let refused = ravi
        .fill("/systems/Lab/export", &[("format", "csv"), ("why", &long)])
        .await;
    assert_eq!(refused.status, 400);
    let by_script = json_request("GET", path, RAVI, &Value::Null);
    assert_eq!(ravi.send(by_script).await.status, 200);

    let mut work = store.look().await.unwrap();
    let mut actions = work.actions(&ActionQuery::newest(10)).await.unwrap();
    actions
        .sort_by(|a, b| (a.id, a.asked.feed_uri.as_str()).cmp(&(b.id, b.asked.feed_uri.as_str())));
    let noted = actions.iter().map(|action| {
        let (asked, progress) = (&action.asked, &action.progress);
        assert_eq!(
            (asked.kind, progress.state),
            (ActionKind::Export, ActionState::Done)
        );
        assert_eq!(asked.by, "ravi");
        let said = progress.outcome.as_deref().unwrap();
        (asked.feed_uri.as_str(), &*asked.why, &*asked.detail, said)
    });
    let three = "3 events were handed out";
    let one = "1 events were handed out";
    assert_eq!(
        noted.collect::<Vec<_>>(),
        [
            (elsewhere.as_str(), why, "format=csv&", one),
            (FEED, why, "format=csv&", three),
            (FEED, why, "format=json&state=below-10&title=title+2", one),
            (
                elsewhere.as_str(),
                "a script",
                "format=json&error=bang",
                one
            ),
        ]
    );
    drop(work);
    let page = ravi.page("/actions").await;
    assert_eq!(page.matches(">export <").count(), 4, "{page}");

    // It is not asked for as what a consumer does.
    let mut script = Browser::new(console(store));
    let wish = json!({ "kind": "export", "feed": FEED, "why": "a test" });
    let path = "/api/systems/Lab/actions";
    let refused = script
        .send(json_request("POST", path, super::ASHA, &wish))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}
