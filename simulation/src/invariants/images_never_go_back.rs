//! A broker's image never goes back, and is always what the store was at its revision.

use highwater_proto::metadata::MetadataImage;

/// Its name.
pub const NAME: &str = "images-never-go-back";

/// Checks an image that a broker takes over.
///
/// # Errors
/// What was seen.
pub fn check(old: &MetadataImage, new: &MetadataImage, truth: &MetadataImage, broker: usize) -> Result<(), String> {
    if (new.cluster.generation, new.revision) < (old.cluster.generation, old.revision) {
        return Err(format!(
            "b{broker} goes from revision {} back to {}",
            old.revision, new.revision
        ));
    }
    if new == truth {
        Ok(())
    } else {
        Err(format!(
            "b{broker} has another image at revision {} than the store",
            new.revision
        ))
    }
}
