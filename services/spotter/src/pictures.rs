//! Reading the pictures that are named on the command line.

use std::{fs::File, io::Read, path::Path};

use domain::picture::PictureLimits;

/// Reads a picture from a file or a pipe, and no more of it than a picture may have: how long a
/// pipe is, nobody can tell beforehand.
pub(crate) fn read_picture(path: &Path, limits: &PictureLimits) -> Result<Vec<u8>, String> {
    let most = limits.max_bytes;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    let length = read.map_err(|error| error.to_string())?;
    if u64::try_from(length).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(format!("it has more than the {most} bytes allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_a_picture_may_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        std::fs::write(&path, [7; 100]).unwrap();
        let read = |path: &Path, max_bytes| {
            read_picture(path, &PictureLimits { max_bytes, ..PictureLimits::default() })
        };
        assert_eq!(read(&path, 100), Ok(vec![7; 100]));
        assert!(read(&path, 99).is_err());
        // It says that it is empty, and never ends.
        assert!(read(Path::new("/dev/zero"), 1 << 20).is_err());
        assert!(read(&folder.path().join("absent"), 100).is_err());
    }
}
