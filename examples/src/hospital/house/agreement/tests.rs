#![allow(clippy::unwrap_used)]

use super::flows::flow;
use super::*;
use crate::hospital::Field;
use crate::hospital::house::databases::Rows;

/// Rows of texts; a text of digits is a number, and `?` is nothing.
fn made_up(rows: &[&[&str]]) -> Rows {
    let field = |text: &&str| match (*text, text.parse()) {
        ("?", _) => Field::Null,
        (_, Ok(number)) => Field::Number(number),
        (text, Err(_)) => Field::from(text),
    };
    let row = |row: &&[&str]| -> Vec<Field> { row.iter().map(field).collect() };
    rows.iter().map(row).collect()
}

fn all(row: &Row) -> Vec<String> {
    row.differences().collect()
}

#[test]
fn what_is_the_same_on_both_sides_is_no_difference() {
    let patients = made_up(&[
        &["u1", "GAN1", "Asha Verma", "F", "1990-01-01", "Ganiyari"],
        &["u2", "GAN2", "Ravi Sahu", "M", "1980-01-01", "Lormi"],
    ]);
    let mut reversed = patients.clone();
    reversed.reverse();
    let row = lab::PATIENTS.of(patients, reversed);
    assert_eq!((row.count(), all(&row).len()), (0, 0));
}

#[test]
fn each_kind_of_difference_between_rows_is_seen() {
    let emr = made_up(&[
        &["o1", "e1", "p1", "drug1", "3", "1250"],
        &["o2", "e1", "p1", "drug2", "4", "1250"],
        &["o3", "e2", "p2", "drug1", "5", "1250"],
    ]);
    let erp = made_up(&[
        &["o2", "e1", "p2", "drug2", "5", "1"],
        &["o3", "e2", "p2", "drug1", "5", "1250"],
        &["o3", "e2", "p2", "drug1", "5", "1250"],
        &["o4", "e3", "p2", "drug1", "5", "1250"],
    ]);
    let row = erp::LINES.of(emr, erp);
    let expected = [
        "sale order lines: missing in ERP: o1",
        "sale order lines: in ERP and not in EMR: o3: it is there several times",
        "sale order lines: in ERP and not in EMR: o4",
        "sale order lines: different: o2: patient is p1 in EMR, p2 in ERP; quantity is 4 in EMR, 5 in ERP; \
         price is 1250 in EMR, 1 in ERP",
    ];
    assert_eq!(all(&row), expected);
    assert_eq!(row.count(), 4);
}

#[test]
fn of_what_the_source_says_nothing_anything_may_be() {
    let emr = made_up(&[
        &["o1", "e1", "p1", "service1", "1", "?"],
        &["o2", "e1", "p1", "drug1", "1", "1250"],
    ]);
    let erp = made_up(&[
        &["o1", "e1", "p1", "service1", "1", "700"],
        &["o2", "e1", "p1", "drug1", "1", "?"],
    ]);
    let expected = ["sale order lines: different: o2: price is 1250 in EMR, nothing in ERP"];
    assert_eq!(all(&erp::LINES.of(emr, erp)), expected);
}

#[test]
fn what_was_cancelled_may_be_missing_no_more_than_what_was_not() {
    let sales = made_up(&[
        &["o1", "e1", "p1", "drug1", "0", "1250"],
        &["o2", "e1", "p1", "drug1", "1", "1250"],
    ]);
    let expected = [
        "sale order lines: missing in ERP: o1",
        "sale order lines: missing in ERP: o2",
    ];
    assert_eq!(all(&erp::LINES.of(sales, Rows::new())), expected);

    let studies = made_up(&[
        &["ORD-1", "?", "?", "?", "?", "?", "?", "?", "CA"],
        &[
            "ORD-2",
            "GAN1",
            "Asha Verma",
            "19900101",
            "F",
            "1",
            "c1",
            "Chest X-ray",
            "NW or XO",
        ],
    ]);
    let expected = [
        "radiology orders: missing in imaging: ORD-1",
        "radiology orders: missing in imaging: ORD-2",
    ];
    let row = imaging::STUDIES.of(studies.clone(), Rows::new());
    assert_eq!(all(&row), expected);
    // Where it is, it is to be cancelled there, too; of whom does not matter.
    let there = made_up(&[
        &[
            "ORD-1",
            "GAN1",
            "Asha Sahu",
            "19900101",
            "F",
            "1",
            "c1",
            "Chest X-ray",
            "NW or XO",
        ],
        &[
            "ORD-2",
            "GAN1",
            "Asha Sahu",
            "19900101",
            "F",
            "1",
            "c1",
            "Chest X-ray",
            "NW or XO",
        ],
    ]);
    let expected = [
        "radiology orders: different: ORD-1: state is CA in EMR, NW or XO in imaging",
        "radiology orders: different: ORD-2: patient's name is Asha Verma in EMR, Asha Sahu in imaging",
    ];
    assert_eq!(all(&imaging::STUDIES.of(studies, there)), expected);

    let orders = made_up(&[
        &["o1", "e1", "p1", "ORD-1", "t1", "cancelled"],
        &["o2", "e1", "p1", "ORD-2", "t1", "ordered"],
    ]);
    assert_eq!(lab::ORDERS.of(orders, Rows::new()).count(), 2);
}

#[test]
fn a_panel_is_to_have_the_results_of_its_members() {
    let orders = made_up(&[
        &["o1", "t1", "", "e1", "p1"],
        &["o2", "panel", "t1,t2", "e1", "p1"],
        &["o3", "unknown", "?", "e2", "p2"],
    ]);
    let expected = made_up(&[
        &["o1 t1", "e1", "p1"],
        &["o2 t1", "e1", "p1"],
        &["o2 t2", "e1", "p1"],
        &["o3 unknown", "e2", "p2"],
    ]);
    assert_eq!(lab::expected(orders), expected);
}

#[test]
fn products_are_told_from_services() {
    let services = made_up(&[&["s1", "Consultation"], &["s2", "Dressing"]]);
    let products = made_up(&[
        &["d1", "Paracetamol 500mg", "1250"],
        &["s1", "Consultation", "100"],
        &["x1", "Nobody's", "1"],
    ]);
    let (sold, served) = erp::apart(products, &services);
    let expected = ["services: missing in ERP: s2"];
    assert_eq!(all(&erp::SERVICES.of(services, served)), expected);
    let emr = made_up(&[&["d1", "Paracetamol 500mg", "1251"]]);
    let expected = [
        "products: in ERP and not in EMR: x1",
        "products: different: d1: price is 1251 in EMR, 1250 in ERP",
    ];
    assert_eq!(all(&erp::PRODUCTS.of(emr, sold)), expected);
}

#[test]
fn an_event_is_to_be_applied_once() {
    let published = [("a", 10), ("b", 20), ("c", 30)];
    let good = flow(&published, &[("b", 25), ("a", 40), ("c", 31)]);
    assert_eq!(good.row().count(), 0);

    let bad = flow(&published, &[("a", 11), ("c", 31), ("c", 32), ("d", 33)]);
    let expected = [
        "events: patient: missing in lab: b: it was not applied",
        "events: patient: in lab and not in EMR: c: it was applied 2 times",
        "events: patient: in lab and not in EMR: d: it was never published",
    ];
    assert_eq!(all(&bad.row()), expected);
}

#[test]
fn there_are_to_be_as_many_events_as_were_expected() {
    assert_eq!(Row::of_count(3, 3).count(), 0);
    let expected = [
        "events, all: missing in EMR and lab: event 1 of 2",
        "events, all: missing in EMR and lab: event 2 of 2",
    ];
    assert_eq!(all(&Row::of_count(3, 1)), expected);
    let expected = ["events, all: in EMR and lab and not in the day: event 1 of 1"];
    assert_eq!(all(&Row::of_count(3, 4)), expected);
}

#[test]
fn a_lag_is_from_publishing_to_applying() {
    let published = [("old", 5), ("a", 10), ("b", 20), ("c", 30)];
    let flow = flow(&published, &[("old", 6), ("b", 25), ("a", 40), ("c", 31)]);
    assert_eq!(flow.lags(10), [1, 5, 30]);
    assert_eq!(flow.last_applied(), Some(40));
    assert_eq!(flow.name(), "EMR → lab, patient");
}

#[test]
fn the_category_is_in_the_address_of_a_feed() {
    let feed = "http://127.0.0.1:8050/openmrs/ws/atomfeed/encounter/recent";
    assert_eq!(category_of(feed), "encounter");
    assert_eq!(category_of("nowhere"), "nowhere");
}

#[test]
fn a_table_is_aligned_and_few_differences_of_many_are_shown() {
    let names: Vec<String> = (0..50).map(|number| format!("u{number}")).collect();
    let rows = names.iter().map(|name| vec![Field::from(name.as_str())]);
    let agreement = Agreement {
        rows: vec![
            lab::PATIENTS.of(rows.collect(), Rows::new()),
            Row::of_count(1, 1),
        ],
        flows: Vec::new(),
        left_out: vec![System::Erp],
    };
    assert_eq!(agreement.count(), 50);
    let differences = agreement.differences();
    assert_eq!(differences.len(), SHOWN + 1);
    assert_eq!(differences[SHOWN], "… and 30 more of this kind");
    let expected = "\
what         in       rows  in           rows  missing  unexpected  different
patients     EMR        50  lab             0       50           0          0
events, all  the day     1  EMR and lab     1        0           0          0
(the ERP is a real one: what it keeps is not compared)
";
    assert_eq!(agreement.to_string(), expected);
}

#[test]
fn nobody_is_said_to_agree_whom_nobody_has_asked() {
    let verdict = |there: usize, left_out: &[System]| {
        let agreement = Agreement {
            rows: vec![Row::of_count(60, there)],
            flows: Vec::new(),
            left_out: left_out.to_vec(),
        };
        agreement.verdict(there)
    };
    let all = verdict(60, &[]);
    assert_eq!(all, "all systems agree: 60 events, 0 differences");
    let some = verdict(60, &[System::Erp]);
    let expected = "all that was compared agrees: 60 events, 0 differences (not compared: ERP)";
    assert_eq!(some, expected);
    let some = verdict(60, &[System::Erp, System::Imaging]);
    assert!(some.ends_with("(not compared: ERP, imaging)"), "{some}");
    for left_out in [Vec::new(), vec![System::Erp]] {
        let bad = verdict(62, &left_out);
        assert_eq!(bad, "not in agreement: 62 events, 2 differences");
    }
}
