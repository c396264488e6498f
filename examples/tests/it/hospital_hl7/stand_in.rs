//! What the stand-in for the PACS keeps of the orders that it is told, and what it does not take.

use atomfeed_client::{CancellationToken, Handled};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_core::store::{SchemaName, SqliteStore};
use atomfeed_examples::Database;
use atomfeed_examples::hospital::documents::OrderAction;
use atomfeed_examples::hospital::imaging::messages::Acknowledgement;
use atomfeed_examples::hospital::imaging::receiver::Receiver;
use atomfeed_examples::hospital::{Engine, Field, Sql};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::{Imaging, Then, framed, message, next_message, order, patient};
use crate::databases::{Empty, Kind};
use crate::emr::sqlite;

/// The stand-in for the PACS on a free port, for as long as the test runs.
async fn stand_in<D: Engine>(store: &SqlStore<D>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let never = CancellationToken::new();
    let receiver = Receiver::new(store.clone()).await.unwrap();
    tokio::spawn(receiver.run(listener, never));
    address
}

/// Number, name, what, state and how many messages there were of it.
async fn studies<D: Engine>(store: &SqlStore<D>) -> Vec<Vec<Field>> {
    let select = "SELECT order_number, patient_name, concept_name, state, messages
        FROM studies ORDER BY order_number";
    let mut conn = store.pool().acquire().await.unwrap();
    conn.rows(select, &[]).await.unwrap()
}

fn study(number: &str, name: &str, concept: &str, state: &str, messages: i64) -> Vec<Field> {
    let texts = [number, name, concept, state].map(Field::from);
    texts.into_iter().chain([messages.into()]).collect()
}

async fn the_life_of_an_order<D: Engine>(feeds: SqlStore<D>, pacs: SqlStore<D>) {
    let address = stand_in(&pacs).await;
    let imaging = Imaging::new(feeds, &address).await;
    let name = "Asha आशा | Verma";
    let (xray, scan) = ("X-ray\nof the chest", "CT^chest");

    let new = [order(1, OrderAction::New, xray)];
    assert_eq!(imaging.hears(&new, name).await.unwrap(), Handled::Applied);
    let first = study("ORD-1", name, xray, "NW", 1);
    assert_eq!(studies(&pacs).await, std::slice::from_ref(&first));

    // The event comes again, and a later one that changes nothing.
    for _again in 0..2 {
        assert_eq!(imaging.hears(&new, name).await.unwrap(), Handled::Ignored);
    }
    assert_eq!(studies(&pacs).await, [first]);

    // The PACS has taken it, and the process ends before that is committed.
    let changed = [order(1, OrderAction::Revise, scan)];
    let handled = imaging.hears_and_ends(&changed, name).await.unwrap();
    assert_eq!(handled, Handled::Applied);
    let second = study("ORD-1", name, scan, "XO", 2);
    assert_eq!(studies(&pacs).await, std::slice::from_ref(&second));
    let handled = imaging.hears(&changed, name).await.unwrap();
    assert_eq!(handled, Handled::Applied);
    assert_eq!(studies(&pacs).await, [second]);

    // Changed back, under another name, twice, since the same was said before.
    let back = [order(1, OrderAction::Revise, xray)];
    for orders in [&back, &changed, &back] {
        let handled = imaging.hears(orders, "Asha Varma").await.unwrap();
        assert_eq!(handled, Handled::Applied);
    }
    let third = study("ORD-1", "Asha Varma", xray, "XO", 5);
    assert_eq!(studies(&pacs).await, [third]);

    // A second order is taken and not committed, and cancelled before the event comes again.
    let cancelled = order(1, OrderAction::Discontinue, xray);
    let both = [cancelled.clone(), order(2, OrderAction::New, scan)];
    imaging.hears_and_ends(&both, "Asha Varma").await.unwrap();
    let both = [cancelled, order(2, OrderAction::Discontinue, scan)];
    for expected in [Handled::Applied, Handled::Ignored] {
        let handled = imaging.hears(&both, "Asha Varma").await.unwrap();
        assert_eq!(handled, expected);
    }
    let expected = [
        study("ORD-1", "Asha Varma", xray, "CA", 6),
        study("ORD-2", "Asha Varma", scan, "CA", 2),
    ];
    assert_eq!(studies(&pacs).await, expected);
}

/// Runs a case on each database that there is, with one for the workers and one for the PACS.
macro_rules! on_each_database {
    ($case:ident) => {
        for kind in [Kind::Sqlite, Kind::Postgres] {
            let (Some(feeds), Some(pacs)) = (Empty::of(kind).await, Empty::of(kind).await) else {
                continue;
            };
            match (open(&feeds).await, open(&pacs).await) {
                (Database::Sqlite(feeds), Database::Sqlite(pacs)) => $case(feeds, pacs).await,
                (Database::Postgres(feeds), Database::Postgres(pacs)) => $case(feeds, pacs).await,
                _ => unreachable!("nothing else was asked for"),
            }
        }
    };
}

#[tokio::test]
async fn the_pacs_learns_what_becomes_of_an_order() {
    on_each_database!(the_life_of_an_order);
}

async fn a_patient_is_renamed<D: Engine>(feeds: SqlStore<D>, pacs: SqlStore<D>) {
    let address = stand_in(&pacs).await;
    let imaging = Imaging::new(feeds, &address).await;
    let (xray, scan) = ("Chest X-ray", "CT");
    let [verma, varma, sahu] = ["Asha Verma", "Asha Varma", "Asha Sahu"];
    let renamed = async |name: &str| {
        let told = imaging.hears_of(&patient(name), Then::Commits).await;
        assert_eq!(told.unwrap(), Handled::Applied);
    };

    // Before their first order.
    renamed("Asha").await;
    renamed(verma).await;
    assert!(studies(&pacs).await.is_empty());
    let both = |second| [order(1, OrderAction::New, xray), order(2, second, scan)];
    imaging.hears(&both(OrderAction::New), verma).await.unwrap();
    let orders = both(OrderAction::Discontinue);
    imaging.hears(&orders, verma).await.unwrap();
    let cancelled = study("ORD-2", verma, scan, "CA", 2);
    let expected = [study("ORD-1", verma, xray, "NW", 1), cancelled.clone()];
    assert_eq!(studies(&pacs).await, expected);

    // The PACS has been told, and the process ends before that is committed.
    imaging.hears_of(&patient(varma), Then::Ends).await.unwrap();
    let expected = [study("ORD-1", varma, xray, "XO", 2), cancelled.clone()];
    assert_eq!(studies(&pacs).await, expected);
    for _again in 0..2 {
        renamed(varma).await;
        assert_eq!(studies(&pacs).await, expected);
    }
    let handled = imaging.hears(&orders, varma).await.unwrap();
    assert_eq!(handled, Handled::Ignored);

    // Fetched with an encounter before, which has its turn after the patient was renamed.
    let changed = [order(1, OrderAction::Revise, scan), orders[1].clone()];
    let old = imaging.fetches(&changed, &patient(varma)).await;
    let (event, old) = old.unwrap();
    renamed(sahu).await;
    let handled = imaging.process(&imaging.worker, &event, &old, Then::Commits);
    assert_eq!(handled.await.unwrap(), Handled::Applied);
    let expected = [study("ORD-1", sahu, scan, "XO", 4), cancelled];
    assert_eq!(studies(&pacs).await, expected);
}

#[tokio::test]
async fn studies_have_the_name_of_a_patient_who_was_renamed() {
    on_each_database!(a_patient_is_renamed);
}

async fn open(empty: &Empty) -> Database {
    let schema = empty
        .schema_options()
        .last()
        .map(|name| name.parse::<SchemaName>());
    let schema = schema.transpose().unwrap();
    Database::open(empty.url(), schema.as_ref(), None)
        .await
        .unwrap()
}

/// The stand-in, and a connection to it.
struct Modality {
    address: String,
    stream: TcpStream,
    store: SqliteStore,
    _folder: TempDir,
}

impl Modality {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::connect(&sqlite(folder.path(), "imaging.db")).await;
        let store = store.unwrap();
        let address = stand_in(&store).await;
        Self {
            stream: TcpStream::connect(&address).await.unwrap(),
            address,
            store,
            _folder: folder,
        }
    }

    async fn answer(&mut self) -> (String, String) {
        let text = next_message(&mut self.stream).await.unwrap();
        let answer = Acknowledgement::read(&text).unwrap();
        let of = text.split("MSA|").nth(1).unwrap().split(['|', '\r']).nth(1);
        (answer.code().to_owned(), of.unwrap().to_owned())
    }
}

#[tokio::test]
async fn orders_are_taken_however_they_come() {
    let mut modality = Modality::start().await;
    modality.stream.set_nodelay(true).unwrap();
    let messages: Vec<_> = (0..6).map(message).collect();
    let frames: Vec<_> = messages
        .iter()
        .map(|message| framed(message.text()))
        .collect();

    for byte in &frames[0] {
        modality.stream.write_all(&[*byte]).await.unwrap();
    }
    let taken = |number: usize| ("AA".to_owned(), messages[number].id().to_owned());
    assert_eq!(modality.answer().await, taken(0));

    // Junk, three at once, the first of them a repetition, and the beginning of another.
    let (begins, ends) = frames[4].split_at(20);
    let junk = &b"\x1c\rGET / HTTP/1.1\r\n"[..];
    let at_once = [
        junk, &frames[0], &frames[1], &frames[2], junk, &frames[3], begins,
    ];
    modality.stream.write_all(&at_once.concat()).await.unwrap();
    for number in [0, 1, 2, 3] {
        assert_eq!(modality.answer().await, taken(number));
    }
    let rest = [ends, &frames[5]].concat();
    modality.stream.write_all(&rest).await.unwrap();
    for number in [4, 5] {
        assert_eq!(modality.answer().await, taken(number));
    }

    let expected: Vec<_> = (0..6)
        .map(|number| format!("ORD-{number}"))
        .map(|number| study(&number, "Asha Verma", "Chest X-ray", "NW", 1))
        .collect();
    assert_eq!(studies(&modality.store).await, expected);
}

#[tokio::test]
async fn what_is_no_order_is_refused_and_a_message_without_end_is_hung_up_on() {
    let mut modality = Modality::start().await;
    let good = message(1);
    let with = |what: &str, instead: &str| good.text().replacen(what, instead, 1).into_bytes();
    let not_utf8 = with("Verma^Asha", "Verma^Ash?")
        .into_iter()
        .map(|byte| if byte == b'?' { 0xe9 } else { byte });
    for (text, code, of) in [
        (with("ORC|NW", "ORC|ZZ"), "AE", good.id()),
        (with("Verma^Asha", ""), "AE", good.id()),
        (with("ORC|NW|ORD-1|", "ORC|NW||"), "AE", good.id()),
        (with("OBR|", "ORC|NW|ORD-2\rOBR|"), "AE", good.id()),
        (with("OBR|", "OBX|"), "AE", good.id()),
        (with("|||||1||", "|||||one||"), "AE", good.id()),
        (not_utf8.collect(), "AE", good.id()),
        (with("ORM^O01^ORM_O01", "ADT^A01"), "AR", good.id()),
        (with("|P|2.5|", "|P|2.3|"), "AR", good.id()),
        (with("MSH", "PID"), "AR", ""),
        (Vec::new(), "AR", ""),
    ] {
        modality.stream.write_all(&framed(&text)).await.unwrap();
        let expected = (code.to_owned(), of.to_owned());
        assert_eq!(
            modality.answer().await,
            expected,
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
    assert!(studies(&modality.store).await.is_empty());

    let mut endless = TcpStream::connect(&modality.address).await.unwrap();
    endless.write_all(b"\x0b").await.unwrap();
    while endless.write_all(&[b'x'; 1024]).await.is_ok() {}
    let frame = framed(good.text());
    modality.stream.write_all(&frame).await.unwrap();
    assert_eq!(modality.answer().await.0, "AA");
    assert_eq!(studies(&modality.store).await.len(), 1);
}

#[tokio::test]
async fn it_ends_when_it_is_asked_to_with_connections_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::connect(&sqlite(folder.path(), "imaging.db")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let receiver = Receiver::new(store.unwrap()).await.unwrap();
    let running = tokio::spawn(receiver.run(listener, stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let frame = framed(message(1).text());
    stream.write_all(&frame).await.unwrap();
    assert!(next_message(&mut stream).await.is_some());
    stop.cancel();
    running.await.unwrap();
    assert!(next_message(&mut stream).await.is_none());
}
