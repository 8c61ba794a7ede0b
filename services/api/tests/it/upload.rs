//! Forms as clients send them, byte for byte, on both submission routes and in any segmentation.

use std::fmt::Write as _;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::app::{TEST_TIMEOUT, TestApp, error_text};

/// A complete picture of one pixel.
const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";
const FORM: &str = "Content-Type: multipart/form-data; boundary=X\r\n";
const NO_IMAGE: Expected = Refused(400, &["=No image provided"]);

/// The response of a route.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// 202, with this as the picture's name.
    Accepted(&'static str),
    /// This status and an error that contains all of these, or is the one after `=`.
    Refused(u16, &'static [&'static str]),
}

use Expected::{Accepted, Refused};

/// One request and the responses of both routes.
struct Case {
    what: String,
    /// Header lines, each with its line ending.
    headers: Vec<u8>,
    body: Vec<u8>,
    /// Of `/start_task` and of `/v1/tasks`.
    expected: [Expected; 2],
}

impl Case {
    fn new(what: impl Into<String>, body: impl Into<Vec<u8>>, expected: [Expected; 2]) -> Self {
        Self { what: what.into(), headers: FORM.into(), body: body.into(), expected }
    }

    fn with_headers(mut self, headers: impl Into<Vec<u8>>) -> Self {
        self.headers = headers.into();
        self
    }
}

/// A form of one part, the picture, under this `Content-Disposition` and further header lines.
fn one_part(disposition: impl AsRef<[u8]>) -> Vec<u8> {
    form(&[(disposition.as_ref(), GIF)])
}

/// A form with boundary `X`. A disposition may be followed by further header lines.
fn form(parts: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, content) in parts {
        for piece in [b"--X\r\nContent-Disposition: ", *disposition, b"\r\n\r\n", content, b"\r\n"]
        {
            body.extend_from_slice(piece);
        }
    }
    body.extend_from_slice(b"--X--\r\n");
    body
}

/// The same on both routes.
fn both(expected: Expected) -> [Expected; 2] {
    [expected, expected]
}

/// Sends each case to both routes, whole and in chunks, and reports all differences at once.
async fn check(cases: impl IntoIterator<Item = Case>) {
    let app = TestApp::start().await;
    let mut differences = String::new();
    for case in cases {
        let segments: &[Option<usize>] = match case.body.len() {
            0..4096 => &[None, Some(1), Some(7)],
            _ => &[None, Some(1000), Some(65_000)],
        };
        for (route, expected) in ["/start_task", "/v1/tasks"].into_iter().zip(case.expected) {
            for segment in segments {
                let answer = send(&app, route, &case, *segment).await;
                if !agrees(&answer, expected) {
                    let cut = segment.map_or("whole".to_owned(), |bytes| format!("by {bytes}"));
                    let what = &case.what;
                    writeln!(differences, "{what}, {route}, {cut}: {answer:?}, not {expected:?}")
                        .unwrap();
                }
            }
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

fn agrees((status, body): &(u16, Value), expected: Expected) -> bool {
    match expected {
        Accepted(name) => {
            let found = [&body["image"], &body["picture_name"]];
            *status == 202 && found.into_iter().any(|found| found == name)
        }
        Refused(wanted, words) => {
            let error = error_text(body);
            let says = |word: &&str| match word.strip_prefix('=') {
                Some(whole) => error == whole,
                None => error.contains(*word),
            };
            *status == wanted && words.iter().all(says)
        }
    }
}

/// Sends a request over a connection of its own, its body whole or in HTTP chunks of this many bytes, each of
/// which reaches the API as a segment of its own.
async fn send(app: &TestApp, route: &str, case: &Case, segment: Option<usize>) -> (u16, Value) {
    let mut request =
        format!("POST {route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").into_bytes();
    request.extend_from_slice(&case.headers);
    match segment {
        None => {
            let length = format!("Content-Length: {}\r\n\r\n", case.body.len());
            request.extend_from_slice(length.as_bytes());
            request.extend_from_slice(&case.body);
        }
        Some(bytes) => {
            request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in case.body.chunks(bytes) {
                request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                request.extend_from_slice(chunk);
                request.extend_from_slice(b"\r\n");
            }
            request.extend_from_slice(b"0\r\n\r\n");
        }
    }
    let url = app.url("");
    let address = url.strip_prefix("http://").unwrap();
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&request).await;
        writer
    });
    let mut answer = Vec::new();
    let read = timeout(TEST_TIMEOUT, reader.read_to_end(&mut answer)).await;
    read.unwrap_or_else(|_| panic!("{}: no answer", case.what)).unwrap_or_default();
    drop(writing.await);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_file_name_is_read_in_every_encoding() {
    let cases: &[(&[u8], &str)] = &[
        (b"form-data; name=\"file\"; filename=\"a.gif\"", "a.gif"),
        (b"form-data; filename=\"a.gif\"; name=\"file\"", "a.gif"),
        (b"form-data; name=file; filename=a.gif", "a.gif"),
        (b"form-data;name=file;filename=a.gif;", "a.gif"),
        (b"form-data; name=file; filename=my photo.gif", "my photo.gif"),
        (b"Form-Data; Name=\"file\"; FILENAME=\"a.gif\"", "a.gif"),
        (b"form-data; name = \"file\" ; filename = \"a.gif\" ", "a.gif"),
        (b"attachment; name=\"file\"; filename=\"a.gif\"", "a.gif"),
        // RFC 5987, alone, after and before the plain one.
        (b"form-data; name=\"file\"; filename*=UTF-8''%e7%8c%ab.gif", "猫.gif"),
        (b"form-data; name=\"file\"; filename=\"x.gif\"; filename*=utf-8'en'%E7%8C%AB.gif", "猫.gif"),
        (b"form-data; name=\"file\"; filename*=UTF-8''%e7%8c%ab.gif; filename=\"x.gif\"", "猫.gif"),
        (b"form-data; name=\"file\"; FileName*=iso-8859-1''caf%E9.gif", "café.gif"),
        (b"form-data; name=\"file\"; filename*=\"UTF-8''%e7%8c%ab.gif\"", "猫.gif"),
        // An unknown charset, and none: the plain name, or what can be decoded.
        (b"form-data; name=\"file\"; filename=\"x.gif\"; filename*=EBCDIC''%e7.gif", "x.gif"),
        (b"form-data; name=\"file\"; filename*=Shift_JIS''%83%5c.gif", "\u{FFFD}\\.gif"),
        (b"form-data; name=\"file\"; filename*=plain.gif", "plain.gif"),
        // RFC 2231's continuations, by Python's `email`.
        (b"form-data; name=\"file\"; filename*0=\"a\"; filename*1=\"b.gif\"", "ab.gif"),
        (b"form-data; name=\"file\"; filename*0*=utf-8''%e7%8c; filename*1*=%ab; filename*2=.gif", "猫.gif"),
        // RFC 2047, as .NET sends it.
        (b"form-data; name=file; filename=\"=?utf-8?B?54yrLmdpZg==?=\"", "猫.gif"),
        (b"form-data; name=file; filename==?UTF-8?Q?caf=C3=A9_1.gif?=", "café 1.gif"),
        (b"form-data; name=file; filename=\"=?utf-8?b?54yr?= =?iso-8859-1?q?caf=E9.gif?=\"", "猫café.gif"),
        (b"form-data; name=file; filename=\"=?utf-8?B?b*oken?=.gif\"", "=?utf-8?B?b*oken?=.gif"),
        // Bytes that are not UTF-8: Latin-1, Shift-JIS (its second byte is a backslash), GBK.
        (b"form-data; name=\"file\"; filename=\"caf\xE9.gif\"", "caf\u{FFFD}.gif"),
        (b"form-data; name=\"file\"; filename=\"\x83\x5C.gif\"", "\u{FFFD}\\.gif"),
        (b"form-data; name=\"file\"; filename=\"\xC3\xA8\xD5\xD5.gif\"", "è\u{FFFD}\u{FFFD}.gif"),
        ("form-data; name=\"file\"; filename=\"猫 🚌.gif\"".as_bytes(), "猫 🚌.gif"),
        // Values that resemble other syntax.
        (b"form-data; name=\"file\"; filename=\"a name=x.gif\"", "a name=x.gif"),
        (b"form-data; filename=\"a; name=b; filename=c.gif\"; name=\"file\"", "a; name=b; filename=c.gif"),
        (b"form-data; name=\"file\"; filename=\"a;b.gif\"", "a;b.gif"),
        (b"form-data; name=\"file\"; filename=\"a\\\"; name=\\\"b.gif\"", "a\"; name=\"b.gif"),
        (b"form-data; name=\"file\"; filename=\"a\\\"b.gif\"", "a\"b.gif"),
        (b"form-data; name=\"file\"; filename=\"a\"b.gif\"", "a\"b.gif"),
        (b"form-data; name=\"file\"; filename=\"a%22b.gif\"", "a%22b.gif"),
        (b"form-data; name=\"file\"; filename=\"a'b.gif\"", "a'b.gif"),
        (b"form-data; xname=\"y\"; name=\"file\"; xfilename=\"b\"; filename=\"a.gif\"", "a.gif"),
        (b"form-data; name=\"file\"; filename=\"C:\\Users\\me\\bus.gif\"", "C:\\Users\\me\\bus.gif"),
        (b"form-data; name=\"file\"; filename=\"\\\\server\\bus.gif\"", "\\\\server\\bus.gif"),
        (b"form-data; name=\"file\"; filename=\"/home/me/bus.gif\"", "/home/me/bus.gif"),
        (b"form-data; dir=\"C:\\x\\\"; name=\"file\"; filename=\"a.gif\"", "a.gif"),
        // Control characters would end up in logs and terminals.
        (b"form-data; name=\"file\"; filename*=UTF-8''a%0D%0Ab%1B%5B31m.gif", "a\u{FFFD}\u{FFFD}b\u{FFFD}[31m.gif"),
        (b"form-data; name=\"file\";\r\n filename=\"a.gif\"", "a.gif"),
        (b"form-data;\r\n\tname=\"file\";\r\n\tfilename=\"a.gif\"", "a.gif"),
        // Names of JPEGs, and suffixes that Windows and Excel add.
        (b"form-data; name=\"file\"; filename=\"a.jfif\"", "a.jfif"),
        (b"form-data; name=\"file\"; filename=\"a.JPE\"", "a.JPE"),
        (b"form-data; name=\"file\"; filename=\"a.gif \"", "a.gif "),
        (b"form-data; name=\"file\"; filename=\"a.gif.\"", "a.gif."),
        (b"form-data; name=\"file\"; filename=\".gif\"", ".gif"),
    ];
    check(cases.iter().map(|(disposition, name)| {
        let what = String::from_utf8_lossy(disposition);
        Case::new(what, one_part(disposition), both(Accepted(name)))
    }))
    .await;
}

#[tokio::test]
async fn on_v1_the_bytes_decide_and_not_the_name() {
    let octets = "form-data; name=\"file\"\r\nContent-Type: application/octet-stream";
    let extension = |name| Refused(400, name);
    let cases = [
        ("blob", "form-data; name=\"file\"; filename=\"blob\"", extension(&["'blob'"]), "blob"),
        ("file", "form-data; name=\"file\"; filename=\"file\"", extension(&["'file'"]), "file"),
        ("-", "form-data; name=\"file\"; filename=\"-\"", extension(&["'-'"]), "-"),
        ("empty", "form-data; name=\"file\"; filename=\"\"", extension(&["''", "jfif"]), ""),
        ("a.txt", "form-data; name=\"file\"; filename=\"a.txt\"", extension(&["'a.txt'"]), "a.txt"),
        ("no name, octets", octets, NO_IMAGE, ""),
        ("no name, bytes of a picture", "form-data; name=\"file\"", NO_IMAGE, ""),
    ];
    check(cases.map(|(what, disposition, original, name)| {
        Case::new(what, one_part(disposition), [original, Accepted(name)])
    }))
    .await;
}

#[tokio::test]
async fn of_several_parts_the_file_with_a_name_is_the_picture() {
    let file: (&[u8], &[u8]) = (b"form-data; name=\"file\"; filename=\"a.gif\"", GIF);
    let second: (&[u8], &[u8]) = (b"form-data; name=\"file\"; filename=\"b.gif\"", GIF);
    let text: (&[u8], &[u8]) = (b"form-data; name=\"file\"", b"my file");
    let nameless: (&[u8], &[u8]) = (b"form-data; name=\"file\"", GIF);
    let not_a_picture: (&[u8], &[u8]) =
        (b"form-data; name=\"file\"\r\nContent-Type: application/octet-stream", b"octets");
    let forty = vec![b'x'; 40_000];
    let note: (&[u8], &[u8]) = (b"form-data; name=\"note\"", b"");
    let many = [vec![note; 100], vec![file]].concat();
    let large: (&[u8], &[u8]) = (b"form-data; name=\"note\"", &forty);
    let mebibyte = vec![b'x'; 1000 * 1000];
    let larger: (&[u8], &[u8]) = (b"form-data; name=\"note\"; filename=\"n.txt\"", &mebibyte);
    let a = both(Accepted("a.gif"));
    check([
        Case::new("the first of two", form(&[file, second]), a),
        Case::new("a text field before", form(&[text, file]), a),
        Case::new("an empty field before", form(&[note, file]), a),
        Case::new("a picture without a name before", form(&[nameless, file]), a),
        Case::new("a picture without a name after", form(&[file, nameless]), a),
        Case::new("octets before", form(&[not_a_picture, file]), a),
        Case::new("a hundred fields before", form(&many), a),
        Case::new("two of 40 KB before", form(&[large, large, file]), a),
        Case::new("one of a megabyte before", form(&[larger, file]), a),
        Case::new("one of a megabyte after", form(&[file, larger]), a),
        Case::new("octets alone", form(&[not_a_picture]), [NO_IMAGE, Refused(400, &["no JPEG"])]),
        Case::new("text alone", form(&[text]), [NO_IMAGE, Refused(400, &["'file'"])]),
    ])
    .await;
}

#[tokio::test]
async fn line_endings_and_boundaries_are_read_as_clients_send_them() {
    let body = one_part("form-data; name=\"file\"; filename=\"a.gif\"");
    let with = |prefix: &[u8], suffix: &[u8]| [prefix, &body, suffix].concat();
    let replaced = |old: &str, new: &str| {
        let latin: String = body.iter().map(|byte| char::from(*byte)).collect();
        latin.replace(old, new).chars().map(|char| u8::try_from(char).unwrap()).collect::<Vec<_>>()
    };
    let no_end = body.strip_suffix(b"--\r\n").unwrap();
    let a = both(Accepted("a.gif"));
    let mut cases = vec![
        Case::new("LF alone", replaced("\r\n", "\n"), a),
        Case::new("a preamble", with(b"This is a message\r\nin MIME format.\r\n", b""), a),
        Case::new("a byte order mark", with(b"\xEF\xBB\xBF", b""), a),
        Case::new("an empty line first", with(b"\r\n", b""), a),
        Case::new("an epilogue", with(b"", b"and this is its end\r\n--X\r\n"), a),
        Case::new("no last line end", with(b"", b"").strip_suffix(b"\r\n").unwrap(), a),
        Case::new("no last dashes", no_end, a),
        Case::new("spaces after the boundary", replaced("--X\r\n", "--X  \t\r\n"), a),
        Case::new("header in capitals", replaced("Content-Disposition", "CONTENT-DISPOSITION"), a),
        Case::new("no space behind the colon", replaced("Disposition: ", "Disposition:"), a),
        Case::new("a line without a colon", replaced("Content-D", "nonsense\r\nContent-D"), a),
        Case::new(
            "binary",
            replaced("\r\n\r\n", "\r\nContent-Transfer-Encoding: BINARY\r\n\r\n"),
            a,
        ),
        Case::new("8bit", replaced("\r\n\r\n", "\r\ncontent-transfer-encoding:8bit\r\n\r\n"), a),
        Case::new("any type", replaced("\r\n\r\n", "\r\nContent-Type: ,;=\"\u{E9}\r\n\r\n"), a),
    ];
    let part = "Content-Disposition: form-data; name=\"file\"; filename=\"a.gif\"\r\n\r\n";
    let nearly: &[u8] = b"--X\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n\
        --Xa\r\n --X\r\n--X-\r\r\n--\r\n\r\n--\r\n--X\r\n";
    let text = [nearly, part.as_bytes(), GIF, b"\r\n--X--\r\n"].concat();
    cases.push(Case::new("what is nearly a boundary", text, a));
    let no_line = b"--X\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n--X\r\n";
    let text = [no_line, part.as_bytes(), GIF, b"\r\n--X--\r\n"].concat();
    cases.push(Case::new("an empty part without a line end of its own", text, a));
    let boundaries = [
        ("a=b", "boundary=a=b"),
        ("a:b", "boundary=a:b"),
        ("a/b", "boundary=a/b"),
        ("a?b", "boundary=a?b; charset=utf-8"),
        ("a b", "boundary=a b"),
        ("(a),'b'", "boundary=(a),'b'"),
        ("==b==", "charset=utf-8; boundary===b=="),
        ("a b", "boundary=\"a b\"; charset=utf-8"),
        ("a;b", "boundary=\"a;b\""),
        ("X", "Boundary=\"X\""),
        ("X", "BOUNDARY = X ; charset=UTF-8"),
        ("--------------------------0123456789", "boundary=--------------------------0123456789"),
        ("-", "boundary=-"),
    ];
    for (boundary, parameters) in boundaries {
        let body = replaced("--X", &format!("--{boundary}"));
        let headers = format!("Content-Type: multipart/form-data; {parameters}\r\n");
        cases.push(Case::new(parameters, body, a).with_headers(headers));
    }
    let headers =
        "Content-Type: Multipart/Form-Data;boundary=X\r\nContent-Encoding: identity,UTF-8\r\n";
    cases.push(Case::new("a type in capitals", body.clone(), a).with_headers(headers));
    check(cases).await;
}

#[tokio::test]
async fn a_picture_in_another_field_is_reported() {
    let large = [GIF, &vec![0; 300_000]].concat();
    let image: (&[u8], &[u8]) = (b"form-data; name=\"image\"; filename=\"bus.gif\"", GIF);
    let larger: (&[u8], &[u8]) = (b"form-data; name=\"image\"; filename=\"bus.gif\"", &large);
    let note: (&[u8], &[u8]) = (b"form-data; name=\"a\x1b[31m\"", b"hello");
    let caps: (&[u8], &[u8]) = (b"form-data; name=\"File\"; filename=\"a.gif\"", GIF);
    let anonymous: (&[u8], &[u8]) = (b"form-data; filename=\"a.gif\"", GIF);
    let many: Vec<(&[u8], &[u8])> = vec![(b"form-data; name=\"x\"", b""); 100];
    let names = Refused(400, &["'image'", "bus.gif", "'file'"]);
    check([
        Case::new("small", form(&[image]), [NO_IMAGE, names]),
        Case::new("large", form(&[larger]), [NO_IMAGE, names]),
        Case::new("with others", form(&[note, larger]), [NO_IMAGE, names]),
        Case::new("in capitals", form(&[caps]), [NO_IMAGE, Refused(400, &["'File'", "'file'"])]),
        Case::new("no name", form(&[anonymous]), [NO_IMAGE, Refused(400, &["'file'"])]),
        Case::new("many", form(&many), [NO_IMAGE, Refused(400, &["'x'", "100"])]),
        Case::new("no fields", "--X--\r\n", [NO_IMAGE, Refused(400, &["no fields", "'file'"])]),
        Case::new("no bytes", "", [NO_IMAGE, Refused(400, &["no fields", "'file'"])]),
    ])
    .await;
}

#[tokio::test]
async fn a_body_that_is_not_a_form_is_reported_as_what_it_is() {
    let body = one_part("form-data; name=\"file\"; filename=\"a.gif\"");
    let typed = |media_type: &str| format!("Content-Type: {media_type}\r\n");
    let not_a_form = |media_type: &'static [&str]| [NO_IMAGE, Refused(415, media_type)];
    let no_boundary = [Refused(400, &["no boundary"]), Refused(415, &["no boundary"])];
    let json = Case::new("JSON", "{}", [NO_IMAGE, Refused(400, &["'image'", "base64"])]);
    let raw = Case::new("raw", GIF, [NO_IMAGE, Accepted("")]);
    let text = Case::new("text", GIF, not_a_form(&["'text/plain'", "'file'", "--data-binary"]));
    let urlencoded = "application/x-www-form-urlencoded";
    let curl = Case::new("curl -d", "file=x", not_a_form(&["x-www-form-urlencoded", "curl -F"]));
    let mixed = Case::new("mixed", body.clone(), not_a_form(&["multipart/mixed"]));
    let form_types = ["", "; boundary=", "; boundary=\"\"", "; charset=utf-8", ";boundary"];
    let boundaries = form_types.map(|parameters| {
        let headers = typed(&format!("multipart/form-data{parameters}"));
        Case::new(format!("boundary {parameters}"), body.clone(), no_boundary).with_headers(headers)
    });
    let long = "b".repeat(1000);
    let too_long =
        Case::new("long boundary", body.clone(), both(Refused(400, &["boundary", "1000"])));
    let codings = ["gzip", "br", "GZIP, identity"].map(|coding| {
        let words: &'static [&str] = &["Content-Encoding", "as it is"];
        let case = Case::new(coding, body.clone(), both(Refused(415, words)));
        case.with_headers(format!("{FORM}Content-Encoding: {coding}\r\n"))
    });
    let others = [
        json.with_headers(typed("application/json")),
        raw.with_headers(typed("image/gif")),
        text.with_headers(typed("text/plain")),
        curl.with_headers(typed(urlencoded)),
        mixed.with_headers(typed("multipart/mixed; boundary=X")),
        Case::new("nothing", GIF, not_a_form(&["no Content-Type"])).with_headers(""),
        too_long.with_headers(typed(&format!("multipart/form-data; boundary={long}"))),
    ];
    check(others.into_iter().chain(boundaries).chain(codings)).await;
}

#[tokio::test]
async fn a_malformed_form_is_reported_with_the_place() {
    let body = one_part("form-data; name=\"file\"; filename=\"a.gif\"");
    let head = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.gif\"";
    let long_header = format!("{head}\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    let long_name =
        one_part(format!("form-data; name=\"file\"; filename=\"{}.gif\"", "x".repeat(300)));
    let encoded = |coding| {
        one_part(format!(
            "form-data; name=\"file\"; filename=\"a.gif\"\r\nContent-Transfer-Encoding: {coding}"
        ))
    };
    let other_boundary = "Content-Type: multipart/form-data; boundary=Y\r\n";
    let many: Vec<(&[u8], &[u8])> = vec![(b"form-data; name=\"x\"", b""); 1001];
    let in_part = Refused(400, &["ends", "'file'", "--X--"]);
    let cut_short = [head.as_bytes(), b"\r\n\r\n", &GIF[..20]].concat();
    let cases = [
        Case::new("no boundary in it", "hello", both(Refused(400, &["'X'", "hello"]))),
        Case::new("an early end", cut_short, both(in_part)),
        Case::new("a name too long", long_name, both(Refused(400, &["file name", "255"]))),
        Case::new("no end of a header", head, both(Refused(400, &["header", "ends"]))),
        Case::new("a long header", long_header, both(Refused(400, &["header", "16384"]))),
        Case::new("base64", encoded("base64"), both(Refused(400, &["base64", "as it is"]))),
        Case::new("q-p", encoded("Quoted-Printable"), both(Refused(400, &["quoted-printable"]))),
        Case::new("many parts", form(&many), both(Refused(413, &["1000 parts"]))),
        Case::new("other boundary", body, both(Refused(400, &["'Y'", "--X"])))
            .with_headers(other_boundary),
    ];
    check(cases).await;
}

#[tokio::test]
async fn a_form_that_is_too_large_is_reported_with_the_limit() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "1000")]).await;
    let note = vec![b'x'; 2_000_000];
    let file: (&[u8], &[u8]) = (b"form-data; name=\"file\"; filename=\"a.gif\"", GIF);
    let body = form(&[(b"form-data; name=\"note\"", &note), file]);
    let expected = Refused(413, &["1049576", "1000"]);
    let case = Case::new("two megabytes", body, both(expected));
    for route in ["/start_task", "/v1/tasks"] {
        for segment in [None, Some(1000), Some(65_000)] {
            let answer = send(&app, route, &case, segment).await;
            assert!(agrees(&answer, expected), "{route} {segment:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_is_a_form_without_fields_and_needs_no_boundary() {
    let app = TestApp::start().await;
    let headers = "Content-Type: multipart/form-data\r\n";
    let expected = [NO_IMAGE, Refused(400, &["no fields", "'file'"])];
    let case = Case::new("no boundary and no bytes", "", expected).with_headers(headers);
    for (route, expected) in ["/start_task", "/v1/tasks"].into_iter().zip(expected) {
        let answer = send(&app, route, &case, None).await;
        assert!(agrees(&answer, expected), "{route}: {answer:?}");
    }
}
