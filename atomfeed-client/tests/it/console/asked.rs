//! What is asked for in a form.

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::{ActionQuery, ConsoleStore, FeedStatus, MemoryStore};
use atomfeed_core::{Clock, SystemClock};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{ASHA, Browser, FEED, MOUNT, console, event, feed, hidden, json_request, park};

/// HL7 has line ends that no form has; and what somebody else has changed meanwhile is not written over.
#[tokio::test]
async fn an_edit_keeps_the_line_ends_and_what_others_did() {
    let store = MemoryStore::new();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    for (content, typed, edited) in [
        (
            "MSH|1\rPID|2\r",
            "MSH|1\r\nPID|3\r\n",
            Some("MSH|1\rPID|3\r"),
        ),
        ("a\r\nb", "a\r\nc", Some("a\r\nc")),
        ("a\nb", "a\r\nc", Some("a\nc")),
        ("a", "a\r\nc", Some("a\nc")),
        ("a\r\nb\nc", "a\r\nb\r\nd", None),
    ] {
        let parked = event(1, content);
        let id = park(&store, &parked, "boom").await;
        let path = format!("/systems/Lab/failed/{id}/edit");
        let fields = [("detail", typed), ("why", "a test")];
        let asked = asha.fill(&path, &fields).await;
        let mut work = store.look().await.unwrap();
        let actions = work
            .actions(&ActionQuery::newest(1).of_event(id, &parked))
            .await
            .unwrap();
        let detail = actions.first().map(|action| action.asked.detail.as_str());
        assert_eq!(detail, edited, "{content:?} {}", asked.status);
    }
    let id = park(&store, &event(1, "as it was"), "boom").await;
    let path = format!("/systems/Lab/failed/{id}/edit");
    let form = asha.page(&path).await;
    let mut work = store.change().await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.edit_content(&failed, "by somebody else")
        .await
        .unwrap();
    work.commit().await.unwrap();
    let mut fields = hidden(&form);
    fields.extend([("why", "x"), ("detail", "y")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let late = asha.post(&path, &fields).await;
    assert_eq!(late.status, 409);
    assert!(
        late.body.contains("somebody else has changed it"),
        "{}",
        late.body
    );
}

/// What is asked for is taken up by who runs, and can be called off until then.
#[tokio::test]
async fn what_is_asked_for_can_be_watched_and_called_off() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let asked = asha
        .fill(
            &format!("/systems/Lab/failed/{id}/retry"),
            &[("why", "the lab is back")],
        )
        .await;
    let path = asked.location.replace(MOUNT, "");
    let page = asha.page(&path).await;
    for words in [
        "waiting for the consumer",
        "the lab is back",
        "asha",
        "hx-trigger=\"every 1s\"",
        "Call it off",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let token = hidden(&page).pop().unwrap().1;
    let off = asha
        .post(&format!("{path}/call-off"), &[("token", &token)])
        .await;
    assert_eq!(off.status, 303, "{}", off.body);
    let page = asha.page(&path).await;
    assert!(
        page.contains("called off by asha") && !page.contains("hx-get"),
        "{page}"
    );
    // Two do not edit it, or give it up, at once.
    let why = ("why", "it is wrong");
    let edit = asha
        .fill(
            &format!("/systems/Lab/failed/{id}/edit"),
            &[("detail", "/patient/2"), why],
        )
        .await;
    assert_eq!(edit.status, 303, "{}", edit.body);
    let skip = asha
        .fill(&format!("/systems/Lab/failed/{id}/skip"), &[why])
        .await;
    assert_eq!(skip.status, 409, "{}", skip.body);
    assert!(skip.body.contains("call that off"), "{}", skip.body);
    let event = asha.page(&format!("/systems/Lab/failed/{id}")).await;
    assert!(event.contains("What was done about it"));
    // Without a reason, or of what is gone, nothing is asked.
    let asked = asha
        .fill(&format!("/systems/Lab/failed/{id}/skip"), &[("why", "  ")])
        .await;
    assert_eq!(asked.status, 400);
    let form = asha.page(&format!("/systems/Lab/failed/{id}/skip")).await;
    let mut work = store.change().await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.remove_failed_event(&failed).await.unwrap();
    work.commit().await.unwrap();
    let mut fields = hidden(&form);
    fields.push(("why".to_owned(), "x".to_owned()));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let late = asha
        .post(&format!("/systems/Lab/failed/{id}/skip"), &fields)
        .await;
    assert_eq!(late.status, 409, "{}", late.body);
    assert_eq!(
        asha.get(&format!("/systems/Lab/failed/{id}")).await.status,
        404
    );
}

/// Of two at once, one is told that the other was first.
async fn one_of_two_edits_is_taken<H: Harness>(harness: &H)
where
    H::Store: ConsoleStore + Clone,
{
    let store = harness.store().await;
    let mut two = [(); 2].map(|()| Browser::new(console(store.clone())));
    for number in 1..=20 {
        let id = park(&store, &event(number, "/patient/1"), "boom").await;
        let [one, other] = &mut two;
        let path = format!("/api/systems/Lab/failed/{id}");
        let there = one.send(json_request("GET", &path, ASHA, &Value::Null));
        let there: Value = serde_json::from_str(&there.await.body).unwrap();
        let mut both = Vec::new();
        for (browser, kind) in [(one, "edit"), (other, "skip")] {
            let wish = json!({
                "kind": kind, "feed": FEED, "failed_event_id": id, "detail": "/patient/2", "why": "a test",
                "seen": there["seen"],
            });
            let request = json_request("POST", "/api/systems/Lab/actions", ASHA, &wish);
            both.push(browser.send(request));
        }
        let both = futures_util::future::join_all(both).await;
        let mut statuses: Vec<_> = both.iter().map(|page| page.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 409], "{number}");
    }
}

macro_rules! one_of_two_edits_is_taken {
    ($($name:ident: $harness:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                if let Some(harness) = $harness {
                    one_of_two_edits_is_taken(&harness).await;
                }
            }
        )+
    };
}

one_of_two_edits_is_taken! {
    one_of_two_edits_is_taken_on_sqlite: Some(SqliteHarness::default());
    one_of_two_edits_is_taken_on_postgres: PostgresHarness::from_env();
    one_of_two_edits_is_taken_on_mysql: MySqlHarness::from_env();
    // Where it is done at once, since the feed is another program's.
    one_of_two_edits_is_taken_on_the_tables_of_odoo: PostgresHarness::odoo();
}

/// Where nobody is there to do it, that is said; and of a feed that nobody knows nothing is asked.
#[tokio::test]
async fn what_nobody_takes_up_is_said_to_wait() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let retry = format!("/systems/Lab/failed/{id}/retry");
    let asked = asha.fill(&retry, &[("why", "a test")]).await;
    let action = asked.location.replace(MOUNT, "");
    let page = asha.page(&action).await;
    assert!(
        page.contains("No consumer of this feed was heard of:"),
        "{page}"
    );
    for (minutes, words) in [(1, None), (60, Some("was heard of since 60 min ago"))] {
        let mut work = store.change().await.unwrap();
        let mut status = FeedStatus::new(feed());
        status.seen_at = Some(SystemClock.now() - TimeDelta::minutes(minutes));
        work.put_status(&status).await.unwrap();
        work.commit().await.unwrap();
        let page = asha.page(&action).await;
        assert_eq!(page.contains("was heard of"), words.is_some(), "{page}");
        assert!(page.contains(words.unwrap_or_default()), "{page}");
    }

    let elsewhere = FEED.replace("patient", "pateint");
    for kind in ["retry-many", "preview-marker", "move-marker"] {
        let wish = json!({ "kind": kind, "feed": elsewhere, "detail": "", "why": "a test" });
        let request = json_request("POST", "/api/systems/Lab/actions", ASHA, &wish);
        let refused = asha.send(request).await;
        assert_eq!(refused.status, 400, "{kind}");
        assert!(refused.body.contains("nobody follows"), "{}", refused.body);
    }
}

/// As the pages do, a script can see what it would change, and is told when somebody else was before it.
#[tokio::test]
async fn scripts_can_look_before_they_ask() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let mut script = Browser::new(console(store.clone()));
    let mut ask = async |method: &str, path: &str, body: Value| {
        let answer = script.send(json_request(method, path, ASHA, &body)).await;
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status.as_u16(), body)
    };
    let path = "/api/systems/Lab/rebase?from=http://emr:8050&to=https://emr.example.org";
    let would = ask("GET", path, Value::Null).await;
    let expected = json!({ "markers": 0, "failed_events": 1, "retries": 0 });
    assert_eq!(would, (200, expected));
    let nothing = ask("GET", "/api/systems/Lab/rebase?from=x&to=y", Value::Null).await;
    assert_eq!(nothing.0, 400, "{}", nothing.1);

    let seen = ask("GET", &format!("/api/systems/Lab/failed/{id}"), Value::Null).await;
    let seen = seen.1["seen"].clone();
    assert!(seen.is_string());
    let edit = json!({
        "kind": "edit", "feed": FEED, "failed_event_id": id, "detail": "/patient/2", "why": "a test",
        "seen": seen,
    });
    let mut work = store.change().await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.edit_content(&failed, "by somebody else")
        .await
        .unwrap();
    work.commit().await.unwrap();
    let refused = ask("POST", "/api/systems/Lab/actions", edit).await;
    assert_eq!(refused.0, 409, "{}", refused.1);
}
