//! Up to where a log is on disk, as far as its process knows. Pure: what carries the flushes out is around it.

use highwater_proto::types::Offset;

/// What of a log is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// Up to where everything is on disk, in this generation.
    end: Offset,
    /// Counts truncations: a flush that began before one says nothing about what is there now.
    generation: u64,
    in_flight: bool,
}

/// What a flush that begins now will have made sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushClaim {
    end: Offset,
    generation: u64,
}

impl FlushClaim {
    /// Log end offset that the flush confirms.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }
}

impl Durability {
    /// Of a log that was opened and ends at `log_end`. Unless its last process closed it, nothing is known to be on disk:
    /// what is read may come from the page cache of a process that was killed, and a flush has to follow.
    #[must_use]
    pub fn recovered(log_end: Offset, was_closed: bool) -> Self {
        Self {
            end: if was_closed { log_end } else { Offset(0) },
            ..Self::default()
        }
    }

    /// Up to where everything is on disk.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// True while a flush is under way.
    #[must_use]
    pub fn is_flushing(&self) -> bool {
        self.in_flight
    }

    /// A flush of everything below `log_end` begins; None while another one is under way.
    pub fn begin(&mut self, log_end: Offset) -> Option<FlushClaim> {
        if self.in_flight {
            return None;
        }
        self.in_flight = true;
        Some(FlushClaim {
            end: log_end,
            generation: self.generation,
        })
    }

    /// A flush is over. Some: the end moved there. One that began before a truncation, or that failed, says nothing.
    pub fn completed(&mut self, claim: FlushClaim, flushed: bool) -> Option<Offset> {
        self.in_flight = false;
        let counts = flushed && claim.generation == self.generation && claim.end > self.end;
        if !counts {
            return None;
        }
        self.end = claim.end;
        Some(claim.end)
    }

    /// Nobody waits for the flush under way any more.
    pub fn abandon_flush(&mut self) {
        self.in_flight = false;
    }

    /// The log was cut to `end`: from here on it is another one.
    pub fn cut(&mut self, end: Offset) {
        self.generation += 1;
        self.end = self.end.min(end);
    }
}
