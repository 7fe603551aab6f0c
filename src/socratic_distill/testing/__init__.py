"""A Tinker service for tests, in process: no network, no torch, the same answers every time.

    from socratic_distill import build_socratic_config, train
    from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

    service = FakeServiceClient(faults=[Fault("save_state", nth=3, error=500)])
    train(config, service_client=service, rest_client=FakeRestClient(service))
    assert service.count("save_state") == 3

Any model name works, and another name is another toy model. Their log-probabilities respond to training:
use learning rates of about 0.05 to 0.5, since the toy's weights are few. `FakeServiceClient(directory)`
keeps saved weights on disk for a later process. `service.calls` is the record of every call.

`FakeServiceClient(server="tuft")` differs from the hosted service as that server does. `VirtualServiceClient` takes a
hosted service's time to answer, on the virtual clock of `run_virtual`.

| module | does |
|---|---|
| `service`, `clients`, `rest` | the fake clients |
| `ledger` | what they share: models, planned faults, the record of calls |
| `faults` | faults to plan |
| `checkpoints`, `store` | saved weights, in memory or on disk |
| `toy_model`, `tokenizer`, `weights`, `losses` | the toy models and their training |
| `sampling`, `questions` | replies and scores |
| `servers` | how other servers of the API differ |
| `clock`, `latency`, `virtual`, `scripted` | a service that takes its time, on a virtual clock |
"""

from socratic_distill.in_process import status_error
from socratic_distill.testing.clients import FakeSamplingClient, FakeTrainingClient
from socratic_distill.testing.clock import VirtualLoop, run_virtual
from socratic_distill.testing.faults import Fault
from socratic_distill.testing.latency import Latency, ModelSpeed
from socratic_distill.testing.ledger import CallRecord
from socratic_distill.testing.rest import FakeRestClient
from socratic_distill.testing.service import FakeServiceClient
from socratic_distill.testing.tokenizer import ToyTokenizer
from socratic_distill.testing.virtual import Served, VirtualServiceClient

__all__ = [
    "CallRecord",
    "FakeRestClient",
    "FakeSamplingClient",
    "FakeServiceClient",
    "FakeTrainingClient",
    "Fault",
    "Latency",
    "ModelSpeed",
    "Served",
    "ToyTokenizer",
    "VirtualLoop",
    "VirtualServiceClient",
    "run_virtual",
    "status_error",
]
