"""The tutor of a run on a service as a PEFT directory: the real SDK, on an API and a store on loopback."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.adapters import adapter_config, lora_weights
from tests.support.rows import write_rows
from tests.support.weights_store import BASE, HASHES, KEY, Fault, Store, WeightsApi

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    DownloadError,
    ServiceError,
    StorageError,
    UnsupportedServer,
    UntrustedConfig,
    export_adapter,
    export_adapter_async,
)
from socratic_distill.cli import main
from socratic_distill.outputs.exports import fetched
from socratic_distill.service.downloads import Patience

pytestmark = pytest.mark.thinned

STATE = "tinker://run:train:0/weights/000004"
WEIGHTS = "adapter_model.safetensors"
TAKEN = ["README.md", "adapter_config.json", WEIGHTS]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as store:
        yield store
        store.resume.set()


@pytest.fixture
def api(store, monkeypatch) -> Iterator[WeightsApi]:
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    monkeypatch.setattr(fetched, "PATIENCE", Patience(first_pause=0.0, longest_pause=0.0, read_seconds=10))
    with WeightsApi(store) as api:
        api.states |= {STATE, STATE.replace("4", "2")}
        yield api


@pytest.fixture
def run(api, make_config, tmp_path) -> Path:
    """A run on the API, with two training states and newer sampler weights."""
    path = tmp_path / "run"
    path.mkdir()
    config = make_config(base_url=api.url, tutor_model_name=BASE)
    (path / "config.json").write_text(config.model_dump_json())
    write_rows(
        path / "checkpoints.jsonl",
        {"name": "000002", "batch": 2, "state_path": STATE.replace("4", "2"), "kind": "periodic"},
        {"name": "000004", "batch": 4, "state_path": STATE, "sampler_path": "tinker://run:train:0/sampler_weights/4"},
        {"name": "s5", "batch": 5, "sampler_path": "tinker://run:train:0/sampler_weights/5", "kind": "sampler"},
    )
    return path


@pytest.fixture
def export(api, run, tmp_path, caplog) -> Callable[..., Any]:
    """Exports the run; whatever is said of it holds no secret."""
    caplog.set_level("DEBUG")

    def export(**options: Any) -> Any:
        try:
            return export_adapter(run, tmp_path / "out", **({"base_url": api.url} | options))
        except Exception as error:
            chain: list[Any] = [error]
            while chain[-1].__cause__ or chain[-1].__context__:
                chain.append(chain[-1].__cause__ or chain[-1].__context__)
            assert not any("secret-" in f"{one} {one!r}" for one in chain), "a message holds a signature"
            raise
        finally:
            assert "secret-" not in caplog.text and KEY not in caplog.text, "a log holds a secret"

    return export


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def assert_whole(out: Path, store: Store) -> None:
    assert sorted(written(out)) == sorted(TAKEN)
    assert written(out)[WEIGHTS] == store.files[WEIGHTS]
    assert not list(out.parent.glob(".out*"))


def assert_nothing(out: Path, api: WeightsApi) -> None:
    """Neither here nor on the service is anything left."""
    assert not out.exists() and not list(out.parent.glob(".out*"))
    assert not api.exports and len(api.deleted) == 1


# The whole way


def test_newest_state_becomes_a_peft_directory(export, api, store, tmp_path, caplog):
    exported = export()
    assert_whole(tmp_path / "out", store)
    assert (exported.weights, exported.name, exported.batch, exported.base_model) == (STATE, "000004", 4, BASE)
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE and config["r"] == 2
    assert not api.exports and len(api.deleted) == 1 and api.sessions, "the export is deleted, the session ended"
    assert "exporting the tutor after 4 steps (checkpoint '000004'" in caplog.text
    assert "starts a training session" in caplog.text and "newer sampler weights ('s5')" in caplog.text
    assert all(KEY not in json.dumps(headers) for _, headers in store.asked), "the store got the service's key"
    assert all("x-api-key" not in headers and "authorization" not in headers for _, headers in store.asked)


def test_named_checkpoint_is_taken(export, store, tmp_path):
    exported = export(name="000002")
    assert (exported.weights, exported.batch) == (STATE.replace("4", "2"), 2)
    assert_whole(tmp_path / "out", store)


async def test_within_a_loop_it_is_awaited(run, api, store, tmp_path):
    await export_adapter_async(run, tmp_path / "out", base_url=api.url)
    assert_whole(tmp_path / "out", store)


def test_command_says_what_it_exports_and_where(run, api, store, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["export", str(run), "--adapter", str(out), "--base-url", api.url]
    assert main([*command, "--checkpoint", "000002"]) == 0
    said = capsys.readouterr()
    assert said.out == f"the tutor after 2 steps (checkpoint '000002'), an adapter of {BASE}, is in {out}\n"
    assert "exporting the tutor after 2 steps" in said.err and "not taken" in said.err
    assert_whole(out, store)
    assert main(command) == 1 and "exists already" in capsys.readouterr().err


def test_a_state_that_the_service_lost_is_passed_over(export, api, caplog):
    api.states.remove(STATE)
    assert export().batch == 2
    assert f"{STATE} (after 4 steps) is gone" in caplog.text
    api.states.clear()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s5", "sampler weights alone, which the service does not give out.*exported are 000004, 000002"),
        ("nothing", "no checkpoint named 'nothing'; those that can be exported are 000004, 000002"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_asked(export, api, name, message):
    with pytest.raises(CheckpointNotFound, match=message):
        export(name=name)
    assert api.calls == []


def test_states_that_are_gone_are_refused(export, api):
    api.states.clear()
    with pytest.raises(CheckpointNotFound, match="all 2 training states are gone"):
        export()
    assert not any("create_session" in call for call in api.calls), "a session started"


def test_strangers_server_gets_nothing(export, api, store):
    with pytest.raises(UntrustedConfig, match="--base-url"):
        export(base_url=None)
    assert api.calls == [] and store.asked == []


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_gives_nothing_out_is_told(export, api, tmp_path, status):
    api.refusals["save_weights_external"] = status
    with pytest.raises(UnsupportedServer, match="does not give trained weights out"):
        export()
    assert not list(tmp_path.glob("*out*")) and api.sessions, "the session was left open"


def test_clients_of_other_kinds_may_lack_the_call(run, tmp_path):
    from socratic_distill.testing import FakeRestClient, FakeServiceClient

    service = FakeServiceClient(server="tuft")
    state = service.create_lora_training_client("small").result().save_state("a").result().path
    write_rows(run / "checkpoints.jsonl", {"name": "a", "batch": 1, "state_path": state})
    clients: dict[str, Any] = {"service_client": service, "rest_client": FakeRestClient(service)}
    with pytest.raises(UnsupportedServer):
        export_adapter(run, tmp_path / "out", **clients)
    with pytest.raises(ConfigError, match="needs both clients"):
        export_adapter(run, tmp_path / "out", service_client=service)


# Interruptions


@pytest.mark.parametrize("etags", [True, False])
def test_a_cut_connection_is_gone_on_from(export, store, tmp_path, etags):
    store.etags = etags
    store.faults = deque([None, None, Fault(cut=5000), Fault(cut=1), Fault(cut=0), Fault(status=503)])
    export()
    assert_whole(tmp_path / "out", store)
    ranges = [headers.get("range") for headers in store.asked_for(WEIGHTS)]
    assert ranges[0] is None and (ranges[1:] == ["bytes=5000-", *["bytes=5001-"] * 3])
    assert all(("if-range" in headers) == etags for headers in store.asked_for(WEIGHTS)[1:])
    assert all(headers["accept-encoding"] == "identity" for _, headers in store.asked)


def test_a_store_without_parts_is_asked_for_all(export, store, tmp_path):
    store.ranges = False
    store.faults = deque([None, None, Fault(cut=5000)])
    export()
    assert_whole(tmp_path / "out", store)


@pytest.mark.parametrize("etags", [True, False])
def test_the_same_command_goes_on(export, api, store, tmp_path, caplog, etags):
    store.etags = etags
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError, match="stopped at 5000 bytes, 6 attempts in a row brought nothing") as stopped:
        export()
    assert stopped.value.can_resume and "Give the same command again" in caplog.text
    assert len(api.exports) == 1 and not (tmp_path / "out").exists()
    store.faults.clear()
    store.asked.clear()
    export()
    assert_whole(tmp_path / "out", store)
    assert [headers.get("range") for headers in store.asked_for(WEIGHTS)] == ["bytes=5000-"]
    assert not store.asked_for("README.md"), "what was whole was downloaded again"
    assert sum("save_weights_external" in call for call in api.calls) == 1 and not api.exports


def test_after_the_hour_the_same_command_exports_anew(export, api, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    api.exports.clear()  # it expired
    store.faults.clear()
    store.asked.clear()
    export()
    assert_whole(tmp_path / "out", store)
    assert [headers.get("range") for headers in store.asked_for(WEIGHTS)] == ["bytes=5000-"], "the tag is the same"
    assert sum("save_weights_external" in call for call in api.calls) == 2


def test_without_tags_a_part_of_an_expired_export_is_not_gone_on_from(export, api, store, tmp_path):
    store.etags = False
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    api.exports.clear()
    store.faults.clear()
    store.files[WEIGHTS] = lora_weights(seed=1)
    export()
    assert_whole(tmp_path / "out", store)


def test_what_is_left_of_another_state_is_not_used(export, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    store.faults.clear()
    store.asked.clear()
    store.files[WEIGHTS] = lora_weights(seed=1)
    export(name="000002")
    assert_whole(tmp_path / "out", store)
    assert [headers.get("range") for headers in store.asked_for(WEIGHTS)] == [None]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_keeps_what_was_downloaded(run, api, store, tmp_path, number):
    store.faults = deque([None, None, Fault(cut=5000, stop=True)])
    out = tmp_path / "out"
    command = [sys.executable, "-m", "socratic_distill", "export", str(run), "--adapter", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [*command, "--base-url", api.url], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert store.stopped.wait(120)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    store.resume.set()
    assert process.returncode == 128 + number and "Give the same command again to go on" in said, said
    assert "Traceback" not in said and "secret-" not in said and len(api.exports) == 1
    assert main([*command[3:], "--base-url", api.url]) == 0
    assert_whole(out, store)


def test_another_process_that_writes_there_is_told(export, store, tmp_path):
    from filelock import FileLock

    (tmp_path / ".out.partial").mkdir()
    with FileLock(tmp_path / ".out.partial/lock"), pytest.raises(ConfigError, match="another process is writing"):
        export()


# Signatures


def test_a_refused_url_is_signed_again(export, api, store, tmp_path):
    store.faults = deque([None, None, Fault(status=403), None])
    export()
    assert_whole(tmp_path / "out", store)
    assert api.signed == 2


def test_an_expired_url_is_signed_again_within_a_file(export, api, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), Fault(status=400, body=b"ExpiredToken")])
    export()
    assert_whole(tmp_path / "out", store)
    assert api.signed == 2 and store.asked_for(WEIGHTS)[-1]["range"] == "bytes=5000-"


def test_urls_are_signed_again_before_they_expire(export, api):
    api.lifetime = timedelta(minutes=4)
    export()
    assert api.signed == 4, "once for the names, and once for each file"


def test_a_store_that_refuses_for_good_is_told(export, api, store):
    store.faults = deque([Fault(status=403)] * 9)
    with pytest.raises(DownloadError, match=r"refused adapter_config\.json 4 times.*403") as refused:
        export()
    assert refused.value.can_resume and len(api.exports) == 1


def test_the_time_limit_at_the_service_is_renewed(export, api, monkeypatch):
    monkeypatch.setattr("socratic_distill.service.external_weights._RENEW_SECONDS", 0.0)
    export()
    assert sum(call.endswith("/ttl") for call in api.calls) >= 3


def test_an_export_that_cannot_be_deleted_is_named(export, api, store, tmp_path, caplog):
    api.refusals = {}
    answer = api.answer

    def refuses(method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (403, {"detail": "no"}) if method == "DELETE" else answer(method, path, body)

    api.answer = refuses
    export()
    assert_whole(tmp_path / "out", store)
    path = next(iter(api.exports))
    assert f"{path} is still on the service, which deletes it by itself within an hour" in caplog.text


# What is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lora_weights()[:-1], "it has .* bytes of tensors; its header names"),
        (lora_weights() + b"\0", "it has .* bytes of tensors; its header names"),
        (b"PK\x03\x04" + bytes(100), "does not begin with the length of a safetensors header"),
        (b"", "does not begin with the length"),
        (lora_weights(layer="other").replace(b"lora_", b"lara_"), "no tensor's name has lora_ in it"),
    ],
)
def test_a_truncated_or_foreign_file_is_refused(export, api, store, tmp_path, content, message):
    store.files[WEIGHTS] = content
    with pytest.raises(DownloadError, match=message):
        export()
    assert_nothing(tmp_path / "out", api)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "it is no JSON object"),
        (b"{", "is no config of a LoRA"),
        (adapter_config(peft_type="LOHA"), "peft_type is 'LOHA'"),
        (adapter_config(r=0), "its r is 0"),
        (adapter_config(auto_mapping={"parent_library": "os"}), "it asks for code of auto_mapping"),
        (adapter_config(base_model_name_or_path=["x"]), "no name of a model"),
        (b" " * (1 << 24) + adapter_config(), "expected at most"),
    ],
)
def test_a_config_of_something_else_is_refused(export, api, store, tmp_path, content, message):
    store.files["adapter_config.json"] = content
    with pytest.raises(DownloadError, match=message):
        export()
    assert_nothing(tmp_path / "out", api)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*TAKEN, "../evil"], "leads out of the directory"),
        ([*TAKEN, "/etc/passwd"], "is absolute"),
        ([*TAKEN, "a\\b"], "a character"),
        ([*TAKEN, "C:x"], "a character"),
        ([*TAKEN, "readme.md"], "are one file on some systems"),
        (["adapter_config.json", "adapter_model.bin"], "is a pickle, which can run code"),
        ([f"{name}.age" for name in TAKEN], "encrypted"),
        (["adapter_config.json", "adapter_model-00001-of-00002.safetensors"], "in 1 parts, which peft does not open"),
        ([], "there are no files"),
    ],
)
def test_names_outside_are_refused_before_the_first_byte(export, api, store, tmp_path, names, message):
    api.names = names
    with pytest.raises(DownloadError, match=message):
        export()
    assert store.asked == []
    assert_nothing(tmp_path / "out", api)


@pytest.mark.parametrize("header", HASHES)
def test_a_hash_that_the_store_sends_is_checked(export, api, store, tmp_path, header):
    store.hashes = {header: HASHES[header]}
    export()
    assert_whole(tmp_path / "out", store)
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    (tmp_path / "out").rmdir()
    api.deleted.clear()
    wrong = lora_weights(seed=1)  # of the same length, so that only the hash tells
    store.faults = deque([None, None, Fault(body=wrong), Fault(body=wrong)])
    with pytest.raises(DownloadError, match=r"does not have the hash \((md5|sha256)\).*twice"):
        export()
    assert_nothing(tmp_path / "out", api)


def test_a_damaged_copy_is_downloaded_once_more(export, store, tmp_path):
    store.hashes = {"content-md5": HASHES["content-md5"]}
    store.faults = deque([None, None, Fault(body=lora_weights(seed=1))])
    export()
    assert_whole(tmp_path / "out", store)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-range": "bytes 4999-16271/16272"},
        {"content-range": "bytes 5000-9/*/"},
        {"content-range": "bytes 5000-99999/100000"},
        {"content-range": "items"},
        {"etag": '"another"'},
        {"etag": 'W/"weak"'},
    ],
)
def test_another_part_than_asked_for_is_not_appended(export, store, tmp_path, headers):
    store.faults = deque([None, None, Fault(cut=5000), Fault(headers=headers)])
    export()
    assert_whole(tmp_path / "out", store)


def test_a_file_that_changes_is_begun_anew(export, api, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    store.faults.clear()
    store.files[WEIGHTS] = lora_weights(seed=1)
    export()
    assert_whole(tmp_path / "out", store)


def test_more_was_downloaded_than_there_is(export, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    part = tmp_path / ".out.partial/files" / WEIGHTS
    part.write_bytes(bytes(50_000))
    store.faults.clear()
    export()
    assert_whole(tmp_path / "out", store)


@pytest.mark.parametrize(
    ("location", "is_followed"),
    [
        ("/bucket/{name}?X-Amz-Signature={signature}", True),
        ("ftp://example.invalid/x", False),
        ("http://example.invalid/x", False),
        ("file:///etc/passwd", False),
        ("https://user:word@example.invalid/x", False),
        ("http://[", False),
        ("https://exa mple.invalid/x", False),
    ],
)
def test_redirects_lead_to_https_or_stay_here(export, api, store, tmp_path, location, is_followed):
    target = location.format(name="adapter_config.json", signature="secret-redirected-0123456789")
    store.signatures.add("secret-redirected-0123456789")
    store.faults = deque([Fault(status=302, headers={"location": target})])
    if is_followed:
        export()
        assert_whole(tmp_path / "out", store)
        return
    with pytest.raises(DownloadError, match=r"the store gives adapter_config\.json at .* which is not asked"):
        export()
    assert_nothing(tmp_path / "out", api)


def test_a_circle_of_redirects_ends(export, api, store):
    store.faults = deque([Fault(status=302, headers={"location": "/bucket/x"})] * 9)
    store.signatures.add("")
    with pytest.raises(DownloadError, match=r"redirects adapter_config\.json more than 3 times"):
        export()


def test_an_answer_without_length_is_taken_as_it_ends(export, store, tmp_path):
    store.lengths = False
    export()
    assert_whole(tmp_path / "out", store)


def test_an_answer_without_length_that_is_cut_is_refused(export, api, store, tmp_path):
    store.lengths = False
    store.faults = deque([None, None, Fault(body=lora_weights()[:5000])])
    with pytest.raises(DownloadError, match="its header names"):
        export()
    assert_nothing(tmp_path / "out", api)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(headers={"content-encoding": "gzip"}), "in the encoding 'gzip'; expected none"),
        (Fault(status=204), "answers the request for adapter_config.json with 204"),
        (Fault(status=206), "answers the request for adapter_config.json with 206"),
    ],
)
def test_answers_that_are_no_file_are_refused(export, api, store, tmp_path, fault, message):
    store.faults = deque([fault])
    with pytest.raises(DownloadError, match=message):
        export()
    assert_nothing(tmp_path / "out", api)


# The disk


def test_a_full_disk_says_so_and_keeps_what_is_there(export, api, store, tmp_path, monkeypatch):
    from socratic_distill.service.downloads import Download

    write = Download._write_blocks

    async def full(self: Download, response: Any, file: Any, done: int) -> None:
        if self.name == WEIGHTS:
            file.write(store.files[WEIGHTS][:5000])
            file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await write(self, response, file, done)

    with monkeypatch.context() as patched:
        patched.setattr(Download, "_write_blocks", full)
        with pytest.raises(StorageError, match=r"No space left on device.*What was downloaded is kept: make room"):
            export()
    assert len(api.exports) == 1
    store.asked.clear()
    export()
    assert_whole(tmp_path / "out", store)
    assert [headers["range"] for headers in store.asked_for(WEIGHTS)] == ["bytes=5000-"]


def test_a_disk_without_room_is_told_before_the_download(export, store, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(StorageError, match="bytes are to come, and the disk has 10000 left"):
        export()


def test_out_that_appears_meanwhile_is_left_alone(export, store, tmp_path, monkeypatch):
    check = fetched.check_adapter

    def appears(*arguments: Any) -> None:
        check(*arguments)
        (tmp_path / "out").mkdir()

    monkeypatch.setattr(fetched, "check_adapter", appears)
    with pytest.raises(ConfigError, match="exists already"):
        export()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("what", ["file", "link", "other", "memory", "path"])
def test_what_stands_beside_out_is_not_touched(export, api, tmp_path, what):
    partial = tmp_path / ".out.partial"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").write_text("x")
    if what == "file":
        partial.write_text("x")
    elif what == "link":
        partial.symlink_to(mine)
    else:
        partial.mkdir()
        (partial / "precious").write_text("x")
    if what == "memory":
        (partial / "export.json").write_text("{")
    if what == "path":
        memory = {"state_path": STATE, "external_path": "tinker://run:train:0/external_weights/precious", "files": {}}
        (partial / "export.json").write_text(json.dumps(memory))
    with pytest.raises(ConfigError, match="is not what an interrupted export leaves"):
        export()
    assert (mine / "precious").exists() and api.deleted == []


def test_a_url_that_is_none_is_refused(export, api, store, tmp_path, monkeypatch):
    for url in ("http://[", "", "ftp://a/b?X-Amz-Signature=secret-1", "http://example.invalid/x?sig=secret-1"):
        api.deleted.clear()
        monkeypatch.setattr(store, "sign", lambda name, signature, url=url: url)
        with pytest.raises(DownloadError, match=r"the service gives adapter_config\.json at .* which is not asked"):
            export()
        assert_nothing(tmp_path / "out", api)


@pytest.mark.parametrize("urls", [{"adapter_config.json": None}, None, []])
def test_an_answer_without_urls_is_refused(export, api, tmp_path, urls):
    answer = api.answer

    def changed(method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        status, content = answer(method, path, body)
        return status, content | {"urls": urls} if "urls" in content else content

    api.answer = changed
    with pytest.raises(UnsupportedServer, match="its answer is not what the SDK reads"):
        export()
    assert_nothing(tmp_path / "out", api)


def test_what_else_stands_among_the_parts_does_not_come_along(export, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    files = tmp_path / ".out.partial/files"
    (files / "planted.py").write_text("x")
    (files / "planted").mkdir()
    store.faults.clear()
    export()
    assert_whole(tmp_path / "out", store)


def test_a_lock_that_is_a_link_is_not_followed(export, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("x")
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/lock").symlink_to(victim)
    with pytest.raises(ConfigError, match="is not what an interrupted export leaves"):
        export()
    assert victim.read_text() == "x"


def test_links_among_the_parts_are_not_written_through(export, store, tmp_path):
    store.faults = deque([None, None, Fault(cut=5000), *[Fault(cut=0)] * 20])
    with pytest.raises(DownloadError):
        export()
    victim = tmp_path / "victim"
    victim.write_text("x" * 10)
    part = tmp_path / ".out.partial/files" / WEIGHTS
    part.unlink()
    part.symlink_to(victim)
    store.faults.clear()
    with pytest.raises((StorageError, ServiceError)):
        export()
    assert victim.read_text() == "x" * 10
