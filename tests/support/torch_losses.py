"""Divergences as users write them, in torch: functions for the objective kind `custom`."""


def rest(logprobs):
    """The probability of all tokens without a name, `[T]`."""
    return (1.0 - logprobs.exp().sum(-1)).clamp_min(1e-6)


def forward(logprobs, teacher, mask):
    """KL(teacher || tutor) with a bucket for the rest."""
    p_rest = rest(teacher)
    of_named = (teacher.exp() * (teacher - logprobs)).sum()
    return of_named + (p_rest * (p_rest.log() - rest(logprobs).log())).sum()


def reverse(logprobs, teacher, mask):
    """KL(tutor || teacher) with a bucket for the rest."""
    q_rest = rest(logprobs)
    of_named = (logprobs.exp() * (logprobs - teacher)).sum()
    return of_named + (q_rest * (q_rest.log() - rest(teacher).log())).sum()


def monte_carlo(logprobs, teacher, mask, drawn):
    """KL(tutor || teacher) estimated on drawn tokens."""
    cost = (logprobs - teacher).detach()
    others = (cost.sum(-1, keepdim=True) - cost) / (cost.shape[-1] - 1)
    return ((logprobs - drawn).exp() * (cost - others)).sum() / cost.shape[-1]
