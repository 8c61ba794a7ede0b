//! Reading the pictures that are named on the command line.

use std::{fs::File, io::Read, path::Path};

use domain::picture::PictureLimits;

/// Reads a picture from a file or a pipe, up to the size limit: the length of a pipe is unknown beforehand.
pub(crate) fn read_picture(path: &Path, limits: &PictureLimits) -> Result<Vec<u8>, String> {
    let most = limits.max_bytes;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    let length = read.map_err(|error| error.to_string())?;
    if u64::try_from(length).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(format!("it is larger than the {most} bytes allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_size_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        std::fs::write(&path, [7; 100]).unwrap();
        let read = |path: &Path, max_bytes| {
            read_picture(path, &PictureLimits { max_bytes, ..PictureLimits::default() })
        };
        assert_eq!(read(&path, 100), Ok(vec![7; 100]));
        assert!(read(&path, 99).is_err());
        // Its size is reported as 0, and reading it never ends.
        assert!(read(Path::new("/dev/zero"), 1 << 20).is_err());
        assert!(read(&folder.path().join("absent"), 100).is_err());
    }
}
