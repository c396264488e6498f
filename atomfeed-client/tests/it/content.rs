//! Content arrives as it was published.

use std::sync::Arc;

use atomfeed_client::{AtomFeedClient, InProcessFeedSource, worker_fn};
use atomfeed_core::store::conformance::{Harness, SqliteHarness, sequence_all};
use atomfeed_core::store::{ConsumerStore, MemoryConnection, MemoryStore, OutboxStore};
use atomfeed_core::{Clock, NewEvent, SystemClock};
use atomfeed_server::FeedConfig;

use crate::feeds::{config, feed_uri, on_every_store, router};

on_every_store!(content_arrives_untouched, exact_line_ends_keep_cr);

fn contents() -> Vec<String> {
    let mebibyte = "0123456789abcde\u{e9}"
        .chars()
        .cycle()
        .take(1 << 20)
        .collect();
    let mut contents: Vec<String> = [
        "",
        " ",
        "]]>",
        "a]]>b]]>",
        "]]]]>>",
        "]]",
        "<![CDATA[x]]>",
        "<![CDATA[",
        "&",
        "&amp;&lt;&#65;",
        "<",
        ">",
        "\"'",
        "  lead\n\ttab\n\n trail \n",
        "😀 患者 é \u{7f}\u{a0}\u{feff}\u{fffd}",
        r#"{"requisitionId":28,"status":"A & B <c>","list":[[1],[2]]}"#,
        "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a x='1'>&b;<!-- c --></a>",
        "/openmrs/ws/rest/v1/patient/1?v=full&n=1",
    ]
    .map(str::to_owned)
    .to_vec();
    contents.push(mebibyte);
    contents
}

/// Publishes contents into a store, and reads them back from its feed.
async fn round_trip<H: Harness>(
    harness: &H,
    config: FeedConfig,
    contents: &[String],
) -> Vec<String> {
    let store = harness.store().await;
    let mut work = store.begin().await.unwrap();
    for (n, content) in contents.iter().enumerate() {
        let event = NewEvent::new(n.to_string(), content.as_str());
        store
            .publish(work.conn(), &event, SystemClock.now())
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    sequence_all(&store).await;

    let source = InProcessFeedSource::new(router(store, config).await);
    let received = MemoryStore::new();
    let worker = worker_fn(|event, conn: &mut MemoryConnection| {
        Box::pin(async move {
            conn.put(
                "received",
                &format!("{:0>4}", event.title()),
                event.content(),
            );
            Ok(())
        })
    });
    let client = AtomFeedClient::builder(feed_uri(), source).build(received.clone(), worker);
    client.process_events().await.unwrap();
    received
        .rows("received")
        .into_iter()
        .map(|(_, content)| content)
        .collect()
}

async fn content_arrives_untouched<H: Harness>(harness: &Arc<H>) {
    let contents = contents();
    assert_eq!(
        round_trip(harness.as_ref(), config(), &contents).await,
        contents
    );
    // As XML has it, CR and CRLF arrive as LF.
    let line_ends = ["a\r\nb\rc\n\r", "]]>\r\n"].map(str::to_owned);
    let received = round_trip(harness.as_ref(), config(), &line_ends).await;
    assert_eq!(received, ["a\nb\nc\n\n", "]]>\n"]);
}

async fn exact_line_ends_keep_cr<H: Harness>(harness: &Arc<H>) {
    let mut contents = contents();
    contents.extend(["a\r\nb\rc\n\r", "]]>\r\n", "\r", "<&\r>"].map(str::to_owned));
    let received = round_trip(harness.as_ref(), config().exact_line_ends(), &contents).await;
    assert_eq!(received, contents);
}

/// Over HTTP from SQLite too, with nothing in memory in between.
#[tokio::test]
async fn a_title_keeps_what_content_keeps() {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    let title = "  A & B <c> ]]> \"q\" 'a'\r\n\ttab 😀 ";
    let mut work = store.begin().await.unwrap();
    let event = NewEvent::new(title, "").with_tags([" a\tb ", "<&>\"'"]);
    store
        .publish(work.conn(), &event, SystemClock.now())
        .await
        .unwrap();
    work.commit().await.unwrap();
    sequence_all(&store).await;
    let source = InProcessFeedSource::new(router(store, config()).await);
    let received = MemoryStore::new();
    let worker = worker_fn(|event, conn: &mut MemoryConnection| {
        Box::pin(async move {
            conn.put("received", event.title(), event.tags_column());
            Ok(())
        })
    });
    let client = AtomFeedClient::builder(feed_uri(), source).build(received.clone(), worker);
    client.process_events().await.unwrap();
    let expected = (title.to_owned(), " a\tb ,<&>\"'".to_owned());
    assert_eq!(received.rows("received"), [expected]);
}
