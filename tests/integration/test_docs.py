"""Every code block of the README and the docs is executed, the fake in the hosted service's place.

A page is a session: its blocks run in their order, in one directory, so that what one writes another may read. What is
done with a block follows from its language; one that is not listed here fails. A title, as in
```` ```jsonl title="seeds.jsonl" ````, names the file that holds the block.
"""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.run_directories import make_its_own
from tests.support.served import served

import socratic_distill
from socratic_distill import SeedError, cli, errors, load_seeds, train
from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.values import Setting
from socratic_distill.dialogues.recordings import load_recordings
from socratic_distill.run.record import parse_line
from socratic_distill.service import connect as service
from socratic_distill.testing import FakeRestClient, FakeServiceClient

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# What a test cannot wait for: the sizes of a block that leaves them to the defaults, and the most that it gets.
SIZES: dict[str, Any] = {"max_steps": 1, "max_turns": 1, "groups_per_batch": 2, "num_envs": 2, "display": "off"}
BOUNDS = {"max_steps": 4, "max_turns": 2, "groups_per_batch": 4, "num_envs": 2, "eval_seeds": 2}
# The most that a project gets which a page begins with `init`: the pages' commands raise its number of steps.
PROJECT = {"groups_per_batch": 1, "num_envs": 2, "max_steps": 3, "max_tokens": 12, "eval_seeds": 2}
PROJECT["eval_dialogues_per_seed"] = 1
# What `...` stands for in a block that shows one field.
USUAL: dict[str, Any] = {
    "tutor_model_name": "Qwen3-4B-Instruct-2507",
    "student_model_name": "Qwen3-4B-Instruct-2507",
    "teacher_model_name": "Qwen3-4B-Instruct-2507",
    "learning_rate": 0.1,
    "max_tokens": 12,
}
# Lines of bash that change more than a directory of the test's.
EXTRAS = ("cloud", "data", "local", "math", "openai", "serve")
NOT_RUN = ("pip install .", *(f"pip install '.[{extra}]'" for extra in EXTRAS))
FENCE = re.compile(
    r'^(?P<fence>`{3,})(?P<language>[\w-]*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^(?P=fence)$', re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, the line of its fence, its language, its file and its text."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match["language"], match["title"], match["text"]))
    return found


@dataclass
class Prepared:
    """Runs that pages speak of, made once: `runs/run-001` and its like on the fake, `runs/quickstart` on torch."""

    root: Path
    server: FakeServiceClient


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root, server = tmp_path_factory.mktemp("docs"), FakeServiceClient()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, steps in (("run-001", 13), ("run-002", 2)):
            sizes: dict[str, Any] = SIZES | {"max_steps": steps, "save_every": 5, "eval_every": 10, "eval_seeds": 2}
            config = socratic_distill.build_socratic_config(**USUAL, **sizes, log_path=f"runs/{name}")
            train_on_fake(server, config)
        if find_spec("torch") is not None:
            quickstart = load_script("quickstart")
            small = {"groups_per_batch": 1, "num_envs": 2, "eval_seeds": 2, "display": "off"}
            train(quickstart.make_config(1, "runs/quickstart").model_copy(update=small))
    return Prepared(root, server)


def load_script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def session(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeServiceClient:
    """A directory with the prepared runs; the fake is opened wherever a config does not say "local"."""
    build, open_real = socratic_distill.build_socratic_config, service.open_service

    def open_service(config: socratic_distill.SocraticConfig) -> service.Service:
        if config.base_url == "local":
            return open_real(config)
        return service.Service(prepared.server, FakeRestClient(prepared.server))

    def build_small(*usual: Any, **fields: Any) -> socratic_distill.SocraticConfig:
        if usual:
            assert usual == (...,), "positional arguments other than `...`"
            fields = {**USUAL, "log_path": f"runs/shown-{len(list(Path('runs').iterdir()))}", **fields}
        bounded = {name: min(fields[name], most) for name, most in BOUNDS.items() if name in fields}
        return build(**{**SIZES, **fields, **bounded})

    shutil.copytree(prepared.root / "runs", tmp_path / "runs")
    for run in (tmp_path / "runs").iterdir():
        make_its_own(run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as Python does with a script's directory
    monkeypatch.setattr("socratic_distill.service.connect.open_service", open_service)
    monkeypatch.setattr("socratic_distill.build_socratic_config", build_small)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setenv("BROWSER", "true")  # the program of this name, which opens nothing
    return prepared.server


@dataclass
class Page:
    """What the blocks of a page share. A server of one block answers the blocks after it, until another one begins."""

    directory: Path
    names: dict[str, Any]
    server: ExitStack = field(default_factory=ExitStack)
    address: str = ""

    def serve(self, command: str, run: str, *options: str) -> None:
        self.server.close()
        log = self.directory / "server.log"
        self.address = self.server.enter_context(served(Path(run), *options, log=log, command=(command,)))

    def asked(self, text: str) -> str:
        """A block's text with the address of the page's server, which takes a free port, in place of the usual one."""
        return text.replace("http://127.0.0.1:8000", self.address) if self.address else text


def run_python(block: Block, page: Page) -> None:
    """Runs a block and the tests that it defines. One that shows a field (`...`) trains with it.

    A block with a title is a module, which later blocks may name.
    """
    if block.title:
        (page.directory / block.title).write_text(block.text, encoding="utf-8")
        sys.modules.pop(Path(block.title).stem, None)  # of an earlier test
        return
    if '"kind": "custom"' in block.text and find_spec("torch") is None:
        return  # not skipped: the rest of its page needs no torch
    if "local" in block.text and find_spec("torch") is None:
        pytest.skip("the local engine needs torch")
    if "build_socratic_config(\n    ...," in block.text or "build_socratic_config(...," in block.text:
        page.names["build_socratic_config"] = socratic_distill.build_socratic_config
        if "trackers=" not in block.text:  # their libraries need not be there
            block = Block(block.page, block.line, block.language, block.title, block.text + "train(config)\n")
            page.names["train"] = train
    page.names.pop("result", None)
    # Empty lines above the block, so that a traceback names the page's own line.
    exec(compile("\n" * block.line + page.asked(block.text), str(block.page), "exec"), page.names)
    for name in [name for name in page.names if name.startswith("test_")]:
        (page.directory / name).mkdir()
        page.names.pop(name)(page.directory / name)
    if result := page.names.get("result"):
        assert result.status == "completed"


def run_bash(block: Block, page: Page) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        command = shlex.join(words)
        if not words or line.partition("#")[0].strip() in NOT_RUN:
            continue
        if words[0] == "make":
            assert all(target in make_targets() for target in words[1:]), f"no such target: {line}"
            continue
        if words[0] == "curl" and page.address:
            ask_with_curl(page.asked(line))
            continue
        assert words[:3] == ["python", "-m", "socratic_distill"], f"{line!r} is not run; see NOT_RUN"
        if "quickstart" in command and find_spec("torch") is None:
            pytest.skip("the local engine needs torch")
        if words[3] == "serve" or "--web" in words:
            page.serve(*words[3:])
            continue
        assert cli.main(words[3:]) == 0, line
        if words[3] == "init":
            lighten(Path(*words[4:5]) / "config.yaml")


def ask_with_curl(line: str) -> None:
    """A request to the page's own server gets a reply."""
    if shutil.which("curl") is None:
        return  # not skipped: the rest of the page needs none
    done = subprocess.run([*shlex.split(line), "--silent"], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["choices"], done


def lighten(config: Path) -> None:
    """Makes the run of a project smaller, on the lines of its config that say how large it is."""
    text = config.read_text(encoding="utf-8")
    for name, most in PROJECT.items():
        text, found = re.subn(rf"^{name}: \d+$", f"{name}: {most}", text, flags=re.MULTILINE)
        assert found == 1, f"config.yaml of `init` has no line for {name}"
    config.write_text(text, encoding="utf-8")


def run_jsonl(block: Block, page: Page) -> None:
    """Reads seeds, recordings or a journal, whichever it is."""
    path = page.directory / (block.title or "block.jsonl")
    path.write_text(block.text, encoding="utf-8")
    count = len(block.text.splitlines())
    first = json.loads(block.text.splitlines()[0])
    if "messages" in first:
        assert len(load_recordings([path])) == count
    elif "batch" in first:
        assert all(parse_line(line.encode()).paths for line in block.text.splitlines())
    else:
        assert len(load_seeds(path)) == count


def run_text(block: Block, page: Page) -> None:
    """What a program printed; with a title a file, such as a prompt."""
    if block.title:
        (page.directory / block.title).write_text(block.text, encoding="utf-8")


LANGUAGES: dict[str, Callable[[Block, Page], Any]] = {
    "python": run_python,
    "bash": run_bash,
    "jsonl": run_jsonl,
    "json": lambda block, page: json.loads(block.text),
    "toml": lambda block, page: tomllib.loads(block.text),
    "text": run_text,
}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# One trains a model on this machine, as the README does; the other starts two servers.
LONG = (ROOT / "docs/tutorials/first-tutor.md", ROOT / "docs/guides/serving.md")


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow) if page in LONG else page for page in PAGES], ids=page_name
)
def test_blocks_of_the_page_run(page, session, tmp_path):
    shared = Page(tmp_path, {"__name__": "__main__"})
    with shared.server:
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            language = block.language
            assert language in LANGUAGES, f"{where}: {language or 'no language'!r} is not run; `text` is output"
            LANGUAGES[language](block, shared)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_fence_of_the_page_is_found(page):
    fences = re.findall(r"^ *`{3,}", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page)), "a fence is indented, not closed, or has another head"


def test_call_of_the_readme_trains_models_that_are_offered_now(session):
    (block,) = [one for one in blocks(ROOT / "README.md") if one.language == "python" and "experiments/" in one.text]
    names = [full_model_name(name) for name in re.findall(r'_model_name="([^"]+)"', block.text)]
    tutor, _, teacher = (catalogue().models[name] for name in names)
    assert all(catalogue().models[name].retired is None for name in names) and tutor.vocabulary == teacher.vocabulary
    before = len(session.calls)
    run_python(block, Page(Path(), {}))
    (created,) = [call for call in session.calls[before:] if call.call == "create_lora_training_client"]
    assert created.arguments["base_model"] == tutor.name
    assert sum(call.call == "optim_step" for call in session.calls[before:]) == 1


def test_files_that_pages_name_exist():
    tests = "unit|integration|recovery|contract|interop|benchmarks|browser|trackers"
    missing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        paths = [f"tests/{name}" for name in re.findall(rf"`((?:{tests})/(?:[\w/]+\.py)?)`", text)]
        paths += re.findall(r"`((?:examples|tests|scripts|docs)/[\w/.-]+)`", text)
        missing += [f"{page.name}: {path}" for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_import_paths_that_pages_name_lead_somewhere():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    moved = re.findall(r"^\| `[\w.]+` \| (.+) \|$", changes, re.MULTILINE)
    missing = [name for cell in moved for name in re.findall(r"`([a-z_.]+)`", cell) if not is_importable(name)]
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?<![\w/.-])socratic_distill\.((?:[a-z_]+\.)*\w+)", text)
        missing += [f"{page.name}: {name}" for name in named if not is_importable(name)]
    assert moved and not missing


def is_importable(name: str) -> bool:
    try:
        resolve_name(f"socratic_distill.{name}")
    except (ImportError, AttributeError):
        return False
    return True


def test_every_error_names_its_section_on_the_page_on_troubleshooting():
    page = ROOT / "docs" / "troubleshooting.md"
    headings = re.findall(r"^### (\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    public: list[type[errors.SocraticError]] = [value for value in vars(errors).values() if isinstance(value, type)]
    assert sorted(headings) == sorted(error.__name__ for error in public), "each error once, and nothing else"
    # Not __init__: the errors take different arguments, and the page follows from the class.
    pages = {error.__name__: error.__new__(error).help_page for error in public}
    assert pages == {name: f"{page}#{name.lower()}" for name in headings}


def test_error_of_a_user_names_the_section_of_its_base_class():
    class OwnError(SeedError):
        pass

    assert OwnError("no seeds today").help_page.endswith("troubleshooting.md#seederror")


def is_part(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Setting)


def test_every_public_name_is_in_the_reference():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = [resolve_name(name) for name in re.findall(r"^::: (socratic_distill\S*)$", text, re.MULTILINE)]
    for module in ("socratic_distill", "socratic_distill.testing", "socratic_distill.evaluation"):
        public = {name: resolve_name(f"{module}:{name}") for name in resolve_name(module).__all__}
        # The page on errors is made of errors.py, and that on the config has a table for each part.
        missing = [name for name, value in public.items() if not (is_error(value) or is_part(value) or value in shown)]
        assert not missing, f"{module} has names that docs/reference lacks: {missing}"


def test_page_on_the_run_directory_describes_what_runs_write(prepared):
    text = (ROOT / "docs" / "reference" / "run-directory.md").read_text(encoding="utf-8")
    names = re.findall(
        r"`([^`\n]+)`", "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("|"))
    )
    patterns = [re.sub(r"<\w+>|\\\*", "[^/]+", re.escape(name)) for name in names]
    described = re.compile("|".join(f"{one}.*" if one.endswith("/") else one for one in patterns))
    for run in (prepared.root / "runs").iterdir():
        told = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        for name in ("metrics.jsonl", "dialogues.jsonl"):
            told |= json.loads((run / name).read_text(encoding="utf-8").splitlines()[-1]).keys()
        assert {name for name in told if not described.fullmatch(name)} == set()


def is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def test_a_language_that_is_not_run_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        textwrap.dedent("""\
        ```ruby
        puts 1
        ```
        """)
    )
    assert [one.language in LANGUAGES for one in blocks(page)] == [False]


def test_seeds_that_do_not_load_are_noticed(tmp_path):
    block = Block(tmp_path, 1, "jsonl", None, '{"question": "What is 1 + 1?", "expected_answer": "two"}\n')
    with pytest.raises(SeedError):
        run_jsonl(block, Page(tmp_path, {}))
