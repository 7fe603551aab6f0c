"""Tiny random models of many architectures, with the packaged tokenizer, and what carries a LoRA on each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from socratic_distill.local.tiny import MODEL_DIR

_SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}
_LLAMA = ("q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj")
_SHARED = (_LLAMA[0], "gate_proj up_proj down_proj shared_experts")


@dataclass(frozen=True)
class Architecture:
    """How a tiny model is made, and what of it is trained.

    Attributes:
        attn: last names of the layers of attention, in a string.
        mlp: those of the MLP.
        sizes: of the config; those of the Llama family are left out where there are others.
        has_own_sizes: whether the config has none of the Llama family's names.
        fused: whether it has experts that are no layers.
        output: the output layer.
        is_partial: whether it has other weights of the linear kind that carry no LoRA.
        keeps_state: whether its decoder returns a cache.
        why: words of the reason that the general path reads it; empty for the fast path.
        family: name of its config's class, if it is not the name of the entry.
    """

    attn: str = _LLAMA[0]
    mlp: str = _LLAMA[1]
    sizes: dict[str, Any] = field(default_factory=dict)
    has_own_sizes: bool = False
    fused: bool = False
    output: str = "lm_head"
    is_partial: bool = False
    keeps_state: bool = True
    why: str = ""
    family: str = ""


ARCHITECTURES = {
    "Llama": Architecture(),
    "Qwen2": Architecture(),
    "Qwen3": Architecture(sizes={"head_dim": 8}),
    "Gemma": Architecture(sizes={"head_dim": 8}),
    "Olmo2": Architecture(),
    "StableLm": Architecture(),
    "Granite": Architecture(),
    "Mistral": Architecture(sizes={"sliding_window": None}),
    "Cohere": Architecture(sizes={"logit_scale": 1.0}),
    "Phi": Architecture("q_proj k_proj v_proj dense", "fc1 fc2"),
    "Phi3": Architecture("qkv_proj o_proj", "gate_up_proj down_proj"),
    "Starcoder2": Architecture(mlp="c_fc c_proj"),
    "GPTNeoX": Architecture("query_key_value dense", "dense_h_to_4h dense_4h_to_h"),
    "Persimmon": Architecture("query_key_value dense", "dense_h_to_4h dense_4h_to_h"),
    "OPT": Architecture(
        "q_proj k_proj v_proj out_proj", "fc1 fc2", {"ffn_dim": 48, "word_embed_proj_dim": 32}
    ),
    "Falcon": Architecture(
        "query_key_value dense", "dense_h_to_4h dense_4h_to_h", {"new_decoder_architecture": False, "multi_query": True}
    ),
    "GPT2": Architecture("c_attn c_proj", "c_fc c_proj", _GPT, has_own_sizes=True),
    "GPTBigCode": Architecture("c_attn c_proj", "c_fc c_proj", _GPT, has_own_sizes=True),
    "GPTJ": Architecture(
        "q_proj k_proj v_proj out_proj", "fc_in fc_out", {**_GPT, "rotary_dim": 4}, has_own_sizes=True
    ),
    "Lfm2": Architecture(
        "q_proj k_proj v_proj out_proj", "w1 w2 w3", {"layer_types": ["full_attention", "full_attention"]}
    ),
    "BioGpt": Architecture("q_proj k_proj v_proj out_proj", "fc1 fc2", output="output_projection"),
    "Mixtral": Architecture(mlp="", sizes={"num_local_experts": 4}, fused=True),
    "Olmoe": Architecture(mlp="", sizes={"num_experts": 4, "num_experts_per_tok": 2}, fused=True),
    "Qwen3Moe": Architecture(sizes={**_EXPERTS, "mlp_only_layers": [0], "head_dim": 8}, fused=True),
    "Qwen3Moe, no dense layer": Architecture(
        mlp="", sizes={**_EXPERTS, "head_dim": 8}, fused=True, family="Qwen3Moe"
    ),
    "Qwen2Moe": Architecture(sizes={**_EXPERTS, "shared_expert_intermediate_size": 24}, fused=True),
    "Glm4Moe": Architecture(sizes={**_ROUTED, "head_dim": 8, "first_k_dense_replace": 1}, fused=True),
    "DeepseekV3": Architecture(
        "q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj o_proj",
        sizes={**_ROUTED, **_LATENT, "num_key_value_heads": 4, "first_k_dense_replace": 1}, fused=True,
    ),
    "Ernie4_5_Moe": Architecture(
        sizes={"moe_intermediate_size": 16, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1}, fused=True
    ),
    "GraniteMoe": Architecture(mlp="", sizes={"num_local_experts": 4, "num_experts_per_tok": 2}, fused=True),
}  # fmt: skip

_WINDOW = {"sliding_window": 8}  # shorter than the tests' prompts and replies
_EVERY_OTHER = {**_WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"], "head_dim": 8,
}  # fmt: skip
_LINEAR_LAYERS = "in_proj_qkv in_proj_z in_proj_b in_proj_a out_proj"
_SOFT_CAPS = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}
GENERAL = {
    "Mistral": Architecture(sizes=_WINDOW, why="a window of 8 tokens"),
    "Gemma2": Architecture(
        sizes={**_EVERY_OTHER, **_SOFT_CAPS, "head_dim": 8},
        why="logits after the output layer (final_logit_softcapping)",
    ),
    "Gemma3Text": Architecture(
        sizes={**_EVERY_OTHER, "head_dim": 8, "query_pre_attn_scalar": 8}, why="a window of 8 tokens"
    ),
    "Olmo3": Architecture(sizes=_EVERY_OTHER, why="a window of 8 tokens"),
    "Exaone4": Architecture(sizes=_EVERY_OTHER, why="a window of 8 tokens"),
    "Cohere": Architecture(sizes={"logit_scale": 0.25}, why="logits after the output layer (logit_scale)"),
    "Cohere2": Architecture(
        sizes={**_EVERY_OTHER, "logit_scale": 0.25}, why="logits after the output layer (logit_scale)"
    ),
    "Granite": Architecture(sizes={"logits_scaling": 4.0}, why="logits after the output layer (logits_scaling)"),
    "GptOss": Architecture(
        mlp="", sizes={**_EVERY_OTHER, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2}, fused=True,
        why="a window of 8 tokens",
    ),
    "Qwen3Next": Architecture(
        f"{_LLAMA[0]} in_proj_qkvz in_proj_ba out_proj",
        sizes={**_EXPERTS, **_LINEAR, "shared_expert_intermediate_size": 16}, fused=True,
        why="without full attention (LinearAttentionLayer)",
    ),
    "Qwen3_5Text": Architecture(
        f"{_LLAMA[0]} {_LINEAR_LAYERS}", sizes=_LINEAR, why="without full attention (LinearAttentionLayer)"
    ),
    "Lfm2": Architecture(
        "q_proj k_proj v_proj out_proj in_proj", "w1 w2 w3", {"layer_types": ["conv", "full_attention"]},
        why="without full attention (LinearAttentionLayer)",
    ),
    "RecurrentGemma": Architecture(
        "q_proj k_proj v_proj o_proj linear_x linear_y linear_out",
        sizes={"head_dim": 8, "lru_width": 32, "num_hidden_layers": 3, "attention_window_size": 8}, is_partial=True,
        keeps_state=False,
        why="a window of 8 tokens",
    ),
    "Mamba": Architecture(
        "in_proj x_proj", "", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
        has_own_sizes=True, is_partial=True, why="without full attention (LinearAttentionLayer)",
    ),
    "Jamba": Architecture(
        f"{_LLAMA[0]} in_proj x_proj out_proj",
        sizes={"num_experts": 4, "mamba_d_state": 8, "attn_layer_period": 2, "attn_layer_offset": 1,
               "expert_layer_period": 2, "expert_layer_offset": 1},
        fused=True, why="without full attention (LinearAttentionLayer)",
    ),
    "Falcon": Architecture(
        "query_key_value dense", "dense_h_to_4h dense_4h_to_h",
        {"alibi": True, "new_decoder_architecture": False, "multi_query": True}, why="ALiBi",
    ),
    "Bloom": Architecture(
        "query_key_value dense", "dense_h_to_4h dense_4h_to_h", {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        has_own_sizes=True, why="ALiBi",
    ),
    "Mpt": Architecture(
        "Wqkv out_proj", "up_proj down_proj", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512},
        has_own_sizes=True, why="ALiBi",
    ),
    "GPTNeo": Architecture(
        "k_proj v_proj q_proj out_proj", "c_fc c_proj",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 8, "max_position_embeddings": 512,
         "attention_types": [[["global", "local"], 1]]},
        has_own_sizes=True, why="a window of 8 tokens",
    ),
}  # fmt: skip


def save_architecture(directory: Path, name: str, rows: int | None = None, **changes: Any) -> str:
    """Writes a tiny random model of the fast path, with some of its config's values changed; gives its directory."""
    return save_tiny(directory, name, ARCHITECTURES[name], rows, **changes)


def save_tiny(directory: Path, name: str, kind: Architecture, rows: int | None = None, **changes: Any) -> str:
    """Writes a tiny random model; gives its directory."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.save_pretrained(directory)
    config = getattr(transformers, f"{kind.family or name}Config")
    sizes = {**({} if kind.has_own_sizes else _SIZES), **kind.sizes, **changes}
    ends = {key: getattr(tokenizer, key) for key in ("eos_token_id", "pad_token_id", "bos_token_id")}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(vocab_size=rows or len(tokenizer), **ends, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)  # the usual deviation of 0.02 is next to nothing at this width
    model.save_pretrained(directory)
    return str(directory)
