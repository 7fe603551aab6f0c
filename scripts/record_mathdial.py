"""Records what MathDial's own script makes of conversations, for the tests of Success@k and Telling@k.

    git clone https://github.com/eth-nlped/mathdial
    python scripts/record_mathdial.py --clone mathdial --sample mathdial_sample.jsonl

The script of the dataset, `interactivetutoring/evaluate.py`, is imported from the clone and called as its own main
part does: a conversation is cut at `<EOM>`, the answer is the last line of `ground_truth`, and `evaluate_at_k` gives
both measures for each k from 1 to 7. It knows the speakers `Teacher` and `Student` alone, so that the first names by
which the dataset calls its students become `Student`, and the `|EOM|` between turns becomes `<EOM>`. Nothing else is
changed.

Recorded are figures alone, without any text of the dataset: for each conversation Success@k and then Telling@k, a
digit for each k, 1 where the measure holds. Conversations of the sample are named `<qid>:<line>`, as `load_seeds` names
them, the self-written ones by their `name`.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

SAMPLES = Path(__file__).parents[1] / "tests" / "data_samples"
OWN = SAMPLES / "mathdial_tricky.jsonl"
RECORDED = SAMPLES / "mathdial_recorded.json"
K = range(1, 8)

EvaluateAtK = Callable[[list[str], str, int], tuple[bool, bool]]


def load_script(clone: Path) -> EvaluateAtK:
    """The dataset's function of both measures."""
    folder = clone / "interactivetutoring"
    if not (folder / "evaluate.py").is_file():
        sys.exit(f"{folder} holds no evaluate.py; give the folder of a clone of the MathDial repository as --clone")
    # A module beside it imports the OpenAI client, of which the measures have no use.
    sys.modules.setdefault("openai", ModuleType("openai"))
    sys.path.insert(0, str(folder))
    return importlib.import_module("evaluate").evaluate_at_k


def figures(row: dict[str, Any], evaluate_at_k: EvaluateAtK) -> str:
    """Success@k and Telling@k of one conversation, a digit for each k."""
    utterances = "<EOM>".join(map(spoken, row["conversation"].split("|EOM|"))).split("<EOM>")
    answer = row["ground_truth"].split("\n")[-1].strip().split("\\n")[-1].strip()
    pairs = [evaluate_at_k(utterances, answer, k) for k in K]
    return " ".join("".join(str(int(one)) for one in measure) for measure in zip(*pairs, strict=True))


def spoken(turn: str) -> str:
    """A turn with its speaker as the dataset's script knows it."""
    name, _, text = turn.partition(":")
    return f"{'Teacher' if name.strip() == 'Teacher' else 'Student'}:{text}"


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clone", type=Path, required=True, help="folder of a clone of the MathDial repository")
    parser.add_argument("--sample", type=Path, required=True, help="the dataset's conversations, JSONL")
    parsed = parser.parse_args()
    evaluate_at_k = load_script(parsed.clone)
    sample = {f"{row['qid']}:{n}": figures(row, evaluate_at_k) for n, row in enumerate(rows(parsed.sample), start=1)}
    own = {row["name"]: figures(row, evaluate_at_k) for row in rows(OWN)}
    recorded = {
        "what": "Success@k and Telling@k for k = 1 … 7, from the dataset's own script; see scripts/record_mathdial.py",
        "self_written": own,
        "sample": sample,
    }
    RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(own)} self-written conversations and {len(sample)} of the sample, in {RECORDED}")


if __name__ == "__main__":
    main()
