#![allow(clippy::unwrap_used)]

use serde_json::to_value;
use tokio::task::JoinSet;

use super::*;
use crate::hospital::documents::{LabTest, OrderAction, OrderKind};
use crate::hospital::emr::testing::{TestEmr, databases, encounter, patient};

fn path(of: &Encounter) -> String {
    format!("/openmrs/ws/rest/v1/encounter/{}", of.uuid)
}

/// That a PUT is answered by 409, with these words, and changes nothing.
async fn is_refused(emr: &TestEmr, seen: &Encounter, words: &[&str]) {
    let before = emr.get(&path(seen)).await;
    let events = emr.events("encounter").await;
    let (status, said) = emr.put(&path(seen), &to_value(seen).unwrap()).await;
    assert_eq!(status, 409, "{words:?}: {said}");
    let error = said["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert_eq!(emr.get(&path(seen)).await, before, "{words:?}");
    assert_eq!(emr.events("encounter").await, events, "{words:?}");
}

/// As if the lab had found something for the first order.
async fn give_result(emr: &TestEmr, seen: &Encounter) {
    let insert = "INSERT INTO results (order_uuid, test_uuid, value, unit, encounter_uuid)
        VALUES ($1, $2, '11.2', 'g/dl', $3)";
    let order = &seen.orders[0];
    let values = [
        Field::from(order.uuid),
        order.concept.uuid.into(),
        seen.uuid.into(),
    ];
    emr.run(insert, &values).await;
}

#[tokio::test]
async fn an_encounter_of_a_patient_who_is_not_there_is_refused() {
    for database in databases("encounter_alone") {
        let emr = TestEmr::on(&database).await;
        let seen = encounter(5, 1);
        is_refused(&emr, &seen, &[seen.patient_uuid.to_string().as_str()]).await;
        assert_eq!(emr.get(&path(&seen)).await.0, 404);
        assert_eq!(emr.events("encounter").await, 0);

        emr.client.put_patient(&patient(1)).await.unwrap();
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        assert_eq!(emr.get(&path(&seen)).await, (200, to_value(&seen).unwrap()));
    }
}

#[tokio::test]
async fn orders_are_replaced_and_the_same_ones_are_no_news() {
    for database in databases("encounter_again") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let mut seen = encounter(5, 1);
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        assert!(!emr.client.put_encounter(&seen).await.unwrap());
        assert_eq!(emr.events("encounter").await, 1);

        seen.orders[1].action = OrderAction::Discontinue;
        seen.orders.swap(0, 1);
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        assert_eq!(emr.get(&path(&seen)).await, (200, to_value(&seen).unwrap()));
        assert_eq!(emr.events("encounter").await, 2);

        let mut without_orders = encounter(6, 1);
        without_orders.orders.clear();
        for is_news in [true, false] {
            let put = emr.client.put_encounter(&without_orders).await;
            assert_eq!(put.unwrap(), is_news);
        }
        assert_eq!(emr.events("encounter").await, 3);
    }
}

#[tokio::test]
async fn what_is_put_by_many_at_once_is_one_event() {
    for database in databases("encounter_at_once") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        for number in 1..=10 {
            let seen = encounter(number, 1);
            let mut puts = JoinSet::new();
            for _ in 0..8 {
                let (client, seen) = (emr.client.clone(), seen.clone());
                puts.spawn(async move { client.put_encounter(&seen).await.unwrap() });
            }
            let published = puts.join_all().await;
            let published = published.into_iter().filter(|published| *published);
            assert_eq!(published.count(), 1, "{number}");
            assert_eq!(emr.events("encounter").await, i64::from(number));
            assert_eq!(emr.get(&path(&seen)).await, (200, to_value(&seen).unwrap()));
        }
    }
}

#[tokio::test]
async fn nothing_is_left_of_an_encounter_with_an_order_of_another() {
    for database in databases("encounter_foreign_order") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let first = encounter(5, 1);
        emr.client.put_encounter(&first).await.unwrap();
        let mut second = encounter(6, 1);
        second.orders[1].uuid = first.orders[0].uuid;
        is_refused(&emr, &second, &["is of another encounter"]).await;
        assert_eq!(emr.get(&path(&second)).await.0, 404);
        assert_eq!(emr.get(&path(&first)).await.1, to_value(&first).unwrap());
        assert_eq!(emr.events("encounter").await, 1);
    }
}

#[tokio::test]
async fn an_order_is_neither_dropped_nor_made_another_kind_of_thing() {
    for database in databases("encounter_dropped_order") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let seen = encounter(5, 1);
        emr.client.put_encounter(&seen).await.unwrap();

        let mut dropped = seen.clone();
        let named = dropped.orders.remove(1).uuid.to_string();
        let named = named.as_str();
        is_refused(&emr, &dropped, &[named, "is missing", "DISCONTINUE"]).await;

        let mut another = seen.clone();
        another.orders[1].kind = OrderKind::Service;
        another.orders[1].action = OrderAction::Revise;
        let words = [named, "drug", "service", "add another"];
        is_refused(&emr, &another, &words).await;

        let mut more = seen;
        more.orders.extend(encounter(6, 1).orders);
        assert!(emr.client.put_encounter(&more).await.unwrap());
        assert_eq!(emr.get(&path(&more)).await.1, to_value(&more).unwrap());
    }
}

#[tokio::test]
async fn an_order_with_results_stays_as_it_is() {
    for database in databases("encounter_results") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let mut seen = encounter(5, 1);
        emr.client.put_encounter(&seen).await.unwrap();
        give_result(&emr, &seen).await;

        let named = seen.orders[0].uuid.to_string();
        let named = named.as_str();
        for action in [OrderAction::Revise, OrderAction::Discontinue] {
            let mut late = seen.clone();
            late.orders[0].action = action;
            is_refused(&emr, &late, &[named, "has results", "as it was"]).await;
        }
        let mut late = seen.clone();
        late.orders[0].quantity = 2;
        is_refused(&emr, &late, &[named, "has results"]).await;

        assert!(!emr.client.put_encounter(&seen).await.unwrap());
        seen.orders[1].quantity = 2;
        seen.orders[1].action = OrderAction::Revise;
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        let (_, shown) = emr.get(&path(&seen)).await;
        assert_eq!(shown["results"][0]["value"], "11.2");
        assert_eq!(shown["orders"], to_value(&seen.orders).unwrap());
    }
}

#[tokio::test]
async fn a_service_that_had_another_name_is_noted() {
    for database in databases("encounter_service") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let mut seen = encounter(5, 1);
        seen.orders[0].kind = OrderKind::Service;
        let mut noted = Vec::new();
        for (order, name, is_noted) in [
            (0, "Consultation", 0),
            (1, "Paracetamol 650mg", 0),
            (0, "Consultation, long", 1),
            (0, "Consultation", 1),
        ] {
            seen.orders[order].concept.name = name.to_owned();
            assert!(emr.client.put_encounter(&seen).await.unwrap());
            let select = "SELECT COUNT(*), COALESCE(MIN(uuid), '') FROM renamed_services";
            noted = emr.row(select, &[]).await;
            assert_eq!(noted[0].number(), is_noted, "{name}");
        }
        let service = seen.orders[0].concept.uuid.to_string();
        assert_eq!(noted[1].text(), service);
    }
}

/// As if the lab had found something for each of these tests, of the first order.
async fn give_results(emr: &TestEmr, seen: &Encounter, tests: &[Uuid]) {
    emr.run("DELETE FROM results", &[]).await;
    for test in tests {
        let mut of_test = seen.clone();
        of_test.orders[0].concept.uuid = *test;
        give_result(emr, &of_test).await;
    }
}

#[tokio::test]
async fn an_order_may_become_again_what_its_results_are_of() {
    for database in databases("encounter_restored") {
        let emr = TestEmr::on(&database).await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let (panel, members) = (Uuid::from_u128(90), [91, 92].map(Uuid::from_u128));
        let full_count = LabTest {
            uuid: panel,
            name: "Full count".to_owned(),
            unit: String::new(),
            price: 10_000,
            members: members.to_vec(),
        };
        emr.client.put_lab_test(&full_count).await.unwrap();
        for (number, concept) in [(5, None), (6, Some(panel))] {
            let mut seen = encounter(number, 1);
            let first = &mut seen.orders[0];
            first.concept.uuid = concept.unwrap_or(first.concept.uuid);
            let tests = concept.map_or(vec![first.concept.uuid], |_| members.to_vec());
            emr.client.put_encounter(&seen).await.unwrap();
            // It becomes three as it is changed, and then stays so.
            let of_one = seen.clone();
            seen.orders[0].quantity = 3;
            let mut cancelled = seen.clone();
            cancelled.orders[0].action = OrderAction::Discontinue;
            let mut changed = seen.clone();
            changed.orders[0].action = OrderAction::Revise;
            changed.orders[0].concept.uuid = Uuid::from_u128(99);
            for on_its_way in [cancelled, changed] {
                emr.run("DELETE FROM results", &[]).await;
                emr.client.put_encounter(&on_its_way).await.unwrap();
                give_results(&emr, &seen, &tests).await;
                let mut more = seen.clone();
                more.orders[0].quantity += 1;
                is_refused(&emr, &more, &["has results"]).await;
                is_refused(&emr, &of_one, &["with the quantity 3"]).await;
                let mut one_member = seen.clone();
                one_member.orders[0].concept.uuid = members[0];
                is_refused(&emr, &one_member, &["has results"]).await;
                assert!(emr.client.put_encounter(&seen).await.unwrap());
                is_refused(&emr, &on_its_way, &["has results"]).await;
            }
        }
    }
}

#[tokio::test]
async fn an_encounter_keeps_its_patient_and_an_order_its_number() {
    for database in databases("encounter_identity") {
        let emr = TestEmr::on(&database).await;
        for number in [1, 2] {
            emr.client.put_patient(&patient(number)).await.unwrap();
        }
        let seen = encounter(5, 1);
        emr.client.put_encounter(&seen).await.unwrap();
        let mut of_another = seen.clone();
        of_another.patient_uuid = patient(2).uuid;
        is_refused(&emr, &of_another, &[seen.patient_uuid.to_string().as_str()]).await;
        let mut renumbered = seen.clone();
        renumbered.orders[0].order_number = "ORD-999".to_owned();
        is_refused(&emr, &renumbered, &["keeps its number", "ORD-999"]).await;
    }
}
