//! Preferred leaders: the order of replicas changes until no broker is preferred two times more than another. Nothing is
//! copied for it.

use std::collections::{HashMap, VecDeque};

use super::{Board, PlanOptions};

/// Evens out preferred leaders, along chains of brokers where two have no partition in common.
pub(super) fn level(board: &mut Board<'_>, options: &PlanOptions) {
    let mut edges = edges(board);
    while board.changed.len() < options.max_moves {
        let Some(path) = path(board, &edges, options) else {
            return;
        };
        for hop in path.windows(2) {
            swap(board, &mut edges, hop[0], hop[1]);
        }
    }
}

/// Slots that the first seat is preferred for and the second one has a replica of.
type Edges = HashMap<(usize, usize), Vec<usize>>;

fn edges(board: &Board<'_>) -> Edges {
    let mut edges = Edges::new();
    for slot in (0..board.slots.len()).filter(|slot| board.is_free(*slot)) {
        link(board, &mut edges, slot);
    }
    edges
}

fn link(board: &Board<'_>, edges: &mut Edges, slot: usize) {
    let target = board.target(slot);
    let mut seats = target.iter().map(|node| board.seat_of.get(node).copied());
    // A leader on a broker that takes nothing is not counted and stays where it is.
    let Some(first) = seats.next().flatten() else { return };
    for other in seats.flatten() {
        edges.entry((first, other)).or_default().push(slot);
    }
}

/// The shortest chain from a broker that is preferred most to one that is preferred two times less, or fewer.
fn path(board: &Board<'_>, edges: &Edges, options: &PlanOptions) -> Option<Vec<usize>> {
    let mut seats: Vec<usize> = (0..board.seats.len()).collect();
    seats.sort_by_key(|seat| (board.seats[*seat].preferred, board.seats[*seat].id));
    let least = board.seats[*seats.first()?].preferred;
    let full = seats.iter().rev();
    let mut full = full.take_while(|seat| board.seats[**seat].preferred >= least + 2);
    full.find_map(|from| path_from(board, edges, &seats, *from, options))
}

fn path_from(
    board: &Board<'_>,
    edges: &Edges,
    seats: &[usize],
    from: usize,
    options: &PlanOptions,
) -> Option<Vec<usize>> {
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        let has_less = board.seats[at].preferred + 2 <= board.seats[from].preferred;
        if has_less && options.may_get(board.seats[at].id) {
            let mut path = vec![at];
            while let Some(before) = path.last().and_then(|last| came_from.get(last)) {
                path.push(*before);
            }
            path.reverse();
            return Some(path);
        }
        for next in seats.iter().copied() {
            let new = next != from && !came_from.contains_key(&next);
            if new && edges.get(&(at, next)).is_some_and(|slots| !slots.is_empty()) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// A partition that `from` is preferred for prefers `to` from now on.
fn swap(board: &mut Board<'_>, edges: &mut Edges, from: usize, to: usize) {
    let Some(slot) = edges.get(&(from, to)).and_then(|slots| slots.first().copied()) else {
        return;
    };
    let mut target = board.target(slot);
    let seats = target.iter().filter_map(|node| board.seat_of.get(node).copied());
    for other in seats.filter(|other| *other != from) {
        if let Some(slots) = edges.get_mut(&(from, other)) {
            slots.retain(|held| *held != slot);
        }
    }
    let id = board.seats[to].id;
    if let Some(position) = target.iter().position(|node| *node == id) {
        target.swap(0, position);
        board.set_target(slot, target);
        board.seats[from].preferred -= 1;
        board.seats[to].preferred += 1;
    }
    link(board, edges, slot);
}
