//! A file of drugs as CSV: which rows are drugs, and what is wrong with the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use csv::{ByteRecord, ReaderBuilder};
use uuid::Uuid;

use super::upload::Rejected;
use crate::hospital::documents::Drug;

/// How a file begins.
const HEADER: [&str; 4] = ["uuid", "name", "form", "price"];

/// The drugs of a file, and the rows that are none; or why the file is none at all.
pub(super) fn read(file: &[u8]) -> Result<(Vec<Drug>, Vec<Rejected>), String> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(file);
    let mut row = ByteRecord::new();
    let (mut drugs, mut rejected, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
    let (mut line, mut counted) = (1, 0);
    let mut is_header = true;
    while reader
        .read_byte_record(&mut row)
        .map_err(|error| error.to_string())?
    {
        // The reader takes blank lines, and what is left of the line end before, to the row.
        let from = row
            .position()
            .map_or(0, |position| position.byte() as usize);
        let blank = file[from..]
            .iter()
            .take_while(|byte| b"\r\n".contains(byte));
        let begin = from + blank.count();
        line += line_ends(&file[counted..begin]);
        counted = begin;
        if is_header {
            let fields = row.iter().map(<[u8]>::trim_ascii);
            if !fields.eq(HEADER.iter().map(|name| name.as_bytes())) {
                break;
            }
            is_header = false;
            continue;
        }
        match drug(&row).and_then(|drug| only_once(drug, line, &mut lines)) {
            Ok(drug) => drugs.push(drug),
            Err(mut reason) => {
                let end = reader.position().byte() as usize;
                let last = line + line_ends(file[begin..end].trim_ascii_end());
                if last > line {
                    reason += &format!("; the row goes on to line {last}: is a quote left open?");
                }
                rejected.push(Rejected { line, reason });
            }
        }
    }
    match is_header {
        true => Err(format!("begin the file with the line {}", HEADER.join(","))),
        false => Ok((drugs, rejected)),
    }
}

/// How many lines end in a text: by CR LF, LF or CR.
fn line_ends(text: &[u8]) -> u64 {
    let mut ends = 0;
    for (at, byte) in text.iter().enumerate() {
        let is_end = match byte {
            b'\n' => true,
            b'\r' => text.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        ends += u64::from(is_end);
    }
    ends
}

/// The drug, unless it stands on an earlier line, too.
fn only_once(drug: Drug, line: u64, lines: &mut HashMap<Uuid, u64>) -> Result<Drug, String> {
    match lines.entry(drug.uuid) {
        Entry::Occupied(first) => {
            let first = first.get();
            Err(format!(
                "the uuid {} is that of line {first}, too",
                drug.uuid
            ))
        }
        Entry::Vacant(free) => {
            free.insert(line);
            Ok(drug)
        }
    }
}

fn drug(row: &ByteRecord) -> Result<Drug, String> {
    let fields = row.iter().map(std::str::from_utf8);
    let fields: Vec<&str> = fields
        .collect::<Result<_, _>>()
        .map_err(|_| "it is not UTF-8: save the file as UTF-8".to_owned())?;
    let [uuid, name, form, price] = fields[..] else {
        return Err(format!("it has {} fields, and not 4", fields.len()));
    };
    let uuid =
        Uuid::try_parse(uuid.trim()).map_err(|_| format!("the uuid {} is none", shown(uuid)))?;
    let (name, form) = (name.trim(), form.trim());
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if [name, form].iter().any(|text| text.contains('\0')) {
        return Err("name or form has a character of value 0, which is no text".to_owned());
    }
    Ok(Drug {
        uuid,
        name: name.to_owned(),
        form: form.to_owned(),
        price: paise(price.trim())?,
    })
}

/// `12.50` is 1250.
fn paise(price: &str) -> Result<i64, String> {
    let none = || {
        let price = shown(price);
        format!("the price {price} is none: give rupees, such as 12.50")
    };
    let amount = price.strip_prefix('-').unwrap_or(price);
    let (rupees, decimals) = amount.split_once('.').unwrap_or((amount, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(rupees) || !are_digits(decimals) {
        return Err(none());
    }
    if price.starts_with('-') {
        return Err(format!("the price {} is negative", shown(price)));
    }
    if decimals.len() > 2 {
        return Err(format!(
            "the price {} has more than two decimals",
            shown(price)
        ));
    }
    format!("{rupees}{decimals:0<2}")
        .parse()
        .map_err(|_| none())
}

/// A field in a reason: in quotes, and not all of it where it is long.
fn shown(field: &str) -> String {
    let beginning: String = field.chars().take(40).collect();
    match beginning.len() < field.len() {
        true => format!("{:?}", beginning + "…"),
        false => format!("{beginning:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn uuid(number: u32) -> Uuid {
        Uuid::from_u128(number.into())
    }

    fn good(number: u32) -> String {
        format!("{},Drug {number},Tablet,{number}.50\n", uuid(number))
    }

    /// Line and reason of what is left out of a file with these lines behind its header.
    fn left_out(rows: &str) -> Vec<(u64, String)> {
        let (_, rejected) = read(format!("uuid,name,form,price\n{rows}").as_bytes()).unwrap();
        let all = rejected.into_iter();
        all.map(|rejected| (rejected.line, rejected.reason))
            .collect()
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
            good(1),
            good(6),
        ];
        let left_out = left_out(&rows.concat());
        let lines: Vec<u64> = left_out.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8]);
        let reasons = [
            "it has 3 fields",
            "the uuid \"no-uuid\" is none",
            "the name is empty",
            "the price \"-1.00\" is negative",
            "the price \"1.001\" has more than two decimals",
            "is that of line 2, too",
        ];
        for ((_, reason), expected) in left_out.iter().zip(reasons) {
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn lines_are_counted_as_a_person_does() {
        let spread = format!("{},\"Two\nlines, \"\"quoted\"\"\",Tablet,1.00\n", uuid(1));
        for line_end in ["\n", "\r\n", "\r"] {
            // Line 2 and 3, a blank one, 5 bad, 6 and 7, 8 bad.
            let rows = format!("{spread}\nbad\n{}bad\n", spread.replace("0001,", "0002,"));
            let rows = rows.replace('\n', line_end);
            let lines: Vec<u64> = left_out(&rows).iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [5, 8], "{line_end:?}");
        }
    }

    #[test]
    fn a_quote_that_is_left_open_is_told() {
        let rows = format!("{}{},\"Drug,Tablet,1.00\n{}", good(1), uuid(2), good(3));
        let left_out = left_out(&rows);
        assert_eq!(left_out.len(), 1);
        assert_eq!(left_out[0].0, 3);
        assert!(left_out[0].1.contains("goes on to line 4"), "{left_out:?}");
    }

    #[test]
    fn what_is_not_utf8_is_left_out() {
        let mut file = format!("uuid,name,form,price\n{},Para", uuid(1)).into_bytes();
        file.extend(b"c\xe9tamol,Tablet,1.00\n");
        file.extend(good(2).into_bytes());
        let (drugs, rejected) = read(&file).unwrap();
        assert_eq!((drugs.len(), rejected.len()), (1, 1));
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
}
