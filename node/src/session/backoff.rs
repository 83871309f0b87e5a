//! Growing, random pauses between attempts.

use std::time::Duration;

/// Pauses that double up to a limit, each random between half of its length and the whole.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with `first`, ends at `limit`.
    #[must_use]
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            next: first,
        }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.limit);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Something worked: the next failure is a new one.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_again_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(20), ms(100));
        for whole in [20, 40, 80, 100, 100] {
            let pause = backoff.pause();
            assert!(pause >= ms(whole / 2) && pause <= ms(whole), "{pause:?} of {whole}");
        }
        backoff.reset();
        assert!(backoff.pause() <= ms(20));
    }
}
