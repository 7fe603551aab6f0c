"""Run directories in an object store, `log_path="s3://bucket/runs/run-001"`.

A run works in a local directory, its mirror, with the code that a local run has. What changed is uploaded to the store
and then committed, all at once, by an object that must not exist yet: commit number n + 1. That one condition is all
that is asked of a store, and it does three things.

- Readers see whole commits only: a crash between two uploads leaves objects that no commit names.
- It is the lock. The newest commit says who writes; a process that takes over makes the next one, with a higher fencing
  number, and whoever it took over from can commit nothing any more, since the number that comes next for it is taken.
- It never compares two clocks: whether a writer lives is seen from whether its heartbeat changes while one watches.

| module | does |
|---|---|
| `urls` | which log paths are meant |
| `stores` | an object store through fsspec, and whether it can be used |
| `patience` | tries again what failed |
| `commits` | the commits and what they hold |
| `lease` | taking a run over, and showing that its writer lives |
| `packing` | files of a directory as objects, those that only grow in pieces |
| `fetching` | objects as files of a directory |
| `mirror` | the directory that a run works in, uploaded in the background |
| `reading` | a copy to read |
| `guard` | nothing is deleted on the service that the store still counts on |
"""
