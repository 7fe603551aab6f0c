"""A service of the Tinker API: opened, asked, waited for, and its errors read.

`connect` opens what `base_url` names: hosted Tinker, another server, or the local engine. Everything above talks to
clients of the SDK's interface and never asks which of the three it has.

| module | does |
|---|---|
| `interface` | the clients that every service has, as protocols |
| `connect` | opens a service, its clients and tokenizers |
| `keys` | the API key, checked before it is sent |
| `redirects` | no key follows a redirect |
| `offer` | the models that the service offers, and whether a config fits them |
| `claims` | what a server says of itself, beyond what the SDK reads |
| `proposal` | which offered models to take in place of names that are not offered |
| `handover` | a script that is only looked at hands its config over |
| `failures` | the SDK's errors as ours |
| `numbers` | which log-probabilities are valid |
| `paths` | paths of saved weights in the ways that servers write them |
| `endpoints` | models on servers of the OpenAI API |
| `external_weights` | weights that the service holds for download |
| `downloads` | one file, by signed URL, resumed |
| `signed_urls` | which URLs of a store are asked; they stay secret |
| `digests` | hashes that stores send |
| `watched` | requests that are never answered |
| `pauses` | pauses that the SDK mentions in its log alone |
| `quiet` | errors that the SDK logs although they are handled |
| `waiting` | async work awaited from blocking code, in threads, and through signals |
"""
