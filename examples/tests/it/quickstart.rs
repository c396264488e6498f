//! The program that shows the library.

#![allow(clippy::unwrap_used)]

use regex::Regex;

use crate::programs::Program;

#[test]
fn one_event_is_parked_and_retried_and_nothing_is_lost() {
    let finished = Program::start("quickstart", &[]).finish();
    finished.assert_status(0);
    let lines = &finished.stdout;
    let with = |words: &str| lines.iter().filter(|line| line.starts_with(words)).count();

    let feed = Regex::new(r"http://127\.0\.0\.1:[1-9]\d*/feed/recent$").unwrap();
    assert_eq!(
        lines.iter().filter(|line| feed.is_match(line)).count(),
        1,
        "{lines:#?}"
    );
    assert_eq!(with("EMR: registered "), 3, "{lines:#?}");
    assert_eq!(with("lab: applied "), 2, "{lines:#?}");
    assert_eq!(with("lab: parked "), 1, "{lines:#?}");
    assert_eq!(with("lab: retried "), 1, "{lines:#?}");
    let place = |words: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(words))
            .unwrap()
    };
    assert!(place("lab: parked ") < place("lab: retried "), "{lines:#?}");
    assert!(lines.last().unwrap().contains("3 of 3"), "{lines:#?}");
    assert_eq!(finished.stderr, [""; 0]);
}
