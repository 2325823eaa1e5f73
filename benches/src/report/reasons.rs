//! Why it is so: what makes an approach fast, and what that costs; what keeps a figure from being reached.

/// What to know of an approach, and why it is ahead where it is.
pub(super) fn of_approach(key: &str) -> &'static str {
    match key {
        "old-blob" => {
            "it sends the old text along with the new one, and a table without a version cannot tell an \
             old state that has come back"
        }
        "row" => {
            "two locks are two rows, which no commit has to order: processes that want different locks \
             share the sync of a commit. What it gives up for that is everything that needs one order: \
             sets of locks, names that cover names, queues, deadlocks, and knowing who is dead"
        }
        "for-update" => {
            "nothing is written, so nothing is synced, and who waits is woken by the server. The price is \
             a connection with an open transaction for each lock held or waited for"
        }
        "lock-tables" => {
            "nothing is written, so nothing is synced. The price is a connection for each lock, a table \
             for each name, and that a session with locked tables can use no others"
        }
        "get-lock" => {
            "nothing is written, so nothing is synced, and who waits is woken by the server. The price is \
             a connection for each lock held or waited for, and that a lock is as lasting as its \
             connection: a restart, a failover or a proxy in between ends it"
        }
        "o-excl" => {
            "a file is created and nothing is synced. Whoever is killed leaves it behind, and no way to \
             remove it for the dead is free of races"
        }
        "flock" => {
            "two system calls: nothing is written, and the kernel wakes who waits. It knows one host, one \
             lock for each call, and no names, queues or lists; whoever asks finds no more than that \
             somebody has it"
        }
        "sqlite" => "a row is less to write than a table with the names of all who hold and wait",
        "redis" => {
            "the key is small, and nothing renews it: whoever works for longer than it lasts has lost \
             its lock without knowing"
        }
        "socket" => {
            "all is in memory, and who waits is woken at once. When the server ends so do all locks, of \
             holders that live on"
        }
        "distributed-lock-mysql" => "it is `GET_LOCK` with a pool: nothing is written or synced",
        "distributed-lock-redis" => {
            "it is `SET NX PX` with renewal: the key is small. Its `acquire` does not wait at all, so that \
             the trial asks again every 10 ms"
        }
        "distributed-lock-file" => "it is `flock` with a file for each name: nothing is written",
        "rslock" => "it is `SET NX PX` without renewal: the key is small",
        _ => "",
    }
}

/// What stands between a figure and what it must reach, where that is known.
pub(super) fn of_figure(figure: &str) -> &'static str {
    match figure {
        "P1" => {
            "besides the bare swap there are the driver with its table, and two hand-overs between its \
             thread and the one that asks: each wakes a processor that idles"
        }
        "P2" => "all tasks share one cell, and each swap of it is one durable commit",
        "P4" | "P6" => {
            "the one who is woken still has a durable write to make before it has the lock"
        }
        "P7" => "one process writes for all, one durable commit after the other, and all read it",
        "P8" => "the table is written anew with each swap, so that it grows with all who hold",
        "P10" => {
            "a store is opened, a process is put under the lock, and two durable writes are made"
        }
        _ => "",
    }
}
