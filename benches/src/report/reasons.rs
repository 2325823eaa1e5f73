//! Why it is so: what makes an approach fast, and what that costs; what keeps a figure from being reached.

/// Said once, for it is true of most that are ahead on one lock.
pub(super) const BARGING: &str = "On **one lock** that all want, those who let others pass are ahead for that reason: whoever has just \
     given it back asks again at once, and has it before any of those who wait has looked again. One \
     process then works as if it were alone, and the others stand by: see “who queued is passed” and \
     “slowest of many”. Interlock gives it to whoever has waited longest, which is another process each \
     time, and has to write that down and wake it.";

/// What to know of an approach, and why it is ahead where it is.
pub(super) fn of_approach(key: &str) -> &'static str {
    match key {
        "old-blob" => {
            "its swap costs more than one by version, for it sends the old text along, and nothing else of \
             it is faster. A table without a version cannot tell an old state that has come back"
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
        "sqlite" => {
            "a row is less to write than a table with the names of all who hold and wait, and no thread \
             stands between who asks and the file"
        }
        "redis" => {
            "the key is small, and nothing renews it: whoever works for longer than it lasts has lost \
             its lock without knowing"
        }
        "socket" => {
            "all is in memory, and who waits is woken at once. When the server ends so do all locks, of \
             holders that live on"
        }
        "distributed-lock-mysql" => {
            "it is `GET_LOCK` with a pool: nothing is written or synced, and the price is the same"
        }
        "distributed-lock-redis" => {
            "it is `SET NX PX` with renewal: the key is small. Its `acquire` does not wait at all, so that \
             the trial asks again every 10 ms"
        }
        "distributed-lock-file" => "it is `flock` with a file for each name: nothing is written",
        "rslock" => {
            "it is `SET NX PX`, and the key is small. Nothing renews what its `lock` and `acquire` take, which \
             are measured; its `using` does"
        }
        _ => "",
    }
}

/// What stands between a figure and what it must reach, where that is known.
pub(super) fn of_figure(figure: &str) -> &'static str {
    match figure {
        "P1" => {
            "besides the bare swap there are the driver with its table, and two hand-overs between its \
             thread and the one that asks: each wakes a processor that idles. Both were made as small as \
             they are by profiles: per request one system call to wake either thread, one to send, one to \
             receive; logs, timers and notes after the answer. What is left out on purpose is to let the \
             thread that asks run the driver: whoever blocks there would cost all others their lease"
        }
        "P2" => "all tasks share one cell, and each swap of it is one durable commit",
        "P4" | "P6" => {
            "the one who is woken still has a durable write to make before it has the lock"
        }
        "P7" => "one process writes for all, one durable commit after the other, and all read it",
        "P8" => {
            "beside few holds it is what is in the way of P1, the more the less a store takes for its bare \
             swap. Beside many, the table is written anew with each swap: besides writing the bytes they \
             have to be put together and copied on their way"
        }
        "P10" => {
            "a store is opened, a process is put under the lock, and two durable writes are made"
        }
        _ => "",
    }
}

/// Why many processes on one cell get less done in a store than P7 asks of MySQL.
pub(super) fn of_contention(store: &str, is_helped: bool) -> &'static str {
    match (store, is_helped) {
        (_, false) => {
            "Nobody can be given the work of others: each acquire and each release is a read and a durable \
             swap of its own, and the next can begin only when it is done. Taking turns saves the swaps that \
             naive retry loses, and no more than that can be gained"
        }
        ("sqlite", true) => {
            "SQLite keeps no queue of its writers: who comes while another writes is refused and has to \
             come again, so that those whose work others do not write in time draw lots"
        }
        ("redis" | "valkey", true) => {
            "Naive retry is fast there, for a try that is lost costs one short call and no sync. What bounds \
             Interlock is likely no longer the store but the processors, which its processes share with \
             the server"
        }
        _ => "",
    }
}

/// Why the lock goes slowly from one to the next where many wait.
pub(super) fn of_waiting(store: &str, is_helped: bool) -> &'static str {
    match (store, is_helped) {
        ("redis" | "valkey", _) => {
            "The server tells everybody who waits of every change, and each of them then reads the table, \
             on the same processors"
        }
        (_, false) => {
            "Only who is next looks every 10 ms; the one behind it every 100 ms, and the others twice a \
             second, to spare the server. Whoever becomes the next in between learns of it when it looks"
        }
        _ => "",
    }
}

/// Why a hold whose client has no other takes more than one of many of a client.
pub(super) const CLIENT: &str = "The client is in the table too: who it is, on which host, in which process, and where it is rung up";

/// Why a command under a lock of a server takes longer.
pub(super) const COMMAND: &str =
    "A server has to be connected to for each command anew, in several round trips";
