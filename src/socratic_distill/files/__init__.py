"""Reading and writing the run's own files.

What is written survives a crash; what is read may be damaged, and is read strictly and within bounds.
Files that users write, such as seeds, are read in `dialogues`.

| module | does |
|---|---|
| `durable` | appends and replaces files so that a crash leaves the old content or the new |
| `rows` | the one reader of the run's own JSON and JSONL: forwards, and from the end |
"""
