"""The wire format of the API's binary messages, as a server reads and writes it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tinker
from tinker.proto import tinker_public_pb2 as messages
from tinker.proto.request_conv import _tensor_data_to_proto
from tinker.proto.response_conv import _tensor_data_from_proto
from tinker.types import ForwardBackwardOutput, SampledSequence, SampleResponse
from tinker.types.topk_logprobs import TopkLogprobs

_STOPS = {"stop": messages.STOP_REASON_STOP, "length": messages.STOP_REASON_LENGTH}
_TYPES = {"float32": messages.DTYPE_FLOAT32, "int64": messages.DTYPE_INT64}


def read_pass(body: bytes) -> tuple[str, bool, dict[str, Any]]:
    """The model's id, whether gradients are wanted, and the arguments of `forward` or `forward_backward`."""
    message = messages.ForwardBackwardRequest.FromString(body)
    config = {name: value.text or value.number for name, value in message.loss_fn_config_v2.items()}
    arguments = {"data": [_datum(datum) for datum in message.data], "loss_fn": message.loss_fn}
    return message.model_id, not message.forward_only, {**arguments, "loss_fn_config": config or None}


def _datum(message: Any) -> tinker.Datum:
    tokens = [int(token) for chunk in message.model_input for token in np.frombuffer(chunk.encoded_text.tokens, "<i4")]
    inputs = {name: _tensor_data_from_proto(tensor) for name, tensor in message.loss_fn_inputs.items()}
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(tokens), loss_fn_inputs=inputs)


def write_pass(output: ForwardBackwardOutput) -> bytes:
    """The answer to a pass."""
    record = messages.ArrayRecord(num_datums=len(output.loss_fn_outputs))
    for name in output.loss_fn_outputs[0]:
        record.fields[name].CopyFrom(_batched([datum[name] for datum in output.loss_fn_outputs]))
    message = messages.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", loss_fn_outputs=[record])
    message.metrics.update(output.metrics)
    return message.SerializeToString()


def _batched(tensors: Iterable[tinker.TensorData]) -> messages.BatchedTensor:
    arrays = [tensor.to_numpy() for tensor in tensors]
    offsets = np.cumsum([0, *(array.nbytes for array in arrays)], dtype=np.int64)
    data = b"".join(array.tobytes() for array in arrays)
    return messages.BatchedTensor(
        data=data,
        offsets=offsets.tobytes(),
        dtype=_TYPES[str(arrays[0].dtype)],
        trailing_shape=arrays[0].shape[1:],
    )


def write_sample(response: SampleResponse) -> bytes:
    """The answer to a request for replies."""
    message = messages.SampleResponse(sequences=[_sequence(sequence) for sequence in response.sequences])
    if response.prompt_logprobs_np is not None:
        message.prompt_logprobs = response.prompt_logprobs_np.astype(np.float32).tobytes()
    if response.topk_prompt_logprobs_np is not None:
        message.topk_prompt_logprobs.CopyFrom(_topk(response.topk_prompt_logprobs_np))
    if response.target_prompt_logprobs is not None:
        message.target_prompt_logprobs.CopyFrom(_tensor_data_to_proto(response.target_prompt_logprobs))
    if response.prompt_alt_tokens is not None:
        for name in ("tokens", "logprobs"):
            tensor = _tensor_data_to_proto(getattr(response.prompt_alt_tokens, name))
            getattr(message.prompt_alt_tokens, name).CopyFrom(tensor)
    return message.SerializeToString()


def _sequence(sequence: SampledSequence) -> messages.SampledSequence:
    message = messages.SampledSequence(
        stop_reason=_STOPS[sequence.stop_reason],
        tokens=np.asarray(sequence.tokens, np.int32).tobytes(),
        logprobs=np.asarray(sequence.logprobs, np.float32).tobytes(),
    )
    if sequence.topk_logprobs_np is not None:
        message.topk_sampled_logprobs.CopyFrom(_topk(sequence.topk_logprobs_np))
    return message


def _topk(likeliest: TopkLogprobs) -> messages.TopkLogprobs:
    length, k = likeliest.token_ids.shape
    return messages.TopkLogprobs(
        token_ids=likeliest.token_ids.astype(np.int32).tobytes(),
        logprobs=likeliest.logprobs.astype(np.float32).tobytes(),
        k=k,
        length=length,
    )
