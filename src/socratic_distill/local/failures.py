"""Turns errors of torch into errors that say what to do."""

import torch

from socratic_distill.errors import LocalEngineError


def explain(error: Exception, what: str) -> Exception:
    """The error to raise in place of torch's; if memory is short, it names the batch and the settings to lower.

    Args:
        error: the original error; returned unchanged if it is not torch's.
        what: describes the batch.
    """
    # On a CPU torch raises a plain RuntimeError for missing memory; only its text says so.
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in str(error):
        return LocalEngineError(
            f"out of memory on {what}; lower max_context_tokens, max_tokens or max_turns (`check` prints what a run "
            "takes). If training needs the memory, use LocalServiceClient(…, gradient_checkpointing=True)"
        )
    return LocalEngineError(f"torch failed on {what}: {error}") if isinstance(error, RuntimeError) else error
