"""What a user is told when torch fails."""

import torch

from socratic_distill.errors import LocalEngineError


def explain(error: Exception, what: str) -> Exception:
    """The error that a user meets: for want of memory, the batch that caused it and what to lower.

    Args:
        error: as it came; one that is not torch's stays as it is.
        what: the batch.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in str(error):
        return LocalEngineError(
            f"out of memory on {what}; lower groups_per_batch, num_envs or max_tokens, or give "
            "LocalServiceClient(…, gradient_checkpointing=True) where training needs it"
        )
    return LocalEngineError(f"torch failed on {what}: {error}") if isinstance(error, RuntimeError) else error
