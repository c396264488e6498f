//! Header fields that are lists of members with weights, and of members with values.

use axum::http::{HeaderMap, HeaderName};

/// The members of a list (RFC 9110 §5.6.1), over all lines of a field; those that are no text are left
/// out, and so are empty ones.
pub(super) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| split_outside_quotes(line, ','))
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

/// The parts of a text between separators that stand in no quoted string (RFC 9110 §5.6.4).
pub(super) fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return !is_quoted && character == separator,
        }
        false
    })
}

/// A member and its weight in thousandths (`;q=`, RFC 9110 §12.4.2): 1,000 without one, and 0 where it is
/// no weight.
pub(super) fn weighted(member: &str) -> (&str, u16) {
    let mut parts = split_outside_quotes(member, ';').map(|part| part.trim_matches([' ', '\t']));
    let value = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (value, weight.map_or(1_000, thousandths))
}

fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    let thousandths = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" if is_number => thousandths,
        "1" if is_number && thousandths == 0 => 1_000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_as_rfc_9110_has_them() {
        for (member, value, weight) in [
            ("gzip", "gzip", 1_000),
            ("gzip;q=1", "gzip", 1_000),
            ("gzip; q=0.5", "gzip", 500),
            ("gzip ;Q=0.001", "gzip", 1),
            ("*;q=0", "*", 0),
            ("a/b;level=1;q=0.25", "a/b", 250),
            ("a/b;x=\";q=0\";q=1.000", "a/b", 1_000),
            ("gzip;q=2", "gzip", 0),
            ("gzip;q=0.1234", "gzip", 0),
            ("gzip;q=-1", "gzip", 0),
            ("gzip;q=", "gzip", 0),
            ("gzip;q=1.001", "gzip", 0),
        ] {
            assert_eq!(weighted(member), (value, weight), "{member}");
        }
    }

    #[test]
    fn a_comma_in_quotes_separates_nothing() {
        let found: Vec<_> = split_outside_quotes(r#"a, "b,c", "d\",e", f"#, ',').collect();
        assert_eq!(found, ["a", r#" "b,c""#, r#" "d\",e""#, " f"]);
    }
}
