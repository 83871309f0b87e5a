//! Bytes: where brokers have as many replicas as others but much more on their disks, large replicas change places with
//! small ones. Counts stay as even as they are; what differs little stays where it is.

use super::replicas::fits;
use super::{Board, PlanOptions};

/// Two brokers that differ by no more than this are even.
const SMALLEST_GAP: u64 = 1 << 30;
/// So are those that differ by no more than this part of what a broker has on average.
const GAP_PART: u64 = 10;
/// A move, or an exchange, makes up for this part of the difference at least: what would bring less is not worth copying.
const WORTH_PART: u64 = 8;
/// Replicas of the fuller broker that are looked at, the largest first, and partners for each.
const CANDIDATES: usize = 256;
const PARTNERS: usize = 16;

/// Makes bytes even.
pub(super) fn level(board: &mut Board<'_>, options: &PlanOptions) {
    if board.seats.len() < 2 || board.seats.iter().all(|seat| seat.bytes == 0) {
        return;
    }
    let total: u64 = board.seats.iter().map(|seat| seat.bytes).fold(0, u64::saturating_add);
    let mean = total / board.seats.len() as u64;
    let enough = SMALLEST_GAP.max(mean / GAP_PART);
    let mut held = held_by_size(board);
    while board.changed.len() < options.max_moves {
        let Some(exchange) = best(board, &held, options, enough) else {
            return;
        };
        carry_out(board, &mut held, &exchange);
    }
}

/// A replica goes from one seat to another, and perhaps one comes back for it.
struct Exchange {
    from: usize,
    to: usize,
    slot: usize,
    back: Option<usize>,
}

/// Slots by seat, the smallest first.
type Held = Vec<Vec<usize>>;

fn size(board: &Board<'_>, slot: usize) -> (u64, usize) {
    (board.slots[slot].bytes, slot)
}

fn held_by_size(board: &Board<'_>) -> Held {
    let mut held: Held = board.seats.iter().map(|_| Vec::new()).collect();
    for slot in (0..board.slots.len()).filter(|slot| board.is_free(*slot)) {
        for node in board.target(slot) {
            if let Some(seat) = board.seat_of.get(&node) {
                held[*seat].push(slot);
            }
        }
    }
    for slots in &mut held {
        slots.sort_unstable_by_key(|slot| size(board, *slot));
    }
    held
}

/// The best exchange between two brokers of those that differ most.
fn best(board: &Board<'_>, held: &Held, options: &PlanOptions, enough: u64) -> Option<Exchange> {
    let mut seats: Vec<usize> = (0..board.seats.len()).collect();
    seats.sort_by_key(|seat| (board.seats[*seat].bytes, board.seats[*seat].id));
    for from in seats.iter().rev().copied() {
        for to in seats.iter().copied().filter(|to| options.may_get(board.seats[*to].id)) {
            let gap = board.seats[from].bytes.saturating_sub(board.seats[to].bytes);
            if gap <= enough {
                break;
            }
            if let Some((slot, back)) = between(board, held, (from, to), gap) {
                return Some(Exchange { from, to, slot, back });
            }
        }
    }
    None
}

/// What brings two brokers nearest to each other: one replica where the fuller one has more of them, else one against
/// another.
fn between(board: &Board<'_>, held: &Held, (from, to): (usize, usize), gap: u64) -> Option<(usize, Option<usize>)> {
    let worth = |gain: u64| gain < gap && gain >= gap / WORTH_PART;
    let off = |gain: u64| gain.abs_diff(gap / 2);
    let alone_is_even = board.seats[from].replicas > board.seats[to].replicas;
    let mut best: Option<(u64, usize, Option<usize>)> = None;
    let mut offer = |gain: u64, slot: usize, back: Option<usize>| {
        if worth(gain) && best.is_none_or(|(least, ..)| off(gain) < least) {
            best = Some((off(gain), slot, back));
        }
    };
    for slot in held[from].iter().rev().take(CANDIDATES).copied() {
        let bytes = board.slots[slot].bytes;
        // The rest is smaller still.
        if bytes < gap / WORTH_PART {
            break;
        }
        if !fits(board, slot, from, to) {
            continue;
        }
        let topic_is_even = keeps_topics_even(board, slot, from, to);
        if alone_is_even && topic_is_even {
            offer(bytes, slot, None);
        }
        let wanted = bytes.saturating_sub(gap / 2);
        let at = held[to].partition_point(|other| board.slots[*other].bytes < wanted);
        let near = held[to][at.saturating_sub(PARTNERS / 2)..]
            .iter()
            .take(PARTNERS)
            .copied();
        for back in near.filter(|back| *back != slot && fits(board, *back, to, from)) {
            let same_topic = board.slots[back].topic == board.slots[slot].topic;
            if same_topic || (topic_is_even && keeps_topics_even(board, back, to, from)) {
                offer(bytes.saturating_sub(board.slots[back].bytes), slot, Some(back));
            }
        }
    }
    best.map(|(_, slot, back)| (slot, back))
}

/// True if `from` has more of the topic than `to`.
fn keeps_topics_even(board: &Board<'_>, slot: usize, from: usize, to: usize) -> bool {
    board.of_topic(slot, from) > board.of_topic(slot, to)
}

fn carry_out(board: &mut Board<'_>, held: &mut Held, exchange: &Exchange) {
    let Exchange { from, to, slot, back } = *exchange;
    let mut put = |slot: usize, from: usize, to: usize| {
        board.replace(slot, board.seats[from].id, to);
        held[from].retain(|held| *held != slot);
        let at = held[to].partition_point(|other| size(board, *other) < size(board, slot));
        held[to].insert(at, slot);
    };
    put(slot, from, to);
    if let Some(back) = back {
        put(back, to, from);
    }
}
