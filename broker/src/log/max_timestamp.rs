//! The record with the largest timestamp. A header says what the producer claimed: that is where to look first, and the
//! records decide.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_proto::record::BatchHeader;
use highwater_proto::types::{Offset, TimestampMs};

use crate::log::error::LogError;
use crate::log::partition_log::Log;
use crate::log::read::{BatchRecords, FileSlice, TimestampOffset, visit_records};
use crate::log::scan::{Found, Scan};
use crate::log::segment::Segment;

/// Batches of a segment that one walk over its headers selects.
const SELECTED: usize = 1000;

/// What is claimed of a batch or a segment, and where it starts: the larger one is the more promising, and of equal ones
/// the earlier.
type Claim = (TimestampMs, Reverse<Offset>);

/// A search for the first record with the largest timestamp, segment by segment, so that a caller need not hold the
/// partition's lock while records are read.
#[derive(Debug)]
pub struct MaxTimestampSearch {
    /// Segments that were not looked into, the most promising one last.
    segments: Vec<Claim>,
    found: Option<TimestampOffset>,
}

impl MaxTimestampSearch {
    /// The record, once [`Log::next_for_max_timestamp`] has no more to look into.
    #[must_use]
    pub fn found(&self) -> Option<TimestampOffset> {
        self.found
    }

    /// Looks into a segment. Records below `log_start` do not count.
    ///
    /// # Errors
    /// [`LogError::Records`] and [`LogError::Unreadable`] if a batch is not what was appended.
    pub fn look_into(
        &mut self,
        segment: &FileSlice,
        log_start: Offset,
        records: &dyn BatchRecords,
    ) -> Result<(), LogError> {
        let mut below = None;
        loop {
            let selected = select(segment, below)?;
            below = selected.first_key_value().map(|(claim, _)| *claim);
            let are_all = selected.len() < SELECTED;
            for (claim, (header, position)) in selected.into_iter().rev() {
                if !self.is_beaten_by(claim) {
                    return Ok(());
                }
                let batch = FileSlice {
                    file: Arc::clone(&segment.file),
                    position,
                    len: header.size() as u64,
                };
                visit_records(&header, &batch, log_start, records, &mut |offset, timestamp| {
                    if self.is_beaten_by((timestamp, Reverse(offset))) {
                        self.found = Some(TimestampOffset {
                            offset,
                            timestamp,
                            leader_epoch: header.leader_epoch,
                        });
                    }
                    true
                })?;
            }
            if are_all {
                return Ok(());
            }
        }
    }

    fn is_beaten_by(&self, claim: Claim) -> bool {
        match self.found {
            Some(found) => claim > (found.timestamp, Reverse(found.offset)),
            None => claim.0.0 >= 0,
        }
    }
}

impl Log {
    /// Begins a search for the first record with the largest timestamp.
    #[must_use]
    pub fn search_max_timestamp(&self) -> MaxTimestampSearch {
        let claim = |segment: &Segment| Some((TimestampMs(segment.largest()?.timestamp), Reverse(segment.base)));
        let mut segments: Vec<Claim> = self.segments.iter().filter_map(claim).collect();
        segments.sort_unstable();
        MaxTimestampSearch { segments, found: None }
    }

    /// What the search has to look into next: the readable batches of a segment. None once it is over.
    ///
    /// # Errors
    /// [`LogError::Corrupt`], [`LogError::Io`].
    pub fn next_for_max_timestamp(&self, search: &mut MaxTimestampSearch) -> Result<Option<FileSlice>, LogError> {
        while let Some(claim) = search.segments.pop().filter(|claim| search.is_beaten_by(*claim)) {
            let (_, Reverse(base)) = claim;
            // It may have gone meanwhile.
            let Some(segment) = self.segments.iter().find(|segment| segment.base == base) else {
                continue;
            };
            let files = self.files(segment);
            if let Some(first) = segment.locate(files, self.log_start)? {
                return Ok(Some(FileSlice {
                    file: segment.file(files)?,
                    position: first.position,
                    len: segment.size - first.position,
                }));
            }
        }
        Ok(None)
    }
}

/// The most promising batches of a segment, of those whose claims are below the bound: their headers and where they lie.
fn select(segment: &FileSlice, below: Option<Claim>) -> Result<BTreeMap<Claim, (BatchHeader, u64)>, LogError> {
    let mut selected = BTreeMap::new();
    let mut scan = Scan::headers(&segment.file, segment.position, segment.position + segment.len);
    loop {
        let position = scan.position();
        let unreadable = |reason| LogError::Unreadable { position, reason };
        match scan.peek().map_err(|e| unreadable(e.to_string()))? {
            Found::Batch(header) => {
                let claim = (header.max_timestamp, Reverse(header.base_offset));
                if below.is_none_or(|below| claim < below) {
                    selected.insert(claim, (header, position));
                }
                if selected.len() > SELECTED {
                    selected.pop_first();
                }
                scan.advance(&header);
            }
            Found::End => return Ok(selected),
            other => return Err(unreadable(format!("{other:?}"))),
        }
    }
}
