//! A row that nobody can read keeps nothing from being done that is asked for of others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{ConsoleStore, FailureFilter, FailureQuery};
use atomfeed_core::{ActionKind, ActionState};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::Lab;

macro_rules! many_are_tried_again {
    ($($database:ident: $harness:expr;)+) => {
        $(#[tokio::test]
        async fn $database() {
            if let Some(harness) = $harness {
                let harness = Arc::new(harness);
                it_is_passed_over_where_many_are_tried_again(&harness).await;
                it_stops_no_feed(&harness).await;
            }
        })+
    };
}

many_are_tried_again! {
    on_sqlite: Some(SqliteHarness::default());
    on_postgres: PostgresHarness::from_env();
    on_mysql: MySqlHarness::from_env();
}

async fn it_is_passed_over_where_many_are_tried_again<D, H>(harness: &Arc<H>)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
{
    let lab = Lab::new(harness).await;
    let unreadable = park_five_of_which_one_is_unreadable(&lab).await;
    lab.refuses.store(false, Ordering::Relaxed);
    let running = lab.run();
    let id = lab.ask(ActionKind::RetryMany, None, "").await;
    let (state, outcome) = lab.ended(id).await;
    assert_eq!(state, ActionState::Done, "{outcome}");
    let progress = lab.action(id).await.progress;
    assert_eq!((progress.succeeded, progress.failed), (4, 0), "{outcome}");
    running.end().await;
    assert_eq!(lab.applied().await, [101, 102, 104, 105]);
    let mut work = lab.store.look().await.unwrap();
    let all = FailureQuery::of(FailureFilter::default());
    let left = work.failures(&all).await.unwrap();
    assert_eq!((left.events, left.unreadable), (vec![], vec![unreadable]));
}

/// Somebody has parked it for a feed of ours, which goes on reading, and trying what else is parked.
async fn it_stops_no_feed<D, H>(harness: &Arc<H>)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
{
    let lab = Lab::new(harness).await;
    park_five_of_which_one_is_unreadable(&lab).await;
    lab.refuses.store(false, Ordering::Relaxed);
    lab.emr.publish(106..=106).await;
    let client = lab.client();
    assert_eq!(client.process_events().await.unwrap().applied, 1);
    assert_eq!(client.retry_all_failed_events().await.unwrap().applied, 4);
    assert_eq!(lab.applied().await, [101, 102, 104, 105, 106]);
}

async fn park_five_of_which_one_is_unreadable<D, H>(lab: &Lab<H>) -> i64
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
{
    lab.emr.publish(101..=105).await;
    lab.client().process_events().await.unwrap();
    let unreadable = lab.parked().await[2].id;
    let blank = format!("UPDATE failed_events SET event_id = '' WHERE id = {unreadable}");
    let blank = AssertSqlSafe(blank).into_sql_str();
    let mut conn = lab.store.pool().acquire().await.unwrap();
    assert_eq!(D::execute(&mut conn, blank, Vec::new()).await.unwrap(), 1);
    unreadable
}
