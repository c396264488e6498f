//! What a document must say, and must not: it goes to every other system, of which one would refuse it, or spoil
//! it, where nobody looks.

/// The most characters of a name, or of what describes something: with all of them, what is told of an order is
/// far from the longest message that a PACS takes.
const LONGEST_TEXT: usize = 1_000;

/// The most characters of a number by which others find something: an index of theirs has room for it.
const LONGEST_NUMBER: usize = 255;

/// The highest price, in paise. Nothing costs more, and the ERP can add up what is sold.
const DEAREST: i64 = 100_000_000_000;

/// A number by which others find something.
pub(super) fn number(what: &str, text: &str) -> Result<(), String> {
    filled(what, text)?;
    at_most(LONGEST_NUMBER, what, text)
}

/// A text of one line that says something.
pub(super) fn filled(what: &str, text: &str) -> Result<(), String> {
    match text.trim().is_empty() {
        true => Err(format!("the {what} is empty")),
        false => one_line(what, text),
    }
}

/// A text of one line, and not too long, or none.
pub(super) fn one_line(what: &str, text: &str) -> Result<(), String> {
    let is_no_text = |found: &char| found.is_control() || matches!(*found, '\u{2028}' | '\u{2029}');
    match text.chars().find(is_no_text) {
        Some(found) => Err(format!(
            "the {what} {} has a line end or another control character (U+{:04X}): take it out",
            shown(text),
            u32::from(found)
        )),
        None => at_most(LONGEST_TEXT, what, text),
    }
}

fn at_most(longest: usize, what: &str, text: &str) -> Result<(), String> {
    match text.chars().count() {
        length if length > longest => Err(format!(
            "the {what} {} has {length} characters: give {longest} at most",
            shown(text)
        )),
        _ => Ok(()),
    }
}

/// A price in paise.
pub(super) fn price(paise: i64) -> Result<(), String> {
    match paise {
        ..0 => Err(format!(
            "the price {paise} is negative: give paise, 0 or more"
        )),
        0..=DEAREST => Ok(()),
        _ => Err(format!(
            "the price, {paise} in paise, is too high for an ERP: give {DEAREST} at most, {} rupees",
            DEAREST / 100
        )),
    }
}

/// A text in a reason: in quotes, and not all of it where it is long.
pub(super) fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(40).collect();
    match beginning.len() < text.len() {
        true => format!("{:?}", beginning + "…"),
        false => format!("{beginning:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::to_value;
    use uuid::Uuid;

    use super::*;
    use crate::hospital::documents::{Drug, LabTest, Order, Patient};
    use crate::hospital::emr::resources::Kept;
    use crate::hospital::emr::testing::{TestEmr, databases, encounter, patient};

    /// That an EMR answers a PUT so, and has no event then.
    async fn is_refused<K: Kept>(emr: &TestEmr, document: &K, why: &str) {
        let path = format!("/openmrs/ws/rest/v1/{}/{}", K::NAME, document.uuid());
        let (status, said) = emr.put(&path, &to_value(document).unwrap()).await;
        assert_eq!(status, 400, "{why}: {said}");
        let error = said["error"].as_str().unwrap();
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(emr.events(K::CATEGORY).await, 0, "{why}");
    }

    #[test]
    fn a_text_is_of_one_line() {
        for good in ["", "Asha Verma", "D'Souza", "10^3/ul", "आशा वर्मा", "📋"] {
            assert_eq!(one_line("name", good), Ok(()));
        }
        for bad in [
            "a\0",
            "a\nb",
            "\r",
            "a\tb",
            "\u{7f}",
            "\u{85}",
            "a\u{2028}b",
        ] {
            let why = one_line("name", bad).unwrap_err();
            assert!(why.contains("control character"), "{why}");
            assert!(!why.contains(char::is_control), "{why:?}");
        }
        for empty in ["", "  ", "\n"] {
            assert_eq!(filled("name", empty), Err("the name is empty".to_owned()));
        }
    }

    #[test]
    fn a_text_is_not_too_long() {
        for (check, longest) in [
            (one_line as fn(&str, &str) -> _, LONGEST_TEXT),
            (filled, LONGEST_TEXT),
            (number, LONGEST_NUMBER),
        ] {
            assert_eq!(check("name", &"आ".repeat(longest)), Ok(()));
            let why = check("name", &"आ".repeat(longest + 1)).unwrap_err();
            assert!(why.contains(&format!("give {longest} at most")), "{why}");
        }
        assert_eq!(number("name", " "), Err("the name is empty".to_owned()));
    }

    #[tokio::test]
    async fn a_patient_who_says_too_little_or_too_much_is_refused() {
        for database in databases("patient_checks") {
            let emr = TestEmr::on(&database).await;
            let of = |change: fn(&mut Patient)| {
                let mut patient = patient(1);
                change(&mut patient);
                patient
            };
            for (patient, why) in [
                (of(|it| it.identifier.clear()), "the identifier is empty"),
                (of(|it| it.name = " ".to_owned()), "the name is empty"),
                (of(|it| it.name.push('\0')), "U+0000"),
                (of(|it| it.gender.clear()), "the gender \"\" is none"),
                (of(|it| it.gender = "f".to_owned()), "give F, M or O"),
                (of(|it| it.village.push('\n')), "the village"),
                (of(|it| it.identifier = "7".repeat(256)), "give 255 at"),
                (of(|it| it.name = "a".repeat(1_001)), "give 1000 at"),
            ] {
                is_refused(&emr, &patient, why).await;
            }
            let nowhere = of(|it| it.village.clear());
            assert!(emr.client.put_patient(&nowhere).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_drug_or_a_test_without_a_name_or_a_price_is_refused() {
        let emr = TestEmr::start().await;
        let drug = Drug {
            uuid: Uuid::from_u128(3),
            name: "Paracetamol 500mg".to_owned(),
            form: String::new(),
            price: 0,
        };
        let test = LabTest {
            uuid: Uuid::from_u128(4),
            name: "Haemoglobin".to_owned(),
            unit: "g/dl".to_owned(),
            price: 0,
            members: Vec::new(),
        };
        let (empty, spread) = (String::new(), "a\nb".to_owned());
        let long = "a".repeat(1_001);
        for (name, form, price, why) in [
            (&empty, &empty, 1, "the name is empty"),
            (&spread, &empty, 1, "the name \"a\\nb\" has"),
            (&drug.name, &spread, 1, "\"a\\nb\" has"),
            (&long, &empty, 1, "has 1001 characters"),
            (&drug.name, &long, 1, "has 1001 characters"),
            (&drug.name, &empty, -1, "the price -1 is negative"),
            (
                &drug.name,
                &empty,
                DEAREST + 1,
                "100000000001 in paise, is too high",
            ),
        ] {
            let drug = Drug {
                name: name.clone(),
                form: form.clone(),
                price,
                ..drug
            };
            is_refused(&emr, &drug, why).await;
            let test = LabTest {
                name: name.clone(),
                unit: form.clone(),
                price,
                ..test.clone()
            };
            is_refused(&emr, &test, why).await;
        }
        for price in [0, DEAREST] {
            let drug = Drug {
                price,
                ..drug.clone()
            };
            let test = LabTest {
                price,
                ..test.clone()
            };
            assert!(emr.client.put_drug(&drug).await.unwrap());
            assert!(emr.client.put_lab_test(&test).await.unwrap());
        }
    }

    #[tokio::test]
    async fn an_order_of_nothing_is_refused() {
        let emr = TestEmr::start().await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let of = |change: fn(&mut Order)| {
            let mut seen = encounter(5, 1);
            change(&mut seen.orders[1]);
            seen
        };
        for (seen, why) in [
            (of(|it| it.quantity = 0), "is of 0"),
            (of(|it| it.quantity = 1_000_001), "give 1 to 1000000"),
            (of(|it| it.order_number.clear()), "order number is empty"),
            (of(|it| it.concept.name.clear()), "name of what is ordered"),
            (of(|it| it.concept.name.push('\r')), "U+000D"),
            (
                of(|it| it.order_number = "7".repeat(256)),
                "give 255 at most",
            ),
            (
                of(|it| it.concept.name = "a".repeat(70_000)),
                "has 70000 characters",
            ),
        ] {
            is_refused(&emr, &seen, why).await;
            let named = seen.orders[1].uuid.to_string();
            is_refused(&emr, &seen, &named).await;
        }
        let mut twice = encounter(5, 1);
        twice.orders[1].uuid = twice.orders[0].uuid;
        is_refused(&emr, &twice, "is there twice").await;
    }
}
