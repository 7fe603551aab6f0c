"""The report as an output of a notebook."""

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class EmbeddedReport:
    """A report that a notebook shows in a frame.

    The frame has an origin of its own (`sandbox` without `allow-same-origin`): scripts of the page run, but reach
    neither the notebook, nor its cookies, nor its kernel.

    Attributes:
        html: the page.
        height: of the frame, in pixels.
    """

    html: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{escape(self.html)}" title="report" '
            f'style="width:100%;height:{int(self.height)}px;border:1px solid rgba(128,128,128,.4);border-radius:6px">'
            "</iframe>"
        )
