"""The config of a run. Pure: building one only checks whether files exist.

`build_socratic_config` builds a `SocraticConfig`, which checks each field and the rules between fields. This room knows
only what a config says; `service` finds out what its names mean on a service.
A config that was read from a file carries a `Grant`, and every function that acts on the config checks it first.

| module | does |
|---|---|
| `builder` | `build_socratic_config` |
| `config` | `SocraticConfig`, checked when it is built |
| `sections` | the fields, by section |
| `optimisation` | the section of the optimizer |
| `dialogue_settings` | the section of dialogues: openings and endings |
| `seed_sources` | the fields that name seeds and recordings |
| `objectives` | the kinds of objective, and what each needs |
| `token_weights` | the kinds of token weight, and what each needs |
| `wanted` | what objective and token weights need to know about a token |
| `policy_losses` | the losses on advantages, and the options of each |
| `students` | several simulated students, and endpoints of the OpenAI API |
| `parts` | teachers, seeds files, recordings, judge and prices |
| `rewards` | the kinds of reward, and their vetoes |
| `values` | types of single values, with their bounds |
| `rules` | rules between fields |
| `display` | short reprs, and the table that a notebook shows |
| `shorthand` | short forms of the parts |
| `foreign_names` | the names that TRL and tinker-cookbook use, with ours |
| `documents` | config files as plain values, with the place of each |
| `yaml_documents`, `json_documents`, `document_parts` | the formats, and what they share |
| `overrides` | `key=value` of the command line |
| `given` | builds a config from a document and overrides |
| `messages` | pydantic's errors as plain messages |
| `teachers` | each teacher, with its defaults filled in |
| `signed_teachers` | presets of teachers with weights that may be negative |
| `schedules` | learning rate and turns by step |
| `catalogue` | the models that this version knows: `models.json` |
| `reasoning` | how a role's chat template is asked for reasoning |
| `model_names` | short and full model names |
| `named_models` | the models that a config names |
| `call` | a config as the call that builds it |
| `log_path` | which log paths are URLs, and which are refused |
| `paths` | keeps what relative paths meant when the config was built |
| `grant` | what a config from a file may do |
| `trust` | checks a config against its grant |
| `functions` | imports the functions of the user that a config names |
| `known_servers` | remembers the servers that the user has named; one URL for a server |
"""
