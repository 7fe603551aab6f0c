"""Reads and writes the run's own files, and the package's own metadata.

Written files survive a crash. Files that are read may be damaged, so they are parsed strictly and size limits apply.
Files that users write, such as seeds, are read in `dialogues`.

| module | does |
|---|---|
| `durable` | appends and replaces files so that a crash leaves the old content or the new |
| `extras` | how to install an extra of this package |
| `rows` | the only reader of the run's own JSON and JSONL: forwards, and from the end |
| `tensor_headers` | the header of a safetensors file, checked without the library |
"""
