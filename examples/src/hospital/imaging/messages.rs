//! The two messages of this flow: an order, ORM^O01, and its acknowledgement, ACK.

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::hl7::{Incoming, Segment, time};
use crate::hospital::documents::{Order, Patient};

/// The name of the EMR in messages (MSH-3).
const EMR: &str = "EMR";
/// The name of the PACS in messages (MSH-5).
const PACS: &str = "PACS";
/// How long an id (MSH-10) may be.
const LONGEST_ID: usize = 20;

/// What is done to an order (ORC-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderControl {
    /// It is new to the PACS.
    New,
    /// It is another than the PACS was told.
    Change,
    /// It is cancelled.
    Cancel,
}

impl OrderControl {
    /// How it is written.
    pub fn code(self) -> &'static str {
        match self {
            Self::New => "NW",
            Self::Change => "XO",
            Self::Cancel => "CA",
        }
    }

    /// What is written so; none where it is nothing of these.
    pub fn of(code: &str) -> Option<Self> {
        let all = [Self::New, Self::Change, Self::Cancel];
        all.into_iter().find(|control| control.code() == code)
    }
}

/// A message that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    id: String,
    text: String,
}

impl Outgoing {
    /// An order as it is now (ORM^O01). `last_id` is the id of the message that told of it last, `""` if
    /// there was none.
    ///
    /// The id of a message comes of what it says and of the message before it. So it is the same when the
    /// same is sent again, since nobody knows whether it has arrived; and another when an order is changed
    /// back to what it was, which a receiver that knows messages by their ids would leave out.
    pub fn order(
        control: OrderControl,
        order: &Order,
        patient: &Patient,
        ordered_at: DateTime<Utc>,
        last_id: &str,
    ) -> Self {
        let (family, given) = family_and_given(&patient.name);
        let number = order.order_number.as_str();
        let birthdate = patient.birthdate.format("%Y%m%d").to_string();
        let concept = order.concept.uuid.to_string();
        let pid = Segment::new("PID")
            .with(1, &["1"])
            .with(3, &[&patient.identifier, "", "", EMR])
            .with(5, &[family, given])
            .with(7, &[&birthdate])
            .with(8, &[&patient.gender]);
        let orc = Segment::new("ORC")
            .with(1, &[control.code()])
            .with(2, &[number])
            .with(7, &[&order.quantity.to_string()])
            .with(9, &[&time(ordered_at)]);
        let obr = Segment::new("OBR")
            .with(1, &["1"])
            .with(2, &[number])
            .with(4, &[&concept, &order.concept.name]);
        let body = format!("{pid}{orc}{obr}");
        let name = format!("{last_id}\r{body}");
        let id = short(Uuid::new_v5(&order.uuid, name.as_bytes()));
        let header = Segment::header(EMR, PACS, &["ORM", "O01", "ORM_O01"], &id, Utc::now());
        Self {
            text: format!("{header}{body}"),
            id,
        }
    }

    /// Under which id it is acknowledged (MSH-10).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The message.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What a receiver says of a message (MSA, and ERR where it refuses it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    code: String,
    of: String,
    reason: String,
}

impl Acknowledgement {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// When it is no message of HL7, or acknowledges nothing.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let message = Incoming::parse(text).context("reading an acknowledgement")?;
        let code = message.component("MSA", 1, 1);
        ensure!(
            !code.is_empty(),
            "a message {:?} came where an acknowledgement was waited for",
            message.text("MSH", 9)
        );
        // From the words for people to those that all receivers share.
        let reasons = [
            message.text("MSA", 3),
            message.text("ERR", 8),
            message.text("ERR", 7),
            message.component("ERR", 3, 2),
        ];
        let reason = reasons.into_iter().find(|reason| !reason.is_empty());
        Ok(Self {
            code,
            of: message.component("MSA", 2, 1),
            reason: reason.unwrap_or_else(|| "it gives no reason".to_owned()),
        })
    }

    /// Whether it is of this message. A refusal may name none, where the receiver could not read the id.
    pub fn is_of(&self, message: &Outgoing) -> bool {
        let is_refusal = !self.is_accepted() && !self.is_kept();
        self.of == message.id || (self.of.is_empty() && is_refusal)
    }

    /// Whether the receiver has done what the message says (AA).
    pub fn is_accepted(&self) -> bool {
        self.code == "AA"
    }

    /// Whether the receiver has taken the message into its keeping, and has not looked at it yet (CA, of the
    /// enhanced mode): whether it accepts it comes later.
    pub fn is_kept(&self) -> bool {
        self.code == "CA"
    }

    /// `AA`, `AE`, `AR`, or of the enhanced mode `CA`, `CE`, `CR`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Why it is refused.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Why a receiver does not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: &'static str,
    condition: [&'static str; 3],
    reason: String,
}

impl Refusal {
    /// It is of a kind or version that is not spoken here (AR).
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self {
            code: "AR",
            condition: ["200", "Unsupported message type", "HL70357"],
            reason: reason.into(),
        }
    }

    /// Something is wrong with what it says (AE).
    pub fn wrong(reason: impl Into<String>) -> Self {
        Self {
            code: "AE",
            condition: ["207", "Application internal error", "HL70357"],
            reason: reason.into(),
        }
    }

    /// The words for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The acknowledgement of a message that was taken, or refused; the answer to what cannot even be split
/// names no message.
pub fn acknowledge(message: Option<&Incoming<'_>>, refusal: Option<&Refusal>) -> String {
    let read = |field| message.map(|message| message.component("MSH", field, 1));
    let sender = read(3).unwrap_or_default();
    let of = read(10).unwrap_or_default();
    let id = short(Uuid::new_v4());
    let header = Segment::header(PACS, &sender, &["ACK", "O01", "ACK"], &id, Utc::now());
    let msa = Segment::new("MSA");
    let Some(refusal) = refusal else {
        return format!("{header}{}", msa.with(1, &["AA"]).with(2, &[&of]));
    };
    let msa = msa
        .with(1, &[refusal.code])
        .with(2, &[&of])
        .with(3, &[&refusal.reason]);
    let err = Segment::new("ERR")
        .with(3, &refusal.condition)
        .with(4, &["E"])
        .with(8, &[&refusal.reason]);
    format!("{header}{msa}{err}")
}

fn short(uuid: Uuid) -> String {
    let mut id = uuid.simple().to_string();
    id.truncate(LONGEST_ID);
    id
}

/// A name in the parts that HL7 has for it (XPN): the last word is taken for the family's.
fn family_and_given(name: &str) -> (&str, &str) {
    match name.rsplit_once(' ') {
        Some((given, family)) if !given.is_empty() && !family.is_empty() => (family, given),
        _ => (name, ""),
    }
}

/// The name that these parts make.
pub fn full_name(family: &str, given: &str) -> String {
    match given {
        "" => family.to_owned(),
        given => format!("{given} {family}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::documents::{Concept, OrderAction, OrderKind};

    fn told(name: &str, quantity: i64, control: OrderControl, last_id: &str) -> Outgoing {
        let patient = Patient {
            uuid: Uuid::from_u128(1),
            identifier: "GAN200001".to_owned(),
            name: name.to_owned(),
            gender: "F".to_owned(),
            birthdate: "1980-02-29".parse().unwrap(),
            village: "Ganiyari".to_owned(),
        };
        let order = Order {
            uuid: Uuid::from_u128(2),
            order_number: "ORD-17".to_owned(),
            kind: OrderKind::Radiology,
            action: OrderAction::New,
            concept: Concept {
                uuid: Uuid::from_u128(3),
                name: "X-ray|chest".to_owned(),
            },
            quantity,
        };
        let at = "2024-03-01T08:01:02Z".parse().unwrap();
        Outgoing::order(control, &order, &patient, at, last_id)
    }

    #[test]
    fn an_order_says_what_and_for_whom() {
        let message = told("Asha Verma", 2, OrderControl::New, "");
        let (header, body) = message.text().split_once('\r').unwrap();
        assert_eq!(
            body,
            "PID|1||GAN200001^^^EMR||Verma^Asha||19800229|F\r\
             ORC|NW|ORD-17|||||2||20240301080102+0000\r\
             OBR|1|ORD-17||00000000-0000-0000-0000-000000000003^X-ray\\F\\chest\r"
        );
        assert_eq!(message.id().len(), 20);
        let ends = format!(
            "||ORM^O01^ORM_O01|{}|P|2.5||||||UNICODE UTF-8",
            message.id()
        );
        assert!(header.starts_with(r"MSH|^~\&|EMR||PACS||2"), "{header}");
        assert!(header.ends_with(&ends), "{header}");
    }

    #[test]
    fn the_same_has_the_same_id_and_nothing_else_has_it() {
        let first = told("Asha Verma", 1, OrderControl::New, "");
        assert_eq!(
            first.id(),
            told("Asha Verma", 1, OrderControl::New, "").id()
        );
        let mut ids = vec![first.id().to_owned()];
        for quantity in [2, 1, 2, 1] {
            let last_id = ids.last().unwrap();
            let next = told("Asha Verma", quantity, OrderControl::Change, last_id);
            assert!(!ids.iter().any(|id| id == next.id()), "{ids:?}");
            ids.push(next.id().to_owned());
        }
        let renamed = told("Asha Varma", 1, OrderControl::New, "");
        assert_ne!(first.id(), renamed.id());
    }

    #[test]
    fn a_name_comes_back_whole() {
        for name in [
            "Asha Verma",
            "Asha",
            "Asha Devi Verma",
            " Asha",
            "Asha ",
            "",
            " ",
            "A  B",
            "आशा ^वर्मा",
        ] {
            let text = told(name, 1, OrderControl::New, "");
            let message = Incoming::parse(text.text()).unwrap();
            let part = |number| message.component("PID", 5, number);
            assert_eq!(full_name(&part(1), &part(2)), name);
        }
    }

    #[test]
    fn an_acknowledgement_says_whether_and_why_not() {
        let message = told("Asha Verma", 1, OrderControl::New, "");
        let came = Incoming::parse(message.text()).unwrap();
        let taken = Acknowledgement::read(&acknowledge(Some(&came), None)).unwrap();
        assert!(taken.is_accepted() && taken.is_of(&message), "{taken:?}");

        let wrong = Refusal::wrong("no such room | 7\nask there");
        let refused = Acknowledgement::read(&acknowledge(Some(&came), Some(&wrong))).unwrap();
        assert!(refused.is_of(&message) && !refused.is_accepted());
        assert_eq!(refused.code(), "AE");
        assert_eq!(refused.reason(), "no such room | 7\nask there");

        let unread = acknowledge(None, Some(&Refusal::unsupported("what is this?")));
        let unread = Acknowledgement::read(&unread).unwrap();
        assert_eq!((unread.code(), unread.of.as_str()), ("AR", ""));
        assert!(unread.is_of(&message), "there is no other");
    }

    #[test]
    fn the_words_of_other_receivers_are_found() {
        let read = |text: &str| Acknowledgement::read(&format!("MSH|^~\\&|X|\r{text}")).unwrap();
        assert_eq!(read("MSA|AE|7|no bed\rERR||||||||x").reason(), "no bed");
        assert_eq!(
            read("MSA|AR|7\rERR|||207^b^c|E||||no bed").reason(),
            "no bed"
        );
        assert_eq!(
            read("MSA|CE|7\rERR|||101^field missing").reason(),
            "field missing"
        );
        assert_eq!(read("MSA|AE|7").reason(), "it gives no reason");
        let message = told("Asha Verma", 1, OrderControl::New, "");
        let kept = read("MSA|CA|7");
        assert!(kept.is_kept() && !kept.is_accepted());
        for refused in ["AE", "AR", "CE", "CR", "XX"] {
            let refused = read(&format!("MSA|{refused}|"));
            assert!(!refused.is_kept() && !refused.is_accepted());
            assert!(refused.is_of(&message), "there is no other");
        }
        assert!(!read("MSA|CA|").is_of(&message), "nobody knows of which");
        assert!(Acknowledgement::read("MSH|^~\\&|X||||||ADT^A01|1").is_err());
        assert!(Acknowledgement::read("hello").is_err());
    }
}
