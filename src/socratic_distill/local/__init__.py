"""The Tinker client interface on torch, transformers and peft, in this process.

`base_url="local"` chooses it. One base model serves every role; the tutor's weights are LoRA adapters on it.
"""

from importlib.util import find_spec

from socratic_distill.errors import LocalExtraMissing

_missing = [name for name in ("torch", "transformers", "peft", "safetensors") if find_spec(name) is None]
if _missing:
    raise LocalExtraMissing(
        f"the local engine needs {', '.join(_missing)}; install them with: pip install 'socratic-distill[local]'"
    )

from socratic_distill.local.rest import LocalRestClient  # noqa: E402  (only once its packages are there)
from socratic_distill.local.service import LocalServiceClient  # noqa: E402

__all__ = ["LocalRestClient", "LocalServiceClient"]
