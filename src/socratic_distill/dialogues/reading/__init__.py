"""Reads users' files: rows from any common container, and the published formats of seeds and of recordings.

A source gives rows: plain dicts, each with its file and line for messages. A row's keys show which format it has.
Every format is a pydantic model that checks the row and makes a seed or a recording of it.

| module | does |
|---|---|
| `sources` | a path or the name of a data set to rows |
| `packed` | opens files, unpacks .gz and .zst, decodes lines |
| `json_rows` | JSONL and JSON documents |
| `tables` | CSV and TSV |
| `columnar` | Parquet, directories that `datasets` saved, the hub |
| `shaping` | columns by name, and the functions of the user that change rows |
| `values` | types of single values, and pydantic's errors as plain messages |
| `formats` | which format a row has, and the nearest if it has none |
| `answers` | a row's answer: its kind, and what of a worked solution is the answer |
| `seed_formats`, `benchmark_formats` | the formats of seeds |
| `recording_formats`, `chat_messages`, `run_rows` | the formats of recordings |
"""
