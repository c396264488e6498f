//! Times of tables that name no zone.

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use atomfeed_core::store::{
    Adoption, ConsumerStore, FailedEventQuery, MySqlStore, PostgresStore, StoreErrorKind,
};
use atomfeed_core::{EntryId, Event, Failure, FeedUri};
use chrono::{DateTime, Utc};
use sqlx::mysql::MySqlPool;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

/// A zone that is an hour from UTC in the summer of 2024 alone.
async fn make_summer_time(conn: &mut MySqlConnection, name: &str) {
    conn.execute("INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N')")
        .await
        .unwrap();
    let id: u64 = sqlx::query_scalar("SELECT LAST_INSERT_ID()")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    for insert in [
        format!(
            "INSERT INTO mysql.time_zone_transition_type
             (Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation)
             VALUES ({id}, 0, 0, 0, 'GMT'), ({id}, 1, 3600, 1, 'BST')"
        ),
        format!(
            "INSERT INTO mysql.time_zone_transition
             (Time_zone_id, Transition_time, Transition_type_id)
             VALUES ({id}, 1711846800, 1), ({id}, 1729990800, 0)"
        ),
        format!("INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('{name}', {id})"),
    ] {
        conn.execute(AssertSqlSafe(insert)).await.unwrap();
    }
}

async fn remove(conn: &mut MySqlConnection, name: &str) {
    let id = format!("SELECT Time_zone_id FROM mysql.time_zone_name WHERE Name = '{name}'");
    let id = sqlx::query_scalar(AssertSqlSafe(id)).fetch_one(&mut *conn);
    let id: u32 = id.await.unwrap();
    for table in [
        "time_zone",
        "time_zone_transition",
        "time_zone_transition_type",
        "time_zone_name",
    ] {
        let delete = format!("DELETE FROM mysql.{table} WHERE Time_zone_id = {id}");
        conn.execute(AssertSqlSafe(delete)).await.unwrap();
    }
}

/// Also when it is winter, or always is.
#[tokio::test]
async fn a_connection_that_has_summer_time_is_refused() {
    let Some(harness) = MySqlHarness::openmrs() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    let zone = format!("atomfeed/{schema}");
    let options = pool.connect_options().as_ref().clone();
    let mut conn = MySqlConnection::connect_with(&options).await.unwrap();
    make_summer_time(&mut conn, &zone).await;
    let summer = options.timezone(Some(zone.clone()));
    let summer = MySqlPool::connect_with(summer).await.unwrap();
    let now = "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())";
    let now: i64 = sqlx::query_scalar(now).fetch_one(&summer).await.unwrap();
    assert_eq!(now, 0, "it is not summer");
    let store = MySqlStore::over(summer, Some(&schema));
    let adopted = store.adopt(&Adoption::of_consumer()).await;
    remove(&mut conn, &zone).await;
    let error = adopted.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("3600 s"), "{error}");
    assert!(error.to_string().contains("+00:00"), "{error}");
}

/// A consumer on the wall of whose server it is another time: what its original has written is read in
/// that, and what it will read is written so, be it that one of its columns knows of zones.
#[tokio::test]
async fn failures_are_at_the_time_on_the_wall() {
    let harnesses = [
        (PostgresHarness::odoo(), "2024-03-01 13:46:00"),
        (PostgresHarness::openelis(), "2024-03-01 08:01:00+00"),
    ];
    for (harness, kept) in harnesses {
        let Some(harness) = harness else { return };
        let (pool, schema) = harness.foreign().await;
        let at: DateTime<Utc> = "2024-03-01T08:01:00Z".parse().unwrap();
        for insert in [
            format!(
                "INSERT INTO failed_events (feed_uri, failed_at, error_message, event_id,
                  event_content, error_hash_code, title)
                 VALUES ('http://emr/recent', '{kept}', 'theirs', 'tag:theirs', '/1', 0, 'Patient')"
            ),
            "INSERT INTO failed_event_retry_log
             (feed_uri, failed_at, error_message, event_id, event_content, error_hash_code)
             VALUES ('http://emr/recent', '2024-03-01 13:46:00', 'again', 'tag:theirs', '/1', 0)"
                .to_owned(),
        ] {
            pool.execute(AssertSqlSafe(insert)).await.unwrap();
        }
        let zone = "Asia/Kathmandu".parse().unwrap();
        let adoption = Adoption::of_consumer().in_zone(zone);
        let store = PostgresStore::over(pool.clone(), Some(&schema));
        let store = store.adopt(&adoption).await.unwrap();

        let feed: FeedUri = "http://emr/recent".parse().unwrap();
        let mut work = store.begin().await.unwrap();
        let ours = Event::new(EntryId::new("tag:ours").unwrap(), feed.clone());
        let failure = Failure::new("ours", at);
        work.park(&ours, &failure).await.unwrap();
        let query = FailedEventQuery::of(feed.clone());
        for failed in work.failed_events(&query).await.unwrap() {
            assert_eq!(failed.failure.at(), at, "{failed:?}");
            work.record_failed_retry(&failed, &failure).await.unwrap();
            let log = work.retry_log(&feed, failed.event.id()).await.unwrap();
            assert!(log.iter().all(|retry| retry.failure.at() == at), "{log:?}");
        }
        work.commit().await.unwrap();
        for (table, kept, rows) in [
            ("failed_events", kept, 2),
            ("failed_event_retry_log", "2024-03-01 13:46:00", 3),
        ] {
            let select = format!("SELECT failed_at::text FROM {table}");
            let texts = sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&pool);
            let texts: Vec<String> = texts.await.unwrap();
            assert_eq!(texts, vec![kept; rows], "{table}");
        }
    }
}
