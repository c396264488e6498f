//! What holds for the SQL stores beyond the suite: migrations, publishers in other languages, rows
//! that cannot be moved, servers that are not there.

use atomfeed_core::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use atomfeed_core::store::conformance::{
    Harness, MySqlHarness, PostgresHarness, SqliteHarness, sequence_all,
};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    FeedStore, MySqlStore, PostgresStore, RecordRange, SchemaName, SequencedStore, SqliteStore,
    StoreErrorKind,
};
use atomfeed_core::{Clock, EventRecord, FeedScope, SystemClock};

/// One named test for each SQL store; nothing, where there is no server to run on.
macro_rules! on_sql_stores {
    ($($case:ident),+ $(,)?) => {
        $crate::sql_stores::on_sql_stores!(@ on_sqlite, Some(SqliteHarness::default()); $($case),+);
        $crate::sql_stores::on_sql_stores!(@ on_postgres, PostgresHarness::from_env(); $($case),+);
        $crate::sql_stores::on_sql_stores!(@ on_mysql, MySqlHarness::from_env(); $($case),+);
    };
    (@ $store:ident, $harness:expr; $($case:ident),+) => {
        mod $store {
            #[allow(unused_imports)]
            use super::{MySqlHarness, PostgresHarness, SqliteHarness};

            $(#[tokio::test]
            async fn $case() {
                if let Some(harness) = $harness {
                    super::$case(&harness).await;
                }
            })+
        }
    };
}

pub(crate) use on_sql_stores;

on_sql_stores!(
    migrations_run_once_however_often_and_by_however_many,
    a_row_in_the_queue_is_a_publish,
    a_row_that_cannot_be_moved_holds_nothing_up,
    a_queued_time_that_is_ahead_takes_none_along,
    open_transactions_are_not_waited_for,
    a_missing_table_is_named,
);

pub(crate) async fn run<D: Dialect>(store: &SqlStore<D>, sql: &'static str) {
    let mut conn = store.pool().acquire().await.unwrap();
    let sql = sqlx::SqlSafeStr::into_sql_str(sql);
    D::execute(&mut conn, sql, vec![]).await.unwrap();
}

pub(crate) async fn all<D: Dialect>(store: &SqlStore<D>) -> Vec<EventRecord> {
    let range = RecordRange {
        after: 0,
        through: None,
        skip: 0,
        limit: 100,
    };
    store.records(&FeedScope::All, range).await.unwrap()
}

async fn migrations_run_once_however_often_and_by_however_many<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    let [a, b, c, d] = [(); 4].map(|()| store.migrate());
    for migrated in <[_; 4]>::from(tokio::join!(a, b, c, d)) {
        migrated.unwrap();
    }
    store.migrate().await.unwrap();
    assert_eq!(store.newest_id().await.unwrap(), 0);
}

/// From any program, in any language: four columns, the others have defaults.
async fn a_row_in_the_queue_is_a_publish<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    let before = SystemClock.now();
    run(
        &store,
        "INSERT INTO event_records_queue (uuid, title, object, category)
         VALUES ('0120a4f9-196a-5f9e-b9f5-23f31f914da7', 'Patient', '/patient/1', 'Patient')",
    )
    .await;
    sequence_all(&store).await;
    let found = all(&store).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].uuid, "0120a4f9-196a-5f9e-b9f5-23f31f914da7");
    assert_eq!(found[0].content.as_deref(), Some("/patient/1"));
    let told = SystemClock.now() - found[0].timestamp;
    // Whole seconds at the least, and in UTC: not hours off.
    assert!(
        told.num_seconds() <= 60 && found[0].timestamp >= before - chrono::TimeDelta::seconds(1)
    );
    let patients = FeedScope::Category(atomfeed_core::Category::new("PATIENT").unwrap());
    assert_eq!(store.count(&patients, 0, None).await.unwrap(), 1);
    assert_eq!(
        store.sequence(10, SystemClock.now()).await.unwrap().moved,
        0,
        "moved once"
    );
}

/// As many rows as make a database's planner prefer to look through the whole queue.
async fn open_transactions_are_not_waited_for<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    // SQLite lets nobody write beside an open transaction.
    if D::WRITES_ONE_AT_A_TIME {
        return;
    }
    let store = harness.store().await;
    const INSERT: &str = "INSERT INTO event_records_queue (uuid) VALUES ";
    let insert = async |uuid: &str, conn: &mut D::Connection| {
        let sql = sqlx::AssertSqlSafe(format!("{INSERT} ('{uuid}')"));
        let sql = sqlx::SqlSafeStr::into_sql_str(sql);
        D::execute(conn, sql, vec![]).await.unwrap();
    };
    let mut open = Vec::new();
    for block in 0..4 {
        // In few transactions: while some are open, tests that run beside this one see nothing new.
        let mut done = store.pool().begin().await.unwrap();
        for number in 0..100 {
            insert(&format!("done {block} {number}"), &mut done).await;
            if number == 50 {
                let mut transaction = store.pool().begin().await.unwrap();
                insert(&format!("open {block}"), &mut transaction).await;
                open.push(transaction);
            }
        }
        done.commit().await.unwrap();
    }
    let limit = std::time::Duration::from_secs(300);
    let moved = tokio::time::timeout(limit, store.sequence(1_000, SystemClock.now()));
    let moved = moved.await.expect("no transaction is waited for").unwrap();
    assert_eq!((moved.moved, moved.set_aside, moved.more), (400, 0, false));
    for transaction in open {
        transaction.commit().await.unwrap();
    }
    let moved = store.sequence(1_000, SystemClock.now()).await.unwrap();
    assert_eq!(moved.moved, 4);
}

/// On time chunks, whose times never go back.
async fn a_queued_time_that_is_ahead_takes_none_along<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    let by_the_hour = ChunkingHistoryEntry {
        chunk_length: 3_600_000,
        start: 0,
    };
    let strategy = ChunkingStrategy::Time;
    store.settle_chunking(strategy, by_the_hour).await.unwrap();
    for insert in [
        "INSERT INTO event_records_queue (uuid, timestamp) VALUES ('a', '2037-01-01 00:00:00')",
        "INSERT INTO event_records_queue (uuid) VALUES ('b')",
    ] {
        run(&store, insert).await;
    }
    sequence_all(&store).await;
    let found = all(&store).await;
    let now = SystemClock.now();
    assert!(
        found.iter().all(|record| record.timestamp <= now),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

/// SQLite keeps whatever it is given.
#[tokio::test]
async fn a_queued_time_that_is_none_is_set_aside() {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    for insert in [
        "INSERT INTO event_records_queue (uuid, timestamp) VALUES ('a', 'yesterday')",
        "INSERT INTO event_records_queue (uuid, timestamp) VALUES ('b', '2024-03-01T08:01:00Z')",
        "INSERT INTO event_records_queue (uuid, date_created) VALUES ('c', '1 March')",
        "INSERT INTO event_records_queue (uuid) VALUES ('d')",
    ] {
        run(&store, insert).await;
    }
    let sequenced = store.sequence(10, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (2, 2));
    let found = all(&store).await;
    assert_eq!([&*found[0].uuid, &*found[1].uuid], ["b", "d"]);
    assert_eq!(
        found[0].timestamp,
        "2024-03-01T08:01:00Z"
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
    );
    let select = "SELECT error FROM atomfeed_set_aside ORDER BY queue_id";
    let errors: Vec<String> = sqlx::query_scalar(select)
        .fetch_all(store.pool())
        .await
        .unwrap();
    assert!(
        errors[0].contains("yesterday") && errors[1].contains("1 March"),
        "{errors:?}"
    );
}

/// PostgreSQL has times that no other program has.
#[tokio::test]
async fn a_queued_time_beyond_all_years_is_set_aside() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    run(
        &store,
        "INSERT INTO event_records_queue (uuid, timestamp, date_created) VALUES
          ('a', '9999-12-31 23:59:59.999999Z', '0001-01-01Z'), ('b', 'infinity', NULL),
          ('c', '2024-03-01Z', '-infinity'), ('d', '10000-01-01Z', NULL),
          ('e', '2024-03-01Z', '0001-12-31 23:59:59.999999Z BC'), ('f', '0001-01-01Z', NULL)",
    )
    .await;
    let sequenced = store.sequence(10, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (2, 4));
    let found = all(&store).await;
    assert_eq!([&*found[0].uuid, &*found[1].uuid], ["a", "f"]);
    for (record, second) in found.iter().zip([253_402_300_799, -62_135_596_800]) {
        assert_eq!(record.timestamp.timestamp(), second);
    }
    assert_eq!(found[1].date_created, Some(found[1].timestamp));
}

/// What was moved is told to other processes, once a batch.
#[tokio::test]
async fn postgres_tells_of_each_batch() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    let mut listener = sqlx::postgres::PgListener::connect_with(store.pool())
        .await
        .unwrap();
    listener.listen("atomfeed").await.unwrap();
    let select = sqlx::query_scalar("SELECT current_schema()::text");
    let schema: String = select.fetch_one(store.pool()).await.unwrap();
    let fill = "INSERT INTO event_records_queue (uuid) SELECT n::text
        FROM generate_series(1, 7) AS n";
    run(&store, fill).await;
    for moved in [5, 2, 0] {
        let sequenced = store.sequence(5, SystemClock.now()).await.unwrap();
        assert_eq!(sequenced.moved, moved);
    }
    let end = "SELECT pg_notify('atomfeed', 'the end')";
    run(&store, end).await;
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "the end") {
        let notification = listener.recv().await.unwrap().payload().to_owned();
        // Other tests have schemas of their own.
        if notification == schema || notification == "the end" {
            told.push(notification);
        }
    }
    assert_eq!(told, [schema.as_str(), schema.as_str(), "the end"]);
}

async fn a_row_that_cannot_be_moved_holds_nothing_up<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    let insert = "INSERT INTO event_records (uuid, timestamp) VALUES ('b', '2024-03-01 08:00:00')";
    run(&store, insert).await;
    for uuid in ["'a'", "'b'", "'c'"] {
        let insert: &'static str = match uuid {
            "'a'" => "INSERT INTO event_records_queue (uuid, title) VALUES ('a', 'first')",
            "'b'" => "INSERT INTO event_records_queue (uuid, title) VALUES ('b', 'twice')",
            _ => "INSERT INTO event_records_queue (uuid, title) VALUES ('c', 'last')",
        };
        run(&store, insert).await;
    }
    let sequenced = store.sequence(100, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (2, 1));
    let uuids: Vec<_> = all(&store)
        .await
        .into_iter()
        .map(|record| record.uuid)
        .collect();
    assert_eq!(uuids, ["b", "a", "c"]);
    let mut conn = store.pool().acquire().await.unwrap();
    let select = "SELECT uuid, title, error FROM atomfeed_set_aside";
    let sql = sqlx::SqlSafeStr::into_sql_str(select);
    let mut rows = D::fetch(&mut conn, sql, vec![]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].text().unwrap().as_deref(), Some("b"));
    assert_eq!(rows[0].text().unwrap().as_deref(), Some("twice"));
    let error = rows[0].text().unwrap().unwrap();
    assert!(error.contains("into event_records: "), "{error}");
}

async fn a_missing_table_is_named<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    run(&store, "DROP TABLE event_records").await;
    let error = store.newest_id().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Database);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("event_records"), "{cause}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_to_be() {
    for error in [
        PostgresStore::connect("postgres://nobody@127.0.0.1:1/none", None)
            .await
            .unwrap_err(),
        MySqlStore::connect("mysql://nobody@127.0.0.1:1/none", None)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert!(
            error.to_string().contains("see whether the server is up"),
            "{error}"
        );
    }
    let error = SqliteStore::connect("sqlite:/no/such/folder/feed.db")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("/no/such/folder/feed.db"),
        "{error}"
    );
    for url in ["sqlite::memory:", "sqlite:feed?mode=memory"] {
        let error = SqliteStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{url}");
    }
    let error = SchemaName::new("a\"b").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
}

/// Where the URL asks for TLS, nothing is told to a server before it has begun.
#[tokio::test]
async fn tls_is_spoken_where_it_is_asked_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        // SSLRequest: its length, and the number that asks for TLS.
        let mut request = [0; 8];
        socket.read_exact(&mut request).await.unwrap();
        assert_eq!(request[4..], 80_877_103_u32.to_be_bytes());
        socket.write_all(b"S").await.unwrap();
        let mut record = [0; 6];
        socket.read_exact(&mut record).await.unwrap();
        record
    };
    let url = format!("postgres://me:secret@{address}/none?sslmode=verify-full");
    let (record, connected) = tokio::join!(server, PostgresStore::connect(&url, None));
    // A handshake (22) that begins with a ClientHello (1): RFC 8446 §5.1, §4.
    assert_eq!((record[0], record[1], record[5]), (22, 3, 1));
    let error = connected.unwrap_err();
    assert!(
        error.to_string().contains("see whether the server is up"),
        "{error}"
    );
}

const FOUR_COLUMNS: &str = "INSERT INTO event_records_queue (uuid, title, object, category)
    VALUES ('0120a4f9-196a-5f9e-b9f5-23f31f914da7', 'Patient', '/patient/1', 'Patient')";

/// Runs a database's own program; it comes with the server.
fn run_program(program: &str, arguments: &[&str]) {
    let ran = std::process::Command::new(program).args(arguments).output();
    let ran = ran.unwrap_or_else(|error| panic!("starting {program}: {error}"));
    assert!(ran.status.success(), "{ran:?}");
}

#[tokio::test]
async fn psql_publishes() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    let select = sqlx::query_scalar("SELECT current_schema()::text");
    let schema: String = select.fetch_one(store.pool()).await.unwrap();
    let url = std::env::var("ATOMFEED_POSTGRES_URL").unwrap();
    let search = format!("SET search_path TO {schema}");
    run_program(
        "psql",
        &[
            &url,
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            &search,
            "-c",
            FOUR_COLUMNS,
        ],
    );
    sequence_all(&store).await;
    assert_eq!(all(&store).await[0].content.as_deref(), Some("/patient/1"));
}

#[tokio::test]
async fn mariadb_publishes() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    let select = sqlx::query_scalar("SELECT DATABASE()");
    let database: String = select.fetch_one(store.pool()).await.unwrap();
    let url: url::Url = std::env::var("ATOMFEED_MYSQL_URL")
        .unwrap()
        .parse()
        .unwrap();
    let socket = url.query_pairs().find(|(name, _)| name == "socket");
    let server = match socket {
        Some((_, socket)) => format!("--socket={socket}"),
        None => format!("--host={}", url.host_str().unwrap()),
    };
    let user = format!("--user={}", url.username());
    let arguments = [
        "--no-defaults",
        &server,
        &user,
        &database,
        "-e",
        FOUR_COLUMNS,
    ];
    run_program("mariadb", &arguments);
    sequence_all(&store).await;
    assert_eq!(all(&store).await[0].content.as_deref(), Some("/patient/1"));
}

/// Programs that start together find a file that none of them has made yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_is_opened_by_several_at_once() {
    for _ in 0..25 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("new.db").display());
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { SqliteStore::connect(&url).await })
            })
            .collect();
        for opening in opening {
            opening.await.unwrap().unwrap();
        }
    }
}
