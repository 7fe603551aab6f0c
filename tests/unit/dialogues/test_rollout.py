"""What becomes of a sampled reply."""

import asyncio

import numpy as np
import pytest
from tests.support.chat_templates import ids, make_renderer
from tests.support.partial import Partial
from tinker.types import SampledSequence, SampleResponse
from tinker.types.topk_logprobs import TopkLogprobs

from socratic_distill.dialogues.speaker import Speaker


class Voice(Partial):
    """Samples one reply, and keeps what it was asked with."""

    def __init__(self, reply, stop_reason):
        self.tokens, self.stop_reason = ids(reply), stop_reason

    async def sample(self, prompt, num_samples, sampling_params, topk_sample_logprobs=0):
        self.params, size = sampling_params, len(self.tokens)
        top = TopkLogprobs(np.arange(size, dtype=np.int32)[:, None], np.zeros((size, 1), np.float32))
        sequence = SampledSequence(
            stop_reason=self.stop_reason,
            sequence_id="0",
            tokens_np=np.asarray(self.tokens, np.int32),
            logprobs_np=-np.arange(size, dtype=np.float32),
            topk_logprobs_np=top if topk_sample_logprobs else None,
        )
        return SampleResponse(sequences=[sequence] * num_samples)


def speak(reply, stop_reason="stop"):
    voice = Voice(reply, stop_reason)
    speaker = Speaker("tutor", voice, make_renderer(), max_tokens=20, temperature=1.0, top=1)
    (turn,) = asyncio.run(speaker.speak(ids("<bot>"), seed=0))
    return turn, voice.params


def test_replies_stop_at_every_end_token():
    _, params = speak("Why?<end>")
    assert params.stop == list(make_renderer().end_tokens) == [1, 0]


def test_a_reply_keeps_the_end_token_of_the_template():
    turn, _ = speak("Why?<end>")
    assert (turn.text, turn.tokens, turn.history, turn.stop_reason) == ("Why?", ids("Why?<end>"), ids("Why?"), "stop")


def test_another_end_token_is_left_out_with_all_that_belongs_to_it():
    turn, _ = speak("Why?<s>")
    assert (turn.text, turn.tokens, turn.history, turn.stop_reason) == ("Why?", ids("Why?"), ids("Why?"), "stop")
    assert turn.logprobs == (0, -1, -2, -3) and turn.likeliest == ((0,), (1,), (2,), (3,))
    assert turn.use.sampled == 5, "it was paid for"


@pytest.mark.parametrize("reply", ["Why?<s>", "Why?<end>", "Why?"])
def test_a_cut_reply_is_kept_as_sampled(reply):
    assert speak(reply, stop_reason="length")[0].tokens == ids(reply)
