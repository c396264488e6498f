//! What the sender makes of a PACS that answers in pieces, together, wrongly, late or never.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atomfeed_client::{Handled, PreparingWorker};
use atomfeed_examples::hospital::documents::{OrderAction, OrderKind, Patient};
use atomfeed_examples::hospital::imaging::messages::{OrderControl, Outgoing};
use atomfeed_examples::hospital::imaging::mllp::{LONGEST, Sender};
use sqlx::SqliteConnection;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

use super::{Then, encounter, framed, message, next_message, on_a_file, order, patient};
use crate::programs::PATIENCE;

/// A PACS that answers each message, by its id, with packets.
struct Pacs {
    address: String,
    messages: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Pacs {
    async fn start(answer: impl Fn(&str) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::of(answer, false).await
    }

    /// One that ends the connection after each answer.
    async fn closing(answer: impl Fn(&str) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::of(answer, true).await
    }

    async fn of(
        answer: impl Fn(&str) -> Vec<Vec<u8>> + Send + Sync + 'static,
        closes: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pacs = Self {
            address: listener.local_addr().unwrap().to_string(),
            messages: Arc::default(),
            connections: Arc::default(),
        };
        let messages = Arc::clone(&pacs.messages);
        let connections = Arc::clone(&pacs.connections);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let (messages, answer) = (Arc::clone(&messages), Arc::clone(&answer));
                tokio::spawn(async move {
                    while let Some(message) = next_message(&mut stream).await {
                        let packets = answer(message.split('|').nth(9).unwrap());
                        messages.lock().unwrap().push(message);
                        for packet in packets {
                            stream.write_all(&packet).await.unwrap();
                        }
                        if closes {
                            return;
                        }
                    }
                });
            }
        });
        pacs
    }

    fn ids(&self) -> Vec<String> {
        let messages = self.messages.lock().unwrap();
        let id = |message: &String| message.split('|').nth(9).unwrap().to_owned();
        messages.iter().map(id).collect()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn acknowledgement(code: &str, id: &str, behind: &str) -> Vec<u8> {
    framed(format!(
        "MSH|^~\\&|PACS||EMR||20240301||ACK|1|P|2.5\rMSA|{code}|{id}{behind}\r"
    ))
}

#[tokio::test]
async fn acknowledgements_are_read_however_they_come() {
    let answered = AtomicUsize::new(0);
    let pacs = Pacs::start(move |id| {
        let ours = acknowledgement("AA", id, "");
        match answered.fetch_add(1, Ordering::Relaxed) {
            0 => ours.chunks(1).map(<[u8]>::to_vec).collect(),
            1 => vec![[acknowledgement("AE", "another", "|no"), ours].concat()],
            2 => vec![[b"\x1c\rhello\r\n".to_vec(), ours].concat()],
            3 => vec![[framed("hello"), ours].concat()],
            // The second one of these stays for the next message.
            4 => vec![[ours.clone(), ours].concat()],
            // Of enhanced mode, and what follows it.
            5 => vec![acknowledgement("CA", id, ""), ours],
            _ => vec![ours],
        }
    });
    let pacs = pacs.await;
    let sender = Sender::new(&pacs.address).with_patience(PATIENCE);
    let messages: Vec<_> = (0..8).map(message).collect();
    for message in &messages {
        sender.send(message).await.unwrap();
    }
    let ids: Vec<_> = messages.iter().map(Outgoing::id).collect();
    assert_eq!(pacs.ids(), ids);
    assert_eq!(pacs.connections(), 1);
}

#[tokio::test]
async fn an_acknowledgement_without_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let flooding = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\x0b").await.unwrap();
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    });
    let sender = Sender::new(address).with_patience(PATIENCE);
    let error = sender.send(&message(1)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("exceeds"), "{error}");
    // It was hung up on.
    flooding.await.unwrap();
}

#[tokio::test]
async fn what_nobody_acknowledges_is_transient() {
    let silent = Pacs::start(|_| Vec::new()).await;
    let impatient = Duration::from_millis(100);
    let sender = Sender::new(&silent.address).with_patience(impatient);
    for _again in 0..2 {
        let error = sender.send(&message(1)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("it was silent for"), "{error}");
    }
    // No late acknowledgement is taken for that of another message.
    let begun = Instant::now();
    while silent.connections() < 2 {
        assert!(begun.elapsed() < PATIENCE, "it is not connected to anew");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let broken = Pacs::closing(|id| vec![acknowledgement("AA", id, "")[..9].to_vec()]).await;
    let sender = Sender::new(&broken.address).with_patience(PATIENCE);
    let error = sender.send(&message(1)).await;
    assert!(error.unwrap_err().is_transient());

    // Bound and not listening: nobody else can have the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = socket.local_addr().unwrap().to_string();
    let error = Sender::new(&nobody).send(&message(1)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains(&nobody), "{error}");
}

/// It would be sent again and again, with all that stands behind it waiting.
#[tokio::test]
async fn what_is_too_long_for_a_pacs_is_permanent_and_not_sent() {
    let pacs = Pacs::start(|id| vec![acknowledgement("AA", id, "")]).await;
    let sender = Sender::new(&pacs.address).with_patience(PATIENCE);
    let at = "2024-03-01T08:01:02Z".parse().unwrap();
    let named = |length| {
        let order = order(1, OrderAction::New, &"a".repeat(length));
        Outgoing::order(OrderControl::New, &order, &patient("Asha Verma"), at, "")
    };
    let rest = named(1).text().len() - 1;
    let error = sender.send(&named(LONGEST - rest + 1)).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("65537 bytes") && said.contains("try again"),
        "{said}"
    );
    let longest = named(LONGEST - rest);
    sender.send(&longest).await.unwrap();
    assert_eq!(pacs.ids(), [longest.id()]);
}

#[tokio::test]
async fn a_connection_that_was_closed_is_made_anew() {
    let pacs = Pacs::closing(|id| vec![acknowledgement("AA", id, "")]).await;
    let sender = Sender::new(&pacs.address).with_patience(PATIENCE);
    for number in 1..=3 {
        sender.send(&message(number)).await.unwrap();
    }
    let ids = [1, 2, 3].map(|number| message(number).id().to_owned());
    assert_eq!(pacs.ids(), ids);
    assert_eq!(pacs.connections(), 3);
}

#[tokio::test]
async fn what_the_pacs_refuses_is_permanent_and_sent_again_as_it_was() {
    let answers = Arc::new(Mutex::new(("AE", "|no such room\\F\\bed")));
    let answer = Arc::clone(&answers);
    let pacs = Pacs::start(move |id| {
        let (code, behind) = *answer.lock().unwrap();
        vec![acknowledgement(code, id, behind)]
    });
    let pacs = pacs.await;
    let (imaging, _folder) = on_a_file(&pacs.address).await;
    let orders = [order(1, OrderAction::New, "Chest X-ray")];

    for (code, behind, why) in [
        ("AE", "|no such room\\F\\bed", "no such room|bed"),
        ("AR", "\rERR|||207|E||||no bed", "no bed"),
        ("CE", "", "no reason"),
        ("CR", "|no such kind", "no such kind"),
        ("XX", "", "no reason"),
    ] {
        *answers.lock().unwrap() = (code, behind);
        let error = imaging.hears(&orders, "Asha Verma").await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        let said = error.to_string();
        assert!(said.contains(code) && said.contains(why), "{said}");
    }
    *answers.lock().unwrap() = ("AA", "");
    let handled = imaging.hears(&orders, "Asha Verma").await.unwrap();
    assert_eq!(handled, Handled::Applied);
    let ids = pacs.ids();
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn what_the_pacs_keeps_and_then_refuses_is_permanent() {
    let pacs = Pacs::start(|id| {
        let refused = acknowledgement("AE", id, "|no such room");
        vec![acknowledgement("CA", id, ""), refused]
    });
    let pacs = pacs.await;
    let (imaging, _folder) = on_a_file(&pacs.address).await;
    let orders = [order(1, OrderAction::New, "Chest X-ray")];
    // What was refused is not taken for told.
    for _again in 0..2 {
        let error = imaging.hears(&orders, "Asha Verma").await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        let said = error.to_string();
        assert!(said.contains("AE: no such room"), "{said}");
    }
    assert_eq!(pacs.ids().len(), 2);
    assert_eq!(pacs.connections(), 1);
}

#[tokio::test]
async fn what_the_pacs_keeps_and_says_no_more_of_is_transient() {
    let pacs = Pacs::closing(|id| vec![acknowledgement("CA", id, "")]).await;
    let sender = Sender::new(&pacs.address).with_patience(PATIENCE);
    let error = sender.send(&message(1)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let said = error.to_string();
    assert!(said.contains("it keeps the message (CA)"), "{said}");
}

#[tokio::test]
async fn all_that_a_message_says_of_a_patient_is_told_when_it_changes() {
    let pacs = Pacs::start(|id| vec![acknowledgement("AA", id, "")]).await;
    let (imaging, _folder) = on_a_file(&pacs.address).await;
    let orders = [order(1, OrderAction::New, "Chest X-ray")];
    imaging.hears(&orders, "Asha Verma").await.unwrap();
    let mut patient = patient("Asha Verma");
    let changes: [fn(&mut Patient); 5] = [
        |patient| patient.identifier = "GAN200002".to_owned(),
        |patient| patient.name = "Asha Sahu".to_owned(),
        |patient| patient.gender = "O".to_owned(),
        |patient| patient.birthdate = "1981-03-01".parse().unwrap(),
        // No message says that.
        |patient| patient.village = "Dhamtari".to_owned(),
    ];
    for change in changes {
        change(&mut patient);
        imaging.hears_of(&patient, Then::Commits).await.unwrap();
    }
    let messages = pacs.messages.lock().unwrap();
    let body = |message: &String| message.split_once('\r').unwrap().1.to_owned();
    let told: Vec<_> = messages.iter().map(body).collect();
    let xray = "||00000000-0000-0000-0000-000000000007^Chest X-ray";
    let expected = [
        ("GAN200001^^^EMR||Verma^Asha||19800229|F", "NW"),
        ("GAN200002^^^EMR||Verma^Asha||19800229|F", "XO"),
        ("GAN200002^^^EMR||Sahu^Asha||19800229|F", "XO"),
        ("GAN200002^^^EMR||Sahu^Asha||19800229|O", "XO"),
        ("GAN200002^^^EMR||Sahu^Asha||19810301|O", "XO"),
    ];
    let expected: Vec<_> = expected
        .map(|(whose, control)| {
            format!(
                "PID|1||{whose}\rORC|{control}|ORD-1|||||1||20240301080102+0000\rOBR|1|ORD-1{xray}\r"
            )
        })
        .into();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_is_to_be_told() {
    let pacs = Pacs::start(|id| vec![acknowledgement("AA", id, "")]).await;
    let (imaging, _folder) = on_a_file(&pacs.address).await;
    let mut tablets = order(1, OrderAction::New, "Paracetamol 500mg");
    tablets.kind = OrderKind::Drug;
    for orders in [&[][..], &[tablets]] {
        let handled = imaging.hears(orders, "Asha Verma").await.unwrap();
        assert_eq!(handled, Handled::Ignored);
    }
    assert_eq!(pacs.connections(), 0);

    // The EMR does not have the patient.
    let orders = encounter(&[order(1, OrderAction::New, "Chest X-ray")]);
    let event = imaging.emr.put(&orders, &patient("Asha Verma"));
    let documents = &imaging.emr.documents;
    documents
        .lock()
        .unwrap()
        .retain(|path, _| !path.contains("/patient/"));
    let prepared = PreparingWorker::<SqliteConnection>::prepare(&imaging.worker, &event).await;
    let error = prepared.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("/patient/"), "{error}");
}
