"""The config of a run. Pure: building one reads nothing but whether files exist.

`build_socratic_config` builds a `SocraticConfig`, which checks its fields alone and together. Everything here is
about what a config says; what its names mean on a service is found out in `service`.
A config that was read from a file carries a `Grant`, and every function that acts on it asks there first.

| module | does |
|---|---|
| `builder` | `build_socratic_config` |
| `config` | `SocraticConfig`, checked when it is built |
| `sections` | the fields, by section |
| `objectives` | the kinds of objective, and what each needs |
| `parts` | rewards, teachers, recordings, judge and prices |
| `values` | types of single values, with their bounds |
| `rules` | rules between fields |
| `messages` | pydantic's errors in our words |
| `teachers` | each teacher, with nothing left open |
| `schedules` | learning rate and turns by step |
| `model_names` | short and full model names |
| `named_models` | the models that a config names |
| `log_path` | which log paths are URLs, and which are refused |
| `paths` | what relative paths mean after a move |
| `grant` | what a config from a file may do |
| `trust` | checks a config against its grant |
| `known_servers` | servers that the user named before |
"""
