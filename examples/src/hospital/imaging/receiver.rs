//! A stand-in for the PACS: takes orders as HL7 over MLLP, keeps a study for each, and acknowledges them.

use std::net::SocketAddr;
use std::time::Duration;

use atomfeed_client::CancellationToken;
use atomfeed_core::store::sql::SqlStore;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::hl7::{Incoming, VERSION};
use super::messages::{OrderControl, Refusal, acknowledge, full_name};
use super::mllp::Connection;
use crate::hospital::{Engine, Field, Sql, make_tables};

const MAKE_STUDIES: &str = "CREATE TABLE IF NOT EXISTS studies (
    order_number TEXT PRIMARY KEY, patient_identifier TEXT NOT NULL, patient_name TEXT NOT NULL,
    patient_birthdate TEXT NOT NULL, patient_gender TEXT NOT NULL, quantity BIGINT NOT NULL,
    concept_uuid TEXT NOT NULL, concept_name TEXT NOT NULL, state TEXT NOT NULL,
    message_id TEXT NOT NULL, messages BIGINT NOT NULL)";

/// Takes what the message before has not said already: a message that comes again changes nothing.
const TAKE: &str =
    "INSERT INTO studies (order_number, patient_identifier, patient_name, patient_birthdate,
        patient_gender, quantity, concept_uuid, concept_name, state, message_id, messages)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)
    ON CONFLICT (order_number) DO UPDATE SET patient_identifier = excluded.patient_identifier,
        patient_name = excluded.patient_name, patient_birthdate = excluded.patient_birthdate,
        patient_gender = excluded.patient_gender, quantity = excluded.quantity,
        concept_uuid = excluded.concept_uuid,
        concept_name = excluded.concept_name, state = excluded.state,
        message_id = excluded.message_id, messages = studies.messages + 1
    WHERE studies.message_id <> excluded.message_id";

/// What takes the orders, with its table made.
#[derive(Debug)]
pub struct Receiver<D: Engine> {
    store: SqlStore<D>,
}

impl<D: Engine> Receiver<D> {
    /// Makes the table of studies where it is not there yet.
    ///
    /// # Errors
    ///
    /// When the table cannot be made.
    pub async fn new(store: SqlStore<D>) -> anyhow::Result<Self> {
        make_tables(&store, &[MAKE_STUDIES]).await?;
        Ok(Self { store })
    }

    /// Takes orders until `stop` is cancelled.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let mut conversations = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                Some(_) = conversations.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (store, stop) = (self.store.clone(), stop.clone());
                    conversations.spawn(async move {
                        // What is cut off is not acknowledged, and comes again.
                        let conversing = converse(store, stream, peer);
                        stop.run_until_cancelled(conversing).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection; trying again in a moment");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        while conversations.join_next().await.is_some() {}
    }
}

async fn converse<D: Engine>(store: SqlStore<D>, stream: TcpStream, peer: SocketAddr) {
    let mut connection = Connection::over(stream);
    loop {
        let answer = match connection.read().await {
            Ok(Some(message)) => answer(&message, &store).await,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%peer, %error, "ending a connection");
                return;
            }
        };
        // Without an answer the sender knows that it is to send again.
        let answered = match answer {
            Ok(answer) => connection.write(&answer).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::warn!(%peer, "ending a connection, with a message not acknowledged: {error:#}");
            return;
        }
    }
}

/// The acknowledgement of a message; an error where it can be neither taken nor refused.
async fn answer<D: Engine>(message: &[u8], store: &SqlStore<D>) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(message);
    let Ok(incoming) = Incoming::parse(&text) else {
        let refusal = Refusal::unsupported("this is no message of HL7 v2");
        return Ok(acknowledge(None, Some(&refusal)));
    };
    let study = match std::str::from_utf8(message) {
        Ok(_) => study(&incoming),
        Err(_) => Err(Refusal::wrong("the message is not in UTF-8")),
    };
    match study {
        Ok(study) => {
            let mut conn = store.pool().acquire().await?;
            conn.run(TAKE, &study).await?;
            Ok(acknowledge(Some(&incoming), None))
        }
        Err(refusal) => {
            tracing::info!(reason = refusal.reason(), "refusing a message");
            Ok(acknowledge(Some(&incoming), Some(&refusal)))
        }
    }
}

/// The values of a study, in the order of the columns.
fn study(message: &Incoming<'_>) -> Result<[Field; 10], Refusal> {
    let kind = [1, 2].map(|number| message.component("MSH", 9, number));
    if kind != ["ORM", "O01"] {
        return Err(Refusal::unsupported(format!(
            "orders are taken here (ORM^O01), and this is {}",
            message.text("MSH", 9)
        )));
    }
    let version = message.component("MSH", 12, 1);
    if version != VERSION {
        return Err(Refusal::unsupported(format!(
            "HL7 {VERSION} is spoken here, and this is {version:?}"
        )));
    }
    if (message.count("ORC"), message.count("OBR")) != (1, 1) {
        return Err(Refusal::wrong(
            "a message has one order here: an ORC and an OBR",
        ));
    }
    let code = message.component("ORC", 1, 1);
    let Some(control) = OrderControl::of(&code) else {
        return Err(Refusal::wrong(format!(
            "order control {code:?} is none of NW, XO and CA"
        )));
    };
    let quantity = message.component("ORC", 7, 1);
    // Without one it is one.
    let quantity: i64 = match quantity.as_str() {
        "" => 1,
        given => given.parse().map_err(|_| {
            Refusal::wrong(format!("the quantity (ORC-7) {given:?} is no whole number"))
        })?,
    };
    let part = |number| message.component("PID", 5, number);
    Ok([
        given("the order number (ORC-2)", message.component("ORC", 2, 1))?,
        given(
            "the patient's identifier (PID-3)",
            message.component("PID", 3, 1),
        )?,
        given("the patient's name (PID-5)", full_name(&part(1), &part(2)))?,
        message.component("PID", 7, 1).into(),
        message.component("PID", 8, 1).into(),
        quantity.into(),
        given(
            "what is to be examined (OBR-4)",
            message.component("OBR", 4, 1),
        )?,
        message.component("OBR", 4, 2).into(),
        control.code().into(),
        given("the message's id (MSH-10)", message.component("MSH", 10, 1))?,
    ])
}

fn given(what: &str, value: String) -> Result<Field, Refusal> {
    match value.trim() {
        "" => Err(Refusal::wrong(format!("{what} is missing"))),
        _ => Ok(value.into()),
    }
}
