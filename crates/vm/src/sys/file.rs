//! What there is to know of a file that is open, by a system call that a locked process may make.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, fstat};

/// How many bytes a regular file has; `None` for everything else.
///
/// # Errors
///
/// The system's own.
pub fn regular_len(file: impl AsFd) -> io::Result<Option<u64>> {
    super::fault::check()?;
    let stat = fstat(file)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(u64::try_from(stat.st_size).ok().filter(|_| regular))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_alone_have_a_length() {
        let path = std::env::temp_dir().join(format!("palisade-len-{}", std::process::id()));
        std::fs::write(&path, [0; 77]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(regular_len(&file).unwrap(), Some(77));
        let device = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(regular_len(&device).unwrap(), None);
    }
}
