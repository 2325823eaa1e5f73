//! Which of several servers is tried first: that which served last, and the next one once it does not.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The order in which several servers are tried; they are numbered from 0.
///
/// ```
/// use lock_core::server::Rotation;
///
/// let servers = Rotation::new(3);
/// servers.serves(1);
/// assert_eq!(servers.order().collect::<Vec<_>>(), [1, 2, 0]);
/// servers.turn_away();
/// assert_eq!(servers.order().collect::<Vec<_>>(), [2, 0, 1]);
/// ```
#[derive(Debug)]
pub struct Rotation {
    count: usize,
    first: AtomicUsize,
}

impl Rotation {
    /// Of so many servers; there may be none.
    pub fn new(count: usize) -> Self {
        Self { count, first: AtomicUsize::new(0) }
    }

    /// All numbers, that of the server to be tried first before the others.
    pub fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, first) = (self.count, self.first.load(Ordering::Relaxed));
        (first..first + count).map(move |number| number % count)
    }

    /// This one serves: next time it is tried first.
    pub fn serves(&self, number: usize) {
        self.first.store(number, Ordering::Relaxed);
    }

    /// The one that is tried first is not good any more: next time the one after it is.
    pub fn turn_away(&self) {
        let next = self.first.load(Ordering::Relaxed) + 1;
        self.first.store(next.checked_rem(self.count).unwrap_or(0), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_its_turn() {
        let servers = Rotation::new(2);
        let order = || servers.order().collect::<Vec<_>>();
        assert_eq!(order(), [0, 1]);
        servers.turn_away();
        assert_eq!(order(), [1, 0]);
        servers.turn_away();
        assert_eq!(order(), [0, 1]);

        // A unix socket alone.
        let none = Rotation::new(0);
        none.turn_away();
        assert_eq!(none.order().count(), 0);
    }
}
