"""The fake service behind Tinker's API on loopback, so that the real SDK asks it over HTTP."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import tinker
from tests.support.wire import read_pass, write_pass, write_sample

from socratic_distill.testing import FakeRestClient, FakeSamplingClient, FakeServiceClient, FakeTrainingClient

_ROOT = "/api/v1/"
_JSON, _BINARY = "application/json", "application/x-protobuf"
Fields = dict[str, Any]


class FakeApi(ThreadingHTTPServer):
    """A server that has a fake service carry out what a training run asks for.

    A request that the service refuses is answered with the error's status. Other calls are done once they are asked
    for, so that a future has its result at once.

    Attributes:
        url: its base_url.
        service: carries the requests out.
        paths: of all requests, without the part that they share.
    """

    daemon_threads = True

    def __init__(self, service: FakeServiceClient) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.service, self.paths = service, list[str]()
        self._rest = FakeRestClient(service)
        self._lock = threading.Lock()
        self._sessions = 0
        self._training: dict[str, FakeTrainingClient] = {}
        self._sampling: dict[str, FakeSamplingClient] = {}
        self._results: dict[str, bytes | Fields] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes | Fields]:
        """Status and body of an answer."""
        path = path.removeprefix(_ROOT)
        with self._lock:
            self.paths.append(path)
            try:
                return 200, self._answer(path, body)
            except tinker.APIStatusError as error:
                return error.status_code, {"detail": str(error)}

    def _answer(self, path: str, body: bytes) -> bytes | Fields:
        if path == "forward_backward":
            model, is_backward, arguments = read_pass(body)
            training = self._training[model]
            call = training.forward_backward if is_backward else training.forward
            return self._promise(write_pass(call(**arguments).result()))
        if path.startswith("samplers/"):
            return self._sampler(path.removeprefix("samplers/"))
        answer = _ANSWERS.get(path)
        return {} if answer is None else answer(self, json.loads(body or b"{}"))

    def _promise(self, result: bytes | Fields, **also: Any) -> Fields:
        name = f"request-{len(self._results)}"
        self._results[name] = result
        return {"request_id": name, **also}

    def retrieve(self, asked: Fields) -> bytes | Fields:
        return self._results[asked["request_id"]]

    def capabilities(self, asked: Fields) -> Fields:
        return self._rest.get_server_capabilities().result().model_dump()

    def open_session(self, asked: Fields) -> Fields:
        self._sessions += 1
        return {"session_id": f"session-{self._sessions}", "type": "create_session"}

    def open_sampling(self, asked: Fields) -> Fields:
        client = self.service.create_sampling_client(asked.get("model_path"), asked.get("base_model")).result()
        name = f"sampling-{len(self._sampling)}"
        self._sampling[name] = client
        return {"sampling_session_id": name, "type": "create_sampling_session"}

    def _sampler(self, name: str) -> Fields:
        return {"sampler_id": name, "base_model": self._sampling[name].get_base_model()}

    def create_model(self, asked: Fields) -> Fields:
        lora = {name: value for name, value in asked["lora_config"].items() if name in _LORA}
        client = self.service.create_lora_training_client(asked["base_model"], **lora).result()
        return self._opened(asked, client, "create_model")

    def load_weights(self, asked: Fields) -> Fields:
        create = self.service.create_training_client_from_state
        if asked["optimizer"]:
            create = self.service.create_training_client_from_state_with_optimizer
        return self._opened(asked, create(asked["path"]).result(), "load_weights")

    def _opened(self, asked: Fields, client: FakeTrainingClient, kind: str) -> Fields:
        model = f"{asked['session_id']}:train:{asked['model_seq_id']}"
        self._training[model] = client
        return self._promise({"model_id": model, "type": kind})

    def info(self, asked: Fields) -> Fields:
        told = self._training[asked["model_id"]].get_info().model_dump()
        name = told["model_data"]["model_name"]
        # The SDK loads the tokenizer of this name.
        return {**told, "model_id": asked["model_id"], "model_data": {"model_name": name, "tokenizer_id": name}}

    def sample(self, asked: Fields) -> Fields:
        target = asked.get("target_prompt_logprobs")
        response = self._sampling[asked["sampling_session_id"]].sample(
            tinker.ModelInput.model_validate(asked["prompt"]),
            asked["num_samples"],
            tinker.SamplingParams.model_validate(asked["sampling_params"]),
            include_prompt_logprobs=bool(asked.get("prompt_logprobs")),
            target_prompt_logprobs=tinker.TensorData(**target) if target else None,
            **{name: asked[name] for name in _QUESTIONS if name in asked},
        )
        name = f"{asked['sampling_session_id']}-{asked['seq_id']}"
        ids = [f"{name}-{number}" for number in range(asked["num_samples"])]
        return self._promise(write_sample(response.result()), sample_sequence_ids=ids)

    def step(self, asked: Fields) -> Fields:
        params = tinker.AdamParams.model_validate(asked["adam_params"])
        return self._promise(self._training[asked["model_id"]].optim_step(params).result().model_dump())

    def save(self, asked: Fields) -> Fields:
        options = {name: asked[name] for name in ("ttl_seconds", "overwrite", "user_metadata") if name in asked}
        saved = self._training[asked["model_id"]].save_state(asked["path"], **options).result()
        return self._promise({"path": saved.path, "type": "save_weights"})

    def save_for_sampler(self, asked: Fields) -> Fields:
        options = {name: asked[name] for name in ("ttl_seconds", "user_metadata") if name in asked}
        saved = self._training[asked["model_id"]].save_weights_for_sampler(asked["path"], **options).result()
        return self._promise({"path": saved.path, "type": "save_weights_for_sampler"})


_LORA = ("rank", "seed", "train_mlp", "train_attn", "train_unembed")
_QUESTIONS = ("topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k", "prompt_logprobs_last_n")
# What is not here, such as the health request and the session's heartbeats, is answered with nothing.
_ANSWERS: dict[str, Callable[[FakeApi, Fields], bytes | Fields]] = {
    "get_server_capabilities": FakeApi.capabilities,
    "create_session": FakeApi.open_session,
    "create_sampling_session": FakeApi.open_sampling,
    "create_model": FakeApi.create_model,
    "load_weights": FakeApi.load_weights,
    "get_info": FakeApi.info,
    "asample": FakeApi.sample,
    "optim_step": FakeApi.step,
    "save_weights": FakeApi.save,
    "save_weights_for_sampler": FakeApi.save_for_sampler,
    "retrieve_future": FakeApi.retrieve,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        api = self.server
        assert isinstance(api, FakeApi)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, answer = api.answer(urlsplit(self.path).path, body)
        kind, content = (_BINARY, answer) if isinstance(answer, bytes) else (_JSON, json.dumps(answer).encode())
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
