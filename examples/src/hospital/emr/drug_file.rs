//! A file of drugs as CSV: which rows are drugs, and what is wrong with the others. Each line is a row, so that a
//! quote that is left open spoils its own row, and none of those that follow.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Cursor, SeekFrom};
use std::iter;

use csv::{ByteRecord, Position, Reader, ReaderBuilder};
use uuid::Uuid;

use super::checks::shown;
use super::resources::Kept;
use super::upload::Rejected;
use crate::hospital::documents::Drug;

/// How a file begins.
const HEADER: [&str; 4] = ["uuid", "name", "form", "price"];

/// The drugs of a file, and the rows that are none; or why the file is none at all.
pub(super) fn read(file: &[u8]) -> Result<(Vec<Drug>, Vec<Rejected>), String> {
    let file = ended(file);
    let mut rows = Rows::new();
    let (mut drugs, mut rejected, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
    let mut has_header = false;
    for (line, text) in (1..).zip(lines_of(&file)) {
        let Some(row) = rows.row(text).map_err(|error| error.to_string())? else {
            continue;
        };
        if !has_header {
            if !is_header(row) {
                break;
            }
            has_header = true;
            continue;
        }
        match drug(row).and_then(|drug| only_once(drug, line, &mut lines)) {
            Ok(drug) => drugs.push(drug),
            Err(reason) => rejected.push(Rejected { line, reason }),
        }
    }
    match has_header {
        true => Ok((drugs, rejected)),
        false => Err(format!("begin the file with the line {}", HEADER.join(","))),
    }
}

/// The file with an end to its last line, too.
fn ended(file: &[u8]) -> Cow<'_, [u8]> {
    match file {
        [.., b'\r' | b'\n'] => Cow::Borrowed(file),
        _ => Cow::Owned([file, b"\n".as_slice()].concat()),
    }
}

/// The lines of a file, each with its end: CR LF, LF or CR.
fn lines_of(mut file: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let end = file.iter().position(|byte| b"\r\n".contains(byte))?;
        let is_pair = file[end..].starts_with(b"\r\n");
        let (line, rest) = file.split_at(end + 1 + usize::from(is_pair));
        file = rest;
        Some(line)
    })
}

/// Reads lines as CSV, each as if there were no other.
struct Rows<'a> {
    reader: Reader<Cursor<&'a [u8]>>,
    row: ByteRecord,
}

impl<'a> Rows<'a> {
    fn new() -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(Cursor::new(b"".as_slice()));
        Self {
            reader,
            row: ByteRecord::new(),
        }
    }

    /// The row of a line, unless that is blank.
    fn row(&mut self, line: &'a [u8]) -> csv::Result<Option<&ByteRecord>> {
        *self.reader.get_mut() = Cursor::new(line);
        // What it was in the midst of, in the line before, it forgets.
        self.reader.seek_raw(SeekFrom::Start(0), Position::new())?;
        let is_row = self.reader.read_byte_record(&mut self.row)?;
        Ok(is_row.then_some(&self.row))
    }
}

fn is_header(row: &ByteRecord) -> bool {
    let fields = row.iter().map(<[u8]>::trim_ascii);
    fields.eq(HEADER.iter().map(|name| name.as_bytes()))
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
    // The end of the line is then part of the last field.
    if let [.., b'\r' | b'\n'] = row.as_slice() {
        return Err("a quote is left open: close it on the same line".to_owned());
    }
    let fields = row.iter().map(std::str::from_utf8);
    let fields: Vec<&str> = fields
        .collect::<Result<_, _>>()
        .map_err(|_| "it is not UTF-8: save the file as UTF-8".to_owned())?;
    let [uuid, name, form, price] = fields[..] else {
        return Err(format!("it has {} fields, and not 4", fields.len()));
    };
    let uuid =
        Uuid::try_parse(uuid.trim()).map_err(|_| format!("the uuid {} is none", shown(uuid)))?;
    let drug = Drug {
        uuid,
        name: name.trim_matches(' ').to_owned(),
        form: form.trim_matches(' ').to_owned(),
        price: paise(price.trim())?,
    };
    drug.check()?;
    Ok(drug)
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

#[cfg(test)]
mod tests;
