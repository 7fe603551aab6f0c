"""The charts of a report: which figures each can show, and what they mean."""

from collections.abc import Sequence
from typing import Any

from socratic_distill.evaluation.definitions import ROUNDS, definition_of

# Choices of one name move together: all charts of rounds show the same k.
CHARTS: tuple[dict[str, Any], ...] = (
    {
        "title": "Distance to the teacher", "choice": "Tokens",
        "shows": [
            {"key": "teacher_kl", "label": "all", "axis": "teacher_kl, nats a token"},
            {"key": "teacher_kl/answer", "label": "the answer's", "axis": "teacher_kl on the answer, nats a token"},
            {"key": "teacher_kl/other", "label": "the others", "axis": "teacher_kl elsewhere, nats a token"},
        ],
        "note": "Mean of log p(tutor) − log p(teacher) over the tutor's tokens; 0 where they agree.",
    },
    {
        "title": "Telling@k", "choice": "k", "shared": "k",
        "shows": [
            {"key": f"mathdial/telling@{k}", "label": str(k), "axis": f"Telling@{k}, share", "share": True}
            for k in ROUNDS
        ],
        "note": "Share of dialogues in which the tutor says the answer within k rounds, and not after the student.",
    },
    {
        "title": "Success@k", "choice": "k", "shared": "k",
        "shows": [
            {"key": f"mathdial/success@{k}", "label": str(k), "axis": f"Success@{k}, share", "share": True}
            for k in ROUNDS
        ],
        "note": "Share of dialogues in which the student says the answer within k rounds, told or not.",
    },
    {
        "title": "Solved", "choice": "Counting",
        "shows": [
            {"key": "solved", "label": "all", "axis": "solved, share of dialogues", "share": True},
            {"key": "solved/untold", "label": "untold", "axis": "solved untold, share of dialogues", "share": True},
        ],
        "note": "Share of dialogues that end with the student giving the answer, by this library's own rule.",
    },
    {
        "title": "Asking and telling", "choice": "Share of",
        "shows": [
            {"key": "asks", "label": "turns that ask", "axis": "tutor turns that ask, share", "share": True},
            {"key": "first_reply/asks", "label": "first replies that ask", "axis": "first replies that ask, share",
             "share": True},
            {"key": "first_reply/tells", "label": "first replies that tell", "axis": "first replies that tell, share",
             "share": True},
            {"key": "leaks", "label": "dialogues that tell", "axis": "dialogues in which the tutor tells first, share",
             "share": True},
        ],
        "note": "A turn asks where it holds a question mark; it tells where it holds the expected answer.",
    },
    {
        "title": "Length of replies", "choice": "Figure",
        "shows": [
            {"key": "reply_tokens", "label": "mean", "axis": "tutor reply, mean tokens"},
            {"key": "reply_tokens/max", "label": "longest", "axis": "tutor reply, most tokens"},
            {"key": "reply_cut", "label": "share cut", "axis": "tutor replies cut at the limit, share", "share": True},
        ],
    },
    {
        "title": "Staleness", "choice": "Figure",
        "shows": [
            {"key": "staleness/mean", "label": "mean", "axis": "mean staleness, optimizer steps"},
            {"key": "staleness/max", "label": "largest", "axis": "largest staleness, optimizer steps"},
        ],
        "note": "Optimizer steps between the weights that sampled a token and those that it trained.",
    },
    {
        "title": "Cost and tokens", "choice": "Figure",
        "shows": [
            {"key": "cost/total", "label": "so far", "axis": "estimated cost so far, USD"},
            {"key": "cost/usd", "label": "of a step", "axis": "estimated cost of a step, USD"},
            {"key": "tokens/trained", "label": "tokens trained", "axis": "tokens trained in a step"},
        ],
        "note": "Costs are estimates from lists of prices; where one is missing, and on this machine, there is none.",
    },
)  # fmt: skip
_REWARD = {"title": "Reward", "choice": "Figure", "shows": [{"key": "reward", "label": "mean", "axis": "mean reward"}]}
_MEMORY = {
    "title": "Memory", "choice": "Figure",
    "shows": [{"key": "memory/peak_mib", "label": "so far", "axis": "most memory of the process so far, MiB"}],
    "note": "Of the process that trained, on the local engine; a resumed run begins again.",
}  # fmt: skip


def charts_for(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The charts of some runs: all of the above, rewards and memory if there are any, what evaluations alone measure.

    Args:
        runs: data of each, with `curves` and `evaluations`.
    """
    charts = list(CHARTS)
    if any("reward" in run["curves"]["series"] for run in runs):
        charts.append(_REWARD)
    if any("memory/peak_mib" in run["curves"]["series"] for run in runs):
        charts.append(_MEMORY)
    drawn = {show["key"] for chart in charts for show in chart["shows"]}
    names = dict.fromkeys(name for run in runs for name in run["evaluations"]["series"] if name not in drawn)
    if names:
        shows = [_show(name) for name in names]
        charts.append({"title": "Other measures", "choice": "Measure", "shows": shows, "note": "Of evaluations alone."})
    return charts


def _show(name: str) -> dict[str, Any]:
    known = definition_of(name)
    is_share = known is not None and known.unit.startswith("share")
    return {"key": name, "label": name, "axis": f"{name}, {known.unit}" if known else name, "share": is_share}
