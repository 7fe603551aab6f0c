"""What people see of a run. Nothing here changes what is trained.

| module | does |
|---|---|
| `progress` | tells display and trackers what happens |
| `display` | the live view, or plain lines |
| `trackers` | wandb, trackio, tensorboard |
| `benchmarks` | `benchmark`: a published suite, its results also at the trackers |
| `serving` | a tutor as a chat model of OpenAI's API, and a page to talk to it |
| `report` | the report, one HTML file |
| `leaderboard` | several runs in one HTML file, with columns to sort by |
| `overview` | a run in one row |
| `side_by_side` | what sets runs apart: configs, last steps, evaluations |
| `loaded` | a run as an object for notebooks |
| `exports` | dialogues, adapters and merged weights in other formats |
"""
