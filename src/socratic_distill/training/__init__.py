"""The algorithm: plays, scores, trains, saves, and recovers.

Begin with `trainer`, then `loop`: the steps of a run, in order. `session` opens and closes the clients that the loop
uses; when the service loses them, `trainer` opens another session.

| module | does |
|---|---|
| `trainer` | `train`: opens the run, runs the loop, recovers |
| `loop` | the steps of a run |
| `step_state` | where the steps of a session stand |
| `session` | the clients of one attempt |
| `opening` | opens the training client on the newest state |
| `stream` | plays and scores dialogues, ahead of training where allowed |
| `learner` | submits passes and optimizer steps |
| `saver` | saves states and sampler weights in the background |
| `save_plan` | when to save |
| `evaluations` | evaluations while training |
| `callbacks` | `Callback`: hooks of the user's, and what they get and return |
| `early_stopping` | a callback that stops by a measure |
| `hooks` | calls the callbacks, so that none of them harms the run |
| `result` | how a run ended |
| `recovery` | how often a lost service is reopened |
| `metrics` | the figures of a step |
| `step_times` | the seconds of a step |
| `start_checks` | functions and endpoints that a config names, checked before anything is paid |
| `preflight` | finds every problem that would stop a start |
| `memory` | whether a run fits this machine's memory |
| `handshake` | what a run must know of a server, asked once |
| `server_facts` | keeps the answers in `features.json` |
| `server_features` | which scoring features a server has |
| `server_losses` | whether a server's losses are sums |
| `dialect` | puts training data as the server takes them |
| `older_samplers` | whether sampling from older weights changes the training |
"""
