"""Reads and writes the run's own files.

Written files survive a crash. Files that are read may be damaged, so they are parsed strictly and size limits apply.
Files that users write, such as seeds, are read in `dialogues`.

| module | does |
|---|---|
| `durable` | appends and replaces files so that a crash leaves the old content or the new |
| `rows` | the only reader of the run's own JSON and JSONL: forwards, and from the end |
"""
