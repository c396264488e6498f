//! What is asked for in a form.

use atomfeed_core::store::{ActionQuery, ConsoleStore, MemoryStore};

use super::{Browser, MOUNT, console, event, hidden, park};

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
