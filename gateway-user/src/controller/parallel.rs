//! Work on many things, each by itself, by all processors at once: what a start has to read is more than one of them does in time.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many are taken at a time. So few are not worth a thread.
const PORTION: usize = 1024;

/// What becomes of each item, in their order.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len() / PORTION);
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let portions: Vec<&[T]> = items.chunks(PORTION).collect();
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(portion) = portions.get(number) else { return done };
            done.push((number, portion.iter().map(&work).collect::<Vec<R>>()));
        }
    };
    let mut done: Vec<(usize, Vec<R>)> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// Puts items in order.
pub fn sort<T: Ord + Send>(items: &mut [T]) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len() / PORTION);
    if threads > 1 {
        let portion = items.len().div_ceil(threads);
        thread::scope(|scope| {
            for portion in items.chunks_mut(portion) {
                scope.spawn(|| portion.sort_unstable());
            }
        });
    }
    // What is in order by portions is merged.
    items.sort();
}

/// What becomes of two pieces of work.
pub fn both<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| resume_unwind(panic)), other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept() {
        let items: Vec<usize> = (0..10 * PORTION + 7).collect();
        assert_eq!(map(&items, |item| item + 1), items.iter().map(|item| item + 1).collect::<Vec<_>>());
        assert_eq!(map(&items[..3], |item| item * 2), [0, 2, 4]);
        assert!(map(&items[..0], |item| *item).is_empty());
    }

    #[test]
    fn many_are_sorted_as_few_are() {
        for count in [0, 7, 10 * PORTION + 7] {
            let ordered: Vec<usize> = (0..count).collect();
            let mut items: Vec<usize> = ordered.iter().rev().copied().collect();
            sort(&mut items);
            assert_eq!(items, ordered);
        }
    }

    #[test]
    fn both_are_done() {
        assert_eq!(both(|| 1, || 2), (1, 2));
    }
}
