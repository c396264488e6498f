#![allow(clippy::unwrap_used)]

use super::*;

fn uuid(number: u32) -> Uuid {
    Uuid::from_u128(number.into())
}

fn good(number: u32) -> String {
    format!("{},Drug {number},Tablet,{number}.50\n", uuid(number))
}

/// The numbers of the drugs in a file with these lines behind its header, and line and reason of what is left out.
fn taken(rows: &str) -> (Vec<u128>, Vec<(u64, String)>) {
    let (drugs, rejected) = read(format!("uuid,name,form,price\n{rows}").as_bytes()).unwrap();
    let drugs = drugs.iter().map(|drug| drug.uuid.as_u128());
    let rejected = rejected.into_iter();
    let rejected = rejected.map(|rejected| (rejected.line, rejected.reason));
    (drugs.collect(), rejected.collect())
}

#[test]
fn prices_become_paise() {
    let good = [
        ("12.50", 1250),
        ("12.5", 1250),
        ("12", 1200),
        ("0.05", 5),
        ("0", 0),
    ];
    for (price, expected) in good {
        assert_eq!(paise(price), Ok(expected), "{price}");
    }
    let bad = [
        ("", "is none"),
        ("free", "is none"),
        ("1e3", "is none"),
        ("1,000", "is none"),
        ("+1", "is none"),
        (".5", "is none"),
        ("5.", "is none"),
        ("1.2.3", "is none"),
        ("99999999999999999999", "is none"),
        ("-1.00", "is negative"),
        ("1.005", "more than two decimals"),
    ];
    for (price, reason) in bad {
        let error = paise(price).unwrap_err();
        assert!(error.contains(reason), "{price}: {error}");
    }
}

#[test]
fn each_bad_row_is_left_out_with_its_line_and_reason() {
    let rows = [
        good(1),
        format!("{},Too short,Tablet\n", uuid(2)),
        "no-uuid,Drug,Tablet,1.00\n".to_owned(),
        format!("{}, ,Tablet,1.00\n", uuid(3)),
        format!("{},Drug,Tablet,-1.00\n", uuid(4)),
        format!("{},Drug,Tablet,1.001\n", uuid(5)),
        format!("{},Drug,Tablet,1000000000.01\n", uuid(5)),
        good(1),
        good(6),
    ];
    let (drugs, left_out) = taken(&rows.concat());
    assert_eq!(drugs, [1, 6]);
    let lines: Vec<u64> = left_out.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9]);
    let reasons = [
        "it has 3 fields",
        "the uuid \"no-uuid\" is none",
        "the name is empty",
        "the price \"-1.00\" is negative",
        "the price \"1.001\" has more than two decimals",
        "the price, 100000000001 in paise, is too high",
        "is that of line 2, too",
    ];
    for ((_, reason), expected) in left_out.iter().zip(reasons) {
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn lines_are_counted_as_a_person_does() {
    for line_end in ["\n", "\r\n", "\r"] {
        // Line 2 is blank, 3 and 5 are bad, 4 and the last are good; that has no end.
        let rows = format!("\nbad\n{}bad\n\n{}", good(1), good(2).trim_end());
        let (drugs, left_out) = taken(&rows.replace('\n', line_end));
        assert_eq!(drugs, [1, 2], "{line_end:?}");
        let lines: Vec<u64> = left_out.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 5], "{line_end:?}");
    }
}

#[test]
fn quotes_are_part_of_no_name_unless_they_are_doubled() {
    let rows = format!("{},\"Drug, \"\"strong\"\"\",\"Tablet\",\"1.00\"\n", uuid(1));
    let file = format!("uuid,name,form,price\n{rows}");
    let (drugs, rejected) = read(file.as_bytes()).unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(drugs[0].name, "Drug, \"strong\"");
    assert_eq!((drugs[0].form.as_str(), drugs[0].price), ("Tablet", 100));
}

/// The quotes of a later row would close it, and the two would be one row.
#[test]
fn an_open_quote_takes_nothing_of_the_rows_behind_it() {
    for line_end in ["\n", "\r\n", "\r"] {
        let rows = format!(
            "{}{},\"Drug A,Tablet,1.00\n{},\"Drug B\",Tablet,2.00\n{},Drug C,Tablet,3.00\n",
            good(1),
            uuid(3),
            uuid(4),
            uuid(5)
        );
        let file = format!("uuid,name,form,price\n{rows}").replace('\n', line_end);
        let (drugs, rejected) = read(file.as_bytes()).unwrap();
        let names: Vec<_> = drugs.iter().map(|drug| drug.name.as_str()).collect();
        assert_eq!(names, ["Drug 1", "Drug B", "Drug C"], "{line_end:?}");
        let [Rejected { line: 3, reason }] = &rejected[..] else {
            panic!("{line_end:?}: {rejected:?}");
        };
        assert!(reason.contains("a quote is left open"), "{reason}");
    }
}

/// As many fields as there should be, since the quote is in the last.
#[test]
fn an_open_quote_that_nothing_closes_is_left_out_and_nothing_else() {
    let open = |number| format!("{},Drug,Tablet,\"{number}.00", uuid(number));
    let many: String = (10..500).map(good).collect();
    let (drugs, left_out) = taken(&format!("{}\n{many}{}", open(1), open(2)));
    assert_eq!(drugs, (10..500).collect::<Vec<u128>>());
    let lines: Vec<u64> = left_out.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 493]);
    for (_, reason) in left_out {
        assert!(reason.contains("a quote is left open"), "{reason}");
    }
}

#[test]
fn a_name_or_form_is_of_one_line() {
    let spread = format!("{},\"Two\nlines\",Tablet,1.00\n", uuid(1));
    let (drugs, left_out) = taken(&format!("{spread}{}", good(2)));
    assert_eq!(drugs, [2]);
    let lines: Vec<u64> = left_out.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3]);

    for control in ['\0', '\t', '\u{7f}', '\u{85}', '\u{2028}'] {
        let rows = [
            format!("{},Drug{control},Tablet,1.00\n", uuid(1)),
            format!("{},Drug,Tab{control}let,1.00\n", uuid(2)),
            good(3),
        ];
        let (drugs, left_out) = taken(&rows.concat());
        assert_eq!(drugs, [3], "{control:?}");
        for (_, reason) in left_out {
            assert!(reason.contains("control character"), "{reason}");
        }
    }
}

#[test]
fn what_is_not_utf8_is_left_out() {
    let mut file = format!("uuid,name,form,price\n{},Para", uuid(1)).into_bytes();
    file.extend(b"c\xe9tamol,Tablet,1.00\n");
    file.extend(good(2).into_bytes());
    let (drugs, rejected) = read(&file).unwrap();
    assert_eq!((drugs.len(), rejected.len()), (1, 1));
    assert_eq!(rejected[0].line, 2);
    assert!(rejected[0].reason.contains("not UTF-8"), "{rejected:?}");
}

#[test]
fn a_file_without_its_header_is_none() {
    for file in ["", "\n\n", &good(1), "name,uuid,form,price\n"] {
        let error = read(file.as_bytes()).unwrap_err();
        assert!(error.contains("uuid,name,form,price"), "{file:?}: {error}");
    }
    // As spreadsheets write it.
    let (drugs, _) = read("\u{feff}uuid, name, form, price\r\n".as_bytes()).unwrap();
    assert!(drugs.is_empty());
}
