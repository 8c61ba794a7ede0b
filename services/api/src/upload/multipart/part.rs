//! The header of a part.

use std::borrow::Cow;

use super::parameters::{parameters, text_parameter};

/// The header of a part. Malformed lines and other headers are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartHead {
    /// The name of the form field.
    pub(crate) name: Option<String>,
    /// The file name. Without one, the part is a text field.
    pub(crate) file_name: Option<String>,
    /// `Content-Type` in lower case, without its parameters.
    pub(crate) media_type: String,
    /// `Content-Transfer-Encoding` in lower case. The content is not decoded.
    pub(crate) transfer_encoding: String,
}

impl PartHead {
    /// Parses header lines, including the empty one at the end.
    pub(super) fn parse(block: &[u8]) -> Self {
        let mut head = Self::default();
        let mut has_disposition = false;
        for line in unfolded(block) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            match name.to_ascii_lowercase().as_slice() {
                b"content-disposition" if !has_disposition => {
                    has_disposition = true;
                    let parameters = parameters(value);
                    head.name = text_parameter(&parameters, "name");
                    head.file_name = text_parameter(&parameters, "filename");
                }
                b"content-type" => head.media_type = token(value),
                b"content-transfer-encoding" => head.transfer_encoding = token(value),
                _ => {}
            }
        }
        head
    }
}

/// The file name in the value of a `Content-Disposition` header.
pub(crate) fn file_name_in(disposition: &[u8]) -> Option<String> {
    text_parameter(&parameters(disposition), "filename")
}

/// The lines of `block`; those that start with a space or a tab continue the line before them.
fn unfolded(block: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut lines: Vec<Cow<'_, [u8]>> = Vec::new();
    for line in block.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line, lines.last_mut()) {
            ([b' ' | b'\t', rest @ ..], Some(last)) => {
                last.to_mut().push(b' ');
                last.to_mut().extend_from_slice(rest);
            }
            _ => lines.push(line.into()),
        }
    }
    lines
}

fn token(value: &[u8]) -> String {
    let token = value.split(|byte| *byte == b';').next().unwrap_or_default();
    String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_read_leniently() {
        let block = b"X-Other: 1\r\nnonsense\r\ncontent-DISPOSITION :form-data;\r\n\tname=a;\r\n  filename=b\r\n\
            Content-Disposition: form-data; name=other\r\nContent-Type: Image/PNG; x=y\r\n\
            CONTENT-TRANSFER-ENCODING: Base64\r\n\r\n";
        let head = PartHead {
            name: Some("a".to_owned()),
            file_name: Some("b".to_owned()),
            media_type: "image/png".to_owned(),
            transfer_encoding: "base64".to_owned(),
        };
        assert_eq!(PartHead::parse(block), head);
        assert_eq!(PartHead::parse(b" folded: first\n\n"), PartHead::default());
        assert_eq!(PartHead::parse(b"\n"), PartHead::default());
    }
}
