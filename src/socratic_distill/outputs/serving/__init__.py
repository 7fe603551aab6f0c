"""Serves a run's tutor as a chat model of OpenAI's API, on this machine alone.

The server listens on loopback. Nobody else on the network reaches it, and web pages of others are refused; whoever uses
this machine may talk to it. Needs the `serve` extra.

| module | does |
|---|---|
| `server` | opens the tutor, listens on a port, runs until it is stopped |
| `app` | the routes |
| `guard` | refuses requests from elsewhere, of other kinds, and too large ones |
| `requests` | what a request may hold |
| `replies` | the shapes of replies and errors |
| `tutor` | the tutor: its prompt, its replies while they are sampled |
| `speech` | the text of a reply that is certain so far |
| `scores` | what the teacher thinks of a reply's tokens |
| `page` | the page, and what a browser may do with it |
"""
