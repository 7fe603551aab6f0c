"""One run directory: what a run starts from, what it has saved, and who may write.

`start` decides, from the journal, what a run starts from; nothing is written before that. `directory` holds the
lock and writes everything. The journal is `checkpoints.jsonl`, one line a save.

| module | does |
|---|---|
| `layout` | names of the files |
| `finding` | whether a directory holds a run, and which runs are near it |
| `directory` | the open directory: lock, config, rows |
| `given_config` | the config that a command is given, with its changes |
| `lock` | one writer at a time |
| `identity` | the run's id; copies get their own |
| `ownership` | which saved weights are the run's to delete |
| `record` | a line of the journal |
| `journal_lines` | lines of a journal that may be damaged |
| `journal` | a journal's records, and the newest state among them |
| `journal_writer` | appends to a journal |
| `checkpoints` | `CheckpointManager` and `load_checkpoints` |
| `start` | what a run starts from |
| `state_paths` | what a `load_checkpoint_path` means |
| `spoilt_rows` | steps whose figures were not finite |
| `plan` | what a run is to do, read from its config and files |
| `drift` | whether the config still means the same run |
| `rollback` | removes the rows of steps that run again |
| `orphans` | saves that the service has and the journal lacks |
| `pruning` | deletes saves that are no longer needed |
| `room` | whether the disk has room |
| `cloud` | a run directory in an object store |
"""
