//! Bytes, cut anywhere, into lines.
//!
//! Lines are split on bytes and never on characters: text may hold U+2028 or half of a letter. A line
//! that lies whole within one piece is not copied.

use memchr::{memchr, memchr2};

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// LF alone: NDJSON.
    Lf,
    /// LF, CR, or both: Server-Sent Events.
    LfOrCr,
}

/// Splits a stream of bytes; holds what has no end yet.
#[derive(Debug)]
pub struct Lines {
    ends: Ends,
    begun: Vec<u8>,
    after_cr: bool,
}

impl Lines {
    /// Of an empty stream.
    pub fn new(ends: Ends) -> Self {
        Self { ends, begun: Vec::new(), after_cr: false }
    }

    /// `take` each line that is complete by now, without its end.
    pub fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = self.find_end(bytes) {
            if self.begun.is_empty() {
                take(&bytes[..end]);
            } else {
                self.begun.extend_from_slice(&bytes[..end]);
                take(&self.begun);
                self.begun.clear();
            }
            let was_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if was_cr {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.begun.extend_from_slice(bytes);
    }

    /// What came after the last end.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.begun)
    }

    fn find_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.ends {
            Ends::Lf => memchr(b'\n', bytes),
            Ends::LfOrCr => memchr2(b'\n', b'\r', bytes),
        }
    }
}

/// Lines of Server-Sent Events into the data of events (WHATWG HTML, 9.2.6).
#[derive(Debug, Default)]
pub struct Events {
    data: Vec<u8>,
    any: bool,
    begun: bool,
}

impl Events {
    /// `take` the event's data if this line, an empty one, ends it.
    pub fn feed(&mut self, mut line: &[u8], mut take: impl FnMut(&[u8])) {
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(take);
        }
        let Some(value) = line.strip_prefix(b"data") else { return };
        let value = match value.strip_prefix(b":") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if value.is_empty() => value,
            None => return, // another field, whose name begins so
        };
        if self.any {
            self.data.push(b'\n');
        }
        self.any = true;
        self.data.extend_from_slice(value);
        if self.data.len() > crate::answer::PIECE_BYTES_MAX {
            self.dispatch(&mut take);
        }
    }

    /// Whatever has been gathered is the event.
    pub fn dispatch(&mut self, mut take: impl FnMut(&[u8])) {
        if self.any {
            take(&self.data);
        }
        self.any = false;
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(ends: Ends, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(ends);
        let mut found = Vec::new();
        for piece in pieces {
            lines.feed(piece, |line| found.push(line.to_vec()));
        }
        found.push(lines.rest());
        found
    }

    #[test]
    fn lines_end_at_lf() {
        assert_eq!(split(Ends::Lf, &[b"a\r\nb", b"c\n", b"\nd"]), [&b"a\r"[..], b"bc", b"", b"d"]);
    }

    #[test]
    fn cr_and_lf_are_one_end_wherever_they_are_cut() {
        let expected = [&b"a"[..], b"", b"b", b"c", b""];
        assert_eq!(split(Ends::LfOrCr, &[b"a\r\n\r\nb\nc\r"]), expected);
        assert_eq!(split(Ends::LfOrCr, &[b"a\r", b"\n\r", b"", b"\nb", b"\nc\r"]), expected);
        assert_eq!(split(Ends::LfOrCr, &[b"a\r", b"\r", b"b\rc\r"]), expected);
    }

    #[test]
    fn data_of_several_lines_is_joined_and_other_fields_are_passed_over() {
        let mut events = Events::default();
        let mut found = Vec::new();
        for line in
            "\u{feff}data: a|id: 1|data:b|data|datum: x|: note|||data:  c||event: e||".split('|')
        {
            events.feed(line.as_bytes(), |data| found.push(data.to_vec()));
        }
        assert_eq!(found, [&b"a\nb\n"[..], b" c"]);
    }
}
