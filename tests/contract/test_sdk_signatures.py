import inspect

import pytest
import tinker

# Every call that the trainer makes, with the parameters that it may give.
SERVICE = {
    "create_lora_training_client": "base_model rank seed train_mlp train_attn train_unembed user_metadata",
    "create_training_client_from_state": "path",
    "create_training_client_from_state_with_optimizer": "path",
    "create_sampling_client": "model_path base_model",
}
TRAINING = {
    "get_info": "",
    "get_tokenizer": "",
    "forward": "data loss_fn loss_fn_config",
    "forward_backward": "data loss_fn loss_fn_config",
    "optim_step": "optim_params",
    "save_state": "name ttl_seconds overwrite user_metadata",
    "save_weights_for_sampler": "name ttl_seconds user_metadata",
    "save_weights_and_get_sampling_client": "",
}
SAMPLING = {
    "sample": "prompt num_samples sampling_params include_prompt_logprobs topk_prompt_logprobs topk_sample_logprobs "
    "target_prompt_logprobs prompt_alt_tokens_k prompt_logprobs_last_n",
    "compute_logprobs": "prompt prompt_logprobs_last_n",
    "get_tokenizer": "",
    "get_base_model": "",
}
REST = {
    "get_server_capabilities": "",
    "get_weights_info_by_tinker_path": "tinker_path",
    "list_checkpoints": "training_run_id",
    "list_user_checkpoints": "limit offset",
    "delete_checkpoint_from_tinker_path": "tinker_path",
    "set_checkpoint_ttl_from_tinker_path": "tinker_path ttl_seconds",
    "get_training_run_by_tinker_path": "tinker_path",
}
SDK = [
    (tinker.ServiceClient, SERVICE),
    (tinker.TrainingClient, TRAINING),
    (tinker.SamplingClient, SAMPLING),
    (tinker.RestClient, REST),
]
CALLS = [(sdk, name, given.split()) for sdk, calls in SDK for name, given in calls.items()]


@pytest.mark.parametrize(("sdk", "name", "given"), CALLS, ids=lambda value: getattr(value, "__name__", None))
def test_trainer_calls_are_in_the_sdk_and_not_deprecated(sdk, name, given):
    method = getattr(sdk, name)
    assert getattr(method, "__deprecated__", None) is None
    assert set(given) <= set(inspect.signature(method).parameters)


@pytest.mark.parametrize(("sdk", "name", "given"), CALLS, ids=lambda value: getattr(value, "__name__", None))
def test_engine_takes_what_the_sdk_takes(engine_classes, sdk, name, given):
    theirs = inspect.signature(getattr(sdk, name)).parameters
    ours = inspect.signature(getattr(engine_classes[sdk], name)).parameters
    assert set(given) <= set(ours), "a parameter that the trainer gives is missing"
    shared = [key for key in ours if key in theirs]
    assert shared == [key for key in theirs if key in ours], "another order"
    for key in shared:
        assert ours[key].default == theirs[key].default, f"another default for {key}"
        assert ours[key].kind == theirs[key].kind, f"{key} is given in another way"
    required = {
        key
        for key, parameter in ours.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    assert required <= set(theirs), "a required parameter that the SDK lacks"
