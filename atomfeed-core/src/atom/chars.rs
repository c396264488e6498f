use std::borrow::Cow;

/// Whether XML 1.0 has this character at all (§2.2, production `Char`).
///
/// It lacks the control characters below U+0020 other than TAB, LF and CR, and U+FFFE and U+FFFF.
/// Not even a character reference can bring one of them into a document.
pub fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Finds the first character that XML 1.0 does not have: its offset in bytes, and which it is.
///
/// Text in which this finds nothing can stand on a page as it is; see [`replace_illegal`] for the
/// other.
pub fn find_illegal(text: &str) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    let mut start = 0;
    for block in bytes.chunks(BLOCK) {
        if any_byte(block, may_be_illegal) {
            let found =
                (start..start + block.len()).find_map(|at| Some((at, illegal_at(bytes, at)?)));
            if found.is_some() {
                return found;
            }
        }
        start += block.len();
    }
    None
}

/// Puts U+FFFD, the replacement character, in the place of each character that XML 1.0 does not
/// have. Text without any is borrowed.
pub fn replace_illegal(text: &str) -> Cow<'_, str> {
    if find_illegal(text).is_none() {
        return Cow::Borrowed(text);
    }
    let legal = |c| {
        if is_xml_char(c) {
            c
        } else {
            char::REPLACEMENT_CHARACTER
        }
    };
    Cow::Owned(text.chars().map(legal).collect())
}

/// Whether `wanted` holds for any of the bytes. There is no early exit within a block, and so the
/// compiler looks at all its bytes at once.
pub(super) fn any_byte(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let any_of = |block: &[u8]| block.iter().fold(false, |any, &byte| any | wanted(byte));
    blocks.iter().any(|block| any_of(block)) || any_of(rest)
}

/// How many bytes are looked at before the exact, slower search: short enough that one suspicious
/// byte costs little.
const BLOCK: usize = 256;

/// The first byte of U+FFFE and U+FFFF, and of every character from U+F000 on in that plane.
const LEAD: u8 = 0xEF;

fn may_be_illegal(byte: u8) -> bool {
    is_illegal_control(byte) | (byte == LEAD)
}

fn is_illegal_control(byte: u8) -> bool {
    (byte < b' ') & (byte != b'\t') & (byte != b'\n') & (byte != b'\r')
}

fn illegal_at(text: &[u8], at: usize) -> Option<char> {
    match text[at..] {
        [control, ..] if is_illegal_control(control) => Some(char::from(control)),
        [LEAD, 0xBF, 0xBE, ..] => Some('\u{FFFE}'),
        [LEAD, 0xBF, 0xBF, ..] => Some('\u{FFFF}'),
        _ => None,
    }
}
