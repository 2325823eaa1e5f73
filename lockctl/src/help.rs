//! The longer texts of the help: what each command promises, and its exit statuses.

/// What a newcomer needs to see once.
pub(crate) const EXAMPLES: &str = "\
Examples:
  lockctl run -l app/blog -- tar cf blog.tar blog/     # waits as long as it takes
  lockctl run -l app/blog --wait 5m -- ./restart.sh    # gives up after five minutes
  lockctl run -l update -s app -n -- ./update.sh       # several locks at once, or none
  lockctl run --limit backup=2 -- ./backup.sh          # at most two at a time
  lockctl list                                         # who holds what, who waits for whom
  lockctl why app/blog                                 # what keeps a lock from being granted
  lockctl history                                      # what ran when, what waited for what
  lockctl doctor                                       # whether all is well
  lockctl kill --task backup-17                        # ends a task, and frees its locks
  lockctl release --task report-4                      # frees the locks of a task that goes on
  lockctl acquire --pid $$ -l app/blog || exit         # in a script: holds the lock until its end

A lock covers everything below it: app/blog and app/shop have nothing to do with each other, and
app waits for both.";

/// Where what is not on the command line comes from, and what statuses have in common.
pub(crate) const SURROUNDINGS: &str = "\
Where the locks are is said by the first of these that says it: --store, LOCKCTL_STORE, the user's
~/.config/lockctl.toml, and /etc/lockctl.toml. If none does, they are in the user's
~/.local/state/lockctl/locks.db, or in /var/lib/lockctl/locks.db if that is root; under sudo it
has to be said. `lockctl list` tells which store it is, and who chose it.

Both files may have the keys store, namespace, lease, kill-grace, busy-status and journal, as in
store = 'mysql://shop@db/shop?password-file=/etc/shop/password'. There are the variables
LOCKCTL_STORE, LOCKCTL_NAMESPACE and LOCKCTL_JOURNAL, which are the options of these names,
XDG_CONFIG_HOME and XDG_STATE_HOME, for ~/.config and ~/.local/state, and NO_COLOR.

Exit status, where a command does not say more:
    0  done
   64  wrong command line
   69  the store cannot be reached
   74  a lock was lost
   75  busy, timed out, or a deadlock
   77  refused
   78  wrong configuration, or unreadable store";

/// What `run` promises.
pub(crate) const RUN_HELP: &str = "\
A lock covers everything below it: \"app\" waits for \"app/blog\", and \"app/blog\" for \"app\".
All locks are granted at once or not at all, in the order in which they were asked for.

The command gets LOCKCTL_TASK (the task's name), LOCKCTL_TASK_ID and LOCKCTL_FENCE (a number that
grows with every hold, for targets that refuse writers that are out of date). A lockctl run by the
command is not blocked by the locks of this one.

The locks stay held as long as any process of the command's group lives, also if lockctl is killed.
What leaves the group (setsid, or jobs of a shell with set -m) is let go when the command has ended by
itself, so let it `wait` for them. A run that is asked to end, or has lost a lock, ends them as well.

Exit status: that of the command; if a signal ended it, lockctl ends by the same signal. Besides:
   64  wrong command line                  75  busy, timed out, or a deadlock
   69  the store cannot be reached         78  wrong configuration, or unreadable store
   71  the system refused a process       126  the command cannot be executed
   74  a lock was lost, and the           127  the command was not found
       command was ended for it

Examples:
  lockctl run -l app/blog -- tar cf blog.tar blog/
  lockctl run --task backup-17 -l app/blog -s mail --wait 10m --log-file backup.log -- ./backup.sh
  lockctl run -q -l job/cleanup --no-wait -E 0 -- ./cleanup.sh  # skip it if it already runs
  lockctl run --limit backup=2 --note \"nightly\" -- ./backup.sh
  lockctl run -q -l job/report --wait 90s -E 0 --at-least 2m -- ./report.sh   # by cron, on several
                                       # hosts: waits longer than the lease, and keeps it for longer";

/// What `acquire` promises.
pub(crate) const ACQUIRE_HELP: &str = "\
For scripts that cannot be run by `lockctl run` as a whole:

  lockctl acquire --pid $$ -l app/blog || exit
  ./backup.sh
  lockctl release --pid $$ || exit

It returns when the locks are granted. A small process stays behind, which renews the lease and gives
the locks back when the process PID has ended, however it ended. So nothing can leak: from the grant
on, the store knows PID as the holder. Who finds PID dead frees the locks, also when both it and the
process that stayed behind were killed with kill -9; and while PID lives nobody of this host takes
them, whatever became of that process. Until the grant it is the other way round: then only this
command counts, and when it is killed the request is gone.

A lockctl run by PID is not blocked by these locks.

Exit status: 0 when the locks are held. 64, 69, 71, 75 and 78 are those of `run`.

If the locks are lost (a store that cannot be reached for the time of the lease, `lockctl release
--task`), PID is not told, but `lockctl release --pid` ends with 74. With --on-lost kill PID and the
commands that it runs are ended, before others may take the locks.";

/// What `kill` promises.
pub(crate) const KILL_HELP: &str = "\
TERM first, KILL after the grace, and nothing is freed before all processes are gone: those that the
store names for the task, their process groups, and all that they have started, in whatever group or
session. A `lockctl run` gets the signal and passes it on, as if it had been asked to end; what left its
group is asked when its own parent has ended. A process that is stopped is continued. A task that waits
leaves the queue. Sub-tasks are ended with their task; other tasks that it has started, in groups of
their own, are spared. No signal ever hits a process that got the id of
another. A daemon, which has left its parents as well, is not ended but named. The locks that a script
acquired are free when the script has ended.

It refuses, and does nothing at all, if one of the tasks of this name runs on another host or in
another container, may not be signalled by this user, works for other tasks too, or runs this very
command. `lockctl release` frees locks without ending anybody.

Exit status: 0 when all are gone and their locks free. Besides:
    1  no such task                        77  refused: nothing was done
   71  a process did not end: its locks    69  the store cannot be reached
       are not freed                       78  wrong configuration, or unreadable store";

/// How completions are installed.
pub(crate) const COMPLETIONS_HELP: &str = "\
Examples:
  mkdir -p ~/.local/share/bash-completion/completions ~/.config/fish/completions ~/.zfunc
  lockctl completions bash >~/.local/share/bash-completion/completions/lockctl
  lockctl completions fish >~/.config/fish/completions/lockctl.fish
  lockctl completions zsh >~/.zfunc/_lockctl";
