//! Moves of replicas: off brokers that drain, and from those who have more to those who have fewer.

use std::cmp::Reverse;
use std::collections::HashMap;

use highwater_proto::metadata::NodeState;
use highwater_proto::types::{NodeId, TopicPartition};

use super::{Board, PlanOptions};

/// Empties draining brokers; when brokers are evened out, those that are registered no more as well.
pub(super) fn drain(board: &mut Board<'_>, options: &PlanOptions, stuck: &mut Vec<(NodeId, TopicPartition)>) {
    let image = board.image;
    let drains = image.brokers().any(|node| is_draining(board, node.id));
    if !drains && !options.balance {
        return;
    }
    for slot in 0..board.slots.len() {
        if board.changed.len() >= options.max_moves {
            return;
        }
        for from in board.slots[slot].partition.target_replicas() {
            let gone = options.balance && image.node(from).is_none();
            if !gone && !is_draining(board, from) {
                continue;
            }
            let moved = board.is_free(slot)
                && match taker(board, slot, from) {
                    Some(to) => {
                        board.replace(slot, from, to);
                        true
                    }
                    None => false,
                };
            if !moved && !gone && board.is_free(slot) {
                stuck.push((from, board.slots[slot].key));
            }
        }
    }
}

fn is_draining(board: &Board<'_>, node: NodeId) -> bool {
    // A broker that drains and is fenced meanwhile is emptied all the same.
    board.image.node(node).is_some_and(|node| {
        node.state == NodeState::Draining || node.duty == highwater_proto::metadata::NodeDuty::Draining
    })
}

/// Who takes the place of `from`.
fn taker(board: &Board<'_>, slot: usize, from: NodeId) -> Option<usize> {
    let target = board.target(slot);
    let free = board.seats.iter().enumerate();
    let free = free.filter(|(_, seat)| !target.contains(&seat.id));
    let cost = |(position, seat): &(usize, &super::Seat<'_>)| {
        let rack_taken = board.rack_taken(seat.rack, &target, from);
        let of_topic = board.of_topic(slot, *position);
        (rack_taken, seat.replicas, of_topic, seat.bytes, seat.id)
    };
    free.min_by_key(cost).map(|(position, _)| position)
}

/// Moves replicas until no broker has two more than another, as far as racks allow.
pub(super) fn level(board: &mut Board<'_>, options: &PlanOptions) {
    let mut held = held_by_topic(board);
    while board.changed.len() < options.max_moves {
        let Some((slot, from, to)) = best_move(board, &held, options) else {
            return;
        };
        let topic = board.slots[slot].topic;
        board.replace(slot, board.seats[from].id, to);
        if let Some(slots) = held[from].get_mut(&topic) {
            slots.retain(|held| *held != slot);
        }
        held[to].entry(topic).or_default().push(slot);
    }
}

/// Slots by seat and topic.
type Held = Vec<HashMap<u32, Vec<usize>>>;

fn held_by_topic(board: &Board<'_>) -> Held {
    let mut held: Held = board.seats.iter().map(|_| HashMap::new()).collect();
    for slot in (0..board.slots.len()).filter(|slot| board.is_free(*slot)) {
        for node in board.target(slot) {
            if let Some(seat) = board.seat_of.get(&node) {
                held[*seat].entry(board.slots[slot].topic).or_default().push(slot);
            }
        }
    }
    held
}

/// The next move: from one of those who have most to one of those who have least, two fewer at least.
fn best_move(board: &Board<'_>, held: &Held, options: &PlanOptions) -> Option<(usize, usize, usize)> {
    let mut seats: Vec<usize> = (0..board.seats.len()).collect();
    seats.sort_by_key(|seat| {
        (
            board.seats[*seat].replicas,
            board.seats[*seat].bytes,
            board.seats[*seat].id,
        )
    });
    for from in seats.iter().rev() {
        for to in seats.iter().filter(|to| options.may_get(board.seats[**to].id)) {
            if board.seats[*from].replicas < board.seats[*to].replicas + 2 {
                break;
            }
            if let Some(slot) = best_slot(board, &held[*from], *from, *to) {
                return Some((slot, *from, *to));
            }
        }
    }
    None
}

/// The partition that moves: of the topic that is most uneven between the two; of those, the one whose bytes come
/// nearest to half of what they differ by.
fn best_slot(board: &Board<'_>, held: &HashMap<u32, Vec<usize>>, from: usize, to: usize) -> Option<usize> {
    let uneven = |topic: &u32| {
        let count = |seat: usize| board.of_topic.get(&(*topic, seat)).copied().unwrap_or_default();
        (count(from) as i64) - (count(to) as i64)
    };
    let mut topics: Vec<&u32> = held.keys().collect();
    topics.sort_by_key(|topic| (Reverse(uneven(topic)), **topic));
    let wanted = board.seats[from].bytes.saturating_sub(board.seats[to].bytes) / 2;
    for topic in topics {
        let fitting = held[topic].iter().copied().filter(|slot| fits(board, *slot, from, to));
        let nearest = fitting.min_by_key(|slot| (board.slots[*slot].bytes.abs_diff(wanted), *slot));
        if nearest.is_some() {
            return nearest;
        }
    }
    None
}

/// True if the replica may move: `to` has none, and racks are no worse.
pub(super) fn fits(board: &Board<'_>, slot: usize, from: usize, to: usize) -> bool {
    let target = board.target(slot);
    let (from, to) = (&board.seats[from], &board.seats[to]);
    !target.contains(&to.id)
        && (!board.rack_taken(to.rack, &target, from.id) || board.rack_taken(from.rack, &target, from.id))
}
