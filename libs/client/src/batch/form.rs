//! The body of a batch: a form of files, which are opened and read as they are sent.
//!
//! `reqwest` builds forms too, but nests one stream in the other for each part, which would overflow the stack.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{
    fs::File,
    io::{AsyncReadExt, Take},
};

/// How much of a file is read at a time.
const BLOCK: usize = 256 << 10;

/// A file that is sent as a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFile {
    /// Where it is.
    pub path: PathBuf,
    /// The file name that its task shows.
    pub name: String,
    /// Its size in bytes. One that has become shorter when it is sent breaks the batch off with
    /// [`ClientError::File`](crate::ClientError::File); of one that has become longer, so much is sent.
    pub bytes: u64,
}

/// A form with these files.
pub(super) struct Form {
    pictures: Vec<PictureFile>,
    boundary: String,
    unreadable: Arc<OnceLock<String>>,
}

impl Form {
    /// `boundary` has letters and digits, and is in no file.
    pub(super) fn new(pictures: Vec<PictureFile>, boundary: String) -> Self {
        Self { pictures, boundary, unreadable: Arc::default() }
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// Its size in bytes.
    pub(super) fn length(&self) -> u64 {
        let size = |text: String| text.len() as u64;
        let parts = self.pictures.iter();
        let parts = parts.map(|picture| size(self.head(picture)) + picture.bytes + 2).sum::<u64>();
        parts + size(self.end())
    }

    /// Which file could not be read while the form was sent, and why; empty until then. The error of the request does not
    /// tell that from a lost connection.
    pub(super) fn unreadable(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.unreadable)
    }

    /// Its bytes. `on_sent` is told how many files have been read to their ends.
    pub(super) fn stream(
        self,
        on_sent: impl Fn(usize) + Clone + Send + 'static,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let end = self.end();
        let pictures = self.pictures.clone().into_iter().enumerate();
        let parts = stream::iter(pictures).flat_map(move |(number, picture)| {
            let on_sent = on_sent.clone();
            let head = Bytes::from(self.head(&picture));
            let last = async move {
                on_sent(number + 1);
                Ok(Bytes::from_static(b"\r\n"))
            };
            let head = stream::once(async { Ok(head) });
            let (path, unreadable) = (picture.path.clone(), self.unreadable());
            let content = content(picture).inspect_err(move |error| {
                let _ = unreadable.set(format!("{} cannot be sent: {error}", path.display()));
            });
            head.chain(content).chain(stream::once(last))
        });
        parts.chain(stream::once(async { Ok(Bytes::from(end)) }))
    }

    fn head(&self, picture: &PictureFile) -> String {
        let (boundary, name) = (&self.boundary, quoted(&picture.name));
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        )
    }

    fn end(&self) -> String {
        format!("--{}--\r\n", self.boundary)
    }
}

/// The bytes of a file, which is opened when the first ones are asked for.
fn content(picture: PictureFile) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((None, picture), async |(file, picture): (Option<Take<File>>, _)| {
        let mut file = match file {
            Some(file) => file,
            None => File::open(&picture.path).await?.take(picture.bytes),
        };
        let mut block = BytesMut::with_capacity(BLOCK);
        match file.read_buf(&mut block).await? {
            0 if file.limit() > 0 => Err(io::Error::other("it has become shorter")),
            0 => Ok(None),
            _ => Ok(Some((block.freeze(), (Some(file), picture)))),
        }
    })
}

/// The name within quotes: a line break would end the header.
fn quoted(name: &str) -> String {
    let name = name.replace('"', "\\\"");
    name.chars().map(|character| if character.is_control() { '_' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(pictures: Vec<PictureFile>) -> io::Result<String> {
        let form = Form::new(pictures, "x".to_owned());
        let length = form.length();
        let bytes: Vec<Bytes> = form.stream(|_| {}).try_collect().await?;
        let text = String::from_utf8(bytes.concat()).unwrap();
        assert_eq!(text.len() as u64, length);
        Ok(text)
    }

    #[tokio::test]
    async fn a_form_has_the_bytes_of_its_files_and_the_length_that_it_states() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(content.len().to_string());
            std::fs::write(&path, content).unwrap();
            PictureFile { path, name: name.to_owned(), bytes: content.len() as u64 }
        };
        let (first, second) = (file("a \"b\"\r\n.jpg", "one"), file("猫.png", "second"));
        let expected = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\"__.jpg\"\r\n\r\none\r\n\
            --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"猫.png\"\r\n\r\nsecond\r\n--x--\r\n";
        assert_eq!(sent(vec![first.clone(), second]).await.unwrap(), expected);

        let shorter = PictureFile { bytes: 4, ..first };
        assert!(sent(vec![shorter]).await.unwrap_err().to_string().contains("shorter"));
    }
}
